package bundle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestRenderFollowsTheRulesOfSealedDelivery(t *testing.T) {
	s := newStory("paris", "tokyo", "denver")
	s.Matched = clusters("paris", "tokyo")
	s.render(t)
	assert.Equal(t, &fleet.Bundle{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "fleet-default",
			Name:      "hs-registry-creds-228797a959",
			Labels: map[string]string{
				"fleethandshake.io/handshake": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "fleethandshake.io/name": "registry-creds",
			},
			Annotations: map[string]string{
				"fleethandshake.io/delivery": `{"revisions":[{"from":1,"revision":"r1","at":"2026-01-02T03:04:05.000000Z"}],"last":1,"assertedAt":"2026-01-02T03:04:05Z"}`,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "fleethandshake.io/v1alpha1", Kind: "FleetHandshake", Name: "registry-creds",
				UID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: fleet.BundleSpec{
			BundleDeploymentOptions: fleet.BundleDeploymentOptions{
				DefaultNamespace:    "apps",
				ForceSyncGeneration: 1,
				Helm:                &fleet.HelmOptions{ReleaseName: "hs-registry-creds-228797a959", DisablePreProcess: true, Force: true},
				Diff: &fleet.DiffOptions{ComparePatches: []fleet.ComparePatch{{
					APIVersion: "v1", Kind: "Secret", Namespace: "apps", Name: "registry-creds", JsonPointers: []string{"/data"},
				}}},
				CorrectDrift: &fleet.CorrectDrift{Enabled: true},
			},
			ValuesHash: "hash-r1",
			Resources:  []fleet.BundleResource{{Name: "templates/secrets.yaml", Content: chart}},
			Targets:    []fleet.BundleTarget{{Name: "deliver", ClusterName: "paris"}, {Name: "deliver", ClusterName: "tokyo"}},
		},
	}, s.Current)
}

func TestRenderRecordsWhatItDoes(t *testing.T) {
	s := newStory("a", "b")
	s.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	s.Now = time.Date(2026, 1, 2, 4, 4, 5, 123456789, time.FixedZone("", 3600))
	s.render(t)
	apply("a", "b")(s)
	s.rotate("r2")
	s.render(t)
	s.Answers["b"] = Answer{Refused: true}
	s.Matched = clusters("b")
	annotate(v1alpha1.AnnotationResyncRequestedAt, "now")(s)
	s.render(t)
	later(5 * time.Second)(s)
	s.render(t)
	assert.JSONEq(t, `{
		"revisions": [{"from": 1, "revision": "r1", "at": "2026-01-02T03:04:05.123456Z"}, {"from": 2, "revision": "r2", "at": "2026-01-02T03:04:05.123456Z"}],
		"guard": {"clusters": 2, "taken": 1, "at": "2026-01-02T03:04:05Z"},
		"last": 5, "assertedAt": "2026-01-02T03:04:05Z", "resyncRequest": "now", "unscrubbed": true,
		"retries": 1, "retriedAt": "2026-01-02T03:04:10Z", "keptFrom": 1,
		"withdrawals": [{"number": 4, "at": "2026-01-02T03:04:05Z"}]
	}`, s.Current.Annotations["fleethandshake.io/delivery"])
	assert.Equal(t, "3: a withdraw 4, b 5 | next 10s", s.say())
	assert.Equal(t, []fleet.BundleTarget{
		{Name: "withdraw", ClusterName: "a", BundleDeploymentOptions: fleet.BundleDeploymentOptions{ForceSyncGeneration: 4}},
		{Name: "deliver", ClusterName: "b", BundleDeploymentOptions: fleet.BundleDeploymentOptions{ForceSyncGeneration: 5}},
	}, s.Current.Spec.Targets)
}

func TestRenderFollowsTheSpec(t *testing.T) {
	render := func(change func(*story)) fleet.BundleSpec {
		s := newStory("a")
		s.Handshake.Spec.SecretNamespace = "platform"
		change(s)
		s.render(t)
		return s.Current.Spec
	}
	assert.False(t, render(func(s *story) { s.Handshake.Spec.CorrectDrift = ptr.To(false) }).CorrectDrift.Enabled)
	assert.True(t, render(func(s *story) { s.Handshake.Spec.ConflictPolicy = v1alpha1.ConflictAdopt }).Helm.TakeOwnership)
	assert.True(t, render(pause(true)).Paused)
	assert.True(t, render(retain).KeepResources)
	assert.Equal(t, "platform", render(func(s *story) { s.Handshake.Spec.TargetNamespace = "" }).DefaultNamespace)
	assert.Equal(t, fleet.TargetCustomizationMode("FirstMatch"), render(func(s *story) {
		s.render(t)
		s.Current.Spec.TargetCustomizationMode = "FirstMatch"
	}).TargetCustomizationMode, "what the API server fills in is left")
}

func TestDeliveryKnowsWhatWasSentWhen(t *testing.T) {
	s := newStory("a")
	for _, revision := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		s.rotate(revision)
		s.render(t)
		later(time.Second)(s)
	}
	d := DeliveryOf(s.Current)
	assert.Equal(t, []string{"", "", "c", "k", "l", "l"},
		[]string{d.RevisionAt(0), d.RevisionAt(2), d.RevisionAt(3), d.RevisionAt(11), d.RevisionAt(12), d.RevisionAt(99)})
	assert.Len(t, d.Revisions, maxRevisions)
	assert.Equal(t, "l", d.Revision())
	assert.Equal(t, int64(12), d.Since())
	assert.WithinDuration(t, start.Add(11*time.Second), d.SentAt(), 0)
}

