package vsecmsource

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// withDates is a world with raw secrets db, which expires after an hour, and app, which does not.
func withDates(t *testing.T, change ...func(*spec)) *world {
	t.Helper()
	w := newWorld(t, scout)
	w.put("db", canary+"db", w.begin.Add(-time.Hour), w.begin.Add(time.Hour))
	w.put("app", canary+"app")
	w.vs.Spec = spec{Data: dataOf("db", "db", "app", "app"), RefreshInterval: &metav1.Duration{Duration: 10 * time.Hour}}
	for _, c := range change {
		c(&w.vs.Spec)
	}
	return w
}

func keepExpired(s *spec) { s.OnExpiry = v1alpha1.OnExpiryKeep }

// over is the first moment after the date of db.
const over = time.Hour + time.Millisecond

func TestWhatExpiresIsWithdrawnInTime(t *testing.T) {
	w := withDates(t)
	content := w.works()
	assert.Equal(t, w.begin.Add(over), content.Next, "exactly")
	assert.Equal(t, map[string]time.Time{"db": w.begin.Add(time.Hour)}, stateOf(t, content))

	w.at(time.Hour)
	content = w.works()
	assert.Equal(t, map[string]string{"db": "db", "app": "app"}, texts(content.Data), "at the date itself it may be used")
	assert.Equal(t, w.begin.Add(over), content.Next)
	assert.Equal(t, map[string]time.Time{"db": w.begin.Add(time.Hour)}, stateOf(t, content))

	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
	assert.Equal(t, v1alpha1.ReasonExpired, content.Problem.Reason)
	assert.False(t, content.Problem.Heals)
	assert.False(t, content.Unfetched)
	assert.Empty(t, content.State)
	assert.True(t, content.Next.After(w.begin.Add(8*time.Hour)), "nothing more is to come")

	w.put("db", canary+"new", w.begin, w.begin.Add(9*time.Hour+time.Minute))
	w.at(9 * time.Hour)
	content = w.works()
	assert.Equal(t, map[string]string{"db": "new", "app": "app"}, texts(content.Data))
	assert.Equal(t, w.begin.Add(9*time.Hour+time.Minute+time.Millisecond), content.Next)
}

func TestWhatExpiresStaysWhereThatIsAsked(t *testing.T) {
	w := withDates(t, keepExpired)
	assert.Equal(t, w.begin.Add(over), w.works().Next)
	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"db": "db", "app": "app"}, texts(content.Data))
	assert.Equal(t, v1alpha1.ReasonExpired, content.Problem.Reason)
	assert.True(t, content.Next.After(w.begin.Add(8*time.Hour)))
	w.Stop()
	_, problem = w.fetchFor(func(want *source.Want) { want.Fresh = true })
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonUnavailable, problem.Reason)
	assert.True(t, problem.By.IsZero())

	w.vs.Spec.OnExpiry, w.vs.Generation = v1alpha1.OnExpiryRemove, 2
	w.at(2 * time.Hour)
	content, problem = w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data), "the date is not forgotten")
}

func TestWhatDoesNotExpire(t *testing.T) {
	w := newWorld(t, scout)
	w.put("db", canary)
	w.put("far", canary, w.begin, time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC))
	w.put("late", canary, time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC))
	w.vs.Spec = spec{Data: dataOf("db", "db", "far", "far", "late", "late")}
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Len(t, content.Data, 2)
	assert.Empty(t, content.State)
	assert.True(t, content.Next.Before(w.begin.Add(time.Hour)))
	w.Stop()
	_, problem = w.fetchFor(func(want *source.Want) { want.Fresh = true })
	require.NotNil(t, problem)
	assert.True(t, problem.By.IsZero(), "there is no such time in the API")
}

