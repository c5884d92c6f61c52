package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// user is a client of a person, or of a service account, with a certificate of its own.
func user(t *testing.T, name string) *clients.Hub {
	t.Helper()
	cfg, _, err := world.Hub.User(name, "system:authenticated")
	require.NoError(t, err)
	client, err := clients.New(cfg)
	require.NoError(t, err)
	return client
}

// bind gives a ClusterRole to a user, in one namespace or, without one, in all.
func bind(t *testing.T, role, namespace, name string) {
	t.Helper()
	ctx := context.Background()
	meta := metav1.ObjectMeta{GenerateName: "test-", Namespace: namespace}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}}
	if namespace == "" {
		made, err := hub.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = hub.RbacV1().ClusterRoleBindings().Delete(ctx, made.Name, metav1.DeleteOptions{}) })
		return
	}
	made, err := hub.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.RbacV1().RoleBindings(namespace).Delete(ctx, made.Name, metav1.DeleteOptions{}) })
}

// role makes a ClusterRole from "verbs group/resource[/name]" lines; the core group is empty.
func role(t *testing.T, name string, rules ...string) {
	t.Helper()
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, rule := range rules {
		verbs, what, _ := strings.Cut(rule, " ")
		parts := strings.Split(what, "/")
		p := rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: parts[:1], Resources: parts[1:2], ResourceNames: parts[2:]}
		r.Rules = append(r.Rules, p)
	}
	_, err := hub.RbacV1().ClusterRoles().Create(context.Background(), r, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.RbacV1().ClusterRoles().Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

// inNamespace makes a namespace, and a Secret there.
func inNamespace(t *testing.T, namespace, name string) {
	t.Helper()
	ctx := context.Background()
	_, err := hub.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	_, err = hub.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte("x")},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{}) })
}

func sends(name, namespace string) *v1alpha1.FleetHandshake {
	return &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec:       v1alpha1.FleetHandshakeSpec{SecretName: name, SecretNamespace: namespace, TargetNamespace: "apps", Targets: []v1alpha1.ClusterTarget{{ClusterName: "paris"}}},
	}
}

func grants(name, namespace string, to ...v1alpha1.GrantTo) *v1alpha1.SecretGrant {
	return &v1alpha1.SecretGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.SecretGrantSpec{From: []v1alpha1.GrantFrom{{Namespace: workspace}}, To: to},
	}
}

// allowed waits until a request is carried out: rights and policies take a moment to be in force.
func allowed(t *testing.T, request func() error) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if err := request(); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	})
}

// denied waits until a request is refused with these words.
func denied(t *testing.T, words string, request func() error) {
	t.Helper()
	eventually(t, func(context.Context) error {
		err := request()
		if err == nil {
			return errors.New("it was carried out")
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), words) {
			return fmt.Errorf("it was refused with other words: %w", err)
		}
		return nil
	})
}

