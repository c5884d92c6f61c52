package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func registryCreds() *v1alpha1.FleetHandshake {
	return &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "registry-creds", UID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427"},
		Spec: v1alpha1.FleetHandshakeSpec{
			SecretName: "registry-creds", TargetNamespace: "apps",
			Targets: []v1alpha1.ClusterTarget{{ClusterGroup: "production"}},
		},
	}
}

func clusters(names ...string) []*fleet.Cluster {
	out := make([]*fleet.Cluster, 0, len(names))
	for _, name := range names {
		out = append(out, &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name}})
	}
	return out
}

func named(name, display string) *fleet.Cluster {
	c := clusters(name)[0]
	c.Labels = map[string]string{target.DisplayNameLabel: display}
	return c
}

// story is a sequence of requests, each with the Bundle that the one before has made. Resyncs are off.
type story struct {
	Request
	out Outcome
}

func newStory(names ...string) *story {
	hs := registryCreds()
	hs.Spec.ResyncInterval = &metav1.Duration{}
	s := &story{Request: Request{
		Handshake: hs, Clusters: clusters(names...), Matched: clusters(names...), Answers: map[string]Answer{},
		WithdrawalThreshold: 50, Now: start,
	}}
	s.rotate("r1")
	return s
}

func (s *story) rotate(revision string) {
	s.Hash, s.Revision, s.Names = "hash-"+revision, revision, []string{"registry-creds"}
}

// render goes on to the next Bundle. It must stay as it is until Outcome.Next, for ever when that is zero; but for a
// second, because the record knows no less.
func (s *story) render(t *testing.T) {
	t.Helper()
	s.Current, s.out = Render(s.Request)
	r := s.Request
	until := s.out.Next.Add(-time.Second)
	switch {
	case s.out.Next.IsZero():
		until = s.Now.Add(100_000 * time.Hour)
	case until.Before(s.Now):
		until = s.Now
	}
	for _, r.Now = range []time.Time{s.Now, until} {
		again, out := Render(r)
		require.Equal(t, s.Current, again, "the same request again makes another Bundle, %s later", r.Now.Sub(s.Now))
		require.Equal(t, s.out.Held, out.Held)
		require.Equal(t, s.out.Done, out.Done)
		require.Falsef(t, s.out.Next.IsZero() && !out.Next.IsZero(), "it has to be looked at again, %s later", out.Next.Sub(s.Now))
		require.False(t, out.Next.Before(s.out.Next.Add(-time.Second)) && !out.Next.IsZero(), "it has to be looked at again earlier")
	}
}

// say puts the plan into a line, for example "3: a, b 4, c withdraw 5 | withdrawn d | next 10m0s": the number of the
// Bundle, each cluster with its own number where it has one, and the outcome.
func (s *story) say() string {
	var names []string
	for _, t := range slices.SortedFunc(maps.Values(TargetsOf(s.Current)), func(a, b Target) int { return strings.Compare(a.Cluster, b.Cluster) }) {
		name := t.Cluster
		if t.Withdraw {
			name += " withdraw"
		}
		if t.Number > 0 {
			name += fmt.Sprintf(" %d", t.Number)
		}
		names = append(names, name)
	}
	line := fmt.Sprintf("%d: %s", s.Current.Spec.ForceSyncGeneration, strings.Join(names, ", "))
	for _, part := range []struct {
		what  string
		names []string
	}{{"held", s.out.Held}, {"withdrawn", s.out.Withdrawn}, {"unconfirmed", s.out.Unconfirmed}} {
		if len(part.names) > 0 {
			line += " | " + part.what + " " + strings.Join(part.names, ", ")
		}
	}
	if s.out.Done {
		line += " | done"
	}
	if !s.out.Next.IsZero() {
		line += " | next " + s.out.Next.Sub(s.Now).String()
	}
	return line
}

// number is what Fleet hands on to a cluster.
func (s *story) number(cluster string) int64 {
	if own := TargetsOf(s.Current)[cluster].Number; own > 0 {
		return own
	}
	return s.Current.Spec.ForceSyncGeneration
}

// step changes something, and says what the plan must then be.
type step struct {
	event func(*story)
	want  string
}

// tell runs a story. A story is of the clusters a and b, both matched, unless a step says otherwise.
func tell(t *testing.T, steps []step) {
	t.Helper()
	s := newStory("a", "b")
	for i, step := range steps {
		if step.event != nil {
			step.event(s)
		}
		s.render(t)
		require.Equal(t, step.want, s.say(), "step %d", i+1)
	}
}

func all(events ...func(*story)) func(*story) {
	return func(s *story) {
		for _, e := range events {
			e(s)
		}
	}
}

// apply: the clusters have done what their targets say.
func apply(names ...string) func(*story) {
	return func(s *story) {
		for _, name := range names {
			s.Answers[name] = Answer{Applied: s.number(name), Ready: true}
		}
	}
}

// answer: the clusters answer this, each time.
func answer(a Answer, names ...string) func(*story) {
	return func(s *story) {
		for _, name := range names {
			s.Answers[name] = a
		}
	}
}

// silent: Fleet has no BundleDeployment for the clusters.
func silent(names ...string) func(*story) {
	return func(s *story) {
		for _, name := range names {
			delete(s.Answers, name)
		}
	}
}

// exist: these are the clusters of the workspace.
func exist(names ...string) func(*story) {
	return func(s *story) { s.Clusters = clusters(names...) }
}

// match: these are the clusters that the targets match.
func match(names ...string) func(*story) {
	return func(s *story) { s.Matched = clusters(names...) }
}

func later(d time.Duration) func(*story) {
	return func(s *story) { s.Now = s.Now.Add(d) }
}

func rotate(revision string) func(*story) {
	return func(s *story) { s.rotate(revision) }
}

func pause(on bool) func(*story) {
	return func(s *story) { s.Handshake.Spec.Paused = on }
}

func annotate(key, value string) func(*story) {
	return func(s *story) { metav1.SetMetaDataAnnotation(&s.Handshake.ObjectMeta, key, value) }
}

// withdraw: the Secret has gone, or the handshake is going.
func withdraw(s *story) {
	s.Withdraw, s.Hash, s.Revision, s.Names = true, "hash-nothing", "", nil
}

// remove: somebody deletes the handshake.
func remove(s *story) {
	s.Handshake.DeletionTimestamp = &metav1.Time{Time: s.Now}
	withdraw(s)
}

// removeRetained: somebody deletes the handshake, and the copies are to stay.
func removeRetained(s *story) {
	s.Handshake.DeletionTimestamp = &metav1.Time{Time: s.Now}
	s.Withdraw = true
}

func retain(s *story) { s.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionRetain }

func recreate(s *story) { s.Handshake.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate }
