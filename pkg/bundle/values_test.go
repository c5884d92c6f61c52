package bundle

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
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

func newNonce(n string) func() string { return func() string { return n } }

func opaque(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "registry-creds"},
		Type:       corev1.SecretTypeOpaque, Data: data,
	}
}

// sealOnce seals a Secret that nothing was sent of before.
func sealOnce(t *testing.T, source *corev1.Secret, nonce string) Sealed {
	t.Helper()
	sealed, err := Seal(source, nil, Terms{}, newNonce(nonce))
	require.NoError(t, err)
	return sealed
}

// same compares without showing what is compared.
func same(a, b Sealed) bool { return reflect.DeepEqual(a, b) }

func TestSealKeepsTheNonceApartFromTheSecrets(t *testing.T) {
	sealed := sealOnce(t, opaque(map[string][]byte{"password": []byte("one")}), "n1")
	assert.Equal(t, map[string][]byte{
		"values.yaml": []byte(`{"nonce":"n1"}`),
		"deliver":     []byte(`{"source":"platform/registry-creds","secrets":[{"name":"registry-creds","type":"Opaque","data":{"password":"b25l"}}]}`),
	}, sealed.Data)
	assert.Equal(t, []string{"registry-creds"}, sealed.Names)
	assert.Equal(t, "7ed50ab083dd", sealed.Revision)
	assert.Equal(t, "7a1eed7e88b1394c2a1dca9f968696adb29e6122fc920820bdf53c736c11da26", sealed.Hash)
}

func TestSealKeepsTheNonceAsLongAsTheContentIsTheSame(t *testing.T) {
	first := sealOnce(t, opaque(map[string][]byte{"password": []byte("one")}), "n1")
	again, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), first.Data, Terms{}, newNonce("n2"))
	require.NoError(t, err)
	assert.True(t, same(first, again))

	rotated, err := Seal(opaque(map[string][]byte{"password": []byte("two")}), first.Data, Terms{}, newNonce("n2"))
	require.NoError(t, err)
	assert.NotEqual(t, first.Hash, rotated.Hash)
	assert.NotEqual(t, first.Revision, rotated.Revision)
	assert.JSONEq(t, `{"nonce":"n2"}`, string(rotated.Data["values.yaml"]), "each content has a nonce of its own")

	other := sealOnce(t, opaque(map[string][]byte{"password": []byte("one")}), "n2")
	assert.NotEqual(t, first.Hash, other.Hash, "the hash must depend on the nonce, or short secrets could be guessed from it")
	assert.NotEqual(t, first.Revision, other.Revision, "the revision must depend on the nonce")
}

func TestSealNothing(t *testing.T) {
	full := sealOnce(t, opaque(map[string][]byte{"password": []byte("one")}), "n1")
	empty := SealNothing(full.Data, newNonce("n2"))
	assert.Equal(t, map[string][]byte{"values.yaml": []byte(`{"nonce":"n1"}`)}, empty.Data, "it keeps the nonce, and nothing else")
	assert.Empty(t, empty.Revision)
	assert.Empty(t, empty.Names)
	assert.NotEqual(t, full.Hash, empty.Hash)
	opened, err := Open(empty.Data)
	require.NoError(t, err)
	assert.Equal(t, empty, opened)
	assert.Equal(t, empty, SealNothing(empty.Data, newNonce("n3")), "nothing again changes nothing")

	assert.JSONEq(t, `{"nonce":"n2"}`, string(SealNothing(nil, newNonce("n2")).Data["values.yaml"]))
	edited := map[string][]byte{"values.yaml": full.Data["values.yaml"], "deliver": []byte("password: one")}
	assert.Equal(t, map[string][]byte{"values.yaml": []byte(`{"nonce":"n2"}`)}, SealNothing(edited, newNonce("n2")).Data)

	back, err := Seal(opaque(map[string][]byte{"password": []byte("one")}), empty.Data, Terms{}, newNonce("n4"))
	require.NoError(t, err)
	assert.NotEqual(t, full.Revision, back.Revision, "the same content counts as new, because the clusters may have removed it")
}

