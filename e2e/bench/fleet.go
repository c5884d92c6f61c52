package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	workspace      = "fleet-default"
	clusterCount   = 2000
	handshakeCount = 20
	// sizeLimit is how large a FleetHandshake may be, in bytes of JSON.
	sizeLimit = 200_000
	// rolloutTime is over how long the clusters answer to a rotation.
	rolloutTime = 30 * time.Second
	// checkinInterval is how often the agent of each cluster reports; the default of Fleet.
	checkinInterval = 15 * time.Minute
	steadyTime      = 60 * time.Second
	patience        = 10 * time.Minute
)

// fleetBench is one run of the measurement "fleet".
type fleetBench struct {
	*bench
	api        *rest.RESTClient
	operator   *operator
	simulation *simulation

	mu         sync.Mutex
	handshakes map[string]*v1alpha1.FleetHandshake
	bundles    map[string]*fleet.Bundle
	// following is true when the simulation gets each Bundle.
	following bool
	// largest is the size of the largest state of any handshake, and largestBundle that of any Bundle.
	largest, largestBundle int
}

// measureFleet measures what the operator does for 20 handshakes and a simulated fleet of 2,000 clusters.
func measureFleet(ctx context.Context, b *bench) error {
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	api, err := rawClient(b.lab.Hub.Config)
	if err != nil {
		return err
	}
	r, err := newReport()
	if err != nil {
		return err
	}
	f := &fleetBench{bench: b, api: api, handshakes: map[string]*v1alpha1.FleetHandshake{}, bundles: map[string]*fleet.Bundle{}}
	if err := f.makeClusters(ctx); err != nil {
		return err
	}
	if f.simulation, err = newSimulation(ctx, b.lab.Hub, failed); err != nil {
		return err
	}
	if err := f.watch(ctx); err != nil {
		return err
	}
	if f.operator, err = startOperator(ctx, b); err != nil {
		return err
	}
	defer f.operator.stop()

	for _, step := range []func(context.Context, *report) error{f.bringUp, f.rotate, f.steady, f.footprint} {
		if err := step(ctx, r); err != nil {
			return errors.Join(err, context.Cause(ctx), fmt.Errorf("the operator's log ends with:\n%s", f.operator.tail()))
		}
	}
	return r.print(ctx, b)
}

func clusterName(i int) string   { return fmt.Sprintf("cluster-%04d", i) }
func handshakeName(i int) string { return fmt.Sprintf("handshake-%02d", i) }

// siteNamespace is the namespace of a Cluster's BundleDeployments.
func siteNamespace(cluster string) string { return "cluster-" + workspace + "-" + cluster }

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func (f *fleetBench) makeClusters(ctx context.Context) error {
	f.say("making %d Clusters with a namespace each", clusterCount)
	if _, err := f.hub.CoreV1().Namespaces().Create(ctx, namespace(workspace), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the workspace: %w", err)
	}
	err := parallel(ctx, clusterCount, func(i int) error {
		name := clusterName(i)
		if _, err := f.hub.CoreV1().Namespaces().Create(ctx, namespace(siteNamespace(name)), metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := f.hub.Clusters.Create(ctx, &fleet.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name, Labels: map[string]string{"env": "production"}},
		})
		if err != nil {
			return err
		}
		return f.checkIn(ctx, name)
	})
	if err != nil {
		return fmt.Errorf("making clusters: %w", err)
	}
	return nil
}

// checkIn is the report of the agent of a cluster.
func (f *fleetBench) checkIn(ctx context.Context, cluster string) error {
	body, err := json.Marshal(map[string]any{"status": map[string]any{
		"namespace": siteNamespace(cluster),
		"agent":     fleet.AgentStatus{LastSeen: metav1.Now(), Namespace: "cattle-fleet-system"},
	}})
	if err != nil {
		return err
	}
	path := "/apis/fleet.cattle.io/v1alpha1/namespaces/" + workspace + "/clusters"
	_, err = f.api.Patch(types.MergePatchType).AbsPath(path, cluster, "status").Body(body).DoRaw(ctx)
	return err
}

