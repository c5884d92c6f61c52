package syncstatus

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const atDeployment = "kubectl get bundledeployment -n cluster-paris hs-1 -o yaml"

// paris changes the only cluster of an input.
func paris(change func(bd *fleet.BundleDeployment)) func(*Input) {
	return func(in *Input) { change(in.Deployments[0]) }
}

type stateCase struct {
	change   func(*Input)
	state    v1alpha1.ClusterState
	reason   v1alpha1.ClusterReason
	revision string
	message  string
}

var stateCases = map[string]stateCase{
	"applied and well": {func(*Input) {}, "Synced", "", "r2", ""},
	"the same revision is being written again": {paris(func(bd *fleet.BundleDeployment) { staged(bd, 4); handedOn(bd, 4) }),
		"Synced", "", "r2", ""},
	"the same revision was written again": {paris(func(bd *fleet.BundleDeployment) { staged(bd, 4); handedOn(bd, 4); appliedNumber(bd, 4) }),
		"Synced", "", "r2", ""},
	"the cluster has applied its own number": {func(in *Input) {
		in.tell(0, bundle.Target{Number: 5})
		staged(in.Deployments[0], 5)
		handedOn(in.Deployments[0], 5)
		appliedNumber(in.Deployments[0], 5)
	}, "Synced", "", "r2", ""},
	"an error of a former attempt is left over": {paris(func(bd *fleet.BundleDeployment) { failing(bd, "Deployed", "") }),
		"Synced", "", "r2", ""},
	"the copy was immutable, and is replaced now": {func(in *Input) {
		in.Handshake.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate
		failing(in.Deployments[0], "Deployed", "Immutable")
	}, "Synced", "", "r2", ""},

	"Fleet has made no BundleDeployment yet": {func(in *Input) { in.Deployments = nil }, "Pending", "", "", ""},
	"the BundleDeployment is being deleted": {paris(func(bd *fleet.BundleDeployment) { bd.DeletionTimestamp = ptr.To(at(3, 0, 0)) }),
		"Pending", "", "", ""},
	"the BundleDeployment is left over from before, and the Bundle has no target for the cluster": {func(in *Input) { in.Bundle.Spec.Targets = nil },
		"Pending", "", "", ""},
	"the BundleDeployment is left over, and the Bundle is gone": {func(in *Input) { in.Bundle = nil }, "Pending", "", "", ""},
	"somebody broke the record of what was sent":                {func(in *Input) { in.Bundle.Annotations = nil }, "Pending", "", "", ""},
	"the agent has never registered": {func(in *Input) {
		in.Clusters[0].Status = fleet.ClusterStatus{}
		in.Deployments = nil
	}, "Pending", "NotRegistered", "", "the agent of this cluster has never registered with Fleet"},
	"no partition matches, and Fleet has made nothing": {func(in *Input) {
		in.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{Name: "p", ClusterGroup: "canary"}}}
		in.Deployments = nil
	}, "Pending", "NotInPartition", "", "no partition of spec.rolloutStrategy matches this cluster, so Fleet hands nothing on to it; add it to a partition"},

	"Fleet has not handed on the revision, though all it shows is well": {paris(func(bd *fleet.BundleDeployment) { staged(bd, 2); behind(bd) }),
		"WaitApplied", "", "r1", ""},
	"the agent has not applied it": {paris(waiting), "WaitApplied", "", "r1", ""},
	"nothing was ever applied": {paris(func(bd *fleet.BundleDeployment) { bd.Status = fleet.BundleDeploymentStatus{} }),
		"WaitApplied", "", "", ""},
	"a refused install is tried again": {paris(func(bd *fleet.BundleDeployment) {
		refusing(bd, "SecretExists")
		staged(bd, 4)
		handedOn(bd, 4)
	}), "WaitApplied", "", "", ""},
	"a refused install will be tried again, and Fleet has not handed on that": {func(in *Input) {
		in.tell(0, bundle.Target{Number: 5})
		refusing(in.Deployments[0], "SecretExists")
	}, "WaitApplied", "", "", ""},
	"the copy is not well while it is written again": {paris(func(bd *fleet.BundleDeployment) {
		staged(bd, 4)
		handedOn(bd, 4)
		bd.Status.Ready = false
	}), "WaitApplied", "", "r2", ""},
	"the cluster has applied the number of the Bundle, and not yet its own": {func(in *Input) { in.tell(0, bundle.Target{Number: 5}) },
		"WaitApplied", "", "", ""},
	"the cluster still has the former revision, and not yet its own number": {func(in *Input) {
		in.tell(0, bundle.Target{Number: 5})
		waiting(in.Deployments[0])
	}, "WaitApplied", "", "r1", ""},
	"the cluster is told to remove its copy, to make it anew": {func(in *Input) { in.tell(0, bundle.Target{Withdraw: true, Number: 5}) },
		"WaitApplied", "Recreating", "r2", "the copy is being deleted, and will be made anew"},
	"the cluster has removed its copy, to make it anew": {func(in *Input) {
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
		appliedNumber(in.Deployments[0], 5)
	}, "WaitApplied", "Recreating", "", "the copy is being deleted, and will be made anew"},
	"the copy is immutable, and may be recreated": {func(in *Input) {
		in.Handshake.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate
		irreplaceableCopy(in.Deployments[0], "Immutable")
	}, "WaitApplied", "Recreating", "r1", "the copy is being deleted, and will be made anew"},

	"the agent could not apply it": {paris(func(bd *fleet.BundleDeployment) { irreplaceableCopy(bd, "") }),
		"ErrApplied", "ApplyFailed", "r1", "the cluster refuses what is to be installed; Fleet's own words are in: " + atDeployment},
	"the agent could not apply it, and recreating would not help": {func(in *Input) {
		in.Handshake.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate
		irreplaceableCopy(in.Deployments[0], "")
	}, "ErrApplied", "ApplyFailed", "r1", "the cluster refuses what is to be installed; Fleet's own words are in: " + atDeployment},
	"the copy is immutable": {paris(func(bd *fleet.BundleDeployment) { irreplaceableCopy(bd, "Immutable") }),
		"ErrApplied", "Immutable", "r1", "Secret apps/creds in the cluster is immutable; delete it there, or set spec.replacePolicy to Recreate"},
	"the copy has another type": {paris(func(bd *fleet.BundleDeployment) { irreplaceableCopy(bd, "TypeChanged") }),
		"ErrApplied", "TypeChanged", "r1", "Secret apps/creds in the cluster is of another type; delete it there, or set spec.replacePolicy to Recreate"},

	"the cluster refuses the install": {paris(func(bd *fleet.BundleDeployment) { refusing(bd, "") }),
		"NotReady", "InstallRefused", "", "the cluster refuses what is to be installed; Fleet's own words are in: " + atDeployment},
	"the cluster refuses another attempt": {func(in *Input) {
		in.tell(0, bundle.Target{Number: 5})
		bd := in.Deployments[0]
		staged(bd, 5)
		handedOn(bd, 5)
		appliedNumber(bd, 5)
		refusing(bd, "")
		bd.Status.SyncGeneration = ptr.To[int64](3)
	}, "NotReady", "InstallRefused", "", "the cluster refuses what is to be installed; Fleet's own words are in: " + atDeployment},
	"applied, and not well": {paris(func(bd *fleet.BundleDeployment) { bd.Status.Ready = false }),
		"NotReady", "InstallRefused", "r2", "the cluster refuses what is to be installed; Fleet's own words are in: kubectl get bundledeployment -n cluster-paris hs-1 -o yaml"},

	"a foreign Secret is in the way": {paris(func(bd *fleet.BundleDeployment) { refusing(bd, "SecretExists") }),
		"Conflict", "SecretExists", "", "Secret apps/creds is there already and is not ours; delete it in the cluster, or set spec.conflictPolicy to Adopt"},
	"another Bundle has taken the copy over": {paris(func(bd *fleet.BundleDeployment) {
		modifiedCopy(bd, fleet.ModifiedStatus{Create: true, Exist: true})
	}), "Conflict", "TakenOver", "r2", "Secret apps/creds belongs to another Bundle or release now; remove one of the two"},

	"the copy was deleted": {paris(func(bd *fleet.BundleDeployment) { modifiedCopy(bd, fleet.ModifiedStatus{Create: true}) }),
		"Modified", "CopyDeleted", "r2", "Secret apps/creds was deleted in the cluster; Fleet puts it right"},
	"the copy was edited": {paris(func(bd *fleet.BundleDeployment) { modifiedCopy(bd, fleet.ModifiedStatus{}) }),
		"Modified", "CopyEdited", "r2", "Secret apps/creds was edited in the cluster; Fleet puts it right"},
	"the copy was edited, and drift is not corrected": {func(in *Input) {
		in.Handshake.Spec.CorrectDrift = ptr.To(false)
		modifiedCopy(in.Deployments[0], fleet.ModifiedStatus{})
	}, "Modified", "CopyEdited", "r2", "Secret apps/creds was edited in the cluster; it is put right at the next resync, because spec.correctDrift is false"},
	"the copy was deleted, and the agent has not written it again yet": {paris(func(bd *fleet.BundleDeployment) {
		modifiedCopy(bd, fleet.ModifiedStatus{Create: true})
		staged(bd, 4)
		handedOn(bd, 4)
	}), "Modified", "CopyDeleted", "r2", "Secret apps/creds was deleted in the cluster; Fleet puts it right"},

	"the rollout has not come to the cluster": {func(in *Input) {
		in.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{}
		staged(in.Deployments[0], 2)
		behind(in.Deployments[0])
	}, "OutOfSync", "RolloutHeld", "r1", "the rollout waits for other clusters first"},
	"Fleet has staged it and holds it back": {paris(behind), "OutOfSync", "RolloutHeld", "r1", "the rollout waits for other clusters first"},
	"Fleet stages by itself from 200 clusters on": {func(in *Input) {
		in.Matched = append(in.Matched, make([]*fleet.Cluster, 199)...)
		for i := 1; i < 200; i++ {
			in.Matched[i] = &fleet.Cluster{}
		}
		staged(in.Deployments[0], 2)
		behind(in.Deployments[0])
	}, "OutOfSync", "RolloutHeld", "r1", "the rollout waits for other clusters first"},
	"no partition matches": {func(in *Input) {
		in.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{Name: "p", ClusterGroup: "canary"}}}
		behind(in.Deployments[0])
	}, "OutOfSync", "NotInPartition", "r1", "no partition of spec.rolloutStrategy matches this cluster, so Fleet hands nothing on to it; add it to a partition"},
	"a partition matches, and its turn has not come": {func(in *Input) {
		in.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{Name: "p", ClusterGroup: "canary"}}}
		in.InPartition = map[string]bool{in.Clusters[0].Name: true}
		behind(in.Deployments[0])
	}, "OutOfSync", "RolloutHeld", "r1", "the rollout waits for other clusters first"},
	"a partition matches, and has had its turn": {func(in *Input) {
		in.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{Name: "p", ClusterGroup: "canary"}}}
		in.InPartition = map[string]bool{in.Clusters[0].Name: true}
		waiting(in.Deployments[0])
	}, "WaitApplied", "", "r1", ""},

	"the handshake is paused": {func(in *Input) {
		in.Handshake.Spec.Paused, in.Deployments[0].Spec.Paused = true, true
		behind(in.Deployments[0])
	}, "Paused", "HandshakePaused", "r1", "spec.paused of the FleetHandshake holds the revision back"},
	"the handshake is paused before the cluster has its own number": {func(in *Input) {
		in.Handshake.Spec.Paused, in.Deployments[0].Spec.Paused = true, true
		in.tell(0, bundle.Target{Number: 5})
	}, "Paused", "HandshakePaused", "", "spec.paused of the FleetHandshake holds the revision back"},
	"the Fleet Cluster is paused": {paris(func(bd *fleet.BundleDeployment) {
		bd.Spec.Paused = true
		behind(bd)
	}), "Paused", "ClusterPaused", "r1", "spec.paused of the Fleet Cluster holds the revision back"},
	"a pause does not matter to a cluster that has it": {func(in *Input) {
		in.Handshake.Spec.Paused, in.Deployments[0].Spec.Paused = true, true
	}, "Synced", "", "r2", ""},

	"the agent does not report, though all it has shown is well": {func(in *Input) { silent(in.Clusters[0]) },
		"Offline", "AgentSilent", "r2", "Fleet's agent has not reported since 2026-01-02T02:04:05Z; look after it in namespace cattle-fleet-system of the cluster"},
	"the agent stopped to report before it had the revision": {func(in *Input) {
		silent(in.Clusters[0])
		waiting(in.Deployments[0])
	}, "Offline", "AgentSilent", "r1", "Fleet's agent has not reported since 2026-01-02T02:04:05Z; look after it in namespace cattle-fleet-system of the cluster"},
	"the agent has registered and never reported": {func(in *Input) {
		in.Clusters[0].Status.Agent = fleet.AgentStatus{}
		in.Deployments[0].Status = fleet.BundleDeploymentStatus{}
	}, "Offline", "AgentSilent", "", "Fleet's agent has never reported; look after it in namespace cattle-fleet-system of the cluster"},

	"the agent reports, and does not apply it": {func(in *Input) {
		in.record(now.Add(-10 * time.Minute))
		waiting(in.Deployments[0])
	}, "Stuck", "NotApplying", "r1", "Fleet's agent reports but does not apply the revision; look into its log in the cluster, and compare " + atDeployment},

	"the cluster no longer matches": {func(in *Input) {
		in.unmatch()
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
	}, "Withdrawing", "", "r2", ""},
	"the cluster no longer matches, and has not had the revision": {func(in *Input) {
		in.unmatch()
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
		waiting(in.Deployments[0])
	}, "Withdrawing", "", "r1", ""},
	"the cluster no longer matches, and its agent does not report": {func(in *Input) {
		in.unmatch()
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
		silent(in.Clusters[0])
	}, "Withdrawing", "AgentSilent", "r2", "Fleet's agent has not reported since 2026-01-02T02:04:05Z; look after it in namespace cattle-fleet-system of the cluster"},
	"the handshake is being deleted": {func(in *Input) {
		in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
	}, "Withdrawing", "", "r2", ""},
	"the Secret is gone, and so are the copies to be": {func(in *Input) {
		in.Withdraw = true
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
	}, "Withdrawing", "", "r2", ""},
	"the cluster waits until somebody confirms the withdrawal": {func(in *Input) {
		in.unmatch()
		in.Held = []string{in.Clusters[0].Name}
	}, "Synced", "", "r2", ""},

	"no SecretGrant covers the cluster": {func(in *Input) {
		in.refuse(0)
		in.Deployments = nil
	}, "Pending", "NotGranted", "", "no SecretGrant in namespace platform lets the Secret travel to this cluster"},
	"no SecretGrant covers the cluster, and its BundleDeployment is left over": {func(in *Input) { in.refuse(0) },
		"Pending", "NotGranted", "", "no SecretGrant in namespace platform lets the Secret travel to this cluster"},
	"no SecretGrant covers the cluster, and its agent does not report": {func(in *Input) {
		in.refuse(0)
		silent(in.Clusters[0])
	}, "Pending", "NotGranted", "", "no SecretGrant in namespace platform lets the Secret travel to this cluster"},
	"no SecretGrant covers the cluster, and its agent has never registered": {func(in *Input) {
		in.refuse(0)
		in.Clusters[0].Status, in.Deployments = fleet.ClusterStatus{}, nil
	}, "Pending", "NotGranted", "", "no SecretGrant in namespace platform lets the Secret travel to this cluster"},
	"no SecretGrant covers the cluster any more": {func(in *Input) { in.refuse(0, bundle.Target{Withdraw: true, Number: 5}) },
		"Withdrawing", "", "r2", ""},
	"no SecretGrant covers the cluster any more, and its agent does not report": {func(in *Input) {
		in.refuse(0, bundle.Target{Withdraw: true, Number: 5})
		silent(in.Clusters[0])
	}, "Withdrawing", "AgentSilent", "r2", "Fleet's agent has not reported since 2026-01-02T02:04:05Z; look after it in namespace cattle-fleet-system of the cluster"},
	"no SecretGrant covers the cluster any more, and a pause lets it keep its copy": {func(in *Input) {
		in.refuse(0, bundle.Target{})
		in.Handshake.Spec.Paused = true
	}, "Withdrawing", "", "r2", ""},
	"no SecretGrant covers any cluster any more": {func(in *Input) {
		in.refuse(0, bundle.Target{Withdraw: true, Number: 5})
		in.Withdraw = true
	}, "Withdrawing", "", "r2", ""},
}

