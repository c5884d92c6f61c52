package bundle

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxRevisions is how many revisions a Delivery remembers.
	maxRevisions = 10
	// scrubDelay is how long after a rotation the scrub may follow. Rotations in quick succession need one scrub,
	// and do not wait behind the scrub of the one before.
	scrubDelay = 5 * time.Second
	// firstRetry and lastRetry bound the time between two attempts at a cluster that refused an install. It doubles.
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
	// jitter is the part of the resync interval over which resyncs are spread: a fifth.
	jitter = 5
)

// Delivery is the public record of what a Bundle has sent, kept in an annotation on it. Each change of what is sent,
// each resync, scrub, retry and withdrawal has a number of its own, higher than all before. The number is the
// forceSyncGeneration of the Bundle, or of single targets. Fleet carries it to each BundleDeployment together with the
// values, and the agent reports the number that it has applied: so the number tells what a cluster has.
type Delivery struct {
	// Revisions are the last revisions sent, oldest first.
	Revisions []RevisionSent `json:"revisions"`
	// Source is namespace/name of the Secret that Revision was made from.
	Source string `json:"source,omitempty"`
	// Last is the highest number that was used.
	Last int64 `json:"last"`
	// AssertedAt is when the number of the Bundle was last raised.
	AssertedAt metav1.Time `json:"assertedAt"`
	// ResyncRequest is the last resync request that was carried out.
	ResyncRequest string `json:"resyncRequest,omitempty"`
	// Unscrubbed is true from a rotation until the scrub is sent: the upgrade that pushes the former revision out of
	// the Helm history.
	Unscrubbed bool `json:"unscrubbed,omitempty"`
	// Retries counts the attempts at clusters that refuse what is sent, since the Bundle's number was raised, and
	// RetriedAt is when the last one was made.
	Retries   int          `json:"retries,omitempty"`
	RetriedAt *metav1.Time `json:"retriedAt,omitempty"`
	// KeptFrom is the number from which on the agents keep the copies when the Bundle goes; 0 when they do not.
	KeptFrom int64 `json:"keptFrom,omitempty"`
	// Guard counts the clusters that the Secret was taken from lately; nil when it was from none.
	Guard *Guard `json:"guard,omitempty"`
	// Withdrawals are those that not every cluster has confirmed.
	Withdrawals []Withdrawal `json:"withdrawals,omitempty"`
}

// Guard adds up withdrawals.
type Guard struct {
	// Clusters is how many had the Secret at At, and Taken how many were told to remove it since.
	Clusters int         `json:"clusters"`
	Taken    int         `json:"taken,omitempty"`
	At       metav1.Time `json:"at"`
	// Waiting is true while a change waits, for a confirmation or the end of a pause.
	Waiting bool `json:"waiting,omitempty"`
}

// RevisionSent says from which number on, and since when, a revision was sent.
type RevisionSent struct {
	From     int64            `json:"from"`
	Revision string           `json:"revision"`
	At       metav1.MicroTime `json:"at"`
}

// Withdrawal says under which number, and when, clusters were told to remove their copy.
type Withdrawal struct {
	Number int64       `json:"number"`
	At     metav1.Time `json:"at"`
}

// DeliveryOf reads the record of a Bundle. It is empty when there is no Bundle, or somebody broke its annotation.
func DeliveryOf(b *fleet.Bundle) Delivery {
	var d Delivery
	if b == nil || json.Unmarshal([]byte(b.Annotations[v1alpha1.AnnotationDelivery]), &d) != nil {
		return Delivery{}
	}
	for _, r := range d.Revisions {
		if len(r.Revision) > maxLabelValue {
			return Delivery{}
		}
	}
	return d
}

// current is the revision that is being sent; empty when nothing was sent yet.
func (d Delivery) current() RevisionSent {
	if len(d.Revisions) == 0 {
		return RevisionSent{}
	}
	return d.Revisions[len(d.Revisions)-1]
}

// Revision that is being sent; empty when nothing was sent yet.
func (d Delivery) Revision() string { return d.current().Revision }

