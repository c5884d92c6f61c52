package lab

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// object builds an object of any kind.
func object(apiVersion, kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	for key, value := range fields {
		o.Object[key] = value
	}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// fleetObjects is what Fleet's chart installs for its controllers: namespaces,
// configuration and the permissions of the service account fleet-controller.
func fleetObjects(hub *Cluster) ([]*unstructured.Unstructured, error) {
	config, err := fleetConfig(hub)
	if err != nil {
		return nil, err
	}
	const (
		account = "fleet-controller"
		rbac    = "rbac.authorization.k8s.io"
	)
	subjects := []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": FleetNamespace}}
	roleRef := func(kind string) map[string]any {
		return map[string]any{"apiGroup": rbac, "kind": kind, "name": account}
	}
	return []*unstructured.Unstructured{
		object("v1", "Namespace", "", FleetNamespace, nil),
		object("v1", "Namespace", "", Workspace, nil),
		object("v1", "ServiceAccount", FleetNamespace, account, nil),
		object("v1", "ConfigMap", FleetNamespace, account, map[string]any{
			"data": map[string]any{"config": config},
		}),
		object(rbac+"/v1", "ClusterRole", "", account, map[string]any{"rules": []any{
			rule("*", "fleet.cattle.io", "*"),
			rule("*", "", "namespaces", "serviceaccounts", "secrets", "configmaps", "events"),
			rule("*", rbac, "clusterroles", "clusterrolebindings", "roles", "rolebindings"),
			rule("get", "apps", "deployments"),
			rule("list", "apps", "deployments"),
			rule("watch", "apps", "deployments"),
		}}),
		object(rbac+"/v1", "ClusterRoleBinding", "", account, map[string]any{
			"roleRef": roleRef("ClusterRole"), "subjects": subjects,
		}),
		object(rbac+"/v1", "Role", FleetNamespace, account, map[string]any{"rules": []any{
			rule("*", "", "configmaps"),
			rule("*", "coordination.k8s.io", "leases"),
		}}),
		object(rbac+"/v1", "RoleBinding", FleetNamespace, account, map[string]any{
			"roleRef": roleRef("Role"), "subjects": subjects,
		}),
	}, nil
}

// rule allows one verb on resources of one API group.
func rule(verb, group string, resources ...string) map[string]any {
	var list []any
	for _, resource := range resources {
		list = append(list, resource)
	}
	return map[string]any{"verbs": []any{verb}, "apiGroups": []any{group}, "resources": list}
}

// registration is what a user creates to have Fleet import a cluster.
func registration(downstream Downstream, kubeconfigFile string) ([]*unstructured.Unstructured, error) {
	kubeconfig, err := os.ReadFile(kubeconfigFile)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of cluster %s: %w", downstream.Name, err)
	}
	secret := "kubeconfig-" + downstream.Name
	fleetCluster := object("fleet.cattle.io/v1alpha1", "Cluster", Workspace, downstream.Name, map[string]any{
		"spec": map[string]any{"kubeConfigSecret": secret},
	})
	fleetCluster.SetLabels(downstream.Labels)
	return []*unstructured.Unstructured{
		object("v1", "Secret", Workspace, secret, map[string]any{
			"stringData": map[string]any{"value": string(kubeconfig)},
		}),
		fleetCluster,
	}, nil
}

// clusterGroup is the ClusterGroup of a group.
func clusterGroup(group Group) *unstructured.Unstructured {
	labels := map[string]any{}
	for key, value := range group.Selector {
		labels[key] = value
	}
	return object("fleet.cattle.io/v1alpha1", "ClusterGroup", Workspace, group.Name, map[string]any{
		"spec": map[string]any{"selector": map[string]any{"matchLabels": labels}},
	})
}
