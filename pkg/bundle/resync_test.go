package bundle

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestTheBundlesNumberIsRaisedWhenEveryClusterMustApplyAgain(t *testing.T) {
	resync := annotate(v1alpha1.AnnotationResyncRequestedAt, "now")
	hourly := func(s *story) { s.Handshake.Spec.ResyncInterval = nil }
	// A resync comes up to a fifth of the interval early, each time differently.
	const first = 59*time.Minute + 16*time.Second + 800*time.Millisecond
	for title, steps := range map[string][]step{
		"nothing changed": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), later(1000*time.Hour)), "1: a, b"},
		},
		"the Secret was rotated": {
			{nil, "1: a, b"},
			{rotate("r2"), "2: a, b"},
		},
		"the rotation is pushed out of the Helm history when all have confirmed, once": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), later(time.Minute)), "2: a, b"},
			{apply("b"), "3: a, b"},
			{all(apply("a", "b"), later(time.Hour)), "3: a, b"},
		},
		"not at once: rotations in quick succession need it once": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a", "b"), later(4*time.Second)), "2: a, b | next 1s"},
			{rotate("r3"), "3: a, b"},
			{apply("a", "b"), "3: a, b | next 5s"},
			{later(5 * time.Second), "4: a, b"},
		},
		"an agent that is not ready has not confirmed": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), answer(Answer{Applied: 2}, "b"), later(time.Minute)), "2: a, b"},
		},
		"a cluster that joins has to confirm first": {
			{match("a"), "1: a"},
			{all(apply("a"), rotate("r2")), "2: a"},
			{all(apply("a"), match("a", "b"), later(time.Minute)), "2: a, b"},
			{apply("b"), "3: a, b"},
		},
		"a cluster that leaves does not hold it up": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), match("a"), later(time.Minute)), "3: a, b withdraw 4 | next 10m0s"},
		},
		"a cluster that Fleet no longer knows does not hold it up": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), exist("a"), later(time.Minute)), "3: a"},
		},
		"where no cluster is, nothing is pushed out": {
			{match(), "1:  | done"},
			{rotate("r2"), "2:  | done"},
			{later(time.Minute), "2:  | done"},
		},
		"a resync was asked for, once": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), resync), "2: a, b"},
			{later(time.Hour), "2: a, b"},
			{annotate(v1alpha1.AnnotationResyncRequestedAt, "again"), "3: a, b"},
		},
		"a resync that was asked for before the Bundle was made is in it": {
			{resync, "1: a, b"},
			{nil, "1: a, b"},
		},
		"a resync that was asked for serves as the push too": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a", "b"), resync), "3: a, b"},
			{all(apply("a", "b"), later(time.Minute)), "3: a, b"},
		},
		"but not while a cluster has not confirmed": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), resync), "3: a, b"},
			{all(apply("a", "b"), later(time.Minute)), "4: a, b"},
		},
		"paused, only a rotation raises it, and Fleet holds it back": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), pause(true), resync, hourly, later(2*time.Hour)), "1: a, b"},
			{rotate("r2"), "2: a, b"},
			{all(pause(false), hourly), "2: a, b | next 48m38.88s"},
		},
		"the resync interval is over, and over again": {
			{hourly, "1: a, b | next 59m16.8s"},
			{all(apply("a", "b"), later(first-time.Nanosecond)), "1: a, b | next 1ns"},
			{later(time.Nanosecond), "2: a, b | next 51m42.48s"},
		},
		"a rotation puts the resync off": {
			{hourly, "1: a, b | next 59m16.8s"},
			{all(later(30*time.Minute), rotate("r2")), "2: a, b | next 51m48.24s"},
		},
		"a Secret that has gone is not written again": {
			{hourly, "1: a, b | next 59m16.8s"},
			{all(apply("a", "b"), withdraw), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a", "b"), later(24*time.Hour), resync), "1:  | withdrawn a, b | done"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestResyncsDoNotComeTogether(t *testing.T) {
	const handshakes = 1000
	for _, interval := range []time.Duration{5 * time.Minute, time.Hour, 100_000 * time.Hour} {
		together := map[int64]int{}
		var sum time.Duration
		differs := 0
		for i := range handshakes {
			uid := types.UID(fmt.Sprintf("1b4e28ba-2fa1-11d2-883f-%012x", i*7919))
			d := Delivery{Revisions: []RevisionSent{{From: 1, Revision: "r1"}}, AssertedAt: metav1.NewTime(start)}
			wait := d.resyncDue(interval, uid).Sub(start)
			require.GreaterOrEqual(t, wait, interval/5*4)
			require.LessOrEqual(t, wait, interval)
			together[int64(wait/(interval/100))]++
			sum += wait / handshakes
			d.AssertedAt = metav1.NewTime(start.Add(interval))
			if d.resyncDue(interval, uid).Sub(start) != interval+wait {
				differs++
			}
		}
		for at, n := range together {
			assert.Less(t, n, handshakes/10, "so many come in the same hundredth of %s, number %d", interval, at)
		}
		assert.GreaterOrEqual(t, len(together), 20, "they use all of the last fifth of %s", interval)
		assert.InDelta(t, 0.9, float64(sum)/float64(interval), 0.01)
		assert.Greater(t, differs, handshakes*9/10, "the same ones do not come together again")
	}
}

func TestResyncsThatAreOff(t *testing.T) {
	d := Delivery{Revisions: []RevisionSent{{From: 1, Revision: "r1"}}, AssertedAt: metav1.NewTime(start)}
	assert.Zero(t, d.resyncDue(0, "uid"))
	assert.Zero(t, d.resyncDue(-time.Hour, "uid"))
	assert.Zero(t, Delivery{}.resyncDue(time.Hour, "uid"), "nothing was sent yet")
}
