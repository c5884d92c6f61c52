package controllers

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// right is a verb on a resource of the core group; without a name, on all of them.
type right struct{ verb, resource, name string }

func (r right) rule() rbacv1.PolicyRule {
	rule := rbacv1.PolicyRule{Verbs: []string{r.verb}, APIGroups: []string{""}, Resources: []string{r.resource}}
	if r.name != "" {
		rule.ResourceNames = []string{r.name}
	}
	return rule
}

// allBut are the rights on sources and on what they use, except one.
func allBut(missing right) []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{v1alpha1.SchemeGroupVersion.Group}, Resources: []string{"*"}}}
	for resource, verbs := range map[string][]string{
		"secrets":               {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
		"serviceaccounts":       {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
		"serviceaccounts/token": {"create"},
	} {
		if resource == missing.resource {
			verbs = slices.DeleteFunc(slices.Clone(verbs), func(verb string) bool { return verb == missing.verb })
			// Another object of that kind is no help.
			rules = append(rules, right{missing.verb, resource, "vault-operator-sync"}.rule())
		}
		if len(verbs) > 0 {
			rules = append(rules, rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{""}, Resources: []string{resource}})
		}
	}
	return rules
}

// may gives a user rights in the namespace of the sources.
func may(t *testing.T, name, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	_, err := hub.RbacV1().Roles(sources).Create(context.Background(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
	require.NoError(t, err)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}
	_, err = hub.RbacV1().RoleBindings(sources).Create(context.Background(), binding, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = hub.RbacV1().Roles(sources).Delete(context.Background(), name, metav1.DeleteOptions{})
		_ = hub.RbacV1().RoleBindings(sources).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

// as is a client of any kind for a user.
func as(t *testing.T, name string) dynamic.Interface {
	t.Helper()
	cfg, _, err := world.Hub.User(name, "system:authenticated")
	require.NoError(t, err)
	client, err := dynamic.NewForConfig(cfg)
	require.NoError(t, err)
	return client
}

// tries makes an object named shop from the YAML of its spec, without keeping it.
func tries(t *testing.T, by dynamic.Interface, kind, spec string) func() error {
	t.Helper()
	parsed := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(spec), &parsed))
	object := &unstructured.Unstructured{Object: map[string]any{"spec": parsed}}
	object.SetAPIVersion(v1alpha1.SchemeGroupVersion.String())
	object.SetKind(kind)
	object.SetName("shop")
	return func() error {
		_, err := by.Resource(of(kind)).Namespace(sources).Create(context.Background(), object.DeepCopy(),
			metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
		return err
	}
}

const (
	secretOfPaths = "paths: [{path: secret/shop}]"
	secretOfRefs  = "data: [{key: user, ref: shop.user}]"
	vaultOfMine   = "addr: 'https://vault.example.com:8200'"
	mine          = "address: 'https://vault.example.com:8200'"
)

func TestWhoLetsTheOperatorLogInMustBeAbleToDoItAlone(t *testing.T) {
	var (
		anyToken = right{"create", "serviceaccounts/token", ""}
		token    = right{"create", "serviceaccounts/token", "reader"}
	)
	const (
		noToken    = "you may not create a token of ServiceAccount sources/reader, and so cannot log in to Vault with it; ask for the verb create on serviceaccounts/token with the name reader in namespace sources"
		noAnyToken = "you may not create a token of every ServiceAccount of namespace sources, and so cannot send that of the default one to a server; name one that you may in "
		ofSource   = noAnyToken + "spec.auth.serviceAccountRef.name, or ask for the verb create on serviceaccounts/token there"
		ofVault    = noAnyToken + "spec.auth.kubernetes.serviceAccountName, or ask for the verb create on serviceaccounts/token there"
		noSecret   = "you may not get Secret sources/login, and so cannot log in to Vault with it; ask for the verb get on secrets/login in namespace sources"
	)
	get := right{"get", "secrets", "login"}
	for title, c := range map[string]struct {
		kind, spec string
		needs      right
		refusal    string
	}{
		"a server, with the default account":     {"VaultSecret", "{" + vaultOfMine + ", " + secretOfPaths + "}", anyToken, ofSource},
		"a server, with an account without name": {"VaultSecret", "{" + vaultOfMine + ", auth: {serviceAccountRef: {role: x}}, " + secretOfPaths + "}", anyToken, ofSource},
		"a server, with an account":              {"VaultSecret", "{" + vaultOfMine + ", auth: {serviceAccountRef: {name: reader}}, " + secretOfPaths + "}", token, noToken},
		"an account for the operator's server":   {"VaultSecret", "{auth: {serviceAccountRef: {name: reader}}, " + secretOfPaths + "}", token, noToken},
		"an account for a VaultConnection":       {"VaultSecret", "{connectionRef: {name: a, namespace: b}, auth: {serviceAccountRef: {name: reader}}, " + secretOfPaths + "}", token, noToken},
		"the default account for another server": {"VaultSecret", "{connectionRef: {name: a, namespace: b}, auth: {serviceAccountRef: {}}, " + secretOfPaths + "}", anyToken, ofSource},
		"a server of a credential":               {"VaultDynamicSecret", "{" + vaultOfMine + ", mount: database, path: creds/a}", anyToken, ofSource},
		"an account of a credential":             {"VaultDynamicSecret", "{auth: {serviceAccountRef: {name: reader}}, mount: database, path: creds/a}", token, noToken},
		"a server of a certificate":              {"VaultPKISecret", "{" + vaultOfMine + ", role: web}", anyToken, ofSource},
		"an account of a certificate":            {"VaultPKISecret", "{auth: {serviceAccountRef: {name: reader}}, role: web}", token, noToken},

		"to overwrite a Secret":            {"VaultSecret", "{conflictPolicy: Adopt, targetSecretName: theirs, " + secretOfPaths + "}", right{"update", "secrets", "theirs"}, "you may not update Secret sources/theirs, and so cannot let it be overwritten; write conflictPolicy: Fail, or ask for the verb update on secrets/theirs in namespace sources"},
		"to add to a Secret":               {"VaultSecret", "{conflictPolicy: Merge, " + secretOfPaths + "}", right{"update", "secrets", "shop"}, "you may not update Secret sources/shop, and so cannot let it be overwritten"},
		"to overwrite with a credential":   {"VaultDynamicSecret", "{conflictPolicy: Adopt, mount: database, path: creds/a}", right{"update", "secrets", "shop"}, "you may not update Secret sources/shop"},
		"to overwrite with a certificate":  {"VaultPKISecret", "{conflictPolicy: Merge, targetSecretName: theirs, role: web}", right{"update", "secrets", "theirs"}, "you may not update Secret sources/theirs"},
		"to overwrite with what Safe has":  {"VSecMSecret", "{target: {conflictPolicy: Adopt, name: theirs}, " + secretOfRefs + "}", right{"update", "secrets", "theirs"}, "you may not update Secret sources/theirs, and so cannot let it be overwritten; write conflictPolicy: Fail, or ask for the verb update on secrets/theirs in namespace sources"},
		"to add what Safe has":             {"VSecMSecret", "{target: {conflictPolicy: Merge}, " + secretOfRefs + "}", right{"update", "secrets", "shop"}, "you may not update Secret sources/shop"},
		"a connection, by default":         {"VaultConnection", "{" + mine + "}", anyToken, ofVault},
		"a connection, no name":            {"VaultConnection", "{" + mine + ", auth: {kubernetes: {role: x}}}", anyToken, ofVault},
		"a connection with an account":     {"VaultConnection", "{" + mine + ", auth: {kubernetes: {serviceAccountName: reader}}}", token, noToken},
		"a connection with a jwt":          {"VaultConnection", "{" + mine + ", auth: {jwt: {serviceAccountName: reader}}}", token, noToken},
		"a connection with a jwt's Secret": {"VaultConnection", "{" + mine + ", auth: {jwt: {secretRef: {name: login, key: a}}}}", get, noSecret},
		"a connection with a secret ID":    {"VaultConnection", "{" + mine + ", auth: {appRole: {roleID: x, secretIDRef: {name: login, key: a}}}}", get, noSecret},
		"a connection with a certificate":  {"VaultConnection", "{" + mine + ", auth: {cert: {secretRef: {name: login}}}}", get, noSecret},
		"a connection with a token":        {"VaultConnection", "{" + mine + ", auth: {token: {secretRef: {name: login, key: a}}}}", get, noSecret},
		"a connection that trusts a Secret": {"VaultConnection", "{" + mine + ", ca: {secretRef: {name: roots}}}", right{"get", "secrets", "roots"},
			"you may not get Secret sources/roots, and so cannot check the certificate of a server with it; ask for the verb get on secrets/roots in namespace sources"},
		"a connection with a token that trusts a Secret": {"VaultConnection", "{" + mine + ", auth: {token: {secretRef: {name: vault-operator-sync, key: a}}}, ca: {secretRef: {name: roots}}}", right{"get", "secrets", "roots"}, "you may not get Secret sources/roots"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("maker-%x", title)
			may(t, name, name, allBut(c.needs)...)
			maker := as(t, name)
			denied(t, c.refusal, tries(t, maker, c.kind, c.spec))
			may(t, name+"-more", name, c.needs.rule())
			allowed(t, tries(t, maker, c.kind, c.spec))
		})
	}
}

func TestWhatUsesNothingOfTheNamespaceNeedsNoRight(t *testing.T) {
	may(t, "tenant", "tenant", rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{v1alpha1.SchemeGroupVersion.Group}, Resources: []string{"*"}},
		right{"get", "secrets", "login"}.rule())
	tenant := as(t, "tenant")
	for title, c := range map[string]struct{ kind, spec string }{
		"the operator's own server and login":   {"VaultSecret", "{" + secretOfPaths + "}"},
		"with another role":                     {"VaultSecret", "{auth: {serviceAccountRef: {role: x}}, " + secretOfPaths + "}"},
		"a secret of Safe":                      {"VSecMSecret", "{" + secretOfRefs + "}"},
		"a secret of another Safe":              {"VSecMSecret", "{vsecmSafeURL: 'https://safe:8443', target: {name: theirs}, " + secretOfRefs + "}"},
		"the login of a VaultConnection":        {"VaultDynamicSecret", "{connectionRef: {name: a, namespace: b}, mount: database, path: creds/a}"},
		"a Secret in the way is left alone":     {"VaultPKISecret", "{conflictPolicy: Fail, targetSecretName: theirs, role: web}"},
		"a connection that logs in by a Secret": {"VaultConnection", "{" + mine + ", ca: {configMapRef: {name: roots}}, auth: {token: {secretRef: {name: login, key: a}}}}"},
	} {
		t.Run(title, func(t *testing.T) { allowed(t, tries(t, tenant, c.kind, c.spec)) })
	}
}

