package lab

import "fmt"

// Downstream is a cluster that Fleet deploys to.
type Downstream struct {
	// Name of the Fleet Cluster in fleet-default: a DNS label.
	Name string
	// Labels of the Fleet Cluster.
	Labels map[string]string
}

// Group is a Fleet ClusterGroup in fleet-default.
type Group struct {
	// Name of the ClusterGroup.
	Name string
	// Selector holds the labels a member has.
	Selector map[string]string
}

// EnvLabel is the label the sites are told apart by; its values are Production
// and Staging.
const (
	EnvLabel   = "env"
	Production = "production"
	Staging    = "staging"
)

// Fleet3 returns the downstream clusters and the cluster groups the demo and
// the end-to-end tests share: paris and tokyo with env=production, which are
// the group "production", and denver with env=staging.
func Fleet3() ([]Downstream, []Group) {
	return Sites(3), []Group{{Name: Production, Selector: map[string]string{EnvLabel: Production}}}
}

// Sites returns the first count of the well-known sites. Those after the third
// are in staging, and those after the last known name are numbered.
func Sites(count int) []Downstream {
	names := []string{"paris", "tokyo", "denver", "cairo", "lima", "oslo", "perth", "quito"}
	var sites []Downstream
	for i := range count {
		name := fmt.Sprintf("site-%d", i+1)
		if i < len(names) {
			name = names[i]
		}
		env := Staging
		if i < 2 {
			env = Production
		}
		sites = append(sites, Downstream{Name: name, Labels: map[string]string{EnvLabel: env}})
	}
	return sites
}
