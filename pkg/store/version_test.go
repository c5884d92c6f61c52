package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var somewhere = store.Place{Tenant: "t", Cluster: "c", Namespace: "n", Name: "s"}

func raw(value string) store.Entry {
	return store.Entry{Type: store.Raw, Value: store.TextValue(value)}
}

func newRecord(t *testing.T, value string) store.Record {
	t.Helper()
	r, err := store.New(somewhere, raw(value), now)
	require.NoError(t, err)
	return r
}

// put writes a value, which has to change something.
func put(t *testing.T, r store.Record, e store.Entry, at time.Time, keep int) store.Record {
	t.Helper()
	next, changed, err := r.Put(e, at, keep)
	require.NoError(t, err)
	require.True(t, changed)
	back, err := store.Read(next.Secret(r.Secret(nil)))
	require.NoError(t, err)
	require.Equal(t, next.Version, back.Version)
	require.Len(t, back.Former, len(next.Former))
	return next
}

func numbers(r store.Record) string {
	out := fmt.Sprint(r.Version)
	for _, former := range r.Former {
		text, _ := former.Value.Text()
		out += fmt.Sprintf(" %d=%s", former.Number, text)
	}
	return out
}

func TestVersions(t *testing.T) {
	r := newRecord(t, "one")
	assert.Equal(t, int64(1), r.Version)
	assert.Equal(t, now, r.VersionTime)
	assert.Equal(t, store.Metadata{Created: now, Updated: now}, r.Entry.Metadata)

	same, changed, err := r.Put(raw("one"), now.Add(time.Hour), 10)
	require.NoError(t, err)
	assert.False(t, changed)
	assert.Equal(t, r, same)

	two := put(t, r, raw("two"), now.Add(90*time.Minute+5e8), 10)
	assert.Equal(t, "2 1=one", numbers(two))
	assert.Equal(t, now, two.Former[0].Time)
	assert.Equal(t, now.Add(90*time.Minute), two.VersionTime)
	assert.Equal(t, store.Metadata{Created: now, Updated: now.Add(90 * time.Minute)}, two.Entry.Metadata)
	assert.Empty(t, r.Former, "the record before is not changed")

	dated := raw("two")
	dated.ExpirationDate = now
	dated.Metadata = store.Metadata{Labels: map[string]string{"a": "b"}, Created: now.AddDate(-1, 0, 0), Updated: now.AddDate(1, 0, 0)}
	three := put(t, two, dated, now.Add(3*time.Hour), 10)
	assert.Equal(t, "2 1=one", numbers(three), "other fields make no version")
	assert.Equal(t, now.Add(90*time.Minute), three.VersionTime)
	assert.Equal(t, now, three.Entry.Metadata.Created)
	assert.Equal(t, now.Add(3*time.Hour), three.Entry.Metadata.Updated)

	back := put(t, three, raw("x"), now, 10)
	assert.Equal(t, now.Add(3*time.Hour), back.Entry.Metadata.Updated, "a clock that was put back takes nothing back")
}

func TestTheTimeOfARestoredEntry(t *testing.T) {
	for given, want := range map[time.Time]time.Time{
		{}:                    now,
		now.AddDate(-1, 0, 0): now.AddDate(-1, 0, 0),
		now.AddDate(1, 0, 0):  now,
	} {
		e := raw("x")
		e.Metadata.Created = given
		r, err := store.New(somewhere, e, now)
		require.NoError(t, err)
		assert.Equal(t, store.Metadata{Created: want, Updated: now}, r.Entry.Metadata)
	}
	r, err := store.New(somewhere, raw("x"), time.Time{})
	require.NoError(t, err)
	_, err = store.Read(r.Secret(nil))
	require.NoError(t, err, "a clock that was never set breaks nothing")
}

func TestTheLastVersionsAreKept(t *testing.T) {
	r := newRecord(t, "v1")
	for i := 2; i <= 14; i++ {
		r = put(t, r, raw(fmt.Sprintf("v%d", i)), now.Add(time.Duration(i)*time.Minute), store.DefaultKeep)
	}
	assert.Equal(t, "14 13=v13 12=v12 11=v11 10=v10 9=v9 8=v8 7=v7 6=v6 5=v5 4=v4", numbers(r))
	assert.Equal(t, "15 14=v14 13=v13", numbers(put(t, r, raw("v15"), now, 2)))
	assert.Equal(t, "15", numbers(put(t, r, raw("v15"), now, 0)))
	assert.Equal(t, "15", numbers(put(t, r, raw("v15"), now, -1)))
}