func TestSourcesAreCheckedWhenTheirSpecChanges(t *testing.T) {
	ctx := context.Background()
	admin, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	vault := of("VaultSecret")
	made := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"paths": []any{map[string]any{"path": "a/b"}}, "addr": "https://vault"}}}
	made.SetAPIVersion(v1alpha1.SchemeGroupVersion.String())
	made.SetKind("VaultSecret")
	made.SetName("changing")
	_, err = admin.Resource(vault).Namespace(sources).Create(ctx, made, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Resource(vault).Namespace(sources).Delete(ctx, "changing", metav1.DeleteOptions{}) })

	may(t, "changer", "changer", allBut(right{"create", "serviceaccounts/token", ""})...)
	changer := as(t, "changer")
	patch := func(body string) func() error {
		return func() error {
			_, err := changer.Resource(vault).Namespace(sources).Patch(ctx, "changing", types.MergePatchType, []byte(body), metav1.PatchOptions{})
			return err
		}
	}
	allowed(t, patch(`{"metadata":{"annotations":{"fleethandshake.io/refresh":"now"}}}`))
	denied(t, "you may not create a token of every ServiceAccount", patch(`{"spec":{"addr":"https://elsewhere"}}`))
	denied(t, "you may not create a token of ServiceAccount sources/admin", patch(`{"spec":{"auth":{"serviceAccountRef":{"name":"admin"}}}}`))
	allowed(t, patch(`{"spec":{"auth":{"serviceAccountRef":{"name":"vault-operator-sync"}}}}`))
	allowed(t, patch(`{"spec":{"addr":null,"auth":null}}`))
}

