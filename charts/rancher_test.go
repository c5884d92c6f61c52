package charts

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const catalog = "catalog.cattle.io/"

// metadata is Chart.yaml.
type metadata struct {
	Name, Version, AppVersion, KubeVersion, Description, Icon, Home, Type, APIVersion string
	Sources, Keywords                                                                 []string
	Maintainers                                                                       []struct{ Name, URL string }
	Annotations                                                                       map[string]string
}

// versions is what Rancher takes for a range: each part with a pre-release, so that versions such as v1.33.1+rke2r1 and
// release candidates are in it.
var versions = regexp.MustCompile(`^(>=|<) \d+\.\d+\.\d+-0( < \d+\.\d+\.\d+-0)?$`)

// TestRancherTakesTheCharts holds the rules of Rancher's catalog (rancher/rancher pkg/catalogv2, rancher/dashboard
// shell/config/labels-annotations.js).
func TestRancherTakesTheCharts(t *testing.T) {
	chart, definitions := chartFile(t, install.Chart), chartFile(t, install.DefinitionsChart)
	assert.Equal(t, chart.Version, definitions.Version, "auto-install takes the same version")
	assert.Equal(t, chart.AppVersion, definitions.AppVersion)
	assert.Equal(t, chart.AppVersion, chart.Annotations[catalog+"upstream-version"])

	for name, c := range map[string]metadata{install.Chart: chart, install.DefinitionsChart: definitions} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, name, c.Name)
			assert.Equal(t, "v2", c.APIVersion)
			assert.Equal(t, "application", c.Type)
			assert.Regexp(t, `^\d+\.\d+\.\d+(-[a-z0-9.]+)?$`, c.Version)
			assert.NotEmpty(t, c.Description)
			assert.NotEmpty(t, c.Home)
			assert.NotEmpty(t, c.Sources)
			assert.NotEmpty(t, c.Maintainers)
			icon, ok := strings.CutPrefix(c.Icon, "file://")
			assert.True(t, ok, "the icon is a file of the repository")
			content, err := os.ReadFile(filepath.Join("..", icon))
			require.NoError(t, err, "Rancher looks for the icon from the root of the repository")
			assert.Contains(t, string(content), "<svg ")

			assert.Regexp(t, versions, c.KubeVersion)
			assert.Equal(t, c.KubeVersion, c.Annotations[catalog+"kube-version"])
			assert.Regexp(t, versions, c.Annotations[catalog+"rancher-version"])
			assert.Equal(t, name, c.Annotations[catalog+"release-name"])
			assert.Equal(t, install.Namespace, c.Annotations[catalog+"namespace"])
			assert.Equal(t, "linux", c.Annotations[catalog+"os"])
			assert.Equal(t, "linux", c.Annotations[catalog+"permits-os"])
			assert.Equal(t, "management", c.Annotations[catalog+"scope"])
			known := []string{
				"auto-install", "display-name", "hidden", "kube-version", "namespace", "os", "permits-os", "provides-gvr",
				"rancher-version", "release-name", "requires-gvr", "scope", "upstream-version",
			}
			for annotation := range c.Annotations {
				key, ours := strings.CutPrefix(annotation, catalog)
				assert.True(t, ours && slices.Contains(known, key), "Rancher does not know the annotation %s", annotation)
			}
		})
	}
	assert.Equal(t, "true", definitions.Annotations[catalog+"hidden"], "the UI does not list the chart of the definitions")
	assert.NotContains(t, chart.Annotations, catalog+"hidden")
	assert.Equal(t, install.DefinitionsChart+"=match", chart.Annotations[catalog+"auto-install"])
	assert.NotEmpty(t, chart.Annotations[catalog+"display-name"])
	kind := regexp.MustCompile(`^[a-z0-9.-]+\.[a-z]+/v\d+[a-z0-9]*$`)
	for _, annotation := range []string{"provides-gvr", "requires-gvr"} {
		assert.Regexp(t, kind, chart.Annotations[catalog+annotation])
	}
	objects, err := lab.ParseObjects(render(t, install.DefinitionsChart, newest))
	require.NoError(t, err)
	var provided []string
	for _, object := range objects {
		if group, plural, ok := definition(object.Object); ok {
			provided = append(provided, group+"."+plural+"/v1alpha1")
		}
	}
	assert.Contains(t, provided, chart.Annotations[catalog+"provides-gvr"])
}

