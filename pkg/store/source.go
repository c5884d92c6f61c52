package store

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var (
	// ErrNotSent says that entries of this type are not for FleetHandshakes.
	ErrNotSent = errors.New("not to be sent")
	// ErrNotActive says that the entry may not be used yet, or no longer.
	ErrNotActive = errors.New("not active")
)

// Source is the Secret of a raw entry as a FleetHandshake may send it: of type Opaque, with the newest value alone, and
// with the labels and annotations of the entry. Name, UID, resource version and a mark never-send are those of secret.
// The error wraps ErrNotSent or ErrNotActive, or is one of Read.
func Source(secret *corev1.Secret, at time.Time) (*corev1.Secret, error) {
	r, err := Read(secret)
	if err != nil {
		return nil, err
	}
	if r.Entry.Type != Raw {
		return nil, fmt.Errorf("%w: %s is of type %s, and a FleetHandshake sends entries of type raw only", ErrNotSent, r.Place, r.Entry.Type)
	}
	switch r.Entry.State(at) {
	case NotYet:
		return nil, fmt.Errorf("%w: %s may not be used before %s", ErrNotActive, r.Place, formatDate(r.Entry.NotBefore))
	case Expired:
		return nil, fmt.Errorf("%w: %s has expired at %s", ErrNotActive, r.Place, formatDate(r.Entry.ExpirationDate))
	}
	source := secret.DeepCopy()
	source.Type, source.Data, source.StringData = corev1.SecretTypeOpaque, r.Entry.Value.Data(), nil
	// A mark of the owner stays: no entry can have a label or annotation of that name.
	source.Labels = merged(secret.Labels, r.Entry.Metadata.Labels)
	source.Annotations = merged(secret.Annotations, r.Entry.Metadata.Annotations)
	delete(source.Annotations, corev1.LastAppliedConfigAnnotation)
	return source, nil
}
