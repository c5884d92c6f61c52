// Package syncstatus works out what to say of a FleetHandshake: a row for each cluster, the counts, the one word and
// the conditions. It is pure. Of what Fleet says in words and patches it uses a reason of its own only, because these can
// hold secret data.
package syncstatus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	// Deployments are the BundleDeployments of Bundle, after Strip.
	Deployments []*fleet.BundleDeployment
	// Clusters are all of the workspace, and Matched those that the targets match.
	Clusters []*fleet.Cluster
	Matched  []*fleet.Cluster
	// InPartition are the clusters that a partition of the rollout matches.
	InPartition map[string]bool
	// Before are all rows of the last time; those of the status when nobody remembers them.
	Before []v1alpha1.ClusterStatus
	// Problem is nil when there is none.
	Problem *Problem
	// Withdraw is true when no cluster is to have the Secret any more.
	Withdraw bool
	// Refused are clusters that the targets match and that the Secret may not be sent to, by name, and Refusal says
	// why.
	Refused map[string]bool
	Refusal string
	// Held are clusters that no longer match and wait for a confirmation.
	Held []string
	// OfflineAfter is how long an agent may be silent, StuckAfter how long a cluster may take, and MissingGrace how
	// long the Secret may be missing before a person has to look.
	OfflineAfter, StuckAfter, MissingGrace time.Duration
	Now                                    time.Time

	timer bundle.Timer
}

// Result is the status, with all rows.
type Result struct {
	Status v1alpha1.FleetHandshakeStatus
	Rows   []v1alpha1.ClusterStatus
	// SentAt is since when the revision of the status is being sent.
	SentAt time.Time
	// Next is when it may be another one without any change from outside; zero when never.
	Next time.Time
}

// Aggregate makes the status of a handshake. Given its own result it makes the same again, so nothing has to be written.
func Aggregate(in Input) Result {
	old := in.Handshake.Status
	in.timer = bundle.Timer{Now: in.Now}
	delivery := bundle.DeliveryOf(in.Bundle)
	all := in.rows(delivery)

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

	v := in.judge(s, all)
	s.Status = v.state
	v.write(&s, in)
	if s.Status == v1alpha1.StateSynced && (old.Status != v1alpha1.StateSynced || old.Revision != s.Revision) {
		now := metav1.NewTime(in.Now)
		s.LastSyncedAt = &now
	}
	return Result{Status: s, Rows: all, SentAt: delivery.SentAt(), Next: in.timer.Next}
}

// rows has one row for each cluster that is to have the Secret, or still has it.
func (in *Input) rows(d bundle.Delivery) []v1alpha1.ClusterStatus {
	subjects := map[types.NamespacedName]*subject{}
	matched := map[string]bool{}
	withdraw := in.Withdraw || !in.Handshake.DeletionTimestamp.IsZero()
	if !withdraw {
		for _, c := range in.Matched {
			matched[c.Name] = true
		}
	}
	targets := bundle.TargetsOf(in.Bundle)
	for _, c := range in.Clusters {
		t, had := targets[c.Name]
		if had || matched[c.Name] || in.Refused[c.Name] && !withdraw {
			wanted := (matched[c.Name] || had && !t.Withdraw && !withdraw) && !in.Refused[c.Name]
			subjects[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}] = &subject{Input: in, delivery: d, cluster: c, target: t, wanted: wanted}
		}
	}
	for _, bd := range in.Deployments {
		// Without a target, or a known revision, it is left over: it does not answer to what is being sent.
		_, told := targets[bd.Labels[fleet.ClusterLabel]]
		s := subjects[types.NamespacedName{Namespace: bd.Labels[fleet.ClusterNamespaceLabel], Name: bd.Labels[fleet.ClusterLabel]}]
		if s != nil && told && d.Revision() != "" && bd.DeletionTimestamp.IsZero() {
			s.bd = bd
		}
	}
	for i, r := range in.Before {
		if s := subjects[KeyOf(r)]; s != nil {
			s.before = &in.Before[i]
		}
	}
	out := make([]v1alpha1.ClusterStatus, 0, len(subjects))
	for _, s := range subjects {
		in.timer.Due(OfflineAt(s.cluster, in.OfflineAfter))
		out = append(out, s.row())
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

// KeyOf is the cluster of a row.
func KeyOf(r v1alpha1.ClusterStatus) types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
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
		if r.State == v1alpha1.ClusterWithdrawing {
			s.Withdrawing++
			continue
		}
		s.Desired++
		switch r.State {
		case v1alpha1.ClusterSynced:
			s.Synced++
		case v1alpha1.ClusterOffline:
			s.Offline++
		case v1alpha1.ClusterErrApplied, v1alpha1.ClusterNotReady, v1alpha1.ClusterConflict, v1alpha1.ClusterStuck:
			s.Failed++
		default:
			s.Pending++
		}
	}
	return s
}

