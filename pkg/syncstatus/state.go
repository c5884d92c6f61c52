package syncstatus

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// autoPartitionThreshold is from how many clusters on Fleet stages a rollout by itself (Fleet 0.16.0,
// internal/cmd/controller/target).
const autoPartitionThreshold = 200

// Answers reads off the BundleDeployments what the clusters of a workspace have answered.
func Answers(workspace string, deployments []*fleet.BundleDeployment) map[string]bundle.Answer {
	out := map[string]bundle.Answer{}
	for _, bd := range deployments {
		if !bd.DeletionTimestamp.IsZero() || bd.Labels[fleet.ClusterNamespaceLabel] != workspace {
			continue
		}
		out[bd.Labels[fleet.ClusterLabel]] = bundle.Answer{
			Applied: applied(bd), Ready: bd.Status.Ready, Refused: refused(bd), Irreplaceable: irreplaceable(bd),
		}
	}
	return out
}

func applied(bd *fleet.BundleDeployment) int64 {
	if bd.Status.SyncGeneration == nil {
		return 0
	}
	return *bd.Status.SyncGeneration
}

func upToDate(bd *fleet.BundleDeployment) bool {
	return bd.Status.AppliedDeploymentID == bd.Spec.DeploymentID
}

// refused says whether the agent has given up on an install. It then calls the deployment applied and does not try
// again until something changes (Fleet 0.16.0, internal/cmd/agent/deployer).
func refused(bd *fleet.BundleDeployment) bool {
	failed, _ := failure(bd, fleet.BundleDeploymentConditionInstalled)
	return failed && upToDate(bd)
}

// irreplaceable says whether the agent could not write over the copy. It does try again, and never can.
func irreplaceable(bd *fleet.BundleDeployment) bool {
	_, cause := failure(bd, fleet.BundleDeploymentConditionDeployed)
	return !upToDate(bd) && (cause == v1alpha1.ClusterImmutable || cause == v1alpha1.ClusterTypeChanged)
}

// failure says whether a condition is false, and the cause that Strip found in it.
func failure(bd *fleet.BundleDeployment, condition string) (failed bool, cause v1alpha1.ClusterReason) {
	for _, c := range bd.Status.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionFalse {
			return true, v1alpha1.ClusterReason(c.Reason)
		}
	}
	return false, ""
}

// seen is when the agent of a cluster reported last; a cluster whose agent never did counts from its creation.
func seen(c *fleet.Cluster) time.Time {
	if c.Status.Agent.LastSeen.IsZero() {
		return c.CreationTimestamp.Time
	}
	return c.Status.Agent.LastSeen.Time
}

// OfflineAt is when a cluster counts as offline, unless its agent reports before.
func OfflineAt(c *fleet.Cluster, limit time.Duration) time.Time { return seen(c).Add(limit) }

// Offline says whether a cluster counts as offline.
func Offline(c *fleet.Cluster, limit time.Duration, now time.Time) bool {
	return !now.Before(OfflineAt(c, limit))
}

// subject is one cluster as Aggregate looks at it.
type subject struct {
	*Input
	delivery bundle.Delivery
	cluster  *fleet.Cluster
	bd       *fleet.BundleDeployment
	target   bundle.Target
	// wanted is true when the cluster is to have the Secret.
	wanted bool
	// before is the row of the last time; nil when there was none.
	before *v1alpha1.ClusterStatus
}

func (s *subject) row() v1alpha1.ClusterStatus {
	r := v1alpha1.ClusterStatus{Name: s.cluster.Name, Namespace: s.cluster.Namespace, Revision: s.revision()}
	if display := s.cluster.Labels[target.DisplayNameLabel]; display != s.cluster.Name {
		r.DisplayName = display
	}
	r.State, r.Reason = s.state()
	if r.State == v1alpha1.ClusterWaitApplied && s.stuck() {
		r.State, r.Reason = v1alpha1.ClusterStuck, v1alpha1.ClusterNotApplying
	}
	if s.triedAgain() && (r.State == v1alpha1.ClusterWaitApplied || r.State == v1alpha1.ClusterOutOfSync) {
		r.State, r.Reason = s.before.State, s.before.Reason
	}
	r.Message = s.message(r)
	r.Since = metav1.NewTime(s.Now).Rfc3339Copy()
	if s.before != nil && s.before.State == r.State {
		r.Since = s.before.Since
	}
	return r
}

