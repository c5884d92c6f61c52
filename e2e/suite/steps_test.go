package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	workspace = "fleet-default"
	patience  = 90 * time.Second
	// marker is in every secret value of the suite, so that the scan after all tests finds what any of them has leaked.
	marker = "CANARY-in-the-coal-mine"
)

// secretValue is a value that the scan looks for.
func secretValue(s string) []byte { return []byte(marker + " " + s) }

func source(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name}, Data: data}
}

func toGroup(name string) *v1alpha1.FleetHandshake {
	return handshake(name, v1alpha1.ClusterTarget{ClusterGroup: "production"})
}

func handshake(name string, targets ...v1alpha1.ClusterTarget) *v1alpha1.FleetHandshake {
	return &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec:       v1alpha1.FleetHandshakeSpec{SecretName: name, TargetNamespace: "apps", Targets: targets},
	}
}

// create makes a Secret and a handshake, and takes both away when the test ends. Either may be nil.
func create(t *testing.T, secret *corev1.Secret, hs *v1alpha1.FleetHandshake) {
	t.Helper()
	ctx := context.Background()
	if secret != nil {
		_, err := hub.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			err := hub.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
	if hs != nil {
		_, err := hub.Handshakes.Create(ctx, hs)
		require.NoError(t, err)
		t.Cleanup(func() { withdraw(t, hs) })
	}
}

// withdraw deletes a handshake and waits until it and its Bundle have gone.
func withdraw(t *testing.T, hs *v1alpha1.FleetHandshake) {
	t.Helper()
	ctx := context.Background()
	if err := hub.Handshakes.Delete(ctx, hs.Namespace, hs.Name); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	disappears(t, hs.Name)
	eventually(t, func(ctx context.Context) error {
		left, err := hub.Bundles.List(ctx, hs.Namespace, v1alpha1.LabelName+"="+bundle.LabelValue(hs.Name))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("bundle %s is still there", left[0].Name)
		}
		return err
	})
}

// rotate writes new data into a Secret of the hub.
func rotate(t *testing.T, name string, data map[string][]byte) {
	t.Helper()
	ctx := context.Background()
	eventually(t, func(context.Context) error {
		secret, err := hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Data = data
		_, err = hub.CoreV1().Secrets(workspace).Update(ctx, secret, metav1.UpdateOptions{})
		return err
	})
}

func eventually(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	eventuallyWithin(t, patience, condition)
}

func eventuallyWithin(t *testing.T, limit time.Duration, condition func(context.Context) error) {
	t.Helper()
	require.NoError(t, clients.Until(context.Background(), limit, condition))
}

// arrives waits until a site holds exactly this data, and returns the copy.
func arrives(t *testing.T, site, namespace, name string, data map[string][]byte) *corev1.Secret {
	t.Helper()
	var copied *corev1.Secret
	eventually(t, func(ctx context.Context) (err error) {
		copied, err = sites[site].CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && !maps.EqualFunc(copied.Data, data, bytes.Equal) {
			err = fmt.Errorf("%s has other data in %s/%s", site, namespace, name)
		}
		return err
	})
	return copied
}

func goes(t *testing.T, site, namespace, name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		_, err := sites[site].CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%s still has %s/%s", site, namespace, name))
	})
}

// says waits until a handshake has this status and, if given, this reason of Ready.
func says(t *testing.T, name string, status v1alpha1.HandshakeState, reason string) *v1alpha1.FleetHandshake {
	t.Helper()
	var hs *v1alpha1.FleetHandshake
	eventually(t, func(ctx context.Context) (err error) {
		if hs, err = hub.Handshakes.Get(ctx, workspace, name); err != nil {
			return err
		}
		ready := metav1.Condition{}
		for _, c := range hs.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady {
				ready = c
			}
		}
		if hs.Status.Status != status || hs.Status.ObservedGeneration != hs.Generation || reason != "" && ready.Reason != reason {
			return fmt.Errorf("%s says %s %s (%s: %s), not %s %s; its rows: %+v", name, hs.Status.Status, hs.Status.Display.ReadyClusters, ready.Reason, ready.Message, status, reason, hs.Status.Clusters)
		}
		return nil
	})
	said, err := json.Marshal(hs.Status)
	require.NoError(t, err)
	for _, words := range fleetsWords {
		require.NotContains(t, string(said), words, "the status has Fleet's words")
	}
	return hs
}

// scrubbed waits until a handshake has sent another revision than in former, and no cluster's Helm history can hold
// that one.
func scrubbed(t *testing.T, former *v1alpha1.FleetHandshake) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, former.Namespace, former.Name)
		if err != nil {
			return err
		}
		if hs.Status.Status != v1alpha1.StateSynced || hs.Status.Revision == former.Status.Revision {
			return errors.New("the new revision is not synced yet")
		}
		b, err := hub.Bundles.Get(ctx, hs.Namespace, bundle.NameFor(hs))
		if err != nil {
			return err
		}
		if bundle.DeliveryOf(b).Unscrubbed {
			return errors.New("not scrubbed yet")
		}
		deployments, err := hub.Deployments.List(ctx, "", v1alpha1.LabelHandshake+"="+string(hs.UID))
		if err != nil {
			return err
		}
		for _, bd := range deployments {
			if bd.Status.SyncGeneration == nil || *bd.Status.SyncGeneration != b.Spec.ForceSyncGeneration {
				return errors.New("the scrub is not applied yet")
			}
		}
		return nil
	})
}

// writesSince are the writes of the operator after a position of the audit log, leases aside, and the position after
// them.
func writesSince(t *testing.T, position int64) ([]lab.AuditEvent, int64) {
	t.Helper()
	writes, end, err := world.Hub.AuditSince(position, lab.ByOperator)
	require.NoError(t, err)
	return writes, end
}
