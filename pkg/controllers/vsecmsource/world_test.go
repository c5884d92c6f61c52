package vsecmsource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/sirupsen/logrus"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

// canary is in each value of a secret, and may be nowhere else.
const canary = "hunter2"

const scout = vsecm.ScoutName

// world is a Safe, and one VSecMSecret with what its Secret holds.
type world struct {
	*labsafe.Server
	t       *testing.T
	clock   *clocktesting.FakeClock
	begin   time.Time
	fetcher fetcher
	log     *bytes.Buffer
	vs      *v1alpha1.VSecMSecret
	// held is what the engine finds in the Secret.
	held source.Want
}

// identities are all those of one process.
type identities struct {
	*spiffetest.Identity
	all []*x509svid.SVID
}

func (i identities) SVIDs() []*x509svid.SVID { return i.all }

// newWorld makes a world whose operator is each of the workloads.
func newWorld(t *testing.T, workloads ...string) *world {
	t.Helper()
	ca, err := spiffetest.New(vsecm.DefaultTrustDomain)
	require.NoError(t, err)
	mint := func(name string) *spiffetest.Identity {
		identity, err := ca.Identity(labsafe.ID(vsecm.DefaultTrustDomain, name), 11*time.Hour)
		require.NoError(t, err)
		return identity
	}
	begin := time.Now().UTC().Truncate(time.Second)
	w := &world{t: t, clock: clocktesting.NewFakeClock(begin), begin: begin, log: &bytes.Buffer{}}
	w.Server, err = labsafe.Start(labsafe.Options{Source: mint(labsafe.SafeName)})
	require.NoError(t, err)
	t.Cleanup(w.Stop)
	all := identities{Identity: mint(scout)}
	for _, name := range workloads {
		svid, err := mint(name).GetX509SVID()
		require.NoError(t, err)
		all.all = append(all.all, svid)
	}
	client, err := vsecm.New(w.clock, vsecm.Options{Open: func(context.Context) (vsecm.Source, error) { return all, nil }, Timeout: time.Second})
	require.NoError(t, err)
	allow, err := parseAllow([]string{"team/*"})
	require.NoError(t, err)
	w.fetcher = fetcher{client: client, safeURL: w.Address, allow: allow, clock: w.clock}
	w.vs = &v1alpha1.VSecMSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Generation: 1}}
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.TraceLevel)
	logrus.SetOutput(w.log)
	t.Cleanup(func() {
		logrus.SetLevel(level)
		logrus.SetOutput(os.Stderr)
	})
	return w
}

// data wants keys of the Secret, as key, ref and so on.
func dataOf(pairs ...string) (out []v1alpha1.VSecMKey) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, v1alpha1.VSecMKey{Key: pairs[i], Ref: pairs[i+1]})
	}
	return out
}

func metadataOf(pairs ...string) (out []v1alpha1.VSecMMetadata) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, v1alpha1.VSecMMetadata{Key: pairs[i], Ref: pairs[i+1]})
	}
	return out
}

// put writes a raw secret in Safe.
func (w *world) put(name, value string, dates ...time.Time) {
	s := labsafe.Stored{Name: "raw:" + name, Value: value, Meta: labsafe.Meta{Format: "raw"}}
	if len(dates) > 0 {
		s.NotBefore = dates[0]
	}
	if len(dates) > 1 {
		s.ExpiresAfter = dates[1]
	}
	w.Put(s)
}

// at sets the time since the beginning.
func (w *world) at(since time.Duration) { w.clock.SetTime(w.begin.Add(since)) }

// fetch does what the engine does: a fetch that is due, and what it gives is in the Secret then.
func (w *world) fetch() (source.Content, *source.Problem) { return w.fetchFor(func(*source.Want) {}) }

func (w *world) fetchFor(change func(*source.Want)) (source.Content, *source.Problem) {
	w.t.Helper()
	want := w.held
	change(&want)
	content, err := w.fetcher.Fetch(w.t.Context(), w.vs, want)
	w.vs.Status.ObservedGeneration = w.vs.Generation
	w.safe(content, err)
	if err != nil {
		var problem *source.Problem
		require.ErrorAs(w.t, err, &problem)
		assert.Equal(w.t, source.Content{}, content, "a problem alone")
		return content, problem
	}
	assert.True(w.t, content.Next.After(w.clock.Now()), "the next fetch is not in the past")
	assert.Len(w.t, content.Keys, len(content.Data), "each key has an origin")
	w.held = source.Want{State: content.State, Data: content.Data, Keys: content.Keys, Metadata: content.Metadata, Intact: true}
	w.vs.Status.LastFetchedAt = &metav1.Time{Time: content.FetchedAt}
	w.vs.Status.StaleAt = &metav1.Time{Time: content.StaleAt}
	return content, nil
}

// works wants content without a problem.
func (w *world) works() source.Content {
	w.t.Helper()
	content, problem := w.fetch()
	require.Nil(w.t, problem)
	require.Nil(w.t, content.Problem)
	return content
}

// safe wants no byte of a secret outside of values.
func (w *world) safe(content source.Content, err error) {
	w.t.Helper()
	said := []any{err, content.Problem, string(content.State), content.LeftOut, fmt.Sprint(content.Keys), w.log.String()}
	if content.Problem != nil {
		said = append(said, content.Problem.Message)
	}
	var problem *source.Problem
	if errors.As(err, &problem) {
		said = append(said, problem.Message, problem.Reason)
	}
	for _, s := range said {
		assert.NotContains(w.t, fmt.Sprintf("%v %+v", s, s), canary)
	}
}

// texts are values without the canary before them.
func texts(data map[string][]byte) map[string]string {
	out := map[string]string{}
	for key, value := range data {
		out[key] = string(bytes.ReplaceAll(value, []byte(canary), nil))
	}
	return out
}

func stateOf(t *testing.T, content source.Content) map[string]time.Time {
	t.Helper()
	var s state
	if content.State != nil {
		require.NoError(t, json.Unmarshal(content.State, &s))
	}
	return s.Expires
}
