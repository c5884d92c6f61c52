package vault

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestATokenThatIsCutIsUsedUntilItEnds(t *testing.T) {
	f, _, s, clock := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	f.set(100, 52)
	f.renewed(t, clock)
	assert.Never(t, clock.HasWaiters, 50*time.Millisecond, time.Millisecond, "a renewal that adds nothing is the last")
	clock.Step(51 * time.Second)
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 1, f.made())
	clock.Step(time.Second)
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 2, f.made())
}

func TestAKeptTokenThatIsCutIsReplacedAtOnce(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	k := keep(t, f, clock, keeper)
	assert.Equal(t, "accessor-1", k.holder(t))
	f.renewed(t, clock)
	k.quiet(t)
	f.set(100, 60)
	f.renewed(t, clock)
	k.told(t) // without a request
	assert.Equal(t, "accessor-2", k.holder(t))
	assert.True(t, f.knows("token-1"), "its leases live until new ones are there")
	assert.Equal(t, "token-2", keeper.all()[k.session.ID()].Token)
	k.quiet(t)
	assert.Equal(t, 2, f.made())
}

// shut is a role whose login fails.
type shut struct {
	role
	failure atomic.Pointer[error]
}

func (s *shut) Credentials(ctx context.Context) (Credentials, error) {
	if err := s.failure.Load(); err != nil {
		return Credentials{}, *err
	}
	return s.role.Credentials(ctx)
}

func TestAKeptTokenIsUsedWhileThereIsNoOther(t *testing.T) {
	f, clock := newFake(t), clocktesting.NewFakeClock(time.Now())
	k := keep(t, f, clock, newMapKeeper())
	auth := &shut{}
	k.session.use(auth)
	assert.Equal(t, "accessor-1", k.holder(t))
	failure := errors.New("the service account does not exist")
	auth.failure.Store(&failure)
	f.set(100, 60)
	f.renewed(t, clock)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "it is tried again")
	assert.Equal(t, "accessor-1", k.holder(t))
	clock.Step(30 * time.Second)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "it is tried again")
	k.quiet(t)
	auth.failure.Store(nil)
	clock.Step(29 * time.Second)
	k.told(t)
	k.session.use(auth)
	assert.Equal(t, "accessor-2", k.holder(t))

	auth.failure.Store(&failure)
	f.renewed(t, clock)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "it is tried again")
	k.session.use(auth)
	clock.Step(time.Hour)
	k.told(t) // its time is over, and there is no other
	k.quiet(t)
	assert.False(t, clock.HasWaiters())
}

func TestAKeptTokenThatVaultHasForgottenIsTold(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	f.leases()
	k := keep(t, f, clock, keeper)
	k.holder(t)
	f.revoke("token-1")
	got, err := k.session.Request(t.Context(), http.MethodGet, creds, nil)
	require.NoError(t, err)
	assert.Equal(t, "accessor-2", got.Lease.Holder)
	k.told(t)
	k.quiet(t)

	f.revoke("token-2")
	f.renewed(t, clock)
	k.told(t) // without a request
	k.quiet(t)
	assert.Equal(t, "accessor-3", k.holder(t))

	f.set(100, 0)
	clock.Step(time.Hour) // it was not renewed in time
	k.holder(t)
	k.told(t)
	k.quiet(t)
}

func TestAKeptTokenThatCannotBeRenewedIsReplaced(t *testing.T) {
	f, clock := newFake(t), clocktesting.NewFakeClock(time.Now())
	f.fixed = true
	k := keep(t, f, clock, newMapKeeper())
	assert.Equal(t, "accessor-1", k.holder(t))
	clock.Step(50 * time.Second)
	k.told(t)
	assert.Equal(t, "accessor-2", k.holder(t))
	assert.Zero(t, f.count("PUT "+renewSelf))
}

func TestAKeptTokenThatMayNotAskForItselfIsNotTakenForDead(t *testing.T) {
	f, clock := newFake(t), clocktesting.NewFakeClock(time.Now())
	f.on("POST auth/kubernetes/login", nil)
	k := keep(t, f, clock, newMapKeeper())
	k.holder(t)
	k.session.token.mute = true
	f.on("GET "+lookupSelf, refuses(403, "permission denied"))
	f.on("GET "+creds, refuses(403, "permission denied"))
	for range 3 {
		_, err := k.session.Request(t.Context(), http.MethodGet, creds, nil)
		assert.True(t, upstream.IsKind(err, upstream.Denied))
	}
	k.quiet(t)
	assert.Equal(t, 1, f.made())
}

func TestARenewalIsTriedAgainDuringAnOutage(t *testing.T) {
	f, clock := newFake(t), clocktesting.NewFakeClock(time.Now())
	k := keep(t, f, clock, newMapKeeper())
	k.holder(t)
	f.on("PUT "+renewSelf, says(503, nil))
	f.renewed(t, clock)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "it is tried again")
	f.on("PUT "+renewSelf, nil)
	clock.Step(30 * time.Second)
	require.Eventually(t, func() bool { return f.count("PUT "+renewSelf) == 2 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond)
	clock.Step(39 * time.Second)
	assert.Equal(t, "accessor-1", k.holder(t))
	k.quiet(t)
}
