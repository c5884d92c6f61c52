package store

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// MaxSize is the largest size of all keys and values of the Secret of an entry, in bytes. Kubernetes counts the
	// values only.
	MaxSize = corev1.MaxSecretSize
	// MaxMetadata is the largest size of labels and annotations of one entry as JSON, in bytes. The API server takes
	// 256 KiB for all annotations of a Secret.
	MaxMetadata = 64 << 10
	// MaxKey is the longest key of a value, in bytes: a Secret takes 253, and a prefix goes before each.
	MaxKey = 253 - len(keyPrefix)
	// maxSPIFFEID is the longest SPIFFE ID, in bytes (SPIFFE-ID 2.3).
	maxSPIFFEID = 2048
)

// reservedDomain is what no label or annotation of a user may be under. On a Secret it stands for the operator.
const reservedDomain = "fleethandshake.io"

const insteadDate = "write it as RFC 3339 with a year from 1970 to 9999, for example 2027-01-31T08:00:00Z"

// reporter takes a problem of an entry. fields lead from the entry to the point.
type reporter func(reason, instead string, fields ...string)

// Check says whether an entry can be at a place: nil, or *Problems with the paths of the place.
func (e Entry) Check(p Place) error {
	problems := &Problems{}
	err := Scope{Tenant: p.Tenant, Cluster: p.Cluster, Namespace: p.Namespace}.Check()
	switch {
	case err != nil:
		return err
	case p.Tenant == "" || p.Cluster == "":
		problems.add(p.path(), "has no tenant or no cluster", "name both")
		return problems
	}
	e.check(p, func(reason, instead string, fields ...string) {
		at := p.path()
		for _, field := range fields {
			at = at.at(field)
		}
		problems.add(at, reason, instead)
	})
	return problems.err()
}

// check reports all that is wrong, in the order of the fields. What is above the entry was checked before.
func (e Entry) check(p Place, report reporter) {
	switch e.Type {
	case Workload, Kubernetes, Raw:
	case "":
		report("is missing", "write workload, kubernetes or raw", typeField)
	default:
		report("is no type", "write workload, kubernetes or raw", typeField)
	}
	if n := len(p.SecretName()); checkName(p.Name, e.Type, report) && n > maxSecretName {
		report("has a place that is too long to be the name of a Secret", fmt.Sprintf("shorten the names of cluster, namespace and entry by %d characters in all; an upper-case letter counts as 3", n-maxSecretName))
	}
	e.Value.check(report)
	e.Metadata.check(report)
	e.checkSPIFFEID(report)
	e.checkDates(report)
}

func (v Value) check(report reporter) {
	if v.empty() {
		report("is missing or empty", "write a string, or an object of strings", valueField)
	}
	if !v.valid() {
		report("is no UTF-8 text", "encode bytes, for example as base64", valueField)
	}
	for _, key := range slices.Sorted(maps.Keys(v.keys)) {
		if len(key) > MaxKey || len(validation.IsConfigMapKey(key)) > 0 {
			report("is a key that no Kubernetes Secret can have", fmt.Sprintf("write letters, digits, -, _ and ., not .. at its start, at most %d", MaxKey), valueField, key)
		}
	}
	if size := sizeOf(encodeValue(v)); size > MaxSize {
		report(fmt.Sprintf("has %d KiB with its keys, and a Secret takes %d", (size+1023)/1024, MaxSize/1024), "split it into several entries", valueField)
	}
}