// Count is how many rows have a state.
func Count(rows []v1alpha1.ClusterStatus, state v1alpha1.ClusterState) int {
	n := 0
	for _, r := range rows {
		if r.State == state {
			n++
		}
	}
	return n
}

// verdict is what the conditions say.
type verdict struct {
	state   v1alpha1.HandshakeState
	reason  string
	message string
	// stalled means that only a person can mend it; otherwise a state that is not Synced is still on its way.
	stalled bool
}

func (in *Input) judge(s v1alpha1.FleetHandshakeStatus, rows []v1alpha1.ClusterStatus) verdict {
	hs, sum := in.Handshake, s.Summary
	pending := func(reason, format string, args ...any) verdict {
		return verdict{v1alpha1.StatePending, reason, fmt.Sprintf(format, args...), false}
	}
	failed := func(reason, format string, args ...any) verdict {
		return verdict{v1alpha1.StateError, reason, fmt.Sprintf(format, args...), true}
	}
	have := fmt.Sprintf("%d of %d clusters have the current revision", sum.Synced, sum.Desired)
	if p := in.Problem; p != nil {
		stalled := p.Reason != v1alpha1.ReasonSecretNotFound || in.timer.Due(MissingSince(hs, in.Now).Add(in.MissingGrace))
		return verdict{p.State, p.Reason, p.Message, stalled}
	}
	switch {
	case !hs.DeletionTimestamp.IsZero():
		return pending(v1alpha1.ReasonRemoving, "waiting for the confirmation of %s: %s. To stop waiting: kubectl annotate fhs -n %s %s %s=true",
			Number(int(sum.Withdrawing)), Names(rows, v1alpha1.ClusterWithdrawing), hs.Namespace, hs.Name, v1alpha1.AnnotationForceDelete)
	case in.Bundle != nil && !in.Bundle.DeletionTimestamp.IsZero():
		return pending(v1alpha1.ReasonDelivering, "Bundle %s/%s is being deleted; it is made again when it is gone", in.Bundle.Namespace, in.Bundle.Name)
	case len(in.Held) > 0:
		return failed(v1alpha1.ReasonWithdrawalHeld, "spec.targets no longer match %d of the %d clusters that have the Secret (%s); they keep it until this is confirmed: kubectl annotate fhs -n %s %s --overwrite %s=%s",
			len(in.Held), sum.Desired, List(in.Held), hs.Namespace, hs.Name, v1alpha1.AnnotationConfirmWithdrawal, s.Revision)
	case len(in.Refused) > 0:
		return failed(v1alpha1.ReasonNotGranted, "%s; %s", have, in.Refusal)
	case sum.Desired == 0:
		return pending(v1alpha1.ReasonNoTargets, "no Fleet Cluster in namespace %s matches spec.targets; compare them with: kubectl get clusters.fleet.cattle.io -n %s --show-labels", hs.Namespace, hs.Namespace)
	case Count(rows, v1alpha1.ClusterConflict) > 0:
		return failed(v1alpha1.ReasonConflict, "%s; in %s a Secret of that name is there that is not ours: %s. Delete it there, or set spec.conflictPolicy to Adopt",
			have, Number(Count(rows, v1alpha1.ClusterConflict)), Names(rows, v1alpha1.ClusterConflict))
	case Count(rows, v1alpha1.ClusterStuck) == int(sum.Failed) && sum.Failed > 0:
		return failed(v1alpha1.ReasonClusterStuck, "%s; not applied by %s whose agent reports: %s", have, Number(int(sum.Failed)), Names(rows, v1alpha1.ClusterStuck))
	case sum.Failed > 0:
		return failed(v1alpha1.ReasonClusterFailed, "%s; %s could not apply it: %s. The rows in status.clusters say what to do",
			have, Number(int(sum.Failed)), Names(rows, v1alpha1.ClusterErrApplied, v1alpha1.ClusterNotReady, v1alpha1.ClusterStuck))
	case sum.Synced == sum.Desired && sum.Withdrawing > 0:
		return verdict{v1alpha1.StateSynced, v1alpha1.ReasonSynced, fmt.Sprintf("%s; waiting for the confirmation that it was removed from %s: %s",
			have, Number(int(sum.Withdrawing)), Names(rows, v1alpha1.ClusterWithdrawing)), false}
	case sum.Synced == sum.Desired:
		return verdict{v1alpha1.StateSynced, v1alpha1.ReasonSynced, have, false}
	case hs.Spec.Paused:
		return pending(v1alpha1.ReasonPaused, "%s; spec.paused holds it back from the others", have)
	case sum.Offline > 0 && sum.Synced+sum.Offline == sum.Desired:
		return pending(v1alpha1.ReasonClusterOffline, "%s; no report from %s: %s", have, Number(int(sum.Offline)), Names(rows, v1alpha1.ClusterOffline))
	}
	return pending(v1alpha1.ReasonDelivering, "%s", have)
}

