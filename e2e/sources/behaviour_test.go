package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSources has what sources do beside each other: all share one operator.
func TestSources(t *testing.T) {
	startOperator(t)
	t.Run("all", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"golden": testGolden, "conflicts": testConflicts, "missing paths": testMissingPaths, "access": testAccess, "another type": testAnotherType,
			"leases": testLeases, "certificates": testCertificates,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
}

func kvSource(name string, spec v1alpha1.VaultSecretSpec) *v1alpha1.VaultSecret {
	return &v1alpha1.VaultSecret{ObjectMeta: meta1(name), Spec: spec}
}

func ready(t *testing.T, name string) *v1alpha1.VaultSecret {
	t.Helper()
	return tells(t, hub.VaultKV, team, name, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
}

func notReady(t *testing.T, name, reason string) *v1alpha1.VaultSecret {
	t.Helper()
	return tells(t, hub.VaultKV, team, name, v1alpha1.ConditionReady, metav1.ConditionFalse, reason)
}

// testGolden makes a VaultSecret of each case, in each mode and format.
func testGolden(t *testing.T) {
	for name, mode := range map[string]vaultkv.Mode{"exact": vaultkv.Exact, "kiwi": vaultkv.Kiwi} {
		for _, c := range golden.Cases {
			t.Run(fmt.Sprintf("%s %d", name, c.Number), func(t *testing.T) {
				t.Parallel()
				golden1(t, fmt.Sprintf("golden-%s-%d", name, c.Number), mode, c)
			})
		}
	}
}

func golden1(t *testing.T, name string, mode vaultkv.Mode, c golden.Case) {
	t.Helper()
	spec := v1alpha1.VaultSecretSpec{Separator: c.Separator}
	for _, p := range c.Paths {
		path := v1alpha1.VaultPath{Path: p.Path, Prefix: p.Prefix}
		if mode == vaultkv.Exact && len(c.Missing) > 0 {
			path.OnMissing = v1alpha1.OnMissingRemove
		}
		spec.Paths = append(spec.Paths, path)
	}
	if mode == vaultkv.Kiwi {
		spec.Compat = v1alpha1.CompatKiwi
	} else if c.Number == 12 {
		c.Env, c.JSON = golden.Cases[10].Env, nil // each slash at the beginning goes
	}
	if c.Error[mode] != "" {
		makes(t, hub.VaultKV, kvSource(name, spec))
		assert.Contains(t, messageOf(notReady(t, name, v1alpha1.ReasonKeyCollision), v1alpha1.ConditionReady), c.Error[mode])
		require.NoError(t, absent(t.Context(), name))
		return
	}
	if c.Env != nil {
		makes(t, hub.VaultKV, kvSource(name, spec))
		vs := ready(t, name)
		holds(t, name, c.Env)
		var keys []string
		for _, key := range vs.Status.Keys {
			keys = append(keys, key.Key)
			assert.NotEmpty(t, key.Path)
		}
		assert.Len(t, keys, len(c.Env))
		for _, key := range c.Invalid {
			assert.Contains(t, messageOf(vs, v1alpha1.ConditionKeysLeftOut), key)
		}
		assert.Equal(t, len(c.Invalid) > 0, messageOf(vs, v1alpha1.ConditionKeysLeftOut) != "")
	}
	if c.JSON == nil {
		return
	}
	for format, decode := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		spec.TargetFormat = format
		makes(t, hub.VaultKV, kvSource(name+"-"+format, spec))
		ready(t, name+"-"+format)
		secret := secretWhere(t, name+"-"+format, anything)
		require.Len(t, secret.Data, 1)
		var got map[string]any
		require.NoError(t, decode(secret.Data["secrets."+format], &got))
		assert.Equal(t, c.JSON, got)
	}
}

func testConflicts(t *testing.T) {
	ctx := t.Context()
	require.NoError(t, server.PutSecret(ctx, "secret/conflict/a", map[string]any{"user": "anna"}))
	require.NoError(t, server.PutSecret(ctx, "secret/conflict/b", map[string]any{"port": "5432"}))
	spec := func(target, path string, policy v1alpha1.SourceConflictPolicy) v1alpha1.VaultSecretSpec {
		return v1alpha1.VaultSecretSpec{Paths: paths(path), TargetSecret: v1alpha1.TargetSecret{TargetSecretName: target, ConflictPolicy: policy}}
	}
	t.Run("Fail leaves it alone", func(t *testing.T) {
		t.Parallel()
		foreign(t, "conflict-fail", map[string]string{"user": "berta"})
		makes(t, hub.VaultKV, kvSource("conflict-fail", spec("", "secret/conflict/a", v1alpha1.SourceConflictFail)))
		vs := notReady(t, "conflict-fail", v1alpha1.ReasonSecretConflict)
		assert.Contains(t, messageOf(vs, v1alpha1.ConditionReady), "conflictPolicy: Adopt to replace it or Merge to add to it")
		holds(t, "conflict-fail", map[string]string{"user": "berta"})
		// Out of the way, it is made at once.
		require.NoError(t, hub.CoreV1().Secrets(team).Delete(t.Context(), "conflict-fail", metav1.DeleteOptions{}))
		holds(t, "conflict-fail", map[string]string{"user": "anna"})
		ready(t, "conflict-fail")
	})
	t.Run("Adopt replaces it", func(t *testing.T) {
		t.Parallel()
		foreign(t, "conflict-adopt", map[string]string{"user": "berta", "more": "x"})
		vs := makes(t, hub.VaultKV, kvSource("conflict-adopt", spec("", "secret/conflict/a", v1alpha1.SourceConflictAdopt)))
		secret := holds(t, "conflict-adopt", map[string]string{"user": "anna"})
		require.Len(t, secret.OwnerReferences, 1)
		assert.Equal(t, vs.UID, secret.OwnerReferences[0].UID)
		ready(t, "conflict-adopt")
	})
	t.Run("Merge adds to it, and takes only its own keys along", func(t *testing.T) {
		t.Parallel()
		foreign(t, "merged", map[string]string{"own": "1"})
		makes(t, hub.VaultKV, kvSource("merge-a", spec("merged", "secret/conflict/a", v1alpha1.SourceConflictMerge)))
		makes(t, hub.VaultKV, kvSource("merge-b", spec("merged", "secret/conflict/b", v1alpha1.SourceConflictMerge)))
		holds(t, "merged", map[string]string{"own": "1", "user": "anna", "port": "5432"})
		ready(t, "merge-a")
		ready(t, "merge-b")
		edits(t, "merged", `{"stringData":{"user":"mallory","own":"2"}}`)
		holds(t, "merged", map[string]string{"own": "2", "user": "anna", "port": "5432"})
		goes(t, hub.VaultKV, team, "merge-a")
		holds(t, "merged", map[string]string{"own": "2", "port": "5432"})
		goes(t, hub.VaultKV, team, "merge-b")
		secret := holds(t, "merged", map[string]string{"own": "2"})
		assert.NotContains(t, secret.Annotations, v1alpha1.AnnotationSources)
	})
	t.Run("Merge overwrites no foreign key", func(t *testing.T) {
		t.Parallel()
		foreign(t, "merge-foreign", map[string]string{"user": "berta"})
		makes(t, hub.VaultKV, kvSource("merge-foreign", spec("", "secret/conflict/a", v1alpha1.SourceConflictMerge)))
		vs := notReady(t, "merge-foreign", v1alpha1.ReasonSecretConflict)
		assert.Contains(t, messageOf(vs, v1alpha1.ConditionReady), "already has user, which this object has not made")
		holds(t, "merge-foreign", map[string]string{"user": "berta"})
		// Out of the way, it is added.
		edits(t, "merge-foreign", `{"data":{"user":null,"own":"MQ=="}}`)
		holds(t, "merge-foreign", map[string]string{"user": "anna", "own": "1"})
	})
	t.Run("two sources do not write one Secret in turn", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultKV, kvSource("turn-a", spec("turn", "secret/conflict/a", v1alpha1.SourceConflictAdopt)))
		ready(t, "turn-a")
		makes(t, hub.VaultKV, kvSource("turn-b", spec("turn", "secret/conflict/b", v1alpha1.SourceConflictAdopt)))
		assert.Contains(t, messageOf(notReady(t, "turn-b", v1alpha1.ReasonSecretConflict), v1alpha1.ConditionReady), "is made by VaultSecret/turn-a")
		holds(t, "turn", map[string]string{"user": "anna"})
	})
}

