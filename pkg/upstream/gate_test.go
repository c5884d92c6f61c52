package upstream_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
)

const address = "https://server"

func TestAGateLeavesAServerAloneThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		gate := upstream.NewGate(address, upstream.NewLimit(1000), func(_ string, err error) { told = append(told, err) })
		texts := map[string]bool{}
		for range 2 * upstream.FailuresToOpen {
			failed := gate.Do(t.Context(), "GET x", func() *upstream.Error {
				return &upstream.Error{Kind: upstream.Unavailable, Status: 503, Request: "GET x", Reason: "it sleeps"}
			})
			texts[failed.Error()] = true
		}
		assert.Equal(t, map[string]bool{"GET x at https://server answered 503: it sleeps": true}, texts, "an outage has one text")
		assert.Len(t, told, upstream.FailuresToOpen, "what was not sent is not told")
		assert.True(t, gate.Open())

		time.Sleep(15*time.Second + time.Millisecond)
		assert.Nil(t, gate.Do(t.Context(), "GET x", func() *upstream.Error { return nil }), "after a while one request tries it")
		assert.False(t, gate.Open())
		assert.NoError(t, told[len(told)-1], "a success is told as no error")
	})
}

func TestAGateIsShutOnlyByWhatSaysSomethingAboutTheServer(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		failed upstream.Error
	}{
		"denied":         {t.Context(), upstream.Error{Kind: upstream.Denied}},
		"missing":        {t.Context(), upstream.Error{Kind: upstream.Missing}},
		"invalid":        {t.Context(), upstream.Error{Kind: upstream.Invalid}},
		"behind it":      {t.Context(), upstream.Error{Kind: upstream.Unavailable, Behind: true}},
		"not waited for": {gone, upstream.Error{Kind: upstream.Unavailable}},
	} {
		gate := upstream.NewGate(address, upstream.NewLimit(1e6), nil)
		for range 2 * upstream.FailuresToOpen {
			_ = gate.Do(c.ctx, "GET x", func() *upstream.Error { return &c.failed })
		}
		assert.False(t, gate.Open(), name)
	}
}

func TestAGateKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := upstream.NewGate(address, upstream.NewLimit(10), nil)
		began := time.Now()
		sent := 0
		for time.Since(began) < 10*time.Second {
			assert.Nil(t, gate.Do(t.Context(), "GET x", func() *upstream.Error { sent++; return nil }))
		}
		assert.InDelta(t, 91, sent, 2)

		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		failed := gate.Do(soon, "GET x", func() *upstream.Error { t.Error("it was sent"); return nil })
		assert.Equal(t, "GET x at https://server: no time was left to wait for the rate limit", failed.Error())
		assert.Equal(t, upstream.Unavailable, failed.Kind)
	})
}
