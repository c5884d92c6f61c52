package source

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// manager is who the API server notes as the manager of what we write.
const manager = "fleet-handshake"

// setByOthers says whether somebody else has set one of the keys, from what the API server notes about each field.
func setByOthers(secret *corev1.Secret, keys map[string]Origin) bool {
	return slices.ContainsFunc(secret.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		fields, known := without(entry, keys)
		return !known || fields != nil
	})
}

// takeOver notes that nobody else has set the keys. A key that is written with the value that it has stays noted as that of
// whoever has set it before: it would seem to be edited for ever.
func takeOver(secret *corev1.Secret, keys map[string]Origin) {
	for i, entry := range secret.ManagedFields {
		if fields, known := without(entry, keys); known && fields != nil {
			secret.ManagedFields[i].FieldsV1 = metav1.NewFieldsV1(string(fields))
		}
	}
}

// without is what somebody else has set, without the keys; nil when he has set none of them. false means that it cannot be
// read.
func without(entry metav1.ManagedFieldsEntry, keys map[string]Origin) ([]byte, bool) {
	if entry.Manager == manager || entry.FieldsV1 == nil {
		return nil, true
	}
	var fields, data map[string]json.RawMessage
	if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
		return nil, false
	}
	if fields["f:data"] == nil {
		return nil, true
	}
	if json.Unmarshal(fields["f:data"], &data) != nil {
		return nil, false
	}
	before := len(data)
	maps.DeleteFunc(data, func(name string, _ json.RawMessage) bool {
		_, ours := keys[strings.TrimPrefix(name, "f:")]
		return ours
	})
	if len(data) == before {
		return nil, true
	}
	var err error
	if fields["f:data"], err = json.Marshal(data); err != nil {
		return nil, false
	}
	if len(data) == 0 {
		delete(fields, "f:data")
	}
	out, err := json.Marshal(fields)
	return out, err == nil
}
