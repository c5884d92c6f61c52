package target

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var percentage = regexp.MustCompile(`^(100|[0-9]{1,2}([.][0-9]+)?)%$`)

// InPartitions returns the names of the clusters that some partition of a rollout matches. Fleet hands nothing on to the
// others (Fleet 0.16.0, internal/cmd/controller/target/rollout.go). An error names the field that Fleet could not work
// with, and says what to write instead.
func InPartitions(rollout *v1alpha1.RolloutStrategy, clusters []*fleet.Cluster, groups []*fleet.ClusterGroup) (map[string]bool, error) {
	if rollout == nil {
		return nil, nil
	}
	errs := []error{
		limit("maxUnavailable", rollout.MaxUnavailable),
		limit("maxUnavailablePartitions", rollout.MaxUnavailablePartitions),
		limit("autoPartitionSize", rollout.AutoPartitionSize),
	}
	if rollout.MaxNew != nil && *rollout.MaxNew < 1 {
		errs = append(errs, fmt.Errorf("maxNew is %d: write 1 or more", *rollout.MaxNew))
	}
	rules := make([]rule, 0, len(rollout.Partitions))
	for i, p := range rollout.Partitions {
		errs = append(errs, limit(fmt.Sprintf("partitions[%d].maxUnavailable", i), p.MaxUnavailable))
		t := v1alpha1.ClusterTarget{ClusterName: p.ClusterName, ClusterGroup: p.ClusterGroup, ClusterSelector: p.ClusterSelector, ClusterGroupSelector: p.ClusterGroupSelector}
		if t == (v1alpha1.ClusterTarget{}) {
			errs = append(errs, fmt.Errorf("partitions[%d] matches no cluster: add clusterName, clusterGroup, clusterSelector or clusterGroupSelector (clusterSelector: {} matches every cluster)", i))
		}
		r, err := newRule(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("partitions[%d]: %w", i, err))
		}
		rules = append(rules, r)
	}
	if err := inOneLine(errs); err != nil {
		return nil, err
	}
	matched := match(rules, clusters, groups)
	in := make(map[string]bool, len(matched))
	for _, c := range matched {
		in[c.Name] = true
	}
	return in, nil
}

func limit(field string, value *intstr.IntOrString) error {
	switch {
	case value == nil:
	case value.Type == intstr.Int && value.IntVal < 0:
		return fmt.Errorf("%s is %d: write a number of clusters from 0 on, or a percentage such as 25%%", field, value.IntVal)
	case value.Type == intstr.String && !percentage.MatchString(value.StrVal):
		return fmt.Errorf("%s is %q: write a number of clusters from 0 on, or a percentage such as 25%%", field, value.StrVal)
	}
	return nil
}

// inOneLine joins errors for a condition.
func inOneLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
