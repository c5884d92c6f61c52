package syncstatus

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxRows is how many clusters get a row in the status.
const MaxRows = 100

// Problem is why the operator cannot do what the spec asks for.
type Problem struct {
	// State of the handshake: Missing or Error.
	State v1alpha1.HandshakeState
	// Reason is one of the condition reasons of the API.
	Reason string
	// Message is a sentence for people that names the object and the next step.
	Message string
	// Source is true when the problem lies with the Secret, not with the delivery.
	Source bool
}

// Input is everything that Aggregate looks at.
type Input struct {
	Handshake *v1alpha1.FleetHandshake
	// Bundle that carries the Secret; nil when there is none.
	Bundle *fleet.Bundle
	// Deployments are the BundleDeployments of Bundle.
	Deployments []*fleet.BundleDeployment
	// Clusters are those that the targets match.
	Clusters []*fleet.Cluster
	// Problem is nil when there is none.
	Problem *Problem
	Now     time.Time
}

// Answers says what the clusters have answered to the revision that the Bundle sends: confirmed when every matched
// cluster has it, and there is one; refusals when at least one has given up on installing it.
func Answers(b *fleet.Bundle, deployments []*fleet.BundleDeployment, clusters []*fleet.Cluster) (confirmed, refusals bool) {
	rows := rows(bundle.DeliveryOf(b), deployments, clusters)
	confirmed = len(rows) > 0 && !slices.ContainsFunc(rows, func(r v1alpha1.ClusterStatus) bool {
		return r.State != v1alpha1.ClusterSynced
	})
	return confirmed, slices.ContainsFunc(deployments, refused)
}

// Aggregate makes the status of a handshake. Given its own result it makes the same again, so nothing has to be written.
func Aggregate(in Input) v1alpha1.FleetHandshakeStatus {
	old := in.Handshake.Status
	delivery := bundle.DeliveryOf(in.Bundle)
	all := rows(delivery, in.Deployments, in.Clusters)

	s := v1alpha1.FleetHandshakeStatus{
		ObservedGeneration: in.Handshake.Generation,
		Revision:           delivery.Revision(),
		Summary:            count(all),
		LastSyncedAt:       old.LastSyncedAt,
		Conditions:         slices.Clone(old.Conditions),
	}
	if in.Bundle != nil {
		s.Bundles = []v1alpha1.BundleReference{{Name: in.Bundle.Name, TargetNamespace: in.Bundle.Spec.DefaultNamespace}}
	}
	s.Display.ReadyClusters = fmt.Sprintf("%d/%d", s.Summary.Synced, s.Summary.Desired)
	s.Clusters = all
	if len(all) > MaxRows {
		s.Clusters, s.ClustersOmitted = all[:MaxRows], int32(len(all)-MaxRows) //nolint:gosec // a count of objects
	}

	v := judge(in, s.Summary)
	s.Status = v.state
	v.write(&s, in)
	if s.Status == v1alpha1.StateSynced && (old.Status != v1alpha1.StateSynced || old.Revision != s.Revision) {
		now := metav1.NewTime(in.Now)
		s.LastSyncedAt = &now
	}
	return s
}

