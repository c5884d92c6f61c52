package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/faults"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seed names the environment variable that repeats a storm.
const seed = "FLEET_HANDSHAKE_SEED"

func seedOf(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv(seed)
	if given == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(given, 10, 64)
	require.NoError(t, err)
	return n
}

// leastFaults is how often each kind has to come.
const leastFaults = 10

// isEvent says whether a request is one for an event. Client-go gives up an event that the API server refuses, and waits
// for 10 seconds with all events after a connection was cut: nothing that depends on them would be seen in this time.
func isEvent(r *http.Request) bool { return strings.Contains(r.URL.Path, "/events") }

func TestFaultsInTheMiddleOfEveryWrite(t *testing.T) {
	sites := []site{{name: "paris"}, {name: "tokyo"}}
	startFleet(t, time.Now, sites...)
	options := faults.Options{Seed: seedOf(t), Patience: time.Second / 2, Spare: isEvent}
	fmt.Printf("to repeat this storm: %s=%d\n", seed, options.Seed)
	proxy, err := faults.New(hub.Operator, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	operator := startOperator(t, proxy.Config())
	kept, dying, born := names("kept", 5), names("dying", 3), names("born", 3)
	send(t, slices.Concat(kept, dying), sites...)
	settle(t, slices.Concat(kept, dying), len(sites))

	since, _ := revision(t)
	began := time.Now()
	proxy.Storm(0.25)
	send(t, born, sites...)
	for _, name := range dying {
		require.NoError(t, hub.Handshakes.Delete(t.Context(), workspace, name))
	}
	all := slices.Concat(kept, born)
	// So quick that a Secret often changes again before the operator knows what has become of its last write.
	rotation := rotate(t, all, 5*time.Millisecond)
	eventually(t, func(context.Context) error { return enough(proxy.Counts()) })
	rotation.goOn(t, all, 3)
	rotation.stop()
	// What is written last has to get through, too, and nothing comes after it that would wake the operator.
	for n := range 3 {
		for _, name := range all {
			require.NoError(t, write(t.Context(), name, fmt.Sprintf("last-%d", n)))
		}
		each(t, patience, all, func(ctx context.Context, name string) error {
			hs, err := hub.Handshakes.Get(ctx, workspace, name)
			if err == nil {
				_, _, err = carried(ctx, hs)
			}
			return err
		})
	}
	proxy.Calm()
	lasted := time.Since(began)
	operator.lives(t)

	began = time.Now()
	settle(t, all, len(sites))
	took := time.Since(began)
	for _, name := range dying {
		goes(t, name)
	}
	sent := checkNumbers(t, history(t, since))
	assert.Greater(t, sent, 2*len(all), "the rotations went on during the storm")
	comesToRest(t)
	operator.lives(t)
	fmt.Printf("a storm of %.0f s, %d revisions sent of %d handshakes, all Synced and scrubbed %.0f s after it; faults (before, after the write): %v\n",
		lasted.Seconds(), sent, len(all), took.Seconds(), proxy.Counts())
}

// enough says which kind of fault has to come more often.
func enough(counts map[faults.Kind]faults.Count) error {
	for _, kind := range faults.All {
		if n := counts[kind].Total(); n < leastFaults {
			return fmt.Errorf("%s was injected %d times", kind, n)
		}
	}
	for _, kind := range []faults.Kind{faults.ServerError, faults.Silence} {
		if c := counts[kind]; c.Before == 0 || c.After == 0 {
			return fmt.Errorf("%s was injected on one side of the writes only: %+v", kind, c)
		}
	}
	return nil
}

// goes waits until nothing is left of a handshake.
func goes(t *testing.T, name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		if _, err := hub.Handshakes.Get(ctx, workspace, name); !apierrors.IsNotFound(err) {
			return errors.Join(err, fmt.Errorf("handshake %s is still there", name))
		}
		its := v1alpha1.LabelName + "=" + name
		bundles, err := hub.Bundles.List(ctx, workspace, its)
		if err != nil {
			return err
		}
		values, err := hub.CoreV1().Secrets(workspace).List(ctx, metav1.ListOptions{LabelSelector: its})
		if err == nil && len(bundles)+len(values.Items) > 0 {
			err = fmt.Errorf("%d Bundles and %d values Secrets of %s are left", len(bundles), len(values.Items), name)
		}
		return err
	})
}
