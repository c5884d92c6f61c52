package vsecm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	clocktesting "k8s.io/utils/clock/testing"
)

// socketDir is a folder for a socket. Paths of sockets are short.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsecm") //nolint:usetesting // its path would be too long
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// api starts a Workload API, and a Client that takes its SVID from there.
func api(t *testing.T, dir string, w *world, ids ...string) (*spiffetest.WorkloadAPI, *Client) {
	t.Helper()
	var svids []*x509svid.SVID
	for _, id := range ids {
		svid, err := w.ca.SVID(id, time.Hour)
		require.NoError(t, err)
		svids = append(svids, svid)
	}
	agent, err := spiffetest.ServeWorkloadAPI(dir, w.ca, svids...)
	require.NoError(t, err)
	t.Cleanup(agent.Stop)
	client, err := New(w.clock, Options{EndpointSocket: agent.Address, Timeout: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return agent, client
}

func TestTheSVIDComesFromTheWorkloadAPI(t *testing.T) {
	w := start(t, appID)
	w.Put(labsafe.Stored{Name: "raw:a", Value: canary})
	dir := socketDir(t)
	agent, client := api(t, dir, w, appID, scoutID)
	assert.Zero(t, agent.Asked(), "nobody has wanted anything yet")
	for range 3 {
		_, err := client.Raw(t.Context(), w.Address, 0)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, agent.Asked())

	id := strings.Replace(scoutID, "handshake-1", "handshake-2", 1)
	next, err := w.ca.SVID(id, time.Hour)
	require.NoError(t, err)
	agent.Rotate(next)
	last := func() string { all := w.Requests(); return all[len(all)-1].ID }
	require.Eventually(t, func() bool {
		_, err := client.Raw(t.Context(), w.Address, 0)
		return assert.NoError(t, err) && last() == id
	}, 10*time.Second, 200*time.Millisecond)

	agent.Stop()
	_, err = client.Raw(t.Context(), w.Address, 0)
	require.NoError(t, err, "an agent that restarts is no gap")
	assert.Equal(t, id, last())
	again, err := spiffetest.ServeWorkloadAPI(dir, w.ca, next)
	require.NoError(t, err)
	t.Cleanup(again.Stop)
	require.Eventually(t, func() bool { return again.Asked() > 0 }, 20*time.Second, 10*time.Millisecond, "it is found again")
	_, err = client.Raw(t.Context(), w.Address, 0)
	require.NoError(t, err)
}

func TestAnAgentWithoutAnIdentityForUs(t *testing.T) {
	w := start(t, appID)
	agent, client := api(t, socketDir(t), w)
	const want = ": the SPIRE agent knows no identity for the operator: make a ClusterSPIFFEID that selects its pod, as docs/sources/vsecm.md says"
	for range 10 {
		_, err := client.Raw(t.Context(), w.Address, 0)
		require.EqualError(t, err, "asking for an SVID at "+agent.Address+want)
		assert.True(t, upstream.IsKind(err, upstream.Denied))
	}
	assert.Equal(t, 1, agent.Asked(), "it is not asked again at once")
	svid, err := w.ca.SVID(scoutID, time.Hour)
	require.NoError(t, err)
	agent.Rotate(svid)
	w.clock.Step(openAgain)
	_, err = client.Raw(t.Context(), w.Address, 0)
	require.NoError(t, err)
	assert.Empty(t, w.told)
}

func TestAnAgentThatIsNotThere(t *testing.T) {
	w := start(t, appID)
	socket := "unix://" + filepath.Join(socketDir(t), "agent.sock")
	client, err := New(w.clock, Options{EndpointSocket: socket, Timeout: 2 * time.Second})
	require.NoError(t, err)
	began := time.Now()
	_, err = client.Raw(t.Context(), w.Address, 0)
	require.EqualError(t, err, "asking for an SVID at "+socket+": it cannot be reached: see whether the SPIRE agent runs on this node, and whether its socket is mounted into the pod of the operator")
	assert.True(t, upstream.IsKind(err, upstream.Unavailable))
	assert.Less(t, time.Since(began), time.Second, "nobody waits for a socket that is not there")
	require.NoError(t, client.Close())
}

func TestAnAgentThatHangs(t *testing.T) {
	var opened atomic.Int32
	client, err := New(clocktesting.NewFakeClock(time.Now()), Options{Timeout: 100 * time.Millisecond, Open: func(ctx context.Context) (Source, error) {
		opened.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	require.NoError(t, err)
	var group errgroup.Group
	for range 100 {
		group.Go(func() error {
			_, err := client.Raw(t.Context(), "https://safe", 0)
			if err == nil || !strings.HasSuffix(err.Error(), "no answer in time: see the log of the SPIRE agent on this node") {
				return errors.Join(errors.New("another error"), err)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 1, opened.Load(), "all wait for one")
}

func TestWhoHasGoneOpensNothingForTheOthers(t *testing.T) {
	w := start(t, scoutID)
	arrived := make(chan struct{}, 2)
	client, err := New(w.clock, Options{Open: func(ctx context.Context) (Source, error) {
		arrived <- struct{}{}
		if len(w.Requests()) == 0 && w.opened == 0 {
			w.opened++
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return w.own, nil
	}})
	require.NoError(t, err)
	ctx, leave := context.WithCancel(t.Context())
	gone, done := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := client.Raw(ctx, w.Address, 0)
		gone <- err
	}()
	<-arrived
	go func() {
		_, err := client.Raw(t.Context(), w.Address, 0)
		done <- err
	}()
	leave()
	require.ErrorContains(t, <-gone, "it was not waited for")
	require.NoError(t, <-done)
}

func TestASourceThatComesTooLateIsClosed(t *testing.T) {
	w := start(t, scoutID)
	closing := make(chan struct{})
	opening := make(chan struct{})
	client, err := New(w.clock, Options{Open: func(context.Context) (Source, error) {
		close(opening)
		<-closing
		return w.own, nil
	}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := client.Raw(t.Context(), w.Address, 0)
		done <- err
	}()
	<-opening
	require.NoError(t, client.Close())
	close(closing)
	require.ErrorContains(t, <-done, "the operator ends")
	assert.True(t, w.own.Closed())
}
