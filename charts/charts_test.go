// Package charts has the tests of the Helm charts.
package charts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// oldest and newest are the versions of Kubernetes that the charts are rendered for.
var (
	oldest = "1.30.0"
	newest = pinnedKubernetes()
)

// withEveryKind makes the charts see the kinds of the Prometheus Operator and of the SPIRE controller manager.
const withEveryKind = "--api-versions=monitoring.coreos.com/v1/ServiceMonitor,monitoring.coreos.com/v1/PrometheusRule,spire.spiffe.io/v1alpha1/ClusterSPIFFEID"

// pinnedKubernetes is the version that the tests run.
func pinnedKubernetes() string {
	const file = "../e2e/lab/tools/kubernetes/go.mod"
	content, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	found := regexp.MustCompile(`\sk8s\.io/kubernetes v([0-9.]+)\s`).FindSubmatch(content)
	if found == nil {
		panic("no k8s.io/kubernetes in " + file)
	}
	return string(found[1])
}

// TestEveryObjectIsOfItsType decodes what the charts render. Fields that the type does not have and keys that come twice
// are errors.
func TestEveryObjectIsOfItsType(t *testing.T) {
	decode := strictly(t)
	check := func(t *testing.T, rendered []byte) []*unstructured.Unstructured {
		t.Helper()
		objects := decoded(t, decode, rendered)
		seen := map[string]bool{}
		for _, object := range objects {
			id := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
			assert.False(t, seen[id], "%s comes twice", id)
			seen[id] = true
			assert.Equal(t, !clusterScoped[object.GetKind()], object.GetNamespace() != "", "%s: a namespace for what has one, and for nothing else", id)
		}
		return objects
	}
	for _, version := range []string{oldest, newest} {
		t.Run(install.DefinitionsChart+" "+version, func(t *testing.T) { check(t, render(t, install.DefinitionsChart, version)) })
		for _, set := range valueSets(t) {
			t.Run(filepath.Base(set)+" "+version, func(t *testing.T) {
				for _, object := range check(t, render(t, install.Chart, version, withEveryKind, "--values="+set)) {
					assert.Regexp(t, "^fleet-handshake(-[a-z]+)?$", object.GetName(), "one operator a hub: names are constant")
					assert.Equal(t, "fleet-handshake", object.GetLabels()["app.kubernetes.io/name"], object.GetName())
				}
			})
		}
	}
}

func TestNamespacesMayLookLikeNumbersAndBooleans(t *testing.T) {
	used := map[string]bool{}
	for _, object := range decoded(t, strictly(t), render(t, install.Chart, newest, withEveryKind, "--values="+valueSet(t, "high-availability"),
		"--namespace=123", "--set-string=workspaces={1e3,true},sourceNamespaces={0x10,null,0o7},vault.namespaces={0o7},vsecm.allow={0x10/1e3},fleetNamespace=012,metrics.dashboard.namespace=6",
	)) {
		used[object.GetNamespace()] = true
	}
	for _, namespace := range []string{"123", "1e3", "true", "0x10", "null", "0o7", "012", "6"} {
		assert.True(t, used[namespace], "nothing is in %s", namespace)
	}
}

// TestAnUpgradeEndsWhereEachReplicaHasANodeOfItsOwn: with as many nodes as replicas, the first new one finds no place
// before an old one has ended.
func TestAnUpgradeEndsWhereEachReplicaHasANodeOfItsOwn(t *testing.T) {
	required := 0
	for _, set := range valueSets(t) {
		deployment := appsv1.Deployment{}
		require.NoError(t, yaml.Unmarshal(render(t, install.Chart, newest, "--values="+set, "--show-only=templates/deployment.yaml"), &deployment))
		if len(deployment.Spec.Template.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			required++
			assert.Positive(t, deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), "%s", set)
		}
		assert.Less(t, deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), int(*deployment.Spec.Replicas), "%s leaves no replica", set)
	}
	assert.Positive(t, required, "no set asks for a node for each replica")
}

func TestTheSetsRenderEveryKindOfTheChart(t *testing.T) {
	kinds := map[string]bool{}
	for _, set := range valueSets(t) {
		objects, err := lab.ParseObjects(render(t, install.Chart, newest, withEveryKind, "--values="+set))
		require.NoError(t, err)
		for _, object := range objects {
			kinds[object.GetKind()] = true
		}
	}
	inTemplates := regexp.MustCompile(`(?m)^kind: (\w+)$`)
	for path, content := range files(t, "fleet-handshake/templates") {
		for _, found := range inTemplates.FindAllStringSubmatch(content, -1) {
			assert.True(t, kinds[found[1]], "no set in ci/ renders the %s of %s", found[1], path)
		}
	}
}

func TestTheDefinitionsChartIsCrds(t *testing.T) {
	var want []*unstructured.Unstructured
	for _, content := range files(t, "../crds") {
		objects, err := lab.ParseObjects([]byte(content))
		require.NoError(t, err)
		want = append(want, objects...)
	}
	got, err := lab.ParseObjects(render(t, install.DefinitionsChart, newest))
	require.NoError(t, err)
	for _, object := range got {
		annotations := object.GetAnnotations()
		assert.Equal(t, "keep", annotations["helm.sh/resource-policy"], object.GetName())
		delete(annotations, "helm.sh/resource-policy")
		object.SetAnnotations(annotations)
		if len(annotations) == 0 {
			unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
		}
	}
	require.NotEmpty(t, want)
	assert.ElementsMatch(t, want, got, "run make generate")
}