// revision that the cluster has.
func (s *subject) revision() string {
	if s.bd == nil {
		return ""
	}
	number := applied(s.bd)
	switch {
	case s.target.Withdraw && number >= s.target.Number:
		return ""
	case !s.target.Withdraw && number < s.target.Number && number >= s.delivery.Since():
		// It has removed its copy, or has refused this revision.
		return ""
	}
	return s.delivery.RevisionAt(number)
}

// state says what the cluster shows, in the order in which Fleet asks (Fleet 0.16.0,
// internal/cmd/controller/summary), with two differences: a cluster is Synced only on the revision being sent now, and
// it stays Synced while the same revision is merely written again. The BundleDeployment's own display.state is not
// used: Fleet updates it late.
func (s *subject) state() (v1alpha1.ClusterState, v1alpha1.ClusterReason) {
	offline := Offline(s.cluster, s.OfflineAfter, s.Now)
	switch {
	case !s.wanted && s.target.Cluster == "":
		return v1alpha1.ClusterPending, v1alpha1.ClusterNotGranted
	case !s.wanted && offline:
		return v1alpha1.ClusterWithdrawing, v1alpha1.ClusterAgentSilent
	case !s.wanted:
		return v1alpha1.ClusterWithdrawing, ""
	case s.cluster.Status.Namespace == "" && s.bd == nil:
		return v1alpha1.ClusterPending, v1alpha1.ClusterNotRegistered
	case offline:
		return v1alpha1.ClusterOffline, v1alpha1.ClusterAgentSilent
	case s.bd == nil && s.skipped():
		return v1alpha1.ClusterPending, v1alpha1.ClusterNotInPartition
	case s.bd == nil:
		return v1alpha1.ClusterPending, ""
	}
	expected := s.delivery.Expected(s.target)
	failed, failedBy := failure(s.bd, fleet.BundleDeploymentConditionDeployed)
	_, refusedBy := failure(s.bd, fleet.BundleDeploymentConditionInstalled)
	handedOn := s.bd.Spec.Options.ForceSyncGeneration >= expected
	switch {
	case !handedOn && s.bd.Spec.Paused && s.Handshake.Spec.Paused:
		return v1alpha1.ClusterPaused, v1alpha1.ClusterHandshakePaused
	case !handedOn && s.bd.Spec.Paused:
		return v1alpha1.ClusterPaused, v1alpha1.ClusterFleetPaused
	case s.target.Withdraw, irreplaceable(s.bd) && s.Handshake.Spec.ReplacePolicy == v1alpha1.ReplaceRecreate && !s.Handshake.Spec.Paused:
		return v1alpha1.ClusterWaitApplied, v1alpha1.ClusterRecreating
	case irreplaceable(s.bd):
		return v1alpha1.ClusterErrApplied, failedBy
	case !upToDate(s.bd) && failed:
		return v1alpha1.ClusterErrApplied, v1alpha1.ClusterApplyFailed
	case !handedOn && s.skipped():
		return v1alpha1.ClusterOutOfSync, v1alpha1.ClusterNotInPartition
	case !handedOn && (s.staged() || s.bd.Spec.StagedOptions.ForceSyncGeneration >= expected):
		return v1alpha1.ClusterOutOfSync, v1alpha1.ClusterRolloutHeld
	case handedOn && refused(s.bd) && refusedBy == v1alpha1.ClusterSecretExists:
		return v1alpha1.ClusterConflict, v1alpha1.ClusterSecretExists
	case handedOn && refused(s.bd):
		return v1alpha1.ClusterNotReady, v1alpha1.ClusterInstallRefused
	case handedOn && upToDate(s.bd) && !s.bd.Status.Ready && s.bd.Status.NonModified:
		return v1alpha1.ClusterNotReady, v1alpha1.ClusterInstallRefused
	case applied(s.bd) < expected:
		return v1alpha1.ClusterWaitApplied, ""
	case !s.bd.Status.NonModified:
		return s.modified()
	case !s.bd.Status.Ready:
		return v1alpha1.ClusterWaitApplied, ""
	}
	return v1alpha1.ClusterSynced, ""
}

