// Package source is the controller of all objects that make a Secret from what a secret manager holds. It decides when
// to fetch, keeps the Secret as it should be, and reports. How to fetch is up to a Fetcher.
package source

import (
	"context"
	"encoding/json"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/event"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

// The rights that are needed in each namespace with sources.
// +kubebuilder:rbac:groups=fleethandshake.io,resources=vaultsecrets;vaultdynamicsecrets;vaultpkisecrets;vsecmsecrets,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Fetcher gets what the sources of one kind put into their Secrets. It is called for several sources at a time.
type Fetcher interface {
	// Fetch gets what the Secret is to hold. The error is a *Problem when there is something to say to a person.
	Fetch(ctx context.Context, src v1alpha1.Source, want Want) (Content, error)
	// Resume is called once after a start for a source that needs no Fetch. false wants one nevertheless.
	Resume(ctx context.Context, src v1alpha1.Source, state func() (json.RawMessage, error)) bool
	// Discard gives back what a Fetch has had made, when it could not be written.
	Discard(ctx context.Context, src v1alpha1.Source, state json.RawMessage)
	// Settle is called when the Secret is written, with the State of its Content. It gives back what that has replaced,
	// and the State as it is then. It is called again after an error.
	Settle(ctx context.Context, src v1alpha1.Source, state json.RawMessage) (json.RawMessage, error)
	// Releases says whether Release has to be called before a source may go, or its Secret.
	Releases(src v1alpha1.Source) bool
	// Release gives back what was made for a Secret.
	Release(ctx context.Context, src v1alpha1.Source, state json.RawMessage) error
	// Forget is called when a source is gone.
	Forget(namespace, name string)
}

// Want says what a Fetch is for.
type Want struct {
	// Fresh wants what is there now, and nothing that was fetched before.
	Fresh bool
	// Repair wants what was fetched last: the Secret was edited or deleted.
	Repair bool
	// Intact says that the Secret holds what State speaks of: nobody has changed a key of this source.
	Intact bool
	// State is that of the Content which the Secret holds; nil without one.
	State json.RawMessage
	// Data is what the Secret holds from this source, and Keys where each key came from.
	Data map[string][]byte
	Keys map[string]Origin
	// Metadata is what came with that.
	Metadata Metadata
	// Type is that of the Secret; empty when it holds nothing from this source.
	Type corev1.SecretType
}

// Metadata are labels and annotations of a Secret that were fetched.
type Metadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Origin says where a key came from.
type Origin struct {
	Path    string `json:"path,omitempty"`
	Version int64  `json:"version,omitempty"`
}

// IsZero says whether there are none.
func (m Metadata) IsZero() bool { return len(m.Labels) == 0 && len(m.Annotations) == 0 }

// Content is what a Secret is to hold.
type Content struct {
	// Same says that the Secret keeps what it holds, and that Type, Data, Keys and Metadata are not set.
	Same bool
	Type corev1.SecretType
	Data map[string][]byte
	// Keys says where each key of Data came from.
	Keys map[string]Origin
	// Metadata is there beside what the spec of the source says.
	Metadata Metadata
	// LeftOut are keys that a Secret cannot have.
	LeftOut []string
	// State is kept with the Secret, in an annotation. It holds no byte of a secret.
	State json.RawMessage
	// FetchedAt is when it was read or made; the oldest of these times when there are several.
	FetchedAt time.Time
	// Next is when to fetch again, and StaleAt from when on it is too old or no longer valid; zero is never.
	Next, StaleAt time.Time
	// Problem is what a person should know although there is content.
	Problem *Problem
	// Unfetched says that the request has failed, as Problem says, and that the content is what the Secret holds without
	// what may not stay.
	Unfetched bool
	// Report writes what the kind has in its status beside SourceStatus; nil is nothing.
	Report func(v1alpha1.Source)
}

// Problem is why a source is not ready. Reason and Message hold no byte of a secret.
type Problem struct {
	Reason, Message string
	// Heals says that it may heal by itself, so that it is tried again soon.
	Heals bool
	// Final says that it stays until the source or its Secret changes.
	Final bool
	// Retry is when to try again without either; 0 is after a few minutes.
	Retry time.Duration
	// By is when to try again at the latest, also when it is Final; zero is never.
	By time.Time
}

func (p *Problem) Error() string { return p.Reason + ": " + p.Message }

// Secrets knows the Secrets of the hub.
type Secrets interface {
	// OnChange calls f for each Secret that appears, changes or goes.
	OnChange(f func(metav1.Object))
	// Serves says whether the Secrets of a namespace are watched.
	Serves(namespace string) bool
	// Version is different whenever the Secret is; empty when there is none.
	Version(namespace, name string) string
	// Get reads a Secret.
	Get(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Config is what the controller works with.
type Config struct {
	Secrets Secrets
	// Writer writes the Secrets.
	Writer corev1client.SecretsGetter
	// Events takes what has happened to the sources.
	Events *event.Recorder
	// Workers is how many sources are worked on at a time.
	Workers int
	Clock   clock.PassiveClock
}
