package audit

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	spec     = `{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:secretName":{}}}`
	metadata = `{"f:metadata":{"f:annotations":{".":{},"f:app":{}}}}`
	status   = `{"f:status":{"f:spec":{},"f:revision":{}}}`
)

func at(minute int) *metav1.Time {
	return ptr.To(metav1.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC))
}

// wrote says that a manager wrote fields of an object last at a time.
func wrote(manager string, at *metav1.Time, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "fleethandshake.io/v1alpha1", Time: at,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func below(subresource string, e metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	e.Subresource = subresource
	return e
}

func TestKeepManagerKeepsWhoWroteTheSpecLast(t *testing.T) {
	for title, c := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   string
	}{
		"nobody is known":                 {nil, ""},
		"one":                             {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec)}, "kubectl"},
		"the later of two":                {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec), wrote("gitops", at(2), spec)}, "gitops"},
		"the later of two, in any order":  {[]metav1.ManagedFieldsEntry{wrote("gitops", at(2), spec), wrote("kubectl", at(1), spec)}, "gitops"},
		"of the same time the last":       {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec), wrote("gitops", at(1), spec)}, "gitops"},
		"who wrote the status later":      {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec), below("status", wrote("operator", at(2), status))}, "kubectl"},
		"who wrote below the spec later":  {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec), below("scale", wrote("scaler", at(2), spec))}, "kubectl"},
		"who wrote the metadata later":    {[]metav1.ManagedFieldsEntry{wrote("kubectl", at(1), spec), wrote("operator", at(2), metadata)}, "kubectl"},
		"nobody wrote the spec":           {[]metav1.ManagedFieldsEntry{wrote("operator", at(2), metadata), below("status", wrote("operator", at(2), status))}, ""},
		"the metadata, and then the spec": {[]metav1.ManagedFieldsEntry{wrote("operator", at(3), metadata), wrote("kubectl", at(1), spec), wrote("gitops", at(2), spec)}, "gitops"},
		"no time is known":                {[]metav1.ManagedFieldsEntry{wrote("kubectl", nil, spec)}, "kubectl"},
		"a manager without a name":        {[]metav1.ManagedFieldsEntry{wrote("", at(1), spec)}, ""},
	} {
		t.Run(title, func(t *testing.T) {
			hs := &v1alpha1.FleetHandshake{ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: c.fields}, Spec: v1alpha1.FleetHandshakeSpec{SecretName: "db-creds"}}
			assert.Equal(t, c.want, managerOf(hs), "it is known before")
			kept, err := KeepManager(hs)
			require.NoError(t, err)
			assert.Same(t, hs, kept)
			assert.Equal(t, c.want, managerOf(hs))
			assert.LessOrEqual(t, len(hs.ManagedFields), 1)
			for _, e := range hs.ManagedFields {
				assert.Nil(t, e.FieldsV1, "the fields would take memory")
			}
			assert.Equal(t, "db-creds", hs.Spec.SecretName)

			once := hs.DeepCopy()
			_, err = KeepManager(hs)
			require.NoError(t, err)
			assert.Equal(t, once, hs, "twice is as once")
		})
	}
}

func TestKeepManagerLeavesWhatIsNoObject(t *testing.T) {
	for _, o := range []any{nil, "fleet-default/web", cache.DeletedFinalStateUnknown{Key: "fleet-default/web"}} {
		kept, err := KeepManager(o)
		require.NoError(t, err)
		assert.Equal(t, o, kept)
	}
}
