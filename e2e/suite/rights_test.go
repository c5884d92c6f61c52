package suite

import (
	"fmt"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/rights"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
)

// TestTheOperatorRunsAsItIsInstalled uses the defaults: leader election, and what Fleet's own configuration says.
func TestTheOperatorRunsAsItIsInstalled(t *testing.T) {
	startOperator(t, func(o *operator.Options) { *o = operator.Defaults(); o.ListenAddress = "0" })
	data := map[string][]byte{"password": secretValue("as installed")}
	create(t, source("as-installed", data), toGroup("as-installed"))
	says(t, "as-installed", v1alpha1.StateSynced, "")
	arrives(t, "paris", "apps", "as-installed", data)
}

// misfits names each request of the operator that was refused, and each right that no test of the suite has needed. Those
// for Vault are needed by other tests.
func misfits() ([]string, error) {
	used, err := rights.On(world.Hub)
	if err != nil {
		return nil, err
	}
	found, err := used.Unneeded(func(right string) bool { return !rights.OfSources(right) }, "operator.yaml", "workspace.yaml", "secrets.yaml")
	for _, e := range used.Refused {
		found = append(found, fmt.Sprintf("the operator was refused: %s", e))
	}
	return found, err
}
