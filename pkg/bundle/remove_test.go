package bundle

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"k8s.io/utils/ptr"
)

func TestAHandshakeIsDeleted(t *testing.T) {
	force := annotate(v1alpha1.AnnotationForceDelete, "true")
	for title, steps := range map[string][]step{
		"all remove their copy, and it is done when the last has": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a"), "1: b withdraw 2 | withdrawn a | next 10m0s"},
			{apply("b"), "1:  | withdrawn b | done"},
		},
		"a cluster that does not answer is waited for until removalTimeout": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), later(10*time.Minute)), "1:  | withdrawn a | unconfirmed b | done"},
		},
		"no cluster has anything": {
			{nil, "1: a, b"},
			{remove, "1:  | done"},
		},
		"a pause holds nothing back": {
			{pause(true), "1: a, b"},
			{all(apply("a", "b"), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a", "b"), "1:  | withdrawn a, b | done"},
		},
		"somebody forces it before": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), remove, force), "1:  | unconfirmed a, b | done"},
		},
		"somebody forces it while it waits": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), force), "1:  | withdrawn a | unconfirmed b | done"},
		},
		"another value forces nothing": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), remove, annotate(v1alpha1.AnnotationForceDelete, "yes")), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
		},
		"without a deletion there is nothing to force": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), withdraw, force), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
		},
		"one that had left before is still waited for, from then on": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{all(later(time.Minute), remove), "1: a withdraw 3, b withdraw 2 | next 10m0s"},
		},
		"more than the threshold may go": {
			{all(exist("a", "b", "c", "d", "e", "f"), match("a", "b", "c", "d", "e", "f")), "1: a, b, c, d, e, f"},
			{all(apply("a", "b"), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
		},
		"Retain was turned off before: the copies go": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), func(s *story) { s.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionDelete }), "2: a, b"},
			{remove, "2: a withdraw 3, b withdraw 3 | next 10m0s"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestDeletionPolicyRetain(t *testing.T) {
	resync := annotate(v1alpha1.AnnotationResyncRequestedAt, "now")
	force := annotate(v1alpha1.AnnotationForceDelete, "true")
	for title, steps := range map[string][]step{
		"turning it on sends again, because the agents have to know": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), retain), "2: a, b"},
			{nil, "2: a, b"},
		},
		"it is done when each agent knows": {
			{retain, "1: a, b"},
			{all(apply("a"), answer(Answer{}, "b"), removeRetained), "1: a, b | next 10m0s"},
			{apply("b"), "1: a, b | done"},
		},
		"one that knows need not have the newest": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{removeRetained, "2: a, b | done"},
		},
		"turned on only with the deletion": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), retain, removeRetained), "2: a, b | next 10m0s"},
			{apply("a"), "2: a, b | next 10m0s"},
			{apply("b"), "2: a, b | done"},
		},
		"a cluster that does not answer is waited for until removalTimeout": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), retain, removeRetained), "2: a, b | next 10m0s"},
			{all(apply("a"), later(10*time.Minute-time.Second)), "2: a, b | next 1s"},
			{later(time.Second), "2: a, b | unconfirmed b | done"},
		},
		"a cluster that Fleet has made nothing for is not waited for": {
			{nil, "1: a, b"},
			{all(apply("a"), retain, removeRetained, apply("a")), "2: a, b | next 10m0s"},
			{apply("a"), "2: a, b | done"},
		},
		"somebody forces it": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), retain, removeRetained, force), "2: a, b | unconfirmed a, b | done"},
		},
		"a pause holds nothing back": {
			{pause(true), "1: a, b"},
			{all(apply("a", "b"), retain, removeRetained), "2: a, b | next 10m0s"},
		},
		"a number of a cluster's own does not hide that it knows": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "1: a, b 2"},
			{all(apply("a"), retain), "3: a, b 2"},
			{all(apply("a"), removeRetained), "3: a, b | next 10m0s"},
			{apply("b"), "3: a, b | done"},
		},
		"a cluster that leaves removes its copy all the same": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2"},
			{later(time.Hour), "1: a, b withdraw 2"},
			{removeRetained, "1: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "1: a | withdrawn b | done"},
		},
		"turned off and on again, the agents have to hear of it again": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), func(s *story) { s.Handshake.Spec.DeletionPolicy = "" }), "2: a, b"},
			{all(apply("a", "b"), retain), "3: a, b"},
			{removeRetained, "3: a, b | next 10m0s"},
			{apply("a", "b"), "3: a, b | done"},
		},
		"a resync does not raise what the agents must know": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), resync), "2: a, b"},
			{removeRetained, "2: a, b | done"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestTheBundleOfAHandshakeThatIsDeleted(t *testing.T) {
	s := newStory("a")
	s.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{MaxNew: ptr.To[int32](1)}
	s.Handshake.Spec.Paused = true
	s.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	s.render(t)
	assert.Equal(t, &fleet.RolloutStrategy{MaxNew: ptr.To(1)}, s.Current.Spec.RolloutStrategy)
	assert.True(t, s.Current.Spec.Paused)
	assert.True(t, s.Current.Spec.KeepResources)
	assert.Equal(t, int64(1), DeliveryOf(s.Current).KeptFrom)

	removeRetained(s)
	s.render(t)
	assert.Nil(t, s.Current.Spec.RolloutStrategy, "a rollout that waits would hold the removal back")
	assert.False(t, s.Current.Spec.Paused, "a pause would hold the removal back")
	assert.True(t, s.Current.Spec.KeepResources)

	s.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	s.render(t)
	assert.False(t, s.Current.Spec.KeepResources)
	assert.Zero(t, DeliveryOf(s.Current).KeptFrom)
}
