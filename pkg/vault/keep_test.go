package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

// mapKeeper keeps tokens in a map: what it holds outlives a Pool, and not the test.
type mapKeeper struct {
	mu    sync.Mutex
	kept  map[string]Kept
	saves int
	// failure is what it answers.
	failure error
}

func newMapKeeper() *mapKeeper { return &mapKeeper{kept: map[string]Kept{}} }

func (k *mapKeeper) Load(_ context.Context, id string) (Kept, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept, ok := k.kept[id]
	return kept, ok, k.failure
}

func (k *mapKeeper) Save(ctx context.Context, id string, kept Kept) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saves++
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if k.failure != nil {
		return fmt.Errorf("writing %s: %w", kept.Token, k.failure)
	}
	k.kept[id] = kept
	return nil
}

func (k *mapKeeper) Delete(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, id)
	return k.failure
}

func (k *mapKeeper) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure = err
}

func (k *mapKeeper) all() map[string]Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.kept)
}

func (k *mapKeeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saves
}

// kept is a process whose session is kept.
type kept struct {
	pool     *Pool
	session  *Session
	replaced chan string
}

func keep(t *testing.T, f *fake, clock *clocktesting.FakeClock, keeper Keeper) kept {
	t.Helper()
	k := kept{replaced: make(chan string, 10)}
	options := Options{Keeper: keeper, Replaced: func(id string) {
		k.pool.Open() // no lock is held
		k.session.use(&role{})
		k.replaced <- id
	}}
	pool, s := join(t, f, clock, options)
	k.pool, k.session = pool, s
	s.Keep()
	return k
}

func (k kept) holder(t *testing.T) string {
	t.Helper()
	holder, err := k.session.Holder(t.Context())
	require.NoError(t, err)
	return holder
}

// told waits until Replaced was called, and quiet sees that it was not.
func (k kept) told(t *testing.T) {
	t.Helper()
	select {
	case id := <-k.replaced:
		assert.Equal(t, k.session.ID(), id)
	case <-time.After(5 * time.Second):
		require.Fail(t, "nobody was told that the token was replaced")
	}
}

func (k kept) quiet(t *testing.T) {
	t.Helper()
	select {
	case <-k.replaced:
		require.Fail(t, "somebody was told that the token was replaced")
	case <-time.After(50 * time.Millisecond):
	}
}

// renewed steps over the next renewal of a token that lives for 100 seconds.
func (f *fake) renewed(t *testing.T, clock *clocktesting.FakeClock) {
	t.Helper()
	before := f.count("PUT " + renewSelf)
	require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond, "a renewal is planned")
	clock.Step(50 * time.Second)
	require.Eventually(t, func() bool { return f.count("PUT "+renewSelf) == before+1 }, 5*time.Second, time.Millisecond)
}

func TestAKeptTokenOutlivesTheProcess(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	first := keep(t, f, clock, keeper)
	assert.Equal(t, "accessor-1", first.holder(t))
	assert.Equal(t, map[string]Kept{first.session.ID(): {Token: "token-1", Accessor: "accessor-1", Expires: clock.Now().Add(100 * time.Second)}}, keeper.all())
	require.NoError(t, first.pool.Close(t.Context()))
	assert.True(t, f.knows("token-1"))
	assert.False(t, clock.HasWaiters())

	second := keep(t, f, clock, keeper)
	assert.Equal(t, first.session.ID(), second.session.ID())
	assert.Equal(t, "accessor-1", second.holder(t))
	assert.Equal(t, 1, f.made())
	f.renewed(t, clock)
	second.quiet(t)

	f.revoke("token-1")
	third := keep(t, f, clock, keeper)
	assert.Equal(t, "accessor-2", third.holder(t))
	third.told(t)
	third.quiet(t)
	assert.Equal(t, "token-2", keeper.all()[third.session.ID()].Token)
}

