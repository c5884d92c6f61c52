package vsecm

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func TestRawSecrets(t *testing.T) {
	w := start(t, scoutID)
	raw, err := w.raw(t.Context(), 0)
	require.NoError(t, err, "that there is none is an answer")
	_, err = raw.Secret("a", "a")
	w.fails(t, err, upstream.Missing, "there is no raw secret a: write raw:a in Safe")

	w.put("raw:a", "app", "k8s:b")
	raw, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	_, err = raw.Secret("a", "")
	w.fails(t, err, upstream.Invalid, "keep a second raw secret in Safe")
	secret, err := raw.Secret("a", "a")
	require.NoError(t, err)
	assert.Equal(t, Secret{Name: "a", Value: canary + " of raw:a", At: w.clock.Now()}, secret)

	from := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	w.Put(labsafe.Stored{Name: "raw:b", Value: `{"a":"x"}`, Meta: labsafe.Meta{Format: "json", Template: `{"b":"{{.a}}"}`}, NotBefore: from, ExpiresAfter: from.Add(time.Hour)})
	raw, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	names, known := raw.Names()
	assert.Equal(t, []string{"a", "b"}, names)
	assert.True(t, known)
	b, err := raw.Secret("b", "")
	require.NoError(t, err)
	assert.JSONEq(t, `{"b":"x"}`, b.Value)
	assert.True(t, b.Dated)
	assert.Equal(t, NotYet, b.State(from.Add(-1)))
	assert.Equal(t, Expired, b.State(from.Add(time.Hour+1)))
	assert.WithinDuration(t, time.Now(), b.Updated, time.Minute)
	a, err := raw.Secret("a", "")
	require.NoError(t, err)
	assert.Equal(t, Active, a.State(time.Now().Add(1000*24*time.Hour)))
	for _, r := range w.Requests() {
		assert.Equal(t, labsafe.Request{Method: "GET", Path: "/workload/v1/secrets", ID: scoutID}, r)
	}
	assert.Equal(t, []error{nil, nil, nil}, w.told)
	assert.Equal(t, 1, w.opened, "one source for the life of the process")
}

func TestTheSecretOfOurOwnWorkload(t *testing.T) {
	w := start(t, appID)
	_, err := w.client.Own(t.Context(), w.Address, "app", 0)
	w.fails(t, err, upstream.Missing, "there is no secret for the workload app: write app in Safe")
	// What looks like a list of raw secrets is a value like any other here.
	list := `[{"name":"raw:a","value":"x","valueTransformed":"x"},{"name":"raw:b","value":"y","valueTransformed":"y"}]`
	w.Put(labsafe.Stored{Name: "app", Value: list, Meta: labsafe.Meta{Format: "json"}})
	secret, err := w.client.Own(t.Context(), w.Address, "app", 0)
	require.NoError(t, err)
	assert.Equal(t, "app", secret.Name)
	assert.Equal(t, list, secret.Value)
	assert.False(t, secret.Dated)
	assert.WithinDuration(t, time.Now(), secret.Created, time.Minute, "the quotes are taken away")
	assert.WithinDuration(t, time.Now(), secret.Updated, time.Minute)
}

func TestOneFetchServesAll(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	w.Break(labsafe.Fault{Delay: 300 * time.Millisecond})
	all := func(age time.Duration) {
		t.Helper()
		var group errgroup.Group
		for i := range 1000 {
			address := w.Address
			if i%2 == 0 {
				address = strings.TrimSuffix(address, "/")
			}
			group.Go(func() error {
				raw, err := w.client.Raw(t.Context(), address, age)
				if err == nil {
					_, err = raw.Secret("a", "")
				}
				return err
			})
		}
		require.NoError(t, group.Wait())
	}
	all(time.Hour)
	assert.Len(t, w.Requests(), 1)
	w.Break(labsafe.Fault{})
	w.clock.Step(time.Hour)
	all(time.Hour)
	assert.Len(t, w.Requests(), 1, "at the age itself it is young enough")
	w.clock.Step(time.Second)
	all(time.Hour)
	assert.Len(t, w.Requests(), 2, "an hour later there is one more")
	raw, err := w.raw(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, w.clock.Now(), raw.At)
	_, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	assert.Len(t, w.Requests(), 3, "0 always reads")
	assert.Equal(t, 1, w.opened)
}

