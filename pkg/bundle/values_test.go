package bundle

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func nonce(n string) func() string { return func() string { return n } }

func opaque(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "registry-creds"},
		Type:       corev1.SecretTypeOpaque, Data: data,
	}
}

func TestSealKeepsTheNonceAsLongAsTheContentIsTheSame(t *testing.T) {
	first, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), nil, nonce("n1"))
	require.NoError(t, err)
	again, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), first.Data, nonce("n2"))
	require.NoError(t, err)
	assert.Equal(t, first, again)

	rotated, err := Seal(opaque(map[string][]byte{"password": []byte("two")}), first.Data, nonce("n2"))
	require.NoError(t, err)
	assert.NotEqual(t, first.Hash, rotated.Hash)
	assert.NotEqual(t, first.Revision, rotated.Revision)

	other, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), nil, nonce("n2"))
	require.NoError(t, err)
	assert.NotEqual(t, first.Hash, other.Hash, "the hash must depend on the nonce, or short secrets could be guessed from it")
	assert.NotEqual(t, first.Revision, other.Revision, "the revision must depend on the nonce")
}

func TestSealReplacesValuesThatSomebodyEdited(t *testing.T) {
	first, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), nil, nonce("n1"))
	require.NoError(t, err)
	for title, edited := range map[string]map[string][]byte{
		"one more key":       {ValuesKey: first.Data[ValuesKey], "target000": []byte("{}")},
		"other white space":  {ValuesKey: append([]byte(" "), first.Data[ValuesKey]...)},
		"not JSON":           {ValuesKey: []byte("password: one")},
		"a field of its own": {ValuesKey: bytes.Replace(first.Data[ValuesKey], []byte(`{"nonce"`), []byte(`{"x":1,"nonce"`), 1)},
		"no nonce":           {ValuesKey: bytes.Replace(first.Data[ValuesKey], []byte(`"n1"`), []byte(`""`), 1)},
		"empty":              {},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := Open(edited)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "one")
			sealed, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), edited, nonce("n2"))
			require.NoError(t, err)
			assert.Contains(t, string(sealed.Data[ValuesKey]), `"n2"`)
		})
	}
	edited := map[string][]byte{ValuesKey: bytes.Replace(first.Data[ValuesKey], []byte("b25l"), []byte("dHdv"), 1)}
	sealed, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), edited, nonce("n2"))
	require.NoError(t, err)
	assert.Contains(t, string(sealed.Data[ValuesKey]), `"n2"`, "another value in the right form is replaced too")
}

func TestSealRefuses(t *testing.T) {
	for _, never := range []corev1.SecretType{
		corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken, "helm.sh/release.v1",
		"fleet.cattle.io/bundle-values/v1alpha1", "fleet.cattle.io/cluster-registration-values",
	} {
		source := opaque(nil)
		source.Type = never
		_, err := Seal(source, nil, nonce("n"))
		require.ErrorIs(t, err, ErrUnsupportedType, never)
	}
	source := opaque(nil)
	source.Type = "fleet.cattle.io.example.com/mine"
	_, err := Seal(source, nil, nonce("n"))
	require.NoError(t, err, "only the types themselves are refused")

	_, err = Seal(opaque(map[string][]byte{"k": bytes.Repeat([]byte("canary"), 1<<20/6)}), nil, nonce("n"))
	require.ErrorIs(t, err, ErrTooLarge)
	assert.NotContains(t, err.Error(), "canary")
	_, err = Seal(opaque(map[string][]byte{"k": make([]byte, 190*1024)}), nil, nonce("n"))
	require.NoError(t, err, "190 KiB of data fit into 256 KiB of values")
}

func TestMetadataThatIsCopied(t *testing.T) {
	all := map[string]string{
		"app": "shop", "example.com/team": "a", "helm.sh/hook": "x", "meta.helm.sh/release-name": "x",
		"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "shop", "objectset.rio.cattle.io/hash": "x",
		"kubectl.kubernetes.io/last-applied-configuration": "x", "field.cattle.io/projectId": "x", "cattle.io/x": "x",
		"notcattle.io/x": "kept", "fleet.cattle.io.example.com/x": "kept",
	}
	assert.Equal(t, map[string][]byte{
		"app": []byte("shop"), "example.com/team": []byte("a"), "app.kubernetes.io/name": []byte("shop"),
		"notcattle.io/x": []byte("kept"), "fleet.cattle.io.example.com/x": []byte("kept"),
	}, copyMetadata(all))
}

// renderChart does what Helm does with the constant chart, with the two functions that it uses. That Helm itself agrees
// is shown in the end-to-end suite.
func renderChart(t *testing.T, sealed Sealed) corev1.Secret {
	t.Helper()
	var values map[string]any
	require.NoError(t, json.Unmarshal(sealed.Data[ValuesKey], &values))
	functions := template.FuncMap{
		"toJson": func(v any) string { return string(mustJSON(v)) },
		"b64dec": func(s string) (string, error) {
			var out []byte
			err := json.Unmarshal(mustJSON(s), &out)
			return string(out), err
		},
	}
	var out strings.Builder
	require.NoError(t, template.Must(template.New("").Funcs(functions).Parse(chart)).Execute(&out, map[string]any{
		"Values": values, "Release": map[string]any{"Namespace": "apps"},
	}))
	var secret corev1.Secret
	require.NoError(t, yaml.UnmarshalStrict([]byte(out.String()), &secret), out.String())
	return secret
}

func TestEverythingArrivesIntact(t *testing.T) {
	source := opaque(map[string][]byte{
		"a.b_c-d": []byte("{{ .Values }} ${ .ClusterName } 'quoted' \"twice\"\n---\n"), "binary": {0, 255, 10, 13}, "empty": {},
	})
	source.Type = "example.com/custom"
	source.Immutable = ptr.To(true)
	source.Labels = map[string]string{"true": "no", "app": "", "number": "0123"}
	source.Annotations = map[string]string{
		"example.com/a": "{{ fail }} ${ x }\n\ttab: \"x\" # y", "example.com/b": "global.fleet.clusterLabels.region", "example.com/c": "<&>\u2028",
	}
	sealed, err := Seal(source, nil, nonce("n"))
	require.NoError(t, err)
	assert.NotContains(t, string(sealed.Data[ValuesKey]), "global.fleet.clusterLabels.", "Fleet would replace it")

	want := source.DeepCopy()
	want.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	want.Namespace = "apps"
	assert.Equal(t, *want, renderChart(t, sealed))

	bare, err := Seal(opaque(nil), nil, nonce("n"))
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{}, renderChart(t, bare).Data)
}