func TestRollback(t *testing.T) {
	r := newRecord(t, "one")
	r = put(t, r, raw("two"), now.Add(time.Hour), 10)
	labelled := raw("three")
	labelled.Metadata.Labels = map[string]string{"a": "b"}
	r = put(t, r, labelled, now.Add(2*time.Hour), 10)

	back, changed, err := r.Rollback(1, now.Add(3*time.Hour), 10)
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, "4 3=three 2=two 1=one", numbers(back))
	text, _ := back.Entry.Value.Text()
	assert.Equal(t, "one", text)
	assert.Equal(t, now.Add(3*time.Hour), back.VersionTime)
	assert.Equal(t, map[string]string{"a": "b"}, back.Entry.Metadata.Labels)

	for _, n := range []int64{4, 1} {
		_, changed, err = back.Rollback(n, now, 10)
		require.NoError(t, err)
		assert.False(t, changed, "the value of version %d is the newest", n)
	}
	for _, n := range []int64{0, -1, 5} {
		_, _, err = back.Rollback(n, now, 10)
		require.ErrorIs(t, err, store.ErrNoVersion)
		require.EqualError(t, err, fmt.Sprintf("no such version: tenants/t/clusters/c/namespaces/n/secrets/s has no version %d: it has 4, 3, 2, 1", n))
	}
	back, _, err = r.Rollback(1, now, 2)
	require.NoError(t, err)
	assert.Equal(t, "4 3=three 2=two", numbers(back))
}

func TestAnEntryKeepsItsType(t *testing.T) {
	r := newRecord(t, canary)
	other := raw(canary)
	other.Type = store.Kubernetes
	same, changed, err := r.Put(other, now, 10)
	require.ErrorIs(t, err, store.ErrTypeChanged)
	require.EqualError(t, err, "type changed: tenants/t/clusters/c/namespaces/n/secrets/s is of type raw and cannot become kubernetes: delete it first, with its former values")
	assert.False(t, changed)
	assert.Equal(t, r, same)

	_, _, err = r.Put(raw(""), now, 10)
	require.ErrorContains(t, err, "value is missing or empty")
}

// TestTheSecretNeverGetsTooLarge writes values around the limit: what is kept always fits, the newest value always stays,
// and the oldest go first.
func TestTheSecretNeverGetsTooLarge(t *testing.T) {
	const most = store.MaxSize - len("value")
	filled := func(letter string, size int) store.Entry { return raw(strings.Repeat(letter, size)) }
	size := func(r store.Record) int {
		out := 0
		for key, value := range r.Secret(nil).Data {
			out += len(key) + len(value)
		}
		return out
	}
	r := newRecord(t, "small")
	r = put(t, r, filled("a", 400<<10), now, 10)
	r = put(t, r, filled("b", 300<<10), now, 10)
	assert.Len(t, r.Former, 2)
	r = put(t, r, filled("c", 200<<10), now, 10)
	assert.Len(t, r.Former, 3)
	r = put(t, r, filled("d", 200<<10), now, 10)
	require.Len(t, r.Former, 2)
	assert.Equal(t, int64(4), r.Former[0].Number)
	assert.Equal(t, int64(3), r.Former[1].Number, "small would fit, but the oldest go first")
	assert.LessOrEqual(t, size(r), store.MaxSize)

	r = put(t, r, filled("e", most), now, 10)
	assert.Empty(t, r.Former)
	assert.Equal(t, store.MaxSize, size(r))
	_, _, err := r.Put(filled("f", most+1), now, 10)
	require.ErrorContains(t, err, "/value has 1025 KiB with its keys, and a Secret takes 1024: split it into several entries")
	assert.Less(t, len(err.Error()), 200)

	exact := newRecord(t, "x")
	rest := store.MaxSize - size(put(t, exact, filled("y", 1), now, 10))
	assert.Len(t, put(t, exact, filled("y", rest+1), now, 10).Former, 1)
	assert.Empty(t, put(t, exact, filled("y", rest+2), now, 10).Former)

	many := map[string]string{}
	for i := range 1100 {
		many[fmt.Sprintf("%0200d", i)] = strings.Repeat("z", 800)
	}
	_, err = store.New(somewhere, store.Entry{Type: store.Raw, Value: store.KeysValue(many)}, now)
	require.ErrorContains(t, err, "with its keys", "keys count too")
}
