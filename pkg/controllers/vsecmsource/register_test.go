package vsecmsource

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSources(t *testing.T) {
	defaults := Defaults{SafeURL: "https://127.0.0.1:1/", EndpointSocket: "unix://" + t.TempDir() + "/none.sock", Allow: []string{"team/*"}}
	require.NoError(t, defaults.Validate())
	sources, err := New(nil, defaults)
	require.NoError(t, err)
	assert.Equal(t, defaults.SafeURL, sources.fetcher.safeURL)
	assert.True(t, sources.fetcher.allow.mayAll("team"))

	registry := prometheus.NewRegistry()
	retried := 0
	ctx, end := context.WithCancel(t.Context())
	require.NoError(t, sources.Register(ctx, registry, nil, func() { retried++ }))
	sources.servers.Requested("https://safe", nil)
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	assert.Equal(t, "fleet_handshake_vsecm_requests_total", families[0].GetName())

	_, err = sources.client().Raw(t.Context(), defaults.SafeURL, time.Hour)
	require.ErrorContains(t, err, "asking for an SVID", "nobody was asked before")
	ran := make(chan struct{})
	go func() {
		sources.Run(ctx)
		close(ran)
	}()
	end()
	<-ran
	sources.Close()
	_, err = sources.client().Raw(t.Context(), vsecm.DefaultAddress, time.Hour)
	assert.ErrorContains(t, err, "the operator ends")
}

func TestSourcesWithWrongDefaults(t *testing.T) {
	_, err := New(nil, Defaults{TrustDomain: "A B"})
	require.ErrorContains(t, err, "the trust domain")
	_, err = New(nil, Defaults{Allow: []string{"team"}})
	assert.ErrorContains(t, err, "--vsecm-allow")
}