func TestRow(t *testing.T) {
	seen := map[string]bool{}
	for title, c := range stateCases {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			c.change(&in)
			assert.Equal(t, []v1alpha1.ClusterStatus{{
				Name: "paris", Namespace: "fleet-default", State: c.state, Reason: c.reason,
				Revision: c.revision, Since: at(3, 4, 5), Message: c.message,
			}}, aggregate(t, in).Rows)
			seen["state "+string(c.state)], seen["reason "+string(c.reason)] = true, true
		})
	}
	data, err := os.ReadFile("../../crds/fleethandshake.io_fleethandshakes.yaml")
	require.NoError(t, err)
	crd := map[string]any{}
	require.NoError(t, yaml.Unmarshal(data, &crd))
	versions, _, err := unstructured.NestedSlice(crd, "spec", "versions")
	require.NoError(t, err)
	for _, field := range []string{"state", "reason"} {
		words, _, err := unstructured.NestedStringSlice(versions[0].(map[string]any),
			"schema", "openAPIV3Schema", "properties", "status", "properties", "clusters", "items", "properties", field, "enum")
		require.NoError(t, err)
		require.NotEmpty(t, words)
		for _, word := range words {
			assert.True(t, seen[field+" "+word], "no case has %s %s", field, word)
		}
	}
}

