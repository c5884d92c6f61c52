package syncstatus

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/genericcondition"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const canary = "c4n4ry-v4lue"

// The words of Helm and of the API server that have a reason of ours, with a value in them.
const (
	secretExists = `Unable to continue with install: Secret "creds" in namespace "apps" exists and cannot be imported into the current release: invalid ownership metadata; ` + canary
	immutable    = `cannot patch "creds" with kind Secret: Secret "creds" is invalid: data: Forbidden: field is immutable when ` + "`immutable`" + ` is set ` + canary
	typeChanged  = `cannot patch "creds" with kind Secret: Secret "creds" is invalid: type: Invalid value: "` + canary + `": field is immutable`
)

// fill writes the canary into every string below a value, and makes every list and map one long.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(canary)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint8:
		v.SetUint('x')
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf(canary))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				fill(field)
			}
		}
	}
}

// talkative is a BundleDeployment that holds the canary wherever it can.
func talkative(t *testing.T) *fleet.BundleDeployment {
	bd := &fleet.BundleDeployment{}
	fill(reflect.ValueOf(&bd.Spec).Elem())
	fill(reflect.ValueOf(&bd.Status).Elem())
	data, err := json.Marshal(bd)
	require.NoError(t, err)
	require.Greater(t, strings.Count(string(data), canary), 100, "it is everywhere")

	bd.ObjectMeta = metav1.ObjectMeta{
		Namespace: "cluster-paris", Name: "hs-1", UID: "u1", ResourceVersion: "9", Generation: 4, Finalizers: []string{"f"},
		Labels:          map[string]string{fleet.ClusterNamespaceLabel: "fleet-default", fleet.ClusterLabel: "paris"},
		Annotations:     map[string]string{canary: canary},
		OwnerReferences: []metav1.OwnerReference{{Name: canary}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: canary, FieldsV1: metav1.NewFieldsV1(`{"f:` + canary + `":{}}`)}},
	}
	bd.Spec.DeploymentID, bd.Spec.StagedDeploymentID, bd.Status.AppliedDeploymentID = "id3", "id4", "id2"
	bd.Status.Conditions = append(bd.Status.Conditions,
		genericcondition.GenericCondition{Type: "Ready", Status: corev1.ConditionFalse, Reason: canary, Message: canary, LastUpdateTime: canary, LastTransitionTime: canary},
		genericcondition.GenericCondition{Type: "Installed", Status: corev1.ConditionFalse, Reason: canary, Message: secretExists, LastUpdateTime: canary, LastTransitionTime: canary},
		genericcondition.GenericCondition{Type: "Deployed", Status: corev1.ConditionTrue, Reason: canary, LastUpdateTime: canary, LastTransitionTime: canary},
	)
	bd.Status.ModifiedStatus = append(bd.Status.ModifiedStatus, fleet.ModifiedStatus{Kind: "Secret", Name: canary, Create: true, Patch: `{"data":{"password":"` + canary + `"}}`})
	return bd
}

func TestStripTakesAwayEveryWordOfFleet(t *testing.T) {
	bd := talkative(t)
	Strip(bd)
	data, err := json.Marshal(bd)
	require.NoError(t, err)
	assert.NotContains(t, string(data), canary)

	want := &fleet.BundleDeployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: "cluster-paris", Name: "hs-1", UID: "u1", ResourceVersion: "9", Generation: 4, Finalizers: []string{"f"},
		Labels: map[string]string{fleet.ClusterNamespaceLabel: "fleet-default", fleet.ClusterLabel: "paris"},
	}}
	want.Spec = fleet.BundleDeploymentSpec{DeploymentID: "id3", StagedDeploymentID: "id4", Paused: true, WaitingForValues: true}
	want.Spec.Options.ForceSyncGeneration, want.Spec.StagedOptions.ForceSyncGeneration = 3, 3
	want.Status = fleet.BundleDeploymentStatus{
		AppliedDeploymentID: "id2", SyncGeneration: ptr.To[int64](3), Ready: true, NonModified: true,
		Conditions: []genericcondition.GenericCondition{
			{Type: "Installed", Status: corev1.ConditionFalse, Reason: "SecretExists"},
			{Type: "Deployed", Status: corev1.ConditionTrue},
		},
		ModifiedStatus: []fleet.ModifiedStatus{{Create: true, Exist: true}, {Create: true}},
	}
	assert.Equal(t, want, bd)

	Strip(bd)
	assert.Equal(t, want, bd, "once more changes nothing")
}

