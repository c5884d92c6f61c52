package vsecm

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

// world is a Safe, a Client with an identity that Safe believes, and the authority of both.
type world struct {
	*labsafe.Server
	ca      *spiffetest.CA
	safeOwn *spiffetest.Identity
	own     *spiffetest.Identity
	clock   *clocktesting.FakeClock
	client  *Client

	mu     sync.Mutex
	opened int
	told   []error
}

func start(t *testing.T, id string) *world { return startWith(t, id, Options{}) }

func startWith(t *testing.T, id string, options Options) *world {
	t.Helper()
	ca, err := spiffetest.New(DefaultTrustDomain)
	require.NoError(t, err)
	w := &world{ca: ca, safeOwn: identityOf(t, ca, safeID), own: identityOf(t, ca, id), clock: clocktesting.NewFakeClock(time.Now())}
	w.Server, err = labsafe.Start(labsafe.Options{Source: w.safeOwn})
	require.NoError(t, err)
	t.Cleanup(w.Stop)
	options.Open = func(context.Context) (Source, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.opened++
		return w.own, nil
	}
	options.Requested = func(_ string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, err)
	}
	w.client, err = New(w.clock, options)
	require.NoError(t, err)
	return w
}

func identityOf(t *testing.T, ca *spiffetest.CA, id string) *spiffetest.Identity {
	t.Helper()
	identity, err := ca.Identity(id, 10*time.Hour)
	require.NoError(t, err)
	return identity
}

func (w *world) put(names ...string) {
	for _, name := range names {
		w.Put(labsafe.Stored{Name: name, Value: canary + " of " + name, Meta: labsafe.Meta{Format: "raw"}})
	}
}

func (w *world) raw(ctx context.Context, age time.Duration) (Raw, error) {
	return w.client.Raw(ctx, w.Address, age)
}

// fails wants an error of a kind with words, the address of Safe in it, and no byte of a secret.
func (w *world) fails(t *testing.T, err error, kind upstream.Kind, words string) {
	t.Helper()
	require.ErrorContains(t, err, words)
	assert.True(t, upstream.IsKind(err, kind), "%v", err)
	assert.True(t, strings.HasPrefix(err.Error(), "GET /workload/v1/secrets at "+strings.TrimSuffix(w.Address, "/")), "%v", err)
	assert.NotContains(t, err.Error(), canary)
}
