package controllers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// refusal is a spec that the API server refuses with these words. With an empty spec, the object has none.
type refusal struct{ spec, want string }

func TestBadSourcesAreRefusedWithASentenceThatHelps(t *testing.T) {
	const (
		inClear = "spec.auth.token would show the token to everybody who can read this object: put it into a Secret, name that in spec.auth.token.secretRef of a VaultConnection, and name the VaultConnection in spec.connectionRef"
		both    = "spec has addr and connectionRef: keep one of them"
		aURL    = "addr must be a URL, for example https://vault.example.com:8200"
		period  = "reconcilePeriod must be 10s or longer, for example 10m"
		older   = "maxAge must be longer than reconcilePeriod, or the Secret is too old again and again"
		token   = "auth: {token: s.abc}"
		two     = "addr: 'https://vault', connectionRef: {name: vault}"
	)
	for kind, form := range map[string]struct {
		needed string
		cases  map[string]refusal
	}{
		"VaultSecret": {"paths: [{path: secret/team/app}]", map[string]refusal{
			"no spec":                         {"", "spec is missing: name at least one path, for example spec: {paths: [{path: secret/team/app}]}"},
			"no paths":                        {"{}", "paths is empty: name at least one path, for example paths: [{path: secret/team/app}]"},
			"an empty list of paths":          {"{paths: []}", "paths is empty"},
			"an empty path":                   {"{paths: [{path: ''}]}", "spec.paths[0].path in body should be at least 1 chars long"},
			"more than 100 paths":             {"{paths: [" + strings.Repeat("{path: a/b},", 101) + "]}", "must have at most 100 items"},
			"a version of a whole tree":       {"{paths: [{path: 'secret/team/*', version: 3}]}", "version needs a path of one secret: name that, or leave version out"},
			"a version before the first":      {"{paths: [{path: secret/a, version: 0}]}", "spec.paths[0].version in body should be greater than or equal to 1"},
			"nothing there, in another word":  {"{paths: [{path: secret/a, onMissing: Ignore}]}", `supported values: "Keep", "Remove", "Fail"`},
			"too old at once":                 {"{reconcilePeriod: 5m, maxAge: 5m, NEEDED}", older},
			"too old before the default":      {"{maxAge: 9m, NEEDED}", older},
			"an age that is no duration":      {"{maxAge: daily, NEEDED}", "maxAge must be a duration, for example 1h"},
			"a format of another kind":        {"{targetFormat: XML, NEEDED}", "targetFormat must be env, json or yaml"},
			"a separator that is a sentence":  {"{separator: " + strings.Repeat("-", 17) + ", NEEDED}", "may not be more than 16 bytes"},
			"the ways of another operator":    {"{compat: vso, NEEDED}", `supported values: "kiwi"`},
			"a field that is misspelled":      {"{path: secret/a, NEEDED}", `unknown field "spec.path"`},
			"a type that is empty":            {"{type: '', NEEDED}", "spec.type in body should be at least 1 chars long"},
			"a period of seconds":             {"{reconcilePeriod: 5s, NEEDED}", period},
			"a period that is no duration":    {"{reconcilePeriod: hourly, NEEDED}", period},
			"a Secret with an odd name":       {"{targetSecretName: My_Secret, NEEDED}", "targetSecretName is not the name of a Secret: use lower case letters, digits, '-' and '.', and begin and end with a letter or digit, for example registry-creds"},
			"an annotation of the operator":   {"{annotations: {fleethandshake.io/sources: x}, NEEDED}", "annotations has fleethandshake.io/sources, which the operator itself writes: leave it out"},
			"a Secret in the way, otherwise":  {"{conflictPolicy: Replace, NEEDED}", `supported values: "Fail", "Adopt", "Merge"`},
			"a token for everybody":           {"{" + token + ", NEEDED}", inClear},
			"an empty token":                  {"{auth: {token: ''}, NEEDED}", inClear},
			"two servers":                     {"{" + two + ", NEEDED}", both},
			"a server without a scheme":       {"{addr: 'vault.example.com:8200', NEEDED}", aURL},
			"a server of another protocol":    {"{addr: 'ftp://vault', NEEDED}", aURL},
			"a server with a password":        {"{addr: 'https://me:secret@vault', NEEDED}", aURL},
			"a server with a query":           {"{addr: 'https://vault/?x=y', NEEDED}", aURL},
			"a VaultConnection without name":  {"{connectionRef: {namespace: platform}, NEEDED}", "spec.connectionRef.name: Required value"},
			"more labels than 64":             {"{labels: {" + strings.Join(numbered(65), ",") + "}, NEEDED}", "must have at most 64 items"},
			"another login than with account": {"{auth: {appRole: {roleID: x}}, NEEDED}", `unknown field "spec.auth.appRole"`},
		}},
		"VaultDynamicSecret": {"mount: database, path: creds/readonly", map[string]refusal{
			"no spec":                   {"", "spec is missing: name a mount and a path, for example spec: {mount: database, path: creds/readonly}"},
			"no mount":                  {"{path: creds/readonly}", "spec.mount: Required value"},
			"no path":                   {"{mount: database}", "spec.path: Required value"},
			"an empty path":             {"{mount: database, path: ''}", "spec.path in body should be at least 1 chars long"},
			"a method that deletes":     {"{method: DELETE, NEEDED}", `supported values: "GET", "POST", "PUT"`},
			"a renewal at once":         {"{renewalPercent: 0, NEEDED}", "should be greater than or equal to 1"},
			"a renewal at the very end": {"{renewalPercent: 91, NEEDED}", "should be less than or equal to 90"},
			"a period of seconds":       {"{reconcilePeriod: 5s, NEEDED}", period},
			"a token for everybody":     {"{" + token + ", NEEDED}", inClear},
			"two servers":               {"{" + two + ", NEEDED}", both},
			"a server without a scheme": {"{addr: vault, NEEDED}", aURL},
			"a Secret with an odd name": {"{targetSecretName: a/b, NEEDED}", "targetSecretName is not the name of a Secret"},
		}},
		"VaultPKISecret": {"role: web", map[string]refusal{
			"no spec":                        {"", "spec is missing: name a role and a common name, for example spec: {role: web, commonName: www.example.com}"},
			"no role":                        {"{commonName: www.example.com}", "spec.role: Required value"},
			"replaced before it is there":    {"{ttl: 24h, expiryOffset: 24h, NEEDED}", "expiryOffset must be shorter than ttl, for example ttl: 72h and expiryOffset: 24h"},
			"a life of seconds":              {"{ttl: 5s, NEEDED}", "ttl must be 10s or longer, for example 72h"},
			"an offset that is no duration":  {"{expiryOffset: a third, NEEDED}", "expiryOffset must be a duration, for example 24h"},
			"an algorithm for Vault's key":   {"{privateKey: {algorithm: RSA}, NEEDED}", "privateKey.algorithm and privateKey.size are those of a key that is made here: add source: Local, or leave them out, because the role in Vault decides"},
			"a size for Vault's key":         {"{privateKey: {size: 2048}, NEEDED}", "privateKey.algorithm and privateKey.size are those of a key that is made here"},
			"a key that is too short":        {"{privateKey: {source: Local, algorithm: RSA, size: 1024}, NEEDED}", `supported values: "256", "384", "521", "2048", "3072", "4096"`},
			"an unknown algorithm":           {"{privateKey: {source: Local, algorithm: DSA}, NEEDED}", `supported values: "RSA", "ECDSA", "Ed25519"`},
			"the same name twice":            {"{altNames: [a, a], NEEDED}", `spec.altNames[1]: Duplicate value: "a"`},
			"a token for everybody":          {"{" + token + ", NEEDED}", inClear},
			"two servers":                    {"{" + two + ", NEEDED}", both},
			"a server with a name of a user": {"{addr: 'https://me@vault', NEEDED}", aURL},
			"an annotation of the operator":  {"{annotations: {fleethandshake.io/sources: x}, NEEDED}", "annotations has fleethandshake.io/sources, which the operator itself writes: leave it out"},
		}},
		"VaultConnection": {"address: 'https://vault.example.com:8200'", map[string]refusal{
			"no spec":                           {"", "spec is missing: name the server, for example spec: {address: https://vault.example.com:8200}"},
			"no address":                        {"{auth: {kubernetes: {}}}", "spec.address: Required value"},
			"an address without a scheme":       {"{address: vault.example.com}", "address must be a URL, for example https://vault.example.com:8200"},
			"two ways to log in":                {"{auth: {kubernetes: {}, token: {secretRef: {name: a, key: b}}}, NEEDED}", "auth has more than one method: keep one of kubernetes, jwt, appRole, cert and token"},
			"a jwt of two places":               {"{auth: {jwt: {serviceAccountName: a, secretRef: {name: a, key: b}}}, NEEDED}", "auth.jwt must have one of serviceAccountName and secretRef, for example serviceAccountName: vault-operator-sync"},
			"a jwt of no place":                 {"{auth: {jwt: {role: x}}, NEEDED}", "auth.jwt must have one of serviceAccountName and secretRef"},
			"certificates of two places":        {"{ca: {secretRef: {name: a}, configMapRef: {name: a}}, NEEDED}", "ca must have one of secretRef and configMapRef, for example configMapRef: {name: vault-ca, key: ca.crt}"},
			"certificates of no place":          {"{ca: {}, NEEDED}", "ca must have one of secretRef and configMapRef"},
			"a role without an ID":              {"{auth: {appRole: {secretIDRef: {name: a, key: b}}}, NEEDED}", "spec.auth.appRole.roleID: Required value"},
			"a role without a Secret":           {"{auth: {appRole: {roleID: x}}, NEEDED}", "spec.auth.appRole.secretIDRef: Required value"},
			"a token in clear":                  {"{auth: {token: s.abc}, NEEDED}", "spec.auth.token in body must be of type object"},
			"a Secret without a key":            {"{auth: {token: {secretRef: {name: a}}}, NEEDED}", "spec.auth.token.secretRef.key: Required value"},
			"a certificate without a Secret":    {"{auth: {cert: {role: x}}, NEEDED}", "spec.auth.cert.secretRef: Required value"},
			"a token that lives for minutes":    {"{auth: {kubernetes: {lifetime: 5m}}, NEEDED}", "lifetime must be 10m or longer, because the API server makes no shorter token"},
			"a timeout of minutes":              {"{timeout: 2m, NEEDED}", "timeout must be a duration of at most 1m, for example 10s"},
			"no time at all":                    {"{timeout: 0s, NEEDED}", "timeout must be a duration of at most 1m, for example 10s"},
			"no requests":                       {"{requestsPerSecond: 0, NEEDED}", "should be greater than or equal to 1"},
			"a namespace with a wildcard in it": {"{allowedNamespaces: ['team-*'], NEEDED}", "allowedNamespaces has something that is not the name of a namespace: use lower case letters, digits and '-', or '*' for all"},
			"a namespace twice":                 {"{allowedNamespaces: [a, a], NEEDED}", `spec.allowedNamespaces[1]: Duplicate value: "a"`},
		}},
	} {
		refused(t, kind, form.needed, form.cases)
	}
}

