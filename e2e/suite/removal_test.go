package suite

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/canary"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// disappears waits until a handshake has gone.
func disappears(t *testing.T, name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		_, err := hub.Handshakes.Get(ctx, workspace, name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("the handshake is still there"))
	})
}

func TestDeletionWaitsForAnOfflineCluster(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	// An agent of Fleet 0.16.0 that was restarted looks for orphans only once it has seen some BundleDeployment.
	create(t, source("bystander", map[string][]byte{"password": secretValue("bystander")}), handshake("bystander", v1alpha1.ClusterTarget{ClusterName: "denver"}))
	for _, name := range []string{"waiting", "timed-out", "retained"} {
		hs := handshake(name, v1alpha1.ClusterTarget{ClusterName: "paris"}, v1alpha1.ClusterTarget{ClusterName: "denver"})
		if name == "timed-out" {
			hs.Spec.RemovalTimeout = &metav1.Duration{Duration: 10 * time.Second}
		}
		if name == "retained" {
			hs.Spec.DeletionPolicy = v1alpha1.DeletionRetain
		}
		create(t, source(name, map[string][]byte{"password": secretValue(name)}), hs)
	}
	for _, name := range []string{"waiting", "timed-out", "retained"} {
		says(t, name, v1alpha1.StateSynced, "")
	}
	back := silence(t, "denver")
	for _, name := range []string{"waiting", "timed-out", "retained"} {
		row(t, name, "denver", v1alpha1.ClusterOffline)
		require.NoError(t, hub.Handshakes.Delete(ctx, workspace, name))
	}

	// Retain: denver knows already that it has to keep the copy.
	disappears(t, "retained")

	goes(t, "paris", "apps", "waiting")
	hs := says(t, "waiting", v1alpha1.StatePending, v1alpha1.ReasonRemoving)
	eventually(t, func(ctx context.Context) (err error) {
		if hs, err = hub.Handshakes.Get(ctx, workspace, "waiting"); err == nil && len(hs.Status.Clusters) != 1 {
			err = fmt.Errorf("rows: %+v", hs.Status.Clusters)
		}
		return err
	})
	r := hs.Status.Clusters[0]
	assert.Equal(t, "denver", r.Name)
	assert.Equal(t, v1alpha1.ClusterWithdrawing, r.State)
	assert.Equal(t, v1alpha1.ClusterAgentSilent, r.Reason)
	assert.Contains(t, happened(t, "waiting", v1alpha1.EventWithdrawn), "the Secret was removed from 1 cluster: paris")

	goes(t, "paris", "apps", "timed-out")
	assert.Contains(t, happened(t, "timed-out", v1alpha1.EventNotConfirmed), "denver")
	disappears(t, "timed-out")

	change(t, "waiting", func(hs *v1alpha1.FleetHandshake) {
		hs.Annotations = map[string]string{v1alpha1.AnnotationForceDelete: "true"}
	})
	disappears(t, "waiting")
	assert.Contains(t, happened(t, "waiting", v1alpha1.EventNotConfirmed), "not waiting any longer for the confirmation of 1 cluster: denver")

	back()
	goes(t, "denver", "apps", "waiting")
	goes(t, "denver", "apps", "timed-out")
	for _, site := range []string{"paris", "denver"} {
		arrives(t, site, "apps", "retained", map[string][]byte{"password": secretValue("retained")})
	}
}

func TestAClusterThatLeavesConfirmsItsRemoval(t *testing.T) {
	startOperator(t)
	data := map[string][]byte{"password": secretValue("leaving")}
	create(t, source("leaving", data), handshake("leaving", v1alpha1.ClusterTarget{ClusterName: "paris"}, v1alpha1.ClusterTarget{ClusterName: "denver"}))
	says(t, "leaving", v1alpha1.StateSynced, "")
	back := silence(t, "denver")
	row(t, "leaving", "denver", v1alpha1.ClusterOffline)
	change(t, "leaving", func(hs *v1alpha1.FleetHandshake) {
		hs.Spec.Targets = []v1alpha1.ClusterTarget{{ClusterName: "paris"}}
	})
	row(t, "leaving", "denver", v1alpha1.ClusterWithdrawing)
	hs := says(t, "leaving", v1alpha1.StateSynced, "")
	assert.Equal(t, "1/1", hs.Status.Display.ReadyClusters)
	assert.EqualValues(t, 1, hs.Status.Summary.Withdrawing)
	arrives(t, "denver", "apps", "leaving", data)

	// The new value never reaches it.
	rotate(t, "leaving", map[string][]byte{"password": secretValue("not for denver")})
	back()
	goes(t, "denver", "apps", "leaving")
	assert.Contains(t, happened(t, "leaving", v1alpha1.EventWithdrawn), "denver")
	eventually(t, func(ctx context.Context) error {
		left, err := hub.Deployments.List(ctx, "", v1alpha1.LabelName+"=leaving,"+fleet.ClusterLabel+"=denver")
		if err == nil && len(left) > 0 {
			err = errors.New("the bundle deployment is still there")
		}
		return err
	})
	keys, err := canary.WhereIs(context.Background(), world.Cluster("denver"), marker+" not for denver")
	require.NoError(t, err)
	assert.Empty(t, keys)
}

