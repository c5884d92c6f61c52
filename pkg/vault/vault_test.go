package vault

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	clocktesting "k8s.io/utils/clock/testing"
)

var secretX = vaultkv.Read{Base: "kv/x"}

func TestManyReadsAreOneLoginOneMountAndOneRead(t *testing.T) {
	f, _, s, clock := start(t)
	var group errgroup.Group
	for i := range 50 {
		group.Go(func() error {
			kv, err := s.ReadKV(t.Context(), vaultkv.Read{Base: fmt.Sprintf("kv/%d", i%5)}, 0, time.Minute)
			if err == nil {
				assert.Equal(t, []vaultkv.Leaf{{Path: fmt.Sprintf("kv/%d", i%5), Version: 4, Data: map[string]any{"k": "v"}}}, kv.Leaves)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	mounts := 0
	for i := range 5 {
		assert.Equal(t, 1, f.count(fmt.Sprintf("GET kv/data/%d", i)))
		mounts += f.count(fmt.Sprintf("GET sys/internal/ui/mounts/kv/%d", i))
	}
	assert.Equal(t, 1, mounts)
	assert.Equal(t, 1, f.logins)

	_, err := s.ReadKV(t.Context(), vaultkv.Read{Base: "kv/0"}, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 2, f.count("GET kv/data/0"), "an age of 0 always reads")
	clock.Step(2 * time.Minute)
	_, err = s.ReadKV(t.Context(), vaultkv.Read{Base: "kv/1"}, 0, time.Minute)
	require.NoError(t, err)
	assert.Equal(t, 2, f.count("GET kv/data/1"), "what was read is too old")
}

func TestATokenIsRenewedBeforeHalfItsLife(t *testing.T) {
	f, _, s, clock := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	clock.Step(39 * time.Second)
	assert.Never(t, func() bool { return f.count("PUT auth/token/renew-self") > 0 }, 100*time.Millisecond, 10*time.Millisecond)
	clock.Step(11 * time.Second)
	require.Eventually(t, func() bool { return f.count("PUT auth/token/renew-self") == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "the next renewal is planned")
	clock.Step(60 * time.Second) // longer than the first life
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 1, f.logins)
}

func TestATokenThatVaultHasForgottenIsReplacedOnce(t *testing.T) {
	f, _, s, _ := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	f.revoke("token-1")
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 2, f.logins)

	f.on("GET kv/data/x", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		write(w, map[string]any{"errors": []string{"1 error occurred:\n\t* permission denied\n\n"}})
	})
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.ErrorContains(t, err, "GET kv/data/x at "+f.URL+" answered 403: 1 error occurred: * permission denied")
	assert.True(t, upstream.IsKind(err, upstream.Denied))
	assert.Equal(t, 2, f.logins, "a policy that denies is no reason for a login")
}

func TestNothingAtAPathIsNoError(t *testing.T) {
	f, _, s, _ := start(t)
	f.on("GET kv/data/x", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound) // as for a version that was deleted
		write(w, map[string]any{"data": map[string]any{"data": nil, "metadata": map[string]any{"deletion_time": "2026-01-01T00:00:00Z", "version": 2}}})
	})
	kv, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, []vaultkv.Leaf{{Path: "kv/x"}}, kv.Leaves)
}

func TestWhatMayHealIsToldFromWhatMayNot(t *testing.T) {
	f, _, s, _ := start(t)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   upstream.Kind
		says   string
	}{
		"sealed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, upstream.Unavailable, "sealed"},
		"error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			write(w, map[string]any{"errors": []string{"password hunter2"}})
		}, upstream.Unavailable, "answered 500"},
		"too many": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, upstream.Unavailable, "answered 429"},
		"bad": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			write(w, map[string]any{"errors": []string{"no such version"}})
		}, upstream.Invalid, "no such version"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, upstream.Unavailable, "is this Vault?"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"data"`))
		}, upstream.Unavailable, "broke off"},
		"large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"data":"` + strings.Repeat("x", maxBody) + `"}`))
		}, upstream.Invalid, "more than"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, upstream.Unavailable, "no answer in time"},
	} {
		f.on("GET kv/data/x", c.answer)
		_, err := s.ReadKV(t.Context(), secretX, 0, 0)
		require.ErrorContains(t, err, c.says, name)
		assert.True(t, upstream.IsKind(err, c.kind), "%s: %v", name, err)
		assert.NotContains(t, err.Error(), "hunter2")
		f.on("GET kv/data/x", nil)
		_, err = s.ReadKV(t.Context(), secretX, 0, 0)
		require.NoError(t, err, "after %s", name)
	}
}

func TestTokensAreGivenBack(t *testing.T) {
	f, pool, s, clock := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	require.NoError(t, pool.Sweep(t.Context(), time.Hour))
	assert.Len(t, f.tokens, 1, "it is in use")
	require.NoError(t, pool.Close(t.Context()))
	assert.Empty(t, f.tokens)
	assert.False(t, clock.HasWaiters(), "nothing is renewed any more")
}

func TestWhatIsVaultsOwnIsNotRead(t *testing.T) {
	_, _, s, _ := start(t)
	for path, says := range map[string]string{
		"auth/token/lookup-self": "what is below auth/ and sys/ is Vault's own", "/sys/mounts": "what is below auth/ and sys/ is Vault's own",
		"kv/../auth/token/lookup-self": "the path has ..",
	} {
		_, err := s.ReadKV(t.Context(), vaultkv.Read{Base: path}, 0, 0)
		require.ErrorContains(t, err, says)
		assert.True(t, upstream.IsKind(err, upstream.Invalid))
	}
}

func TestLoginPath(t *testing.T) {
	for _, mount := range []string{"kubernetes/hub", "auth/kubernetes/hub", "auth/kubernetes/hub/login", "/auth/kubernetes/hub/login/", "kubernetes/hub/login"} {
		assert.Equal(t, "auth/kubernetes/hub/login", LoginPath(mount))
	}
}

func TestABadConnectionIsRefused(t *testing.T) {
	_, err := NewPool(clocktesting.NewFakeClock(time.Now()), Options{}).Session(Connection{Address: "https://vault", CA: []byte("nonsense")}, &role{})
	require.ErrorContains(t, err, "-----BEGIN CERTIFICATE-----")
}
