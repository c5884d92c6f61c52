package syncstatus

import (
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/summary"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// badge is what Rancher shows of a handshake beside its name, and what Fleet makes of it when it came from a GitRepo.
func badge(t *testing.T, hs *v1alpha1.FleetHandshake, s v1alpha1.FleetHandshakeStatus) summary.Summary {
	t.Helper()
	hs = hs.DeepCopy()
	hs.Status = s
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(hs)
	require.NoError(t, err)
	return summary.Summarize(&unstructured.Unstructured{Object: object})
}

func TestBadge(t *testing.T) {
	const (
		active      = "active"
		reconciling = "reconciling, transitioning"
		wrong       = "error, error"
	)
	want := map[string]string{
		"every cluster has it": active,
		"every cluster has it, and one that no longer matches is waited for": active,
		"every cluster has it, and the handshake is paused":                  active,

		"one cluster does not have it":                                  reconciling,
		"a copy was deleted":                                            reconciling,
		"one cluster does not report, and one does not have it":         reconciling,
		"somebody deletes the Bundle":                                   reconciling,
		"one cluster does not report":                                   reconciling,
		"a pause holds it back":                                         reconciling,
		"no cluster matches":                                            reconciling,
		"the handshake is being deleted":                                reconciling,
		"the Secret is missing, and every cluster has the last one":     reconciling,
		"the Secret is missing, and not every cluster has the last one": reconciling,
		"the Secret was never there":                                    reconciling,

		"no SecretGrant covers one cluster, and the handshake is being deleted": reconciling,

		"no SecretGrant covers one cluster":                                                          wrong,
		"no SecretGrant covers one cluster any more":                                                 wrong,
		"no SecretGrant covers one cluster, and the other failed":                                    wrong,
		"no SecretGrant covers one cluster any more, and that of the other waits for a confirmation": wrong,
		"one cluster failed":                  wrong,
		"one cluster failed and one is stuck": wrong,
		"one cluster is stuck":                wrong,
		"a foreign Secret is in the way in one cluster, and the other failed": wrong,
		"a withdrawal waits for a confirmation":                               wrong,
		"the Secret has been missing for long":                                wrong,
		"the Secret may not be read":                                          wrong,
		"the Secret is of a type that is never sent":                          wrong,
		"the Secret is too large":                                             wrong,
		"the copies are immutable":                                            wrong,
		"the copies are of another type":                                      wrong,
		"a target is not valid":                                               wrong,
		"the rollout is not valid, and one cluster does not have it":          wrong,
		"the API server refuses a write":                                      wrong,
		"the name is taken":                                                   wrong,
	}
	require.Len(t, want, len(verdictCases))
	for title, c := range verdictCases {
		t.Run(title, func(t *testing.T) {
			in := input("paris", "tokyo")
			c.change(&in)
			b := badge(t, in.Handshake, aggregate(t, in).Status)
			got := b.State
			if b.Error {
				got += ", error"
			}
			if b.Transitioning {
				got += ", transitioning"
			}
			assert.Equal(t, want[title], got)
			if got != active {
				assert.Equal(t, []string{c.message}, b.Message)
			}
		})
	}
}

// Whatever Delivered and SourceAvailable say: only Ready, Reconciling and Stalled make the badge.
func TestBadgeDoesNotHangOnOurOwnConditions(t *testing.T) {
	s := aggregate(t, input("paris")).Status
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		for i, c := range s.Conditions {
			if c.Type != "Ready" {
				s.Conditions[i].Status = status
			}
		}
		require.Len(t, s.Conditions, 3)
		b := badge(t, input("paris").Handshake, s)
		assert.Equal(t, "active", b.State)
		assert.True(t, b.IsReady())
	}
}
