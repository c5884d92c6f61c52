package controllers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// TestMetrics holds what /metrics shows against docs/metrics.md and the queries in charts/fleet-handshake/files.
func TestMetrics(t *testing.T) {
	ctx := context.Background()
	address := freeAddress(t)
	startOperator(t, hub.Operator, func(o *operator.Options) { o.ListenAddress, o.VSecM = address, silentSafe(t) })
	deployment := deliver(t, "measured", "oslo")
	says(t, "measured", v1alpha1.StateSynced, v1alpha1.ReasonSynced)
	sendTo(t, "waits", "bergen")
	says(t, "waits", v1alpha1.StatePending, v1alpha1.ReasonDelivering)
	sourcesWithoutVault(t)
	sourcesWithoutSafe(t)

	var live exposed
	eventually(t, func(context.Context) error {
		live = scrape(t, address)
		switch {
		case len(live.series["fleet_handshake_vault_circuit_open"]) == 0:
			return errors.New("the Vault that does not answer is not left alone")
		case len(live.series["fleet_handshake_vsecm_circuit_open"]) == 0:
			return errors.New("the Safe that does not answer is not left alone")
		case len(live.series["fleet_handshake_source_age_seconds"]) == 0:
			return errors.New("the operator has not seen that a VaultSecret was fetched before")
		}
		return nil
	})
	for name, want := range map[string][]string{
		"fleet_handshake_status":                          {"measured Synced", "waits Pending"},
		"fleet_handshake_clusters":                        {"measured Synced", "waits Pending"},
		"fleet_handshake_oldest_unsynced_cluster_seconds": {"waits Pending"},
	} {
		assert.ElementsMatch(t, want, live.ofHandshakes(name, "measured", "waits"), name)
	}
	t.Run("the documentation has every metric", func(t *testing.T) { checkDocumentation(t, live) })
	t.Run("alerts and dashboard ask for what there is", func(t *testing.T) { checkQueries(t, live) })
	t.Run("the series of a handshake go with it", func(t *testing.T) {
		require.NoError(t, hub.Handshakes.Delete(ctx, workspace, "measured"))
		// As Fleet does when the Bundle no longer names the cluster.
		require.NoError(t, hub.Deployments.Delete(ctx, workspace, deployment))
		eventually(t, func(ctx context.Context) error {
			if _, err := hub.Handshakes.Get(ctx, workspace, "measured"); !apierrors.IsNotFound(err) {
				return errors.New("the handshake is still there")
			}
			after := scrape(t, address)
			for name := range live.series {
				if found := after.ofHandshakes(name, "measured"); len(found) > 0 {
					return fmt.Errorf("%s still has %v", name, found)
				}
			}
			return nil
		})
		assert.NotEmpty(t, scrape(t, address).ofHandshakes("fleet_handshake_status", "waits"), "the others stay")
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := clients.FreeAddress(t.Context())
	require.NoError(t, err)
	return address
}

// sendTo makes a Secret, a Cluster, and a handshake that sends the Secret to it.
func sendTo(t *testing.T, name, cluster string) *v1alpha1.FleetHandshake {
	t.Helper()
	ctx := context.Background()
	_, err := hub.Clusters.Create(ctx, &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: cluster}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Clusters.Delete(ctx, workspace, cluster) })
	makeSecret(t, name, corev1.SecretTypeOpaque)
	hs, err := hub.Handshakes.Create(ctx, &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec:       v1alpha1.FleetHandshakeSpec{SecretName: name, TargetNamespace: "apps", Targets: []v1alpha1.ClusterTarget{{ClusterName: cluster}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { drop(t, name) })
	return hs
}

// deliver sends a Secret to one cluster, and plays Fleet: it makes the BundleDeployment, which says that the cluster has
// the Secret. It returns its name.
func deliver(t *testing.T, name, cluster string) string {
	t.Helper()
	ctx := context.Background()
	hs := sendTo(t, name, cluster)
	var b *fleet.Bundle
	eventually(t, func(ctx context.Context) (err error) {
		b, err = hub.Bundles.Get(ctx, workspace, bundle.Name(hs.Name, hs.UID, "apps"))
		return err
	})
	bd := &fleet.BundleDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: b.Name, Labels: map[string]string{
		fleet.BundleNamespaceLabel: workspace, fleet.BundleLabel: b.Name, fleet.ClusterNamespaceLabel: workspace, fleet.ClusterLabel: cluster,
	}}}
	maps.Copy(bd.Labels, b.Labels)
	bd.Spec.DeploymentID = "applied"
	bd.Spec.Options.ForceSyncGeneration = b.Spec.ForceSyncGeneration
	_, err := hub.Deployments.Create(ctx, bd)
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Deployments.Delete(ctx, workspace, bd.Name) })
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"appliedDeploymentID": "applied", "syncGeneration": b.Spec.ForceSyncGeneration, "ready": true, "nonModified": true,
	}})
	require.NoError(t, err)
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	_, err = dyn.Resource(fleet.SchemeGroupVersion.WithResource("bundledeployments")).Namespace(workspace).
		Patch(ctx, bd.Name, types.MergePatchType, status, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	return bd.Name
}