func TestExpectedIsTheNumberThatConfirmsATarget(t *testing.T) {
	d := Delivery{Revisions: []RevisionSent{{From: 1, Revision: "r1"}, {From: 6, Revision: "r2"}}}
	for title, c := range map[string]struct {
		target Target
		want   int64
	}{
		"without a number of its own, that of the revision":             {Target{}, 6},
		"with a number of its own, that":                                {Target{Number: 7}, 7},
		"a number from before the revision is not enough":               {Target{Number: 5}, 6},
		"a withdrawal from before the revision goes by its own number":  {Target{Number: 5, Withdraw: true}, 5},
		"a withdrawal without a number is not what an older answer was": {Target{Withdraw: true}, 6},
	} {
		t.Run(title, func(t *testing.T) { assert.Equal(t, c.want, d.Expected(c.target)) })
	}
}

func TestABundleThatIsNotOursHasNoRecord(t *testing.T) {
	assert.Equal(t, Delivery{}, DeliveryOf(nil))
	assert.Equal(t, Delivery{}, DeliveryOf(&fleet.Bundle{}))
	assert.Empty(t, TargetsOf(nil))
	assert.Empty(t, TargetsOf(&fleet.Bundle{Spec: fleet.BundleSpec{Targets: []fleet.BundleTarget{{ClusterGroup: "production"}, {ClusterName: "a", DoNotDeploy: true}}}}))
}

// FuzzRender shows that the renderer never panics, is deterministic, and that the Bundle says nothing of the data: two
// Secrets that differ in nothing but their data make Bundles that differ in nothing but the keyed hashes.
func FuzzRender(f *testing.F) {
	f.Add("registry-creds", "apps", "key", []byte("hunter2"), []byte("hunter3"), "Opaque", "a", "b")
	f.Add("x", "", "a.b_c-d", []byte("{{ fail }} ${ x }"), []byte{0, 255}, "kubernetes.io/dockerconfigjson", "helm.sh/hook", "${ }")
	f.Add("", "", "", []byte{}, []byte(nil), "", "", "")
	f.Fuzz(func(t *testing.T, name, namespace, key string, data, otherData []byte, secretType, label, value string) {
		hs := registryCreds()
		hs.Name, hs.Spec.TargetNamespace = name, namespace
		source := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID(value), Labels: map[string]string{label: value}, Annotations: map[string]string{label: value}},
			Type:       corev1.SecretType(secretType), Data: map[string][]byte{key: data},
		}
		other := source.DeepCopy()
		other.Data = map[string][]byte{key + "x": otherData}
		one, err := renderSealed(hs, source, value)
		if err != nil {
			return // refused
		}
		again, _ := renderSealed(hs, source, value)
		if one != again {
			t.Fatal("not deterministic")
		}
		two, err := renderSealed(hs, other, value)
		if err == nil && one != two {
			t.Fatal("the Bundle depends on the data")
		}
	})
}

// renderSealed is the JSON of the Bundle, with the keyed hashes blotted out.
func renderSealed(hs *v1alpha1.FleetHandshake, source *corev1.Secret, cluster string) (string, error) {
	sealed, err := Seal(source, nil, Terms{}, newNonce("n"))
	if err != nil {
		return "", err
	}
	b, _ := Render(Request{
		Handshake: hs, Hash: "hash", Revision: "revision", Names: sealed.Names,
		Clusters: clusters("a", cluster), Matched: clusters(cluster), Now: start,
	})
	out, err := json.Marshal(b)
	return string(out), err
}

func TestValuesSecretIsOwnedAndSealed(t *testing.T) {
	sealed, err := Seal(opaque(map[string][]byte{"k": []byte("v")}), nil, Terms{}, newNonce("n"))
	require.NoError(t, err)
	s := ValuesSecret(registryCreds(), sealed)
	assert.Equal(t, corev1.SecretType("fleet.cattle.io/bundle-values/v1alpha1"), s.Type)
	assert.Equal(t, "hs-registry-creds-228797a959", s.Name)
	assert.True(t, metav1.IsControlledBy(s, registryCreds()))
	assert.Equal(t, sealed.Data, s.Data)
}

func TestAClusterThatRemovesItsCopyDoesNotWaitForTheRollout(t *testing.T) {
	s := newStory("a", "b", "c")
	canary := v1alpha1.RolloutPartition{Name: "canary", ClusterName: "a"}
	s.Handshake.Spec.RolloutStrategy = &v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{canary}}
	s.render(t)
	assert.Equal(t, []fleet.Partition{fleet.Partition(canary)}, s.Current.Spec.RolloutStrategy.Partitions)
	apply("a", "b", "c")(s)
	s.Matched = clusters("a", "c")
	s.render(t)
	assert.Equal(t, []fleet.Partition{
		{Name: "withdraw-b", ClusterName: "b", MaxUnavailable: ptr.To(intstr.FromString("100%"))}, fleet.Partition(canary),
	}, s.Current.Spec.RolloutStrategy.Partitions)
	assert.Len(t, s.Handshake.Spec.RolloutStrategy.Partitions, 1, "the handshake's own is not changed")
}

func TestClustersAreToldApartByRanchersOwnName(t *testing.T) {
	s := newStory("a", "b")
	s.Clusters[0].Labels = map[string]string{"management.cattle.io/cluster-name": "c-m-1"}
	s.render(t)
	assert.Equal(t, []fleet.BundleTarget{
		{Name: "deliver", ClusterName: "a", ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"management.cattle.io/cluster-name": "c-m-1"}}},
		{Name: "deliver", ClusterName: "b"},
	}, s.Current.Spec.Targets)
}
