package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const crowd = 200

func TestWritesOfTwoHundredHandshakesOnOneSecret(t *testing.T) {
	// 50 releases in each cluster keep the agents so busy that they may report late.
	startOperator(t, func(o *operator.Options) { o.OfflineAfter = 10 * time.Minute })
	ctx := context.Background()
	create(t, source("shared", map[string][]byte{"password": secretValue("shared")}), nil)
	for i := range crowd {
		site := world.Downstream[i%len(world.Downstream)].Name
		hs := handshake(fmt.Sprintf("crowd-%03d", i), v1alpha1.ClusterTarget{ClusterName: site})
		hs.Spec.SecretName, hs.Spec.TargetNamespace = "shared", fmt.Sprintf("crowd-%03d", i)
		// Nothing is shown of their removal, so nobody waits for the confirmations.
		hs.Spec.RemovalTimeout = &metav1.Duration{}
		_, err := hub.Handshakes.Create(ctx, hs)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		for i := range crowd {
			_ = hub.Handshakes.Delete(ctx, workspace, fmt.Sprintf("crowd-%03d", i))
		}
		eventuallyWithin(t, 5*time.Minute, func(ctx context.Context) error {
			left, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelHandshake)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%d bundles are left", len(left))
			}
			return err
		})
	})
	// settled: everybody is synced on another revision than before, and scrubbed.
	settled := func(former map[string]string) map[string]string {
		t.Helper()
		revisions := map[string]string{}
		eventuallyWithin(t, 10*time.Minute, func(ctx context.Context) error {
			quiet(t, 500*time.Millisecond) // the lists are large
			all, err := hub.Handshakes.List(ctx, workspace, "")
			if err != nil {
				return err
			}
			bundles, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelHandshake)
			if err != nil {
				return err
			}
			synced := 0
			for _, hs := range all {
				if hs.Status.Status == v1alpha1.StateSynced && hs.Status.Revision != former[hs.Name] {
					synced++
					revisions[hs.Name] = hs.Status.Revision
				}
			}
			clean := 0
			for i := range bundles {
				if !bundle.DeliveryOf(&bundles[i]).Unscrubbed {
					clean++
				}
			}
			if synced != crowd || clean != crowd {
				return fmt.Errorf("%d of %d are synced, %d scrubbed", synced, crowd, clean)
			}
			return nil
		})
		return revisions
	}
	began := time.Now()
	before := settled(nil)
	fmt.Printf("%d handshakes on one Secret: all synced after %.0f s\n", crowd, time.Since(began).Seconds())

	_, position := writesSince(t, 0)
	began = time.Now()
	rotate(t, "shared", map[string][]byte{"password": secretValue("rotated")})
	settled(before)
	fmt.Printf("one rotation of it: all synced and scrubbed after %.0f s\n", time.Since(began).Seconds())

	quiet(t, 5*time.Second)
	writes, position := writesSince(t, position)
	values, bundles, statuses, events := map[string]int{}, map[string]int{}, 0, 0
	for _, w := range writes {
		switch {
		case w.ObjectRef.Resource == "secrets":
			values[w.ObjectRef.Name]++
		case w.ObjectRef.Resource == "bundles":
			bundles[w.ObjectRef.Name]++
		case w.ObjectRef.Subresource == "status":
			statuses++
		case w.ObjectRef.Resource == "events":
			events++
		default:
			t.Errorf("unexpected: %s", w)
		}
	}
	for _, w := range writes {
		assert.Less(t, w.ResponseStatus.Code, 300, "a write was refused: %s", w)
	}
	for name, n := range bundles {
		assert.LessOrEqual(t, n, 2, "writes to Bundle %s: one for the rotation, one for the scrub", name)
		assert.LessOrEqual(t, values[name], 1, "writes to values secret %s", name)
	}
	fmt.Printf("writes of the rotation: %d to values secrets, %d to Bundles (half of them scrubs), %d to statuses, %d events\n", sum(values), sum(bundles), statuses, events)
	assert.Len(t, bundles, crowd)

	quiet(t, time.Minute)
	idle, _ := writesSince(t, position)
	fmt.Printf("writes in 60 s of idling: %d\n", len(idle))
	if len(idle) > 0 {
		events, err := hub.CoreV1().Events(workspace).List(ctx, metav1.ListOptions{})
		require.NoError(t, err)
		reasons := map[string]int{}
		for _, e := range events.Items {
			if time.Since(e.LastTimestamp.Time) < time.Minute {
				reasons[e.Reason]++
			}
		}
		t.Log("events of the last minute by reason:", reasons)
	}
	assert.Empty(t, idle)
}

// quiet lets time pass: what is shown afterwards is that nothing has happened in it.
func quiet(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}
