package bundle

import "time"

// Timer knows what time it is, and remembers when to look again. The zero time stands for never.
type Timer struct {
	Now time.Time
	// Next is the earliest of the times that were asked for and have not come yet.
	Next time.Time
}

// Past says whether a time has come.
func (t *Timer) Past(at time.Time) bool { return !at.IsZero() && !t.Now.Before(at) }

// Due says whether a time has come; a time that has not is when to look again.
func (t *Timer) Due(at time.Time) bool {
	if at.IsZero() || t.Past(at) {
		return t.Past(at)
	}
	if t.Next.IsZero() || at.Before(t.Next) {
		t.Next = at
	}
	return false
}
