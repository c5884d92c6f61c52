// Package workspace knows in which namespaces the operator may write: those that it was told, and those with a label.
package workspace

import (
	"context"
	"fmt"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Set is the workspaces.
type Set struct {
	listed   []string
	labelled cache.SharedIndexInformer
	told     cache.ResourceEventHandlerRegistration
}

// New makes a Set of these namespaces, and of those that have the label once it is started.
func New(cfg *rest.Config, listed []string) (*Set, error) {
	client, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making the metadata client: %w", err)
	}
	labelled := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("namespaces"),
		metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.LabelWorkspace + "=true" }).Informer()
	return &Set{listed: listed, labelled: labelled}, nil
}

// OnChange calls f with the name of each namespace that gets the label or loses it. Call it before Start.
func (s *Set) OnChange(f func(namespace string)) error {
	call := func(o any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			f(key)
		}
	}
	told, err := s.labelled.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: call, DeleteFunc: call})
	s.told = told
	return err
}

// Start watches until ctx ends. It returns when the first list has arrived and was told of, or with the error of ctx.
func (s *Set) Start(ctx context.Context) error {
	go s.labelled.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), s.told.HasSynced) {
		return fmt.Errorf("waiting for the first list of namespaces: %w", context.Cause(ctx))
	}
	return nil
}

// Has says whether the operator may write in a namespace.
func (s *Set) Has(namespace string) bool {
	_, ok, err := s.labelled.GetStore().GetByKey(namespace)
	return slices.Contains(s.listed, namespace) || err == nil && ok
}
