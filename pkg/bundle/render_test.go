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
	"k8s.io/utils/ptr"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func registryCreds() *v1alpha1.FleetHandshake {
	return &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "registry-creds", UID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427"},
		Spec: v1alpha1.FleetHandshakeSpec{
			SecretName: "registry-creds", TargetNamespace: "apps",
			Targets: []v1alpha1.ClusterTarget{
				{ClusterGroup: "production"},
				{Name: "staging", ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "staging"}}, DoNotDeploy: true},
			},
		},
	}
}

func request(current *fleet.Bundle, revision string, now time.Time) Request {
	return Request{Handshake: registryCreds(), Current: current, Hash: "hash-" + revision, Revision: revision, Names: []string{"registry-creds"}, Now: now}
}

func TestRenderFollowsTheRulesOfSealedDelivery(t *testing.T) {
	assert.Equal(t, &fleet.Bundle{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "fleet-default",
			Name:      "hs-registry-creds-228797a959",
			Labels: map[string]string{
				"fleethandshake.io/handshake": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "fleethandshake.io/name": "registry-creds",
			},
			Annotations: map[string]string{
				"fleethandshake.io/delivery": `{"revisions":[{"from":1,"revision":"r1"}],"assertedAt":"2026-01-02T03:04:05Z"}`,
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
			Targets: []fleet.BundleTarget{
				{Name: "target000", ClusterGroup: "production"},
				{Name: "staging", ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "staging"}}, DoNotDeploy: true},
			},
		},
	}, Render(request(nil, "r1", start)))
}

func TestRenderRaisesTheGenerationOnlyWhenSomethingMustBeAppliedAgain(t *testing.T) {
	first := Render(request(nil, "r1", start))
	rotated := Render(request(first, "r2", start.Add(time.Minute)))
	for title, c := range map[string]struct {
		request    func() Request
		generation int64
		unscrubbed bool
	}{
		"nothing changed":                   {func() Request { return request(first, "r1", start.Add(59*time.Minute)) }, 1, false},
		"the Secret was rotated":            {func() Request { return request(first, "r2", start) }, 2, true},
		"a rotation is not confirmed yet":   {func() Request { return request(rotated, "r2", start.Add(2*time.Minute)) }, 2, true},
		"the resync interval is over":       {func() Request { return request(first, "r1", start.Add(time.Hour)) }, 2, false},
		"a resync does not end the rollout": {func() Request { return request(rotated, "r2", start.Add(2*time.Hour)) }, 3, true},
		"a rotation is confirmed": {func() Request {
			r := request(rotated, "r2", start.Add(2*time.Minute))
			r.Confirmed = true
			return r
		}, 3, false},
		"a rotation is confirmed, but only just": {func() Request {
			r := request(rotated, "r2", start.Add(time.Minute+4*time.Second))
			r.Confirmed = true
			return r
		}, 2, true},
		"a cluster refuses, but was only just asked": {func() Request {
			r := request(first, "r1", start.Add(4*time.Second))
			r.Refused = true
			return r
		}, 1, false},
		"a cluster refuses": {func() Request {
			r := request(first, "r1", start.Add(5*time.Second))
			r.Refused = true
			return r
		}, 2, false},
		"resyncs are off": {func() Request {
			r := request(first, "r1", start.Add(1000*time.Hour))
			r.Handshake.Spec.ResyncInterval = &metav1.Duration{}
			return r
		}, 1, false},
		"a resync was asked for": {func() Request {
			r := request(first, "r1", start)
			r.Handshake.Annotations = map[string]string{v1alpha1.AnnotationResyncRequestedAt: "now"}
			return r
		}, 2, false},
		"paused, a resync waits": {func() Request {
			r := request(first, "r1", start.Add(2*time.Hour))
			r.Handshake.Spec.Paused = true
			return r
		}, 1, false},
		"somebody lowered the generation": {func() Request {
			b := rotated.DeepCopy()
			b.Spec.ForceSyncGeneration = 0
			return request(b, "r2", start)
		}, 2, true},
		"somebody removed the annotation": {func() Request {
			b := rotated.DeepCopy()
			b.Annotations = nil
			return request(b, "r2", start)
		}, 3, true},
	} {
		t.Run(title, func(t *testing.T) {
			r := c.request()
			b := Render(r)
			assert.Equal(t, c.generation, b.Spec.ForceSyncGeneration)
			assert.Equal(t, c.unscrubbed, DeliveryOf(b).Unscrubbed)
			assert.Equal(t, r.Revision, DeliveryOf(b).Revision())
			r.Current, r.Confirmed, r.Refused = b, false, false
			assert.Equal(t, b, Render(r), "the same request again changes nothing")
		})
	}
}

func TestRetriesComeLessAndLessOften(t *testing.T) {
	b := Render(request(nil, "r1", start))
	now, waits := start, []string(nil)
	for range 9 {
		due := DeliveryOf(b).RetryDue()
		waits = append(waits, due.Sub(now).String())
		now = due
		r := request(b, "r1", now)
		r.Refused, r.Handshake.Spec.ResyncInterval = true, &metav1.Duration{}
		b = Render(r)
	}
	assert.Equal(t, []string{"5s", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s", "5m0s"}, waits)
	assert.Zero(t, DeliveryOf(Render(request(b, "r2", now))).Retries, "a rotation starts afresh")
}

func TestDeliveryKnowsWhatWasSentWhen(t *testing.T) {
	var b *fleet.Bundle
	for i, revision := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		b = Render(request(b, revision, start.Add(time.Duration(i)*time.Second)))
	}
	d := DeliveryOf(b)
	assert.Equal(t, []string{"", "", "c", "k", "l", "l"},
		[]string{d.RevisionAt(0), d.RevisionAt(2), d.RevisionAt(3), d.RevisionAt(11), d.RevisionAt(12), d.RevisionAt(99)})
	assert.Len(t, d.Revisions, maxRevisions)
	assert.Equal(t, int64(12), d.Since())
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
		one, err := renderSealed(hs, source)
		if err != nil {
			return // refused
		}
		again, _ := renderSealed(hs, source)
		if one != again {
			t.Fatal("not deterministic")
		}
		two, err := renderSealed(hs, other)
		if err == nil && one != two {
			t.Fatalf("the Bundle depends on the data:\n%s\n%s", one, two)
		}
	})
}

// renderSealed is the JSON of the Bundle, with the keyed hashes blotted out.
func renderSealed(hs *v1alpha1.FleetHandshake, source *corev1.Secret) (string, error) {
	sealed, err := Seal(source, nil, nonce("n"))
	if err != nil {
		return "", err
	}
	b := Render(Request{Handshake: hs, Hash: "hash", Revision: "revision", Names: sealed.Names, Now: start})
	out, err := json.Marshal(b)
	return string(out), err
}

func TestValuesSecretIsOwnedAndSealed(t *testing.T) {
	sealed, err := Seal(opaque(map[string][]byte{"k": []byte("v")}), nil, nonce("n"))
	require.NoError(t, err)
	s := ValuesSecret(registryCreds(), sealed)
	assert.Equal(t, corev1.SecretType("fleet.cattle.io/bundle-values/v1alpha1"), s.Type)
	assert.Equal(t, "hs-registry-creds-228797a959", s.Name)
	assert.True(t, metav1.IsControlledBy(s, registryCreds()))
}