// watch keeps the handshakes and the Bundles as they are now, until ctx ends.
func (f *fleetBench) watch(ctx context.Context) error {
	client, err := dynamic.NewForConfig(f.lab.Hub.Config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	informers := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, workspace, nil)
	for gvr, seen := range map[schema.GroupVersionResource]func(*unstructured.Unstructured) error{
		v1alpha1.SchemeGroupVersion.WithResource("fleethandshakes"): f.sawHandshake,
		fleet.SchemeGroupVersion.WithResource("bundles"):            f.sawBundle,
	} {
		call := func(o any) {
			if u, ok := o.(*unstructured.Unstructured); ok {
				if err := seen(u); err != nil {
					f.simulation.failed(fmt.Errorf("watching %s: %w", gvr.Resource, err))
				}
			}
		}
		_, err := informers.ForResource(gvr).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: call, UpdateFunc: func(_, now any) { call(now) },
		})
		if err != nil {
			return fmt.Errorf("watching %s: %w", gvr.Resource, err)
		}
	}
	informers.Start(ctx.Done())
	informers.WaitForCacheSync(ctx.Done())
	return context.Cause(ctx)
}

func (f *fleetBench) sawHandshake(u *unstructured.Unstructured) error {
	hs, size, err := read[v1alpha1.FleetHandshake](u)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handshakes[hs.Name] = hs
	f.largest = max(f.largest, size)
	return nil
}

func (f *fleetBench) sawBundle(u *unstructured.Unstructured) error {
	b, size, err := read[fleet.Bundle](u)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bundles[b.Labels[v1alpha1.LabelName]] = b
	f.largestBundle = max(f.largestBundle, size)
	if f.following {
		f.simulation.follow(b)
	}
	return nil
}

// startSimulation hands all Bundles to the simulation, and from then on each that changes.
func (f *fleetBench) startSimulation() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.following = true
	for _, b := range f.bundles {
		f.simulation.follow(b)
	}
}

// read gives an object and its size in bytes of JSON, as the API server sends it.
func read[T any](u *unstructured.Unstructured) (*T, int, error) {
	raw, err := u.MarshalJSON()
	if err != nil {
		return nil, 0, err
	}
	o := new(T)
	return o, len(raw), runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o)
}

// until waits until all handshakes are as they are to be.
func (f *fleetBench) until(ctx context.Context, what string, is func(*v1alpha1.FleetHandshake, *fleet.Bundle) bool) error {
	said := time.Now()
	return clients.Until(ctx, patience, func(context.Context) error {
		f.mu.Lock()
		n, copies := 0, 0
		for name, hs := range f.handshakes {
			if b := f.bundles[name]; b != nil && is(hs, b) {
				n++
			}
			copies += int(hs.Status.Summary.Synced)
		}
		f.mu.Unlock()
		if n == handshakeCount {
			return nil
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			done, all, _ := f.simulation.progress()
			f.say("%s: %d of %d handshakes; the simulation has done %d of %d bundle deployments, %d are reported as Synced", what, n, handshakeCount, done, all, copies)
		}
		return fmt.Errorf("%s: %d of %d handshakes", what, n, handshakeCount)
	})
}

// settled waits until everything that Fleet has to do is done.
func (f *fleetBench) settled(ctx context.Context) (time.Time, error) {
	var at time.Time
	err := clients.Until(ctx, patience, func(context.Context) error {
		done, all, since := f.simulation.progress()
		if at = since; done < all || all == 0 {
			return fmt.Errorf("the simulation has done %d of %d bundle deployments", done, all)
		}
		return nil
	})
	return at, err
}

func synced(hs *v1alpha1.FleetHandshake, b *fleet.Bundle) bool {
	return hs.Status.Status == v1alpha1.StateSynced && hs.Status.Summary.Synced == clusterCount && hs.Status.Revision == bundle.DeliveryOf(b).Revision()
}

// largestNow is the size of the largest handshake in bytes, as the API server sends it.
func (f *fleetBench) largestNow(ctx context.Context) (int, error) {
	size := 0
	for i := range handshakeCount {
		path := "/apis/fleethandshake.io/v1alpha1/namespaces/" + workspace + "/fleethandshakes/" + handshakeName(i)
		raw, err := f.api.Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			return 0, err
		}
		size = max(size, len(raw))
	}
	return size, nil
}