func TestThatThereIsNoneIsAlsoReadOnce(t *testing.T) {
	w := start(t, scoutID)
	for range 100 {
		_, err := w.raw(t.Context(), time.Hour)
		require.NoError(t, err)
	}
	assert.Len(t, w.Requests(), 1)
}

func TestWhatAPersonHasToMendIsAskedOnceInAWhile(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	raw, err := w.raw(t.Context(), 0)
	require.NoError(t, err)
	w.clock.Step(time.Hour)
	w.Break(labsafe.Fault{Status: 403})
	for range 100 {
		_, err := w.raw(t.Context(), time.Minute)
		w.fails(t, err, upstream.Invalid, "403")
	}
	assert.Len(t, w.Requests(), 2)
	again, err := w.raw(t.Context(), math.MaxInt64)
	require.NoError(t, err)
	assert.Equal(t, raw.At, again.At, "what was read last is still there for who wants it")
	w.Break(labsafe.Fault{})
	w.clock.Step(failureFor + 1)
	_, err = w.raw(t.Context(), time.Minute)
	require.NoError(t, err, "it is asked again after a while")
	w.Break(labsafe.Fault{Status: 403})
	_, err = w.raw(t.Context(), 0)
	w.fails(t, err, upstream.Invalid, "403")
	w.Break(labsafe.Fault{})
	_, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	_, err = w.raw(t.Context(), time.Minute)
	require.NoError(t, err, "a success ends the failure before it")
}

func TestCallersThatDoNotWait(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	w.Break(labsafe.Fault{Delay: time.Minute})
	first, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := w.raw(first, time.Hour)
		gone <- err
	}()
	require.Eventually(t, func() bool { return len(w.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	w.Break(labsafe.Fault{Delay: 100 * time.Millisecond})
	var group errgroup.Group
	for range 10 {
		group.Go(func() error {
			_, err := w.raw(t.Context(), time.Hour)
			return err
		})
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := w.raw(short, time.Hour)
	w.fails(t, err, upstream.Unavailable, "no answer in time")
	leave()
	w.fails(t, <-gone, upstream.Unavailable, "it was not waited for")
	require.NoError(t, group.Wait(), "who has gone fails nobody else")
	assert.Len(t, w.Requests(), 2)
	assert.Empty(t, w.client.Open())
}

func TestAddresses(t *testing.T) {
	w := start(t, scoutID)
	for address, want := range map[string]string{
		"":                                "this is no URL",
		"safe:8443":                       "this is no URL",
		"https://":                        "this is no URL",
		"https://:8443":                   "this is no URL",
		"https://user:hunter2@%zz":        "this is no URL",
		"http://safe:8443":                "has to begin with https://",
		"https://safe:8443/workload/v1":   "more than host and port",
		"https://safe:8443/?x=hunter2":    "more than host and port",
		"https://safe:8443/#hunter2":      "more than host and port",
		"https://user:hunter2@safe:8443/": "more than host and port",
	} {
		_, err := w.client.Raw(t.Context(), address, 0)
		require.ErrorContains(t, err, want, address)
		assert.True(t, upstream.IsKind(err, upstream.Invalid))
		assert.NotContains(t, err.Error(), canary)
		require.ErrorContains(t, err, DefaultAddress)
	}
	for _, address := range []string{"https://SAFE:8443", "https://safe:8443/", "https://safe:8443//"} {
		base, err := BaseOf(address)
		require.NoError(t, err)
		assert.Equal(t, "https://safe:8443", base)
	}
	assert.Zero(t, w.opened, "nobody was asked for an SVID")
}

func TestWhatNobodyAsksForIsForgotten(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	read := func() {
		t.Helper()
		_, err := w.raw(t.Context(), math.MaxInt64)
		require.NoError(t, err)
	}
	read()
	w.clock.Step(time.Hour)
	read()
	w.clock.Step(time.Minute)
	w.client.Sweep(time.Hour)
	read()
	assert.Len(t, w.Requests(), 1, "it is in use")
	w.clock.Step(time.Hour)
	w.client.Sweep(time.Hour)
	read()
	assert.Len(t, w.Requests(), 2)

	require.NoError(t, w.client.Close())
	assert.True(t, w.own.Closed())
	_, err := w.raw(t.Context(), math.MaxInt64)
	require.ErrorContains(t, err, "the operator ends")
	assert.Equal(t, 1, w.opened)
}
