package vault

import (
	"context"
	"testing"
	"time"

	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnOutageHasOneText(t *testing.T) {
	server, pool, session := start(t, time.Hour)
	what := vaultkv.Read{Base: "secret/seeds/team1/project1/config"}
	_, err := session.ReadKV(t.Context(), what, 0, 0)
	require.NoError(t, err)
	require.NoError(t, server.Stop())
	_, _ = session.ReadKV(t.Context(), what, 0, 0) // may find the connection closed
	texts := map[string]bool{}
	for range 15 {
		_, err = session.ReadKV(t.Context(), what, 0, 0)
		require.Error(t, err)
		texts[err.Error()] = true
	}
	assert.Equal(t, map[string]bool{"GET secret/data/seeds/team1/project1/config at " + server.Address + ": connection refused": true}, texts)
	assert.Equal(t, []string{server.Address}, pool.Open())
}

// given is a token that was given.
type given string

func (given) ID() string { return "given" }

func (g given) Credentials(context.Context) (vault.Credentials, error) {
	return vault.Credentials{Token: string(g)}, nil
}

func TestAGivenTokenIsRenewedAndNotRevoked(t *testing.T) {
	b := setUp(t, long, labvault.DatabaseOptions{})
	ctx := t.Context()
	made, err := b.vault.Root().Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{
		TTL: "4s", Policies: []string{labvault.DatabaseCredentials}, NoParent: true,
	})
	require.NoError(t, err)
	b.auth = given(made.Auth.ClientToken)
	pool, session := b.process(t, vault.Options{})
	u := b.user(t, session)
	assert.Equal(t, made.Auth.Accessor, u.lease.Holder)
	require.Eventually(t, func() bool { return b.count(t, "auth/token/renew-self") >= 3 }, 20*time.Second, 100*time.Millisecond, "it is renewed past its life")
	b.letsIn(t, u)
	require.NoError(t, pool.Close(ctx))
	b.letsIn(t, u)
	assert.Zero(t, b.count(t, "auth/token/revoke-self"))
}