// TestTheRolesAreThoseOfTheMarkers compares the rules of the rendered roles with what controller-gen has written.
func TestTheRolesAreThoseOfTheMarkers(t *testing.T) {
	read := func(into map[string][]rbacv1.PolicyRule, content []byte) {
		objects, err := lab.ParseObjects(content)
		require.NoError(t, err)
		for _, object := range objects {
			role := rbacv1.ClusterRole{}
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role))
			id := fmt.Sprintf("%s %s/%s", role.Kind, role.Namespace, role.Name)
			require.NotContains(t, into, id)
			into[id] = role.Rules
		}
	}
	want, got := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for _, content := range files(t, "fleet-handshake/rbac") {
		read(want, []byte(content))
	}
	// The namespace of the release may be that of Fleet, so this one has a name of its own.
	want["Role cattle-fleet-system/fleet-handshake-fleet"] = want["Role cattle-fleet-system/fleet-handshake"]
	delete(want, "Role cattle-fleet-system/fleet-handshake")
	read(got, render(t, install.Chart, newest, "--show-only=templates/roles.yaml"))
	require.Len(t, want, 7)
	assert.Equal(t, want, got)
	for id, rules := range want {
		require.NotEmpty(t, rules, id)
		for _, rule := range rules {
			assert.NotContains(t, slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*")
		}
	}
}

func TestAnOlderKubernetesIsRefused(t *testing.T) {
	for _, chart := range []string{install.DefinitionsChart, install.Chart} {
		_, err := install.Template(context.Background(), chart, "1.29.9")
		require.ErrorContains(t, err, "chart requires kubeVersion: >= 1.30.0-0")
		render(t, chart, "v1.33.1+rke2r1")
		render(t, chart, "v1.30.0-gke.1")
	}
}

// clusterScoped are the kinds of the charts that have no namespace.
var clusterScoped = map[string]bool{
	"ClusterRole": true, "ClusterRoleBinding": true, "ClusterSPIFFEID": true, "CustomResourceDefinition": true,
	"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true,
}

// serviceMonitor and prometheusRule have the fields of the Prometheus Operator that the chart uses. Its Go module is not
// among ours.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Path        string `json:"path"`
			Interval    string `json:"interval"`
			HonorLabels bool   `json:"honorLabels"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

// clusterSPIFFEID has the fields of the SPIRE controller manager that the chart uses.
type clusterSPIFFEID struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ClassName                 string               `json:"className"`
		SPIFFEIDTemplate          string               `json:"spiffeIDTemplate"`
		NamespaceSelector         metav1.LabelSelector `json:"namespaceSelector"`
		PodSelector               metav1.LabelSelector `json:"podSelector"`
		WorkloadSelectorTemplates []string             `json:"workloadSelectorTemplates"`
	} `json:"spec"`
}

// strictly decodes a document into the type of its kind, and refuses unknown fields and keys that come twice.
func strictly(t *testing.T) func(document []byte) error {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, kubernetes.AddToScheme(scheme))
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	return func(document []byte) error {
		of := metav1.TypeMeta{}
		if err := yaml.Unmarshal(document, &of); err != nil {
			return err
		}
		switch of.APIVersion + " " + of.Kind {
		case "monitoring.coreos.com/v1 ServiceMonitor":
			return yaml.UnmarshalStrict(document, &serviceMonitor{})
		case "monitoring.coreos.com/v1 PrometheusRule":
			return yaml.UnmarshalStrict(document, &prometheusRule{})
		case "spire.spiffe.io/v1alpha1 ClusterSPIFFEID":
			return yaml.UnmarshalStrict(document, &clusterSPIFFEID{})
		}
		_, _, err := decoder.Decode(document, nil, nil)
		return err
	}
}

// decoded are the objects of a rendered chart, each of which is of its type.
func decoded(t *testing.T, decode func([]byte) error, rendered []byte) []*unstructured.Unstructured {
	t.Helper()
	for _, document := range documents(rendered) {
		require.NoError(t, decode(document), "%s", document)
	}
	objects, err := lab.ParseObjects(rendered)
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	return objects
}

// documents are the YAML documents of a rendered chart.
func documents(rendered []byte) [][]byte {
	var out [][]byte
	for _, document := range bytes.Split(append([]byte("\n"), rendered...), []byte("\n---\n")) {
		if len(bytes.TrimSpace(document)) > 0 {
			out = append(out, document)
		}
	}
	return out
}

func render(t *testing.T, chart, kubeVersion string, args ...string) []byte {
	t.Helper()
	out, err := install.Template(context.Background(), chart, kubeVersion, args...)
	require.NoError(t, err)
	return out
}

// valueSets are the files of values in ci/, with their absolute paths.
func valueSets(t *testing.T) []string {
	t.Helper()
	sets, err := filepath.Glob("fleet-handshake/ci/*-values.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, sets)
	for i := range sets {
		sets[i], err = filepath.Abs(sets[i])
		require.NoError(t, err)
	}
	return sets
}

// valueSet is the file of one set of values.
func valueSet(t *testing.T, name string) string {
	t.Helper()
	sets := valueSets(t)
	found := slices.IndexFunc(sets, func(set string) bool { return filepath.Base(set) == name+"-values.yaml" })
	require.GreaterOrEqual(t, found, 0)
	return sets[found]
}

// files are the contents of the files in a folder.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	out := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		require.NoError(t, err)
		out[entry.Name()] = string(content)
	}
	require.NotEmpty(t, out)
	return out
}