// modified says how the copy differs from what was applied.
func (s *subject) modified() (v1alpha1.ClusterState, v1alpha1.ClusterReason) {
	has := func(is func(fleet.ModifiedStatus) bool) bool {
		return slices.ContainsFunc(s.bd.Status.ModifiedStatus, is)
	}
	switch {
	case has(func(m fleet.ModifiedStatus) bool { return m.Create && m.Exist }):
		// Another Bundle has taken it over.
		return v1alpha1.ClusterConflict, v1alpha1.ClusterTakenOver
	case has(func(m fleet.ModifiedStatus) bool { return m.Create }):
		return v1alpha1.ClusterModified, v1alpha1.ClusterCopyDeleted
	}
	return v1alpha1.ClusterModified, v1alpha1.ClusterCopyEdited
}

// staged says whether Fleet hands a change on to one part of the clusters after the other.
func (s *subject) staged() bool {
	rollout := s.Handshake.Spec.RolloutStrategy
	return rollout != nil || len(s.Matched) >= autoPartitionThreshold
}

// skipped says whether no partition of the rollout matches the cluster. Fleet then never hands anything on to it.
func (s *subject) skipped() bool {
	rollout := s.Handshake.Spec.RolloutStrategy
	return rollout != nil && len(rollout.Partitions) > 0 && !s.InPartition[s.cluster.Name]
}

// stuck says whether the cluster should have applied the revision long ago.
func (s *subject) stuck() bool {
	since := s.delivery.SentAt()
	if s.before != nil {
		switch {
		case s.before.State == v1alpha1.ClusterStuck && !since.After(s.before.Since.Time):
			return true
		case s.before.State != v1alpha1.ClusterWaitApplied:
			since = s.Now
		case s.before.Since.After(since):
			since = s.before.Since.Time
		}
	}
	return s.timer.Due(since.Add(s.StuckAfter))
}

// triedAgain says whether the cluster has refused the revision, and is just being asked again. Until it answers, it is
// where it was.
func (s *subject) triedAgain() bool {
	return s.before != nil && (s.before.State == v1alpha1.ClusterConflict || s.before.State == v1alpha1.ClusterNotReady) &&
		s.delivery.Retries > 0 && !s.target.Withdraw && s.target.Number > s.delivery.Since() && applied(s.bd) < s.target.Number
}

// message is our own: Fleet's can hold secret data.
func (s *subject) message(r v1alpha1.ClusterStatus) string {
	if r.Reason == "" {
		return ""
	}
	at := ""
	if s.bd != nil {
		at = fmt.Sprintf("kubectl get bundledeployment -n %s %s -o yaml", s.bd.Namespace, s.bd.Name)
	}
	secret := bundle.TargetNamespace(s.Handshake) + "/" + s.Handshake.Spec.SecretName
	switch r.Reason {
	case v1alpha1.ClusterNotGranted:
		return "no SecretGrant in namespace " + bundle.SourceNamespace(s.Handshake) + " lets the Secret travel to this cluster"
	case v1alpha1.ClusterNotRegistered:
		return "the agent of this cluster has never registered with Fleet"
	case v1alpha1.ClusterNotInPartition:
		return "no partition of spec.rolloutStrategy matches this cluster, so Fleet hands nothing on to it; add it to a partition"
	case v1alpha1.ClusterRolloutHeld:
		return "the rollout waits for other clusters first"
	case v1alpha1.ClusterHandshakePaused:
		return "spec.paused of the FleetHandshake holds the revision back"
	case v1alpha1.ClusterFleetPaused:
		return "spec.paused of the Fleet Cluster holds the revision back"
	case v1alpha1.ClusterAgentSilent:
		if s.cluster.Status.Agent.LastSeen.IsZero() {
			return "Fleet's agent has never reported; look after it in namespace cattle-fleet-system of the cluster"
		}
		return "Fleet's agent has not reported since " + seen(s.cluster).UTC().Format(time.RFC3339) + "; look after it in namespace cattle-fleet-system of the cluster"
	case v1alpha1.ClusterNotApplying:
		return "Fleet's agent reports but does not apply the revision; look into its log in the cluster, and compare " + at
	case v1alpha1.ClusterSecretExists:
		return "Secret " + secret + " is there already and is not ours; delete it in the cluster, or set spec.conflictPolicy to Adopt"
	case v1alpha1.ClusterTakenOver:
		return "Secret " + secret + " belongs to another Bundle or release now; remove one of the two"
	case v1alpha1.ClusterInstallRefused, v1alpha1.ClusterApplyFailed:
		return "the cluster refuses what is to be installed; Fleet's own words are in: " + at
	case v1alpha1.ClusterImmutable:
		return "Secret " + secret + " in the cluster is immutable; delete it there, or set spec.replacePolicy to Recreate"
	case v1alpha1.ClusterTypeChanged:
		return "Secret " + secret + " in the cluster is of another type; delete it there, or set spec.replacePolicy to Recreate"
	case v1alpha1.ClusterRecreating:
		return "the copy is being deleted, and will be made anew"
	case v1alpha1.ClusterCopyDeleted, v1alpha1.ClusterCopyEdited:
		what := "deleted"
		if r.Reason == v1alpha1.ClusterCopyEdited {
			what = "edited"
		}
		if s.Handshake.Spec.CorrectDrift != nil && !*s.Handshake.Spec.CorrectDrift {
			return "Secret " + secret + " was " + what + " in the cluster; it is put right at the next resync, because spec.correctDrift is false"
		}
		return "Secret " + secret + " was " + what + " in the cluster; Fleet puts it right"
	}
	return ""
}

