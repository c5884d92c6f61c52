package bundle

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	apiyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// FuzzNothingIsInjected shows that the constant chart makes of any Secret exactly this Secret: no other object, no other
// field, and no template in a value is evaluated. A second Secret stands behind it and must be whole too.
//
// It does what Fleet and Helm do, with the few functions that the chart uses. With FLEET_HANDSHAKE_E2E=1 Fleet itself
// renders the Bundle too, with the Helm that is in its agent.
func FuzzNothingIsInjected(f *testing.F) {
	for _, c := range injections {
		f.Add(c.name, c.kind, c.key, c.text, c.data, c.immutable)
	}
	f.Fuzz(func(t *testing.T, name, kind, key, text string, data []byte, immutable bool) {
		checkInjection(t, injection{name, kind, key, text, data, immutable})
	})
}

// TestNothingIsInjected mixes the seeds of the fuzz target.
func TestNothingIsInjected(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() injection { return injections[random.IntN(len(injections))] }
	for range 1000 {
		checkInjection(t, injection{pick().name, pick().kind, pick().key, pick().text + pick().text, slices.Concat(pick().data, pick().data), pick().immutable})
	}
}

// injection is what a Secret may consist of. Names and keys need not be such that the API server takes them.
type injection struct {
	name, kind, key, text string
	data                  []byte
	immutable             bool
}

var injections = []injection{
	{"registry-creds", "Opaque", "password", "hunter2", []byte("hunter2"), false},
	{"", "", "", "", nil, false},
	{"a.b-c", "kubernetes.io/tls", "a.b_c-d", `{{ fail "evaluated" }}`, []byte(`{{ fail "evaluated" }}`), true},
	{"x", "example.com/{{ .Release.Name }}", "{{ .Values }}", "{{ .Values | toJson }}{{/*", []byte("${ .ClusterName }"), false},
	{"x\n---\napiVersion: v1\nkind: ConfigMap", "x\n---\nkind: ConfigMap\n", "x\n---\n", "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: injected\n", []byte("\n---\nkind: ConfigMap"), true},
	{`x", "namespace": "kube-system`, `Opaque"` + "\nimmutable: true\nx: \"", `a": "b", "c`, `"}]}` + "\n", []byte(`"}]}`), false},
	{"x}}", "#", "# no", "# no\r\n\t- ${ x } $(x) `x`", []byte{0, 255, 10, 13}, false},
	{"null", "null", "null", "null", []byte("null"), false},
	{"true", "1e9", "0x10", "yes", []byte("~"), false},
	{"*a", "&a", "<<", "!!binary aGk=", []byte("!!binary"), false},
	{"x", "Opaque", "helm.sh/hook", "pre-install", []byte("x"), false},
	{"x", "Opaque", "helm.sh/resource-policy", "keep", []byte("x"), false},
	{"x", "Opaque", "kubernetes.io/service-account.name", "global.fleet.clusterLabels.env", []byte("global.fleet.clusterLabels.env"), false},
	{"x", "Opaque", "<&>", "<&>\u2028\u2029\u202e\U0001f600", []byte("\u2028"), false},
	{"x", "\ufeff", "x", "\x7f\u0085\u0090\ufeff\ufffe\uffff", []byte("\x7f"), false},
	{"x", "Opaque", "x", strings.Repeat("w", 504) + "\ufeff", nil, false},
	{"x", "global.fleet.clusterLabels.env", "x", "x", nil, false},
	{"x", "Opaque", "x\x00y", "\x00\x01\x1b[31m\a\b\v\f\\\\'\"", []byte("\x00"), false},
	{"x", "Opaque", strings.Repeat("k", 253), strings.Repeat("long ", 300), bytes.Repeat([]byte("x"), 5000), false},
	{"x", "Opaque", "spaces", "  two lines \n\n  of text  \n ", []byte("  \n"), false},
	{"x", "Opaque", "---", "---", []byte("---"), false},
	{"x", "...", "...", "...\n%YAML 1.1\n---\n? a\n: b", []byte("..."), false},
}

