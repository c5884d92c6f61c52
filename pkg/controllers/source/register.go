package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rancher/wrangler/v3/pkg/generic"
	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Kind is one kind of sources, with what reads and writes its objects.
type Kind struct {
	name         string
	fetcher      Fetcher
	informer     cache.SharedIndexInformer
	get          func(namespace, name string) (v1alpha1.Source, error)
	list         func() ([]v1alpha1.Source, error)
	updateStatus func(v1alpha1.Source) (v1alpha1.Source, error)
	patch        func(namespace, name string, patch []byte) (v1alpha1.Source, error)
}

// KindOf makes a Kind of the controller that Wrangler has generated for it.
func KindOf[T interface {
	generic.RuntimeMetaObject
	v1alpha1.Source
}, L runtime.Object](name string, c generic.ControllerInterface[T, L], f Fetcher) Kind {
	return Kind{
		name: name, fetcher: f, informer: c.Informer(),
		get: func(namespace, name string) (v1alpha1.Source, error) {
			o, err := c.Cache().Get(namespace, name)
			return o, err
		},
		list: func() ([]v1alpha1.Source, error) {
			objects, err := c.Cache().List(metav1.NamespaceAll, labels.Everything())
			out := make([]v1alpha1.Source, len(objects))
			for i, o := range objects {
				out[i] = o
			}
			return out, err
		},
		updateStatus: func(src v1alpha1.Source) (v1alpha1.Source, error) {
			o, err := c.UpdateStatus(src.(T)) //nolint:forcetypeassert // it came from get
			return o, err
		},
		patch: func(namespace, name string, patch []byte) (v1alpha1.Source, error) {
			o, err := c.Patch(namespace, name, types.MergePatchType, patch)
			return o, err
		},
	}
}

// Controller works on the sources of all kinds.
type Controller struct {
	Config
	kinds   map[string]Kind
	queue   workqueue.TypedDelayingInterface[key]
	metrics counters

	mu    sync.Mutex
	memos map[key]memo
	// targets are the sources by namespace/name of the Secret that they make.
	targets map[string]map[key]bool
}

// memo is what is remembered of a source between two syncs. It holds nothing secret, and nothing that cannot be found out
// again after a restart.
type memo struct {
	uid types.UID
	// written is the object as we wrote it last: the cache may be behind.
	written v1alpha1.Source
	// asked is what the last fetch was for, and next when the next one is due.
	asked string
	next  time.Time
	// failures in a row of fetches or writes, and problem is what was wrong last.
	failures int
	problem  *Problem
	// version of the Secret that was found right last.
	version string
	// state is that of the Content which the Secret has held last: it is needed when the Secret is gone.
	state json.RawMessage
	// unsaid is what a sync has come to, as long as the status does not say it. It has no values.
	unsaid *outcome
	// resumed is true when the Fetcher knows of it; woken wants a fetch.
	resumed, woken bool
	target         string
	// repairs is how often the Secret was put right in a row, and repairedAt when that was last.
	repairs    int
	repairedAt time.Time
}

// New makes a Controller. Call it before the informers start. The metrics are taken out of registry when ctx ends.
func New(ctx context.Context, cfg Config, registry prometheus.Registerer, kinds ...Kind) (*Controller, error) {
	c := &Controller{Config: cfg, kinds: map[string]Kind{}, metrics: newCounters(), memos: map[key]memo{}, targets: map[string]map[key]bool{}}
	c.queue = newQueue(c.urgent)
	for _, kind := range kinds {
		c.kinds[kind.name] = kind
		if _, err := kind.informer.AddEventHandler(c.handlerOf(kind.name)); err != nil {
			return nil, fmt.Errorf("watching %ss: %w", kind.name, err)
		}
	}
	cfg.Secrets.OnChange(c.secretChanged)
	return c, c.exposeMetrics(ctx, registry)
}

func (c *Controller) handlerOf(kind string) cache.ResourceEventHandler {
	add := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if src, ok := o.(v1alpha1.Source); ok {
			c.aim(keyOf(kind, src), src)
			c.queue.Add(keyOf(kind, src))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: add,
		UpdateFunc: func(old, now any) {
			before, _ := old.(v1alpha1.Source)
			after, _ := now.(v1alpha1.Source)
			if before == nil || after == nil || before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID() ||
				!before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) || asked(before) != asked(after) ||
				before.GetAnnotations()[v1alpha1.AnnotationForceDelete] != after.GetAnnotations()[v1alpha1.AnnotationForceDelete] {
				add(now)
			}
		},
		DeleteFunc: add,
	}
}

func keyOf(kind string, src v1alpha1.Source) key {
	return key{kind, src.GetNamespace(), src.GetName()}
}

// asked is different whenever somebody wants something new of a source.
func asked(src v1alpha1.Source) string {
	return fmt.Sprintf("%d %s", src.GetGeneration(), refreshOf(src))
}

// maxRefresh is what the status has room for.
const maxRefresh = 256

