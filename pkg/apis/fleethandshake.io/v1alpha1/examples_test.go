package v1alpha1

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm/ref"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	vaultExamples = "../../../../examples/vault/"
	vsecmExamples = "../../../../examples/vsecm/"
	sourceDocs    = "../../../../docs/sources/"
)

// TestTheExamplesAreOfTheirTypes decodes them. Fields that a type does not have and keys that come twice are errors.
func TestTheExamplesAreOfTheirTypes(t *testing.T) {
	auths, types := map[string]bool{}, map[VSecMSecretType]bool{}
	for _, folder := range []string{vaultExamples, vsecmExamples} {
		files, err := filepath.Glob(folder + "*.yaml")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		readme := text(t, folder+"README.md")
		for _, file := range files {
			t.Run(filepath.Base(folder)+"/"+filepath.Base(file), func(t *testing.T) {
				content := text(t, file)
				assert.True(t, strings.HasPrefix(content, "# "), "it begins with a comment")
				assert.Contains(t, readme, "("+filepath.Base(file)+")", "the README names it")
				connections := map[string]*VaultConnection{}
				objects := decodeStrictly(t, content)
				for _, object := range objects {
					named := object.(metav1.Object)
					assert.NotEmpty(t, named.GetName())
					assert.Equal(t, object.GetObjectKind().GroupVersionKind().Kind != "ClusterSPIFFEID", named.GetNamespace() != "")
					switch o := object.(type) {
					case *VaultConnection:
						connections[o.Namespace+"/"+o.Name] = o
						auths[methodOf(o.Spec.Auth)] = true
					case *VSecMSecret:
						types[o.Spec.SecretType] = true
						areAllowed(t, o, content)
					}
				}
				for _, object := range objects {
					if secret, ok := object.(*VaultSecret); ok && secret.Spec.ConnectionRef != nil {
						mayUse(t, secret, connections)
					}
				}
			})
		}
	}
	assert.Equal(t, map[string]bool{
		"kubernetes": true, "jwt of a service account": true, "jwt of a Secret": true, "appRole": true, "cert": true, "token": true,
	}, auths, "each method has an example")
	assert.Equal(t, map[VSecMSecretType]bool{"": true, VSecMK8s: true, VSecMRaw: true, VSecMWorkload: true}, types, "each secretType has an example")
}

// mayUse looks for the VaultConnection of a VaultSecret.
func mayUse(t *testing.T, secret *VaultSecret, connections map[string]*VaultConnection) {
	t.Helper()
	ref := secret.Spec.ConnectionRef
	namespace := ref.Namespace
	if namespace == "" {
		namespace = secret.Namespace
	}
	connection := connections[namespace+"/"+ref.Name]
	require.NotNil(t, connection, "VaultConnection %s/%s", namespace, ref.Name)
	if namespace != secret.Namespace {
		assert.Contains(t, connection.Spec.AllowedNamespaces, secret.Namespace)
	}
}

// areAllowed looks for the secrets of a VSecMSecret in the value of the chart, and in the commands, of a comment.
func areAllowed(t *testing.T, secret *VSecMSecret, comment string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^# Value of the chart: vsecm\.allow: \["?([^]"]+)"?\]$`).FindStringSubmatch(comment)
	require.NotNil(t, found, "the comment has the value of the chart")
	namespace, pattern, _ := strings.Cut(found[1], "/")
	assert.Equal(t, secret.Namespace, namespace)
	var refs []string
	for _, data := range secret.Spec.Data {
		refs = append(refs, data.Ref)
	}
	for _, from := range secret.Spec.DataFrom {
		refs = append(refs, from.Ref)
	}
	for _, metadata := range slices.Concat(secret.Spec.Labels, secret.Spec.Annotations) {
		refs = append(refs, metadata.Ref)
	}
	for _, ref := range refs {
		name, _, _ := strings.Cut(ref, ".")
		begin, open := strings.CutSuffix(pattern, "*")
		assert.True(t, pattern == name || open && strings.HasPrefix(name, begin), "%s may have %s", found[1], name)
		prefix := "raw:"
		if secret.Spec.SecretType == VSecMWorkload {
			prefix = ""
		}
		assert.Contains(t, comment, " -w "+prefix+name+" ", "a command writes it")
	}
}

func methodOf(auth VaultAuth) string {
	switch {
	case auth.Kubernetes != nil:
		return "kubernetes"
	case auth.JWT != nil && auth.JWT.SecretRef != nil:
		return "jwt of a Secret"
	case auth.JWT != nil:
		return "jwt of a service account"
	case auth.AppRole != nil:
		return "appRole"
	case auth.Cert != nil:
		return "cert"
	case auth.Token != nil:
		return "token"
	}
	return ""
}

