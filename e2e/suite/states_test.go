package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// happened waits for an event of a handshake and returns its message.
func happened(t *testing.T, name, reason string) string {
	t.Helper()
	message := ""
	eventually(t, func(ctx context.Context) error {
		events, err := hub.CoreV1().Events(workspace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=FleetHandshake,involvedObject.name=" + name + ",reason=" + reason})
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("%s has no event %s", name, reason)
		}
		if err == nil {
			message = events.Items[len(events.Items)-1].Message
		}
		return err
	})
	return message
}

// change edits the spec of a handshake.
func change(t *testing.T, name string, edit func(*v1alpha1.FleetHandshake)) {
	t.Helper()
	require.NoError(t, hub.Handshakes.Change(context.Background(), workspace, name, edit))
}

// silence stops the agent of a site until the returned function is called, or the test ends.
func silence(t *testing.T, site string) (end func()) {
	t.Helper()
	require.NoError(t, world.StopAgent(context.Background(), site))
	stopped := true
	end = func() {
		if stopped {
			stopped = false
			require.NoError(t, world.StartAgent(context.Background(), site))
		}
	}
	t.Cleanup(end)
	return end
}

func TestAnOfflineClusterIsNamedAndDelaysNobody(t *testing.T) {
	startOperator(t)
	data := map[string][]byte{"password": secretValue("offline")}
	create(t, source("offline", data), handshake("offline", withEnv("production", "staging")))
	before := says(t, "offline", v1alpha1.StateSynced, "")

	back := silence(t, "denver")
	gone := row(t, "offline", "denver", v1alpha1.ClusterOffline)
	assert.Equal(t, v1alpha1.ClusterAgentSilent, gone.Reason)
	assert.Equal(t, before.Status.Revision, gone.Revision)
	hs := says(t, "offline", v1alpha1.StatePending, v1alpha1.ReasonClusterOffline)
	assert.Equal(t, v1alpha1.ClusterSummary{Desired: 4, Synced: 3, Offline: 1}, hs.Status.Summary)
	assert.Equal(t, "denver", hs.Status.Clusters[0].Name, "those that are not synced come first")
	assert.Contains(t, happened(t, "offline", v1alpha1.ReasonClusterOffline), "no report from 1 cluster: denver")

	now := map[string][]byte{"password": secretValue("rotated without denver")}
	began := time.Now()
	rotate(t, "offline", now)
	arrives(t, "paris", "apps", "offline", now)
	arrives(t, "tokyo", "apps", "offline", now)
	fmt.Printf("rotation while denver is offline: the others have it after %.2f s\n", time.Since(began).Seconds())
	eventually(t, func(ctx context.Context) (err error) {
		if hs, err = hub.Handshakes.Get(ctx, workspace, "offline"); err == nil && (hs.Status.Revision == before.Status.Revision || hs.Status.Summary.Synced != 3) {
			err = fmt.Errorf("revision %s, %+v", hs.Status.Revision, hs.Status.Summary)
		}
		return err
	})
	gone = row(t, "offline", "denver", v1alpha1.ClusterOffline)
	assert.Equal(t, before.Status.Revision, gone.Revision, "the row shows what denver has")
	arrives(t, "denver", "apps", "offline", data)

	back()
	arrives(t, "denver", "apps", "offline", now)
	says(t, "offline", v1alpha1.StateSynced, "")
	happened(t, "offline", v1alpha1.EventClusterOnline)
}

