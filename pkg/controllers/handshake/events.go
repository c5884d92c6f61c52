package handshake

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// component is who the events say that they are from.
const component = "fleet-handshake"

// recorder writes events, and returns when they are written. So an event is there before the status that it speaks of,
// and a process that dies in between loses none: the next one finds the same transition, and the event under the same
// name. The recorder of client-go writes later. What it does about events that repeat is done here too.
type recorder struct {
	events     corev1client.EventsGetter
	correlator *record.EventCorrelator
}

func newRecorder(events corev1client.EventsGetter) *recorder {
	return &recorder{events, record.NewEventCorrelator(clock.RealClock{})}
}

// record writes one event on a handshake.
func (r *recorder) record(ctx context.Context, hs *v1alpha1.FleetHandshake, e syncstatus.Event) error {
	now := metav1.Now()
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	result, err := r.correlator.EventCorrelate(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: hs.Namespace, Name: eventName(hs, e)},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "FleetHandshake",
			Namespace: hs.Namespace, Name: hs.Name, UID: hs.UID, ResourceVersion: hs.ResourceVersion,
		},
		Type: kind, Reason: e.Reason, Message: e.Message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	})
	if err != nil || result.Skip {
		return err
	}
	client, event := r.events.Events(hs.Namespace), result.Event
	var written *corev1.Event
	if event.Count > 1 {
		written, err = client.Patch(ctx, event.Name, types.StrategicMergePatchType, result.Patch, metav1.PatchOptions{})
	}
	if event.Count <= 1 || apierrors.IsNotFound(err) {
		event.ResourceVersion = ""
		written, err = client.Create(ctx, event, metav1.CreateOptions{})
	}
	switch {
	case err == nil:
		r.correlator.UpdateState(written)
	case apierrors.IsAlreadyExists(err):
		// Another process has written it, and died.
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		// A retry mends nothing: no right, a quota, a namespace that is being deleted.
	default:
		return fmt.Errorf("writing event %s of handshake %s/%s: %w", e.Reason, hs.Namespace, hs.Name, err)
	}
	return nil
}

// eventName is the same for the same event until the handshake is written again.
func eventName(hs *v1alpha1.FleetHandshake, e syncstatus.Event) string {
	sum := sha256.Sum256(fmt.Append(nil, hs.UID, hs.ResourceVersion, e.Reason, e.Message))
	return fmt.Sprintf("%s.%x", bundle.LabelValue(hs.Name), sum[:8])
}
