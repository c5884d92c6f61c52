package suite

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// TestTheOperatorRunsAsItIsInstalled uses the defaults: leader election, and what Fleet's own configuration says.
func TestTheOperatorRunsAsItIsInstalled(t *testing.T) {
	startOperator(t, func(o *operator.Options) { *o = operator.Defaults(); o.ListenAddress = "0" })
	data := map[string][]byte{"password": secretValue("as installed")}
	create(t, source("as-installed", data), toGroup("as-installed"))
	says(t, "as-installed", v1alpha1.StateSynced, "")
	arrives(t, "paris", "apps", "as-installed", data)
}

// misfits compares the roles of the operator with what all tests of the suite have used: it names each request that was
// refused, and each right that was not needed.
func misfits(root string) ([]string, error) {
	granted := map[string]string{}
	for _, file := range []string{"operator.yaml", "workspace.yaml", "secrets.yaml"} {
		rights, err := rightsIn(filepath.Join(root, "charts", "fleet-handshake", "rbac", file))
		if err != nil {
			return nil, err
		}
		for _, right := range rights {
			granted[right] = file
		}
	}
	found := map[string]bool{}
	used := map[string]bool{}
	_, _, err := world.Hub.AuditSince(0, func(e lab.AuditEvent) bool {
		if e.User.Username == lab.OperatorUser {
			resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
			right := fmt.Sprintf("%s %s %s", e.Verb, e.ObjectRef.APIGroup, resource)
			used[right] = true
			if e.ResponseStatus.Code == 403 {
				found[fmt.Sprintf("the operator was refused: %s", e)] = true
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	for right, file := range granted {
		// A client that lists through its watch falls back to list where that is not possible.
		what, isList := strings.CutPrefix(right, "list ")
		if !used[right] && (!isList || !used["watch "+what]) {
			found[fmt.Sprintf("a right in %s that no test needs: %s", file, right)] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// rightsIn are the rights that the roles of a file give, as verb, group and resource.
func rightsIn(file string) ([]string, error) {
	reader, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var out []string
	decoder := yaml.NewYAMLOrJSONDecoder(reader, 4096)
	for {
		role := rbacv1.ClusterRole{}
		if err := decoder.Decode(&role); err != nil {
			if len(out) == 0 {
				return nil, fmt.Errorf("no role in %s: %w", file, err)
			}
			return out, nil
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						out = append(out, fmt.Sprintf("%s %s %s", verb, group, resource))
					}
				}
			}
		}
	}
}
