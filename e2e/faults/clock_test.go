package faults

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
)

// wrongClock goes, but says another time. It can be put right.
type wrongClock struct{ ahead atomic.Int64 }

func newWrongClock(ahead time.Duration) *wrongClock {
	c := &wrongClock{}
	c.set(ahead)
	return c
}

func (c *wrongClock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// Now implements clock.PassiveClock.
func (c *wrongClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Since implements clock.PassiveClock.
func (c *wrongClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// recorded waits until the record of a handshake's Bundle lies in the future, and is unscrubbed when it has to be.
func recorded(t *testing.T, name string, unscrubbed bool) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, workspace, name)
		if err != nil {
			return err
		}
		b, err := hub.Bundles.Get(ctx, workspace, bundle.NameFor(hs))
		if err != nil {
			return err
		}
		d := bundle.DeliveryOf(b)
		if !d.AssertedAt.After(time.Now().Add(30*time.Minute)) || d.Unscrubbed != unscrubbed {
			return fmt.Errorf("the record of %s is %+v", name, d)
		}
		return nil
	})
}

func TestClockSkew(t *testing.T) {
	const hour = time.Hour
	sites := []site{{"paris", time.Now().Add(hour)}, {"tokyo", time.Time{}}, {"denver", time.Now().AddDate(-3, 0, 0)}}
	healthy := sites[:2]
	fleet := startFleet(t, func() time.Time { return time.Now().Add(hour) }, sites...)
	clock := newWrongClock(hour)
	operator := startOperator(t, hub.Operator, func(o *operator.Options) { o.Clock = clock })
	all := names("healthy", 4)
	both := append(names("healthy", 4), "partly")
	send(t, all, healthy...)
	send(t, []string{"partly"}, sites...)
	since, _ := revision(t)
	for _, name := range both {
		recorded(t, name, false)
	}

	t.Run("what comes after the clock was put right", func(t *testing.T) {
		// tokyo has never reported, and an hour is long.
		says(t, "partly", v1alpha1.StatePending, v1alpha1.ReasonClusterOffline, "1/3")
		clock.set(0)
		for _, name := range both {
			require.NoError(t, write(t.Context(), name, "second"))
		}
		settle(t, all, len(healthy))
		eventually(t, func(ctx context.Context) error { return inStep(ctx, "partly", len(sites)) })
		hs := says(t, "partly", v1alpha1.StatePending, v1alpha1.ReasonClusterOffline, "2/3")
		for _, row := range hs.Status.Clusters {
			want := v1alpha1.ClusterSynced
			if row.Name == "denver" {
				want = v1alpha1.ClusterOffline
			}
			assert.Equal(t, want, row.State, row.Name)
		}
		for _, name := range all {
			hs, err := hub.Handshakes.Get(t.Context(), workspace, name)
			require.NoError(t, err)
			assert.WithinRange(t, hs.Status.LastSyncedAt.Time, time.Now().Add(-patience), time.Now(), "when %s was Synced", name)
		}
		comesToRest(t)
	})
	t.Run("what was begun before the clock was put right", func(t *testing.T) {
		clock.set(hour)
		answerAgain := fleet.fallSilent()
		for _, name := range all {
			require.NoError(t, write(t.Context(), name, "third"))
		}
		for _, name := range all {
			recorded(t, name, true)
		}
		clock.set(0)
		answerAgain()
		// The scrub is due 5 seconds after the rotation.
		each(t, 20*time.Second, all, func(ctx context.Context, name string) error { return synced(ctx, name, len(healthy)) })
		comesToRest(t)
	})
	operator.lives(t)
	checkNumbers(t, history(t, since))
	assert.NotContains(t, logs.String(), "panic")
}

// says waits until a handshake has this status, this reason of Ready, and so many clusters that have it.
func says(t *testing.T, name string, status v1alpha1.HandshakeState, reason, clusters string) (hs *v1alpha1.FleetHandshake) {
	t.Helper()
	eventually(t, func(ctx context.Context) (err error) {
		if hs, err = hub.Handshakes.Get(ctx, workspace, name); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(hs.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || hs.Status.Status != status || ready.Reason != reason || hs.Status.Display.ReadyClusters != clusters {
			return fmt.Errorf("%s says %s %s %+v", name, hs.Status.Status, hs.Status.Display.ReadyClusters, ready)
		}
		return nil
	})
	return hs
}
