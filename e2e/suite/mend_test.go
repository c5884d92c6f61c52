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
	"k8s.io/utils/ptr"
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

func TestAForeignSecretDownstreamIsNotOverwritten(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	foreign := source("in-the-way", map[string][]byte{"mine": []byte("do not touch")})
	foreign.Namespace = "default"
	_, err := sites["paris"].CoreV1().Secrets("default").Create(ctx, foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	data := map[string][]byte{"password": secretValue("in the way")}
	hs := toGroup("in-the-way")
	hs.Spec.TargetNamespace = "default"
	create(t, source("in-the-way", data), hs)

	says(t, "in-the-way", v1alpha1.StateError, v1alpha1.ReasonClusterFailed)
	row(t, "in-the-way", "tokyo", v1alpha1.ClusterSynced)
	row(t, "in-the-way", "paris", v1alpha1.ClusterNotReady)
	arrives(t, "paris", "default", "in-the-way", foreign.Data)

	// When it has gone, the operator tries again by itself.
	require.NoError(t, sites["paris"].CoreV1().Secrets("default").Delete(ctx, "in-the-way", metav1.DeleteOptions{}))
	arrives(t, "paris", "default", "in-the-way", data)
	says(t, "in-the-way", v1alpha1.StateSynced, "")
}

func TestAHandshakeThatIsDeletedAndMadeAgainTakesOver(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("again")}
	create(t, source("again", data), toGroup("again"))
	before := says(t, "again", v1alpha1.StateSynced, "")
	require.NoError(t, hub.Handshakes.Delete(ctx, workspace, "again"))
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

func TestAnImmutableCopyIsReportedAndCanBeMended(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	old := source("immutable", map[string][]byte{"password": secretValue("immutable")})
	old.Immutable = ptr.To(true)
	create(t, old, handshake("immutable", v1alpha1.ClusterTarget{ClusterName: "paris"}))
	before := says(t, "immutable", v1alpha1.StateSynced, "")

	require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, "immutable", metav1.DeleteOptions{}))
	data := map[string][]byte{"password": secretValue("replaced")}
	create(t, source("immutable", data), nil)
	failed := row(t, "immutable", "paris", v1alpha1.ClusterErrApplied)
	assert.Equal(t, before.Status.Revision, failed.Revision, "the row shows what the cluster still has")
	says(t, "immutable", v1alpha1.StateError, v1alpha1.ReasonClusterFailed)
	arrives(t, "paris", "apps", "immutable", old.Data)

	require.NoError(t, sites["paris"].CoreV1().Secrets("apps").Delete(ctx, "immutable", metav1.DeleteOptions{}))
	askForResync(t, "immutable")
	arrives(t, "paris", "apps", "immutable", data)
	says(t, "immutable", v1alpha1.StateSynced, "")
}