// refused tries specs of a kind that the API server refuses. NEEDED in them is what each spec has to have, which alone is
// taken.
func refused(t *testing.T, kind, needed string, cases map[string]refusal) {
	t.Helper()
	for title, c := range cases {
		t.Run(kind+": "+title, func(t *testing.T) {
			_, err := applyKind(t, kind, strings.ReplaceAll(c.spec, "NEEDED", needed))
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run(kind+": the shortest", func(t *testing.T) {
		_, err := applyKind(t, kind, "{"+needed+"}")
		require.NoError(t, err)
	})
}

// numbered are so many entries of a map.
func numbered(count int) []string {
	out := make([]string, 0, count)
	for i := range count {
		out = append(out, "k"+strings.Repeat("x", i)+": a")
	}
	return out
}

func TestSourcesOfEveryFormAreTaken(t *testing.T) {
	for title, c := range map[string]struct{ kind, spec string }{
		"a VaultSecret with everything":        {"VaultSecret", "{connectionRef: {name: vault, namespace: platform}, auth: {serviceAccountRef: {name: a, authPath: auth/kubernetes/login, role: r}}, paths: [{path: secret/a, prefix: x/, version: 3, onMissing: Fail}, {path: 'secret/b/*', onMissing: Remove}], separator: '', targetFormat: Yaml, compat: kiwi, reconcilePeriod: 10s, maxAge: 11s, targetSecretName: a.b-c, labels: {a: b}, annotations: {c: d}, conflictPolicy: Merge, type: kubernetes.io/basic-auth}"},
		"a VaultSecret with 100 paths":         {"VaultSecret", "{paths: [" + strings.Repeat("{path: "+strings.Repeat("a", 1024)+"},", 100) + "]}"},
		"a VaultDynamicSecret with everything": {"VaultDynamicSecret", "{addr: 'http://127.0.0.1:8200/vault', mount: a/b, path: creds/x, method: PUT, params: {ttl: 1h}, renewalPercent: 90, revoke: false, staticCredentials: true, reconcilePeriod: 1h30m, type: a/b, conflictPolicy: Adopt}"},
		"a VaultPKISecret with everything":     {"VaultPKISecret", "{mount: pki/int, role: web, issuerRef: default, commonName: a, altNames: [a, b], ipSans: ['::1'], uriSans: ['spiffe://a/b'], ttl: 72h, expiryOffset: 71h59m, privateKey: {source: Local, algorithm: ECDSA, size: 384}, revoke: true}"},
		"a VaultConnection with everything":    {"VaultConnection", "{address: 'https://gateway/vault/', vaultNamespace: a/b, ca: {configMapRef: {name: ca}}, serverName: vault, timeout: 1m, requestsPerSecond: 1, allowedNamespaces: [a, '*'], auth: {kubernetes: {serviceAccountName: a, audiences: [vault], lifetime: 1h, authPath: auth/k/login, role: r}}}"},
		"a jwt of a service account":           {"VaultConnection", "{address: 'https://vault', auth: {jwt: {serviceAccountName: a}}}"},
		"a jwt of a Secret":                    {"VaultConnection", "{address: 'https://vault', auth: {jwt: {secretRef: {name: a, key: b}}}}"},
		"a role":                               {"VaultConnection", "{address: 'https://vault', auth: {appRole: {roleID: x, secretIDRef: {name: a, key: b}}}}"},
		"a client certificate":                 {"VaultConnection", "{address: 'https://vault', auth: {cert: {secretRef: {name: a}}}}"},
		"a token of a Secret":                  {"VaultConnection", "{address: 'https://vault', auth: {token: {secretRef: {name: a, key: b}}}}"},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := applyKind(t, c.kind, c.spec)
			require.NoError(t, err)
		})
	}
}

func TestDefaultsOfSources(t *testing.T) {
	for kind, c := range map[string]struct {
		spec string
		want map[string]any
	}{
		"VaultSecret": {"{paths: [{path: a/b}]}", map[string]any{
			"paths": []any{map[string]any{"path": "a/b"}}, "separator": "_", "targetFormat": "env", "reconcilePeriod": "10m",
			"type": "Opaque", "conflictPolicy": "Fail",
		}},
		"VaultDynamicSecret": {"{mount: database, path: creds/a}", map[string]any{
			"mount": "database", "path": "creds/a", "method": "GET", "renewalPercent": int64(67), "revoke": true,
			"type": "Opaque", "conflictPolicy": "Fail",
		}},
		"VaultPKISecret": {"{role: web, privateKey: {}}", map[string]any{
			"role": "web", "mount": "pki", "privateKey": map[string]any{"source": "Vault"}, "conflictPolicy": "Fail",
		}},
		"VaultConnection": {"{address: 'https://vault', ca: {secretRef: {name: a}}, auth: {jwt: {serviceAccountName: b}}}", map[string]any{
			"address": "https://vault", "timeout": "10s",
			"ca":   map[string]any{"secretRef": map[string]any{"name": "a", "key": "ca.crt"}},
			"auth": map[string]any{"jwt": map[string]any{"serviceAccountName": "b", "authPath": "jwt", "lifetime": "10m"}},
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			made, err := applyKind(t, kind, c.spec)
			require.NoError(t, err)
			assert.Equal(t, c.want, made.Object["spec"])
		})
	}
}

// TestAManifestOfKiwiNeedsAnotherAPIVersionOnly has each field of the VaultSecret of k8s.kiwi.com/v1, but the token.
func TestAManifestOfKiwiNeedsAnotherAPIVersionOnly(t *testing.T) {
	const manifest = `
apiVersion: k8s.kiwi.com/v1
kind: VaultSecret
metadata:
  name: of-kiwi
  labels:
    app.kubernetes.io/name: shop
spec:
  addr: https://vault.example.com:8200
  separator: "__"
  paths:
  - path: kw/secret/shop/production/*
  - path: kw/secret/shop/shared/database
    prefix: db_
  - path: kw/secret/shop/shared/cache
    prefix: cache/main/
  targetSecretName: shop-env
  targetFormat: JSON
  reconcilePeriod: 5m
  auth:
    serviceAccountRef:
      name: vault-operator-sync
      authPath: auth/kw/hub/login
      role: shop
`
	written, made := applyManifest(t, strings.Replace(manifest, "k8s.kiwi.com/v1", "fleethandshake.io/v1alpha1", 1))
	written["type"], written["conflictPolicy"] = "Opaque", "Fail"
	assert.Equal(t, written, made)
}

// applyManifest creates what a manifest has, in the namespace of the sources. It gives the spec as it was written, and as
// it was made.
func applyManifest(t *testing.T, manifest string) (written, made map[string]any) {
	t.Helper()
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(manifest), &object.Object))
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	client := dyn.Resource(of(object.GetKind())).Namespace(sources)
	answer, err := client.Create(context.Background(), object.DeepCopy(), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Delete(context.Background(), answer.GetName(), metav1.DeleteOptions{}) })
	return object.Object["spec"].(map[string]any), answer.Object["spec"].(map[string]any)
}

// TestTheExamplesAreTaken has the manifests of examples/vault and examples/vsecm made, without keeping them.
func TestTheExamplesAreTaken(t *testing.T) {
	root, err := lab.Root()
	require.NoError(t, err)
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	taken := map[string]bool{}
	var files []string
	for _, folder := range []string{"vault", "vsecm"} {
		found, err := filepath.Glob(filepath.Join(root, "examples", folder, "*.yaml"))
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		objects, err := lab.ParseObjects(content)
		require.NoError(t, err, path)
		for _, object := range objects {
			if object.GroupVersionKind().Group != v1alpha1.SchemeGroupVersion.Group {
				continue
			}
			object.SetNamespace(sources)
			_, err := dyn.Resource(of(object.GetKind())).Namespace(sources).Create(context.Background(), object,
				metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
			require.NoError(t, err, "%s: %s %s", filepath.Base(path), object.GetKind(), object.GetName())
			taken[object.GetKind()] = true
		}
	}
	for _, kind := range []string{"FleetHandshake", "VaultConnection", "VaultSecret", "VaultDynamicSecret", "VaultPKISecret", "VSecMSecret"} {
		assert.True(t, taken[kind], "no example has a %s", kind)
	}
}