func checkInjection(t *testing.T, c injection) {
	t.Helper()
	for _, text := range []*string{&c.name, &c.kind, &c.key, &c.text} {
		*text = strings.ToValidUTF8(*text, "\ufffd") // JSON carries nothing else
	}
	source := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "platform", Name: c.name, Labels: map[string]string{c.key: c.text}, Annotations: map[string]string{c.key: c.text, "example.com/second": c.text},
		},
		Type: corev1.SecretType(c.kind), Immutable: &c.immutable, Data: map[string][]byte{c.key: c.data, "second": []byte(c.text)},
	}
	sealed, err := Seal(source, nil, Terms{}, newNonce("n"))
	if err != nil {
		return // refused
	}
	n, v, _, err := open(sealed.Data)
	require.NoError(t, err, "what was sealed can be opened")
	neighbour := secret{Name: "neighbour", Type: "Opaque", Data: map[string][]byte{"password": []byte("untouched")}}
	v.Secrets = append(v.Secrets, neighbour)
	sealed = seal(n, v)

	hs := registryCreds()
	hs.Name = c.name
	b, _ := Render(Request{Handshake: hs, Hash: sealed.Hash, Revision: sealed.Revision, Names: sealed.Names, Clusters: clusters("a"), Matched: clusters("a"), Now: start})
	require.Equal(t, []fleet.BundleResource{{Name: "templates/secrets.yaml", Content: chart}}, b.Spec.Resources)
	values := byFleet(t, sealed.Data[ValuesKey])

	want := []map[string]any{wanted(source), wanted(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "neighbour"}, Type: "Opaque", Data: neighbour.Data})}
	require.Equal(t, want, objects(t, between.Split(likeHelm(t, values), -1)))
	// Helm takes a key "<<" for more than a key, which is none to the API server, and trims the end of the type.
	possible := c.kind == strings.TrimSpace(c.kind) && len(validation.IsDNS1123Subdomain(c.name)) == 0 && (len(validation.IsConfigMapKey(c.key)) == 0 || len(validation.IsQualifiedName(c.key)) == 0)
	if os.Getenv("FLEET_HANDSHAKE_E2E") != "" && possible {
		require.ElementsMatch(t, want, objects(t, documents(t, helm.render(t, b, values))), "Fleet itself")
	}
}

// wanted is the object that has to come out.
func wanted(s *corev1.Secret) map[string]any {
	metadata, data := map[string]any{"name": s.Name, "namespace": "apps"}, map[string]any{}
	for field, marks := range map[string]map[string]string{"labels": s.Labels, "annotations": s.Annotations} {
		kept := map[string]any{}
		for key, value := range marks {
			if !stripped(key) {
				kept[key] = value
			}
		}
		if len(kept) > 0 {
			metadata[field] = kept
		}
	}
	for key, value := range s.Data {
		data[key] = base64.StdEncoding.EncodeToString(value)
	}
	out := map[string]any{"apiVersion": "v1", "kind": "Secret", "type": string(s.Type), "metadata": metadata, "data": data}
	if s.Immutable != nil && *s.Immutable {
		out["immutable"] = true
	}
	return out
}

// byFleet replaces what looks like the label of a cluster in the values, as Fleet does (Fleet 0.16.0,
// internal/cmd/controller/target/builder.go).
func byFleet(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var values map[string]any
	require.NoError(t, json.Unmarshal(data, &values))
	var replace func(map[string]any)
	replace = func(values map[string]any) {
		for key, value := range values {
			switch value := value.(type) {
			case string:
				if strings.HasPrefix(value, clusterLabels) {
					values[key] = "injected by a label"
				}
			case map[string]any:
				replace(value)
			case []any:
				for _, item := range value {
					if m, ok := item.(map[string]any); ok {
						replace(m)
					}
				}
			}
		}
	}
	replace(values)
	return values
}

// likeHelm renders the chart as Helm does (Helm 4.2, pkg/engine).
func likeHelm(t *testing.T, values map[string]any) string {
	t.Helper()
	functions := template.FuncMap{
		"toJson": func(v any) string { return string(mustJSON(v)) },
		"b64dec": func(s string) (string, error) {
			out, err := base64.StdEncoding.DecodeString(s)
			return string(out), err
		},
	}
	var out strings.Builder
	require.NoError(t, template.Must(template.New("").Funcs(functions).Parse(chart)).Execute(&out, map[string]any{
		"Values": values, "Release": map[string]any{"Namespace": "apps"},
	}))
	return out.String()
}

