// Package install puts onto a hub what the operator needs, as an administrator would: the definitions, the admission
// policies and the roles. The operator then runs with these rights and no others.
package install

import (
	"context"
	"path/filepath"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Namespace is the operator's own.
const Namespace = "fleet-handshake-system"

// Hub is a hub that the operator can work on.
type Hub struct {
	*clients.Hub
	// Operator is what the operator connects with, and Kubeconfig the file with the same.
	Operator   *rest.Config
	Kubeconfig string
}

// On prepares a hub. The namespaces of Fleet are made when they are not there.
func On(ctx context.Context, cluster *lab.Cluster) (*Hub, error) {
	root, err := lab.Root()
	if err != nil {
		return nil, err
	}
	var namespaces []*unstructured.Unstructured
	for _, name := range []string{Namespace, "cattle-fleet-system", "fleet-default"} {
		n := &unstructured.Unstructured{}
		n.SetAPIVersion("v1")
		n.SetKind("Namespace")
		n.SetName(name)
		namespaces = append(namespaces, n)
	}
	if err := cluster.ApplyObjects(ctx, namespaces...); err != nil {
		return nil, err
	}
	if err := cluster.Apply(ctx, filepath.Join(root, "crds"), filepath.Join(root, "charts", "fleet-handshake", "rbac")); err != nil {
		return nil, err
	}
	h := &Hub{}
	if h.Hub, err = clients.New(cluster.Config); err != nil {
		return nil, err
	}
	if h.Operator, h.Kubeconfig, err = cluster.User(lab.OperatorUser); err != nil {
		return nil, err
	}
	return h, nil
}
