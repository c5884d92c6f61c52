package source

import (
	"time"

	"k8s.io/client-go/util/workqueue"
)

// key names a source.
type key struct{ kind, namespace, name string }

func (k key) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// queue gives what is urgent first: what is new or has changed waits for no refresh. It is what is under a queue of
// client-go, which locks.
type queue struct {
	urgent func(key) bool
	first  []key
	rest   []key
}

func newQueue(urgent func(key) bool) workqueue.TypedDelayingInterface[key] {
	return workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{
		Name:  "sources",
		Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[key]{Name: "sources", Queue: &queue{urgent: urgent}}),
	})
}

// Touch is called for a key that waits and is added again.
func (q *queue) Touch(k key) {
	if !q.urgent(k) {
		return
	}
	for i, waiting := range q.rest {
		if waiting == k {
			q.rest = append(q.rest[:i], q.rest[i+1:]...)
			q.first = append(q.first, k)
			return
		}
	}
}

// Push adds a key.
func (q *queue) Push(k key) {
	if q.urgent(k) {
		q.first = append(q.first, k)
	} else {
		q.rest = append(q.rest, k)
	}
}

// Len is how many keys wait.
func (q *queue) Len() int { return len(q.first) + len(q.rest) }

// Pop takes the next key.
func (q *queue) Pop() key {
	from := &q.first
	if len(*from) == 0 {
		from = &q.rest
	}
	k := (*from)[0]
	*from = (*from)[1:]
	return k
}

// The waits after failures in a row: 1 s, 2 s and so on.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// retryAfter is how long to wait after a number of failures in a row. chance is from 0 to 1, and takes up to a quarter
// away.
func retryAfter(failures int, chance float64) time.Duration {
	wait := lastRetry
	if failures < 7 {
		wait = min(lastRetry, firstRetry<<max(0, failures-1))
	}
	return wait - time.Duration(chance*float64(wait)/4)
}
