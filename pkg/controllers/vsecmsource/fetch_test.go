package vsecmsource

import (
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestARawSecretIsFetched(t *testing.T) {
	w := newWorld(t, scout)
	w.put("db", `{"user":"`+canary+` anna","app":"`+canary+`"}`)
	w.put("marker", "x")
	w.vs.Spec = spec{Data: dataOf("user", "db.user"), Labels: metadataOf("app", "db.app"), Target: v1alpha1.VSecMTarget{Type: "example.com/db"}}
	content := w.works()
	assert.Equal(t, map[string]string{"user": " anna"}, texts(content.Data))
	assert.Equal(t, map[string]string{"app": canary}, content.Metadata.Labels)
	assert.Equal(t, corev1.SecretType("example.com/db"), content.Type)
	assert.Equal(t, from("user", "db.user"), content.Keys)
	assert.Empty(t, content.State)
	assert.Equal(t, w.begin, content.FetchedAt)
	assert.Equal(t, w.begin.Add(3*time.Hour), content.StaleAt)
	assert.WithinRange(t, content.Next, w.begin.Add(48*time.Minute), w.begin.Add(54*time.Minute))
	w.vs.Spec.Target.Type = ""
	assert.Equal(t, corev1.SecretTypeOpaque, w.works().Type)
}

func TestIntervalsAndAges(t *testing.T) {
	w := newWorld(t, scout)
	w.put("a", canary+"1")
	w.put("marker", "x")
	every, age := metav1.Duration{Duration: 100 * time.Second}, metav1.Duration{Duration: 1000 * time.Second}
	w.vs.Spec = spec{Data: dataOf("a", "a"), RefreshInterval: &every, MaxAge: &age}
	content := w.works()
	assert.Equal(t, w.begin.Add(1000*time.Second), content.StaleAt)
	assert.WithinRange(t, content.Next, w.begin.Add(80*time.Second), w.begin.Add(90*time.Second))
	w.put("a", canary+"2")
	w.at(79 * time.Second)
	assert.Equal(t, map[string]string{"a": "1"}, texts(w.works().Data), "what is young is shared")
	content, problem := w.fetchFor(func(want *source.Want) { want.Fresh = true })
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"a": "2"}, texts(content.Data), "who wants it fresh gets it")
	assert.Equal(t, w.begin.Add(79*time.Second), content.FetchedAt)

	w.Stop()
	w.at(75 * time.Second)
	_, problem = w.fetchFor(func(want *source.Want) { want.Repair = true })
	require.Nil(t, problem, "a repair takes what was read last")
	w.at(79*time.Second + 80*time.Second)
	_, problem = w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonUnavailable, problem.Reason)
	assert.True(t, problem.Heals)
	assert.Equal(t, 100*time.Second, problem.Retry)
}

func TestOneRequestServesAThousand(t *testing.T) {
	w := newWorld(t, scout)
	w.put("a", canary)
	w.put("marker", "x")
	w.Break(labsafe.Fault{Delay: 100 * time.Millisecond})
	var group errgroup.Group
	group.SetLimit(16)
	for range 1000 {
		vs := w.vs.DeepCopy()
		vs.Spec.Data = dataOf("a", "a")
		group.Go(func() error {
			_, err := w.fetcher.Fetch(t.Context(), vs, source.Want{})
			return err
		})
	}
	require.NoError(t, group.Wait())
	assert.Len(t, w.Requests(), 1)
}

func TestASecretThatIsNotAllowedIsNotEvenAskedFor(t *testing.T) {
	w := newWorld(t, scout)
	w.put("db", canary)
	w.put("marker", "x")
	var err error
	w.fetcher.allow, err = parseAllow([]string{"team/mark*", "other/db"})
	require.NoError(t, err)
	for name, change := range map[string]func(*spec){
		"data":        func(s *spec) { s.Data = append(s.Data, dataOf("b", "db")...) },
		"dataFrom":    func(s *spec) { s.DataFrom = []v1alpha1.VSecMObject{{Ref: "db"}} },
		"labels":      func(s *spec) { s.Labels = metadataOf("b", "db.x") },
		"annotations": func(s *spec) { s.Annotations = metadataOf("b", "db.x") },
	} {
		w.vs.Spec = spec{Data: dataOf("a", "marker")}
		change(&w.vs.Spec)
		_, problem := w.fetch()
		require.NotNil(t, problem, name)
		assert.True(t, problem.Final)
		assert.Equal(t, "NotAllowed: namespace team may not have the secret db of Safe: add team/db to the value vsecm.allow of the chart (flag --vsecm-allow)", problem.Error())
	}
	w.vs.Spec = spec{Data: dataOf("a", "db..x")}
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonInvalidSpec, problem.Reason)
	assert.Empty(t, w.Requests())
	w.vs.Spec = spec{Data: dataOf("a", "marker")}
	w.works()
}