func TestWhoSendsASecretMustBeAbleToReadIt(t *testing.T) {
	ctx := context.Background()
	inNamespace(t, "vault", "crown-jewels")
	inNamespace(t, workspace, "own")
	bind(t, "edit", workspace, "mallory")
	mallory := user(t, "mallory")
	theft := func(by *clients.Hub) func() error {
		return func() error {
			hs := sends("crown-jewels", "vault")
			_, err := by.Handshakes.Create(ctx, hs)
			if err == nil {
				drop(t, hs.Name)
			}
			return err
		}
	}
	const refusal = "you may not get Secret vault/crown-jewels, and so cannot send it; ask for the verb get on secrets/crown-jewels in namespace vault"

	t.Run("an editor of the workspace sends a Secret of it", func(t *testing.T) {
		allowed(t, func() error { _, err := mallory.Handshakes.Create(ctx, sends("own", "")); return err })
	})
	t.Cleanup(func() { drop(t, "own") })
	t.Run("and none of another namespace", func(t *testing.T) { denied(t, refusal, theft(mallory)) })
	t.Run("nor by changing a FleetHandshake", func(t *testing.T) {
		denied(t, refusal, func() error {
			return mallory.Handshakes.Change(ctx, workspace, "own", func(hs *v1alpha1.FleetHandshake) { hs.Spec = sends("crown-jewels", "vault").Spec })
		})
	})
	t.Run("impersonation has the rights of whom it acts for", func(t *testing.T) {
		cfg := rest.CopyConfig(world.Hub.Config)
		cfg.Impersonate = rest.ImpersonationConfig{UserName: "mallory", Groups: []string{"system:authenticated"}}
		acting, err := clients.New(cfg)
		require.NoError(t, err)
		denied(t, refusal, theft(acting))
	})
	t.Run("a service account needs the right like anybody", func(t *testing.T) {
		const agent = "system:serviceaccount:gitops:agent"
		bind(t, "edit", workspace, agent)
		denied(t, refusal, theft(user(t, agent)))
		role(t, "test-get-crown-jewels", "get /secrets/crown-jewels")
		bind(t, "test-get-crown-jewels", "vault", agent)
		allowed(t, theft(user(t, agent)))
	})
	t.Run("who may not read the Secret may still change metadata", func(t *testing.T) {
		role(t, "test-handshakes-only", "patch fleethandshake.io/fleethandshakes")
		bind(t, "test-handshakes-only", workspace, "oncall")
		oncall := user(t, "oncall")
		patch := func(body string) func() error {
			return func() error {
				return oncall.Handshakes.Patch(ctx, workspace, "own", types.MergePatchType, []byte(body))
			}
		}
		allowed(t, patch(`{"metadata":{"annotations":{"fleethandshake.io/resync-requested-at":"now"}}}`))
		denied(t, "you may not get Secret fleet-default/own", patch(`{"spec":{"paused":true}}`))
	})
}

func TestWhoGrantsASecretMustBeAbleToReadIt(t *testing.T) {
	ctx := context.Background()
	inNamespace(t, "vault", "public")
	role(t, "test-granter", "get,create,update,delete fleethandshake.io/secretgrants", "get /secrets/public", "get /configmaps/settings")
	bind(t, "test-granter", "vault", "olga")
	bind(t, "edit", workspace, "mallory")
	olga, mallory := user(t, "olga"), user(t, "mallory")
	secret := func(names ...string) v1alpha1.GrantTo {
		return v1alpha1.GrantTo{Kind: v1alpha1.SourceSecret, Names: names}
	}
	configMap := func(names ...string) v1alpha1.GrantTo {
		return v1alpha1.GrantTo{Kind: v1alpha1.SourceConfigMap, Names: names}
	}
	grant := func(by *clients.Hub, to ...v1alpha1.GrantTo) func() error {
		return func() error {
			_, err := by.Grants.Create(ctx, grants("test", "vault", to...))
			if err == nil {
				err = hub.Grants.Delete(ctx, "vault", "test")
			}
			return err
		}
	}
	allowed(t, grant(olga, secret("public")))
	allowed(t, grant(olga, secret("public"), configMap("settings")))
	denied(t, "you may not get secrets/private in namespace vault, and so cannot grant it", grant(olga, secret("public", "private")))
	denied(t, "you may not get configmaps/private in namespace vault, and so cannot grant it", grant(olga, secret("public"), configMap("settings", "private")))
	denied(t, "you may not get every Secret of namespace vault", grant(olga, secret()))
	denied(t, "you may not get every ConfigMap of namespace vault", grant(olga, secret("public"), configMap()))
	denied(t, `cannot create resource "secretgrants"`, grant(mallory, secret("public")))

	// The policy asks about each name: the last of twenty counts as much as the first.
	var most []string
	for i := range 19 {
		most = append(most, fmt.Sprintf("public-%d", i))
	}
	role(t, "test-reader", "get /secrets/"+strings.Join(most, "/"))
	bind(t, "test-reader", "vault", "olga")
	allowed(t, grant(olga, secret(append(most, "public")...)))
	denied(t, "you may not get secrets/private", grant(olga, secret(append(most, "private")...)))
	denied(t, "can name 20 objects; write several SecretGrants", grant(olga, secret(most...), secret("public", "private")))
	allowed(t, grant(hub.Hub, secret(), configMap(), secret(append(most, "private")...), secret("public", "private")))

	_, err := olga.Grants.Create(ctx, grants("test", "vault", secret("public")))
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Grants.Delete(ctx, "vault", "test") })
	denied(t, "you may not get secrets/private", func() error {
		return olga.Grants.Change(ctx, "vault", "test", func(g *v1alpha1.SecretGrant) { g.Spec.To[0].Names = []string{"private"} })
	})
}

