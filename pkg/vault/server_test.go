package vault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestAServerThatFailsIsLeftAlone(t *testing.T) {
	f, pool, s, _ := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	f.on("GET kv/data/x", says(500, nil))
	texts := map[string]bool{}
	for range 20 {
		_, err = s.ReadKV(t.Context(), secretX, 0, 0)
		require.Error(t, err)
		assert.True(t, upstream.IsKind(err, upstream.Unavailable))
		texts[err.Error()] = true
	}
	assert.Equal(t, 1+upstream.FailuresToOpen, f.count("GET kv/data/x"))
	assert.Len(t, texts, 1, "an outage has one text, whether the server was tried or not")
	assert.Equal(t, []string{f.URL}, pool.Open())

	other, err := pool.Session(Connection{Address: f.URL, Namespace: "other"}, &role{})
	require.NoError(t, err)
	_, err = other.ReadKV(t.Context(), vaultkv.Read{Base: "kv/y"}, 0, 0)
	require.NoError(t, err, "another connection is not concerned")
	f.on("GET kv/data/y", says(500, nil))
	for range upstream.FailuresToOpen {
		_, err = other.ReadKV(t.Context(), vaultkv.Read{Base: "kv/y"}, 0, 0)
		require.Error(t, err)
	}
	assert.Equal(t, []string{f.URL}, pool.Open(), "an address is there once")
}

func TestAnOutageHasOneText(t *testing.T) {
	f, _, s, _ := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	f.CloseClientConnections()
	f.Close()
	texts := map[string]bool{}
	for range 3 * upstream.FailuresToOpen {
		_, err = s.ReadKV(t.Context(), secretX, 0, 0)
		require.Error(t, err)
		texts[err.Error()] = true
	}
	assert.Equal(t, map[string]bool{"GET kv/data/x at " + f.URL + ": connection refused": true}, texts)
}

func TestEachRequestThatWasSentIsTold(t *testing.T) {
	f := newFake(t)
	var mu sync.Mutex
	counts := map[string]int{}
	var pool *Pool
	pool, s := join(t, f, clocktesting.NewFakeClock(time.Now()), Options{Requested: func(address string, err error) {
		pool.Open() // no lock is held
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, f.URL, address)
		var e *upstream.Error
		if err != nil && assert.ErrorAs(t, err, &e) {
			counts["failed"]++
			return
		}
		counts["answered"]++
	}})
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"answered": 3}, counts, "login, mount and secret")
	f.on("GET kv/data/x", says(500, nil))
	for range 20 {
		_, err = s.ReadKV(t.Context(), secretX, 0, 0)
		require.Error(t, err)
	}
	assert.Equal(t, map[string]int{"answered": 3, "failed": upstream.FailuresToOpen}, counts)
}

func TestADatabaseThatFailsIsNoReasonToLeaveVaultAlone(t *testing.T) {
	f, pool, s, _ := start(t)
	f.on("GET database/creds/x", refuses(500, "dial tcp: connection refused, password hunter2"))
	for range 2 * upstream.FailuresToOpen {
		_, err := s.Request(t.Context(), http.MethodGet, "database/creds/x", nil)
		assert.True(t, upstream.IsKind(err, upstream.Unavailable))
		assert.NotContains(t, err.Error(), "hunter2")
		require.ErrorContains(t, err, "the log of Vault says why")
	}
	assert.Empty(t, pool.Open())
	f.on("GET database/creds/x", says(502, nil))
	for range 2 * upstream.FailuresToOpen {
		_, err := s.Request(t.Context(), http.MethodGet, "database/creds/x", nil)
		require.Error(t, err)
	}
	assert.Equal(t, []string{f.URL}, pool.Open(), "what is not Vault's own answer counts")
}

func TestWhoDoesNotWaitSaysNothingAboutTheServer(t *testing.T) {
	f, pool, s, _ := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	arrived := make(chan struct{}, 1)
	f.on("GET kv/data/x", func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	for range 2 * upstream.FailuresToOpen {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.ReadKV(ctx, secretX, 0, 0)
			done <- err
		}()
		select {
		case <-arrived:
		case err := <-done:
			require.NoError(t, err, "it was not even sent")
		}
		cancel()
		require.ErrorContains(t, <-done, "it was not waited for")
	}
	assert.Empty(t, pool.Open())
}

func TestConnectionsToOneServerShareItsLimit(t *testing.T) {
	pool := NewPool(clocktesting.NewFakeClock(time.Now()), Options{})
	limitsWith := func(c Connection) int {
		_, err := pool.Session(c, &role{})
		require.NoError(t, err)
		return len(pool.limits)
	}
	assert.Equal(t, 1, limitsWith(Connection{Address: "http://vault", RequestsPerSecond: 5}))
	assert.Equal(t, 1, limitsWith(Connection{Address: "http://vault", RequestsPerSecond: 5, Namespace: "team"}))
	assert.Equal(t, 2, limitsWith(Connection{Address: "http://vault", RequestsPerSecond: 6}))
	assert.Equal(t, 3, limitsWith(Connection{Address: "http://other", RequestsPerSecond: 5}))
}

func TestNoSecondHasMoreRequestsThanTheLimit(t *testing.T) {
	const limit = 10
	f := newFake(t)
	var mu sync.Mutex
	var times []time.Time
	for i := range 3 * limit {
		f.on(fmt.Sprintf("GET kv/data/%d", i), func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Now())
			write(w, map[string]any{"data": map[string]any{}})
		})
	}
	s, err := NewPool(clocktesting.NewFakeClock(time.Now()), Options{}).Session(Connection{Address: f.URL, RequestsPerSecond: limit}, &role{})
	require.NoError(t, err)
	var group errgroup.Group
	for i := range 3 * limit {
		group.Go(func() error {
			_, err := s.ReadKV(t.Context(), vaultkv.Read{Base: fmt.Sprintf("kv/%d", i)}, 0, 0)
			return err
		})
	}
	require.NoError(t, group.Wait())
	slices.SortFunc(times, time.Time.Compare)
	for i, from := range times {
		n := 0
		for n < len(times)-i && times[i+n].Before(from.Add(time.Second)) {
			n++
		}
		assert.LessOrEqual(t, n, limit, "requests in the second after the first %d", i)
	}
}