// TestRancherTakesTheRepository: a ClusterRepo of this Git repository refuses symbolic links, takes an index.yaml for the
// index, and every folder with a Chart.yaml for a chart.
func TestRancherTakesTheRepository(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	paths := strings.Fields(string(out))
	require.NotEmpty(t, paths)
	var found []string
	for _, path := range paths {
		info, err := os.Lstat(filepath.Join("..", path))
		if err != nil {
			continue // deleted, and not committed
		}
		assert.Zero(t, info.Mode()&os.ModeSymlink, "%s is a symbolic link", path)
		assert.NotEqual(t, "index.yaml", filepath.Base(path), path)
		if filepath.Base(path) == "Chart.yaml" {
			found = append(found, path)
		}
	}
	assert.ElementsMatch(t, []string{"charts/fleet-handshake/Chart.yaml", "charts/fleet-handshake-crd/Chart.yaml"}, found)
}

// question is an entry of questions.yaml.
type question struct {
	Variable, Label, Description, Type, Group string
	Default                                   any
	Required                                  bool
	Options                                   []string
	Min, Max                                  *float64
	ShowIf                                    string `json:"show_if"`
	ShowSubquestionIf                         any    `json:"show_subquestion_if"`
	Subquestions                              []question
}

// types are those of rancher/dashboard shell/components/Questions.
var types = []string{
	"string", "hostname", "multiline", "password", "ipaddr", "cidr", "cron", "boolean", "enum", "int", "float", "radio", "yaml", "configmap",
	"secret", "storageclass", "pvc", "cloudcredential", "array[string]", "map[string]",
}

func TestTheQuestionsAreAboutValues(t *testing.T) {
	content, err := os.ReadFile("fleet-handshake/questions.yaml")
	require.NoError(t, err)
	var file struct{ Questions []question }
	require.NoError(t, yaml.UnmarshalStrict(content, &file))
	require.NotEmpty(t, file.Questions)
	defaults, root := values(t), schema(t)
	seen := map[string]bool{}
	var check func(q question, nested bool)
	check = func(q question, nested bool) {
		assert.False(t, seen[q.Variable], "%s is asked twice", q.Variable)
		seen[q.Variable] = true
		assert.NotEmpty(t, q.Label, q.Variable)
		assert.True(t, nested || q.Group != "", "%s has no group", q.Variable)
		assert.Contains(t, types, q.Type, q.Variable)
		want, found := lookup(defaults, q.Variable)
		assert.True(t, found, "values.yaml has no %s", q.Variable)
		assert.Equal(t, want, q.Default, "the default of %s", q.Variable)

		inSchema := root
		for key := range strings.SplitSeq(q.Variable, ".") {
			if len(inSchema.Properties) == 0 {
				break // an object of Kubernetes
			}
			child, ok := inSchema.Properties[key]
			assert.True(t, ok, "values.schema.json has no %s", q.Variable)
			inSchema = child
		}
		assert.Equal(t, inSchema.Enum, q.Options, "the options of %s", q.Variable)
		assert.Equal(t, inSchema.Minimum, q.Min, "the minimum of %s", q.Variable)
		assert.Equal(t, inSchema.Maximum, q.Max, "the maximum of %s", q.Variable)
		// Who clears a field sends an empty string.
		if q.Type == "string" && !q.Required {
			_, err := install.Template(context.Background(), install.Chart, newest, "--set-string="+q.Variable+"=")
			require.NoError(t, err, "%s may be cleared, and is refused then: make it required", q.Variable)
		}
		for _, sub := range q.Subquestions {
			assert.NotNil(t, q.ShowSubquestionIf, "%s never shows its questions", q.Variable)
			check(sub, true)
		}
	}
	for _, q := range file.Questions {
		check(q, false)
	}
	for _, variable := range []string{"workspaces", "sourceNamespaces", "vault.namespaces", "vsecm.allow", "imagePullSecrets"} {
		assert.True(t, seen[variable], "%s is not asked", variable)
	}
	t.Logf("%d questions: %v", len(seen), slices.Sorted(maps.Keys(seen)))
}

func chartFile(t *testing.T, chart string) metadata {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	require.NoError(t, err)
	out := metadata{}
	require.NoError(t, yaml.UnmarshalStrict(content, &out))
	return out
}

// definition is the group and the name in the singular that a CustomResourceDefinition defines.
func definition(object map[string]any) (group, singular string, ok bool) {
	if object["kind"] != "CustomResourceDefinition" {
		return "", "", false
	}
	g, _ := lookup(object, "spec.group")
	s, _ := lookup(object, "spec.names.singular")
	group, _ = g.(string)
	singular, ok = s.(string)
	return group, singular, ok
}