func TestAClusterThatReportsAndDoesNotApplyIsStuck(t *testing.T) {
	startOperator(t, func(o *operator.Options) { o.StuckAfter = 3 * time.Second })
	ctx := context.Background()
	create(t, source("stuck", map[string][]byte{"password": secretValue("stuck")}), handshake("stuck", v1alpha1.ClusterTarget{ClusterName: "cairo"}))
	says(t, "stuck", v1alpha1.StateSynced, "")

	// The agent loses the right to see its BundleDeployments; it still reports.
	cairo, err := hub.Clusters.Get(ctx, workspace, "cairo")
	require.NoError(t, err)
	bindings, err := hub.RbacV1().RoleBindings(cairo.Status.Namespace).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	var taken []rbacv1.RoleBinding
	for _, b := range bindings.Items {
		if b.RoleRef.Name == "fleet-bundle-deployment" {
			taken = append(taken, b)
			require.NoError(t, hub.RbacV1().RoleBindings(b.Namespace).Delete(ctx, b.Name, metav1.DeleteOptions{}))
		}
	}
	require.NotEmpty(t, taken, "cairo's agent has a role")
	giveBack := func() {
		for _, b := range taken {
			b.ResourceVersion, b.UID = "", ""
			_, err := hub.RbacV1().RoleBindings(b.Namespace).Create(ctx, &b, metav1.CreateOptions{})
			require.NoError(t, err)
		}
		taken = nil
	}
	t.Cleanup(giveBack)
	now := map[string][]byte{"password": secretValue("rotated while stuck")}
	rotate(t, "stuck", now)
	stuck := row(t, "stuck", "cairo", v1alpha1.ClusterStuck)
	assert.Equal(t, v1alpha1.ClusterNotApplying, stuck.Reason)
	says(t, "stuck", v1alpha1.StateError, v1alpha1.ReasonClusterStuck)

	giveBack()
	arrives(t, "cairo", "apps", "stuck", now)
	says(t, "stuck", v1alpha1.StateSynced, "")
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

	says(t, "in-the-way", v1alpha1.StateError, v1alpha1.ReasonConflict)
	row(t, "in-the-way", "tokyo", v1alpha1.ClusterSynced)
	r := row(t, "in-the-way", "paris", v1alpha1.ClusterConflict)
	assert.Equal(t, v1alpha1.ClusterSecretExists, r.Reason)
	assert.Empty(t, r.Revision)
	arrives(t, "paris", "default", "in-the-way", foreign.Data)
	happened(t, "in-the-way", v1alpha1.ReasonConflict)

	// When it has gone, the operator tries again by itself, in that cluster alone.
	deployment := func(site string) fleet.BundleDeployment {
		found, err := hub.Deployments.List(ctx, "", v1alpha1.LabelName+"=in-the-way,"+fleet.ClusterLabel+"="+site)
		require.NoError(t, err)
		require.Len(t, found, 1)
		return found[0]
	}
	before := deployment("tokyo")
	require.NoError(t, sites["paris"].CoreV1().Secrets("default").Delete(ctx, "in-the-way", metav1.DeleteOptions{}))
	arrives(t, "paris", "default", "in-the-way", data)
	says(t, "in-the-way", v1alpha1.StateSynced, "")
	assert.Equal(t, before.Spec.DeploymentID, deployment("tokyo").Spec.DeploymentID, "tokyo is left alone")
}

func TestAForeignSecretDownstreamIsAdoptedWhenTheSpecSaysSo(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	foreign := source("adopted", map[string][]byte{"theirs": []byte("x"), "password": []byte("old")})
	foreign.Namespace = "default"
	_, err := sites["paris"].CoreV1().Secrets("default").Create(ctx, foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	data := map[string][]byte{"password": secretValue("adopted")}
	hs := toGroup("adopted")
	hs.Spec.TargetNamespace, hs.Spec.ConflictPolicy = "default", v1alpha1.ConflictAdopt
	create(t, source("adopted", data), hs)
	arrives(t, "paris", "default", "adopted", data)
	says(t, "adopted", v1alpha1.StateSynced, "")
	withdraw(t, hs)
	goes(t, "paris", "default", "adopted")
}

func TestAnImmutableSourceIsReplacedOnlyWhenTheSpecSaysSo(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	old := source("immutable", map[string][]byte{"password": secretValue("immutable")})
	old.Immutable = ptr.To(true)
	create(t, old, toGroup("immutable"))
	before := says(t, "immutable", v1alpha1.StateSynced, "")

	require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, "immutable", metav1.DeleteOptions{}))
	data := map[string][]byte{"password": secretValue("replaced")}
	create(t, source("immutable", data), nil)
	refused := says(t, "immutable", v1alpha1.StateError, v1alpha1.ReasonImmutable)
	assert.Equal(t, before.Status.Revision, refused.Status.Revision, "nothing is sent")
	arrives(t, "paris", "apps", "immutable", old.Data)

	change(t, "immutable", func(hs *v1alpha1.FleetHandshake) { hs.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate })
	arrives(t, "paris", "apps", "immutable", data)
	arrives(t, "tokyo", "apps", "immutable", data)
	says(t, "immutable", v1alpha1.StateSynced, "")
}

