// Command codegen writes the Wrangler controllers for our own types and for the Fleet types that the operator uses.
// Run it through "make generate".
package main

import (
	"os"

	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	controllergen "github.com/rancher/wrangler/v3/pkg/controller-gen"
	"github.com/rancher/wrangler/v3/pkg/controller-gen/args"
)

func main() {
	// With GOPATH set the generator writes into it instead of into this folder.
	_ = os.Unsetenv("GOPATH")
	controllergen.Run(args.Options{
		OutputPackage: "github.com/fleet-handshake/fleet-handshake/pkg/generated",
		Boilerplate:   "scripts/boilerplate.go.txt",
		Groups: map[string]args.Group{
			"fleethandshake.io": {
				PackageName:   "fleethandshake.io",
				Types:         []any{"./pkg/apis/fleethandshake.io/v1alpha1"},
				GenerateTypes: true,
			},
			"fleet.cattle.io": {
				Types: []any{fleet.Bundle{}, fleet.BundleDeployment{}, fleet.Cluster{}, fleet.ClusterGroup{}},
			},
		},
	})
}