func TestValuesThatSomebodyEditedAreRefusedAndReplaced(t *testing.T) {
	source := opaque(map[string][]byte{"password": []byte("one")})
	first := sealOnce(t, source, "n1")
	edit := func(key, old, now string) map[string][]byte {
		data := maps.Clone(first.Data)
		data[key] = bytes.Replace(data[key], []byte(old), []byte(now), 1)
		return data
	}
	for title, edited := range map[string]map[string][]byte{
		"one more key":                  {nonceKey: first.Data[nonceKey], ValuesKey: first.Data[ValuesKey], "target000": []byte("{}")},
		"other white space":             edit(ValuesKey, `{`, ` {`),
		"something after the end":       {nonceKey: first.Data[nonceKey], ValuesKey: append(bytes.Clone(first.Data[ValuesKey]), "{}"...)},
		"not JSON":                      {nonceKey: first.Data[nonceKey], ValuesKey: []byte("password: one")},
		"a field of its own":            edit(ValuesKey, `{"source"`, `{"x":1,"source"`),
		"a field of its own, by nonce":  edit(nonceKey, `{"nonce"`, `{"x":1,"nonce"`),
		"a list of no Secrets":          {nonceKey: first.Data[nonceKey], ValuesKey: []byte(`{"secrets":[]}`)},
		"an empty nonce":                edit(nonceKey, `"n1"`, `""`),
		"no nonce":                      {ValuesKey: first.Data[ValuesKey]},
		"the secrets beside the nonce":  {nonceKey: append([]byte(`{"nonce":"n1",`), first.Data[ValuesKey][1:]...)},
		"empty":                         {},
		"made by a version before this": {nonceKey: append([]byte(`{"nonce":"n1",`), first.Data[ValuesKey][1:]...), "target000": []byte("{}")},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := Open(edited)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "one")
			sealed, err := Seal(source, edited, Terms{}, newNonce("n2"))
			require.NoError(t, err)
			assert.True(t, same(sealOnce(t, source, "n2"), sealed), "it is sealed anew")
		})
	}
	for title, edited := range map[string]map[string][]byte{
		"another value in the right form": edit(ValuesKey, "b25l", "dHdv"),
		"another nonce in the right form": edit(nonceKey, "n1", "n0"),
	} {
		t.Run(title, func(t *testing.T) {
			opened, err := Open(edited)
			require.NoError(t, err)
			assert.NotEqual(t, first.Hash, opened.Hash)
			assert.NotEqual(t, first.Revision, opened.Revision)
		})
	}
	sealed, err := Seal(source, edit(ValuesKey, "b25l", "dHdv"), Terms{}, newNonce("n2"))
	require.NoError(t, err)
	assert.True(t, same(sealOnce(t, source, "n2"), sealed), "another value in the right form is replaced too")
}

