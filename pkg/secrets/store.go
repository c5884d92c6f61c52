// Package secrets watches the metadata of the hub's Secrets and reads the payload of the few that are used.
//
// A Rancher hub holds tens of thousands of Secrets that are none of our business. The watch asks the API server for
// metadata only, and keeps of that only what is needed to see that a Secret has changed.
package secrets

import (
	"context"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
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

// Store knows the version of each Secret of the hub.
type Store struct {
	client   corev1client.SecretsGetter
	informer cache.SharedIndexInformer
}

// New makes a Store that watches nothing yet. Call OnChange before Start.
func New(cfg *rest.Config, client corev1client.SecretsGetter) (*Store, error) {
	metaClient, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making the metadata client: %w", err)
	}
	var selectors []fields.Selector
	for _, t := range unwatched {
		selectors = append(selectors, fields.OneTermNotEqualSelector("type", string(t)))
	}
	informer := metadatainformer.NewFilteredMetadataInformer(metaClient, corev1.SchemeGroupVersion.WithResource("secrets"),
		metav1.NamespaceAll, 0, cache.Indexers{byHandshake: indexByHandshake},
		func(o *metav1.ListOptions) { o.FieldSelector = fields.AndSelectors(selectors...).String() }).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("preparing the watch of Secrets: %w", err)
	}
	return &Store{client: client, informer: informer}, nil
}

// OnChange calls f for each Secret that appears, changes or goes. The objects hold metadata only.
func (s *Store) OnChange(f func(metav1.Object)) error {
	call := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if m, ok := o.(metav1.Object); ok {
			f(m)
		}
	}
	_, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: call,
		UpdateFunc: func(old, now any) {
			if version(old) != version(now) {
				call(now)
			}
		},
		DeleteFunc: call,
	})
	return err
}

// Start watches until ctx ends. It returns when the first list has arrived, or with the error of ctx.
func (s *Store) Start(ctx context.Context) error {
	go s.informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), s.informer.HasSynced) {
		return fmt.Errorf("waiting for the first list of Secrets: %w", context.Cause(ctx))
	}
	return nil
}

// Version is different whenever the Secret is; empty when the watch does not know it.
func (s *Store) Version(namespace, name string) string {
	o, ok, err := s.informer.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return ""
	}
	return version(o)
}

// VersionOf is the Version of a Secret that was read or written.
func VersionOf(secret *corev1.Secret) string {
	return version(secret)
}

// Get reads a Secret from the API server. The error is the API server's own.
func (s *Store) Get(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.client.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Of lists the names of the values Secrets that carry the label of a handshake, in its namespace.
func (s *Store) Of(hs *v1alpha1.FleetHandshake) []string {
	objects, err := s.informer.GetIndexer().ByIndex(byHandshake, hs.Namespace+"/"+string(hs.UID))
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
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: kept}, nil
}