func TestATokenFromBeforeKeepGivesWayToTheKeptOne(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	assert.Equal(t, "accessor-1", keep(t, f, clock, keeper).holder(t))

	pool, s := join(t, f, clock, Options{Keeper: keeper})
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.True(t, f.knows("token-2"))
	s.Keep()
	holder, err := s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "accessor-1", holder)
	assert.False(t, f.knows("token-2"), "nothing hangs on it")
	require.NoError(t, pool.Close(t.Context()))

	none := newMapKeeper()
	_, s = join(t, f, clock, Options{Keeper: none})
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Empty(t, none.all())
	s.Keep()
	holder, err = s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "accessor-3", holder, "there is none that is kept")
	assert.Equal(t, "token-3", none.all()[s.ID()].Token)
}

// late is a role for which Keep is called while it logs in.
type late struct {
	role
	session *Session
}

func (l *late) Credentials(ctx context.Context) (Credentials, error) {
	l.session.Keep()
	return l.role.Credentials(ctx)
}

func TestKeepDuringALoginAsksTheKeeper(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	assert.Equal(t, "accessor-1", keep(t, f, clock, keeper).holder(t))
	_, s := join(t, f, clock, Options{Keeper: keeper})
	s.use(&late{session: s})
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	holder, err := s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "accessor-1", holder)
}

func TestATokenIsSavedWhenNobodyWaitsAnyMore(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	ctx, cancel := context.WithCancel(t.Context())
	_, s := join(t, f, clock, Options{Keeper: keeper, Requested: func(string, error) { cancel() }})
	s.Keep()
	_, err := s.Holder(ctx)
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	assert.Equal(t, "token-1", keeper.all()[s.ID()].Token)
}

func TestASessionHasTheSameNameInEachProcess(t *testing.T) {
	id := func(c Connection) string {
		s, err := NewPool(clocktesting.NewFakeClock(time.Now()), Options{}).Session(c, &role{})
		require.NoError(t, err)
		return s.ID()
	}
	assert.Equal(t, "a7aea25dce79225013b8", id(Connection{Address: "https://vault"}), "another one would lose what is kept")
	assert.Equal(t, id(Connection{Address: "https://vault"}), id(Connection{Address: "https://vault", Timeout: time.Hour, RequestsPerSecond: 7, ServerName: "n"}), "it is reached in another way")
	assert.NotEqual(t, id(Connection{Address: "https://vault"}), id(Connection{Address: "https://vault", Namespace: "n"}))
}

func TestAChangedConnectionGoesOnWithTheKeptToken(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	f.set(1000, 0)
	first := keep(t, f, clock, keeper)
	holder := first.holder(t)
	changed, err := first.pool.Session(Connection{Address: f.URL, RequestsPerSecond: 999, Timeout: time.Second}, &role{})
	require.NoError(t, err)
	require.NotSame(t, first.session, changed)
	changed.Keep()
	now, err := changed.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, holder, now)
	clock.Step(time.Minute)
	changed.Keep()
	require.NoError(t, first.pool.Sweep(t.Context(), 30*time.Second))
	assert.True(t, f.knows("token-1"), "the session before is forgotten, and its token is still in use")
	assert.Len(t, keeper.all(), 1)
	clock.Step(time.Minute)
	require.NoError(t, first.pool.Sweep(t.Context(), 30*time.Second))
	assert.False(t, f.knows("token-1"))
	assert.Empty(t, keeper.all())
}

func TestSweepGivesAKeptTokenBackWhenNoLeaseLives(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	f.leases()
	f.set(1000, 0)
	first := keep(t, f, clock, keeper)
	_, err := first.session.Request(t.Context(), http.MethodGet, creds, nil)
	require.NoError(t, err)
	clock.Step(40 * time.Second)
	require.NoError(t, first.pool.Sweep(t.Context(), 30*time.Second))
	assert.True(t, f.knows("token-1"), "its lease lives")
	clock.Step(40 * time.Second)
	first.holder(t)
	require.NoError(t, first.pool.Sweep(t.Context(), 30*time.Second))
	assert.True(t, f.knows("token-1"), "it is in use")
	clock.Step(40 * time.Second)
	require.NoError(t, first.pool.Sweep(t.Context(), 30*time.Second))
	assert.False(t, f.knows("token-1"))
	assert.Empty(t, keeper.all())
	assert.False(t, clock.HasWaiters())
	first.quiet(t)

	// The next process does not use it at all.
	require.NoError(t, keep(t, f, clock, keeper).pool.Close(t.Context()))
	last := keep(t, f, clock, keeper)
	last.holder(t)
	require.NoError(t, last.pool.Close(t.Context()))
	idle := keep(t, f, clock, keeper)
	clock.Step(time.Minute)
	require.NoError(t, idle.pool.Sweep(t.Context(), time.Minute))
	assert.False(t, f.knows("token-2"))
	assert.Empty(t, keeper.all())
}