func TestAnotherTypeIsReplacedOnlyWhenTheSpecSaysSo(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	old := source("typed", map[string][]byte{"username": secretValue("u"), "password": secretValue("p")})
	create(t, old, handshake("typed", v1alpha1.ClusterTarget{ClusterName: "paris"}))
	says(t, "typed", v1alpha1.StateSynced, "")

	require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, "typed", metav1.DeleteOptions{}))
	typed := source("typed", old.Data)
	typed.Type = "kubernetes.io/basic-auth"
	create(t, typed, nil)
	says(t, "typed", v1alpha1.StateError, v1alpha1.ReasonTypeChanged)

	change(t, "typed", func(hs *v1alpha1.FleetHandshake) { hs.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate })
	eventually(t, func(ctx context.Context) error {
		copied, err := sites["paris"].CoreV1().Secrets("apps").Get(ctx, "typed", metav1.GetOptions{})
		if err == nil && copied.Type != typed.Type {
			err = fmt.Errorf("the copy is still of type %s", copied.Type)
		}
		return err
	})
	says(t, "typed", v1alpha1.StateSynced, "")
}

func TestACopyThatWasMadeImmutableIsReportedAndRecreated(t *testing.T) {
	startOperator(t)
	create(t, source("frozen", map[string][]byte{"password": secretValue("frozen")}), toGroup("frozen"))
	before := says(t, "frozen", v1alpha1.StateSynced, "")
	_, err := sites["paris"].CoreV1().Secrets("apps").Patch(context.Background(), "frozen", types.MergePatchType, []byte(`{"immutable":true}`), metav1.PatchOptions{})
	require.NoError(t, err)
	data := map[string][]byte{"password": secretValue("thawed")}
	rotate(t, "frozen", data)
	failed := row(t, "frozen", "paris", v1alpha1.ClusterErrApplied)
	assert.Equal(t, v1alpha1.ClusterImmutable, failed.Reason)
	assert.Equal(t, before.Status.Revision, failed.Revision, "the row shows what the cluster still has")
	says(t, "frozen", v1alpha1.StateError, v1alpha1.ReasonClusterFailed)
	arrives(t, "tokyo", "apps", "frozen", data)

	change(t, "frozen", func(hs *v1alpha1.FleetHandshake) { hs.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate })
	arrives(t, "paris", "apps", "frozen", data)
	says(t, "frozen", v1alpha1.StateSynced, "")
}

func TestANamespaceThatIsDeletedDownstreamIsMadeAgain(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("namespace")}
	hs := handshake("homeless", v1alpha1.ClusterTarget{ClusterName: "paris"})
	hs.Spec.TargetNamespace = "homeless"
	create(t, source("homeless", data), hs)
	says(t, "homeless", v1alpha1.StateSynced, "")
	former, err := sites["paris"].CoreV1().Namespaces().Get(ctx, "homeless", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, sites["paris"].CoreV1().Namespaces().Delete(ctx, "homeless", metav1.DeleteOptions{}))
	eventually(t, func(ctx context.Context) error {
		ns, err := sites["paris"].CoreV1().Namespaces().Get(ctx, "homeless", metav1.GetOptions{})
		if err == nil && (ns.UID == former.UID || !ns.DeletionTimestamp.IsZero()) {
			err = errors.New("it is still the former namespace")
		}
		return err
	})
	arrives(t, "paris", "homeless", "homeless", data)
	says(t, "homeless", v1alpha1.StateSynced, "")
}

