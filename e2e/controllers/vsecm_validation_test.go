package controllers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadVSecMSecretsAreRefusedWithASentenceThatHelps(t *testing.T) {
	const (
		nothing  = "data and dataFrom are empty: name at least one value, for example data: [{key: username, ref: database.username}]"
		aURL     = "vsecmSafeURL must be https:// with host and port, for example https://vsecm-safe.vsecm-system.svc.cluster.local:8443/"
		interval = "refreshInterval must be 10s or longer, for example 1h"
		older    = "maxAge must be longer than refreshInterval, or the Secret is too old again and again"
		anAge    = "maxAge must be a duration, for example 3h"
		secret   = "name is not the name of a Secret: use lower case letters, digits, '-' and '.', and begin and end with a letter or digit, for example database-credentials"
		taken    = "type is one of those that Kubernetes, Helm, Fleet or the operator itself work with: write Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson or a type of your own"
		aKey     = "key is not a key of a Secret: use letters, digits, '-', '_' and '.', for example username"
		aLabel   = "key is not the key of a label or annotation: write one such as app or example.com/app"
		aRef     = "ref must be the name of a secret, and the names on the way to a value, with one dot between, for example databaseCredentials.cocaCola.data.username; a dot or backslash in a name has a backslash before it"
		noRaw    = "ref begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials.username"
		aPrefix  = "prefix has what a key of a Secret cannot have: use letters, digits, '-', '_' and '.', for example database_"
	)
	refused(t, "VSecMSecret", "data: [{key: a, ref: b.c}]", map[string]refusal{
		"no spec":                             {"", "spec is missing: name at least one value, for example spec: {data: [{key: username, ref: database.username}]}"},
		"nothing to take":                     {"{}", nothing},
		"empty lists":                         {"{data: [], dataFrom: []}", nothing},
		"labels alone":                        {"{labels: [{key: a, ref: b.c}]}", nothing},
		"a field that is misspelled":          {"{vsecmSafeUrl: 'https://safe', NEEDED}", `unknown field "spec.vsecmSafeUrl"`},
		"the fields of VaultSecret":           {"{targetSecretName: x, NEEDED}", `unknown field "spec.targetSecretName"`},
		"a Safe without https":                {"{vsecmSafeURL: 'http://safe:8443', NEEDED}", aURL},
		"a Safe without a scheme":             {"{vsecmSafeURL: 'safe:8443', NEEDED}", aURL},
		"a Safe with a password":              {"{vsecmSafeURL: 'https://me:x@safe', NEEDED}", aURL},
		"a Safe with a path":                  {"{vsecmSafeURL: 'https://safe/workload', NEEDED}", aURL},
		"a Safe with a query":                 {"{vsecmSafeURL: 'https://safe/?x', NEEDED}", aURL},
		"a Safe that is a sentence":           {"{vsecmSafeURL: 'https://" + strings.Repeat("a", 512) + "', NEEDED}", "may not be more than 512 bytes"},
		"another kind of secret":              {"{secretType: K8s, NEEDED}", `supported values: "k8s", "raw", "workload"`},
		"no kind of secret":                   {"{secretType: '', NEEDED}", `supported values: "k8s", "raw", "workload"`},
		"an interval of seconds":              {"{refreshInterval: 9s, NEEDED}", interval},
		"an interval of a word":               {"{refreshInterval: hourly, NEEDED}", interval},
		"an empty interval":                   {"{refreshInterval: '', NEEDED}", interval},
		"a negative interval":                 {"{refreshInterval: -1h, NEEDED}", interval},
		"an interval of days":                 {"{refreshInterval: 1d, NEEDED}", interval},
		"an interval that is a number":        {"{refreshInterval: 60, NEEDED}", "spec.refreshInterval in body must be of type string"},
		"too old at once":                     {"{refreshInterval: 2h, maxAge: 2h, NEEDED}", older},
		"too old before the default":          {"{maxAge: 59m, NEEDED}", older},
		"an age of a word":                    {"{maxAge: daily, NEEDED}", anAge},
		"an empty age":                        {"{maxAge: '', NEEDED}", anAge},
		"a Secret with an odd name":           {"{target: {name: My_Secret}, NEEDED}", secret},
		"a Secret with an empty name":         {"{target: {name: ''}, NEEDED}", secret},
		"a Secret of another namespace":       {"{target: {name: team/a}, NEEDED}", secret},
		"an empty type":                       {"{target: {type: ''}, NEEDED}", "spec.target.type in body should be at least 1 chars long"},
		"a token of a service account":        {"{target: {type: kubernetes.io/service-account-token}, NEEDED}", taken},
		"a release of Helm":                   {"{target: {type: helm.sh/release.v1}, NEEDED}", taken},
		"a Secret of Fleet":                   {"{target: {type: fleet.cattle.io/bundle-values/v1alpha1}, NEEDED}", taken},
		"a token of the operator":             {"{target: {type: fleethandshake.io/vault-token}, NEEDED}", taken},
		"a Secret in the way, otherwise":      {"{target: {conflictPolicy: Replace}, NEEDED}", `supported values: "Fail", "Adopt", "Merge"`},
		"a value without a key":               {"{data: [{ref: b.c}]}", "spec.data[0].key: Required value"},
		"a value with an empty key":           {"{data: [{key: '', ref: b.c}]}", "spec.data[0].key in body should be at least 1 chars long"},
		"a value with an odd key":             {"{data: [{key: a/b, ref: b.c}]}", aKey},
		"a value with a dot for a key":        {"{data: [{key: ., ref: b.c}]}", aKey},
		"a value with two dots before":        {"{data: [{key: ..a, ref: b.c}]}", aKey},
		"the same key twice":                  {"{data: [{key: a, ref: b.c}, {key: a, ref: b.d}]}", `spec.data[1]: Duplicate value: {"key":"a"}`},
		"201 values":                          {"{data: [" + strings.Join(entries(201, "key: k%d, ref: b.c"), ",") + "]}", "must have at most 200 items"},
		"a value without a ref":               {"{data: [{key: a}]}", "spec.data[0].ref: Required value"},
		"a value with an empty ref":           {"{data: [{key: a, ref: ''}]}", "spec.data[0].ref in body should be at least 1 chars long"},
		"a ref that is too long":              {"{data: [{key: a, ref: " + strings.Repeat("a", 1025) + "}]}", "may not be more than 1024 bytes"},
		"a ref with two dots":                 {"{data: [{key: a, ref: b..c}]}", aRef},
		"a ref that begins with a dot":        {"{data: [{key: a, ref: .b}]}", aRef},
		"a ref that ends with a dot":          {"{data: [{key: a, ref: b.}]}", aRef},
		"a ref with a backslash for nothing":  {`{data: [{key: a, ref: 'b\c'}]}`, aRef},
		"a ref that ends with a backslash":    {`{data: [{key: a, ref: 'b\'}]}`, aRef},
		"a ref as Safe stores it":             {"{data: [{key: a, ref: 'raw:b.c'}]}", noRaw},
		"an object without a ref":             {"{dataFrom: [{prefix: a}]}", "spec.dataFrom[0].ref: Required value"},
		"an object with an odd ref":           {"{dataFrom: [{ref: b.}]}", aRef},
		"an object as Safe stores it":         {"{dataFrom: [{ref: 'raw:b'}]}", noRaw},
		"an object with an odd prefix":        {"{dataFrom: [{ref: b, prefix: a/}]}", aPrefix},
		"51 objects":                          {"{dataFrom: [" + strings.Join(entries(51, "ref: b%d"), ",") + "]}", "must have at most 50 items"},
		"a label with an odd key":             {"{labels: [{key: a b, ref: b.c}], NEEDED}", aLabel},
		"a label with an empty key":           {"{labels: [{key: '', ref: b.c}], NEEDED}", "spec.labels[0].key in body should be at least 1 chars long"},
		"a label with a long name":            {"{labels: [{key: " + strings.Repeat("a", 64) + ", ref: b.c}], NEEDED}", aLabel},
		"a label with a long prefix":          {"{labels: [{key: " + strings.Repeat("a", 254) + "/a, ref: b.c}], NEEDED}", aLabel},
		"a label with an odd ref":             {"{labels: [{key: a, ref: .}], NEEDED}", aRef},
		"the same label twice":                {"{labels: [{key: a, ref: b.c}, {key: a, ref: b.d}], NEEDED}", `spec.labels[1]: Duplicate value: {"key":"a"}`},
		"65 labels":                           {"{labels: [" + strings.Join(entries(65, "key: k%d, ref: b.c"), ",") + "], NEEDED}", "must have at most 64 items"},
		"the label of the operator":           {"{labels: [{key: fleethandshake.io/handshake, ref: b.c}], NEEDED}", "labels has fleethandshake.io/handshake, by which the operator knows its own Secrets: leave it out"},
		"an annotation with an odd key":       {"{annotations: [{key: a/b/c, ref: b.c}], NEEDED}", aLabel},
		"an annotation with an odd ref":       {"{annotations: [{key: a, ref: b..c}], NEEDED}", aRef},
		"an annotation as Safe stores it":     {"{annotations: [{key: a, ref: 'raw:b'}], NEEDED}", noRaw},
		"the same annotation twice":           {"{annotations: [{key: a, ref: b.c}, {key: a, ref: b.d}], NEEDED}", `spec.annotations[1]: Duplicate value: {"key":"a"}`},
		"the annotation of the operator":      {"{annotations: [{key: fleethandshake.io/sources, ref: b.c}], NEEDED}", "annotations has fleethandshake.io/sources, which the operator itself writes: leave it out"},
		"nothing there, in another word":      {"{onMissing: Ignore, NEEDED}", `supported values: "Keep", "Remove", "Fail"`},
		"the end, in another word":            {"{onExpiry: Delete, NEEDED}", `supported values: "Remove", "Keep"`},
		"the only secret as Safe stores it":   {"{expectedName: 'raw:b', NEEDED}", "expectedName begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials"},
		"the only secret that is no raw one":  {"{secretType: workload, expectedName: b, NEEDED}", "expectedName is the name of a raw secret, and secretType workload reads none: leave one of them out"},
		"the only secret with a long name":    {"{expectedName: " + strings.Repeat("a", 254) + ", NEEDED}", "may not be more than 253 bytes"},
		"a Secret as Vault's sources name it": {"{target: database-credentials, NEEDED}", "spec.target in body must be of type object"},
	})
}

