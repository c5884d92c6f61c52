// Package clients gives the demo and the tests typed access to the objects they look at.
package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Hub is a client of the hub, or of any cluster.
type Hub struct {
	kubernetes.Interface
	Handshakes  Kind[v1alpha1.FleetHandshake]
	Grants      Kind[v1alpha1.SecretGrant]
	Connections Kind[v1alpha1.VaultConnection]
	VaultKV     Kind[v1alpha1.VaultSecret]
	VaultLeases Kind[v1alpha1.VaultDynamicSecret]
	VaultPKI    Kind[v1alpha1.VaultPKISecret]
	VSecM       Kind[v1alpha1.VSecMSecret]
	Bundles     Kind[fleet.Bundle]
	Deployments Kind[fleet.BundleDeployment]
	Clusters    Kind[fleet.Cluster]
}

// New makes a client.
func New(cfg *rest.Config) (*Hub, error) {
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &Hub{
		Interface:   kube,
		Handshakes:  kind[v1alpha1.FleetHandshake](dyn, v1alpha1.SchemeGroupVersion, "FleetHandshake", "fleethandshakes"),
		Grants:      kind[v1alpha1.SecretGrant](dyn, v1alpha1.SchemeGroupVersion, "SecretGrant", "secretgrants"),
		Connections: kind[v1alpha1.VaultConnection](dyn, v1alpha1.SchemeGroupVersion, "VaultConnection", "vaultconnections"),
		VaultKV:     kind[v1alpha1.VaultSecret](dyn, v1alpha1.SchemeGroupVersion, "VaultSecret", "vaultsecrets"),
		VaultLeases: kind[v1alpha1.VaultDynamicSecret](dyn, v1alpha1.SchemeGroupVersion, "VaultDynamicSecret", "vaultdynamicsecrets"),
		VaultPKI:    kind[v1alpha1.VaultPKISecret](dyn, v1alpha1.SchemeGroupVersion, "VaultPKISecret", "vaultpkisecrets"),
		VSecM:       kind[v1alpha1.VSecMSecret](dyn, v1alpha1.SchemeGroupVersion, "VSecMSecret", "vsecmsecrets"),
		Bundles:     kind[fleet.Bundle](dyn, fleet.SchemeGroupVersion, "Bundle", "bundles"),
		Deployments: kind[fleet.BundleDeployment](dyn, fleet.SchemeGroupVersion, "BundleDeployment", "bundledeployments"),
		Clusters:    kind[fleet.Cluster](dyn, fleet.SchemeGroupVersion, "Cluster", "clusters"),
	}, nil
}

// Kind is a typed client of one custom resource.
type Kind[T any] struct {
	dyn dynamic.Interface
	gvk schema.GroupVersionKind
	gvr schema.GroupVersionResource
}

func kind[T any](dyn dynamic.Interface, gv schema.GroupVersion, kind, resource string) Kind[T] {
	return Kind[T]{dyn, gv.WithKind(kind), gv.WithResource(resource)}
}

// Get reads one object.
func (k Kind[T]) Get(ctx context.Context, namespace, name string) (*T, error) {
	u, err := k.dyn.Resource(k.gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return from[T](u)
}

// List reads all objects of a namespace that a label selector matches; both may be empty.
func (k Kind[T]) List(ctx context.Context, namespace, selector string) ([]T, error) {
	list, err := k.dyn.Resource(k.gvr).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	var out []T
	for i := range list.Items {
		o, err := from[T](&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, *o)
	}
	return out, nil
}

// Create makes an object.
func (k Kind[T]) Create(ctx context.Context, o *T) (*T, error) {
	u, err := k.to(o)
	if err != nil {
		return nil, err
	}
	made, err := k.dyn.Resource(k.gvr).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return from[T](made)
}

// Change reads an object, changes it, and writes it, again when somebody else was quicker.
func (k Kind[T]) Change(ctx context.Context, namespace, name string, change func(*T)) error {
	for {
		o, err := k.Get(ctx, namespace, name)
		if err != nil {
			return err
		}
		change(o)
		u, err := k.to(o)
		if err != nil {
			return err
		}
		if _, err = k.dyn.Resource(k.gvr).Namespace(namespace).Update(ctx, u, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// Patch sends a patch.
func (k Kind[T]) Patch(ctx context.Context, namespace, name string, kind types.PatchType, patch []byte) error {
	_, err := k.dyn.Resource(k.gvr).Namespace(namespace).Patch(ctx, name, kind, patch, metav1.PatchOptions{})
	return err
}

// Delete deletes an object.
func (k Kind[T]) Delete(ctx context.Context, namespace, name string) error {
	return k.dyn.Resource(k.gvr).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (k Kind[T]) to(o *T) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(k.gvk)
	delete(content, "status")
	return u, nil
}

func from[T any](u *unstructured.Unstructured) (*T, error) {
	o := new(T)
	return o, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o)
}

// Until asks again every 20 ms until condition is nil, and gives its last error when ctx or the time ends.
func Until(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, fmt.Errorf("gave up after %s", limit))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// FreeAddress is one on loopback that nobody listens on now.
func FreeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
