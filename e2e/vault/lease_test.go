package vault

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/clock"
)

// mapKeeper keeps tokens in a map of the test: it outlives a Pool, as a Secret outlives a process.
type mapKeeper struct {
	mu   sync.Mutex
	kept map[string]vault.Kept
}

func newMapKeeper() *mapKeeper { return &mapKeeper{kept: map[string]vault.Kept{}} }

func (k *mapKeeper) Load(_ context.Context, id string) (vault.Kept, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept, ok := k.kept[id]
	return kept, ok, nil
}

func (k *mapKeeper) Save(_ context.Context, id string, kept vault.Kept) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[id] = kept
	return nil
}

func (k *mapKeeper) Delete(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, id)
	return nil
}

func (k *mapKeeper) all() map[string]vault.Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.kept)
}

// credentials is where users of the database are made.
const credentials = labvault.DatabaseMount + "/creds/" + labvault.DynamicRole

// bench has a Vault that makes users of a PostgreSQL.
type bench struct {
	vault *labvault.Server
	db    *postgres.Server
	auth  vault.Auth
	ca    []byte
}

// setUp lets tokens and leases live so long.
func setUp(t *testing.T, tokens labvault.Role, leases labvault.DatabaseOptions) bench {
	t.Helper()
	harness.Need(t, "a real Vault and a real PostgreSQL")
	if err := postgres.Available(); err != nil {
		t.Skip(err)
	}
	ctx, dir := t.Context(), t.TempDir()
	server, err := labvault.Start(ctx, labvault.Options{Dir: filepath.Join(dir, "vault"), TLS: true, Audit: true, Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	db, err := postgres.Start(ctx, postgres.Options{Dir: filepath.Join(dir, "postgres"), Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Stop()) })
	require.NoError(t, server.Database(ctx, db, leases))
	tokens.Name, tokens.Policies = "app", []string{labvault.DatabaseCredentials, labvault.RevokeLeases}
	roleID, secretID, err := server.AppRole(ctx, tokens)
	require.NoError(t, err)
	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	return bench{server, db, appRole{roleID, secretID}, ca}
}

// process is what one process has: a Pool and a session.
func (b bench) process(t *testing.T, options vault.Options) (*vault.Pool, *vault.Session) {
	t.Helper()
	pool := vault.NewPool(clock.RealClock{}, options)
	session, err := pool.Session(vault.Connection{Address: b.vault.Address, CA: b.ca, RequestsPerSecond: 500}, b.auth)
	require.NoError(t, err)
	return pool, session
}

// user is one of the database, with the lease that it lives for.
type user struct {
	name, password string
	lease          vault.Lease
}

func (b bench) user(t *testing.T, s *vault.Session) user {
	t.Helper()
	got, err := s.Request(t.Context(), http.MethodGet, credentials, nil)
	require.NoError(t, err)
	var u user
	u.name, _ = got.Data["username"].(string)
	u.password, _ = got.Data["password"].(string)
	u.lease = got.Lease
	b.letsIn(t, u)
	return u
}

func (b bench) letsIn(t *testing.T, u user) {
	t.Helper()
	require.NoError(t, b.db.Login(t.Context(), u.name, u.password))
}

// refuses waits until PostgreSQL does not let a user in: Vault ends the leases of a token on its own time.
func (b bench) refuses(t *testing.T, u user) {
	t.Helper()
	require.Eventually(t, func() bool {
		return errors.Is(b.db.Login(t.Context(), u.name, u.password), postgres.ErrRefused)
	}, 20*time.Second, 100*time.Millisecond)
}

// count counts the requests to a path.
func (b bench) count(t *testing.T, path string) int {
	t.Helper()
	requests, err := b.vault.Requests()
	require.NoError(t, err)
	n := 0
	for _, r := range requests {
		if r.Path == path {
			n++
		}
	}
	return n
}

var long = labvault.Role{TTL: time.Hour, MaxTTL: 2 * time.Hour}

func TestALeaseIsRenewedCutAndRevoked(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{TTL: 20 * time.Second, MaxTTL: 40 * time.Second})
	ctx := t.Context()
	pool, session := b.process(t, vault.Options{})
	session.Keep()
	u := b.user(t, session)
	holder, err := session.Holder(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, holder)
	assert.Equal(t, vault.Lease{ID: u.lease.ID, Duration: 20 * time.Second, Renewable: true, Holder: holder}, u.lease)

	renewed, err := session.RenewLease(ctx, u.lease.ID, 30*time.Second)
	require.NoError(t, err)
	assert.Equal(t, vault.Lease{ID: u.lease.ID, Duration: 30 * time.Second, Renewable: true}, renewed)
	left, err := session.RenewLease(ctx, u.lease.ID, time.Hour)
	require.NoError(t, err)
	assert.Less(t, left.Duration, time.Minute, "its greatest age is near")
	assert.Greater(t, left.Duration, 20*time.Second)
	b.letsIn(t, u)

	require.NoError(t, session.RevokeLease(ctx, u.lease.ID))
	require.ErrorIs(t, b.db.Login(ctx, u.name, u.password), postgres.ErrRefused, "it has ended when the answer is there")
	require.NoError(t, session.RevokeLease(ctx, u.lease.ID), "it has ended already")
	require.NoError(t, session.RevokeLease(ctx, credentials+"/nothing"))
	for _, id := range []string{u.lease.ID, credentials + "/nothing"} {
		_, err = session.RenewLease(ctx, id, time.Minute)
		assert.True(t, upstream.IsKind(err, upstream.Missing), "%v", err)
	}

	// A database that does not answer is no outage of Vault.
	other := b.user(t, session)
	require.NoError(t, b.db.Stop())
	for range 7 {
		_, err = session.Request(ctx, http.MethodGet, credentials, nil)
		assert.True(t, upstream.IsKind(err, upstream.Unavailable), "%v", err)
		err = session.RevokeLease(ctx, other.lease.ID)
		assert.True(t, upstream.IsKind(err, upstream.Unavailable), "%v", err)
		require.ErrorContains(t, err, "the log of Vault says why")
	}
	assert.Empty(t, pool.Open())
	require.NoError(t, b.db.Start(ctx))
	b.letsIn(t, other)
	require.NoError(t, session.RevokeLease(ctx, other.lease.ID))
	require.ErrorIs(t, b.db.Login(ctx, other.name, other.password), postgres.ErrRefused)
}