func TestASingleRawSecret(t *testing.T) {
	const address = "GET /workload/v1/secrets at "
	for name, c := range map[string]struct {
		allow    string
		expected string
		data     []v1alpha1.VSecMKey
		second   bool
		want     string // with the address of Safe in the place of @
		reason   string
	}{
		"nobody knows its name":      {"team/*", "", dataOf("a", "a"), false, "@there is only one raw secret, and Safe does not tell the name of a single one: keep a second raw secret in Safe, such as raw:marker, or say that a is the only one", v1alpha1.ReasonInvalidValue},
		"it is expected":             {"team/*", "a", dataOf("a", "a"), false, "", ""},
		"another is asked for":       {"team/*", "a", dataOf("a", "b"), false, "@there is only one raw secret, which is expected to be a: write raw:b in Safe, or correct the name", v1alpha1.ReasonPathMissing},
		"it could be any":            {"team/a", "a", dataOf("a", "a"), false, "Safe has only one raw secret and does not tell its name, so that only a namespace which may have all secrets can take it for a: keep a second raw secret in Safe, such as raw:marker, or add team/* to the value vsecm.allow of the chart (flag --vsecm-allow)", v1alpha1.ReasonNotAllowed},
		"it could be any of these":   {"team/a*", "a", dataOf("a", "a"), false, "Safe has only one raw secret and does not tell its name, so that only a namespace which may have all secrets can take it for a: keep a second raw secret in Safe, such as raw:marker, or add team/* to the value vsecm.allow of the chart (flag --vsecm-allow)", v1alpha1.ReasonNotAllowed},
		"no name, and not all":       {"team/a", "", dataOf("a", "a"), false, "@there is only one raw secret, and Safe does not tell the name of a single one: keep a second raw secret in Safe, such as raw:marker, or say that a is the only one", v1alpha1.ReasonInvalidValue},
		"a second one tells":         {"team/a", "", dataOf("a", "a"), true, "", ""},
		"expected beside a second":   {"team/a", "a", dataOf("a", "a"), true, "", ""},
		"expected, but another here": {"team/*", "other", dataOf("a", "a"), true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, scout)
			allow, err := parseAllow([]string{c.allow})
			require.NoError(t, err)
			w.fetcher.allow = allow
			w.put("a", canary+"1")
			if c.second {
				w.put("marker", "x")
			}
			w.vs.Spec = spec{Data: c.data, ExpectedName: c.expected, OnMissing: v1alpha1.OnMissingFail}
			if c.reason == "" {
				assert.Equal(t, map[string]string{"a": "1"}, texts(w.works().Data))
				return
			}
			_, problem := w.fetch()
			require.NotNil(t, problem)
			assert.Equal(t, c.reason, problem.Reason)
			assert.False(t, problem.Final)
			assert.False(t, problem.Heals)
			assert.Equal(t, 5*time.Minute, problem.Retry)
			want := c.want
			if want[0] == '@' {
				want = address + w.Address[:len(w.Address)-1] + ": " + want[1:]
			}
			if c.reason == v1alpha1.ReasonPathMissing {
				want += "; the Secret is left as it is"
			}
			assert.Equal(t, want, problem.Message)
		})
	}
}

func TestAnOperatorWithSeveralIdentities(t *testing.T) {
	w := newWorld(t, "billing", scout, "shop")
	w.put("db", canary+"raw")
	w.put("marker", "x")
	for _, name := range []string{"billing", "shop"} {
		w.Put(labsafe.Stored{Name: name, Value: `{"user":"` + canary + name + `"}`, Meta: labsafe.Meta{Format: "json"}})
	}
	w.vs.Spec = spec{Data: dataOf("db", "db")}
	assert.Equal(t, map[string]string{"db": "raw"}, texts(w.works().Data))
	w.vs.Spec = spec{SecretType: v1alpha1.VSecMWorkload, Data: dataOf("b", "billing.user", "s", "shop.user"), DataFrom: []v1alpha1.VSecMObject{{Ref: "shop", Prefix: "all-"}}}
	content := w.works()
	assert.Equal(t, map[string]string{"b": "billing", "s": "shop", "all-user": "shop"}, texts(content.Data))
	assert.Equal(t, w.begin, content.FetchedAt)
	assert.Len(t, w.Requests(), 3, "one for each identity")

	w.vs.Spec.Data = dataOf("x", "other.user")
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonDenied, problem.Reason)
	assert.Contains(t, problem.Message, "Safe gives the secret of the workload other to nobody else")
	w.vs.Spec = spec{SecretType: v1alpha1.VSecMWorkload, Data: dataOf("x", scout)}
	_, problem = w.fetch()
	require.NotNil(t, problem)
	assert.Contains(t, problem.Message, "the workload vsecm-scout has no secret of its own")

	only := newWorld(t, "billing")
	only.vs.Spec = spec{Data: dataOf("db", "db")}
	_, problem = only.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonDenied, problem.Reason)
	assert.False(t, problem.Heals)
	assert.Contains(t, problem.Message, "Safe gives raw secrets only to a workload with the name vsecm-scout")
	assert.Empty(t, only.Requests())
}