func TestWhatIsTooEarlyComesInTime(t *testing.T) {
	w := newWorld(t, scout)
	w.put("db", canary+"new", w.begin.Add(30*time.Minute))
	w.put("app", canary+"app", w.begin.Add(20*time.Minute))
	w.vs.Spec = spec{Data: dataOf("db", "db")}
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonNotYetValid, problem.Reason)
	assert.True(t, problem.Heals)
	assert.Equal(t, w.begin.Add(30*time.Minute), problem.By, "exactly, although there is no Secret yet")

	w.vs.Spec.Data = dataOf("db", "db", "app", "app")
	w.at(20 * time.Minute)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
	assert.Equal(t, v1alpha1.ReasonNotYetValid, content.Problem.Reason)
	assert.Equal(t, w.begin.Add(30*time.Minute), content.Next)
	w.at(30*time.Minute - 1)
	content, _ = w.fetch()
	assert.NotContains(t, content.Data, "db")
	assert.Equal(t, w.begin.Add(30*time.Minute), content.Next)
	w.at(30 * time.Minute)
	assert.Equal(t, map[string]string{"app": "app", "db": "new"}, texts(w.works().Data))
}

func TestWhatIsTooEarlyLeavesWhatWasThereUntilThatExpires(t *testing.T) {
	w := withDates(t)
	w.works()
	w.at(30 * time.Minute)
	w.put("db", canary+"new", w.begin.Add(2*time.Hour), w.begin.Add(9*time.Hour))
	refresh := func(want *source.Want) { want.Fresh = true }
	content, problem := w.fetchFor(refresh)
	require.Nil(t, problem)
	assert.Nil(t, content.Problem)
	assert.Equal(t, map[string]string{"db": "db", "app": "app"}, texts(content.Data))
	assert.Equal(t, map[string]time.Time{"db": w.begin.Add(time.Hour)}, stateOf(t, content), "the date of what is there")
	assert.Equal(t, w.begin.Add(over), content.Next)

	w.at(over)
	content, problem = w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
	assert.Equal(t, v1alpha1.ReasonExpired, content.Problem.Reason)
	assert.Contains(t, content.Problem.Message, "secret db has expired at "+date(w.begin.Add(time.Hour)))
	assert.Contains(t, content.Problem.Message, "secret db may not be used before "+date(w.begin.Add(2*time.Hour))+", and is put into the Secret then")
	assert.Equal(t, w.begin.Add(2*time.Hour), content.Next)

	w.at(2 * time.Hour)
	content = w.works()
	assert.Equal(t, map[string]string{"db": "new", "app": "app"}, texts(content.Data))
	assert.Equal(t, map[string]time.Time{"db": w.begin.Add(9 * time.Hour)}, stateOf(t, content))
}

func TestWhatIsGoneFromSafeExpiresNevertheless(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*spec)
		stays  bool
	}{
		"by default":             {func(*spec) {}, false},
		"where all is to stay":   {func(s *spec) { s.OnMissing = v1alpha1.OnMissingFail }, false},
		"unless that is to stay": {keepExpired, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := withDates(t, c.change, func(s *spec) { s.Data, s.Labels = append(s.Data, dataOf("x", "x")...), metadataOf("l", "db") })
			w.put("x", canary+"x")
			w.works()
			w.Delete("raw:db")
			w.at(30 * time.Minute)
			content, problem := w.fetchFor(func(want *source.Want) { want.Fresh = true })
			if problem == nil {
				assert.Equal(t, map[string]string{"db": "db", "app": "app", "x": "x"}, texts(content.Data))
				assert.Equal(t, w.begin.Add(over), content.Next)
			} else {
				assert.Equal(t, w.begin.Add(over), problem.By)
			}
			w.at(over)
			content, problem = w.fetch()
			require.Nil(t, problem)
			if c.stays {
				assert.Equal(t, map[string]string{"db": "db", "app": "app", "x": "x"}, texts(content.Data))
				return
			}
			assert.Equal(t, map[string]string{"app": "app", "x": "x"}, texts(content.Data))
			assert.Empty(t, content.Metadata.Labels)
			assert.Contains(t, content.Problem.Message, "secret db has expired")
			content, problem = w.fetch()
			if problem == nil {
				assert.Equal(t, map[string]string{"app": "app", "x": "x"}, texts(content.Data))
				assert.Equal(t, v1alpha1.ReasonPathMissing, content.Problem.Reason)
			}
		})
	}
}