// entries are so many entries of a list. The format has one %d.
func entries(count int, format string) []string {
	out := make([]string, 0, count)
	for i := range count {
		out = append(out, "{"+fmt.Sprintf(format, i)+"}")
	}
	return out
}

func TestVSecMSecretsOfEveryFormAreTaken(t *testing.T) {
	longRef := strings.Repeat(`a\.`, 341)
	for title, spec := range map[string]string{
		"everything":               "{vsecmSafeURL: 'https://10.0.0.1:8443', secretType: raw, refreshInterval: 10s, maxAge: 10.5s, target: {name: a.b-c, type: kubernetes.io/basic-auth, conflictPolicy: Merge}, data: [{key: a.b_C-1, ref: b}], dataFrom: [{ref: c, prefix: db_}, {ref: d}], labels: [{key: example.com/app, ref: e}], annotations: [{key: A.b_c, ref: f}], onMissing: Fail, onExpiry: Keep, expectedName: b}",
		"empty strings":            "{vsecmSafeURL: '', expectedName: '', dataFrom: [{ref: a, prefix: ''}]}",
		"objects alone":            "{dataFrom: [{ref: a.b}]}",
		"the secret of a workload": "{secretType: workload, expectedName: '', data: [{key: a, ref: app.b}]}",
		"a Safe without a port":    "{vsecmSafeURL: 'https://safe/', data: [{key: a, ref: b}]}",
		"dots in names":            `{data: [{key: tls.crt, ref: 'my\.secret.tls\.crt.a\\b'}]}`,
		"names in other letters":   "{data: [{key: a, ref: 'Größe.k8s:x.a b'}]}",
		"the longest label":        "{data: [{key: a, ref: b}], labels: [{key: " + strings.Repeat("a", 253) + "/" + strings.Repeat("b", 63) + ", ref: b}]}",
		"all that fits": "{data: [" + strings.Join(entries(200, "key: k%d"+strings.Repeat("k", 249)+", ref: '"+longRef+"'"), ",") + "], dataFrom: [" +
			strings.Join(entries(50, "prefix: p%d, ref: '"+longRef+"'"), ",") + "], labels: [" + strings.Join(entries(64, "key: k%d, ref: '"+longRef+"'"), ",") +
			"], annotations: [" + strings.Join(entries(64, "key: k%d, ref: '"+longRef+"'"), ",") + "]}",
	} {
		t.Run(title, func(t *testing.T) {
			_, err := applyKind(t, "VSecMSecret", spec)
			require.NoError(t, err)
		})
	}
}