func TestTheOldestOfSeveralAnswersCounts(t *testing.T) {
	w := newWorld(t, "billing", "shop")
	w.Put(labsafe.Stored{Name: "billing", Value: canary, Meta: labsafe.Meta{Format: "raw"}})
	w.vs.Spec = spec{SecretType: v1alpha1.VSecMWorkload, Data: dataOf("s", "shop"), OnMissing: v1alpha1.OnMissingRemove}
	assert.Equal(t, w.begin, w.works().FetchedAt, "that there is none is an answer")
	w.at(10 * time.Minute)
	w.vs.Spec.Data = dataOf("b", "billing", "s", "shop")
	assert.Equal(t, w.begin, w.works().FetchedAt, "also when it was given a while ago")
	w.vs.Spec.Data = dataOf("s", "shop", "b", "billing")
	assert.Equal(t, w.begin, w.works().FetchedAt)
	assert.Len(t, w.Requests(), 2)
}

func TestWhatSafeAnswers(t *testing.T) {
	const invalid, refused, unavailable, missing = v1alpha1.ReasonInvalidValue, v1alpha1.ReasonRefused, v1alpha1.ReasonUnavailable, v1alpha1.ReasonPathMissing
	list := func(elements string) string {
		return `{"data":"[{\"name\":\"raw:a\",\"value\":\"` + canary + `\",` + elements + `},{\"name\":\"raw:b\",\"value\":\"` + canary + `\"}]"}`
	}
	broken := func(f labsafe.Fault) func(*world) { return func(w *world) { w.Break(f) } }
	type answered struct {
		set    func(*world)
		reason string
		heals  bool
		words  string
	}
	both := map[string]answered{
		"no server":            {func(w *world) { w.Stop() }, unavailable, true, "connection refused"},
		"a closed connection":  {broken(labsafe.Fault{Closed: true}), unavailable, true, "the connection was closed"},
		"no answer in time":    {broken(labsafe.Fault{Delay: time.Minute}), unavailable, true, "no answer in time"},
		"a part of an answer":  {broken(labsafe.Fault{Body: `{"data":"` + canary + canary + `"}`, Truncated: true}), unavailable, true, "the answer broke off"},
		"no JSON":              {broken(labsafe.Fault{Body: canary}), unavailable, true, "the answer is no whole JSON object"},
		"half a JSON":          {broken(labsafe.Fault{Body: `{"data":"` + canary}), unavailable, true, "the answer is no whole JSON object"},
		"another JSON":         {broken(labsafe.Fault{Body: `["` + canary + `"]`}), refused, false, "the answer is JSON, but not that of Safe"},
		"data of another type": {broken(labsafe.Fault{Body: `{"data":{"a":"` + canary + `"}}`}), refused, false, "the answer is JSON, but not that of Safe"},
		"no data":              {broken(labsafe.Fault{Body: `{}`}), refused, false, "the answer is JSON, but not that of Safe"},
		"empty data":           {broken(labsafe.Fault{Body: `{"data":""}`}), refused, false, "the answer has no data"},
		"an error":             {broken(labsafe.Fault{Body: `{"data":"` + canary + `","err":"` + canary + `"}`}), unavailable, true, "Safe says that it has failed"},
		"no root key":          {func(w *world) { w.SetRootKey(false) }, unavailable, true, "Safe has no root key yet"},
		"no database":          {func(w *world) { w.SetDatabase(false) }, unavailable, true, "Safe is not ready"},
		"nothing":              {func(*world) {}, missing, false, "there is no "},
		"nothing, with words":  {broken(labsafe.Fault{Status: 404, Body: canary}), refused, false, "this one is not"},
		"a redirect":           {broken(labsafe.Fault{Status: 302, Location: "https://example.com/" + canary}), refused, false, "Found: this is no answer of Safe"},
		"not authenticated":    {broken(labsafe.Fault{Status: 401, Body: canary}), refused, false, "Unauthorized: this is no answer of Safe"},
		"forbidden":            {broken(labsafe.Fault{Status: 403, Body: canary}), refused, false, "Forbidden: this is no answer of Safe"},
		"too many":             {broken(labsafe.Fault{Status: 429, Body: canary}), unavailable, true, "Too Many Requests"},
		"a crash":              {broken(labsafe.Fault{Status: 500, Body: canary}), unavailable, true, "Internal Server Error"},
		"a status of its own":  {broken(labsafe.Fault{Status: 299, Body: canary}), refused, false, "this is no answer of Safe"},
	}
	raw := map[string]answered{
		"one that is no raw secret":    {broken(labsafe.Fault{Body: `{"data":"[{\"name\":\"raw:a\",\"value\":\"` + canary + `\",\"valueTransformed\":\"` + canary + `\"}]"}`}), refused, false, "the answer looks like a list of raw secrets and is none"},
		"a date that is none":          {broken(labsafe.Fault{Body: list(`\"notBefore\":\"` + canary + `\"`)}), invalid, false, "raw secret a has a notBefore that is no date: write it anew in Safe"},
		"another date that is none":    {broken(labsafe.Fault{Body: list(`\"expiresAfter\":\"` + canary + `\"`)}), invalid, false, "raw secret a has an expiresAfter that is no date: write it anew in Safe"},
		"no value":                     {broken(labsafe.Fault{Body: `{"data":"[{\"name\":\"raw:a\",\"value\":\"\",\"meta\":{}},{\"name\":\"raw:b\",\"value\":\"` + canary + `\"}]"}`}), invalid, false, "raw secret a has no value: write it anew in Safe"},
		"one twice":                    {broken(labsafe.Fault{Body: `{"data":"[{\"name\":\"raw:a\",\"value\":\"` + canary + `\"},{\"name\":\"raw:a\",\"value\":\"` + canary + `\"}]"}`}), invalid, false, "raw secret a is there twice: write it anew in Safe"},
		"a single one":                 {func(w *world) { w.put("x", canary) }, invalid, false, "there is only one raw secret"},
		"a single one that is no list": {broken(labsafe.Fault{Body: `{"data":"[` + canary + `"}`}), invalid, false, "there is only one raw secret"},
	}
	check := func(t *testing.T, c answered, change func(*world), id string) {
		t.Helper()
		w := newWorld(t, id)
		w.vs.Spec = spec{Data: dataOf("a", "a"), OnMissing: v1alpha1.OnMissingFail}
		change(w)
		c.set(w)
		_, problem := w.fetch()
		require.NotNil(t, problem)
		assert.Equal(t, c.reason, problem.Reason, problem.Message)
		assert.Equal(t, c.heals, problem.Heals)
		assert.False(t, problem.Final)
		assert.Equal(t, 5*time.Minute, problem.Retry)
		assert.Contains(t, problem.Message, c.words)
		assert.Contains(t, problem.Message, "GET /workload/v1/secrets at "+w.Address[:len(w.Address)-1])
	}
	for name, c := range both {
		t.Run(name, func(t *testing.T) {
			check(t, c, func(*world) {}, scout)
			check(t, c, func(w *world) { w.vs.Spec.SecretType = v1alpha1.VSecMWorkload }, "a")
		})
	}
	for name, c := range raw {
		t.Run(name, func(t *testing.T) { check(t, c, func(*world) {}, scout) })
	}
}

