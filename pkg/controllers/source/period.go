package source

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// nextFrom and nextTo are the share of the period after which a source is read again. What is younger than sharedFor
	// of it is taken as it is: so sources that read the same share one read.
	nextFrom, nextTo = 0.8, 0.9
	sharedFor        = 0.79
	// freshFor is how old what others have read may be for a source that is new or was changed.
	freshFor = 30 * time.Second
	// staleAfter is how many periods what was read is good for, where nothing else is said.
	staleAfter = 3
)

// Period is how often a source is read.
type Period time.Duration

// PeriodOf is what a spec says, or a default.
func PeriodOf(spec *metav1.Duration, otherwise time.Duration) Period {
	return Period(DurationOr(spec, otherwise))
}

// Age is how old what was read before may be.
func (p Period) Age(src v1alpha1.Source, want Want) time.Duration {
	shared := time.Duration(sharedFor * float64(p))
	status := src.Made()
	switch {
	case want.Fresh:
		return 0
	case want.Repair:
		return math.MaxInt64
	case status.LastFetchedAt == nil || status.ObservedGeneration != src.GetGeneration():
		return min(freshFor, shared)
	}
	return shared
}

// Plan says of what was read when to read it again, and from when on it is stale: at different times, so that not all come
// at once. maxAge is what the spec says.
func (p Period) Plan(content *Content, maxAge *metav1.Duration) {
	content.Next = content.FetchedAt.Add(Between(time.Duration(p), nextFrom, nextTo))
	content.StaleAt = content.FetchedAt.Add(DurationOr(maxAge, staleAfter*time.Duration(p)))
}

// DurationOr is what a spec says, or a default.
func DurationOr(spec *metav1.Duration, otherwise time.Duration) time.Duration {
	if spec == nil || spec.Duration <= 0 {
		return otherwise
	}
	return spec.Duration
}

// Between is a share of a time, by chance.
func Between(d time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(d) * (from + rand.Float64()*(to-from))) //nolint:gosec // jitter is no secret
}
