package store

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// MaxName is the longest name of a raw or workload entry, in bytes.
const MaxName = 128

// What to write for a name that is wrong.
const (
	insteadLabel     = "write the name of a namespace: lower-case letters, digits and -, with a letter or digit at both ends, at most 63"
	insteadSubdomain = "write the name of a Kubernetes object: lower-case letters, digits, - and ., with a letter or digit at both ends and beside each dot, at most 253"
	insteadSafe      = "write letters, digits, -, _ and single dots, with a letter or digit at both ends, at most 128, all ASCII"
)

func isLabel(name string) bool     { return len(validation.IsDNS1123Label(name)) == 0 }
func isSubdomain(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// isSafe says whether a raw or workload entry can have the name. It is ASCII only, so that no two names look the same, and
// has nothing that a path, a URL or a file name could take for more than a name.
func isSafe(name string) bool {
	if name == "" || len(name) > MaxName || strings.Contains(name, "..") {
		return false
	}
	for _, b := range []byte(name) {
		if !alphanumeric(b) && b != '-' && b != '_' && b != '.' {
			return false
		}
	}
	return alphanumeric(name[0]) && alphanumeric(name[len(name)-1])
}

func alphanumeric(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// checkName reports a name that an entry of this type cannot have. A type that is not known is another problem.
func checkName(name string, t Type, report reporter) bool {
	ok, reason, instead := isSafe(name), "is no name of an entry", insteadSafe
	switch t {
	case Kubernetes:
		ok, reason, instead = isSubdomain(name), "is a name that no Kubernetes Secret can have", insteadSubdomain
	case Workload, Raw:
	default:
		ok = ok || isSubdomain(name)
	}
	if !ok {
		report(reason, instead)
	}
	return ok
}

// Check says whether a part can be: nil, or *Problems.
func (s Scope) Check() error {
	problems := &Problems{}
	tenant := (*path)(nil).at(tenantsField).at(s.Tenant)
	cluster := tenant.at(clustersField).at(s.Cluster)
	switch {
	case s.Tenant == "" && s.Cluster+s.Namespace != "":
		problems.add((*path)(nil).at(tenantsField), "has no name", "name the tenant of the cluster")
	case s.Tenant != "" && !isLabel(s.Tenant):
		problems.add(tenant, reasonTenant, insteadLabel)
	case s.Cluster == "" && s.Namespace != "":
		problems.add(tenant.at(clustersField), "has no name", "name the cluster of the namespace")
	case s.Cluster != "" && !isSubdomain(s.Cluster):
		problems.add(cluster, reasonCluster, insteadSubdomain)
	case s.Namespace != "" && !isLabel(s.Namespace):
		problems.add(cluster.at(namespacesField).at(s.Namespace), reasonNamespace, insteadLabel)
	}
	return problems.err()
}

const (
	reasonTenant    = "is no name of a tenant"
	reasonCluster   = "is no name of a cluster"
	reasonNamespace = "is no name of a namespace"
)