func (m Metadata) check(report reporter) {
	for _, label := range slices.Sorted(maps.Keys(m.Labels)) {
		checkMetadataKey(label, label, labelsField, report)
		if len(validation.IsValidLabelValue(m.Labels[label])) > 0 {
			report("has a value that is no value of a label", "write letters, digits, -, _ and ., with a letter or digit at both ends, at most 63; or make it an annotation", metadataField, labelsField, label)
		}
	}
	for _, annotation := range slices.Sorted(maps.Keys(m.Annotations)) {
		// Kubernetes takes any case in the domain of an annotation.
		checkMetadataKey(annotation, strings.ToLower(annotation), annotationsField, report)
		if !utf8.ValidString(m.Annotations[annotation]) {
			report("is no UTF-8 text", "encode bytes, for example as base64", metadataField, annotationsField, annotation)
		}
	}
	if size := len(m.encode()); size > MaxMetadata {
		report(fmt.Sprintf("has %d KiB of labels and annotations, and an entry takes %d", (size+1023)/1024, MaxMetadata/1024), "put what is long into the value", metadataField)
	}
	if !isDate(m.Created) {
		report("is no date", insteadDate, metadataField, createdField)
	}
	if !isDate(m.Updated) {
		report("is no date", insteadDate, metadataField, updatedField)
	}
	if !m.Created.IsZero() && !m.Updated.IsZero() && m.Updated.Before(m.Created) {
		report("is before creationTimestamp", "write a later date, or leave it out", metadataField, updatedField)
	}
}

func checkMetadataKey(key, as, field string, report reporter) {
	if len(validation.IsQualifiedName(as)) > 0 {
		report("is no key of a label or annotation", "write a name such as team, or one with a domain such as example.com/team", metadataField, field, key)
	}
	domain, _, qualified := strings.Cut(strings.ToLower(key), "/")
	if qualified && (domain == reservedDomain || strings.HasSuffix(domain, "."+reservedDomain)) {
		report("is under a domain that is the operator's own", "use a domain of yours", metadataField, field, key)
	}
}

func (e Entry) checkSPIFFEID(report reporter) {
	switch {
	case e.Type == Workload && e.SPIFFEID == "":
		report("is missing", "write the SPIFFE ID of the workload that may have this entry", spiffeIDField)
	case e.Type != Workload && e.Type != "" && e.SPIFFEID != "":
		report("is for entries of type workload only", "leave it out, or write type workload", spiffeIDField)
	case e.SPIFFEID != "":
		id, err := spiffeid.FromString(e.SPIFFEID)
		if err != nil || id.Path() == "" || len(e.SPIFFEID) > maxSPIFFEID {
			report("is no SPIFFE ID of a workload", "write spiffe://, the trust domain and the path, for example spiffe://example.org/ns/apps/sa/web", spiffeIDField)
		}
	}
}

func (e Entry) checkDates(report reporter) {
	if !isDate(e.NotBefore) {
		report("is no date", insteadDate, notBeforeField)
	}
	if !isDate(e.ExpirationDate) {
		report("is no date", insteadDate, expirationField)
	}
	if !e.ExpirationDate.IsZero() && !e.NotBefore.Before(e.ExpirationDate) {
		report("is not before expirationDate, so that the entry could never be used", "write an earlier notBefore or a later expirationDate", notBeforeField)
	}
}

// isDate says whether a date can be written and read again. The zero time is no bound.
func isDate(date time.Time) bool {
	return date.IsZero() || date.UTC().Year() >= 1970 && date.UTC().Year() <= 9999
}

// rfc3339 is the form of a date. time.Parse takes more, such as one digit for the hour, and cuts what is below nanoseconds.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$`)

// parseDate reads RFC 3339, and gives UTC.
func parseDate(text string) (time.Time, bool) {
	date, err := time.Parse(time.RFC3339, text)
	if err != nil || !rfc3339.MatchString(text) || date.IsZero() || !isDate(date) {
		return time.Time{}, false
	}
	return date.UTC(), true
}

func formatDate(date time.Time) string {
	if date.IsZero() {
		return ""
	}
	return date.UTC().Format(time.RFC3339Nano)
}

// userMetadata is the annotation with what users have set.
type userMetadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (m Metadata) encode() []byte {
	if len(m.Labels)+len(m.Annotations) == 0 {
		return nil
	}
	return marshal(userMetadata{m.Labels, m.Annotations})
}