func testMissingPaths(t *testing.T) {
	for _, policy := range []v1alpha1.OnMissing{v1alpha1.OnMissingKeep, v1alpha1.OnMissingRemove, v1alpha1.OnMissingFail} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			ctx, name := t.Context(), "missing-"+strings.ToLower(string(policy))
			stays, leaves := "secret/"+name+"/stays", "secret/"+name+"/leaves"
			require.NoError(t, server.PutSecret(ctx, stays, map[string]any{"user": "anna"}))
			require.NoError(t, server.PutSecret(ctx, leaves, map[string]any{"port": "5432"}))
			makes(t, hub.VaultKV, kvSource(name, v1alpha1.VaultSecretSpec{Paths: []v1alpha1.VaultPath{{Path: stays}, {Path: leaves, OnMissing: policy}}}))
			holds(t, name, map[string]string{"user": "anna", "port": "5432"})
			ready(t, name)

			require.NoError(t, server.PutSecret(ctx, stays, map[string]any{"user": "berta"}))
			_, err := server.Root().Logical().DeleteWithContext(ctx, strings.Replace(leaves, "secret/", "secret/data/", 1))
			require.NoError(t, err)
			refreshes(t, hub.VaultKV, name)
			switch policy {
			case v1alpha1.OnMissingKeep:
				holds(t, name, map[string]string{"user": "berta", "port": "5432"})
				assert.Contains(t, messageOf(notReady(t, name, v1alpha1.ReasonPathMissing), v1alpha1.ConditionReady), leaves)
			case v1alpha1.OnMissingRemove:
				holds(t, name, map[string]string{"user": "berta"})
				ready(t, name)
			case v1alpha1.OnMissingFail:
				assert.Contains(t, messageOf(notReady(t, name, v1alpha1.ReasonPathMissing), v1alpha1.ConditionReady), leaves)
				holds(t, name, map[string]string{"user": "anna", "port": "5432"})
			}
			require.NoError(t, server.PutSecret(ctx, leaves, map[string]any{"port": "1"}))
			refreshes(t, hub.VaultKV, name)
			holds(t, name, map[string]string{"user": "berta", "port": "1"})
			ready(t, name)
		})
	}
	t.Run("nothing from the beginning", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultKV, kvSource("missing-all", v1alpha1.VaultSecretSpec{Paths: paths("secret/missing-all/nothing")}))
		notReady(t, "missing-all", v1alpha1.ReasonPathMissing)
		require.NoError(t, absent(t.Context(), "missing-all"))
	})
}

