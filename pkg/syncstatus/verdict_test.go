package syncstatus

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// conditions are status and reason by type.
func conditions(r Result) map[string]string {
	out := map[string]string{}
	for _, c := range r.Status.Conditions {
		out[c.Type] = string(c.Status) + " " + c.Reason
	}
	return out
}

func problem(reason string, source bool) func(*Input) {
	return func(in *Input) {
		in.Problem = &Problem{State: v1alpha1.StateError, Reason: reason, Message: "mend it", Source: source}
	}
}

func condition(conditionType, reason string, since time.Time) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.NewTime(since)}
}

type verdictCase struct {
	change func(*Input)
	state  v1alpha1.HandshakeState
	ready  string
	// message of the condition Ready.
	message    string
	conditions map[string]string
}

// verdictCases are of the clusters paris and tokyo.
var verdictCases = map[string]verdictCase{
	"every cluster has it": {func(*Input) {}, "Synced", "2/2", "2 of 2 clusters have the current revision",
		map[string]string{"Ready": "True Synced", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"every cluster has it, and one that no longer matches is waited for": {func(in *Input) {
		in.unmatch()
		in.tell(1, bundle.Target{Withdraw: true, Number: 5})
	}, "Synced", "1/1", "1 of 1 clusters have the current revision; waiting for the confirmation that it was removed from 1 cluster: tokyo",
		map[string]string{"Ready": "True Synced", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"every cluster has it, and the handshake is paused": {func(in *Input) { in.Handshake.Spec.Paused = true },
		"Synced", "2/2", "2 of 2 clusters have the current revision",
		map[string]string{"Ready": "True Synced", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},

	"one cluster does not have it": {func(in *Input) { waiting(in.Deployments[1]) },
		"Pending", "1/2", "1 of 2 clusters have the current revision",
		map[string]string{"Ready": "False Delivering", "Reconciling": "True Delivering", "SourceAvailable": "True SecretFound", "Delivered": "False Delivering"}},
	"a copy was deleted": {func(in *Input) { in.Deployments[1].Status.NonModified = false },
		"Pending", "1/2", "1 of 2 clusters have the current revision",
		map[string]string{"Ready": "False Delivering", "Reconciling": "True Delivering", "SourceAvailable": "True SecretFound", "Delivered": "False Delivering"}},
	"one cluster does not report, and one does not have it": {func(in *Input) { silent(in.Clusters[0]); waiting(in.Deployments[1]) },
		"Pending", "0/2", "0 of 2 clusters have the current revision",
		map[string]string{"Ready": "False Delivering", "Reconciling": "True Delivering", "SourceAvailable": "True SecretFound", "Delivered": "False Delivering"}},
	"somebody deletes the Bundle": {func(in *Input) { in.Bundle.DeletionTimestamp = ptr.To(at(3, 0, 0)) },
		"Pending", "2/2", "Bundle fleet-default/hs-1 is being deleted; it is made again when it is gone",
		map[string]string{"Ready": "False Delivering", "Reconciling": "True Delivering", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"one cluster does not report": {func(in *Input) { silent(in.Clusters[1]) },
		"Pending", "1/2", "1 of 2 clusters have the current revision; no report from 1 cluster: tokyo",
		map[string]string{"Ready": "False ClusterOffline", "Reconciling": "True ClusterOffline", "SourceAvailable": "True SecretFound", "Delivered": "False ClusterOffline"}},
	"a pause holds it back": {func(in *Input) {
		in.Handshake.Spec.Paused, in.Deployments[1].Spec.Paused = true, true
		behind(in.Deployments[1])
	}, "Pending", "1/2", "1 of 2 clusters have the current revision; spec.paused holds it back from the others",
		map[string]string{"Ready": "False Paused", "Reconciling": "True Paused", "SourceAvailable": "True SecretFound", "Delivered": "False Paused"}},
	"no cluster matches": {func(in *Input) { in.Clusters, in.Matched = nil, nil },
		"Pending", "0/0", "no Fleet Cluster in namespace fleet-default matches spec.targets; compare them with: kubectl get clusters.fleet.cattle.io -n fleet-default --show-labels",
		map[string]string{"Ready": "False NoTargets", "Reconciling": "True NoTargets", "SourceAvailable": "True SecretFound", "Delivered": "False NoTargets"}},
	"the handshake is being deleted": {func(in *Input) {
		in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
		in.tell(1, bundle.Target{Withdraw: true, Number: 5})
	}, "Pending", "0/0", "waiting for the confirmation of 2 clusters: paris, tokyo. To stop waiting: kubectl annotate fhs -n fleet-default hs fleethandshake.io/force-delete=true",
		map[string]string{"Ready": "False Removing", "Reconciling": "True Removing", "Delivered": "False NoTargets"}},

	"one cluster failed": {func(in *Input) { irreplaceableCopy(in.Deployments[1], "") },
		"Error", "1/2", "1 of 2 clusters have the current revision; 1 cluster could not apply it: tokyo. The rows in status.clusters say what to do",
		map[string]string{"Ready": "False ClusterFailed", "Stalled": "True ClusterFailed", "SourceAvailable": "True SecretFound", "Delivered": "False ClusterFailed"}},
	"one cluster failed and one is stuck": {func(in *Input) {
		in.record(at(1, 0, 0).Time)
		waiting(in.Deployments[0])
		refusing(in.Deployments[1], "")
	}, "Error", "0/2", "0 of 2 clusters have the current revision; 2 clusters could not apply it: paris, tokyo. The rows in status.clusters say what to do",
		map[string]string{"Ready": "False ClusterFailed", "Stalled": "True ClusterFailed", "SourceAvailable": "True SecretFound", "Delivered": "False ClusterFailed"}},
	"one cluster is stuck": {func(in *Input) {
		in.record(at(1, 0, 0).Time)
		waiting(in.Deployments[1])
	}, "Error", "1/2", "1 of 2 clusters have the current revision; not applied by 1 cluster whose agent reports: tokyo",
		map[string]string{"Ready": "False ClusterStuck", "Stalled": "True ClusterStuck", "SourceAvailable": "True SecretFound", "Delivered": "False ClusterStuck"}},
	"a foreign Secret is in the way in one cluster, and the other failed": {func(in *Input) {
		irreplaceableCopy(in.Deployments[0], "")
		refusing(in.Deployments[1], "SecretExists")
	}, "Error", "0/2", "0 of 2 clusters have the current revision; in 1 cluster a Secret of that name is there that is not ours: tokyo. Delete it there, or set spec.conflictPolicy to Adopt",
		map[string]string{"Ready": "False Conflict", "Stalled": "True Conflict", "SourceAvailable": "True SecretFound", "Delivered": "False Conflict"}},
	"a withdrawal waits for a confirmation": {func(in *Input) { in.unmatch(); in.Held = []string{"tokyo"} },
		"Error", "2/2", "spec.targets no longer match 1 of the 2 clusters that have the Secret (tokyo); they keep it until this is confirmed: kubectl annotate fhs -n fleet-default hs --overwrite fleethandshake.io/confirm-withdrawal=r2",
		map[string]string{"Ready": "False WithdrawalHeld", "Stalled": "True WithdrawalHeld", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"no SecretGrant covers one cluster": {func(in *Input) { in.refuse(1) },
		"Error", "1/2", "1 of 2 clusters have the current revision; ask its owner",
		map[string]string{"Ready": "False NotGranted", "Stalled": "True NotGranted", "SourceAvailable": "True SecretFound", "Delivered": "False NotGranted"}},
	"no SecretGrant covers one cluster any more": {func(in *Input) { in.refuse(1, bundle.Target{Withdraw: true, Number: 5}) },
		"Error", "1/1", "1 of 1 clusters have the current revision; ask its owner",
		map[string]string{"Ready": "False NotGranted", "Stalled": "True NotGranted", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"no SecretGrant covers one cluster, and the other failed": {func(in *Input) {
		in.refuse(1)
		refusing(in.Deployments[0], "SecretExists")
	}, "Error", "0/2", "0 of 2 clusters have the current revision; ask its owner",
		map[string]string{"Ready": "False NotGranted", "Stalled": "True NotGranted", "SourceAvailable": "True SecretFound", "Delivered": "False NotGranted"}},
	"no SecretGrant covers one cluster any more, and that of the other waits for a confirmation": {func(in *Input) {
		in.refuse(1, bundle.Target{Withdraw: true, Number: 5})
		in.Matched, in.Held = nil, []string{"paris"}
	}, "Error", "1/1", "spec.targets no longer match 1 of the 1 clusters that have the Secret (paris); they keep it until this is confirmed: kubectl annotate fhs -n fleet-default hs --overwrite fleethandshake.io/confirm-withdrawal=r2",
		map[string]string{"Ready": "False WithdrawalHeld", "Stalled": "True WithdrawalHeld", "SourceAvailable": "True SecretFound", "Delivered": "True Synced"}},
	"no SecretGrant covers one cluster, and the handshake is being deleted": {func(in *Input) {
		in.refuse(1)
		in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
		in.tell(0, bundle.Target{Withdraw: true, Number: 5})
	}, "Pending", "0/0", "waiting for the confirmation of 1 cluster: paris. To stop waiting: kubectl annotate fhs -n fleet-default hs fleethandshake.io/force-delete=true",
		map[string]string{"Ready": "False Removing", "Reconciling": "True Removing", "Delivered": "False NoTargets"}},

	"the Secret is missing, and every cluster has the last one": {func(in *Input) { in.Problem = missing() },
		"Missing", "2/2", "create it",
		map[string]string{"Ready": "False SecretNotFound", "Reconciling": "True SecretNotFound", "SourceAvailable": "False SecretNotFound", "Delivered": "True Synced"}},
	"the Secret is missing, and not every cluster has the last one": {func(in *Input) { in.Problem = missing(); waiting(in.Deployments[1]) },
		"Missing", "1/2", "create it",
		map[string]string{"Ready": "False SecretNotFound", "Reconciling": "True SecretNotFound", "SourceAvailable": "False SecretNotFound", "Delivered": "False Delivering"}},
	"the Secret has been missing for long": {func(in *Input) {
		in.Problem = missing()
		meta.SetStatusCondition(&in.Handshake.Status.Conditions, condition("SourceAvailable", "SecretNotFound", now.Add(-time.Hour)))
	}, "Missing", "2/2", "create it",
		map[string]string{"Ready": "False SecretNotFound", "Stalled": "True SecretNotFound", "SourceAvailable": "False SecretNotFound", "Delivered": "True Synced"}},
	"the Secret was never there": {func(in *Input) { in.Problem = missing(); in.Bundle, in.Deployments = nil, nil },
		"Missing", "0/2", "create it",
		map[string]string{"Ready": "False SecretNotFound", "Reconciling": "True SecretNotFound", "SourceAvailable": "False SecretNotFound", "Delivered": "False Delivering"}},
	"the Secret may not be read": {problem("NotGranted", true), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False NotGranted", "Stalled": "True NotGranted", "SourceAvailable": "False NotGranted", "Delivered": "True Synced"}},
	"the Secret is of a type that is never sent": {problem("UnsupportedType", true), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False UnsupportedType", "Stalled": "True UnsupportedType", "SourceAvailable": "False UnsupportedType", "Delivered": "True Synced"}},
	"the Secret is too large": {problem("TooLarge", true), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False TooLarge", "Stalled": "True TooLarge", "SourceAvailable": "False TooLarge", "Delivered": "True Synced"}},
	"the copies are immutable": {problem("Immutable", true), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False Immutable", "Stalled": "True Immutable", "SourceAvailable": "False Immutable", "Delivered": "True Synced"}},
	"the copies are of another type": {problem("TypeChanged", true), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False TypeChanged", "Stalled": "True TypeChanged", "SourceAvailable": "False TypeChanged", "Delivered": "True Synced"}},
	"a target is not valid": {func(in *Input) {
		problem("InvalidTarget", false)(in)
		in.Matched = nil
		in.Handshake.Status.Conditions = append(in.Handshake.Status.Conditions, condition("SourceAvailable", "SecretNotFound", now))
	}, "Error", "2/2", "mend it",
		map[string]string{"Ready": "False InvalidTarget", "Stalled": "True InvalidTarget", "Delivered": "True Synced"}},
	"the rollout is not valid, and one cluster does not have it": {func(in *Input) { problem("InvalidRolloutStrategy", false)(in); waiting(in.Deployments[1]) },
		"Error", "1/2", "mend it",
		map[string]string{"Ready": "False InvalidRolloutStrategy", "Stalled": "True InvalidRolloutStrategy", "Delivered": "False InvalidRolloutStrategy"}},
	"the API server refuses a write": {problem("WriteFailed", false), "Error", "2/2", "mend it",
		map[string]string{"Ready": "False WriteFailed", "Stalled": "True WriteFailed", "Delivered": "True Synced"}},
	"the name is taken": {func(in *Input) { problem("NameTaken", false)(in); in.Bundle, in.Deployments = nil, nil },
		"Error", "0/2", "mend it",
		map[string]string{"Ready": "False NameTaken", "Stalled": "True NameTaken", "Delivered": "False NameTaken"}},
}

func TestVerdict(t *testing.T) {
	seen := map[string]bool{}
	for title, c := range verdictCases {
		t.Run(title, func(t *testing.T) {
			in := input("paris", "tokyo")
			c.change(&in)
			r := aggregate(t, in)
			assert.Equal(t, c.state, r.Status.Status)
			assert.Equal(t, c.ready, r.Status.Display.ReadyClusters)
			assert.Equal(t, c.conditions, conditions(r))
			assert.Equal(t, int64(7), r.Status.ObservedGeneration)
			for _, condition := range r.Status.Conditions {
				assert.Equal(t, int64(7), condition.ObservedGeneration)
				switch condition.Type {
				case "Ready", "Reconciling", "Stalled":
					assert.Equal(t, c.message, condition.Message)
				}
				seen[condition.Reason] = true
			}
		})
	}
	for _, reason := range []string{
		"Synced", "Delivering", "ClusterOffline", "ClusterStuck", "Paused", "NoTargets", "ClusterFailed", "Conflict",
		"InvalidTarget", "InvalidRolloutStrategy", "SecretFound", "SecretNotFound", "NotGranted", "UnsupportedType", "TooLarge",
		"Immutable", "TypeChanged", "WithdrawalHeld", "Removing", "WriteFailed", "NameTaken",
	} {
		assert.True(t, seen[reason], "no case has reason %s", reason)
	}
}
