package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/genericcondition"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

// simulation stands in for Fleet's controller and the agents of all clusters. For each cluster that a Bundle names it
// writes the BundleDeployment as Fleet's controller does, and then its status as the agent does that has applied it:
// two writes for each change. It writes nothing else of what Fleet writes, and takes no BundleDeployment away.
type simulation struct {
	api  *rest.RESTClient
	etcd string
	// client is for etcd.
	client *http.Client
	queue  workqueue.TypedInterface[*deployment]
	// failed ends the benchmark.
	failed context.CancelCauseFunc

	mu  sync.Mutex
	how speed
	all map[types.NamespacedName]*deployment
	// open is how many deployments are not as they are to be, and settledAt when that was last none.
	open      int
	settledAt time.Time
	writes    int
}

// speed says how the simulation writes.
type speed struct {
	// direct puts the objects into etcd, from where the API server sends them to all watches. That takes a fraction of
	// the API server's time for a write.
	direct bool
	// pace bounds how many BundleDeployments are worked on in a time; nil does not.
	pace flowcontrol.RateLimiter
}

// deployment is one BundleDeployment.
type deployment struct {
	types.NamespacedName
	cluster string
	// want is what it is to be, and open whether it is not yet; the mutex of the simulation guards both.
	want order
	open bool
	// meta is what the API server has filled in; empty until it is made. Only the one worker that has it from the
	// queue uses it.
	meta metav1.ObjectMeta
}

// order is what a Bundle says of one cluster.
type order struct {
	bundle *fleet.Bundle
	number int64
	id     string
}

// shuffled hands out in no order, as agents answer.
type shuffled[T any] []T

func (q *shuffled[T]) Touch(T)    {}
func (q *shuffled[T]) Push(one T) { *q = append(*q, one) }
func (q *shuffled[T]) Len() int   { return len(*q) }

func (q *shuffled[T]) Pop() T {
	all := *q
	i, last := rand.IntN(len(all)), len(all)-1
	one := all[i]
	all[i] = all[last]
	*q = all[:last]
	return one
}

// newSimulation works until ctx ends.
func newSimulation(ctx context.Context, hub *lab.Cluster, failed context.CancelCauseFunc) (*simulation, error) {
	api, err := rawClient(hub.Config)
	if err != nil {
		return nil, err
	}
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[*deployment]{Queue: &shuffled[*deployment]{}})
	s := &simulation{api: api, etcd: hub.EtcdURL, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}, queue: queue, failed: failed, all: map[types.NamespacedName]*deployment{}}
	for range workers {
		go s.work(ctx)
	}
	context.AfterFunc(ctx, s.queue.ShutDown)
	return s, nil
}

// rawClient sends and receives JSON by path.
func rawClient(cfg *rest.Config) (*rest.RESTClient, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.GroupVersion = &schema.GroupVersion{}
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return client, nil
}

// follow brings the BundleDeployments of a Bundle in step with it.
func (s *simulation) follow(b *fleet.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range b.Spec.Targets {
		key := types.NamespacedName{Namespace: siteNamespace(t.ClusterName), Name: b.Name}
		d := s.all[key]
		if d == nil {
			d = &deployment{NamespacedName: key, cluster: t.ClusterName}
			s.all[key] = d
		}
		number := b.Spec.ForceSyncGeneration
		if t.ForceSyncGeneration > 0 {
			number = t.ForceSyncGeneration
		}
		id := deploymentID(b.Spec.ValuesHash, t.Name, number)
		if d.want.id == id {
			continue
		}
		d.want = order{b, number, id}
		if !d.open {
			d.open = true
			s.open++
		}
		s.queue.Add(d)
	}
}

func deploymentID(parts ...any) string {
	sum := sha256.Sum256(fmt.Append(nil, parts...))
	digits := hex.EncodeToString(sum[:])
	return "s-" + digits[:60] + ":" + digits
}

// goOn says how to write from now on.
func (s *simulation) goOn(how speed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = how
}

// spreadOver is the speed at which n BundleDeployments take a time.
func spreadOver(n int, time time.Duration) speed {
	return speed{pace: flowcontrol.NewTokenBucketRateLimiter(float32(float64(n)/time.Seconds()), 1)}
}

// progress is how many of the BundleDeployments are as they are to be, how many there are, and since when all are.
func (s *simulation) progress() (done, all int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all) - s.open, len(s.all), s.settledAt
}

func (s *simulation) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func (s *simulation) work(ctx context.Context) {
	for {
		d, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		if err := s.carryOut(ctx, d); err != nil {
			s.failed(fmt.Errorf("simulating Fleet: bundle deployment %s: %w", d.NamespacedName, err))
		}
		s.queue.Done(d)
	}
}