func TestALostSourceIsRemovedWhenTheSpecSaysSo(t *testing.T) {
	startOperator(t, func(o *operator.Options) { o.MissingGrace = 3 * time.Second })
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("fleeting")}
	hs := toGroup("fleeting")
	hs.Spec.MissingSourcePolicy = v1alpha1.MissingSourceRemove
	create(t, source("fleeting", data), hs)
	says(t, "fleeting", v1alpha1.StateSynced, "")
	require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, "fleeting", metav1.DeleteOptions{}))
	says(t, "fleeting", v1alpha1.StateMissing, v1alpha1.ReasonSecretNotFound)
	goes(t, "paris", "apps", "fleeting")
	goes(t, "tokyo", "apps", "fleeting")
	eventually(t, func(ctx context.Context) error {
		left, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelName+"=fleeting")
		if err == nil && len(left) > 0 {
			err = errors.New("the bundle is still there")
		}
		return err
	})
	data = map[string][]byte{"password": secretValue("back")}
	create(t, source("fleeting", data), nil)
	arrives(t, "paris", "apps", "fleeting", data)
	says(t, "fleeting", v1alpha1.StateSynced, "")
}

// TestAChangeThatWithdrawsFromManyClustersWaits uses six Fleet Clusters without agents: Fleet makes BundleDeployments for
// them, and nobody applies those.
func TestAChangeThatWithdrawsFromManyClustersWaits(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	for i := range 6 {
		ghost := &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: fmt.Sprintf("ghost-%d", i), Labels: map[string]string{"ghost": "yes", "number": fmt.Sprint(i)}}}
		ghost.Spec.ClientID = ghost.Name
		_, err := hub.Clusters.Create(ctx, ghost)
		require.NoError(t, err)
		t.Cleanup(func() { _ = hub.Clusters.Delete(ctx, workspace, ghost.Name) })
	}
	hs := handshake("guarded", v1alpha1.ClusterTarget{ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"ghost": "yes"}}})
	hs.Spec.RemovalTimeout = &metav1.Duration{Duration: 3 * time.Second}
	create(t, source("guarded", map[string][]byte{"password": secretValue("guarded")}), hs)
	deployments := func(want int) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			found, err := hub.Deployments.List(ctx, "", v1alpha1.LabelName+"=guarded")
			if err == nil && len(found) != want {
				err = fmt.Errorf("%d bundle deployments, not %d", len(found), want)
			}
			return err
		})
	}
	deployments(6)

	// Somebody takes a label away from four of the six, one after the other. Three are half of them.
	for i := range 4 {
		require.NoError(t, hub.Clusters.Change(ctx, workspace, fmt.Sprintf("ghost-%d", i), func(c *fleet.Cluster) { delete(c.Labels, "ghost") }))
	}
	held := says(t, "guarded", v1alpha1.StateError, v1alpha1.ReasonWithdrawalHeld)
	kept := int(held.Status.Summary.Desired)
	assert.GreaterOrEqual(t, kept, 3)
	happened(t, "guarded", v1alpha1.ReasonWithdrawalHeld)
	deployments(kept)
	quiet(t, 3*time.Second)
	deployments(kept)

	change(t, "guarded", func(hs *v1alpha1.FleetHandshake) {
		hs.Annotations = map[string]string{v1alpha1.AnnotationConfirmWithdrawal: held.Status.Revision}
	})
	deployments(2)
	happened(t, "guarded", v1alpha1.EventNotConfirmed)
	eventually(t, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, workspace, "guarded")
		if err == nil && hs.Annotations[v1alpha1.AnnotationConfirmWithdrawal] != "" {
			err = errors.New("the confirmation is still there, and would count for the next change too")
		}
		return err
	})
}
