package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxRecords bounds the annotation with the records; the API server takes 256 KiB for all annotations.
const maxRecords = 200 << 10

// record is what one source remembers with its Secret, in the annotation fleethandshake.io/sources. It is written with the
// data, so that it always speaks of it.
type record struct {
	UID types.UID `json:"uid"`
	// Paths are the keys by where they came from.
	Paths []recordPath `json:"paths,omitempty"`
	// Labels and Annotations are the names of those that the source has set.
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
	// Fetched are those of them that were fetched.
	Fetched Metadata        `json:"fetched,omitzero"`
	State   json.RawMessage `json:"state,omitempty"`
}

type recordPath struct {
	Origin
	Keys []string `json:"keys"`
}

// keys are the keys of the source with their origins.
func (r *record) keys() map[string]Origin {
	out := map[string]Origin{}
	if r != nil {
		for _, p := range r.Paths {
			for _, key := range p.Keys {
				out[key] = p.Origin
			}
		}
	}
	return out
}

func pathsOf(keys map[string]Origin) []recordPath {
	byOrigin := map[Origin][]string{}
	for key, origin := range keys {
		byOrigin[origin] = append(byOrigin[origin], key)
	}
	var out []recordPath
	for origin, names := range byOrigin {
		slices.Sort(names)
		out = append(out, recordPath{origin, names})
	}
	slices.SortFunc(out, func(a, b recordPath) int {
		return strings.Compare(fmt.Sprintf("%s %d", a.Path, a.Version), fmt.Sprintf("%s %d", b.Path, b.Version))
	})
	return out
}

// records are those of a Secret by "kind/name" of the source.
func records(secret *corev1.Secret) map[string]*record {
	out := map[string]*record{}
	if secret != nil {
		// What cannot be read is not ours.
		_ = json.Unmarshal([]byte(secret.Annotations[v1alpha1.AnnotationSources]), &out)
	}
	maps.DeleteFunc(out, func(_ string, r *record) bool { return r == nil })
	return out
}

func recordName(kind string, src v1alpha1.Source) string { return kind + "/" + src.GetName() }

// recordOf is the record of a source; nil when the Secret is not made by it.
func recordOf(secret *corev1.Secret, kind string, src v1alpha1.Source) *record {
	if r := records(secret)[recordName(kind, src)]; r != nil && r.UID == src.GetUID() {
		return r
	}
	return nil
}

// dataOf is what a Secret holds of a source.
func dataOf(secret *corev1.Secret, r *record) map[string][]byte {
	out := map[string][]byte{}
	for key := range r.keys() {
		if value, ok := secret.Data[key]; ok {
			out[key] = value
		}
	}
	return out
}

func keepRecords(secret *corev1.Secret, all map[string]*record) *Problem {
	if len(all) == 0 {
		delete(secret.Annotations, v1alpha1.AnnotationSources)
		return nil
	}
	content, err := json.Marshal(all)
	if err != nil || len(content) > maxRecords {
		return &Problem{Reason: v1alpha1.ReasonTooLarge, Message: fmt.Sprintf("Secret %s/%s would have too many keys to remember where each came from: fetch fewer values, or all as one key where the kind has targetFormat", secret.Namespace, secret.Name)}
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[v1alpha1.AnnotationSources] = string(content)
	return nil
}