// exposed is one scrape.
type exposed struct {
	// help and kind are what HELP and TYPE say of a metric.
	help, kind map[string]string
	// series are the labels of all samples by their name, which for a histogram is longer than the metric's.
	series map[string][]map[string]string
}

var (
	sample    = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? \S+$`)
	labelPair = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

func scrape(t *testing.T, address string) exposed {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	e := exposed{map[string]string{}, map[string]string{}, map[string][]map[string]string{}}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP ") && len(words) == 4:
			e.help[words[2]] = words[3]
		case strings.HasPrefix(line, "# TYPE ") && len(words) == 4:
			e.kind[words[2]] = words[3]
		case !strings.HasPrefix(line, "#"):
			found := sample.FindStringSubmatch(line)
			require.NotNil(t, found, line)
			labels := map[string]string{}
			for _, pair := range labelPair.FindAllStringSubmatch(found[2], -1) {
				labels[pair[1]] = pair[2]
			}
			e.series[found[1]] = append(e.series[found[1]], labels)
		}
	}
	return e
}

// ofHandshakes are the series of some handshakes: the name and the status or state of each.
func (e exposed) ofHandshakes(metric string, names ...string) []string {
	var found []string
	for _, labels := range e.series[metric] {
		if labels["namespace"] == workspace && slices.Contains(names, labels["name"]) {
			found = append(found, labels["name"]+" "+labels["status"]+labels["state"])
		}
	}
	return found
}

// values are all values of a label of some series, and whether they have it.
func (e exposed) values(label string, series []string) (values []string, known bool) {
	for _, name := range series {
		for _, labels := range e.series[name] {
			if value, ok := labels[label]; ok {
				values, known = append(values, value), true
			}
		}
	}
	return values, known
}

// labels of a metric, without the one by which the parts of a histogram differ.
func (e exposed) labels(metric string) []string {
	found := map[string]bool{}
	for _, suffix := range []string{"", "_bucket"} {
		for _, series := range e.series[metric+suffix] {
			for label := range series {
				found[label] = true
			}
		}
	}
	delete(found, "le")
	return slices.Sorted(maps.Keys(found))
}

// rowOfMetric is a row of a table in docs/metrics.md: name, type, labels, meaning.
var rowOfMetric = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|([^|]*)\\| \\w[^|]*\\|$")

func checkDocumentation(t *testing.T, live exposed) {
	text := read(t, "docs", "metrics.md")
	documented := map[string]string{}
	for _, row := range rowOfMetric.FindAllStringSubmatch(text, -1) {
		assert.NotContains(t, documented, row[1], "%s has two rows", row[1])
		documented[row[1]] = strings.TrimSpace(row[2] + strings.NewReplacer("`", "", ",", "").Replace(row[3]))
	}
	present := map[string]string{}
	for name, kind := range live.kind {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			assert.NotEmpty(t, live.help[name], name)
			present[name] = strings.TrimSpace(kind + " " + strings.Join(live.labels(name), " "))
		}
	}
	assert.Equal(t, present, documented, "docs/metrics.md, against what is exposed")
}

