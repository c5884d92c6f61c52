// Package event writes events about objects of ours.
package event

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
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

// maxName bounds what an event's name has of the object's: it may have 253 characters.
const maxName = 200

// Recorder writes events, and returns when they are written. So an event is there before the status that it speaks of,
// and a process that dies in between loses none: the next one finds the same transition, and the event under the same
// name. The recorder of client-go writes later. What it does about events that repeat is done here too.
type Recorder struct {
	events     corev1client.EventsGetter
	correlator *record.EventCorrelator
}

// NewRecorder makes a Recorder that writes into the namespaces of the objects.
func NewRecorder(events corev1client.EventsGetter) *Recorder {
	return &Recorder{events, record.NewEventCorrelator(clock.RealClock{})}
}

// Record writes one event on an object of a kind of ours. One that the API server refuses for good is left out.
func (r *Recorder) Record(ctx context.Context, kind string, o metav1.Object, warning bool, reason, message string) error {
	now := metav1.Now()
	eventType := corev1.EventTypeNormal
	if warning {
		eventType = corev1.EventTypeWarning
	}
	result, err := r.correlator.EventCorrelate(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: eventName(o, reason, message)},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: kind,
			Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		},
		Type: eventType, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	})
	if err != nil || result.Skip {
		return err
	}
	client, event := r.events.Events(o.GetNamespace()), result.Event
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
		return fmt.Errorf("writing event %s of %s %s/%s: %w", reason, kind, o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// eventName is the same for the same event until the object is written again.
func eventName(o metav1.Object, reason, message string) string {
	sum := sha256.Sum256(fmt.Append(nil, o.GetUID(), o.GetResourceVersion(), reason, message))
	name := o.GetName()
	return fmt.Sprintf("%s.%x", strings.TrimRight(name[:min(len(name), maxName)], "-."), sum[:8])
}