// TestTheManifestsInTheDocsOfSourcesAreOfTheirTypes decodes those of our group.
func TestTheManifestsInTheDocsOfSourcesAreOfTheirTypes(t *testing.T) {
	files, err := filepath.Glob(sourceDocs + "*.md")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text(t, file), -1) {
			if strings.Contains(block[1], "apiVersion: "+SchemeGroupVersion.String()) {
				found += len(decodeStrictly(t, block[1]))
			}
		}
	}
	assert.Positive(t, found)
}

// TestTheDocsOfSourcesNameEveryReason reads the constants, so that a new one needs a line in the docs, and one that is gone
// leaves none behind.
func TestTheDocsOfSourcesNameEveryReason(t *testing.T) {
	known, ofSources := map[string]bool{}, []string{}
	for _, file := range []string{"source_conditions.go", "conditions.go"} {
		for _, match := range regexp.MustCompile(`(?m)^\t(?:Condition|Reason|Event)\w+ += "(\w+)"`).FindAllStringSubmatch(text(t, file), -1) {
			known[match[1]] = true
			if file == "source_conditions.go" {
				ofSources = append(ofSources, match[1])
			}
		}
	}
	assert.Greater(t, len(known), 40)
	others := map[string][]string{
		"vault.md": {"InvalidValue", "NotYetValid", "Expired"},
		"vsecm.md": {"ConnectionNotFound", "ConnectionNotShared", "CredentialsMissing", "Revoking", "NotRevoked"},
	}
	for file, others := range others {
		_, docs, ok := strings.Cut(text(t, sourceDocs+file), "\n## Conditions and reasons\n")
		require.True(t, ok)
		for _, word := range ofSources {
			has := strings.Contains(docs, "\n| `"+word+"` | ")
			assert.Equal(t, !slices.Contains(others, word), has, "whether docs/sources/%s has a row for %s", file, word)
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)`").FindAllStringSubmatch(docs, -1) {
			assert.True(t, known[row[1]], "docs/sources/%s has a row for %s, which does not exist", file, row[1])
		}
	}
}

// TestTheTableOfKeysIsTrue merges what each row of the table has in Vault.
func TestTheTableOfKeysIsTrue(t *testing.T) {
	_, table, ok := strings.Cut(text(t, sourceDocs+"vault.md"), "| path | prefix | separator | in Vault | keys |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[1:]
	require.Greater(t, len(rows), 10)
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		require.Len(t, cells, 5, row)
		code := func(i int) []string {
			var out []string
			for _, found := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(cells[i], -1) {
				out = append(out, found[1])
			}
			return out
		}
		var leaves []vaultkv.Leaf
		for _, secret := range code(3) {
			path, data, _ := strings.Cut(secret, " ")
			leaf := vaultkv.Leaf{Path: path}
			require.NoError(t, json.Unmarshal([]byte(data), &leaf.Data), row)
			leaves = append(leaves, leaf)
		}
		tree := vaultkv.New(vaultkv.Exact)
		require.NoError(t, tree.Add(vaultkv.Path{Path: code(0)[0], Prefix: strings.Join(code(1), "")}, leaves...), row)
		rendered, err := tree.Env(code(2)[0])
		require.NoError(t, err, row)
		assert.Equal(t, code(4), slices.Sorted(maps.Keys(rendered.Data)), row)
	}
}

// TestTheTableOfRefsIsTrue takes the value of each row of the table.
func TestTheTableOfRefsIsTrue(t *testing.T) {
	_, table, ok := strings.Cut(text(t, sourceDocs+"vsecm.md"), "| ref | in Safe | value | |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	rows := regexp.MustCompile("(?m)^\\| `(.+)` \\| `raw:(\\S+) (.+)` \\| `(.+)` \\| .*\\|$").FindAllStringSubmatch(table, -1)
	require.Len(t, rows, strings.Count(table, "\n"))
	require.Greater(t, len(rows), 5)
	for _, row := range rows {
		r, err := ref.Parse(row[1])
		require.NoError(t, err, row[0])
		assert.Equal(t, row[2], r.Name, row[0])
		value, err := r.Value(row[3])
		require.NoError(t, err, row[0])
		assert.Equal(t, row[4], value, row[0])
	}
}

// decodeStrictly decodes YAML documents into the types of their kinds.
func decodeStrictly(t *testing.T, content string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, kubernetes.AddToScheme(scheme))
	require.NoError(t, AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	for _, document := range bytes.Split([]byte(content), []byte("\n---\n")) {
		if bytes.Contains(document, []byte("\nkind: ClusterSPIFFEID\n")) {
			object := &clusterSPIFFEID{}
			require.NoError(t, yaml.UnmarshalStrict(document, object), "%s", document)
			out = append(out, object)
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		require.NoError(t, err, "%s", document)
		out = append(out, object)
	}
	return out
}

// clusterSPIFFEID has the fields of the SPIRE controller manager that the examples use.
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

func (c *clusterSPIFFEID) DeepCopyObject() runtime.Object { panic("nobody copies it") }

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