// TestThePublishedManifestOfVSecMSecretIsTaken has each of its fields, as it stands.
func TestThePublishedManifestOfVSecMSecretIsTaken(t *testing.T) {
	written, made := applyManifest(t, `
apiVersion: fleethandshake.io/v1alpha1
kind: VSecMSecret
metadata:
  name: database-credentials
  namespace: sources
spec:
  vsecmSafeURL: https://vsecm-safe.vsecm-system.svc.cluster.local:8443/
  secretType: k8s
  refreshInterval: 1h
  target: {name: database-credentials}
  data:        [{key: username, ref: "databaseCredentials.cocaCola.data.username"}]
  labels:      [{key: app, ref: "databaseCredentials.cocaCola.labels.app"}]
  annotations: [{key: env, ref: "databaseCredentials.cocaCola.annotations.env"}]
`)
	written["target"] = map[string]any{"name": "database-credentials", "type": "Opaque", "conflictPolicy": "Fail"}
	written["onMissing"], written["onExpiry"] = "Keep", "Remove"
	assert.Equal(t, written, made)
}

func TestDefaultsOfVSecMSecrets(t *testing.T) {
	made, err := applyKind(t, "VSecMSecret", "{data: [{key: a, ref: b}]}")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"data": []any{map[string]any{"key": "a", "ref": "b"}}, "secretType": "k8s", "refreshInterval": "1h",
		"target": map[string]any{"type": "Opaque", "conflictPolicy": "Fail"}, "onMissing": "Keep", "onExpiry": "Remove",
	}, made.Object["spec"])
}