// between is where Helm parts the documents of a file (Helm 4.2, pkg/release/v1/util).
var between = regexp.MustCompile(`(?:^|\s*\n)---\s*`)

// documents parts a manifest as the API client in Helm does.
func documents(t *testing.T, manifest string) []string {
	t.Helper()
	var all []string
	reader := apiyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, string(document))
	}
}

// objects reads documents strictly. What Fleet itself adds is taken out.
func objects(t *testing.T, documents []string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, document := range documents {
		if strings.TrimSpace(document) == "" {
			continue
		}
		var object map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object), "%q", document)
		metadata, _ := object["metadata"].(map[string]any)
		for _, field := range []string{"labels", "annotations"} {
			marks, ok := metadata[field].(map[string]any)
			maps.DeleteFunc(marks, func(key string, _ any) bool { return strings.HasPrefix(key, "objectset.rio.cattle.io/") })
			if ok && len(marks) == 0 {
				delete(metadata, field)
			}
		}
		all = append(all, object)
	}
	return all
}

// helm is Fleet's own renderer. It runs in a process of its own, because Fleet's module is not to be in ours.
var helm renderer

type renderer struct {
	once sync.Once
	err  error
	in   *json.Encoder
	out  *json.Decoder
}

// rendererSource is built with the versions that the lab pins, under a path that Fleet lets use its packages.
const rendererSource = `package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/rancher/fleet/internal/helmdeployer"
	"github.com/rancher/fleet/internal/manifest"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/fleet/pkg/helmvalues"
)

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var bundle fleet.Bundle
		var values []byte
		if in.Decode(&bundle) != nil || in.Decode(&values) != nil {
			return
		}
		var answer struct {
			Manifest, Err string
			Hooks         int
		}
		bd := &fleet.BundleDeployment{Spec: fleet.BundleDeploymentSpec{Options: bundle.Spec.BundleDeploymentOptions}}
		err := helmvalues.SetOptions(bd, map[string][]byte{helmvalues.ValuesKey: values})
		if err == nil {
			release, failed := helmdeployer.Template(context.Background(), bundle.Name, manifest.FromBundle(&bundle), bd.Spec.Options, "")
			if err = failed; err == nil {
				answer.Manifest, answer.Hooks = release.Manifest, len(release.Hooks)
			}
		}
		if err != nil {
			answer.Err = err.Error()
		}
		_ = out.Encode(answer)
	}
}
`

// start builds the renderer, and runs it until this process ends.
func (r *renderer) start() error {
	folder, err := os.MkdirTemp("", "fleet-renderer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a leftover is harmless
	pinned := filepath.Join("..", "..", "e2e", "lab", "tools", "fleet")
	mod, err := os.ReadFile(filepath.Join(pinned, "go.mod"))
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(pinned, "go.sum"))
	if err != nil {
		return err
	}
	_, requirements, _ := bytes.Cut(mod, []byte("\n"))
	for name, content := range map[string][]byte{
		"go.mod": slices.Concat([]byte("module github.com/rancher/fleet/injection\n"), requirements), "go.sum": sum, "main.go": []byte(rendererSource),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return err
		}
	}
	// As the lab builds Fleet's programs, so that most of it is compiled already.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "renderer", ".")
	build.Dir, build.Env = folder, append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building Fleet's renderer: %w\n%s", err, out)
	}
	run := exec.Command(filepath.Join(folder, "renderer"))
	in, err := run.StdinPipe()
	if err != nil {
		return err
	}
	out, err := run.StdoutPipe()
	if err != nil {
		return err
	}
	r.in, r.out = json.NewEncoder(in), json.NewDecoder(out)
	return run.Start()
}

// render has Fleet render a Bundle with these values.
func (r *renderer) render(t *testing.T, b *fleet.Bundle, values map[string]any) string {
	t.Helper()
	r.once.Do(func() { r.err = r.start() })
	require.NoError(t, r.err)
	var answer struct {
		Manifest, Err string
		Hooks         int
	}
	require.NoError(t, errors.Join(r.in.Encode(b), r.in.Encode(mustJSON(values)), r.out.Decode(&answer)))
	require.Empty(t, answer.Err, "Helm cannot render it")
	require.Zero(t, answer.Hooks, "Helm takes something for a hook")
	return answer.Manifest
}