func TestASafeOfItsOwn(t *testing.T) {
	w := newWorld(t, scout)
	w.put("a", canary)
	w.put("marker", "x")
	w.fetcher.safeURL = "https://127.0.0.1:1/"
	w.vs.Spec = spec{Data: dataOf("a", "a"), VSecMSafeURL: w.Address}
	w.works()
	w.vs.Spec.VSecMSafeURL = "https://user:" + canary + "@safe"
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonRefused, problem.Reason)
	assert.Contains(t, problem.Message, "more than host and port")
	w.vs.Spec = spec{Data: dataOf("a", "a"), SecretType: v1alpha1.VSecMWorkload, VSecMSafeURL: "http://safe"}
	_, problem = w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonRefused, problem.Reason)
}

func TestAShortIntervalIsTheTimeOfARetry(t *testing.T) {
	w := newWorld(t, scout)
	w.vs.Spec = spec{Data: dataOf("a", "a"), RefreshInterval: &metav1.Duration{Duration: 10 * time.Second}}
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, 10*time.Second, problem.Retry)
}

func TestNothingOfASecretIsPrinted(t *testing.T) {
	w := newWorld(t, scout)
	w.put("a", canary)
	w.put("marker", "x")
	w.vs.Spec = spec{Data: dataOf("a", "a.b"), Labels: metadataOf("l", "a.c")}
	_, problem := w.fetch()
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonInvalidValue, problem.Reason)
	raw, err := w.fetcher.client.Raw(t.Context(), w.Address, time.Hour)
	require.NoError(t, err)
	secret, err := raw.Secret("a", "")
	require.NoError(t, err)
	w.safe(source.Content{LeftOut: []string{vsecm.Secret{Name: "a", Value: canary}.String(), secret.String(), raw.String()}}, nil)
}
