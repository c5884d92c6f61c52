package bundle

import (
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Request is everything that Render looks at.
type Request struct {
	Handshake *v1alpha1.FleetHandshake
	// Current is the Bundle as it is now; nil when there is none.
	Current *fleet.Bundle
	// Hash, Revision, Source and Names are those of the Sealed values.
	Hash     string
	Revision string
	Source   string
	Names    []string
	// Withdraw is true when no cluster is to have the Secret any more.
	Withdraw bool
	// Clusters are all of the workspace, and Matched those that the targets match.
	Clusters []*fleet.Cluster
	Matched  []*fleet.Cluster
	// Refused are clusters that the Secret may not be in, by name. They are not in Matched.
	Refused map[string]bool
	// Revoked is true when it may not be anywhere any more. A pause does not hold that back.
	Revoked bool
	// Answers are those of the clusters that have a BundleDeployment, by name.
	Answers map[string]Answer
	// WithdrawalThreshold is the percentage of the clusters that a change of targets may withdraw from unconfirmed.
	WithdrawalThreshold int
	Now                 time.Time
}

// Render makes the Bundle as it should be. Given the Bundle it has made and the same request, it makes the same Bundle
// until Outcome.Next: so nothing has to be written.
func Render(r Request) (*fleet.Bundle, Outcome) {
	hs := r.Handshake
	namespace := TargetNamespace(hs)
	name := NameFor(hs)
	p := newPlanner(r)
	p.raise()
	targets := p.targets()
	p.out.Next = p.timer.Next

	b := &fleet.Bundle{ObjectMeta: ObjectMeta(hs, name)}
	b.Annotations = map[string]string{v1alpha1.AnnotationDelivery: p.delivery.annotation()}
	b.Spec = fleet.BundleSpec{
		Paused:     p.paused(),
		ValuesHash: r.Hash,
		Resources:  []fleet.BundleResource{{Name: "templates/secrets.yaml", Content: chart}},
		BundleDeploymentOptions: fleet.BundleDeploymentOptions{
			DefaultNamespace:    namespace,
			ForceSyncGeneration: p.number,
			KeepResources:       p.retain(),
			Helm: &fleet.HelmOptions{
				// Without a release name of its own Fleet may shorten the Bundle's.
				ReleaseName: name,
				// Values may hold "${".
				DisablePreProcess: true,
				// Without force a manual edit followed by a rotation is stuck for ever.
				Force:         true,
				TakeOwnership: hs.Spec.ConflictPolicy == v1alpha1.ConflictAdopt,
			},
			// Without this Fleet copies the base64 value into public status when somebody edits the copy.
			Diff:         &fleet.DiffOptions{ComparePatches: comparePatches(namespace, r.Names)},
			CorrectDrift: &fleet.CorrectDrift{Enabled: hs.Spec.CorrectDrift == nil || *hs.Spec.CorrectDrift},
		},
		Targets: fleetTargets(targets, r.Clusters),
	}
	// A rollout does not hold back what has to go.
	if !p.removing() && !p.Revoked && !p.takingBack(targets) {
		b.Spec.RolloutStrategy = rollout(hs.Spec.RolloutStrategy, targets)
	}
	if r.Current != nil {
		// The API server fills it in. It has no effect without targetRestrictions.
		b.Spec.TargetCustomizationMode = r.Current.Spec.TargetCustomizationMode
	}
	return b, p.out
}

// rollout is the strategy in Fleet's words. Each cluster that is to remove its copy is in a partition of its own, before
// all others: otherwise Fleet would hand that on only when the rollout comes to the cluster, or never when no partition
// matches it.
func rollout(s *v1alpha1.RolloutStrategy, targets []Target) *fleet.RolloutStrategy {
	if s == nil {
		return nil
	}
	s = s.DeepCopy()
	out := &fleet.RolloutStrategy{
		MaxUnavailable: s.MaxUnavailable, MaxUnavailablePartitions: s.MaxUnavailablePartitions, AutoPartitionSize: s.AutoPartitionSize,
		AutoPartitionThreshold: number(s.AutoPartitionThreshold), MaxNew: number(s.MaxNew),
	}
	if len(s.Partitions) == 0 {
		return out
	}
	all := intstr.FromString("100%")
	for _, t := range targets {
		if t.Withdraw {
			out.Partitions = append(out.Partitions, fleet.Partition{Name: nameWithdraw + "-" + t.Cluster, ClusterName: t.Cluster, MaxUnavailable: &all})
		}
	}
	for _, p := range s.Partitions {
		out.Partitions = append(out.Partitions, fleet.Partition(p))
	}
	return out
}

func number(n *int32) *int {
	if n == nil {
		return nil
	}
	return ptr.To(int(*n))
}

// NameFor is the Name for a handshake as it is now.
func NameFor(hs *v1alpha1.FleetHandshake) string {
	return Name(hs.Name, hs.UID, TargetNamespace(hs))
}

// ObjectMeta of the Bundle and of its values Secret: both belong to the handshake and go with it.
func ObjectMeta(hs *v1alpha1.FleetHandshake, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: hs.Namespace,
		Name:      name,
		Labels: map[string]string{
			v1alpha1.LabelHandshake: string(hs.UID),
			v1alpha1.LabelName:      LabelValue(hs.Name),
		},
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(hs, v1alpha1.SchemeGroupVersion.WithKind("FleetHandshake")),
		},
	}
}

