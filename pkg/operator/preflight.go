package operator

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// preflight checks what the operator cannot work without, so that it ends with a clear message instead of an endless
// retry.
func preflight(ctx context.Context, crds apiextensionsclient.CustomResourceDefinitionsGetter, namespaces corev1client.NamespacesGetter, opts Options) error {
	get := func(resource, group string) (*apiextensionsv1.CustomResourceDefinition, error) {
		return crds.CustomResourceDefinitions().Get(ctx, resource+"."+group, metav1.GetOptions{})
	}
	for _, resource := range []string{"bundles", "bundledeployments", "clusters", "clustergroups"} {
		crd, err := get(resource, fleet.SchemeGroupVersion.Group)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("the CustomResourceDefinition %s.%s is missing: Fleet is not installed in this cluster; run the operator on the Rancher management cluster, or install Fleet 0.12.1 or newer", resource, fleet.SchemeGroupVersion.Group)
		}
		if err != nil {
			return fmt.Errorf("looking for Fleet: %w", err)
		}
		if resource == "bundles" && !hasValuesHash(crd) {
			return errors.New("Fleet is too old: its Bundles have no spec.valuesHash; upgrade Fleet to 0.12.1 or newer (0.11.13 has it too)") //nolint:staticcheck // Fleet is a name
		}
	}
	for _, resource := range []string{"fleethandshakes", "secretgrants", "vaultconnections", "vaultsecrets", "vaultdynamicsecrets", "vaultpkisecrets", "vsecmsecrets"} {
		if _, err := get(resource, v1alpha1.SchemeGroupVersion.Group); apierrors.IsNotFound(err) {
			return fmt.Errorf("the CustomResourceDefinition %s.%s is missing: install the chart fleet-handshake-crd", resource, v1alpha1.SchemeGroupVersion.Group)
		} else if err != nil {
			return fmt.Errorf("looking for our CustomResourceDefinitions: %w", err)
		}
	}
	if !opts.LeaderElect {
		return nil
	}
	if _, err := namespaces.Namespaces().Get(ctx, opts.Namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %s is missing, and the leader election keeps its Lease there: create it with kubectl create namespace %s, name another with --namespace, or use --leader-elect=false", opts.Namespace, opts.Namespace)
	} else if err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("looking for namespace %s: %w", opts.Namespace, err)
	}
	return nil
}

// hasValuesHash says whether this Fleet can keep values in a Secret.
func hasValuesHash(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, v := range crd.Spec.Versions {
		if v.Name != fleet.SchemeGroupVersion.Version || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		if _, ok := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["valuesHash"]; ok {
			return true
		}
	}
	return false
}
