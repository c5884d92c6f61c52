package bundle

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
)

func TestAClusterThatRefusesIsTriedAgainAlone(t *testing.T) {
	refuse := func(names ...string) func(*story) { return answer(Answer{Refused: true}, names...) }
	for title, steps := range map[string][]step{
		"it gets a number of its own, and the others are not touched": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b")), "1: a, b | next 5s"},
			{later(5 * time.Second), "1: a, b 2 | next 10s"},
			{later(10*time.Second - time.Nanosecond), "1: a, b 2 | next 1ns"},
			{later(time.Nanosecond), "1: a, b 3 | next 20s"},
		},
		"it has stopped refusing": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), later(5*time.Second)), "1: a, b 2 | next 10s"},
			{all(apply("b"), later(time.Hour)), "1: a, b 2"},
		},
		"two are tried at the same time": {
			{nil, "1: a, b"},
			{all(refuse("a", "b"), later(5*time.Second)), "1: a 2, b 2 | next 10s"},
		},
		"one that begins to refuse later waits with the other": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), later(5*time.Second)), "1: a, b 2 | next 10s"},
			{all(refuse("a"), later(5*time.Second)), "1: a, b 2 | next 5s"},
			{later(5 * time.Second), "1: a 3, b 3 | next 20s"},
		},
		"its own number stays over a resync while it refuses, so that it never looks as if it had it": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), later(5*time.Second)), "1: a, b 2 | next 10s"},
			{annotate(v1alpha1.AnnotationResyncRequestedAt, "now"), "3: a, b 2 | next 5s"},
			{later(5 * time.Second), "3: a, b 4 | next 10s"},
			{apply("b"), "3: a, b 4"},
			{annotate(v1alpha1.AnnotationResyncRequestedAt, "again"), "5: a, b"},
		},
		"a rotation begins afresh": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), later(5*time.Second)), "1: a, b 2 | next 10s"},
			{later(10 * time.Second), "1: a, b 3 | next 20s"},
			{rotate("r2"), "4: a, b | next 5s"},
		},
		"paused, it is not tried": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), pause(true), later(time.Hour)), "1: a, b"},
			{pause(false), "1: a, b 2 | next 10s"},
		},
		"paused, its own number stays, also over a rotation": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), later(5*time.Second)), "1: a, b 2 | next 10s"},
			{all(pause(true), rotate("r2")), "3: a, b 2"},
			{pause(false), "3: a, b | next 5s"},
		},
		"one that leaves is told to remove what it has": {
			{nil, "1: a, b"},
			{all(apply("a"), refuse("b"), match("a"), later(time.Hour)), "1: a, b withdraw 2 | next 10m0s"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestRetriesComeLessAndLessOften(t *testing.T) {
	s := newStory("a")
	s.render(t)
	s.Answers["a"] = Answer{Refused: true}
	s.render(t)
	var waits []string
	for range 9 {
		waits = append(waits, s.out.Next.Sub(s.Now).String())
		s.Now = s.out.Next
		s.render(t)
	}
	assert.Equal(t, []string{"5s", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s", "5m0s"}, waits)
	assert.Equal(t, "1: a 10 | next 5m0s", s.say())
	s.rotate("r2")
	s.render(t)
	assert.Equal(t, "11: a | next 5s", s.say(), "a rotation starts afresh")
}

func TestACopyThatCannotBeChangedInPlace(t *testing.T) {
	stuck := answer(Answer{Applied: 1, Irreplaceable: true}, "b")
	for title, steps := range map[string][]step{
		"with Recreate it is removed, and made anew when that is confirmed": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b withdraw 3"},
			{nil, "2: a, b withdraw 3"},
			{apply("b"), "2: a, b 4"},
			{apply("b"), "2: a, b 4 | next 5s"},
			{later(5 * time.Second), "5: a, b"},
		},
		"it is waited for as long as it takes": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b withdraw 3"},
			{later(24 * time.Hour), "2: a, b withdraw 3"},
		},
		"with Never nothing is done": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b"},
			{later(24 * time.Hour), "2: a, b"},
		},
		"one that is stuck again waits like one that refuses": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b withdraw 3"},
			{apply("b"), "2: a, b 4"},
			{answer(Answer{Applied: 3, Irreplaceable: true}, "b"), "2: a, b 4 | next 10s"},
			{later(10 * time.Second), "2: a, b withdraw 5"},
		},
		"a rotation meanwhile does not make it wait for ever": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b withdraw 3"},
			{rotate("r3"), "4: a, b withdraw 3"},
			{apply("a", "b"), "4: a, b 5"},
		},
		"paused, nothing is done": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2"), pause(true)), "2: a, b"},
			{stuck, "2: a, b"},
			{pause(false), "2: a, b withdraw 3"},
			{all(pause(true), apply("b")), "2: a, b withdraw 3"},
			{pause(false), "2: a, b 4"},
		},
		"one that leaves meanwhile is dropped when it has removed its copy": {
			{recreate, "1: a, b"},
			{all(apply("a", "b"), rotate("r2")), "2: a, b"},
			{all(apply("a"), stuck), "2: a, b withdraw 3"},
			{all(match("a"), later(5*time.Second)), "4: a, b withdraw 3 | next 9m55s"},
			{apply("b"), "4: a | withdrawn b"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}
