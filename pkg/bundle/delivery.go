package bundle

import (
	"encoding/json"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
)

// Delivery is the public record of what a Bundle has sent, kept in an annotation on it. Each change of what is sent,
// each resync and each scrub raises the Bundle's forceSyncGeneration by one. Fleet carries that number to each
// BundleDeployment together with the values, and the agent reports the number it has applied: so the number tells which
// revision a cluster has.
type Delivery struct {
	// Revisions are the last revisions sent, oldest first.
	Revisions []RevisionSent `json:"revisions"`
	// AssertedAt is when forceSyncGeneration was last raised.
	AssertedAt metav1.Time `json:"assertedAt"`
	// ResyncRequest is the last resync request that was carried out.
	ResyncRequest string `json:"resyncRequest,omitempty"`
	// Unscrubbed is true from a rotation until the scrub is sent: the upgrade that pushes the former revision out of
	// the Helm history.
	Unscrubbed bool `json:"unscrubbed,omitempty"`
	// Retries counts the attempts at clusters that refuse an install, since the last other reason to raise
	// forceSyncGeneration.
	Retries int `json:"retries,omitempty"`
}

// RevisionSent says from which forceSyncGeneration on a revision was sent.
type RevisionSent struct {
	From     int64  `json:"from"`
	Revision string `json:"revision"`
}

// DeliveryOf reads the record of a Bundle. It is empty when there is no Bundle, or somebody broke its annotation.
func DeliveryOf(b *fleet.Bundle) Delivery {
	var d Delivery
	if b == nil || json.Unmarshal([]byte(b.Annotations[v1alpha1.AnnotationDelivery]), &d) != nil {
		return Delivery{}
	}
	return d
}

// Revision that is being sent; empty when nothing was sent yet.
func (d Delivery) Revision() string {
	if len(d.Revisions) == 0 {
		return ""
	}
	return d.Revisions[len(d.Revisions)-1].Revision
}

// Since is the forceSyncGeneration from which on Revision is being sent.
func (d Delivery) Since() int64 {
	if len(d.Revisions) == 0 {
		return 0
	}
	return d.Revisions[len(d.Revisions)-1].From
}

// RevisionAt is the revision that was sent under a forceSyncGeneration; empty when it is not known.
func (d Delivery) RevisionAt(generation int64) string {
	found := ""
	for _, r := range d.Revisions {
		if r.From <= generation {
			found = r.Revision
		}
	}
	return found
}

// ResyncDue is when the data has to be written again; the zero time when resyncs are off.
func (d Delivery) ResyncDue(interval time.Duration) time.Time {
	if interval <= 0 || len(d.Revisions) == 0 {
		return time.Time{}
	}
	return d.AssertedAt.Add(interval)
}

// ScrubDue is when the former revision may be pushed out of the Helm history, once every cluster has confirmed the
// current one; the zero time when there is nothing to push out.
func (d Delivery) ScrubDue() time.Time {
	if !d.Unscrubbed {
		return time.Time{}
	}
	return d.AssertedAt.Add(scrubDelay)
}

// RetryDue is when to try again while a cluster refuses an install. Fleet does not try again by itself, also when what
// was in the way has gone, for example the copy of a FleetHandshake that was deleted and made again.
func (d Delivery) RetryDue() time.Time {
	if len(d.Revisions) == 0 {
		return time.Time{}
	}
	wait := firstRetry
	for range d.Retries {
		wait = min(2*wait, lastRetry)
	}
	return d.AssertedAt.Add(wait)
}

// sent records a new revision under a generation.
func (d Delivery) sent(revision string, generation int64) Delivery {
	revisions := append([]RevisionSent{}, d.Revisions...)
	revisions = append(revisions, RevisionSent{From: generation, Revision: revision})
	if len(revisions) > maxRevisions {
		revisions = revisions[len(revisions)-maxRevisions:]
	}
	d.Revisions = revisions
	return d
}

func (d Delivery) annotation() string {
	return string(mustJSON(d))
}