func TestMessagesFitIntoTheirField(t *testing.T) {
	for title, c := range stateCases {
		t.Run(title, func(t *testing.T) {
			in := input(strings.Repeat("c", 55)) // "cluster-" before it makes 63
			in.Handshake.Spec.SecretName, in.Handshake.Spec.TargetNamespace = strings.Repeat("s", 253), strings.Repeat("t", 63)
			in.Deployments[0].Name = strings.Repeat("b", 53)
			c.change(&in)
			in.Handshake.Spec.SecretNamespace = strings.Repeat("n", 63)
			assert.LessOrEqual(t, len(aggregate(t, in).Rows[0].Message), 512)
		})
	}
}

func TestDisplayNameIsShownWhenItIsAnotherOne(t *testing.T) {
	for title, c := range map[string]struct {
		labels map[string]string
		shown  string
	}{
		"the cluster has no display name":       {nil, ""},
		"the display name is the name":          {map[string]string{target.DisplayNameLabel: "paris"}, ""},
		"the display name is not the name":      {map[string]string{target.DisplayNameLabel: "Paris-One"}, "Paris-One"},
		"another label says how people call it": {map[string]string{"name": "Paris-One"}, ""},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			in.Clusters[0].Labels = c.labels
			assert.Equal(t, c.shown, aggregate(t, in).Rows[0].DisplayName)
		})
	}
}

