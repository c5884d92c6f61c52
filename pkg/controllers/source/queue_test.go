package source

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsUrgentComesFirst(t *testing.T) {
	named := func(name string) key { return key{"VaultSecret", "team", name} }
	urgent := map[string]bool{"new": true, "newer": true}
	q := &queue{urgent: func(k key) bool { return urgent[k.name] }}
	for _, name := range []string{"due-1", "due-2", "new", "due-3", "newer"} {
		q.Push(named(name))
	}
	assert.Equal(t, 5, q.Len())

	urgent["due-3"] = true
	q.Touch(named("due-3"))
	q.Touch(named("due-2")) // it is still not urgent
	q.Touch(named("new"))   // it is already there
	q.Touch(named("other")) // it does not wait
	assert.Equal(t, 5, q.Len())

	var order []string
	for q.Len() > 0 {
		order = append(order, q.Pop().name)
	}
	assert.Equal(t, []string{"new", "newer", "due-3", "due-1", "due-2"}, order)
}

func TestTheQueueTouchesWhatWaits(t *testing.T) {
	urgent := map[string]bool{}
	q := newQueue(func(k key) bool { return urgent[k.name] })
	defer q.ShutDown()
	for _, name := range []string{"a", "b", "c"} {
		q.Add(key{name: name})
	}
	urgent["c"] = true
	q.Add(key{name: "c"})
	assert.Equal(t, 3, q.Len())
	first, _ := q.Get()
	assert.Equal(t, "c", first.name)
}

func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		failures int
		chance   float64
		want     time.Duration
	}{
		"the first failure waits a second":               {1, 0, time.Second},
		"none counts as the first":                       {0, 0, time.Second},
		"each doubles the wait":                          {3, 0, 4 * time.Second},
		"the sixth waits 32 s":                           {6, 0, 32 * time.Second},
		"from the seventh on it is a minute":             {7, 0, time.Minute},
		"forty overflow nothing":                         {40, 0, time.Minute},
		"a thousand overflow nothing":                    {1000, 0, time.Minute},
		"chance takes up to a quarter away":              {7, 1, 45 * time.Second},
		"half a chance takes an eighth away of a second": {1, 0.5, 875 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, retryAfter(c.failures, c.chance)) })
	}
}
