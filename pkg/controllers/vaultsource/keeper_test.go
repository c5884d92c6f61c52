package vaultsource

import (
	"errors"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const own = "fleet-handshake-system"

func keeperOf(objects ...runtime.Object) (keeper, *fake.Clientset) {
	client := fake.NewClientset(objects...)
	return keeper{client.CoreV1().Secrets(own)}, client
}

func kept(name string, data map[string][]byte, kind corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: name}, Type: kind, Data: data}
}

func TestATokenIsKeptAndGivenBack(t *testing.T) {
	k, client := keeperOf()
	_, ok, err := k.Load(t.Context(), "abc")
	require.NoError(t, err)
	assert.False(t, ok)

	first := vault.Kept{Token: "hvs.first", Accessor: "one", Expires: begin}
	require.NoError(t, k.Save(t.Context(), "abc", first))
	got, ok, err := k.Load(t.Context(), "abc")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, first, got)
	secret, err := client.CoreV1().Secrets(own).Get(t.Context(), "fleet-handshake-vault-abc", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "true", secret.Annotations["fleethandshake.io/never-send"])
	assert.Equal(t, corev1.SecretType("fleethandshake.io/vault-token"), secret.Type)
	assert.Equal(t, "2026-01-02T03:04:05Z", string(secret.Data["expires"]))

	second := vault.Kept{Token: "hvs.second", Accessor: "two"}
	require.NoError(t, k.Save(t.Context(), "abc", second))
	got, _, err = k.Load(t.Context(), "abc")
	require.NoError(t, err)
	assert.Equal(t, second, got, "one without end has no time, also after one that had an end")

	require.NoError(t, k.Delete(t.Context(), "abc"))
	require.NoError(t, k.Delete(t.Context(), "abc"), "it is gone")
	_, ok, err = k.Load(t.Context(), "abc")
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestOnlyASecretOfOursIsTakenForAToken(t *testing.T) {
	for name, c := range map[string]struct {
		secret *corev1.Secret
		fails  bool
	}{
		"one of another type": {kept("fleet-handshake-vault-abc", data("token", "hvs.x"), corev1.SecretTypeOpaque), true},
		"one without a token": {kept("fleet-handshake-vault-abc", nil, tokenType), false},
	} {
		t.Run(name, func(t *testing.T) {
			k, _ := keeperOf(c.secret)
			_, ok, err := k.Load(t.Context(), "abc")
			assert.False(t, ok)
			assert.Equal(t, c.fails, err != nil)
		})
	}
}

func TestTokensThatHaveEndedAreDeleted(t *testing.T) {
	at := func(d time.Duration) map[string][]byte {
		return data("token", "x", "expires", begin.Add(d).Format(time.RFC3339))
	}
	k, client := keeperOf(
		kept("ended", at(-time.Hour), tokenType), kept("just-ended", at(-time.Hour+time.Second), tokenType), kept("lives", at(time.Minute), tokenType),
		kept("without-end", data("token", "x"), tokenType), kept("unreadable", data("token", "x", "expires", "soon"), tokenType))
	var selector string
	client.PrependReactor("list", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		selector = action.(clienttesting.ListAction).GetListRestrictions().Fields.String() //nolint:forcetypeassert // it is a list
		return false, nil, nil
	})
	require.NoError(t, k.expire(t.Context(), begin))
	assert.Equal(t, "type=fleethandshake.io/vault-token", selector, "no other Secret is looked at")
	list, err := client.CoreV1().Secrets(own).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var names []string
	for _, secret := range list.Items {
		names = append(names, secret.Name)
	}
	assert.ElementsMatch(t, []string{"just-ended", "lives", "without-end", "unreadable"}, names)
}

func TestErrorsOfTheAPIServerHaveNoToken(t *testing.T) {
	k, client := keeperOf()
	client.PrependReactor("*", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", errors.New("data: hvs.first"))
	})
	err := k.Save(t.Context(), "abc", vault.Kept{Token: "hvs.first"})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hvs.first")
	_, _, err = k.Load(t.Context(), "abc")
	require.Error(t, err)
	require.Error(t, k.Delete(t.Context(), "abc"))
	require.Error(t, k.expire(t.Context(), begin))
}
