// Package rights compares the roles of the operator with what tests have used of them.
package rights

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Used is what the operator has done on a hub.
type Used struct {
	// Refused are the requests that the API server has refused.
	Refused []lab.AuditEvent
	rights  map[string]bool
}

// On reads the audit log of a hub.
func On(hub *lab.Cluster) (*Used, error) {
	used := &Used{rights: map[string]bool{}}
	_, _, err := hub.AuditSince(0, func(e lab.AuditEvent) bool {
		if e.User.Username == lab.OperatorUser {
			resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
			used.rights[fmt.Sprintf("%s %s %s", e.Verb, e.ObjectRef.APIGroup, resource)] = true
			if e.ResponseStatus.Code == 403 {
				used.Refused = append(used.Refused, e)
			}
		}
		return false
	})
	return used, err
}

// OfSources says whether a right is on an object that makes a Secret, or on what that uses.
func OfSources(right string) bool {
	return strings.Contains(right, " vault") || strings.Contains(right, " vsecm")
}

// Unneeded names the rights in files of the chart that were not used. relevant says of a right, as verb, group and
// resource, whether it should have been; nil is all.
func (u *Used) Unneeded(relevant func(right string) bool, files ...string) ([]string, error) {
	root, err := lab.Root()
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, file := range files {
		granted, err := rightsIn(filepath.Join(root, "charts", "fleet-handshake", "rbac", file))
		if err != nil {
			return nil, err
		}
		for _, right := range granted {
			// A client that lists through its watch falls back to list where that is not possible.
			what, isList := strings.CutPrefix(right, "list ")
			if !u.rights[right] && (!isList || !u.rights["watch "+what]) && (relevant == nil || relevant(right)) {
				found[fmt.Sprintf("a right in %s that no test needs: %s", file, right)] = true
			}
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