func TestAnyPathOfAnyEngine(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{})
	ctx := t.Context()
	_, err := b.vault.PKI(ctx, labvault.PKIOptions{})
	require.NoError(t, err)
	require.NoError(t, b.vault.Policy(ctx, labvault.RevokeLeases, `
path "pki/issue/*" { capabilities = ["update"] }
path "pki/revoke" { capabilities = ["update"] }
path "pki/cert/*" { capabilities = ["read"] }`))
	_, session := b.process(t, vault.Options{})

	issued, err := session.Request(ctx, http.MethodPost, "/pki/issue/"+labvault.ServerRole+"/", map[string]any{"common_name": "a." + labvault.Domain, "ttl": "10m"})
	require.NoError(t, err)
	assert.Equal(t, vault.Lease{}, issued.Lease, "a certificate has no lease")
	serial, _ := issued.Data["serial_number"].(string)
	require.NotEmpty(t, serial)
	read, err := session.Request(ctx, http.MethodGet, "pki/cert/"+serial, nil)
	require.NoError(t, err)
	assert.Equal(t, issued.Data["certificate"], read.Data["certificate"])
	_, err = session.Request(ctx, http.MethodPut, "pki/revoke", map[string]any{"serial_number": serial})
	require.NoError(t, err)

	static, err := session.Request(ctx, http.MethodGet, labvault.DatabaseMount+"/static-creds/"+labvault.StaticRole, nil)
	require.NoError(t, err)
	assert.Equal(t, vault.Lease{}, static.Lease)

	for _, c := range []struct {
		method, path string
		kind         upstream.Kind
		says         string
	}{
		{http.MethodGet, "pki/cert/00", upstream.Missing, "there is nothing at this path"},
		{http.MethodGet, "pki/issue/" + labvault.ServerRole, upstream.Denied, "permission denied"},
		{http.MethodPost, "pki/issue/nobody", upstream.Invalid, "unknown role: nobody"},
		{http.MethodGet, "sys/auth", upstream.Invalid, "below auth/ and sys/ is Vault's own"},
	} {
		_, err := session.Request(ctx, c.method, c.path, nil)
		assert.True(t, upstream.IsKind(err, c.kind), "%s: %v", c.path, err)
		assert.ErrorContains(t, err, c.says)
	}
}

// This is the trap: the leases of a token end with it.
func TestWithoutKeepALeaseEndsWithTheProcess(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{})
	pool, session := b.process(t, vault.Options{Keeper: newMapKeeper()})
	u := b.user(t, session)
	require.NoError(t, pool.Close(t.Context()))
	b.refuses(t, u)
}

