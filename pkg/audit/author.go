package audit

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// creatorAnnotation is where Rancher puts the user who has created an object.
const creatorAnnotation = "field.cattle.io/creatorId"

// KeepManager drops all managed fields of an object but for the name of who wrote its spec last.
func KeepManager(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(writerOfSpec(m))
	}
	return o, nil
}

// managerOf is the field manager that wrote the spec of an object last; empty when it is not known.
func managerOf(o metav1.Object) string {
	for _, entry := range writerOfSpec(o) {
		return entry.Manager
	}
	return ""
}

// writerOfSpec is one entry without its fields, or none. An entry without fields is what it has left before.
func writerOfSpec(o metav1.Object) []metav1.ManagedFieldsEntry {
	var last []metav1.ManagedFieldsEntry
	for _, entry := range o.GetManagedFields() {
		if entry.Subresource != "" || !wroteSpec(entry) || len(last) > 0 && entry.Time.Before(last[0].Time) {
			continue
		}
		last = []metav1.ManagedFieldsEntry{{Manager: entry.Manager, Operation: entry.Operation, Time: entry.Time}}
	}
	return last
}

func wroteSpec(entry metav1.ManagedFieldsEntry) bool {
	if entry.FieldsV1 == nil {
		return true
	}
	var fields map[string]json.RawMessage
	err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields)
	_, spec := fields["f:spec"]
	return err == nil && spec
}
