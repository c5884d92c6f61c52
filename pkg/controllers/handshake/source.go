package handshake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// content is the public part of what the values Secret holds.
type content struct {
	hash     string
	revision string
	source   string
	names    []string
	// keys are nil when they are not known.
	keys []string
}

func public(s bundle.Sealed) *content {
	return &content{hash: s.Hash, revision: s.Revision, source: s.Source, names: s.Names, keys: s.Keys}
}

// within says whether there is nothing but these keys in it; nil stands for all.
func (c *content) within(keys []string) bool {
	return keys == nil || c.keys != nil && !slices.ContainsFunc(c.keys, func(key string) bool { return !slices.Contains(keys, key) })
}

// seal brings the values Secret in step with the source, and says what it holds. With a problem, nothing new is sent,
// and the content is what was sent before; nil when there is none. Payloads are read only when a version has changed.
func (h *handler) seal(v *view) (*content, *syncstatus.Problem, error) {
	hs := v.hs
	seen := h.versions(v)
	// A Secret that the watch does not know may be of a type that is not watched: it is looked for each time.
	if m := h.memo(hs); m.seen == seen && seen.source != "" {
		return m.content, m.problem, nil
	}
	values, problem, err := h.readValues(hs)
	if err != nil || problem != nil {
		return nil, problem, err
	}
	var sealed bundle.Sealed
	source, err := h.Secrets.Get(h.ctx, bundle.SourceNamespace(hs), hs.Spec.SecretName)
	h.metrics.read(err)
	switch {
	case apierrors.IsNotFound(err):
		problem = missing(hs)
	case err != nil:
		return nil, nil, fmt.Errorf("reading secret %s/%s: %w", bundle.SourceNamespace(hs), hs.Spec.SecretName, err)
	default:
		seen.source = secrets.VersionOf(source)
		sealed, err = bundle.Seal(source, dataOf(values), bundle.Terms{Keys: v.grant.Keys, Replace: hs.Spec.ReplacePolicy == v1alpha1.ReplaceRecreate}, newNonce)
		problem = refusal(source, err)
	}
	if problem != nil {
		before := sentBefore(values)
		h.remember(hs, func(m *memo) { m.seen, m.content, m.problem = seen, before, problem })
		return before, problem, nil
	}
	if values, err = h.writeValues(hs, values, sealed); err != nil {
		return nil, nil, err
	}
	seen.values = secrets.VersionOf(values)
	sent := public(sealed)
	h.remember(hs, func(m *memo) { m.seen, m.content, m.problem = seen, sent, nil })
	return sent, nil, nil
}

// sealNothing empties the values Secret. When somebody has put a foreign one in its place, or the API server refuses the
// write, the Bundle does without values: so nobody can hold back a removal.
func (h *handler) sealNothing(v *view) (*content, *syncstatus.Problem, error) {
	values, foreign, err := h.readValues(v.hs)
	if err != nil || foreign != nil {
		return &content{}, nil, err
	}
	sealed := bundle.SealNothing(dataOf(values), newNonce)
	_, err = h.writeValues(v.hs, values, sealed)
	if writeRefused(v.hs, err) != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return &content{}, nil, nil
	}
	return public(sealed), nil, err
}

// sentLast is what the values Secret holds, or the Bundle says of it.
func (h *handler) sentLast(v *view) (*content, *syncstatus.Problem, error) {
	values, problem, err := h.readValues(v.hs)
	if err != nil || problem != nil {
		return nil, problem, err
	}
	if sent := sentBefore(values); sent != nil {
		return sent, nil, nil
	}
	return contentOf(v.current), nil, nil
}

// readValues reads the values Secret; nil when there is none. A problem says that it belongs to somebody else.
func (h *handler) readValues(hs *v1alpha1.FleetHandshake) (*corev1.Secret, *syncstatus.Problem, error) {
	name := bundle.NameFor(hs)
	values, err := h.Secrets.Get(h.ctx, hs.Namespace, name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading values secret %s/%s: %w", hs.Namespace, name, err)
	case !metav1.IsControlledBy(values, hs):
		return nil, nameTaken("Secret", hs.Namespace, name), nil
	}
	return values, nil, nil
}

