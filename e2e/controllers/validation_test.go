package controllers

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// apply creates a handshake from the YAML of its spec, as kubectl apply would.
func apply(t *testing.T, spec string) (*unstructured.Unstructured, error) {
	t.Helper()
	return applyKind(t, "FleetHandshake", spec)
}

// of is the resource of one of our kinds.
func of(kind string) schema.GroupVersionResource {
	return v1alpha1.SchemeGroupVersion.WithResource(strings.ToLower(kind) + "s")
}

// applyKind creates an object of one of our kinds from the YAML of its spec, as kubectl apply would.
func applyKind(t *testing.T, kind, spec string) (*unstructured.Unstructured, error) {
	t.Helper()
	object := map[string]any{}
	if spec != "" {
		parsed := map[string]any{}
		require.NoError(t, yaml.Unmarshal([]byte(spec), &parsed))
		object["spec"] = parsed
	}
	object["apiVersion"], object["kind"] = "fleethandshake.io/v1alpha1", kind
	object["metadata"] = map[string]any{"generateName": "valid-", "namespace": workspace}
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	made, err := dyn.Resource(of(kind)).Namespace(workspace).Create(context.Background(), &unstructured.Unstructured{Object: object},
		metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err == nil {
		t.Cleanup(func() {
			_ = dyn.Resource(of(kind)).Namespace(workspace).Delete(context.Background(), made.GetName(), metav1.DeleteOptions{})
		})
	}
	return made, err
}

func TestBadObjectsAreRefusedWithASentenceThatHelps(t *testing.T) {
	const group = "targets: [{clusterGroup: production}]"
	for title, c := range map[string]struct{ spec, want string }{
		"no spec":                             {"", "spec is missing: name a Secret and at least one target"},
		"no Secret":                           {"{" + group + "}", "spec.secretName: Required value"},
		"no targets":                          {"{secretName: a}", "targets is empty: name at least one cluster, group or selector, for example targets: [{clusterGroup: production}]"},
		"an empty list of targets":            {"{secretName: a, targets: []}", "targets is empty"},
		"an empty target":                     {"{secretName: a, targets: [{}]}", "spec.targets[0]: Invalid value: this target matches no cluster: add clusterName, clusterGroup"},
		"a target with a name only":           {"{secretName: a, targets: [{name: x}]}", "this target matches no cluster"},
		"a target with an odd name":           {"{secretName: a, targets: [{name: values.yaml, clusterName: x}]}", "the name of a target must use lower case letters"},
		"a Secret with an odd name":           {"{secretName: My_Secret, " + group + "}", "secretName is not the name of a Secret: use lower case letters"},
		"a Secret with a long name":           {"{secretName: " + strings.Repeat("a", 254) + ", " + group + "}", "may not be more than 253 bytes"},
		"a namespace with an odd name":        {"{secretName: a, secretNamespace: a.b, " + group + "}", "secretNamespace is not the name of a namespace"},
		"a target namespace with an odd name": {"{secretName: a, targetNamespace: Apps, " + group + "}", "targetNamespace is not the name of a namespace"},
		"a target namespace of an agent":      {"{secretName: a, targetNamespace: cattle-fleet-system, " + group + "}", "targetNamespace is one of the namespaces of Rancher's and Fleet's own agents"},
		"the same, from the Secret's":         {"{secretName: a, secretNamespace: cattle-system, " + group + "}", "targetNamespace is one of the namespaces of Rancher's and Fleet's own agents"},
		"a group with an odd name":            {"{secretName: a, targets: [{clusterGroup: 'a b'}]}", "clusterGroup is not the name of a ClusterGroup"},
		"a negative interval":                 {"{secretName: a, resyncInterval: -5m, " + group + "}", "resyncInterval must be 5m or longer, for example 30m or 1h; 0s turns it off"},
		"an interval that is no duration":     {"{secretName: a, resyncInterval: hourly, " + group + "}", "resyncInterval must be 5m or longer"},
		"an interval of a minute":             {"{secretName: a, resyncInterval: 1m, " + group + "}", "resyncInterval must be 5m or longer"},
		"a timeout longer than time":          {"{secretName: a, removalTimeout: 9999999999h, " + group + "}", "removalTimeout must be a duration, for example 10m or 1h"},
		"a policy that is none":               {"{secretName: a, deletionPolicy: Orphan, " + group + "}", `supported values: "Delete", "Retain"`},
		"more clusters than a number holds":   {"{secretName: a, rolloutStrategy: {maxUnavailable: 3000000000}, " + group + "}", "maxUnavailable must be a number of clusters from 0 on, or a percentage such as 25%"},
		"fewer partitions than none":          {"{secretName: a, rolloutStrategy: {maxUnavailablePartitions: -1}, " + group + "}", "maxUnavailablePartitions must be a number of partitions from 0 on"},
		"a partition of too many":             {"{secretName: a, rolloutStrategy: {partitions: [{clusterGroup: a, maxUnavailable: 3000000000}]}, " + group + "}", "maxUnavailable of a partition must be a number of clusters from 0 on"},
		"a field that is misspelled":          {"{secretName: a, target: [], " + group + "}", `unknown field "spec.target"`},
		"more than 100 targets":               {"{secretName: a, targets: [" + strings.Repeat("{clusterName: x},", 101) + "]}", "must have at most 100 items"},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := apply(t, c.spec)
			require.ErrorContains(t, err, c.want)
		})
	}
	for title, spec := range map[string]string{
		"the shortest":        "{secretName: a, " + group + "}",
		"everything":          "{secretName: a.b-c, secretNamespace: p, targetNamespace: t, paused: true, resyncInterval: 1h30m, correctDrift: false, targets: [{name: x, clusterName: 'Paris One', clusterSelector: {matchLabels: {a: b}}, clusterGroup: g, clusterGroupSelector: {}, doNotDeploy: true}]}",
		"every policy":        "{secretName: a, conflictPolicy: Adopt, replacePolicy: Recreate, deletionPolicy: Retain, missingSourcePolicy: Remove, removalTimeout: 0s, rolloutStrategy: {maxUnavailable: 25%, autoPartitionSize: 3, maxNew: 5, partitions: [{name: canary, clusterGroup: a, maxUnavailable: 1}, {clusterSelector: {}, maxUnavailable: 10%}]}, " + group + "}",
		"all clusters":        "{secretName: a, targets: [{clusterSelector: {}}]}",
		"resyncs turned off":  "{secretName: a, resyncInterval: 0s, " + group + "}",
		"the shortest resync": "{secretName: a, resyncInterval: 5m, " + group + "}",
	} {
		t.Run(title, func(t *testing.T) {
			_, err := apply(t, spec)
			require.NoError(t, err)
		})
	}
}

func TestDefaults(t *testing.T) {
	made, err := apply(t, "{secretName: a, targets: [{clusterGroup: production}]}")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"secretName": "a", "targets": []any{map[string]any{"clusterGroup": "production"}},
		"resyncInterval": "1h", "correctDrift": true, "conflictPolicy": "Fail", "replacePolicy": "Never",
		"deletionPolicy": "Delete", "missingSourcePolicy": "Keep", "removalTimeout": "10m",
	}, made.Object["spec"])
}

func TestColumns(t *testing.T) {
	var table metav1.Table
	require.NoError(t, hub.CoreV1().RESTClient().Get().AbsPath("/apis/fleethandshake.io/v1alpha1/fleethandshakes").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(context.Background()).Into(&table))
	var columns []string
	for _, c := range table.ColumnDefinitions {
		columns = append(columns, fmt.Sprintf("%s/%d", c.Name, c.Priority))
	}
	assert.Equal(t, []string{"Name/0", "Secret/0", "Clusters-Ready/0", "Status/0", "Age/0", "Target-Namespace/1", "Bundle/1", "Revision/1"}, columns)
}
