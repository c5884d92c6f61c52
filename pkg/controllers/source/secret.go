package source

import (
	"context"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// read reads the Secret of a source; nil when there is none.
func (c *Controller) read(ctx context.Context, src v1alpha1.Source) (*corev1.Secret, error) {
	live, err := c.Secrets.Get(ctx, src.GetNamespace(), targetName(src))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, doing(err, "reading Secret %s", targetName(src))
}

// put writes a Secret in the place of live, when that is still as it was.
func (c *Controller) put(ctx context.Context, live, secret *corev1.Secret, recreate bool) (*corev1.Secret, error) {
	client := c.Writer.Secrets(secret.Namespace)
	if recreate {
		if err := client.Delete(ctx, live.Name, exactly(live)); err != nil {
			return nil, doing(err, "deleting Secret %s, whose type is another one", live.Name)
		}
		live = nil
	}
	if live == nil {
		written, err := client.Create(ctx, secret, metav1.CreateOptions{FieldManager: manager})
		return written, doing(err, "creating Secret %s", secret.Name)
	}
	written, err := client.Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
	return written, doing(err, "updating Secret %s", secret.Name)
}

func exactly(o metav1.Object) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(o.GetUID()), ResourceVersion: ptr.To(o.GetResourceVersion())}}
}