func TestSinceIsKeptWhileTheStateStays(t *testing.T) {
	earlier := metav1.Date(2025, 12, 24, 18, 0, 0, 0, time.UTC)
	for title, c := range map[string]struct {
		before []v1alpha1.ClusterStatus
		since  metav1.Time
	}{
		"the cluster is new":        {nil, at(3, 4, 5)},
		"the state stays":           {[]v1alpha1.ClusterStatus{{Namespace: "fleet-default", Name: "paris", State: "Synced", Since: earlier}}, earlier},
		"the state is another one":  {[]v1alpha1.ClusterStatus{{Namespace: "fleet-default", Name: "paris", State: "WaitApplied", Since: earlier}}, at(3, 4, 5)},
		"the row is of another one": {[]v1alpha1.ClusterStatus{{Namespace: "fleet-default", Name: "tokyo", State: "Synced", Since: earlier}}, at(3, 4, 5)},
		"the state stays, and its reason and revision change": {[]v1alpha1.ClusterStatus{
			{Namespace: "fleet-default", Name: "paris", State: "Synced", Reason: "CopyEdited", Revision: "r1", Since: earlier},
		}, earlier},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			in.Before = c.before
			assert.Equal(t, c.since, aggregate(t, in).Rows[0].Since)
		})
	}
}
