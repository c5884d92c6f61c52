package bundle

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClustersLeave(t *testing.T) {
	for title, steps := range map[string][]step{
		"it is told to remove its copy, and dropped when it has": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{later(time.Minute), "1: a, b withdraw 2 | next 9m0s"},
			{apply("b"), "1: a | withdrawn b"},
			{nil, "1: a"},
		},
		"an agent that is not ready has not removed it": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{answer(Answer{Applied: 2}, "b"), "1: a, b withdraw 2 | next 10m0s"},
		},
		"a cluster that Fleet has made nothing for is dropped silently": {
			{nil, "1: a, b"},
			{all(apply("a"), match("a")), "1: a"},
		},
		"a cluster whose BundleDeployment goes while it is waited for is dropped silently": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{silent("b"), "1: a"},
		},
		"a cluster that does not answer in time is dropped": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{later(10*time.Minute - time.Second), "1: a, b withdraw 2 | next 1s"},
			{later(time.Second), "1: a | unconfirmed b"},
		},
		"removalTimeout says how long to wait": {
			{func(s *story) { s.Handshake.Spec.RemovalTimeout = &metav1.Duration{Duration: time.Hour} }, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 1h0m0s"},
			{later(time.Hour), "1: a | unconfirmed b"},
		},
		"a removalTimeout of zero waits for nobody": {
			{func(s *story) { s.Handshake.Spec.RemovalTimeout = &metav1.Duration{} }, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a | unconfirmed b"},
		},
		"those that leave one after the other have a number and a wait each": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{all(later(time.Minute), match()), "1: a withdraw 3, b withdraw 2 | next 9m0s"},
			{later(9 * time.Minute), "1: a withdraw 3 | unconfirmed b | next 1m0s"},
		},
		"paused, it keeps its copy until the pause ends": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a"), pause(true)), "1: a, b"},
			{later(time.Hour), "1: a, b"},
			{silent("b"), "1: a, b"},
			{all(answer(Answer{Applied: 1, Ready: true}, "b"), pause(false)), "1: a, b withdraw 2 | next 10m0s"},
		},
		"after a pause it has the whole time to confirm": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{all(later(time.Minute), pause(true)), "1: a, b withdraw 2"},
			{all(later(time.Hour), pause(false)), "1: a, b withdraw 2 | next 10m0s"},
		},
		"paused while it is waited for, the wait stands still": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{all(pause(true), later(time.Hour)), "1: a, b withdraw 2"},
			{apply("b"), "1: a, b withdraw 2"},
			{pause(false), "1: a | withdrawn b"},
		},
		"a rotation meanwhile does not make it wait for ever": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{rotate("r2"), "3: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "3: a | withdrawn b"},
		},
		"matched again before it has removed its copy, it removes it first": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{match("a", "b"), "1: a, b withdraw 2"},
			{later(time.Hour), "1: a, b withdraw 2"},
			{apply("b"), "1: a, b 3"},
			{apply("b"), "1: a, b 3"},
		},
		"matched again after that, it gets a number of its own": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "1: a | withdrawn b"},
			{match("a", "b"), "1: a, b 3"},
		},
		"all leave when the Secret has gone": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), withdraw), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a"), "1: b withdraw 2 | withdrawn a | next 10m0s"},
			{apply("b"), "1:  | withdrawn b | done"},
		},
		"all leave when there is nothing to send, and nobody says so": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), withdraw), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), func(s *story) { s.Withdraw = false }), "1: b withdraw 2 | withdrawn a | next 10m0s"},
		},
		"the Secret is back while its copies are being removed": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), withdraw), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), rotate("r2"), func(s *story) { s.Withdraw = false }), "3: a 4, b withdraw 2"},
			{apply("a", "b"), "3: a 4, b 5"},
		},
		"paused, not even a Secret that has gone is taken away": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), withdraw, pause(true)), "1: a, b"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestAChangeThatWithdrawsFromManyIsHeld(t *testing.T) {
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("c%d", i))
		}
		return out
	}
	confirm := func(revision string) func(*story) { return annotate(v1alpha1.AnnotationConfirmWithdrawal, revision) }
	six := all(exist(many(6)...), match(many(6)...))
	had := step{six, "1: c0, c1, c2, c3, c4, c5"}
	two := all(apply(many(6)...), match("c0", "c1"))
	held := "1: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"
	gone := "1: c0, c1, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"
	for title, steps := range map[string][]step{
		"more than half of six keep their copy": {
			had, {two, held}, {later(time.Hour), held},
		},
		"exactly half go": {
			had, {all(apply(many(6)...), match("c0", "c1", "c2")), "1: c0, c1, c2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"of five, all may go": {
			{all(exist(many(5)...), match(many(5)...)), "1: c0, c1, c2, c3, c4"},
			{all(apply(many(5)...), match()), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2 | next 10m0s"},
		},
		"another threshold holds less": {
			had, {all(two, func(s *story) { s.WithdrawalThreshold = 67 }), gone},
		},
		"another threshold holds more": {
			had, {all(apply(many(6)...), match("c0", "c1", "c2", "c3", "c4"), func(s *story) { s.WithdrawalThreshold = 10 }), "1: c0, c1, c2, c3, c4, c5 | held c5"},
		},
		"a threshold of 100 never holds": {
			had, {all(apply(many(6)...), match(), func(s *story) { s.WithdrawalThreshold = 100 }), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"somebody confirms the current revision": {
			had, {two, held}, {confirm("r1"), gone},
		},
		"a confirmation of another revision does not count": {
			had, {two, held}, {confirm("r0"), held}, {confirm("true"), held}, {confirm(""), held},
		},
		"a confirmation does not count for the revision after it": {
			had, {all(two, confirm("r1"), rotate("r2")), "2: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"},
		},
		"those that are held get what is new": {
			had, {two, held}, {rotate("r2"), "2: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"},
		},
		"the former revision is pushed out when those that are held have the new one too": {
			had, {two, held},
			{all(rotate("r2"), later(time.Minute)), "2: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"},
			{all(apply("c0", "c1"), later(time.Minute)), "2: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"},
			{apply(many(6)...), "3: c0, c1, c2, c3, c4, c5 | held c2, c3, c4, c5"},
		},
		"one that is held and refuses is tried again, with a wait": {
			had, {two, held},
			{all(answer(Answer{Applied: 1, Refused: true}, "c5"), later(5*time.Second)), "1: c0, c1, c2, c3, c4, c5 2 | held c2, c3, c4, c5 | next 10s"},
		},
		"one that is held is not recreated, because it would lose its copy": {
			had, {two, held},
			{all(recreate, answer(Answer{Applied: 1, Irreplaceable: true}, "c5")), held},
		},
		"new clusters do not make it a smaller part": {
			had,
			{all(apply(many(6)...), exist(many(14)...), match(many(14)[6:]...)), "1: c0, c1, c10, c11, c12, c13, c2, c3, c4, c5, c6, c7, c8, c9 | held c0, c1, c2, c3, c4, c5"},
			{apply(many(14)...), "1: c0, c1, c10, c11, c12, c13, c2, c3, c4, c5, c6, c7, c8, c9 | held c0, c1, c2, c3, c4, c5"},
		},
		"nor do those that join during a pause": {
			had,
			{all(apply(many(6)...), exist(many(14)...), match(many(14)[6:]...), pause(true)), "1: c0, c1, c10, c11, c12, c13, c2, c3, c4, c5, c6, c7, c8, c9"},
			{pause(false), "1: c0, c1, c10, c11, c12, c13, c2, c3, c4, c5, c6, c7, c8, c9 | held c0, c1, c2, c3, c4, c5"},
		},
		"the targets are put right": {
			had, {two, held}, {match(many(6)...), "1: c0, c1, c2, c3, c4, c5"},
		},
		"the targets are put right, and what was held before does not count for the next change": {
			had, {two, held}, {match(many(6)...), "1: c0, c1, c2, c3, c4, c5"},
			{all(exist(many(9)...), match(many(9)...)), "1: c0, c1, c2, c3, c4, c5, c6, c7, c8"},
			{all(apply(many(9)...), match(many(5)...)), "1: c0, c1, c2, c3, c4, c5 withdraw 2, c6 withdraw 2, c7 withdraw 2, c8 withdraw 2 | next 10m0s"},
		},
		"the targets are put right for some": {
			had, {two, held}, {match(many(6)[:3]...), "1: c0, c1, c2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"a change in small steps is added up": {
			had,
			{all(apply(many(6)...), match("c0", "c1", "c2", "c3")), "1: c0, c1, c2, c3, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
			{all(apply("c4", "c5"), later(time.Minute)), "1: c0, c1, c2, c3 | withdrawn c4, c5"},
			{match("c0", "c1", "c2"), "1: c0, c1, c2, c3 withdraw 3 | next 10m0s"},
			{match("c0", "c1"), "1: c0, c1, c2, c3 withdraw 3 | held c2 | next 10m0s"},
			{confirm("r1"), "1: c0, c1, c2 withdraw 4, c3 withdraw 3 | next 10m0s"},
		},
		"what was taken ten minutes ago does not count": {
			had,
			{all(apply(many(6)...), match("c0", "c1", "c2")), "1: c0, c1, c2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
			{apply("c3", "c4", "c5"), "1: c0, c1, c2 | withdrawn c3, c4, c5"},
			{all(later(10*time.Minute), match()), "1: c0 withdraw 3, c1 withdraw 3, c2 withdraw 3 | next 10m0s"},
		},
		"that no cluster is to have it any more is no change of targets": {
			had, {all(apply(many(6)...), func(s *story) { s.Withdraw = true }), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"a Secret that has gone is no change of targets": {
			had, {all(apply(many(6)...), withdraw), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}
