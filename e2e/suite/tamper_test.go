package suite

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// edit patches a copy as kubectl would.
func edit(t *testing.T, site, name, patch string) {
	t.Helper()
	_, err := sites[site].CoreV1().Secrets("apps").Patch(context.Background(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	require.NoError(t, err)
}

func askForResync(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, hub.Handshakes.Change(context.Background(), workspace, name, func(hs *v1alpha1.FleetHandshake) {
		hs.Annotations = map[string]string{v1alpha1.AnnotationResyncRequestedAt: time.Now().Format(time.RFC3339Nano)}
	}))
}

func TestTamperingDownstreamIsPutRight(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("tamper")}
	secret := source("tampered", data)
	secret.Labels = map[string]string{"app": "shop"}
	create(t, secret, toGroup("tampered"))
	says(t, "tampered", v1alpha1.StateSynced, "")

	t.Run("a deleted copy comes back", func(t *testing.T) {
		require.NoError(t, sites["paris"].CoreV1().Secrets("apps").Delete(ctx, "tampered", metav1.DeleteOptions{}))
		arrives(t, "paris", "apps", "tampered", data)
		says(t, "tampered", v1alpha1.StateSynced, "")
	})
	t.Run("an edited label comes back", func(t *testing.T) {
		edit(t, "paris", "tampered", `{"metadata":{"labels":{"app":"forged"}}}`)
		eventually(t, func(ctx context.Context) error {
			copied, err := sites["paris"].CoreV1().Secrets("apps").Get(ctx, "tampered", metav1.GetOptions{})
			if err == nil && copied.Labels["app"] != "shop" {
				err = errors.New("the label is still forged")
			}
			return err
		})
		says(t, "tampered", v1alpha1.StateSynced, "")
	})
	t.Run("edited data comes back at the resync", func(t *testing.T) {
		edit(t, "paris", "tampered", `{"data":{"password":"Zm9yZ2Vk","extra":"eA=="}}`)
		askForResync(t, "tampered")
		arrives(t, "paris", "apps", "tampered", data)
		says(t, "tampered", v1alpha1.StateSynced, "")
	})
	t.Run("edited data does not stop a rotation", func(t *testing.T) {
		edit(t, "paris", "tampered", `{"data":{"password":"Zm9yZ2Vk"}}`)
		data = map[string][]byte{"password": secretValue("rotated over an edit")}
		rotate(t, "tampered", data)
		arrives(t, "paris", "apps", "tampered", data)
		arrives(t, "tokyo", "apps", "tampered", data)
		says(t, "tampered", v1alpha1.StateSynced, "")
	})
}

func TestTamperingOnTheHubIsPutRight(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("hub")}
	create(t, source("hub-tampered", data), toGroup("hub-tampered"))
	hs := says(t, "hub-tampered", v1alpha1.StateSynced, "")
	name := bundle.NameFor(hs)

	restored := func(t *testing.T) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			values, err := hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			sealed, err := bundle.Open(values.Data)
			if err != nil {
				return err
			}
			b, err := hub.Bundles.Get(ctx, workspace, name)
			if err != nil {
				return err
			}
			switch {
			case b.Spec.ValuesHash != sealed.Hash:
				return errors.New("the Bundle has another hash than the values secret")
			case len(b.Spec.Targets) != 2 || b.Spec.Paused || b.Spec.Helm == nil || b.Spec.Helm.ReleaseName != name:
				return errors.New("the Bundle is not restored")
			case b.Labels[v1alpha1.LabelHandshake] != string(hs.UID) || values.Labels[v1alpha1.LabelHandshake] != string(hs.UID):
				return errors.New("a label is missing")
			case bundle.DeliveryOf(b).Revision() != sealed.Revision:
				return errors.New("the revision is not recorded")
			}
			return nil
		})
		arrives(t, "paris", "apps", "hub-tampered", data)
		says(t, "hub-tampered", v1alpha1.StateSynced, "")
	}
	for title, tamper := range map[string]func(t *testing.T){
		"the values secret is edited": func(t *testing.T) {
			values, err := hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			values.Data = map[string][]byte{bundle.ValuesKey: []byte(`{"secrets":[]}`)}
			_, err = hub.CoreV1().Secrets(workspace).Update(ctx, values, metav1.UpdateOptions{})
			require.NoError(t, err)
		},
		"the values secret is made immutable": func(t *testing.T) {
			values, err := hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			values.Immutable = ptr.To(true)
			_, err = hub.CoreV1().Secrets(workspace).Update(ctx, values, metav1.UpdateOptions{})
			require.NoError(t, err)
			data = map[string][]byte{"password": secretValue("rotated while immutable")}
			rotate(t, "hub-tampered", data)
		},
		"Fleet's own Secret with the values of a cluster is deleted": func(t *testing.T) {
			found, err := hub.Deployments.List(ctx, "", v1alpha1.LabelHandshake+"="+string(hs.UID)+","+fleet.ClusterLabel+"=paris")
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.NoError(t, hub.CoreV1().Secrets(found[0].Namespace).Delete(ctx, name, metav1.DeleteOptions{}))
			data = map[string][]byte{"password": secretValue("rotated while Fleet has lost its values")}
			rotate(t, "hub-tampered", data)
		},
		"the values secret is deleted": func(t *testing.T) {
			require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, name, metav1.DeleteOptions{}))
		},
		"the Bundle is edited": func(t *testing.T) {
			require.NoError(t, hub.Bundles.Change(ctx, workspace, name, func(b *fleet.Bundle) {
				b.Spec.Targets, b.Spec.Paused, b.Spec.ValuesHash, b.Annotations = nil, true, "0", nil
			}))
		},
		"the Bundle loses its label": func(t *testing.T) {
			require.NoError(t, hub.Bundles.Change(ctx, workspace, name, func(b *fleet.Bundle) { b.Labels = nil }))
		},
		"the Bundle is deleted": func(t *testing.T) {
			before, err := hub.Bundles.Get(ctx, workspace, name)
			require.NoError(t, err)
			require.NoError(t, hub.Bundles.Delete(ctx, workspace, name))
			eventually(t, func(ctx context.Context) error {
				b, err := hub.Bundles.Get(ctx, workspace, name)
				if err == nil && b.UID == before.UID {
					err = errors.New("it is still the former Bundle")
				}
				return err
			})
		},
	} {
		t.Run(title, func(t *testing.T) {
			tamper(t)
			restored(t)
		})
	}
}
