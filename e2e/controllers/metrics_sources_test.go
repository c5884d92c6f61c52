package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vsecmsource"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// sourcesWithoutVault makes VaultSecrets whose Vault does not answer, as many as make the circuit breaker open. One has
// been fetched before.
func sourcesWithoutVault(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	makeSecret(t, "vault-token", corev1.SecretTypeOpaque)
	_, err := hub.Connections.Create(ctx, &v1alpha1.VaultConnection{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: "silent"},
		Spec: v1alpha1.VaultConnectionSpec{Address: "http://" + freeAddress(t), Auth: v1alpha1.VaultAuth{
			Token: &v1alpha1.VaultTokenAuth{SecretRef: v1alpha1.SecretKey{Name: "vault-token", Key: "password"}},
		}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Connections.Delete(ctx, workspace, "silent") })
	for i := range 6 {
		name := fmt.Sprintf("from-vault-%d", i)
		_, err := hub.VaultKV.Create(ctx, &v1alpha1.VaultSecret{
			ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
			Spec: v1alpha1.VaultSecretSpec{
				VaultAccess: v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Name: "silent"}},
				Paths:       []v1alpha1.VaultPath{{Path: "secret/" + name}},
			},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = hub.VaultKV.Delete(ctx, workspace, name) })
		eventually(t, func(ctx context.Context) error {
			vs, err := hub.VaultKV.Get(ctx, workspace, name)
			if err == nil && len(vs.Status.Conditions) == 0 {
				err = errors.New(name + " says nothing")
			}
			return err
		})
	}
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	_, err = dyn.Resource(v1alpha1.SchemeGroupVersion.WithResource("vaultsecrets")).Namespace(workspace).
		Patch(ctx, "from-vault-0", types.MergePatchType, []byte(`{"status":{"lastFetchedAt":"2026-01-01T00:00:00Z"}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
}

// silentSafe are options for a Safe that does not answer, and a Workload API that does.
func silentSafe(t *testing.T) vsecmsource.Defaults {
	t.Helper()
	ca, err := spiffetest.New(vsecm.DefaultTrustDomain)
	require.NoError(t, err)
	svid, err := ca.SVID(safe.ID(vsecm.DefaultTrustDomain, vsecm.ScoutName), time.Hour)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // the path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	agent, err := spiffetest.ServeWorkloadAPI(dir, ca, svid)
	require.NoError(t, err)
	t.Cleanup(agent.Stop)
	return vsecmsource.Defaults{
		SafeURL: "https://" + freeAddress(t), TrustDomain: vsecm.DefaultTrustDomain, EndpointSocket: agent.Address, Allow: []string{workspace + "/*"},
	}
}

// sourcesWithoutSafe makes VSecMSecrets whose Safe does not answer, as many as make the circuit breaker open.
func sourcesWithoutSafe(t *testing.T) {
	t.Helper()
	for i := range 6 {
		made, err := applyKind(t, "VSecMSecret", "{data: [{key: user, ref: shop.user}]}")
		require.NoError(t, err)
		eventually(t, func(ctx context.Context) error {
			vs, err := hub.VSecM.Get(ctx, workspace, made.GetName())
			if err == nil && len(vs.Status.Conditions) == 0 {
				err = fmt.Errorf("VSecMSecret %d says nothing", i)
			}
			return err
		})
	}
}
