package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

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
		assert.True(t, IsKind(err, Unavailable))
		texts[err.Error()] = true
	}
	assert.Equal(t, 1+failuresToOpen, f.count("GET kv/data/x"))
	assert.Len(t, texts, 1, "an outage has one text, whether the server was tried or not")
	assert.Equal(t, []string{f.URL}, pool.Open())

	other, err := pool.Session(Connection{Address: f.URL, Namespace: "other"}, &role{})
	require.NoError(t, err)
	_, err = other.ReadKV(t.Context(), vaultkv.Read{Base: "kv/y"}, 0, 0)
	require.NoError(t, err, "another connection is not concerned")
	f.on("GET kv/data/y", says(500, nil))
	for range failuresToOpen {
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
	for range 3 * failuresToOpen {
		_, err = s.ReadKV(t.Context(), secretX, 0, 0)
		require.Error(t, err)
		texts[err.Error()] = true
	}
	assert.Equal(t, map[string]bool{"GET kv/data/x at " + f.URL + ": connection refused": true}, texts)
}

func TestReasonsHaveNoPortsOfThisSideAndNoTime(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"reset":      {connectionReset(t), "connection reset by peer"},
		"name":       {&net.DNSError{Err: "read udp 10.0.0.1:5353->10.0.0.2:53: i/o timeout", Name: "vault", IsTimeout: true}, "the name vault cannot be looked up"},
		"timeout":    {&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "no answer in time"},
		"expired":    {x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 2026-01-01"}, "the certificate of the server has expired or is not valid yet"},
		"other ends": {errors.New("read tcp 10.0.0.1:50312->10.0.0.2:8200: something else"), "read tcp something else"},
	} {
		assert.Equal(t, c.want, reasonOf(t.Context(), c.err), name)
	}
}

// connectionReset is the error of a connection that the other side has reset.
func connectionReset(t *testing.T) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			_, _ = connection.Read(make([]byte, 1))
			_ = connection.(*net.TCPConn).SetLinger(0)
			_ = connection.Close()
		}
	}()
	_, err = http.Get("http://" + listener.Addr().String()) //nolint:bodyclose,noctx // there is no answer
	require.ErrorContains(t, err, "->")
	return err
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
		var e *Error
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
	assert.Equal(t, map[string]int{"answered": 3, "failed": failuresToOpen}, counts)
}

func TestADatabaseThatFailsIsNoReasonToLeaveVaultAlone(t *testing.T) {
	f, pool, s, _ := start(t)
	f.on("GET database/creds/x", refuses(500, "dial tcp: connection refused, password hunter2"))
	for range 2 * failuresToOpen {
		_, err := s.Request(t.Context(), http.MethodGet, "database/creds/x", nil)
		assert.True(t, IsKind(err, Unavailable))
		assert.NotContains(t, err.Error(), "hunter2")
		require.ErrorContains(t, err, "the log of Vault says why")
	}
	assert.Empty(t, pool.Open())
	f.on("GET database/creds/x", says(502, nil))
	for range 2 * failuresToOpen {
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
	for range 2 * failuresToOpen {
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
	limitOf := func(c Connection) any {
		s, err := pool.Session(c, &role{})
		require.NoError(t, err)
		return s.server.limit
	}
	one := limitOf(Connection{Address: "http://vault", RequestsPerSecond: 5})
	assert.Same(t, one, limitOf(Connection{Address: "http://vault", RequestsPerSecond: 5, Namespace: "team"}))
	assert.NotSame(t, one, limitOf(Connection{Address: "http://vault", RequestsPerSecond: 6}))
	assert.NotSame(t, one, limitOf(Connection{Address: "http://other", RequestsPerSecond: 5}))
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