func TestStripKeepsTheCause(t *testing.T) {
	for title, c := range map[string]struct {
		message string
		cause   string
	}{
		"no message":                       {"", ""},
		"a foreign Secret is in the way":   {secretExists, "SecretExists"},
		"the copy is immutable":            {immutable, "Immutable"},
		"the copy has another type":        {typeChanged, "TypeChanged"},
		"the agent says something else":    {"admission webhook denied the request: " + canary, ""},
		"another field cannot be changed":  {`spec: Invalid value: "` + canary + `": field is immutable`, ""},
		"the type is wrong from the start": {`type: Invalid value: "` + canary + `": must be shorter`, ""},
	} {
		for _, condition := range []string{"Installed", "Deployed"} {
			t.Run(title+", says "+condition, func(t *testing.T) {
				bd := &fleet.BundleDeployment{}
				bd.Status.Conditions = []genericcondition.GenericCondition{{Type: condition, Status: corev1.ConditionFalse, Reason: "Error", Message: c.message}}
				for range 2 {
					Strip(bd)
					assert.Equal(t, []genericcondition.GenericCondition{{Type: condition, Status: corev1.ConditionFalse, Reason: c.cause}}, bd.Status.Conditions)
				}
			})
		}
	}
}

// What the operator says of a talkative BundleDeployment names the cause, and repeats nothing.
func TestNoWordOfFleetIsInAResult(t *testing.T) {
	for title, c := range map[string]struct {
		change func(bd *fleet.BundleDeployment)
		state  string
	}{
		"could not be applied":  {func(bd *fleet.BundleDeployment) { waiting(bd); failing(bd, "Deployed", "") }, "ErrApplied ApplyFailed"},
		"is immutable":          {func(bd *fleet.BundleDeployment) { waiting(bd); failing(bd, "Deployed", ""); says(bd, immutable) }, "ErrApplied Immutable"},
		"is of another type":    {func(bd *fleet.BundleDeployment) { waiting(bd); failing(bd, "Deployed", ""); says(bd, typeChanged) }, "ErrApplied TypeChanged"},
		"is in the way":         {func(bd *fleet.BundleDeployment) { refusing(bd, ""); says(bd, secretExists) }, "Conflict SecretExists"},
		"is refused":            {func(bd *fleet.BundleDeployment) { refusing(bd, ""); says(bd, canary) }, "NotReady InstallRefused"},
		"was edited downstream": {func(bd *fleet.BundleDeployment) { modifiedCopy(bd, fleet.ModifiedStatus{Patch: canary}) }, "Modified CopyEdited"},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			bd := talkative(t)
			bd.Status.Conditions, bd.Status.ModifiedStatus, bd.Spec.Paused = nil, nil, false
			staged(bd, 3)
			handedOn(bd, 3)
			appliedNumber(bd, 3)
			c.change(bd)
			Strip(bd)
			in.Deployments = []*fleet.BundleDeployment{bd}
			r := aggregate(t, in)
			assert.Equal(t, c.state, string(r.Rows[0].State)+" "+string(r.Rows[0].Reason))
			data, err := json.Marshal([]any{r, Transitions(in.Handshake.Status, r.Status, nil, r.Rows)})
			require.NoError(t, err)
			assert.NotContains(t, string(data), canary)
		})
	}
}

func says(bd *fleet.BundleDeployment, message string) { bd.Status.Conditions[0].Message = message }