// writeValues creates or updates the values Secret when it is not as it should be.
func (h *handler) writeValues(hs *v1alpha1.FleetHandshake, values *corev1.Secret, sealed bundle.Sealed) (*corev1.Secret, error) {
	desired := bundle.ValuesSecret(hs, sealed)
	log := logrus.WithFields(logrus.Fields{"handshake": hs.Namespace + "/" + hs.Name, "bundle": desired.Name, "revision": sealed.Revision})
	client := h.SecretClient.Secrets(hs.Namespace)
	if values != nil && values.Immutable != nil && *values.Immutable {
		// Somebody has made it immutable: it has to be made again.
		if err := client.Delete(h.ctx, values.Name, *metav1.NewPreconditionDeleteOptions(string(values.UID))); err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("deleting immutable values secret %s/%s: %w", values.Namespace, values.Name, err)
		}
		values = nil
	}
	if values == nil {
		created, err := client.Create(h.ctx, desired, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("creating values secret %s/%s: %w", desired.Namespace, desired.Name, err)
		}
		log.Info("values secret created")
		return created, nil
	}
	changed := values.DeepCopy()
	changed.Data = desired.Data
	merge(&changed.ObjectMeta, desired.ObjectMeta)
	if sameData(values.Data, changed.Data) && sameMeta(values, changed) {
		return values, nil
	}
	updated, err := client.Update(h.ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating values secret %s/%s: %w", desired.Namespace, desired.Name, err)
	}
	log.Info("values secret updated")
	return updated, nil
}

func missing(hs *v1alpha1.FleetHandshake) *syncstatus.Problem {
	clusters := "Clusters keep what they have"
	if hs.Spec.MissingSourcePolicy == v1alpha1.MissingSourceRemove {
		clusters = "The copies in the clusters are removed, because spec.missingSourcePolicy is Remove"
	}
	return &syncstatus.Problem{
		State: v1alpha1.StateMissing, Reason: v1alpha1.ReasonSecretNotFound, Source: true,
		Message: fmt.Sprintf("Secret %s/%s does not exist; create it, or correct spec.secretName. %s", bundle.SourceNamespace(hs), hs.Spec.SecretName, clusters),
	}
}

// refusal makes a problem of an error of bundle.Seal.
func refusal(source *corev1.Secret, err error) *syncstatus.Problem {
	if err == nil {
		return nil
	}
	reason := v1alpha1.ReasonUnsupportedType
	switch {
	case errors.Is(err, bundle.ErrTooLarge):
		reason = v1alpha1.ReasonTooLarge
	case errors.Is(err, bundle.ErrImmutable):
		reason = v1alpha1.ReasonImmutable
	case errors.Is(err, bundle.ErrTypeChanged):
		reason = v1alpha1.ReasonTypeChanged
	case errors.Is(err, bundle.ErrUnsupportedMetadata):
		reason = v1alpha1.ReasonUnsupportedMetadata
	case errors.Is(err, bundle.ErrNeverSend):
		reason = v1alpha1.ReasonNeverSend
	case errors.Is(err, bundle.ErrNoKeys):
		reason = v1alpha1.ReasonNotGranted
	}
	return &syncstatus.Problem{
		State: v1alpha1.StateError, Reason: reason, Source: true,
		Message: fmt.Sprintf("Secret %s/%s cannot be sent: %s", source.Namespace, source.Name, err),
	}
}

func nameTaken(kind, namespace, name string) *syncstatus.Problem {
	return &syncstatus.Problem{
		State: v1alpha1.StateError, Reason: v1alpha1.ReasonNameTaken,
		Message: fmt.Sprintf("%s %s/%s is there already and is not owned by this FleetHandshake; restore its owner reference if somebody removed it, delete it if it is foreign (deleting a Bundle removes what it has deployed), or give the FleetHandshake another name", kind, namespace, name),
	}
}

// contentOf is what a Bundle says of its values, when the values Secret cannot be read.
func contentOf(b *fleet.Bundle) *content {
	d := bundle.DeliveryOf(b)
	c := &content{hash: b.Spec.ValuesHash, revision: d.Revision(), source: d.Source}
	if b.Spec.Diff != nil {
		for _, p := range b.Spec.Diff.ComparePatches {
			c.names = append(c.names, p.Name)
		}
	}
	return c
}

// sentBefore is what an existing values Secret holds.
func sentBefore(values *corev1.Secret) *content {
	sealed, err := bundle.Open(dataOf(values))
	if err != nil {
		return nil
	}
	return public(sealed)
}

func dataOf(values *corev1.Secret) map[string][]byte {
	if values == nil {
		return nil
	}
	return values.Data
}

func newNonce() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return bundle.Nonce(random[:])
}