func TestADateIsReadAgainWhenItHasCome(t *testing.T) {
	w := withDates(t)
	w.works()
	w.put("db", canary+"renewed", w.begin, w.begin.Add(9*time.Hour))
	w.at(over)
	content := w.works()
	assert.Equal(t, map[string]string{"db": "renewed", "app": "app"}, texts(content.Data), "somebody has renewed it since it was read")
	assert.Len(t, w.Requests(), 2)
	w.at(2 * time.Hour)
	w.held = source.Want{}
	w.works()
	assert.Len(t, w.Requests(), 2, "others share it")

	w = newWorld(t, scout)
	w.put("db", canary+"new", w.begin.Add(30*time.Minute))
	w.put("app", canary+"app")
	w.vs.Spec = spec{Data: dataOf("db", "db", "app", "app")}
	_, _ = w.fetch()
	w.put("db", canary+"new", w.begin.Add(9*time.Hour))
	w.at(30 * time.Minute)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data), "nothing is sent early that was put off")
	assert.Len(t, w.Requests(), 2)

	w.put("db", canary+"new", w.begin.Add(40*time.Minute))
	w.at(35 * time.Minute)
	_, problem = w.fetchFor(func(want *source.Want) { want.Fresh = true })
	require.Nil(t, problem)
	w.Stop()
	w.at(40 * time.Minute)
	_, problem = w.fetch()
	require.NotNil(t, problem)
	content, problem = w.fetchFor(func(want *source.Want) { want.Repair = true })
	require.Nil(t, problem, "a repair takes what was read last")
	assert.Equal(t, map[string]string{"app": "app", "db": "new"}, texts(content.Data))
}

