package sources

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func paths(all ...string) (out []v1alpha1.VaultPath) {
	for _, path := range all {
		out = append(out, v1alpha1.VaultPath{Path: path})
	}
	return out
}

func TestAVaultSecretMakesASecret(t *testing.T) {
	startOperator(t)
	require.NoError(t, server.PutSecret(t.Context(), "secret/life", map[string]any{"user": "anna", "port": 5432}))
	vs := makeVaultSecret(t, "life", v1alpha1.VaultSecretSpec{Paths: paths("secret/life"), TargetSecret: v1alpha1.TargetSecret{Labels: map[string]string{"team": "a"}}})
	secret := holds(t, "life", map[string]string{"user": "anna", "port": "5432"})
	assert.Equal(t, corev1.SecretTypeOpaque, secret.Type)
	assert.Equal(t, map[string]string{"team": "a"}, secret.Labels)
	require.Len(t, secret.OwnerReferences, 1)
	assert.Equal(t, vs.UID, secret.OwnerReferences[0].UID)
	vs = says(t, "life", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	assert.Equal(t, []v1alpha1.KeyOrigin{{Key: "port", Path: "secret/life", Version: 1}, {Key: "user", Path: "secret/life", Version: 1}}, vs.Status.Keys)

	// Edited, deleted: put right at once and a second later, without another read.
	_, err := hub.CoreV1().Secrets(team).Patch(t.Context(), "life", types.MergePatchType, []byte(`{"stringData":{"user":"mallory","more":"x"}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	holds(t, "life", map[string]string{"user": "anna", "port": "5432"})
	require.NoError(t, hub.CoreV1().Secrets(team).Delete(t.Context(), "life", metav1.DeleteOptions{}))
	holds(t, "life", map[string]string{"user": "anna", "port": "5432"})

	// Asked for.
	require.NoError(t, server.PutSecret(t.Context(), "secret/life", map[string]any{"user": "berta"}))
	require.NoError(t, hub.VaultKV.Change(t.Context(), team, "life", func(vs *v1alpha1.VaultSecret) {
		vs.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "1"}
	}))
	holds(t, "life", map[string]string{"user": "berta"})

	// Renamed: the former Secret goes.
	require.NoError(t, hub.VaultKV.Change(t.Context(), team, "life", func(vs *v1alpha1.VaultSecret) { vs.Spec.TargetSecretName = "life-2" }))
	holds(t, "life-2", map[string]string{"user": "berta"})
	eventually(t, func(ctx context.Context) error { return absent(ctx, "life") })
	require.NoError(t, hub.VaultKV.Delete(t.Context(), team, "life"))
	// The garbage collector learns of new kinds twice a minute.
	require.NoError(t, clients.Until(t.Context(), 90*time.Second, func(ctx context.Context) error { return absent(ctx, "life-2") }))
}

// absent is an error as long as a Secret is there.
func absent(ctx context.Context, name string) error {
	_, err := hub.CoreV1().Secrets(team).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("Secret %s is still there: %w", name, err)
}