func checkQueries(t *testing.T, live exposed) {
	rules := alerts(t)
	var expressions []string
	for _, r := range rules {
		expressions = append(expressions, r.Expr)
	}
	queries := parsePromQL(t, append(expressions, dashboard(t)...))
	for i, r := range rules {
		assert.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], r.Alert)
		assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
		assert.Contains(t, r.Annotations["description"], "docs/troubleshooting.md", r.Alert)
		for _, label := range labelInText.FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["description"], -1) {
			assert.True(t, live.hasLabel(label[1], queries[i].Metrics), "%s speaks of the label %s", r.Alert, label[1])
		}
	}
	states := map[string][]string{"status": enumOf(t, "status"), "state": enumOf(t, "clusters", "state")}
	for _, q := range queries {
		require.NotEmpty(t, q.Metrics, q.text)
		for _, name := range q.Metrics {
			assert.NotEmpty(t, live.series[name], "no series %s: %s", name, q.text)
		}
		for _, label := range q.Groups {
			assert.True(t, live.hasLabel(label, q.Metrics), "no label %s: %s", label, q.text)
		}
		for _, m := range q.Matchers {
			if fromScrape[m.Label] || !assert.True(t, live.hasLabel(m.Label, q.Metrics), "no label %s: %s", m.Label, q.text) {
				continue
			}
			values, _ := live.values(m.Label, q.Metrics)
			for _, value := range strings.Split(m.Value, "|") {
				assert.Contains(t, append(values, states[m.Label]...), value, q.text)
			}
		}
	}
}

// fromScrape are labels that Prometheus adds.
var fromScrape = map[string]bool{"job": true, "instance": true, "namespace": true}

func (e exposed) hasLabel(label string, series []string) bool {
	_, known := e.values(label, series)
	return known || fromScrape[label]
}

var labelInText = regexp.MustCompile(`\$labels\.(\w+)`)

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alerts are the rules of charts/fleet-handshake/files/alerts.yaml.
func alerts(t *testing.T) []rule {
	t.Helper()
	var object struct {
		Spec struct {
			Groups []struct{ Rules []rule }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "charts", "fleet-handshake", "files", "alerts.yaml")), &object))
	var found []rule
	for _, group := range object.Spec.Groups {
		found = append(found, group.Rules...)
	}
	require.NotEmpty(t, found)
	return found
}

// dashboard are the expressions of charts/fleet-handshake/files/dashboard.json.
func dashboard(t *testing.T) []string {
	var content any
	require.NoError(t, json.Unmarshal([]byte(read(t, "charts", "fleet-handshake", "files", "dashboard.json")), &content))
	var found []string
	variable := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	var walk func(any)
	walk = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, item := range n {
				walk(item)
			}
		case map[string]any:
			for key, value := range n {
				text, _ := value.(string)
				switch {
				case key == "expr":
					found = append(found, strings.ReplaceAll(text, "$__rate_interval", "5m"))
				case variable.MatchString(text):
					found = append(found, variable.ReplaceAllString(text, "group by ($2) ($1)"))
				}
				walk(value)
			}
		}
	}
	walk(content)
	require.NotEmpty(t, found)
	return found
}

// query is what scripts/tools/promql says of an expression.
type query struct {
	text     string
	Metrics  []string
	Matchers []struct{ Label, Value string }
	Groups   []string
}

// parsePromQL asks the parser of Prometheus what each expression reads.
func parsePromQL(t *testing.T, expressions []string) []query {
	t.Helper()
	root, err := lab.Root()
	require.NoError(t, err)
	input, err := json.Marshal(expressions)
	require.NoError(t, err)
	cmd := exec.Command("go", "run", ".")
	cmd.Dir, cmd.Stdin = filepath.Join(root, "scripts", "tools", "promql"), bytes.NewReader(input)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	output, err := cmd.Output()
	require.NoError(t, err, failed.String())
	var queries []query
	require.NoError(t, json.Unmarshal(output, &queries))
	require.Len(t, queries, len(expressions))
	for i, text := range expressions {
		queries[i].text = text
	}
	return queries
}

// enumOf are the values that the API allows for a field of the status of a FleetHandshake.
func enumOf(t *testing.T, path ...string) []string {
	var crd apiextensions.CustomResourceDefinition
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "crds", "fleethandshake.io_fleethandshakes.yaml")), &crd))
	field := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
	for _, name := range path {
		if field.Items != nil {
			field = *field.Items.Schema
		}
		field = field.Properties[name]
	}
	var values []string
	for _, raw := range field.Enum {
		var value string
		require.NoError(t, json.Unmarshal(raw.Raw, &value))
		values = append(values, value)
	}
	require.NotEmpty(t, values)
	return values
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	root, err := lab.Root()
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	require.NoError(t, err)
	return string(content)
}
