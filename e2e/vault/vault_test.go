// Package vault tests what reads from Vault against a real one.
package vault

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
)

// appRole logs in with a role ID and a secret ID.
type appRole struct{ roleID, secretID string }

func (a appRole) ID() string { return a.roleID }

func (a appRole) Credentials(context.Context) (vault.Credentials, error) {
	return vault.Credentials{
		Path: vault.LoginPath(labvault.AppRoleMount), Body: map[string]any{"role_id": a.roleID, "secret_id": a.secretID},
	}, nil
}

// start starts a Vault with the golden secrets, and logs in with the right to read them.
func start(t *testing.T, ttl time.Duration) (*labvault.Server, *vault.Pool, *vault.Session) {
	t.Helper()
	harness.Need(t, "a real Vault")
	ctx := t.Context()
	server, err := labvault.Start(ctx, labvault.Options{Dir: filepath.Join(t.TempDir(), "vault"), TLS: true, Audit: true, Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Golden(ctx))
	roleID, secretID, err := server.AppRole(ctx, labvault.Role{Name: "reader", Policies: []string{labvault.ReadKV}, TTL: ttl, MaxTTL: time.Hour})
	require.NoError(t, err)
	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	pool := vault.NewPool(clock.RealClock{}, vault.Options{})
	session, err := pool.Session(vault.Connection{Address: server.Address, CA: ca, RequestsPerSecond: 500}, appRole{roleID, secretID})
	require.NoError(t, err)
	return server, pool, session
}

func TestGoldenCasesOnARealVault(t *testing.T) {
	_, _, session := start(t, time.Hour)
	golden.Run(t, func(t *testing.T, read vaultkv.Read) []vaultkv.Leaf {
		kv, err := session.ReadKV(t.Context(), read, 0, time.Minute)
		require.NoError(t, err)
		return kv.Leaves
	})
}

func TestManyReadersAskOnce(t *testing.T) {
	server, _, session := start(t, time.Hour)
	var group errgroup.Group
	for range 100 {
		group.Go(func() error {
			_, err := session.ReadKV(t.Context(), vaultkv.Read{Base: "secret/seeds/team1/", Recursive: true}, 0, time.Minute)
			if err != nil {
				return err
			}
			_, err = session.ReadKV(t.Context(), vaultkv.Read{Base: "v1/something/b/secret"}, 0, time.Minute)
			return err
		})
	}
	require.NoError(t, group.Wait())
	requests, err := server.Requests()
	require.NoError(t, err)
	counts := map[string]int{}
	for _, r := range requests {
		switch {
		case r.Path == "auth/approle/login":
			counts["login"]++
		case strings.HasPrefix(r.Path, "sys/internal/ui/mounts/secret"):
			counts["mount secret"]++
		case strings.HasPrefix(r.Path, "sys/internal/ui/mounts/v1"):
			counts["mount v1"]++
		case r.Operation == "list":
			counts["list"]++
		case r.Operation == "read" && (strings.HasPrefix(r.Path, "secret/data/") || strings.HasPrefix(r.Path, "v1/")):
			counts["read"]++
		}
	}
	assert.Equal(t, map[string]int{"login": 1, "mount secret": 1, "mount v1": 1, "list": 3, "read": 6}, counts)
}

func TestATokenOutlivesItsTimeToLive(t *testing.T) {
	server, pool, session := start(t, 4*time.Second)
	ctx := t.Context()
	what := vaultkv.Read{Base: "secret/seeds/team1/project1/config"}
	for end := time.Now().Add(9 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		_, err := session.ReadKV(ctx, what, 0, 0)
		require.NoError(t, err)
	}
	requests, err := server.Requests()
	require.NoError(t, err)
	logins, renewals := 0, 0
	for _, r := range requests {
		switch r.Path {
		case "auth/approle/login":
			logins++
		case "auth/token/renew-self":
			renewals++
		}
	}
	assert.Equal(t, 1, logins)
	assert.GreaterOrEqual(t, renewals, 2)

	require.NoError(t, server.Pause())
	slow, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = session.ReadKV(slow, what, 0, 0)
	assert.True(t, upstream.IsKind(err, upstream.Unavailable), "%v", err)
	require.NoError(t, server.Resume())
	_, err = session.ReadKV(ctx, what, 0, 0)
	require.NoError(t, err)
	require.NoError(t, pool.Close(ctx))
}

func TestWhatIsNotAllowedIsDenied(t *testing.T) {
	server, _, session := start(t, time.Hour)
	require.NoError(t, server.Policy(t.Context(), labvault.ReadKV, `path "secret/data/seeds/team1/*" { capabilities = ["read"] }`))
	_, err := session.ReadKV(t.Context(), vaultkv.Read{Base: "secret/seeds/team1/project1/config"}, 0, 0)
	require.NoError(t, err)
	_, err = session.ReadKV(t.Context(), vaultkv.Read{Base: "secret/seeds/team2/project1/config"}, 0, 0)
	assert.True(t, upstream.IsKind(err, upstream.Denied), "%v", err)
	require.ErrorContains(t, err, "GET secret/data/seeds/team2/project1/config at "+server.Address)
	_, err = session.ReadKV(t.Context(), vaultkv.Read{Base: "nothing/here"}, 0, 0)
	assert.True(t, upstream.IsKind(err, upstream.Denied), "%v", err)
	require.ErrorContains(t, err, "no policy of this identity lets it read there")
}

func TestAVersionThatWasDeletedIsNotThere(t *testing.T) {
	server, _, session := start(t, time.Hour)
	ctx := t.Context()
	const path = "secret/seeds/team2/project2/config"
	require.NoError(t, server.PutSecret(ctx, path, map[string]any{"a": "second"}))
	what := vaultkv.Read{Base: path}
	kv, err := session.ReadKV(ctx, what, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, []vaultkv.Leaf{{Path: path, Version: 2, Data: map[string]any{"a": "second"}}}, kv.Leaves)
	kv, err = session.ReadKV(ctx, what, 1, 0)
	require.NoError(t, err)
	assert.Equal(t, []vaultkv.Leaf{{Path: path, Version: 1, Data: map[string]any{"a": "8"}}}, kv.Leaves)
	_, err = server.Root().Logical().DeleteWithContext(ctx, "secret/data/seeds/team2/project2/config")
	require.NoError(t, err)
	kv, err = session.ReadKV(ctx, what, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, []vaultkv.Leaf{{Path: path}}, kv.Leaves)
}
