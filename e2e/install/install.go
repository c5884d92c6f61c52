// Package install puts onto a hub what the operator needs, as an administrator would: the Helm charts. The operator then
// runs with the rights of the chart and no others.
package install

import (
	"context"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
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

// needNodes are the kinds of the chart that do nothing on a hub without nodes: there the operator is a process.
var needNodes = sets.New("Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service")

// On prepares a hub. The values are those of the operator's chart that are not its defaults, each as helm takes it behind
// --set, for example vault.namespaces={team-a}. The namespaces that the objects of the charts are in, and those of Fleet,
// are made when they are not there.
func On(ctx context.Context, cluster *lab.Cluster, values ...string) (*Hub, error) {
	charts, err := rendered(ctx, cluster, values)
	if err != nil {
		return nil, err
	}
	var namespaces []*unstructured.Unstructured
	names := sets.New(Namespace, "cattle-fleet-system", "fleet-default")
	for _, object := range charts {
		if object.GetNamespace() != "" {
			names.Insert(object.GetNamespace())
		}
	}
	for _, name := range sets.List(names) {
		n := &unstructured.Unstructured{}
		n.SetAPIVersion("v1")
		n.SetKind("Namespace")
		n.SetName(name)
		namespaces = append(namespaces, n)
	}
	if err := cluster.ApplyObjects(ctx, namespaces...); err != nil {
		return nil, err
	}
	if err := cluster.ApplyObjects(ctx, charts...); err != nil {
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

// rendered are the objects of both charts, without those that need nodes.
func rendered(ctx context.Context, cluster *lab.Cluster, values []string) ([]*unstructured.Unstructured, error) {
	client, err := discovery.NewDiscoveryClientForConfig(cluster.Config)
	if err != nil {
		return nil, fmt.Errorf("making a client for cluster %s: %w", cluster.Name, err)
	}
	version, err := client.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking cluster %s for its version: %w", cluster.Name, err)
	}
	var set []string
	for _, value := range values {
		set = append(set, "--set="+value)
	}
	var out []*unstructured.Unstructured
	for _, chart := range []struct {
		name string
		args []string
	}{{name: DefinitionsChart}, {Chart, set}} {
		content, err := Template(ctx, chart.name, version.GitVersion, chart.args...)
		if err != nil {
			return nil, err
		}
		objects, err := lab.ParseObjects(content)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			if !needNodes.Has(object.GetKind()) {
				out = append(out, object)
			}
		}
	}
	return out, nil
}
