package bundle

import (
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Request is everything that Render looks at.
type Request struct {
	Handshake *v1alpha1.FleetHandshake
	// Current is the Bundle as it is now; nil when there is none.
	Current *fleet.Bundle
	// Hash, Revision and Names are those of the Sealed values.
	Hash     string
	Revision string
	Names    []string
	// Confirmed is true when every matched cluster has applied Revision.
	Confirmed bool
	// Refused is true when a cluster has refused to install Revision.
	Refused bool
	Now     time.Time
}

// Render makes the Bundle as it should be. Given the Bundle it has made and the same request, it makes the same Bundle
// until a resync is due: so nothing has to be written.
func Render(r Request) *fleet.Bundle {
	hs := r.Handshake
	namespace := TargetNamespace(hs)
	name := NameFor(hs)
	generation, delivery := advance(r)

	b := &fleet.Bundle{ObjectMeta: ObjectMeta(hs, name)}
	b.Annotations = map[string]string{v1alpha1.AnnotationDelivery: delivery.annotation()}
	b.Spec = fleet.BundleSpec{
		Paused:     hs.Spec.Paused,
		ValuesHash: r.Hash,
		Resources:  []fleet.BundleResource{{Name: "templates/secrets.yaml", Content: chart}},
		BundleDeploymentOptions: fleet.BundleDeploymentOptions{
			DefaultNamespace:    namespace,
			ForceSyncGeneration: generation,
			Helm: &fleet.HelmOptions{
				// Without a release name of its own Fleet may shorten the Bundle's.
				ReleaseName: name,
				// Values may hold "${".
				DisablePreProcess: true,
				// Without force a manual edit followed by a rotation is stuck for ever.
				Force: true,
			},
			// Without this Fleet copies the base64 value into public status when somebody edits the copy.
			Diff:         &fleet.DiffOptions{ComparePatches: comparePatches(namespace, r.Names)},
			CorrectDrift: &fleet.CorrectDrift{Enabled: hs.Spec.CorrectDrift == nil || *hs.Spec.CorrectDrift},
		},
		Targets: targets(hs.Spec.Targets),
	}
	if r.Current != nil {
		// The API server fills it in. It has no effect without targetRestrictions.
		b.Spec.TargetCustomizationMode = r.Current.Spec.TargetCustomizationMode
	}
	return b
}

// advance decides whether forceSyncGeneration has to be raised.
func advance(r Request) (int64, Delivery) {
	d := DeliveryOf(r.Current)
	request := r.Handshake.Annotations[v1alpha1.AnnotationResyncRequestedAt]
	if r.Current == nil {
		return 1, Delivery{AssertedAt: metav1.NewTime(r.Now), ResyncRequest: request}.sent(r.Revision, 1)
	}
	generation := r.Current.Spec.ForceSyncGeneration
	if generation < d.Since() {
		// Somebody has lowered it. A number that was used before would tell the wrong revision.
		generation = d.Since()
	}
	rotated := d.Revision() != r.Revision
	requested := d.ResyncRequest != request && request != ""
	over := func(due time.Time) bool { return !due.IsZero() && !r.Now.Before(due) }
	resync := requested || over(d.ResyncDue(ResyncInterval(r.Handshake)))
	scrub := r.Confirmed && over(d.ScrubDue())
	retry := r.Refused && over(d.RetryDue())
	switch {
	case rotated:
		d = d.sent(r.Revision, generation+1)
		d.Unscrubbed, d.Retries = true, 0
	case (resync || scrub) && !r.Handshake.Spec.Paused:
		d.Unscrubbed, d.Retries = d.Unscrubbed && !r.Confirmed, 0
	case retry && !r.Handshake.Spec.Paused:
		d.Retries++
	default:
		return generation, d
	}
	generation++
	d.AssertedAt = metav1.NewTime(r.Now)
	d.ResyncRequest = request
	return generation, d
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

func comparePatches(namespace string, names []string) []fleet.ComparePatch {
	patches := make([]fleet.ComparePatch, 0, len(names))
	for _, name := range names {
		patches = append(patches, fleet.ComparePatch{
			APIVersion: "v1", Kind: "Secret", Namespace: namespace, Name: name, JsonPointers: []string{"/data"},
		})
	}
	return patches
}

func targets(in []v1alpha1.ClusterTarget) []fleet.BundleTarget {
	out := make([]fleet.BundleTarget, 0, len(in))
	for i, t := range in {
		name := t.Name
		if name == "" {
			name = fmt.Sprintf("target%03d", i)
		}
		out = append(out, fleet.BundleTarget{
			Name:                 name,
			ClusterName:          t.ClusterName,
			ClusterSelector:      t.ClusterSelector,
			ClusterGroup:         t.ClusterGroup,
			ClusterGroupSelector: t.ClusterGroupSelector,
			DoNotDeploy:          t.DoNotDeploy,
		})
	}
	return out
}