func TestAKeptTokenOutlivesTheProcess(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{})
	ctx, keeper := t.Context(), newMapKeeper()
	pool, session := b.process(t, vault.Options{Keeper: keeper})
	session.Keep()
	u := b.user(t, session)
	require.NoError(t, pool.Close(ctx))

	var replaced []string
	pool, session = b.process(t, vault.Options{Keeper: keeper, Replaced: func(id string) { replaced = append(replaced, id) }})
	session.Keep()
	renewed, err := session.RenewLease(ctx, u.lease.ID, 2*time.Minute)
	require.NoError(t, err)
	assert.Equal(t, 2*time.Minute, renewed.Duration)
	b.letsIn(t, u)
	holder, err := session.Holder(ctx)
	require.NoError(t, err)
	assert.Equal(t, u.lease.Holder, holder)
	assert.Equal(t, 1, b.count(t, "auth/approle/login"))
	assert.Equal(t, holder, keeper.all()[session.ID()].Accessor)

	require.NoError(t, session.RevokeLease(ctx, u.lease.ID))
	require.NoError(t, pool.Close(ctx))
	_, err = b.vault.Root().Logical().WriteWithContext(ctx, "auth/token/lookup-accessor", map[string]any{"accessor": holder})
	require.NoError(t, err, "it was not given back")
	assert.Empty(t, replaced)
}

func TestSweepGivesAKeptTokenBack(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{TTL: time.Second, MaxTTL: time.Minute})
	ctx, keeper := t.Context(), newMapKeeper()
	pool, session := b.process(t, vault.Options{Keeper: keeper})
	session.Keep()
	u := b.user(t, session)
	require.NoError(t, pool.Sweep(ctx, time.Millisecond))
	assert.Len(t, keeper.all(), 1, "a lease lives")
	b.refuses(t, u)
	require.Eventually(t, func() bool {
		require.NoError(t, pool.Sweep(ctx, time.Millisecond))
		return len(keeper.all()) == 0
	}, 20*time.Second, 50*time.Millisecond)
	_, err := b.vault.Root().Logical().WriteWithContext(ctx, "auth/token/lookup-accessor", map[string]any{"accessor": u.lease.Holder})
	require.ErrorContains(t, err, "invalid accessor")
}

func TestATokenThatVaultCutsIsReplacedInTime(t *testing.T) {
	b := setUp(t, labvault.Role{TTL: 10 * time.Second, MaxTTL: 12 * time.Second}, labvault.DatabaseOptions{})
	ctx, keeper := t.Context(), newMapKeeper()
	replaced := make(chan string, 10)
	_, session := b.process(t, vault.Options{Keeper: keeper, Replaced: func(id string) { replaced <- id }})
	session.Keep()
	u := b.user(t, session)
	select {
	case id := <-replaced:
		assert.Equal(t, session.ID(), id)
	case <-time.After(20 * time.Second):
		require.Fail(t, "nobody was told")
	}
	b.letsIn(t, u)
	holder, err := session.Holder(ctx)
	require.NoError(t, err)
	assert.NotEqual(t, u.lease.Holder, holder)
	assert.Equal(t, holder, keeper.all()[session.ID()].Accessor)
	next := b.user(t, session)
	assert.Equal(t, holder, next.lease.Holder)
	b.refuses(t, u) // the former token has ended by itself
	b.letsIn(t, next)
}

func TestATokenThatVaultHasForgottenIsReplacedAfterARestart(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{})
	ctx, keeper := t.Context(), newMapKeeper()
	_, session := b.process(t, vault.Options{Keeper: keeper})
	session.Keep()
	u := b.user(t, session)
	_, err := b.vault.Root().Logical().WriteWithContext(ctx, "auth/token/revoke-accessor", map[string]any{"accessor": u.lease.Holder})
	require.NoError(t, err)
	b.refuses(t, u)

	replaced := make(chan string, 10)
	_, session = b.process(t, vault.Options{Keeper: keeper, Replaced: func(id string) { replaced <- id }})
	session.Keep()
	_, err = session.RenewLease(ctx, u.lease.ID, time.Minute)
	assert.True(t, upstream.IsKind(err, upstream.Missing), "%v", err)
	select {
	case id := <-replaced:
		assert.Equal(t, session.ID(), id)
	case <-time.After(20 * time.Second):
		require.Fail(t, "nobody was told")
	}
	b.letsIn(t, b.user(t, session))
}