func TestVSecMSecretsAreCheckedWhenTheirSpecChanges(t *testing.T) {
	ctx := context.Background()
	admin, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	_, _ = applyManifest(t, "{apiVersion: fleethandshake.io/v1alpha1, kind: VSecMSecret, metadata: {name: overwriting}, spec: {target: {conflictPolicy: Adopt}, "+secretOfRefs+"}}")
	_, err = admin.Resource(of("VSecMSecret")).Namespace(sources).Get(ctx, "overwriting", metav1.GetOptions{})
	require.NoError(t, err)

	may(t, "overwriter", "overwriter", allBut(right{"update", "secrets", ""})...)
	overwriter := as(t, "overwriter")
	patch := func(body string) func() error {
		return func() error {
			_, err := overwriter.Resource(of("VSecMSecret")).Namespace(sources).Patch(ctx, "overwriting", types.MergePatchType, []byte(body), metav1.PatchOptions{})
			return err
		}
	}
	allowed(t, patch(`{"metadata":{"annotations":{"fleethandshake.io/refresh":"now"}}}`))
	denied(t, "you may not update Secret sources/overwriting", patch(`{"spec":{"refreshInterval":"2h"}}`))
	denied(t, "you may not update Secret sources/theirs", patch(`{"spec":{"target":{"name":"theirs"}}}`))
	allowed(t, patch(`{"spec":{"target":{"conflictPolicy":"Fail","name":"theirs"}}}`))
	denied(t, "you may not update Secret sources/theirs", patch(`{"spec":{"target":{"conflictPolicy":"Merge"}}}`))
}