func testAnotherType(t *testing.T) {
	require.NoError(t, server.PutSecret(t.Context(), "secret/typed", map[string]any{"username": "anna", "password": "x"}))
	makes(t, hub.VaultKV, kvSource("typed", v1alpha1.VaultSecretSpec{Paths: paths("secret/typed")}))
	former := holds(t, "typed", map[string]string{"username": "anna", "password": "x"})
	assert.Equal(t, corev1.SecretTypeOpaque, former.Type)
	require.NoError(t, hub.VaultKV.Change(t.Context(), team, "typed", func(vs *v1alpha1.VaultSecret) { vs.Spec.Type = string(corev1.SecretTypeBasicAuth) }))
	secret := secretWhere(t, "typed", func(s *corev1.Secret) error {
		if s.Type != corev1.SecretTypeBasicAuth {
			return errSame
		}
		return nil
	})
	assert.NotEqual(t, former.UID, secret.UID)
	assert.Equal(t, former.Data, secret.Data)
	ready(t, "typed")

	// What the API server refuses is said, and nothing is deleted for it in vain more than once.
	require.NoError(t, server.PutSecret(t.Context(), "secret/untyped", map[string]any{"user": "anna"}))
	makes(t, hub.VaultKV, kvSource("untyped", v1alpha1.VaultSecretSpec{Paths: paths("secret/untyped"), Type: string(corev1.SecretTypeTLS)}))
	assert.Contains(t, messageOf(notReady(t, "untyped", v1alpha1.ReasonWriteFailed), v1alpha1.ConditionReady), "data[tls.crt]")
}