// ValuesSecret is the Secret that carries the sealed values to Fleet.
func ValuesSecret(hs *v1alpha1.FleetHandshake, sealed Sealed) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: ObjectMeta(hs, NameFor(hs)),
		Type:       fleet.SecretTypeBundleValues,
		Data:       sealed.Data,
	}
}

// SourceNamespace is the namespace of the Secret on the hub.
func SourceNamespace(hs *v1alpha1.FleetHandshake) string {
	if hs.Spec.SecretNamespace != "" {
		return hs.Spec.SecretNamespace
	}
	return hs.Namespace
}

// TargetNamespace is the namespace in the downstream clusters.
func TargetNamespace(hs *v1alpha1.FleetHandshake) string {
	if hs.Spec.TargetNamespace != "" {
		return hs.Spec.TargetNamespace
	}
	return SourceNamespace(hs)
}

// ResyncInterval is how often the data is written again; zero means never.
func ResyncInterval(hs *v1alpha1.FleetHandshake) time.Duration {
	if hs.Spec.ResyncInterval == nil {
		return time.Hour
	}
	return hs.Spec.ResyncInterval.Duration
}

// RemovalTimeout is how long to wait for the confirmation of a removal.
func RemovalTimeout(hs *v1alpha1.FleetHandshake) time.Duration {
	if hs.Spec.RemovalTimeout == nil {
		return 10 * time.Minute
	}
	return hs.Spec.RemovalTimeout.Duration
}

// RemovalForced says whether somebody has ended the wait for the confirmation of a handshake that is being deleted.
func RemovalForced(hs *v1alpha1.FleetHandshake) bool {
	return !hs.DeletionTimestamp.IsZero() && hs.Annotations[v1alpha1.AnnotationForceDelete] == "true"
}

// RemovalDeadline is until when a handshake that is being deleted waits for the confirmation of its clusters.
func RemovalDeadline(hs *v1alpha1.FleetHandshake) time.Time {
	return hs.DeletionTimestamp.Add(RemovalTimeout(hs))
}

func comparePatches(namespace string, names []string) []fleet.ComparePatch {
	patches := make([]fleet.ComparePatch, 0, len(names))
	for _, name := range names {
		patches = append(patches, fleet.ComparePatch{
			APIVersion: "v1", Kind: "Secret", Namespace: namespace, Name: name, JsonPointers: []string{"/data"},
		})
	}
	return patches
}
