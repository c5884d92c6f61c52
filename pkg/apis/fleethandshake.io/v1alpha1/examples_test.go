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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
)

const (
	vaultExamples = "../../../../examples/vault/"
	sourceDocs    = "../../../../docs/sources/"
)

// TestTheExamplesForVaultAreOfTheirTypes decodes them. Fields that a type does not have and keys that come twice are
// errors.
func TestTheExamplesForVaultAreOfTheirTypes(t *testing.T) {
	files, err := filepath.Glob(vaultExamples + "*.yaml")
	require.NoError(t, err)
	readme := text(t, vaultExamples+"README.md")
	auths := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content := text(t, file)
			assert.True(t, strings.HasPrefix(content, "# "), "it begins with a comment")
			assert.Contains(t, readme, "("+filepath.Base(file)+")", "the README names it")
			connections := map[string]*VaultConnection{}
			objects := decodeStrictly(t, content)
			for _, object := range objects {
				if connection, ok := object.(*VaultConnection); ok {
					connections[connection.Namespace+"/"+connection.Name] = connection
					auths[methodOf(connection.Spec.Auth)] = true
				}
			}
			for _, object := range objects {
				named := object.(metav1.Object)
				assert.NotEmpty(t, named.GetName())
				assert.NotEmpty(t, named.GetNamespace())
				secret, ok := object.(*VaultSecret)
				if !ok || secret.Spec.ConnectionRef == nil {
					continue
				}
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
		})
	}
	assert.Equal(t, map[string]bool{
		"kubernetes": true, "jwt of a service account": true, "jwt of a Secret": true, "appRole": true, "cert": true, "token": true,
	}, auths, "each method has an example")
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
	_, docs, ok := strings.Cut(text(t, sourceDocs+"vault.md"), "\n## Conditions and reasons\n")
	require.True(t, ok)
	known := map[string]bool{}
	for _, file := range []string{"source_conditions.go", "conditions.go"} {
		for _, match := range regexp.MustCompile(`(?m)^\t(?:Condition|Reason|Event)\w+ += "(\w+)"`).FindAllStringSubmatch(text(t, file), -1) {
			known[match[1]] = true
			if file == "source_conditions.go" && !strings.Contains(docs, "\n| `"+match[1]+"` | ") {
				t.Errorf("docs/sources/vault.md has no row for %s", match[1])
			}
		}
	}
	assert.Greater(t, len(known), 40)
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)`").FindAllStringSubmatch(docs, -1) {
		assert.True(t, known[row[1]], "docs/sources/vault.md has a row for %s, which does not exist", row[1])
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

// decodeStrictly decodes YAML documents into the types of their kinds.
func decodeStrictly(t *testing.T, content string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, kubernetes.AddToScheme(scheme))
	require.NoError(t, AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	for _, document := range bytes.Split([]byte(content), []byte("\n---\n")) {
		object, _, err := decoder.Decode(document, nil, nil)
		require.NoError(t, err, "%s", document)
		out = append(out, object)
	}
	return out
}

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