// rows has one row for each cluster that is matched or still has a BundleDeployment: a BundleNamespaceMapping can bring
// in clusters of other namespaces.
func rows(d bundle.Delivery, deployments []*fleet.BundleDeployment, clusters []*fleet.Cluster) []v1alpha1.ClusterStatus {
	type key struct{ namespace, name string }
	byCluster := map[key]*fleet.BundleDeployment{}
	for _, c := range clusters {
		byCluster[key{c.Namespace, c.Name}] = nil
	}
	for _, bd := range deployments {
		if bd.DeletionTimestamp.IsZero() {
			byCluster[key{bd.Labels[fleet.ClusterNamespaceLabel], bd.Labels[fleet.ClusterLabel]}] = bd
		}
	}
	out := make([]v1alpha1.ClusterStatus, 0, len(byCluster))
	for k, bd := range byCluster {
		state, revision := clusterState(d, bd)
		out = append(out, v1alpha1.ClusterStatus{Namespace: k.namespace, Name: k.name, State: state, Revision: revision})
	}
	slices.SortFunc(out, func(a, b v1alpha1.ClusterStatus) int {
		return cmp.Or(
			cmp.Compare(rank(a.State), rank(b.State)),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return out
}

func rank(s v1alpha1.ClusterState) int {
	if s == v1alpha1.ClusterSynced {
		return 1
	}
	return 0
}

func count(rows []v1alpha1.ClusterStatus) v1alpha1.ClusterSummary {
	var s v1alpha1.ClusterSummary
	for _, r := range rows {
		s.Desired++
		switch {
		case r.State == v1alpha1.ClusterSynced:
			s.Synced++
		case failed(r.State):
			s.Failed++
		default:
			s.Pending++
		}
	}
	return s
}

// failed are the states that do not pass by themselves.
func failed(s v1alpha1.ClusterState) bool {
	return s == v1alpha1.ClusterErrApplied || s == v1alpha1.ClusterNotReady
}

// verdict is what the conditions say.
type verdict struct {
	state   v1alpha1.HandshakeState
	reason  string
	message string
	// stalled means that only a person can mend it; otherwise a state that is not Synced is still on its way.
	stalled bool
}

func judge(in Input, sum v1alpha1.ClusterSummary) verdict {
	if p := in.Problem; p != nil {
		return verdict{p.State, p.Reason, p.Message, true}
	}
	switch {
	case in.Bundle != nil && !in.Bundle.DeletionTimestamp.IsZero():
		return verdict{v1alpha1.StatePending, v1alpha1.ReasonDelivering,
			fmt.Sprintf("Bundle %s/%s is being deleted; it is made again when it is gone", in.Bundle.Namespace, in.Bundle.Name), false}
	case sum.Desired == 0:
		return verdict{v1alpha1.StatePending, v1alpha1.ReasonNoTargets,
			fmt.Sprintf("no Fleet Cluster in namespace %s matches spec.targets; compare them with: kubectl get clusters.fleet.cattle.io -n %s --show-labels", in.Handshake.Namespace, in.Handshake.Namespace), false}
	case sum.Failed > 0:
		return verdict{v1alpha1.StateError, v1alpha1.ReasonClusterFailed,
			fmt.Sprintf("%d of %d clusters could not apply the Secret; status.clusters names them, and the BundleDeployment of each says why", sum.Failed, sum.Desired), true}
	case sum.Synced == sum.Desired:
		return verdict{v1alpha1.StateSynced, v1alpha1.ReasonSynced,
			fmt.Sprintf("all %d clusters have the current revision", sum.Desired), false}
	case in.Handshake.Spec.Paused:
		return verdict{v1alpha1.StatePending, v1alpha1.ReasonPaused,
			fmt.Sprintf("%d of %d clusters have the current revision; spec.paused holds it back from the others", sum.Synced, sum.Desired), false}
	}
	return verdict{v1alpha1.StatePending, v1alpha1.ReasonDelivering,
		fmt.Sprintf("%d of %d clusters have the current revision", sum.Synced, sum.Desired), false}
}

// write puts the verdict into the conditions. This is the only place that writes them.
func (v verdict) write(s *v1alpha1.FleetHandshakeStatus, in Input) {
	set := func(conditionType string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: reason, Message: message,
			ObservedGeneration: in.Handshake.Generation, LastTransitionTime: metav1.NewTime(in.Now),
		})
	}
	onlyWhile := func(conditionType string, on bool) {
		if on {
			set(conditionType, metav1.ConditionTrue, v.reason, v.message)
			return
		}
		meta.RemoveStatusCondition(&s.Conditions, conditionType)
	}
	ready := metav1.ConditionFalse
	if v.state == v1alpha1.StateSynced {
		ready = metav1.ConditionTrue
	}
	set(v1alpha1.ConditionReady, ready, v.reason, v.message)
	onlyWhile(v1alpha1.ConditionStalled, v.stalled)
	onlyWhile(v1alpha1.ConditionReconciling, v.state != v1alpha1.StateSynced && !v.stalled)

	switch {
	case in.Problem != nil && in.Problem.Source:
		set(v1alpha1.ConditionSourceAvailable, metav1.ConditionFalse, in.Problem.Reason, in.Problem.Message)
	case in.Problem != nil:
		// The source was not looked at.
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionSourceAvailable)
	default:
		set(v1alpha1.ConditionSourceAvailable, metav1.ConditionTrue, v1alpha1.ReasonSecretFound,
			fmt.Sprintf("Secret %s/%s exists and may be sent", bundle.SourceNamespace(in.Handshake), in.Handshake.Spec.SecretName))
	}
}
