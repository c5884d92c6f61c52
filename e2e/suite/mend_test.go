package suite

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// row waits until a cluster has this state, and returns its row.
func row(t *testing.T, name, cluster string, state v1alpha1.ClusterState) v1alpha1.ClusterStatus {
	t.Helper()
	var found v1alpha1.ClusterStatus
	eventually(t, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, workspace, name)
		if err != nil {
			return err
		}
		for _, r := range hs.Status.Clusters {
			if r.Name == cluster {
				found = r
			}
		}
		if found.State != state {
			return fmt.Errorf("%s is %s in the status of %s, not %s", cluster, found.State, name, state)
		}
		return nil
	})
	return found
}

func TestAHandshakeThatIsDeletedAndMadeAgainTakesOver(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("again")}
	create(t, source("again", data), toGroup("again"))
	before := says(t, "again", v1alpha1.StateSynced, "")
	require.NoError(t, hub.Handshakes.Delete(ctx, workspace, "again"))
	disappears(t, "again")
	_, err := hub.Handshakes.Create(ctx, toGroup("again"))
	require.NoError(t, err)
	eventually(t, func(ctx context.Context) error {
		_, err := hub.Bundles.Get(ctx, workspace, bundle.NameFor(before))
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("the former Bundle is still there"))
	})
	hs := says(t, "again", v1alpha1.StateSynced, "")
	assert.NotEqual(t, bundle.NameFor(before), bundle.NameFor(hs))
	// Synced is only true when it stays: the former release may have taken the copy along.
	eventually(t, func(ctx context.Context) error {
		for _, site := range []string{"paris", "tokyo"} {
			copied, err := sites[site].CoreV1().Secrets("apps").Get(ctx, "again", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if owner := copied.Annotations["meta.helm.sh/release-name"]; owner != bundle.NameFor(hs) {
				return fmt.Errorf("the copy in %s belongs to release %s", site, owner)
			}
		}
		return nil
	})
}
