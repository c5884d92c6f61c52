package store

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecretType is the type of the Secrets that hold entries. The API server never lets a type change.
const SecretType corev1.SecretType = "fleethandshake.io/store-entry"

// markPrefix begins the labels and annotations of the store.
const markPrefix = "fleethandshake.io/entry-"

// Labels to select Secrets of entries by. They decide nothing: that is up to the annotations.
const (
	// LabelScope is "namespace" or "global".
	LabelScope = markPrefix + "scope"
	// LabelCluster is the cluster, cut to 63 characters. Clusters whose names begin alike can have the same.
	LabelCluster = markPrefix + "cluster"
	// LabelNamespace is the namespace; a global entry has none.
	LabelNamespace = markPrefix + "namespace"
	// LabelType is the type of the entry.
	LabelType = markPrefix + "type"
)

// Annotations with all of an entry but its values.
const (
	AnnotationCluster        = markPrefix + "cluster"
	AnnotationNamespace      = markPrefix + "namespace" // a global entry has none
	AnnotationName           = markPrefix + "name"
	AnnotationType           = markPrefix + "type"
	AnnotationSPIFFEID       = markPrefix + "spiffe-id"
	AnnotationNotBefore      = markPrefix + "not-before"
	AnnotationExpirationDate = markPrefix + "expiration-date"
	AnnotationCreated        = markPrefix + "created"
	AnnotationUpdated        = markPrefix + "updated"
	AnnotationVersion        = markPrefix + "version"
	AnnotationVersionTime    = markPrefix + "version-time"
	// AnnotationMetadata has the labels and annotations of users as JSON. As one text they cannot be mistaken for those
	// of the Secret, whatever their names are.
	AnnotationMetadata = markPrefix + "metadata"
)

// The keys of the data. None begins like another, so no key of a value can be taken for a former value.
const (
	// textKey holds a value that is one text.
	textKey = "value"
	// keyPrefix goes before each key of a value that has keys.
	keyPrefix = "value."
	// formerPrefix goes before the number of a former value, which is one JSON object.
	formerPrefix = "former."
)

// Secret is the Secret of the record. present is the one that it goes over, or nil: what the store does not set, such as a
// label never-send, owners and the resource version, stays. present is not changed.
//
// Secrets of types kubernetes and workload are marked never-send: no FleetHandshake may send them. One of type raw is not.
// Its Secret also holds former values, so what is sent of it is what Source makes.
func (r Record) Secret(present *corev1.Secret) *corev1.Secret {
	secret := &corev1.Secret{}
	if present != nil {
		secret = present.DeepCopy()
	}
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	secret.Namespace, secret.Name, secret.Type = r.Place.Tenant, r.Place.SecretName(), SecretType
	secret.Labels = merged(secret.Labels, r.labels())
	secret.Annotations = merged(secret.Annotations, r.annotations())
	// It can have values that kubectl apply was given once.
	delete(secret.Annotations, corev1.LastAppliedConfigAnnotation)
	secret.Data, secret.StringData = encodeValue(r.Entry.Value), nil
	for _, former := range r.Former {
		key, content := former.encode()
		secret.Data[key] = content
	}
	return secret
}

// merged is what another has set, and what the store sets.
func merged(present, ours map[string]string) map[string]string {
	out := maps.Clone(present)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.HasPrefix(key, markPrefix) })
	maps.Copy(out, ours)
	return out
}

func (r Record) labels() map[string]string {
	out := map[string]string{
		LabelScope:   "global",
		LabelCluster: labelValue(r.Place.Cluster),
		LabelType:    string(r.Entry.Type),
	}
	if !r.Place.Global() {
		out[LabelScope], out[LabelNamespace] = "namespace", r.Place.Namespace
	}
	if r.Entry.Type != Raw {
		out[v1alpha1.NeverSend] = "true"
	}
	return out
}

func (r Record) annotations() map[string]string {
	e := r.Entry
	out := map[string]string{
		AnnotationCluster:        r.Place.Cluster,
		AnnotationNamespace:      r.Place.Namespace,
		AnnotationName:           r.Place.Name,
		AnnotationType:           string(e.Type),
		AnnotationSPIFFEID:       e.SPIFFEID,
		AnnotationNotBefore:      formatDate(e.NotBefore),
		AnnotationExpirationDate: formatDate(e.ExpirationDate),
		AnnotationCreated:        formatDate(e.Metadata.Created),
		AnnotationUpdated:        formatDate(e.Metadata.Updated),
		AnnotationVersion:        strconv.FormatInt(r.Version, 10),
		AnnotationVersionTime:    formatDate(r.VersionTime),
		AnnotationMetadata:       string(e.Metadata.encode()),
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func encodeValue(v Value) map[string][]byte {
	if text, ok := v.Text(); ok {
		return map[string][]byte{textKey: []byte(text)}
	}
	out := make(map[string][]byte, len(v.keys))
	for key, text := range v.keys {
		out[keyPrefix+key] = []byte(text)
	}
	return out
}

// sizeOf counts keys and values, in bytes.
func sizeOf(data map[string][]byte) int {
	size := 0
	for key, value := range data {
		size += len(key) + len(value)
	}
	return size
}

// marshal is compact JSON in which <, > and & are as they are. What is given to it can always be encoded.
func marshal(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