func TestSealRefusesWhatNoUpdateCanChange(t *testing.T) {
	secret := func(kind corev1.SecretType, immutable bool, password, label string) *corev1.Secret {
		s := opaque(map[string][]byte{"password": []byte(password)})
		s.Type, s.Labels = kind, map[string]string{"app": label}
		if immutable {
			s.Immutable = ptr.To(true)
		}
		return s
	}
	for title, c := range map[string]struct {
		before, now *corev1.Secret
		want        error
	}{
		"other data":                               {secret("Opaque", false, "one", "a"), secret("Opaque", false, "two", "a"), nil},
		"it becomes immutable":                     {secret("Opaque", false, "one", "a"), secret("Opaque", true, "two", "a"), nil},
		"immutable, with other data":               {secret("Opaque", true, "one", "a"), secret("Opaque", true, "two", "a"), ErrImmutable},
		"immutable, and no longer so":              {secret("Opaque", true, "one", "a"), secret("Opaque", false, "one", "a"), ErrImmutable},
		"immutable, with another label":            {secret("Opaque", true, "one", "a"), secret("Opaque", true, "one", "b"), nil},
		"another type":                             {secret("Opaque", false, "one", "a"), secret("example.com/x", false, "one", "a"), ErrTypeChanged},
		"another type and immutable":               {secret("Opaque", true, "one", "a"), secret("example.com/x", true, "two", "a"), ErrTypeChanged},
		"no type is Opaque":                        {secret("", false, "one", "a"), secret("Opaque", false, "two", "a"), nil},
		"Opaque is no type":                        {secret("Opaque", false, "one", "a"), secret("", false, "two", "a"), nil},
		"no type, and then another than Opaque":    {secret("", false, "one", "a"), secret("example.com/x", false, "one", "a"), ErrTypeChanged},
		"a Secret of another name is another copy": {func() *corev1.Secret { s := secret("Opaque", true, "one", "a"); s.Name = "other"; return s }(), secret("example.com/x", false, "two", "a"), nil},
	} {
		t.Run(title, func(t *testing.T) {
			before := sealOnce(t, c.before, "n1")
			_, err := Seal(c.now, before.Data, Terms{}, newNonce("n2"))
			if c.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, c.want)
				assert.NotContains(t, err.Error(), "one")
				assert.NotContains(t, err.Error(), "two")
			}
			replaced, err := Seal(c.now, before.Data, Terms{Replace: true}, newNonce("n2"))
			require.NoError(t, err, "with Recreate it may be replaced")
			assert.True(t, same(sealOnce(t, c.now, "n2"), replaced))
			_, err = Seal(c.now, SealNothing(before.Data, newNonce("n2")).Data, Terms{}, newNonce("n3"))
			require.NoError(t, err, "where nothing was sent, nothing is in the way")
		})
	}
	unchanged := secret("Opaque", true, "one", "a")
	_, err := Seal(unchanged, sealOnce(t, unchanged, "n1").Data, Terms{}, newNonce("n2"))
	require.NoError(t, err)
	_, err = Seal(secret("example.com/x", false, "one", "a"), sealOnce(t, unchanged, "n1").Data, Terms{}, newNonce("n2"))
	require.EqualError(t, err, "type changed: the copies are of type Opaque and the Secret is of type example.com/x, which no update can change; set spec.replacePolicy to Recreate to have each copy deleted and made anew")
	_, err = Seal(secret("Opaque", true, "two", "a"), sealOnce(t, unchanged, "n1").Data, Terms{}, newNonce("n2"))
	require.EqualError(t, err, "immutable: the copies are immutable; set spec.replacePolicy to Recreate to have each copy deleted and made anew")
}

func TestSealRefuses(t *testing.T) {
	for _, never := range []corev1.SecretType{
		corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken, "helm.sh/release.v1",
		"fleet.cattle.io/bundle-values/v1alpha1", "fleet.cattle.io/cluster-registration-values",
	} {
		source := opaque(nil)
		source.Type = never
		_, err := Seal(source, nil, Terms{}, newNonce("n"))
		require.ErrorIs(t, err, ErrUnsupportedType, never)
	}
	source := opaque(nil)
	source.Type = "fleet.cattle.io.example.com/mine"
	_, err := Seal(source, nil, Terms{}, newNonce("n"))
	require.NoError(t, err, "only the types themselves are refused")

	_, err = Seal(opaque(map[string][]byte{"k": bytes.Repeat([]byte("canary"), 1<<20/6)}), nil, Terms{}, newNonce("n"))
	require.ErrorIs(t, err, ErrTooLarge)
	assert.NotContains(t, err.Error(), "canary")
	_, err = Seal(opaque(map[string][]byte{"k": make([]byte, 190*1024)}), nil, Terms{}, newNonce("n"))
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
	sealed, err := Seal(source, nil, Terms{}, newNonce("n"))
	require.NoError(t, err)
	assert.NotContains(t, string(sealed.Data[ValuesKey]), "global.fleet.clusterLabels.", "Fleet would replace it")

	want := source.DeepCopy()
	want.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	want.Namespace = "apps"
	assert.Equal(t, *want, renderChart(t, sealed))

	bare, err := Seal(opaque(nil), nil, Terms{}, newNonce("n"))
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{}, renderChart(t, bare).Data)
}