// Names are the first names of the clusters in one of the states, for a message.
func Names(rows []v1alpha1.ClusterStatus, states ...v1alpha1.ClusterState) string {
	var names []string
	for _, r := range rows {
		if slices.Contains(states, r.State) {
			names = append(names, r.Name)
		}
	}
	return List(names)
}

// Number is a number of clusters in words.
func Number(n int) string {
	if n == 1 {
		return "1 cluster"
	}
	return fmt.Sprintf("%d clusters", n)
}

// List is the first of the names, for a message.
func List(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// maxMessage is how many bytes a message has at most. It can quote what somebody has written, and the API server takes
// 32768 bytes in a condition and 1024 in an event.
const maxMessage = 1000

// short cuts a message that is too long.
func short(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…"
}

// MissingSince is when the Secret was first found to be missing; now when it was not.
func MissingSince(hs *v1alpha1.FleetHandshake, now time.Time) time.Time {
	c := meta.FindStatusCondition(hs.Status.Conditions, v1alpha1.ConditionSourceAvailable)
	if c == nil || c.Reason != v1alpha1.ReasonSecretNotFound {
		return now
	}
	return c.LastTransitionTime.Time
}

// write puts the verdict into the conditions. This is the only place that writes them.
func (v verdict) write(s *v1alpha1.FleetHandshakeStatus, in Input) {
	set := func(conditionType string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: reason, Message: short(message),
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
	is := func(b bool) metav1.ConditionStatus {
		if b {
			return metav1.ConditionTrue
		}
		return metav1.ConditionFalse
	}
	set(v1alpha1.ConditionReady, is(v.state == v1alpha1.StateSynced), v.reason, v.message)
	onlyWhile(v1alpha1.ConditionStalled, v.stalled)
	onlyWhile(v1alpha1.ConditionReconciling, v.state != v1alpha1.StateSynced && !v.stalled)

	sum := s.Summary
	delivered, reason := sum.Desired > 0 && sum.Synced == sum.Desired, v1alpha1.ReasonDelivering
	switch {
	case delivered:
		reason = v1alpha1.ReasonSynced
	case sum.Desired == 0:
		reason = v1alpha1.ReasonNoTargets
	case v.state != v1alpha1.StateMissing:
		reason = v.reason
	}
	set(v1alpha1.ConditionDelivered, is(delivered), reason, fmt.Sprintf("%d of %d clusters have what was sent last", sum.Synced, sum.Desired))

	switch {
	case in.Problem != nil && in.Problem.Source:
		if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSourceAvailable); c != nil && c.Reason != in.Problem.Reason {
			// Its time is since when the Secret is missing, not since when there is any problem with it.
			meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionSourceAvailable)
		}
		set(v1alpha1.ConditionSourceAvailable, metav1.ConditionFalse, in.Problem.Reason, in.Problem.Message)
	case in.Problem != nil, !in.Handshake.DeletionTimestamp.IsZero():
		// The source was not looked at.
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionSourceAvailable)
	default:
		set(v1alpha1.ConditionSourceAvailable, metav1.ConditionTrue, v1alpha1.ReasonSecretFound,
			fmt.Sprintf("Secret %s/%s exists and may be sent", bundle.SourceNamespace(in.Handshake), in.Handshake.Spec.SecretName))
	}
}