// TestARolloutReachesTheCanaryFirstAndWaits has two canaries: Fleet 0.16.0 hands on to the next partition while no more
// than maxUnavailable clusters of the one before are not ready, and never updates a partition in which none may be.
func TestARolloutReachesTheCanaryFirstAndWaits(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	hs := handshake("staged", v1alpha1.ClusterTarget{ClusterGroup: "production"}, v1alpha1.ClusterTarget{ClusterName: "denver"})
	one := intstr.FromInt32(1)
	hs.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{
		{Name: "canary", ClusterGroup: "production", MaxUnavailable: &one},
		{Name: "rest", ClusterName: "denver"},
	}}
	old := map[string][]byte{"password": secretValue("staged")}
	create(t, source("staged", old), hs)
	before := says(t, "staged", v1alpha1.StateSynced, "")

	// The canaries cannot take the next revision.
	canaries := []string{"paris", "tokyo"}
	for _, site := range canaries {
		_, err := sites[site].CoreV1().Secrets("apps").Patch(ctx, "staged", types.MergePatchType, []byte(`{"immutable":true}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	data := map[string][]byte{"password": secretValue("staged again")}
	rotate(t, "staged", data)
	says(t, "staged", v1alpha1.StateError, v1alpha1.ReasonClusterFailed)
	held := row(t, "staged", "denver", v1alpha1.ClusterOutOfSync)
	assert.Equal(t, v1alpha1.ClusterRolloutHeld, held.Reason)
	assert.Equal(t, before.Status.Revision, held.Revision)
	quiet(t, 5*time.Second)
	arrives(t, "denver", "apps", "staged", old)

	for _, site := range canaries {
		require.NoError(t, sites[site].CoreV1().Secrets("apps").Delete(ctx, "staged", metav1.DeleteOptions{}))
	}
	askForResync(t, "staged")
	for _, site := range append(canaries, "denver") {
		arrives(t, site, "apps", "staged", data)
	}
	says(t, "staged", v1alpha1.StateSynced, "")

	t.Run("a cluster that no partition matches is named", func(t *testing.T) {
		change(t, "staged", func(hs *v1alpha1.FleetHandshake) {
			hs.Spec.RolloutStrategy.Partitions = hs.Spec.RolloutStrategy.Partitions[:1]
		})
		rotate(t, "staged", map[string][]byte{"password": secretValue("not for denver")})
		left := row(t, "staged", "denver", v1alpha1.ClusterOutOfSync)
		assert.Equal(t, v1alpha1.ClusterNotInPartition, left.Reason)
	})
	t.Run("a strategy that Fleet could not read is refused with a reason", func(t *testing.T) {
		wrong := intstr.FromString("half")
		change(t, "staged", func(hs *v1alpha1.FleetHandshake) { hs.Spec.RolloutStrategy.MaxUnavailable = &wrong })
		says(t, "staged", v1alpha1.StateError, v1alpha1.ReasonInvalidRolloutStrategy)
	})
}

// fleetsWords are in messages and patches of Fleet, Helm and the API server that the tests provoke.
var fleetsWords = []string{"cannot be imported", "field is immutable", "not installed:", "modified {", "Modified(1)", "UPGRADE FAILED", "INSTALLATION FAILED", "conflict occurred"}

// TestNothingOfFleetsWordsIsInOurs looks at everything that the tests before have produced.
func TestNothingOfFleetsWordsIsInOurs(t *testing.T) {
	ctx := context.Background()
	look := func(where, text string) {
		for _, words := range fleetsWords {
			assert.NotContains(t, text, words, "%s has Fleet's words", where)
		}
	}
	events, err := hub.CoreV1().Events(workspace).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	ours := slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return e.Source.Component != "fleet-handshake" })
	require.NotEmpty(t, ours)
	for _, e := range ours {
		look("event "+e.Reason, e.Message)
	}
	look("the log", logs.String())
}