// TestAForgedFleetHandshakeReadsNothing has a FleetHandshake that was there before the policies.
func TestAForgedFleetHandshakeReadsNothing(t *testing.T) {
	ctx := context.Background()
	inNamespace(t, "vault", "forged")
	begin, err := world.Hub.AuditEnd()
	require.NoError(t, err)
	startOperator(t, hub.Operator)
	hs, err := hub.Handshakes.Create(ctx, sends("forged", "vault"))
	require.NoError(t, err)
	t.Cleanup(func() { drop(t, "forged") })
	says(t, "forged", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	reads, _, err := world.Hub.AuditSince(begin, func(e lab.AuditEvent) bool {
		return e.User.Username == lab.OperatorUser && e.ObjectRef.Namespace == "vault"
	})
	require.NoError(t, err)
	assert.Empty(t, reads)
	_, err = hub.Bundles.Get(ctx, workspace, bundle.NameFor(hs))
	assert.True(t, apierrors.IsNotFound(err), "%v", err)
	_, err = hub.CoreV1().Secrets(workspace).Get(ctx, bundle.NameFor(hs), metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestTheOperatorWritesInWorkspacesOnly(t *testing.T) {
	ctx := context.Background()
	startOperator(t, hub.Operator)
	inNamespace(t, "playground", "toy")
	begin, err := world.Hub.AuditEnd()
	require.NoError(t, err)
	hs := sends("toy", "")
	hs.Namespace = "playground"
	hs, err = hub.Handshakes.Create(ctx, hs)
	require.NoError(t, err)
	t.Cleanup(func() {
		eventually(t, func(ctx context.Context) error {
			if err := hub.Handshakes.Delete(ctx, hs.Namespace, hs.Name); apierrors.IsNotFound(err) {
				return nil
			}
			err := hub.Handshakes.Change(ctx, hs.Namespace, hs.Name, func(hs *v1alpha1.FleetHandshake) { hs.Finalizers = nil })
			return errors.Join(err, errors.New("toy is still there"))
		})
	})
	saysIn(t, hs.Namespace, hs.Name, v1alpha1.StateError, v1alpha1.ReasonNotAWorkspace)
	writes, _, err := world.Hub.AuditSince(begin, func(e lab.AuditEvent) bool {
		return lab.ByOperator(e) && e.ObjectRef.Namespace == "playground"
	})
	require.NoError(t, err)
	for _, w := range writes {
		assert.True(t, w.Of("fleethandshakes", "status", hs.Name), "%s", w)
	}

	// The label alone gives no right.
	label := func(value string) {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, v1alpha1.LabelWorkspace, value)
		_, err := hub.CoreV1().Namespaces().Patch(ctx, "playground", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	label("true")
	eventually(t, func(ctx context.Context) error {
		refused, _, err := world.Hub.AuditSince(begin, func(e lab.AuditEvent) bool {
			return lab.ByOperator(e) && e.ObjectRef.Namespace == "playground" && e.ResponseStatus.Code == 403
		})
		if err == nil && len(refused) == 0 {
			err = errors.New("nothing was refused yet")
		}
		return err
	})
	bind(t, "fleet-handshake-workspace", "playground", lab.OperatorUser)
	saysIn(t, hs.Namespace, hs.Name, v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	b, err := hub.Bundles.Get(ctx, hs.Namespace, bundle.NameFor(hs))
	require.NoError(t, err)
	values, err := hub.CoreV1().Secrets(hs.Namespace).Get(ctx, bundle.NameFor(hs), metav1.GetOptions{})
	require.NoError(t, err)
	assert.True(t, metav1.IsControlledBy(b, hs))
	assert.True(t, metav1.IsControlledBy(values, hs))
	label("false")
	saysIn(t, hs.Namespace, hs.Name, v1alpha1.StateError, v1alpha1.ReasonNotAWorkspace)
}

// TestAStolenTokenOfTheOperator tries what its service account may not do.
func TestAStolenTokenOfTheOperator(t *testing.T) {
	ctx := context.Background()
	thief, err := clients.New(hub.Operator)
	require.NoError(t, err)
	inNamespace(t, "vault", "stolen")
	send(t, "stolen-from")
	bd, err := hub.Deployments.Create(ctx, &fleet.BundleDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "stolen", Labels: map[string]string{v1alpha1.LabelHandshake: "x"}},
		Spec:       fleet.BundleDeploymentSpec{DeploymentID: "a:b", ValuesHash: "c", WaitingForValues: true},
	})
	require.NoError(t, err)
	foreign, err := hub.Deployments.Create(ctx, &fleet.BundleDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "foreign"}, Spec: bd.Spec})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = hub.Deployments.Delete(ctx, "vault", bd.Name)
		_ = hub.Deployments.Delete(ctx, "vault", foreign.Name)
	})
	patch := func(name, body string) error {
		return thief.Deployments.Patch(ctx, "vault", name, types.MergePatchType, []byte(body))
	}
	for title, try := range map[string]func() error{
		"write a Secret outside of the workspaces": func() error {
			_, err := thief.CoreV1().Secrets("vault").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
		"delete one": func() error { return thief.CoreV1().Secrets("vault").Delete(ctx, "stolen", metav1.DeleteOptions{}) },
		"make a Bundle outside of the workspaces": func() error {
			_, err := thief.Bundles.Create(ctx, &fleet.Bundle{ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "x"}})
			return err
		},
		"make a grant": func() error {
			_, err := thief.Grants.Create(ctx, grants("x", "vault", v1alpha1.GrantTo{Kind: v1alpha1.SourceSecret}))
			return err
		},
		"make a FleetHandshake": func() error { _, err := thief.Handshakes.Create(ctx, sends("x", "")); return err },
		"give itself a role": func() error {
			_, err := thief.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}, metav1.CreateOptions{})
			return err
		},
		"make a Pod": func() error {
			_, err := thief.CoreV1().Pods(install.Namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
		"read another ConfigMap of Fleet": func() error {
			_, err := thief.CoreV1().ConfigMaps("cattle-fleet-system").Get(ctx, "x", metav1.GetOptions{})
			return err
		},
	} {
		t.Run(title, func(t *testing.T) {
			err := try()
			assert.True(t, apierrors.IsForbidden(err), "%v", err)
		})
	}
	t.Run("deploy something else with a BundleDeployment", func(t *testing.T) {
		for body, words := range map[string]string{
			`{"spec":{"deploymentID":"x:y","valuesHash":""}}`:                        "clear spec.valuesHash of a BundleDeployment, and change nothing else",
			`{"spec":{"valuesHash":"x"}}`:                                            "clear spec.valuesHash of a BundleDeployment, and change nothing else",
			`{"spec":{"options":{"helm":{"takeOwnership":true}},"valuesHash":""}}`:   "clear spec.valuesHash of a BundleDeployment, and change nothing else",
			`{"metadata":{"labels":{"a":"b"}},"spec":{"valuesHash":""}}`:             "may not change the metadata of a BundleDeployment",
			`{"metadata":{"finalizers":["example.com/x"]},"spec":{"valuesHash":""}}`: "may not change the metadata of a BundleDeployment",
		} {
			eventually(t, func(context.Context) error {
				if err := patch(bd.Name, body); err == nil || !strings.Contains(err.Error(), words) {
					return fmt.Errorf("%s: %w", body, errors.Join(err, errors.New("not refused with "+words)))
				}
				return nil
			})
		}
		require.ErrorContains(t, patch(foreign.Name, `{"spec":{"valuesHash":""}}`), "its own BundleDeployments only")
		require.NoError(t, patch(bd.Name, `{"spec":{"valuesHash":""}}`), "what it may do")
	})
}

