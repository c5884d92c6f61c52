package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestHelm installs, upgrades and uninstalls with Helm, in the order of docs/install.md. Each step needs the one before.
func TestHelm(t *testing.T) {
	needNodes(t)
	ctx := t.Context()
	const first = "first-4f9a"
	copies := watchCopies(t, "apps", "creds")
	step := func(name string, f func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, f)
		}
	}

	step("the chart says that the definitions are missing", func(t *testing.T) {
		_, err := helm(t, "install", "fleet-handshake", version)
		require.ErrorContains(t, err, "fleet-handshake-crd")
	})
	step("install", func(t *testing.T) {
		helmBoth(t, "install", version)
		awaitOperator(t, version)
		put(t, workspace, "creds", first)
		_, err := hub.Handshakes.Create(ctx, &v1alpha1.FleetHandshake{
			ObjectMeta: metav1.ObjectMeta{Name: "creds", Namespace: workspace},
			Spec: v1alpha1.FleetHandshakeSpec{
				SecretName: "creds", TargetNamespace: "apps", Targets: []v1alpha1.ClusterTarget{{ClusterName: site}},
			},
		})
		require.NoError(t, err)
		awaitCopy(t, "apps", "creds", first)
		awaitStatus(t, "creds", v1alpha1.StateSynced)
	})
	step("the leader is deleted", func(t *testing.T) {
		before := awaitOperator(t, version)
		begin := time.Now()
		require.NoError(t, hub.CoreV1().Pods(namespace).Delete(ctx, before, metav1.DeleteOptions{}))
		put(t, workspace, "creds", "second")
		until(t, 30*time.Second, func(ctx context.Context) error {
			now, err := leader(ctx)
			if err == nil && (now == "" || now == before) {
				err = fmt.Errorf("the leader is %q", now)
			}
			return err
		})
		t.Logf("another replica leads after %s", time.Since(begin).Round(100*time.Millisecond))
		awaitCopy(t, "apps", "creds", "second")
		t.Logf("the rotation of that moment has arrived after %s", time.Since(begin).Round(100*time.Millisecond))
		awaitStatus(t, "creds", v1alpha1.StateSynced)
		awaitOperator(t, version)
	})
	step("upgrade", func(t *testing.T) {
		helmBoth(t, "upgrade", newer)
		awaitOperator(t, newer)
		deployment, err := hub.AppsV1().Deployments(namespace).Get(ctx, "fleet-handshake", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Contains(t, deployment.Spec.Template.Spec.Containers[0].Args, "--workers=7", "the values are those of the installation")
		awaitStatus(t, "creds", v1alpha1.StateSynced)
		put(t, workspace, "creds", "third")
		awaitCopy(t, "apps", "creds", "third")
	})
	step("uninstall", func(t *testing.T) {
		uninstallBoth(t)
		_, err := hub.Handshakes.Get(ctx, workspace, "creds")
		require.NoError(t, err, "the definitions and the FleetHandshakes stay")
		awaitCopy(t, "apps", "creds", "third")
	})
	step("install again over what was kept", func(t *testing.T) {
		put(t, workspace, "creds", "fourth")
		helmBoth(t, "install", newer)
		awaitOperator(t, newer)
		awaitCopy(t, "apps", "creds", "fourth")
		awaitStatus(t, "creds", v1alpha1.StateSynced)
	})
	if !t.Failed() {
		copies.expect(t, first, "second", "third", "fourth")
	}
	step("remove everything", func(t *testing.T) {
		removeHandshake(t, "creds")
		requireNoCopy(t, "apps", "creds")
		uninstallBoth(t)
		deleteKept(t)
	})
}

// helm runs one verb for a chart of the packaged repository.
func helm(t *testing.T, verb, chart, version string) (string, error) {
	t.Helper()
	args := []string{verb, chart, chart, "--repo=" + served.helm(), "--version=" + version, "--namespace=" + namespace, "--wait", "--timeout=2m"}
	switch {
	case verb == "upgrade":
		args = append(args, "--reset-then-reuse-values")
	case chart == "fleet-handshake":
		args = append(args, "--create-namespace", "--set=workers=7")
	default:
		args = append(args, "--create-namespace")
	}
	return world.Helm(t.Context(), world.Hub, args...)
}

// helmBoth installs or upgrades both charts, in order.
func helmBoth(t *testing.T, verb, version string) {
	t.Helper()
	for _, chart := range []string{"fleet-handshake-crd", "fleet-handshake"} {
		out, err := helm(t, verb, chart, version)
		if err != nil {
			explain(t)
		}
		require.NoError(t, err)
		t.Log(out)
	}
}

// uninstallBoth uninstalls both charts, in order.
func uninstallBoth(t *testing.T) {
	t.Helper()
	for _, release := range []string{"fleet-handshake", "fleet-handshake-crd"} {
		_, err := world.Helm(t.Context(), world.Hub, "uninstall", release, "--namespace="+namespace, "--wait", "--timeout=1m")
		require.NoError(t, err)
	}
	awaitNoPods(t)
}

// removeHandshake deletes a FleetHandshake and waits until it is gone.
func removeHandshake(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, hub.Handshakes.Delete(t.Context(), workspace, name))
	awaitGone(t, "FleetHandshake "+name, func(ctx context.Context) error {
		_, err := hub.Handshakes.Get(ctx, workspace, name)
		return err
	})
}

// deleteKept deletes what Helm leaves of the chart of the definitions.
func deleteKept(t *testing.T) {
	t.Helper()
	client, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	for _, gvr := range []schema.GroupVersionResource{
		{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	} {
		all, err := client.Resource(gvr).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		deleted := 0
		for _, o := range all.Items {
			name := o.GetName()
			if !strings.HasSuffix(name, "."+v1alpha1.SchemeGroupVersion.Group) {
				continue
			}
			deleted++
			require.NoError(t, client.Resource(gvr).Delete(t.Context(), name, metav1.DeleteOptions{}), gvr.Resource)
			awaitGone(t, gvr.Resource+" "+name, func(ctx context.Context) error {
				_, err := client.Resource(gvr).Get(ctx, name, metav1.GetOptions{})
				return err
			})
		}
		require.NotZero(t, deleted, gvr.Resource)
	}
}