// Strip takes out of a BundleDeployment what the operator does not look at. What Fleet says in words and patches can
// hold secret data: only a reason of ours is left of it.
func Strip(bd *fleet.BundleDeployment) {
	bd.ManagedFields, bd.Annotations, bd.OwnerReferences = nil, nil, nil
	spec, status := bd.Spec, bd.Status
	bd.Spec = fleet.BundleDeploymentSpec{DeploymentID: spec.DeploymentID, StagedDeploymentID: spec.StagedDeploymentID, Paused: spec.Paused, WaitingForValues: spec.WaitingForValues}
	bd.Spec.Options.ForceSyncGeneration = spec.Options.ForceSyncGeneration
	bd.Spec.StagedOptions.ForceSyncGeneration = spec.StagedOptions.ForceSyncGeneration
	bd.Status = fleet.BundleDeploymentStatus{
		AppliedDeploymentID: status.AppliedDeploymentID, SyncGeneration: status.SyncGeneration,
		Ready: status.Ready, NonModified: status.NonModified,
	}
	for _, c := range status.Conditions {
		if c.Type != fleet.BundleDeploymentConditionInstalled && c.Type != fleet.BundleDeploymentConditionDeployed {
			continue
		}
		// A known cause without a message was found before.
		if c.Message != "" || !known(c.Reason) {
			c.Reason = string(causeIn(c.Message))
		}
		c.Message, c.LastUpdateTime, c.LastTransitionTime = "", "", ""
		bd.Status.Conditions = append(bd.Status.Conditions, c)
	}
	for _, m := range status.ModifiedStatus {
		bd.Status.ModifiedStatus = append(bd.Status.ModifiedStatus, fleet.ModifiedStatus{Create: m.Create, Exist: m.Exist})
	}
}

// causes have a state or a remedy of their own. They are known by the words of Helm and of the API server (Helm 4.2
// pkg/action, Kubernetes 1.36 pkg/apis/core/validation), of which all must be there; the first that fits counts.
var causes = []struct {
	reason v1alpha1.ClusterReason
	words  []string
}{
	{v1alpha1.ClusterSecretExists, []string{"cannot be imported into the current release"}},
	{v1alpha1.ClusterImmutable, []string{"field is immutable when `immutable` is set"}},
	{v1alpha1.ClusterTypeChanged, []string{"type: Invalid value", "field is immutable"}},
}

func causeIn(message string) v1alpha1.ClusterReason {
	for _, c := range causes {
		if !slices.ContainsFunc(c.words, func(words string) bool { return !strings.Contains(message, words) }) {
			return c.reason
		}
	}
	return ""
}

func known(reason string) bool {
	for _, c := range causes {
		if string(c.reason) == reason {
			return true
		}
	}
	return false
}
