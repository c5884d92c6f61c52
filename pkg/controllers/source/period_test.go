package source

import (
	"math"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHowOldWhatWasReadMayBe(t *testing.T) {
	now := metav1.NewTime(begin)
	known := v1alpha1.SourceStatus{LastFetchedAt: &now, ObservedGeneration: 1}
	for name, c := range map[string]struct {
		status v1alpha1.SourceStatus
		want   Want
		period time.Duration
		age    time.Duration
	}{
		"a refresh takes nothing that was read before": {known, Want{Fresh: true}, time.Hour, 0},
		"so does one of a Secret that was edited":      {known, Want{Fresh: true, Repair: true}, time.Hour, 0},
		"a repair takes all":                           {known, Want{Repair: true}, time.Hour, math.MaxInt64},
		"what is due shares what others have read":     {known, Want{}, 100 * time.Second, 79 * time.Second},
		"a new one takes what is young":                {v1alpha1.SourceStatus{}, Want{}, time.Hour, 30 * time.Second},
		"so does one with another spec":                {v1alpha1.SourceStatus{LastFetchedAt: &now}, Want{}, time.Hour, 30 * time.Second},
		"a new one with a short period":                {v1alpha1.SourceStatus{}, Want{}, 10 * time.Second, 7900 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			vs := &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: c.status}
			assert.Equal(t, c.age, Period(c.period).Age(vs, c.want))
		})
	}
}