// Since is the number from which on Revision is being sent.
func (d Delivery) Since() int64 { return d.current().From }

// SentAt is since when Revision is being sent.
func (d Delivery) SentAt() time.Time { return d.current().At.Time }

// Expected is the number that a cluster must have applied so that it has, or has removed, what its target says.
func (d Delivery) Expected(t Target) int64 {
	if t.Withdraw && t.Number > 0 {
		// A rotation meanwhile does not change what it is told.
		return t.Number
	}
	return max(d.Since(), t.Number)
}

// Confirmed says whether a cluster has, or has removed, what its target says.
func (d Delivery) Confirmed(t Target, a Answer) bool {
	return t.Cluster != "" && a.Ready && a.Applied >= d.Expected(t)
}

// RevisionAt is the revision that was sent under a number; empty when it is not known.
func (d Delivery) RevisionAt(number int64) string {
	found := ""
	for _, r := range d.Revisions {
		if r.From <= number {
			found = r.Revision
		}
	}
	return found
}

// resyncDue is when the data has to be written again; the zero time when resyncs are off. Each handshake comes up to a
// fifth of the interval early, differently each time, so that many of the same age do not come together.
func (d Delivery) resyncDue(interval time.Duration, uid types.UID) time.Time {
	if interval <= 0 || len(d.Revisions) == 0 {
		return time.Time{}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(string(uid) + "/" + strconv.FormatInt(d.AssertedAt.Unix(), 10))) // never fails (hash.Hash)
	early := interval / jitter / 1000 * time.Duration(h.Sum32()%1000)
	return d.AssertedAt.Add(interval - early)
}

// scrubDue is when the former revision may be pushed out of the Helm history, once every cluster has confirmed the
// current one; the zero time when there is nothing to push out.
func (d Delivery) scrubDue() time.Time {
	if !d.Unscrubbed {
		return time.Time{}
	}
	return d.AssertedAt.Add(scrubDelay)
}

// retryDue is when to try again while a cluster refuses an install. Fleet does not try again by itself, also when what
// was in the way has gone, for example the copy of a FleetHandshake that was deleted and made again.
func (d Delivery) retryDue() time.Time {
	wait := firstRetry
	for n := 0; n < d.Retries && wait < lastRetry; n++ {
		wait = min(2*wait, lastRetry)
	}
	if d.RetriedAt != nil {
		return d.RetriedAt.Add(wait)
	}
	return d.AssertedAt.Add(wait)
}

// withdrawnAt is when a withdrawal was sent; false when it is not known.
func (d Delivery) withdrawnAt(number int64) (time.Time, bool) {
	for _, w := range d.Withdrawals {
		if w.Number == number {
			return w.At.Time, true
		}
	}
	return time.Time{}, false
}

// notAfter brings times that have not come yet to now. They were recorded while a clock was wrong; nobody has to wait for
// them.
func (d Delivery) notAfter(now time.Time) Delivery {
	bound := func(t metav1.Time) metav1.Time {
		if t.After(now) {
			return metav1.NewTime(now)
		}
		return t
	}
	d.AssertedAt = bound(d.AssertedAt)
	if d.RetriedAt != nil {
		at := bound(*d.RetriedAt)
		d.RetriedAt = &at
	}
	if d.Guard != nil {
		g := *d.Guard
		g.At = bound(g.At)
		d.Guard = &g
	}
	d.Withdrawals = slices.Clone(d.Withdrawals)
	for i := range d.Withdrawals {
		d.Withdrawals[i].At = bound(d.Withdrawals[i].At)
	}
	return d
}

// sent records a new revision of a source under a number.
func (d Delivery) sent(source, revision string, number int64, at time.Time) Delivery {
	d.Source = source
	d.Revisions = append(slices.Clone(d.Revisions), RevisionSent{From: number, Revision: revision, At: metav1.NewMicroTime(at)})
	if len(d.Revisions) > maxRevisions {
		d.Revisions = d.Revisions[len(d.Revisions)-maxRevisions:]
	}
	return d
}

func (d Delivery) annotation() string {
	return string(mustJSON(d))
}