func testAccess(t *testing.T) {
	ctx := t.Context()
	require.NoError(t, server.PutSecret(ctx, "secret/access", map[string]any{"user": "anna"}))
	connected := func(namespace, name string) v1alpha1.VaultSecretSpec {
		return v1alpha1.VaultSecretSpec{Paths: paths("secret/access"), VaultAccess: v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Namespace: namespace, Name: name}}}
	}
	connection := func(namespace, name string, allowed ...string) *v1alpha1.VaultConnection {
		return &v1alpha1.VaultConnection{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.VaultConnectionSpec{
			Address: server.Address, AllowedNamespaces: allowed, RequestsPerSecond: 1000,
		}}
	}
	t.Run("a path that may not be read", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultKV, kvSource("denied", v1alpha1.VaultSecretSpec{Paths: paths("secret/closed/x")}))
		assert.Contains(t, messageOf(notReady(t, "denied", v1alpha1.ReasonDenied), v1alpha1.ConditionReady), "secret/data/closed/x")
	})
	t.Run("a VaultConnection that comes later", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultKV, kvSource("later", connected("", "later")))
		assert.Contains(t, messageOf(notReady(t, "later", v1alpha1.ReasonConnectionNotFound), v1alpha1.ConditionReady), "VaultConnection team/later does not exist")
		makes(t, hub.Connections, connection(team, "later"))
		holds(t, "later", map[string]string{"user": "anna"})
		ready(t, "later")
	})
	t.Run("a VaultConnection of another namespace", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.Connections, connection(shared, "common", other))
		makes(t, hub.VaultKV, kvSource("foreign-connection", connected(shared, "common")))
		assert.Contains(t, messageOf(notReady(t, "foreign-connection", v1alpha1.ReasonConnectionNotShared), v1alpha1.ConditionReady), "spec.allowedNamespaces")
		require.NoError(t, hub.Connections.Change(t.Context(), shared, "common", func(c *v1alpha1.VaultConnection) { c.Spec.AllowedNamespaces = []string{team} }))
		holds(t, "foreign-connection", map[string]string{"user": "anna"})
		ready(t, "foreign-connection")
		// The consent is taken back: the Secret keeps what it has, and no more comes.
		require.NoError(t, hub.Connections.Change(t.Context(), shared, "common", func(c *v1alpha1.VaultConnection) { c.Spec.AllowedNamespaces = nil }))
		notReady(t, "foreign-connection", v1alpha1.ReasonConnectionNotShared)
		holds(t, "foreign-connection", map[string]string{"user": "anna"})
	})
	t.Run("a login with a Secret, and a CA of a ConfigMap", func(t *testing.T) {
		t.Parallel()
		withAppRole(t)
	})
	t.Run("a namespace without rights cannot make tokens", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultKV, &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "tokens"}, Spec: v1alpha1.VaultSecretSpec{Paths: paths("secret/access")}})
		vs := tells(t, hub.VaultKV, other, "tokens", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
		assert.Contains(t, messageOf(vs, v1alpha1.ConditionReady), "give it the verb create on serviceaccounts/token there")
	})
	t.Run("a namespace without rights gets no Secret", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.Connections, connection(shared, "for-other", other))
		makes(t, hub.VaultKV, &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "writes"}, Spec: connected(shared, "for-other")})
		vs := tells(t, hub.VaultKV, other, "writes", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotAllowed)
		assert.Contains(t, messageOf(vs, v1alpha1.ConditionReady), "bind the operator to ClusterRole fleet-handshake-sources in namespace other (values vault.namespaces and vsecm.allow of the chart)")
	})
	t.Run("a deletion in a namespace without rights is not held up", func(t *testing.T) {
		t.Parallel()
		merging := connected(shared, "for-nobody")
		merging.ConflictPolicy = v1alpha1.SourceConflictMerge
		makes(t, hub.VaultKV, &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "merges"}, Spec: merging})
		tells(t, hub.VaultKV, other, "merges", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotAllowed)
	})
}

// eventNamed waits for an event of a source.
func eventNamed(t *testing.T, name, reason string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		list, err := hub.CoreV1().Events(team).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",reason=" + reason})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is no event " + reason + " of " + name)
		}
		return err
	})
}
