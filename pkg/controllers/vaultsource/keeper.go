package vaultsource

import (
	"context"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// tokenType is the type of the Secrets with tokens that leases hang on.
const tokenType corev1.SecretType = "fleethandshake.io/vault-token"

// The keys of such a Secret.
const (
	tokenKey    = "token"
	accessorKey = "accessor"
	expiresKey  = "expires"
)

// keeper keeps tokens in Secrets of the operator's own namespace.
type keeper struct{ client corev1client.SecretInterface }

func nameOf(id string) string { return "fleet-handshake-vault-" + id }

// Load reads the token of a session.
func (k keeper) Load(ctx context.Context, id string) (vault.Kept, bool, error) {
	secret, err := k.client.Get(ctx, nameOf(id), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return vault.Kept{}, false, nil
	}
	if err != nil {
		return vault.Kept{}, false, fmt.Errorf("reading Secret %s: %w", nameOf(id), err)
	}
	if secret.Type != tokenType {
		return vault.Kept{}, false, fmt.Errorf("Secret %s has type %s and not %s: delete it", nameOf(id), secret.Type, tokenType) //nolint:staticcheck // Secret is a kind
	}
	kept := vault.Kept{Token: string(secret.Data[tokenKey]), Accessor: string(secret.Data[accessorKey])}
	// Without a time that can be read it is one without end; Vault knows better anyway.
	kept.Expires, _ = time.Parse(time.RFC3339, string(secret.Data[expiresKey]))
	return kept, kept.Token != "", nil
}

// Save writes the token of a session.
func (k keeper) Save(ctx context.Context, id string, kept vault.Kept) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(id), Annotations: map[string]string{v1alpha1.NeverSend: "true"}},
		Type:       tokenType,
		Data:       map[string][]byte{tokenKey: []byte(kept.Token), accessorKey: []byte(kept.Accessor)},
	}
	if !kept.Expires.IsZero() {
		secret.Data[expiresKey] = []byte(kept.Expires.UTC().Format(time.RFC3339))
	}
	_, err := k.client.Update(ctx, secret, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = k.client.Create(ctx, secret, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing Secret %s: %s", nameOf(id), apierrors.ReasonForError(err))
	}
	return nil
}

// expire deletes the tokens that have ended: nobody may have asked for them since they were kept.
func (k keeper) expire(ctx context.Context, now time.Time) error {
	list, err := k.client.List(ctx, metav1.ListOptions{FieldSelector: "type=" + string(tokenType)})
	if err != nil {
		return fmt.Errorf("listing the tokens of Vault that are kept: %w", err)
	}
	for _, secret := range list.Items {
		// A token without end has no time, and cannot be read as one.
		expires, err := time.Parse(time.RFC3339, string(secret.Data[expiresKey]))
		if err != nil || now.Before(expires.Add(unusedFor)) {
			continue
		}
		if err := k.client.Delete(ctx, secret.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting Secret %s: %w", secret.Name, err)
		}
	}
	return nil
}

// Delete deletes the token of a session.
func (k keeper) Delete(ctx context.Context, id string) error {
	err := k.client.Delete(ctx, nameOf(id), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting Secret %s: %w", nameOf(id), err)
	}
	return nil
}