func TestTheRolesOfKubernetesAreEnoughForSources(t *testing.T) {
	bind(t, "edit", sources, "editor")
	bind(t, "view", sources, "viewer")
	editor, viewer := as(t, "editor"), as(t, "viewer")
	for kind, spec := range map[string]string{
		"VaultSecret":        "{" + vaultOfMine + ", conflictPolicy: Adopt, " + secretOfPaths + "}",
		"VaultDynamicSecret": "{" + vaultOfMine + ", auth: {serviceAccountRef: {name: reader}}, mount: database, path: creds/a}",
		"VaultPKISecret":     "{role: web}",
		"VSecMSecret":        "{target: {conflictPolicy: Merge}, " + secretOfRefs + "}",
		"VaultConnection":    "{" + mine + ", ca: {secretRef: {name: roots}}, auth: {cert: {secretRef: {name: login}}}}",
	} {
		t.Run(kind, func(t *testing.T) {
			allowed(t, tries(t, editor, kind, spec))
			allowed(t, func() error {
				_, err := viewer.Resource(of(kind)).Namespace(sources).List(context.Background(), metav1.ListOptions{})
				return err
			})
			err := tries(t, viewer, kind, spec)()
			assert.True(t, apierrors.IsForbidden(err), "%v", err)
		})
	}
}

// TestTheOperatorMakesSecretsInNamespacesOfSourcesOnly looks at the rights that the chart gives with vault.namespaces and
// vsecm.allow.
func TestTheOperatorMakesSecretsInNamespacesOfSourcesOnly(t *testing.T) {
	operator, err := clients.New(hub.Operator)
	require.NoError(t, err)
	mayIn := func(namespace string, a authorizationv1.ResourceAttributes) bool {
		a.Namespace = namespace
		review, err := operator.AuthorizationV1().SelfSubjectAccessReviews().Create(context.Background(),
			&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a}}, metav1.CreateOptions{})
		require.NoError(t, err)
		return review.Status.Allowed
	}
	const group = "fleethandshake.io"
	for _, c := range []struct {
		right authorizationv1.ResourceAttributes
		// ofVault says that Safe does not need it.
		ofVault bool
	}{
		{authorizationv1.ResourceAttributes{Verb: "create", Resource: "secrets"}, false},
		{authorizationv1.ResourceAttributes{Verb: "update", Resource: "secrets"}, false},
		{authorizationv1.ResourceAttributes{Verb: "delete", Resource: "secrets"}, false},
		{authorizationv1.ResourceAttributes{Verb: "patch", Group: group, Resource: "vaultsecrets"}, false},
		{authorizationv1.ResourceAttributes{Verb: "patch", Group: group, Resource: "vsecmsecrets"}, false},
		{authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, true},
		{authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps"}, true},
	} {
		assert.True(t, mayIn(sources, c.right), "%s %s", c.right.Verb, c.right.Resource)
		assert.Equal(t, !c.ofVault, mayIn(readers, c.right), "%s %s of Safe only", c.right.Verb, c.right.Resource)
		for _, elsewhere := range []string{"default", "kube-system", ""} {
			assert.False(t, mayIn(elsewhere, c.right), "%s %s in %q", c.right.Verb, c.right.Resource, elsewhere)
		}
	}
	assert.False(t, mayIn(workspace, authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}))
}