func TestSecretsAreReadInListedNamespacesOnly(t *testing.T) {
	ctx := context.Background()
	everywhere, err := hub.RbacV1().ClusterRoleBindings().Get(ctx, "fleet-handshake-secrets", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, hub.RbacV1().ClusterRoleBindings().Delete(ctx, everywhere.Name, metav1.DeleteOptions{}))
	t.Cleanup(func() {
		everywhere.ResourceVersion, everywhere.UID = "", ""
		_, err := hub.RbacV1().ClusterRoleBindings().Create(ctx, everywhere, metav1.CreateOptions{})
		require.NoError(t, err)
		reader, err := clients.New(hub.Operator)
		require.NoError(t, err)
		eventually(t, func(ctx context.Context) error {
			_, err := reader.CoreV1().Secrets("").List(ctx, metav1.ListOptions{Limit: 1})
			return err
		})
	})
	inNamespace(t, "listed", "near")
	inNamespace(t, "unlisted", "far")
	all := operator.Defaults()
	all.LeaderElect, all.ListenAddress = false, "0"
	eventually(t, func(ctx context.Context) error {
		err := operator.Run(ctx, hub.Operator, all)
		if err == nil || !strings.Contains(err.Error(), "may not list the Secrets of all namespaces") {
			return errors.Join(err, errors.New("it may still list all"))
		}
		return nil
	})

	bind(t, "fleet-handshake-secrets", "listed", lab.OperatorUser)
	reader, err := clients.New(hub.Operator)
	require.NoError(t, err)
	allowed(t, func() error {
		_, err := reader.CoreV1().Secrets("listed").List(ctx, metav1.ListOptions{Limit: 1})
		return err
	})
	startOperator(t, hub.Operator, func(o *operator.Options) { o.SourceNamespaces = []string{"no-such-namespace", "listed"} })
	for name, namespace := range map[string]string{"near": "listed", "far": "unlisted"} {
		_, err := hub.Grants.Create(ctx, grants("all", namespace, v1alpha1.GrantTo{Kind: v1alpha1.SourceSecret}))
		require.NoError(t, err)
		_, err = hub.Handshakes.Create(ctx, sends(name, namespace))
		require.NoError(t, err)
		t.Cleanup(func() {
			drop(t, name)
			_ = hub.Grants.Delete(ctx, namespace, "all")
		})
	}
	says(t, "far", v1alpha1.StateError, v1alpha1.ReasonSourceNotServed)
	before := says(t, "near", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	secret, err := hub.CoreV1().Secrets("listed").Get(ctx, "near", metav1.GetOptions{})
	require.NoError(t, err)
	secret.Data = map[string][]byte{"password": []byte("y")}
	_, err = hub.CoreV1().Secrets("listed").Update(ctx, secret, metav1.UpdateOptions{})
	require.NoError(t, err)
	eventually(t, func(ctx context.Context) error {
		now, err := hub.Handshakes.Get(ctx, workspace, "near")
		if err == nil && now.Status.Revision == before.Status.Revision {
			err = errors.New("the watch of the namespace has not told of the rotation")
		}
		return err
	})
}
