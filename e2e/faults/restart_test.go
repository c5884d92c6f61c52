package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheAPIServerIsRestarted(t *testing.T) {
	outlives(t, world.StopAPIServer, world.StartAPIServer)
}

func TestEtcdIsStoppedAndStarted(t *testing.T) {
	outlives(t, world.StopEtcd, world.StartEtcd)
}

// outage is for how long a server is away, without the time that it takes to start.
const outage = time.Second

// outlives ends a server while Secrets are being rotated, and starts it again, twice. Each time some of the Secrets
// do not change any more: what was begun with them has to be finished all the same.
func outlives(t *testing.T, stop func(*lab.Cluster) error, start func(context.Context, *lab.Cluster) error) {
	t.Helper()
	began, sites := time.Now(), []site{{name: "paris"}, {name: "tokyo"}}
	startFleet(t, time.Now, sites...)
	operator := startOperator(t, hub.Operator)
	begun, ongoing := names("begun", 12), names("ongoing", 3)
	all := slices.Concat(begun, ongoing)
	send(t, all, sites...)
	settle(t, all, len(sites))

	since, _ := revision(t)
	rotation := rotate(t, ongoing, 50*time.Millisecond)
	stoppedAt := map[string]time.Time{}
	var away time.Duration
	for group := range slices.Chunk(begun, 6) {
		last := rotate(t, group, 5*time.Millisecond)
		last.goOn(t, group, 5)
		require.NoError(t, stop(world.Hub))
		// Also when the test fails, for the tests after it.
		again := sync.OnceValue(func() error { return start(context.Background(), world.Hub) })
		t.Cleanup(func() { require.NoError(t, again()) })
		stopped := time.Now()
		last.stop()
		for _, name := range group {
			stoppedAt[name] = stopped
		}
		select {
		case <-time.After(outage):
		case <-t.Context().Done():
		}
		operator.lives(t)
		require.NoError(t, again())
		away += time.Since(stopped)
	}
	rotation.goOn(t, ongoing, 2)
	rotation.stop()

	rotated := time.Now()
	settle(t, all, len(sites))
	took := time.Since(rotated)
	underWay := 0
	for _, b := range stored(t) {
		at, ok := stoppedAt[ownerOf(b)]
		if ok && bundle.DeliveryOf(b).SentAt().After(at) {
			underWay++
		}
	}
	assert.NotZero(t, underWay, "no rotation was under way")
	sent := checkNumbers(t, history(t, since))
	assert.Greater(t, sent, 2*len(all), "the rotations went on")
	comesToRest(t)
	operator.lives(t)
	alarms, err := hub.CoreV1().Events(workspace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=" + v1alpha1.ReasonWriteFailed})
	require.NoError(t, err)
	// Those of the test before may be there still.
	alarms.Items = slices.DeleteFunc(alarms.Items, func(e corev1.Event) bool { return e.CreationTimestamp.Time.Before(began) })
	fmt.Printf("away twice, %.1f s in all, with %d rotations under way; %d revisions sent of %d handshakes, all Synced and scrubbed %.0f s after the last rotation; %d events %s on the way\n",
		away.Seconds(), underWay, sent, len(all), took.Seconds(), len(alarms.Items), v1alpha1.ReasonWriteFailed)
}