func TestTheKeeperIsNotAskedWithEachRenewal(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	k := keep(t, f, clock, keeper)
	k.holder(t)
	for range 10 {
		f.renewed(t, clock)
		require.Eventually(t, clock.HasWaiters, 5*time.Second, time.Millisecond)
		k.holder(t)
		assert.True(t, keeper.all()[k.session.ID()].Expires.After(clock.Now()), "what is saved is never over")
	}
	assert.InDelta(t, 6, keeper.count(), 1, "the first time, and with every second renewal")
}

func TestAKeeperThatFails(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	f.leases()
	log := logtest.NewGlobal()
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{}) })
	k := keep(t, f, clock, keeper)

	keeper.fail(errors.New("no such namespace"))
	_, err := k.session.Holder(t.Context())
	require.ErrorContains(t, err, "loading the token that leases hang on: no such namespace")
	assert.Zero(t, f.made(), "a login would end the leases of the token that is there")

	keeper.fail(nil)
	saving := keeperThatCannotSave{keeper}
	k = keep(t, f, clock, saving)
	for range 3 {
		_, err = k.session.Request(t.Context(), http.MethodGet, creds, nil)
		require.NoError(t, err)
	}
	require.Len(t, log.AllEntries(), 1)
	entry := log.LastEntry()
	assert.Equal(t, logrus.WarnLevel, entry.Level)
	assert.Equal(t, f.URL, entry.Data["vault"])
	text, err := entry.String()
	require.NoError(t, err)
	assert.NotContains(t, text, "token-1")
	assert.Contains(t, text, "it is full")
	clock.Step(saveAgain)
	_, err = k.session.Request(t.Context(), http.MethodGet, creds, nil)
	require.NoError(t, err)
	assert.Len(t, log.AllEntries(), 2, "it is tried again")
}

// keeperThatCannotSave loads and deletes only.
type keeperThatCannotSave struct{ Keeper }

func (keeperThatCannotSave) Save(_ context.Context, _ string, kept Kept) error {
	return fmt.Errorf("writing %s: it is full", kept.Token)
}

func TestAKeptTokenIsNeverPrinted(t *testing.T) {
	k := Kept{Token: "hvs.secret", Accessor: "a"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{k, &k, []Kept{k}, map[string]Kept{"k": k}, struct{ K Kept }{k}} {
			text := fmt.Sprintf(verb, value)
			assert.NotContains(t, text, "hvs.secret")
			assert.NotContains(t, text, fmt.Sprintf("%x", "hvs.secret"))
		}
	}
	text, err := (&logrus.JSONFormatter{}).Format(logrus.WithField("kept", k))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "hvs.secret")
}

func TestWhoKeepsDuringALoginOfOthersGetsTheKeptToken(t *testing.T) {
	f, clock, keeper := newFake(t), clocktesting.NewFakeClock(time.Now()), newMapKeeper()
	assert.Equal(t, "accessor-1", keep(t, f, clock, keeper).holder(t))
	_, s := join(t, f, clock, Options{Keeper: keeper})
	s.use(&late{session: s})
	holder, err := s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "accessor-1", holder, "a lease on the other one would end with it")

	none := newMapKeeper()
	_, s = join(t, f, clock, Options{Keeper: none})
	s.use(&late{session: s})
	holder, err = s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, holder, none.all()[s.ID()].Accessor, "it is saved before a lease hangs on it")
}
