// Package charts has the tests of the Helm charts.
package charts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
const (
	oldest = "1.30.0"
	newest = "1.36.3"
)

// withMonitoring makes the charts see the kinds of the Prometheus Operator.
const withMonitoring = "--api-versions=monitoring.coreos.com/v1"

// TestEveryObjectIsOfItsType decodes what the charts render. Fields that the type does not have and keys that come twice
// are errors.
func TestEveryObjectIsOfItsType(t *testing.T) {
	decode := strictly(t)
	check := func(t *testing.T, rendered []byte) []*unstructured.Unstructured {
		t.Helper()
		for _, document := range documents(rendered) {
			require.NoError(t, decode(document), "%s", document)
		}
		objects, err := install.Objects(rendered)
		require.NoError(t, err)
		require.NotEmpty(t, objects)
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
				for _, object := range check(t, render(t, install.Chart, version, withMonitoring, "--values="+set)) {
					assert.Regexp(t, "^fleet-handshake(-[a-z]+)?$", object.GetName(), "one operator a hub: names are constant")
					assert.Equal(t, "fleet-handshake", object.GetLabels()["app.kubernetes.io/name"], object.GetName())
				}
			})
		}
	}
}

func TestTheSetsRenderEveryKindOfTheChart(t *testing.T) {
	kinds := map[string]bool{}
	for _, set := range valueSets(t) {
		objects, err := install.Objects(render(t, install.Chart, newest, withMonitoring, "--values="+set))
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
		objects, err := install.Objects([]byte(content))
		require.NoError(t, err)
		want = append(want, objects...)
	}
	got, err := install.Objects(render(t, install.DefinitionsChart, newest))
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
	rules := func(objects []*unstructured.Unstructured) []rbacv1.PolicyRule {
		var out []rbacv1.PolicyRule
		for _, object := range objects {
			role := rbacv1.ClusterRole{}
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role))
			out = append(out, role.Rules...)
		}
		return out
	}
	var want []rbacv1.PolicyRule
	for _, content := range files(t, "fleet-handshake/rbac") {
		objects, err := install.Objects([]byte(content))
		require.NoError(t, err)
		want = append(want, rules(objects)...)
	}
	rendered, err := install.Objects(render(t, install.Chart, newest, "--show-only=templates/roles.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, want)
	assert.ElementsMatch(t, want, rules(rendered))
	for _, rule := range want {
		assert.NotContains(t, slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*")
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

func TestThePackagedChartsHaveWhatTheyNeed(t *testing.T) {
	packed := packaged(t)
	for _, path := range []string{
		"README.md", "app-readme.md", "questions.yaml", "values.yaml", "values.schema.json", "rbac/operator.yaml", "rbac/workspace.yaml",
		"rbac/secrets.yaml", "files/alerts.yaml", "files/dashboard.json", "templates/NOTES.txt", "templates/validate.yaml",
	} {
		assert.Contains(t, packed, "fleet-handshake/"+path)
	}
	for _, path := range []string{"README.md", "templates/admission.yaml", "templates/fleethandshake.io_fleethandshakes.yaml", "templates/fleethandshake.io_secretgrants.yaml"} {
		assert.Contains(t, packed, "fleet-handshake-crd/"+path)
	}
	for _, path := range packed {
		assert.NotRegexp(t, `^[^/]+/(tests|ci)/|\.gotmpl$|_test\.go$`, path)
	}
}

// clusterScoped are the kinds of the charts that have no namespace.
var clusterScoped = map[string]bool{
	"ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true,
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
		}
		_, _, err := decoder.Decode(document, nil, nil)
		return err
	}
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

// packaged are the paths in the packages of both charts.
func packaged(t *testing.T) []string {
	t.Helper()
	programs, err := tools.Ensure(context.Background(), os.Stderr, tools.Helm)
	require.NoError(t, err)
	folder := t.TempDir()
	out, err := exec.Command(programs[tools.Helm], "package", install.Chart, install.DefinitionsChart, "--destination", folder).CombinedOutput()
	require.NoError(t, err, "%s", out)
	archives, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	require.NoError(t, err)
	require.Len(t, archives, 2)
	var paths []string
	for _, archive := range archives {
		file, err := os.Open(archive)
		require.NoError(t, err)
		defer file.Close()
		unzipped, err := gzip.NewReader(file)
		require.NoError(t, err)
		reader := tar.NewReader(unzipped)
		for {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			paths = append(paths, header.Name)
		}
	}
	return paths
}