func TestWhatExpiresIsWithdrawnAlsoWhenNothingCanBeFetched(t *testing.T) {
	down := func(w *world) { w.Stop() }
	for name, c := range map[string]struct {
		change func(*world)
		reason string
		heals  bool
		final  bool
		// rest is what is said of the rest.
		rest string
	}{
		"Safe does not answer":      {down, v1alpha1.ReasonUnavailable, true, false, "what is there now could not be fetched: GET /workload/v1/secrets at "},
		"Safe has another answer":   {func(w *world) { w.Break(labsafe.Fault{Status: 403}) }, v1alpha1.ReasonRefused, false, false, "what is there now could not be fetched: GET /workload/v1/secrets at "},
		"it is allowed no more":     {func(w *world) { w.fetcher.allow = allowed{} }, v1alpha1.ReasonNotAllowed, false, true, "what is there now could not be fetched: namespace team may not have"},
		"the spec has an error":     {func(w *world) { w.vs.Spec.Data[1].Ref = "app..x" }, v1alpha1.ReasonInvalidSpec, false, true, "what is there now could not be fetched: spec.data[1].ref"},
		"another secret has one":    {func(w *world) { w.vs.Spec.Data[1].Ref = "app.x" }, v1alpha1.ReasonInvalidValue, false, false, "the rest stays as it is: spec.data[1].ref"},
		"another secret is missing": {func(w *world) { w.vs.Spec.Data[1].Ref, w.vs.Spec.OnMissing = "gone", v1alpha1.OnMissingFail }, v1alpha1.ReasonPathMissing, false, false, "the rest stays as it is: GET "},
		"a label cannot be one":     {func(w *world) { w.put("bad", canary+" &"); w.vs.Spec.Labels = metadataOf("l", "bad") }, "", false, false, "the rest stays as it is: what was fetched for the label l cannot be one"},
		"it does not fit any longer": {func(w *world) {
			w.put("large", strings.Repeat(canary, 1<<20/7+1))
			w.vs.Spec.Data = append(w.vs.Spec.Data, dataOf("large", "large")...)
		}, "", false, false, "the rest stays as it is: what was fetched has"},
	} {
		t.Run(name, func(t *testing.T) {
			w := withDates(t, func(s *spec) {
				s.Labels, s.Annotations = metadataOf("a", "app", "d", "db"), metadataOf("a", "app", "d", "db")
			})
			first := w.works()
			c.change(w)
			refresh := func(want *source.Want) { want.Fresh = true }
			w.at(59 * time.Minute)
			before := w.held
			content, problem := w.fetchFor(refresh)
			if c.reason == "" {
				require.Nil(t, problem)
				assert.NotNil(t, content.Unfit(), "the engine tells it")
				assert.Equal(t, w.begin.Add(over), content.Next)
			} else {
				require.NotNil(t, problem)
				assert.Equal(t, []any{c.reason, c.heals, c.final}, []any{problem.Reason, problem.Heals, problem.Final})
				assert.Equal(t, w.begin.Add(over), problem.By)
			}

			w.at(over)
			w.held = before
			w.vs.Status.LastFetchedAt, w.vs.Status.StaleAt = &metav1.Time{Time: first.FetchedAt}, &metav1.Time{Time: first.StaleAt}
			content, problem = w.fetchFor(refresh)
			require.Nil(t, problem)
			assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
			assert.Equal(t, from("app", "app"), content.Keys)
			assert.NotContains(t, content.Metadata.Labels, "d")
			assert.NotContains(t, content.Metadata.Annotations, "d")
			assert.Equal(t, canary+"app", content.Metadata.Annotations["a"])
			assert.True(t, content.Unfetched)
			assert.Nil(t, content.Unfit())
			assert.Empty(t, content.State)
			assert.Equal(t, w.begin, content.FetchedAt, "nothing is younger than it was")
			assert.Equal(t, first.StaleAt, content.StaleAt)
			assert.Equal(t, w.begin.Add(over+time.Minute), content.Next)
			require.NotNil(t, content.Problem)
			assert.Equal(t, v1alpha1.ReasonExpired, content.Problem.Reason)
			assert.Equal(t, c.heals, content.Problem.Heals)
			assert.Equal(t, 5*time.Minute, content.Problem.Retry)
			assert.True(t, strings.HasPrefix(content.Problem.Message, "secret db has expired at "+date(w.begin.Add(time.Hour))+", and what came from it is withdrawn: write it anew in Safe with a later date; "+c.rest), content.Problem.Message)

			w.at(over + time.Minute)
			content, problem = w.fetchFor(refresh)
			if c.reason != "" {
				require.NotNil(t, problem, "it is withdrawn once")
				assert.Equal(t, c.reason, problem.Reason)
				assert.True(t, problem.By.IsZero())
			} else {
				assert.False(t, content.Unfetched)
			}
		})
	}
}

func TestWhatExpiresOneAfterTheOther(t *testing.T) {
	w := withDates(t, func(s *spec) {
		s.Data = append(s.Data, dataOf("soon", "soon")...)
		s.DataFrom = []v1alpha1.VSecMObject{{Ref: "soon", Prefix: "p-"}}
	})
	w.put("soon", `{"a.b":"`+canary+`"}`, w.begin, w.begin.Add(over+10*time.Second))
	content := w.works()
	assert.Equal(t, map[string]time.Time{"db": w.begin.Add(time.Hour), "soon": w.begin.Add(over + 10*time.Second)}, stateOf(t, content))
	w.Stop()
	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Len(t, content.Data, 3)
	assert.Equal(t, map[string]time.Time{"soon": w.begin.Add(over + 10*time.Second)}, stateOf(t, content))
	assert.Equal(t, w.begin.Add(over+10*time.Second+time.Millisecond), content.Next, "sooner than in a minute")
	w.at(over + 10*time.Second + time.Millisecond)
	content, problem = w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
	assert.Empty(t, content.State)
}

