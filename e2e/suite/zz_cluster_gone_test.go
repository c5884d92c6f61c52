package suite

import (
	"context"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAClusterIsDeletedWhileItsAgentIsDown takes cairo away for good, so it is in the last file.
func TestAClusterIsDeletedWhileItsAgentIsDown(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("orphan")}
	hs := handshake("orphan", v1alpha1.ClusterTarget{ClusterName: "paris"}, v1alpha1.ClusterTarget{ClusterName: "cairo"})
	create(t, source("orphan", data), hs)
	says(t, "orphan", v1alpha1.StateSynced, "")
	require.NoError(t, world.StopAgent(ctx, "cairo"))
	row(t, "orphan", "cairo", v1alpha1.ClusterOffline)
	require.NoError(t, hub.Clusters.Delete(ctx, workspace, "cairo"))
	synced := says(t, "orphan", v1alpha1.StateSynced, "")
	assert.Equal(t, "1/1", synced.Status.Display.ReadyClusters)

	data = map[string][]byte{"password": secretValue("without cairo")}
	rotate(t, "orphan", data)
	arrives(t, "paris", "apps", "orphan", data)
	withdraw(t, hs)
	disappears(t, "orphan")
	goes(t, "paris", "apps", "orphan")
}
