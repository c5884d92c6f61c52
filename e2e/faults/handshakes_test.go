package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// names are so many of a test's own.
func names(prefix string, count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%02d", prefix, i)
	}
	return out
}

// send makes a Secret and a handshake of each name, to some clusters.
func send(t *testing.T, names []string, sites ...site) {
	t.Helper()
	ctx := context.Background()
	var targets []v1alpha1.ClusterTarget
	for _, s := range sites {
		targets = append(targets, v1alpha1.ClusterTarget{ClusterName: s.name})
	}
	for _, name := range names {
		_, err := hub.CoreV1().Secrets(workspace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte("first")},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = hub.Handshakes.Create(ctx, &v1alpha1.FleetHandshake{
			ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
			Spec:       v1alpha1.FleetHandshakeSpec{SecretName: name, TargetNamespace: "apps", Targets: targets},
		})
		require.NoError(t, err)
	}
}

// dropAll deletes all handshakes, and all that was made for them, when no operator is left. It does not wait for the
// garbage collector: that takes its time after an API server was away.
func dropAll(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	gone := func(err error) {
		t.Helper()
		require.True(t, err == nil || apierrors.IsNotFound(err), "%v", err)
	}
	handshakes, err := hub.Handshakes.List(ctx, workspace, "")
	gone(err)
	for _, hs := range handshakes {
		gone(hub.Handshakes.Change(ctx, workspace, hs.Name, func(hs *v1alpha1.FleetHandshake) { hs.Finalizers = nil }))
		gone(hub.Handshakes.Delete(ctx, workspace, hs.Name))
	}
	gone(hub.CoreV1().Secrets(workspace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	bundles, err := hub.Bundles.List(ctx, workspace, "")
	gone(err)
	for _, b := range bundles {
		gone(hub.Bundles.Delete(ctx, b.Namespace, b.Name))
	}
	deployments, err := hub.Deployments.List(ctx, "", "")
	gone(err)
	for _, bd := range deployments {
		gone(hub.Deployments.Delete(ctx, bd.Namespace, bd.Name))
	}
}

// write puts another password into a Secret.
func write(ctx context.Context, name, password string) error {
	patch := fmt.Sprintf(`{"stringData":{"password":%q}}`, password)
	_, err := hub.CoreV1().Secrets(workspace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// rotation keeps writing new passwords into Secrets, one after the other.
type rotation struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	written map[string]int
}

// rotate begins a rotation that goes on until stop, with one write in each pace. What cannot be written is written later.
func rotate(t *testing.T, names []string, pace time.Duration) *rotation {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &rotation{cancel: cancel, ended: make(chan struct{}), written: map[string]int{}}
	go func() {
		defer close(r.ended)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			name := names[n%len(names)]
			if write(ctx, name, fmt.Sprintf("password-%d", n)) == nil {
				r.mu.Lock()
				r.written[name]++
				r.mu.Unlock()
			}
			<-tick.C
		}
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *rotation) stop() {
	r.cancel()
	<-r.ended
}

// rounds is how often each Secret was written at least.
func (r *rotation) rounds(names []string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := r.written[names[0]]
	for _, name := range names {
		least = min(least, r.written[name])
	}
	return least
}

// goOn waits until each Secret was written so many times more.
func (r *rotation) goOn(t *testing.T, names []string, times int) {
	t.Helper()
	goal := r.rounds(names) + times
	eventually(t, func(context.Context) error {
		if n := r.rounds(names); n < goal {
			return fmt.Errorf("each Secret was written %d times, not %d", n, goal)
		}
		return nil
	})
}

// carried says what a Bundle and its values Secret lack to be the only ones of a handshake, and to carry the last
// password. Otherwise it returns both.
func carried(ctx context.Context, hs *v1alpha1.FleetHandshake) (*fleet.Bundle, bundle.Sealed, error) {
	fail := func(err error) (*fleet.Bundle, bundle.Sealed, error) {
		return nil, bundle.Sealed{}, fmt.Errorf("%s: %w", hs.Name, err)
	}
	bundles, err := hub.Bundles.List(ctx, workspace, uidLabel(hs))
	if err != nil {
		return fail(err)
	}
	values, err := hub.CoreV1().Secrets(workspace).List(ctx, metav1.ListOptions{LabelSelector: uidLabel(hs)})
	if err != nil {
		return fail(err)
	}
	if len(bundles) != 1 || len(values.Items) != 1 {
		return fail(fmt.Errorf("there are %d Bundles and %d values Secrets, not one of each", len(bundles), len(values.Items)))
	}
	source, err := hub.CoreV1().Secrets(workspace).Get(ctx, hs.Name, metav1.GetOptions{})
	if err != nil {
		return fail(err)
	}
	held, err := bundle.Open(values.Items[0].Data)
	if err != nil {
		return fail(err)
	}
	var carries struct {
		Secrets []struct{ Data map[string][]byte }
	}
	err = json.Unmarshal(held.Data[bundle.ValuesKey], &carries)
	switch {
	case err != nil:
		return fail(err)
	case len(carries.Secrets) != 1 || !maps.EqualFunc(carries.Secrets[0].Data, source.Data, bytes.Equal):
		return fail(errors.New("the values Secret does not have the last password"))
	case bundles[0].Spec.ValuesHash != held.Hash || bundle.DeliveryOf(&bundles[0]).Revision() != held.Revision:
		return fail(errors.New("the Bundle speaks of other values than the values Secret holds"))
	}
	return &bundles[0], held, nil
}

func uidLabel(hs *v1alpha1.FleetHandshake) string {
	return v1alpha1.LabelHandshake + "=" + string(hs.UID)
}

// inStep says what is not as it has to be in the end: the content, what carries it, what the clusters answer, and what
// the status says of it all.
func inStep(ctx context.Context, name string, sites int) error {
	hs, err := hub.Handshakes.Get(ctx, workspace, name)
	if err != nil {
		return err
	}
	b, held, err := carried(ctx, hs)
	if err != nil {
		return err
	}
	if bundle.DeliveryOf(b).Unscrubbed {
		return fmt.Errorf("%s is not scrubbed", name)
	}
	deployments, err := hub.Deployments.List(ctx, "", uidLabel(hs))
	if err != nil {
		return err
	}
	if len(deployments) != sites {
		return fmt.Errorf("%s has %d BundleDeployments, not %d", name, len(deployments), sites)
	}
	for _, bd := range deployments {
		if bd.Status.SyncGeneration == nil || *bd.Status.SyncGeneration != b.Spec.ForceSyncGeneration || bd.Spec.ValuesHash != held.Hash {
			return fmt.Errorf("%s/%s has not applied the Bundle", bd.Namespace, bd.Name)
		}
	}
	if hs.Status.Revision != held.Revision || hs.Status.ObservedGeneration != hs.Generation {
		return fmt.Errorf("the status of %s speaks of another revision or generation", name)
	}
	return nil
}

// synced says what a handshake lacks to be Synced everywhere.
func synced(ctx context.Context, name string, sites int) error {
	if err := inStep(ctx, name, sites); err != nil {
		return err
	}
	hs, err := hub.Handshakes.Get(ctx, workspace, name)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d/%d", sites, sites); hs.Status.Status != v1alpha1.StateSynced || hs.Status.Display.ReadyClusters != want {
		return fmt.Errorf("%s says %s %s", name, hs.Status.Status, hs.Status.Display.ReadyClusters)
	}
	return nil
}

// settle waits until all handshakes are Synced everywhere.
func settle(t *testing.T, names []string, sites int) {
	t.Helper()
	each(t, patience, names, func(ctx context.Context, name string) error { return synced(ctx, name, sites) })
}

// each waits until a condition was met by every name.
func each(t *testing.T, limit time.Duration, names []string, condition func(ctx context.Context, name string) error) {
	t.Helper()
	left := slices.Clone(names)
	require.NoError(t, clients.Until(context.Background(), limit, func(ctx context.Context) error {
		for len(left) > 0 {
			if err := condition(ctx, left[0]); err != nil {
				return err
			}
			left = left[1:]
		}
		return nil
	}))
}