func TestADateThatWasBroughtForwardCounts(t *testing.T) {
	w := withDates(t, func(s *spec) { s.OnMissing = v1alpha1.OnMissingFail })
	w.put("x", canary)
	w.works()
	w.Delete("raw:app")
	w.put("db", canary+"new", w.begin, w.begin.Add(10*time.Minute))
	w.at(5 * time.Minute)
	refresh := func(want *source.Want) { want.Fresh = true }
	_, problem := w.fetchFor(refresh)
	require.NotNil(t, problem)
	assert.Equal(t, w.begin.Add(10*time.Minute+time.Millisecond), problem.By)
	w.at(11 * time.Minute)
	content, problem := w.fetchFor(refresh)
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
}

func TestADateThatWasPutOffCountsWhenItIsWritten(t *testing.T) {
	refresh := func(want *source.Want) { want.Fresh = true }
	later := func(w *world) { w.put("db", canary+"new", w.begin, w.begin.Add(9*time.Hour)) }

	w := withDates(t, func(s *spec) { s.OnMissing = v1alpha1.OnMissingFail })
	w.put("x", canary)
	w.works()
	later(w)
	w.Delete("raw:app")
	_, problem := w.fetchFor(refresh)
	require.NotNil(t, problem)
	assert.Equal(t, w.begin.Add(over), problem.By, "the Secret still holds the former one")

	w = withDates(t)
	w.put("bad", canary+" &")
	w.works()
	later(w)
	w.vs.Spec.Labels = metadataOf("l", "bad")
	content, problem := w.fetchFor(refresh)
	require.Nil(t, problem)
	require.NotNil(t, content.Unfit())
	assert.Equal(t, w.begin.Add(over), content.Next)
}

func TestTheFirstOfTheDatesIsWaitedFor(t *testing.T) {
	w := newWorld(t, scout)
	for i := range 9 {
		name := string(rune('a' + i))
		w.put(name, canary, w.begin, w.begin.Add(time.Duration(i+1)*time.Hour))
		w.vs.Spec.Data = append(w.vs.Spec.Data, dataOf(name, name)...)
	}
	w.vs.Spec.RefreshInterval = &metav1.Duration{Duration: 20 * time.Hour}
	assert.Equal(t, w.begin.Add(over), w.works().Next)
	w.fetcher.allow = allowed{}
	w.at(time.Hour)
	for range 20 {
		_, problem := w.fetch()
		require.NotNil(t, problem, "at the date itself nothing has expired")
		assert.Equal(t, w.begin.Add(over), problem.By)
	}
}

func TestKeysOfUnknownOriginStay(t *testing.T) {
	w := withDates(t)
	w.works()
	w.held.Data["old"], w.held.Keys["old"] = []byte("x"), source.Origin{Path: "no..ref"}
	w.Stop()
	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"app": "app", "old": "x"}, texts(content.Data))
}

func TestNothingIsWithdrawnOf(t *testing.T) {
	w := withDates(t)
	w.works()
	w.Stop()
	w.at(over)
	state := w.held.State
	for name, want := range map[string]source.Want{
		"no Secret":                   {State: state},
		"a State that cannot be read": {State: json.RawMessage("{"), Data: w.held.Data, Keys: w.held.Keys},
		"no State":                    {Data: w.held.Data, Keys: w.held.Keys},
		"keys from elsewhere":         {State: state, Data: w.held.Data, Keys: from("app", "app")},
	} {
		w.held = want
		_, problem := w.fetch()
		require.NotNil(t, problem, name)
		assert.Equal(t, v1alpha1.ReasonUnavailable, problem.Reason)
		assert.True(t, problem.By.IsZero())
	}
}