func (s *simulation) carryOut(ctx context.Context, d *deployment) error {
	s.mu.Lock()
	how, want := s.how, d.want
	s.mu.Unlock()
	if how.pace != nil {
		if err := how.pace.Wait(ctx); err != nil {
			return err
		}
	}
	write := s.writeToAPI
	if how.direct {
		write = s.putIntoEtcd
	}
	object := d.object(want)
	if err := write(ctx, object, ""); err != nil {
		return err
	}
	object.Status = d.answer(want)
	if err := write(ctx, object, "status"); err != nil {
		return err
	}
	d.meta = object.ObjectMeta
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes += 2
	if d.open && d.want.id == want.id {
		d.open = false
		if s.open--; s.open == 0 {
			s.settledAt = time.Now()
		}
	}
	return nil
}

// writeToAPI writes the BundleDeployment or its subresource, and notes the metadata that come back.
func (s *simulation) writeToAPI(ctx context.Context, o *fleet.BundleDeployment, subresource string) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	path := "/apis/" + o.APIVersion + "/namespaces/" + o.Namespace + "/bundledeployments"
	request := s.api.Post().AbsPath(path)
	if o.ResourceVersion != "" {
		request = s.api.Put().AbsPath(path, o.Name, subresource)
	}
	raw, err := request.Body(body).DoRaw(ctx)
	if err != nil {
		return err
	}
	return note(o, raw)
}

// note takes over the metadata of what the API server has written.
func note(o *fleet.BundleDeployment, raw []byte) error {
	var written metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &written); err != nil {
		return err
	}
	o.ObjectMeta = written.ObjectMeta
	o.ManagedFields = nil
	return nil
}

// putIntoEtcd writes the BundleDeployment as the API server stores it.
func (s *simulation) putIntoEtcd(ctx context.Context, o *fleet.BundleDeployment, _ string) error {
	if o.UID == "" {
		o.UID, o.CreationTimestamp, o.Generation = uuid.NewUUID(), metav1.Now(), 1
	}
	o.ResourceVersion = ""
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string][]byte{"key": []byte("/registry/" + fleet.SchemeGroupVersion.Group + "/bundledeployments/" + o.Namespace + "/" + o.Name), "value": value})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.etcd+"/v3/kv/put", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if o.ResourceVersion = answer.Header.Revision; o.ResourceVersion == "" {
		return fmt.Errorf("etcd answers %s", response.Status)
	}
	return nil
}

// object is the BundleDeployment as Fleet's controller writes it (Fleet 0.16.0, internal/cmd/controller/target).
func (d *deployment) object(want order) *fleet.BundleDeployment {
	labels := map[string]string{
		fleet.BundleLabel: want.bundle.Name, fleet.BundleNamespaceLabel: want.bundle.Namespace, fleet.ManagedLabel: "true",
		fleet.ClusterLabel: d.cluster, fleet.ClusterNamespaceLabel: workspace,
	}
	for k, v := range want.bundle.Labels {
		labels[k] = v
	}
	options := want.bundle.Spec.BundleDeploymentOptions
	options.ForceSyncGeneration = want.number
	meta := d.meta
	meta.Namespace, meta.Name, meta.Labels = d.Namespace, d.Name, labels
	return &fleet.BundleDeployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: fleet.SchemeGroupVersion.String(), Kind: "BundleDeployment"},
		ObjectMeta: meta,
		Spec: fleet.BundleDeploymentSpec{
			DeploymentID: want.id, StagedDeploymentID: want.id, Options: options, StagedOptions: options,
			CorrectDrift: options.CorrectDrift, ValuesHash: want.bundle.Spec.ValuesHash,
		},
	}
}

// answer is what the agent of the cluster says when it has applied (Fleet 0.16.0, internal/cmd/agent).
func (d *deployment) answer(want order) fleet.BundleDeploymentStatus {
	now := time.Now().UTC().Format(time.RFC3339)
	var conditions []genericcondition.GenericCondition
	for _, c := range []string{fleet.BundleDeploymentConditionInstalled, fleet.BundleDeploymentConditionDeployed, fleet.BundleDeploymentConditionReady, fleet.BundleDeploymentConditionMonitored} {
		conditions = append(conditions, genericcondition.GenericCondition{Type: c, Status: corev1.ConditionTrue, LastUpdateTime: now})
	}
	namespace := want.bundle.Spec.DefaultNamespace
	return fleet.BundleDeploymentStatus{
		Conditions: conditions, AppliedDeploymentID: want.id, SyncGeneration: ptr.To(want.number), Ready: true, NonModified: true,
		Release: fmt.Sprintf("%s/%s:%d", namespace, d.Name, want.number),
		Display: fleet.BundleDeploymentDisplay{Deployed: "True", Monitored: "True", State: string(fleet.Ready)},
		Resources: []fleet.BundleDeploymentResource{
			{Kind: "Secret", APIVersion: "v1", Namespace: namespace, Name: d.Name, CreatedAt: metav1.Now()},
		},
		ResourceCounts: fleet.ResourceCounts{DesiredReady: 1, Ready: 1},
	}
}
