package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ErrNotAnEntry says that a Secret is of another type.
var ErrNotAnEntry = errors.New("no entry of the store")

// Read gives what the Secret of an entry holds. It takes nothing that Record.Secret does not write, but for labels, and
// labels and annotations that the store has no meaning for. The error says what somebody has changed, without a value;
// it wraps ErrNotAnEntry when the Secret is of another type, and is *Problems when the entry itself cannot be.
func Read(secret *corev1.Secret) (Record, error) {
	where := fmt.Sprintf("Secret %s/%s", secret.Namespace, secret.Name)
	if secret.Type != SecretType {
		return Record{}, fmt.Errorf("%w: %s is of type %s, and those are of type %s", ErrNotAnEntry, where, secret.Type, SecretType)
	}
	annotations := secret.Annotations
	place, ok := placeOf(secret.Namespace, secret.Name)
	if !ok || annotations[AnnotationCluster] != place.Cluster || annotations[AnnotationNamespace] != place.Namespace || annotations[AnnotationName] != place.Name {
		return Record{}, fmt.Errorf("%s has a name that does not fit its annotations %s, %s and %s: restore them, or delete it and write the entry anew", where, AnnotationCluster, AnnotationNamespace, AnnotationName)
	}
	r := Record{Place: place}
	if bad := r.readAnnotations(annotations); bad != "" {
		return Record{}, fmt.Errorf("%s has an annotation %s that the store has not written: restore it, or write the entry anew", where, bad)
	}
	if bad, ok := r.readData(secret.Data); !ok {
		return Record{}, fmt.Errorf("%s has a key %s that the store has not written, or lacks one: restore it, or delete it and write the entry anew", where, shown(bad))
	}
	if err := r.Entry.Check(place); err != nil {
		return Record{}, err
	}
	return r, nil
}

// readAnnotations gives the annotation that cannot be read.
func (r *Record) readAnnotations(annotations map[string]string) (bad string) {
	e := &r.Entry
	e.Type, e.SPIFFEID = Type(annotations[AnnotationType]), annotations[AnnotationSPIFFEID]
	for annotation, into := range map[string]*time.Time{
		AnnotationNotBefore:      &e.NotBefore,
		AnnotationExpirationDate: &e.ExpirationDate,
		AnnotationCreated:        &e.Metadata.Created,
		AnnotationUpdated:        &e.Metadata.Updated,
		AnnotationVersionTime:    &r.VersionTime,
	} {
		*into, _ = parseDate(annotations[annotation])
	}
	r.Version, _ = strconv.ParseInt(annotations[AnnotationVersion], 10, 64)
	var user userMetadata
	if text := annotations[AnnotationMetadata]; text != "" && json.Unmarshal([]byte(text), &user) != nil {
		return AnnotationMetadata
	}
	e.Metadata.Labels, e.Metadata.Annotations = user.Labels, user.Annotations
	// All that was read is written again: this finds what was misread, is missing, or is there in another form.
	again := r.annotations()
	for _, annotation := range []string{AnnotationType, AnnotationSPIFFEID, AnnotationNotBefore, AnnotationExpirationDate, AnnotationCreated, AnnotationUpdated, AnnotationVersion, AnnotationVersionTime, AnnotationMetadata} {
		if again[annotation] != annotations[annotation] {
			return annotation
		}
	}
	switch {
	case r.Version < 1 || r.Version > maxVersion:
		return AnnotationVersion
	case r.VersionTime.IsZero():
		return AnnotationVersionTime
	case e.Metadata.Created.IsZero():
		return AnnotationCreated
	case e.Metadata.Updated.IsZero():
		return AnnotationUpdated
	}
	return ""
}

// readData gives the key that cannot be.
func (r *Record) readData(data map[string][]byte) (bad string, ok bool) {
	keys := map[string]string{}
	text, isText := data[textKey]
	for key, content := range data {
		switch {
		case strings.HasPrefix(key, keyPrefix) && !isText:
			keys[strings.TrimPrefix(key, keyPrefix)] = string(content)
		case strings.HasPrefix(key, formerPrefix):
			former, ok := readVersion(content)
			if again, _ := former.encode(); !ok || again != key || former.Number < 1 || former.Number >= r.Version {
				return key, false
			}
			r.Former = append(r.Former, former)
		case key != textKey:
			return key, false
		}
	}
	slices.SortFunc(r.Former, func(a, b Version) int { return cmp.Compare(b.Number, a.Number) })
	r.Entry.Value = Value{keys: keys}
	if isText {
		r.Entry.Value = TextValue(string(text))
	}
	return textKey, isText || len(keys) > 0
}

func readVersion(content []byte) (Version, bool) {
	var stored struct {
		Number int64           `json:"number"`
		Time   string          `json:"time"`
		Value  json.RawMessage `json:"value"`
	}
	if json.Unmarshal(content, &stored) != nil {
		return Version{}, false
	}
	v := Version{Number: stored.Number}
	v.Time, _ = parseDate(stored.Time)
	switch {
	case v.Time.IsZero():
		return Version{}, false
	case json.Unmarshal(stored.Value, &v.Value.text) == nil:
	case json.Unmarshal(stored.Value, &v.Value.keys) != nil:
		return Version{}, false
	}
	// A key that comes twice, another field or half of a character would have been lost.
	_, again := v.encode()
	return v, bytes.Equal(again, content)
}