func TestWithdrawingMakesNothingOfNothing(t *testing.T) {
	w := withDates(t, func(s *spec) { s.Target.Type = "example.com/new" })
	w.works()
	delete(w.held.Data, "app") // somebody has deleted it
	w.held.Type = "example.com/old"
	w.Stop()
	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Empty(t, content.Data, "no key without a value")
	assert.Empty(t, content.Keys)
	assert.NotNil(t, content.Data)
	assert.Equal(t, corev1.SecretType("example.com/old"), content.Type, "another type is not made of old values")
	w.vs.Status.LastFetchedAt, w.vs.Status.StaleAt = nil, nil
}

func TestALabelAloneIsWithdrawn(t *testing.T) {
	for _, change := range []func(*spec){
		func(s *spec) { s.Labels = metadataOf("d", "db") },
		func(s *spec) { s.Annotations = metadataOf("d", "db") },
	} {
		w := withDates(t, func(s *spec) { s.Data = dataOf("app", "app") }, change)
		w.works()
		w.Stop()
		w.at(over)
		content, problem := w.fetch()
		require.Nil(t, problem)
		assert.True(t, content.Metadata.IsZero())
		assert.Equal(t, map[string]string{"app": "app"}, texts(content.Data))
	}
}

func TestTypesThatNeedKeysKeepThemWithoutValues(t *testing.T) {
	for kind, c := range map[corev1.SecretType]struct {
		keys []v1alpha1.VSecMKey
		want map[string]string
	}{
		corev1.SecretTypeTLS:              {dataOf("tls.crt", "app", "tls.key", "db"), map[string]string{"tls.crt": "app", "tls.key": ""}},
		corev1.SecretTypeBasicAuth:        {dataOf("password", "db"), map[string]string{"password": ""}},
		corev1.SecretTypeSSHAuth:          {dataOf("ssh-privatekey", "db"), map[string]string{"ssh-privatekey": "withdrawn\n"}},
		corev1.SecretTypeDockerConfigJson: {dataOf(".dockerconfigjson", "db"), map[string]string{".dockerconfigjson": "{}"}},
		corev1.SecretTypeDockercfg:        {dataOf(".dockercfg", "db"), map[string]string{".dockercfg": "{}"}},
		corev1.SecretTypeOpaque:           {dataOf("password", "db"), map[string]string{}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			for _, down := range []bool{false, true} {
				w := withDates(t, func(s *spec) { s.Target.Type, s.Data = string(kind), c.keys })
				w.put("marker", "x")
				w.works()
				if down {
					w.Stop()
				}
				w.at(over)
				content, problem := w.fetch()
				require.Nil(t, problem)
				assert.Equal(t, c.want, texts(content.Data))
				if down {
					_, problem = w.fetch()
					require.NotNil(t, problem, "once")
					continue
				}
				if kind != corev1.SecretTypeTLS {
					continue // it is the same for all
				}
				w.put("db", canary+"new", w.begin.Add(2*time.Hour))
				refresh := func(want *source.Want) { want.Fresh = true }
				content, problem = w.fetchFor(refresh)
				require.Nil(t, problem)
				assert.Equal(t, c.want, texts(content.Data), "until the new one may be used")
				w.Delete("raw:db")
				content, problem = w.fetchFor(refresh)
				require.Nil(t, problem)
				assert.Equal(t, c.want, texts(content.Data), "also when there is none any more")
				w.put("db", canary+"newer")
				content, problem = w.fetchFor(refresh)
				require.Nil(t, problem)
				assert.Nil(t, content.Problem)
				for key := range content.Data {
					assert.NotEmpty(t, content.Keys[key].Path)
				}
			}
		})
	}
}

func TestKeysThatOthersMakeAreNotFilled(t *testing.T) {
	w := withDates(t, func(s *spec) {
		s.Target = v1alpha1.VSecMTarget{Type: string(corev1.SecretTypeTLS), ConflictPolicy: v1alpha1.SourceConflictMerge}
		s.Data = dataOf("ca.crt", "db")
	})
	w.works()
	w.at(over)
	content, problem := w.fetch()
	require.Nil(t, problem)
	assert.Empty(t, content.Data, "tls.crt and tls.key are of another one, and would be in conflict")
}
