package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/genericcondition"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// site is a cluster as Fleet knows it.
type site struct {
	name string
	// seen is when its agent reported last; the zero time is never.
	seen time.Time
}

func (s site) namespace() string { return "cluster-" + s.name }

// fakeFleet answers for Fleet's controller and the agents of all clusters: for each cluster that a Bundle names it
// writes the BundleDeployment as Fleet's controller does, and then its status as an agent does that has applied it. It
// does so from what it finds, again and again, and so gets over an API server that goes away.
type fakeFleet struct {
	api dynamic.Interface
	// now is what the clusters' clocks say.
	now func() time.Time

	mu     sync.Mutex
	silent bool
	last   error
}

// startFleet makes the clusters and answers for them until the test ends. Begin a test with it: all handshakes go when
// it and every operator have ended.
func startFleet(t *testing.T, now func() time.Time, sites ...site) *fakeFleet {
	t.Helper()
	t.Cleanup(func() { dropAll(t) })
	api, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	f := &fakeFleet{api: api, now: now}
	for _, s := range sites {
		f.register(t, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.work(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Log("the fake Fleet's last error:", f.last)
		}
	})
	return f
}

// register makes a cluster that lasts as long as the test.
func (f *fakeFleet) register(t *testing.T, s site) {
	t.Helper()
	ctx := context.Background()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace()}}
	if _, err := hub.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	_, err := hub.Clusters.Create(ctx, &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: s.name}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, hub.Clusters.Delete(ctx, workspace, s.name)) })
	agent := map[string]any{"namespace": "cattle-fleet-system"}
	if !s.seen.IsZero() {
		agent["lastSeen"] = s.seen.UTC().Format(time.RFC3339)
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{"namespace": s.namespace(), "agent": agent}})
	require.NoError(t, err)
	_, err = f.api.Resource(fleet.SchemeGroupVersion.WithResource("clusters")).Namespace(workspace).
		Patch(ctx, s.name, types.MergePatchType, status, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
}

// fallSilent makes no cluster answer until the function that it returns is called.
func (f *fakeFleet) fallSilent() (answerAgain func()) {
	set := func(silent bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.silent = silent
	}
	set(true)
	return func() { set(false) }
}

func (f *fakeFleet) work(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		silent := f.silent
		f.mu.Unlock()
		if silent {
			continue
		}
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.last = fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly), err)
		}
	}
}

// round brings all BundleDeployments in step with the Bundles.
func (f *fakeFleet) round(ctx context.Context) error {
	bundles, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelHandshake)
	if err != nil {
		return err
	}
	deployments, err := hub.Deployments.List(ctx, "", v1alpha1.LabelHandshake)
	if err != nil {
		return err
	}
	found := map[types.NamespacedName]fleet.BundleDeployment{}
	for _, bd := range deployments {
		found[types.NamespacedName{Namespace: bd.Namespace, Name: bd.Name}] = bd
	}
	for i := range bundles {
		for _, target := range bundles[i].Spec.Targets {
			if target.DoNotDeploy {
				continue
			}
			want := f.deployment(&bundles[i], target)
			key := types.NamespacedName{Namespace: want.Namespace, Name: want.Name}
			is := found[key]
			delete(found, key)
			if is.Status.AppliedDeploymentID == want.Spec.DeploymentID {
				continue
			}
			if err := f.write(ctx, want); err != nil {
				return err
			}
		}
	}
	for _, left := range found {
		if err := hub.Deployments.Delete(ctx, left.Namespace, left.Name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// write applies the BundleDeployment, and then its status.
func (f *fakeFleet) write(ctx context.Context, bd *fleet.BundleDeployment) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(bd)
	if err != nil {
		return err
	}
	status := content["status"]
	delete(content, "status")
	resource := f.api.Resource(fleet.SchemeGroupVersion.WithResource("bundledeployments")).Namespace(bd.Namespace)
	how := metav1.ApplyOptions{FieldManager: "fake-fleet", Force: true}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	if _, err := resource.Apply(ctx, bd.Name, u, how); err != nil {
		return err
	}
	delete(content, "spec")
	content["status"] = status
	_, err = resource.ApplyStatus(ctx, bd.Name, u, how)
	return err
}

// deployment is what one cluster has once it has applied its target (Fleet 0.16.0, internal/cmd/controller/target and
// internal/cmd/agent).
func (f *fakeFleet) deployment(b *fleet.Bundle, target fleet.BundleTarget) *fleet.BundleDeployment {
	number := b.Spec.ForceSyncGeneration
	if target.ForceSyncGeneration > 0 {
		number = target.ForceSyncGeneration
	}
	sum := sha256.Sum256(fmt.Append(nil, b.Spec.ValuesHash, target.Name, number))
	id := "s-" + hex.EncodeToString(sum[:])
	labels := map[string]string{
		fleet.BundleLabel: b.Name, fleet.BundleNamespaceLabel: b.Namespace, fleet.ManagedLabel: "true",
		fleet.ClusterLabel: target.ClusterName, fleet.ClusterNamespaceLabel: workspace,
	}
	for k, v := range b.Labels {
		labels[k] = v
	}
	options := b.Spec.BundleDeploymentOptions
	options.ForceSyncGeneration = number
	at := f.now().UTC().Format(time.RFC3339)
	var conditions []genericcondition.GenericCondition
	for _, c := range []string{fleet.BundleDeploymentConditionInstalled, fleet.BundleDeploymentConditionDeployed, fleet.BundleDeploymentConditionReady} {
		conditions = append(conditions, genericcondition.GenericCondition{Type: c, Status: corev1.ConditionTrue, LastUpdateTime: at, LastTransitionTime: at})
	}
	return &fleet.BundleDeployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: fleet.SchemeGroupVersion.String(), Kind: "BundleDeployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: site{name: target.ClusterName}.namespace(), Name: b.Name, Labels: labels},
		Spec: fleet.BundleDeploymentSpec{
			DeploymentID: id, StagedDeploymentID: id, Options: options, StagedOptions: options,
			CorrectDrift: options.CorrectDrift, ValuesHash: b.Spec.ValuesHash,
		},
		Status: fleet.BundleDeploymentStatus{
			Conditions: conditions, AppliedDeploymentID: id, SyncGeneration: ptr.To(number), Ready: true, NonModified: true,
			Release: fmt.Sprintf("%s/%s:%d", b.Spec.DefaultNamespace, b.Name, number),
			Display: fleet.BundleDeploymentDisplay{State: string(fleet.Ready)},
		},
	}
}
