// Package secrets watches the metadata of the hub's Secrets and reads the payload of the few that are used.
//
// A Rancher hub holds tens of thousands of Secrets that are none of our business. The watch asks the API server for
// metadata only, and keeps of that only what is needed to see that a Secret has changed.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// unwatched are types that are never sent and that a hub has by the thousand. A Secret of such a type is not in the
// watch, but Get finds it.
var unwatched = []corev1.SecretType{
	"helm.sh/release.v1",
	fleet.SecretTypeBundleDeploymentOptions,
}

const byHandshake = "handshake"

var secretsResource = corev1.SchemeGroupVersion.WithResource("secrets")

// The rights that are needed in each namespace whose Secrets are sent, or in all.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch

// Store knows the version of each Secret of the hub, or of some of its namespaces.
type Store struct {
	client   corev1client.SecretsGetter
	metadata metadata.Interface
	// all is true when one watch serves all namespaces.
	all     bool
	changed []func(metav1.Object)

	mu sync.Mutex
	// watches are by namespace; the one of all has the empty name.
	watches map[string]cache.SharedIndexInformer
}

// New makes a Store that watches nothing yet. Without namespaces it will watch all; otherwise these, and those that
// Watch names later.
func New(cfg *rest.Config, client corev1client.SecretsGetter, namespaces ...string) (*Store, error) {
	metaClient, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making the metadata client: %w", err)
	}
	s := &Store{client: client, metadata: metaClient, all: len(namespaces) == 0, watches: map[string]cache.SharedIndexInformer{}}
	if s.all {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		if s.watches[namespace], err = s.newWatch(namespace); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) newWatch(namespace string) (cache.SharedIndexInformer, error) {
	var selectors []fields.Selector
	for _, t := range unwatched {
		selectors = append(selectors, fields.OneTermNotEqualSelector("type", string(t)))
	}
	informer := metadatainformer.NewFilteredMetadataInformer(s.metadata, secretsResource,
		namespace, 0, cache.Indexers{byHandshake: indexByHandshake},
		func(o *metav1.ListOptions) { o.FieldSelector = fields.AndSelectors(selectors...).String() }).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("preparing the watch of Secrets: %w", err)
	}
	call := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if m, ok := o.(metav1.Object); ok {
			for _, f := range s.changed {
				f(m)
			}
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: call,
		UpdateFunc: func(old, now any) {
			if version(old) != version(now) {
				call(now)
			}
		},
		DeleteFunc: call,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the watch of Secrets: %w", err)
	}
	return informer, nil
}

// OnChange calls f for each Secret that appears, changes or goes, as others before it. The objects hold metadata only. Call
// it before Start.
func (s *Store) OnChange(f func(metav1.Object)) { s.changed = append(s.changed, f) }

// Start watches until ctx ends. It returns when the first lists have arrived, with the error of ctx, or with one that
// says that the Secrets of all namespaces may not be listed. One namespace that may not be listed holds up nothing.
func (s *Store) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var allowed []cache.SharedIndexInformer
	for namespace, informer := range s.watches {
		// The watch would try again for ever.
		_, err := s.metadata.Resource(secretsResource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		go informer.RunWithContext(ctx)
		switch {
		case !apierrors.IsForbidden(err):
			allowed = append(allowed, informer)
		case s.all:
			return errors.New("the operator may not list the Secrets of all namespaces: bind it to ClusterRole fleet-handshake-secrets, or name the namespaces that it may read with --source-namespaces")
		default:
			logrus.WithField("namespace", namespace).Error("the operator may not list the Secrets of this namespace: bind it to ClusterRole fleet-handshake-secrets there, or take the namespace out of --source-namespaces or --workspaces; it tries again")
		}
	}
	for _, informer := range allowed {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return fmt.Errorf("waiting for the first list of Secrets: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Watch also watches a namespace until ctx ends, when it is not watched yet.
func (s *Store) Watch(ctx context.Context, namespace string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all || s.watches[namespace] != nil {
		return nil
	}
	informer, err := s.newWatch(namespace)
	if err != nil {
		return err
	}
	s.watches[namespace] = informer
	go informer.RunWithContext(ctx)
	return nil
}

// Serves says whether the Secrets of a namespace are watched.
func (s *Store) Serves(namespace string) bool { return s.watch(namespace) != nil }

func (s *Store) watch(namespace string) cache.SharedIndexInformer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all {
		namespace = metav1.NamespaceAll
	}
	return s.watches[namespace]
}

// Version is different whenever the Secret is; empty when the watch does not know it.
func (s *Store) Version(namespace, name string) string {
	watch := s.watch(namespace)
	if watch == nil {
		return ""
	}
	o, ok, err := watch.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return ""
	}
	return version(o)
}

// NeverSend says whether the owner of a Secret has marked it so, as far as the watch knows.
func (s *Store) NeverSend(namespace, name string) bool {
	watch := s.watch(namespace)
	if watch == nil {
		return false
	}
	o, ok, err := watch.GetStore().GetByKey(namespace + "/" + name)
	m, isObject := o.(metav1.Object)
	return err == nil && ok && isObject && bundle.NeverSend(m)
}

// VersionOf is the Version of a Secret that was read or written; empty for nil.
func VersionOf(secret *corev1.Secret) string {
	if secret == nil {
		return ""
	}
	return version(secret)
}

// Get reads a Secret from the API server. The error is the API server's own.
func (s *Store) Get(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.client.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Of lists the names of the values Secrets that carry the label of a handshake, in its namespace.
func (s *Store) Of(hs *v1alpha1.FleetHandshake) []string {
	watch := s.watch(hs.Namespace)
	if watch == nil {
		return nil
	}
	objects, err := watch.GetIndexer().ByIndex(byHandshake, hs.Namespace+"/"+string(hs.UID))
	if err != nil {
		return nil
	}
	var names []string
	for _, o := range objects {
		if m, ok := o.(metav1.Object); ok {
			names = append(names, m.GetName())
		}
	}
	return names
}

func version(o any) string {
	m, ok := o.(metav1.Object)
	if !ok {
		return ""
	}
	return string(m.GetUID()) + "/" + m.GetResourceVersion()
}

func indexByHandshake(o any) ([]string, error) {
	m, ok := o.(metav1.Object)
	if !ok || m.GetLabels()[v1alpha1.LabelHandshake] == "" {
		return nil, nil
	}
	return []string{m.GetNamespace() + "/" + m.GetLabels()[v1alpha1.LabelHandshake]}, nil
}

// strip keeps what the Store and its listeners look at.
func strip(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	kept := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	if uid := m.Labels[v1alpha1.LabelHandshake]; uid != "" {
		kept.Labels = map[string]string{v1alpha1.LabelHandshake: uid}
	}
	if bundle.NeverSend(m) {
		kept.Annotations = map[string]string{v1alpha1.NeverSend: "true"}
	}
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: kept}, nil
}