// refreshOf is what the annotation for a refresh says.
func refreshOf(src v1alpha1.Source) string {
	value := src.GetAnnotations()[v1alpha1.AnnotationRefresh]
	return strings.ToValidUTF8(value[:min(len(value), maxRefresh)], "")
}

// Run works until ctx ends. The informers have to be started.
func (c *Controller) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range c.Workers {
		group.Go(func() {
			for c.work(ctx) {
			}
		})
	}
	<-ctx.Done()
	c.queue.ShutDown()
	group.Wait()
}

func (c *Controller) work(ctx context.Context) bool {
	k, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(k)
	wait, err := c.sync(ctx, k)
	switch {
	case ctx.Err() != nil:
		return true
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		// Somebody was quicker. The caches are about to know.
		wait = firstRetry / 4
	case err != nil:
		wait = c.failed(k)
		c.metrics.errors.Inc()
		// No text of the API server: it could quote what it refuses.
		logrus.WithFields(logrus.Fields{"source": k.String(), "reason": apierrors.ReasonForError(err), "retry": wait.Round(time.Millisecond).String()}).Error("a source could not be worked on: " + step(err))
	}
	if wait > 0 {
		c.queue.AddAfter(k, wait)
	}
	return true
}

// Wake wants a fetch of a source.
func (c *Controller) Wake(kind, namespace, name string) {
	k := key{kind, namespace, name}
	c.mu.Lock()
	if m, ok := c.memos[k]; ok {
		m.woken = true
		c.memos[k] = m
	}
	c.mu.Unlock()
	c.queue.Add(k)
}

// Retry wants a fetch of all sources that could not be fetched because a server did not answer: one does again.
func (c *Controller) Retry() {
	c.mu.Lock()
	var keys []key
	for k, m := range c.memos {
		if m.problem != nil && m.problem.Reason == v1alpha1.ReasonUnavailable {
			m.woken = true
			c.memos[k] = m
			keys = append(keys, k)
		}
	}
	c.mu.Unlock()
	for _, k := range keys {
		c.queue.Add(k)
	}
}

// secretChanged wakes the sources that make a Secret.
func (c *Controller) secretChanged(secret metav1.Object) {
	c.mu.Lock()
	var keys []key
	for k := range c.targets[secret.GetNamespace()+"/"+secret.GetName()] {
		keys = append(keys, k)
	}
	c.mu.Unlock()
	for _, k := range keys {
		c.queue.Add(k)
	}
}

// aim notes which Secret a source makes.
func (c *Controller) aim(k key, src v1alpha1.Source) {
	target := k.namespace + "/" + targetName(src)
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memos[k]
	if m.target == target {
		return
	}
	delete(c.targets[m.target], k)
	if c.targets[target] == nil {
		c.targets[target] = map[key]bool{}
	}
	c.targets[target][k] = true
	m.target = target
	c.memos[k] = m
}

func (c *Controller) forget(k key) {
	c.mu.Lock()
	m := c.memos[k]
	delete(c.memos, k)
	delete(c.targets[m.target], k)
	if len(c.targets[m.target]) == 0 {
		delete(c.targets, m.target)
	}
	c.mu.Unlock()
	c.kinds[k.kind].fetcher.Forget(k.namespace, k.name)
}

// succeed forgets a source when another object has its name: its deletion may never have been seen.
func (c *Controller) succeed(k key, src v1alpha1.Source) {
	c.mu.Lock()
	former := c.memos[k].uid
	c.mu.Unlock()
	if former != "" && former != src.GetUID() {
		c.forget(k)
	}
}

// memo is what is remembered of a source, or of nothing but its Secret when it is another object of that name.
func (c *Controller) memo(k key, src v1alpha1.Source) memo {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memos[k]
	if m.uid == src.GetUID() {
		return m
	}
	return memo{target: m.target, woken: m.woken}
}

func (c *Controller) remember(k key, src v1alpha1.Source, change func(*memo)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memos[k]
	if m.uid != src.GetUID() {
		m = memo{uid: src.GetUID(), target: m.target, woken: m.woken}
	}
	change(&m)
	c.memos[k] = m
}

// failed counts a failure and says when to try again.
func (c *Controller) failed(k key) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memos[k]
	m.failures++
	c.memos[k] = m
	return retryAfter(m.failures, chance())
}

// urgent says whether a source waits for no refresh of others: it is new, was changed, goes, or its Secret has changed.
func (c *Controller) urgent(k key) bool {
	src, err := c.kinds[k.kind].get(k.namespace, k.name)
	if err != nil {
		return true
	}
	m := c.memo(k, src)
	status := src.Made()
	return m.woken || !src.GetDeletionTimestamp().IsZero() || status.LastFetchedAt == nil || m.asked != "" && m.asked != asked(src) ||
		status.ObservedGeneration != src.GetGeneration() || m.version != "" && c.Secrets.Version(k.namespace, targetName(src)) != m.version
}

// all are the sources by their kind.
func (c *Controller) all() map[string][]v1alpha1.Source {
	out := map[string][]v1alpha1.Source{}
	for name, kind := range c.kinds {
		sources, err := kind.list()
		if err != nil {
			continue
		}
		out[name] = sources
	}
	return out
}
