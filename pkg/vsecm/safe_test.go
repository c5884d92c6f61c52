package vsecm

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachAnswerOfSafe(t *testing.T) {
	const secretBody = `{"data":"` + canary + `","err":"` + canary + `"}`
	for name, c := range map[string]struct {
		set  func(*world)
		kind upstream.Kind
		want string
	}{
		"no root key":            {func(w *world) { w.SetRootKey(false) }, upstream.Unavailable, " answered 400: Safe has no root key yet, or its patterns do not take our SPIFFE ID " + scoutID},
		"no database":            {func(w *world) { w.SetDatabase(false) }, upstream.Unavailable, " answered 503: Safe is not ready"},
		"a status of a crash":    {func(w *world) { w.Break(labsafe.Fault{Status: 500, Body: canary}) }, upstream.Unavailable, " answered 500: Internal Server Error: see the log of Safe"},
		"too many requests":      {func(w *world) { w.Break(labsafe.Fault{Status: 429, Body: canary}) }, upstream.Unavailable, " answered 429: Too Many Requests"},
		"forbidden":              {func(w *world) { w.Break(labsafe.Fault{Status: 403, Body: canary}) }, upstream.Invalid, " answered 403: Forbidden: this is no answer of Safe"},
		"a redirect":             {func(w *world) { w.Break(labsafe.Fault{Status: 302, Body: canary}) }, upstream.Invalid, " answered 302: Found"},
		"a redirect elsewhere":   {func(w *world) { w.Break(labsafe.Fault{Status: 307, Location: w.Address}) }, upstream.Invalid, " answered 307: Temporary Redirect: this is no answer of Safe"},
		"nothing":                {func(w *world) { w.Break(labsafe.Fault{Status: 204}) }, upstream.Invalid, " answered 204: No Content"},
		"a status nobody knows":  {func(w *world) { w.Break(labsafe.Fault{Status: 299, Body: canary}) }, upstream.Invalid, " answered 299: "},
		"a 404 with words":       {func(w *world) { w.Break(labsafe.Fault{Status: 404, Body: canary}) }, upstream.Invalid, " answered 404: Safe says that there is no secret with an empty answer, and this one is not"},
		"a 404 that breaks off":  {func(w *world) { w.Break(labsafe.Fault{Status: 404, Body: "x", Truncated: true}) }, upstream.Invalid, " answered 404: "},
		"no JSON":                {func(w *world) { w.Break(labsafe.Fault{Body: "<html>" + canary}) }, upstream.Unavailable, " answered 200: the answer is no whole JSON object: is this Safe?"},
		"another shape":          {func(w *world) { w.Break(labsafe.Fault{Body: `{"data":["` + canary + `"]}`}) }, upstream.Invalid, " answered 200: the answer is JSON, but not that of Safe"},
		"an error in it":         {func(w *world) { w.Break(labsafe.Fault{Body: secretBody}) }, upstream.Unavailable, " answered 200: Safe says that it has failed: see its log"},
		"no data":                {func(w *world) { w.Break(labsafe.Fault{Body: `{"data":"","created":"","updated":""}`}) }, upstream.Invalid, " answered 200: the answer has no data"},
		"what looks like a list": {func(w *world) { w.Break(labsafe.Fault{Body: `{"data":"[{\"name\":\"raw:` + canary + `\"}]"}`}) }, upstream.Invalid, " answered 200: the answer looks like a list of raw secrets and is none"},
		"an answer in part":      {func(w *world) { w.Break(labsafe.Fault{Body: secretBody, Truncated: true}) }, upstream.Unavailable, ": the answer broke off"},
		"too much":               {func(w *world) { w.Break(labsafe.Fault{Body: strings.Repeat("x", maxBody+1)}) }, upstream.Invalid, " answered 200: the answer has more than 8388608 bytes"},
		"a closed connection":    {func(w *world) { w.Break(labsafe.Fault{Closed: true}) }, upstream.Unavailable, ": the connection was closed"},
		"nobody there":           {func(w *world) { w.Stop() }, upstream.Unavailable, ": connection refused"},
		"no answer":              {func(w *world) { w.Break(labsafe.Fault{Delay: time.Minute}) }, upstream.Unavailable, ": no answer in time"},
	} {
		w := startWith(t, scoutID, Options{Timeout: 500 * time.Millisecond})
		if name == "too much" {
			w = start(t, scoutID)
		}
		w.put("raw:a", "raw:b")
		c.set(w)
		_, err := w.raw(t.Context(), 0)
		w.fails(t, err, c.kind, c.want)
		assert.Equal(t, []error{err}, w.told, name)
	}
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	_, err := w.raw(t.Context(), 0)
	require.NoError(t, err, "an answer that is as it should be is no error here")
}

func TestAnAnswerOfTheGreatestSizeIsRead(t *testing.T) {
	w := start(t, scoutID)
	data := `{"data":"`
	w.Break(labsafe.Fault{Body: data + strings.Repeat("x", maxBody-len(data)-2) + `"}`})
	_, err := w.raw(t.Context(), 0)
	require.NoError(t, err)
}

func TestASafeThatFailsIsLeftAlone(t *testing.T) {
	w := start(t, scoutID)
	w.SetDatabase(false)
	texts := map[string]bool{}
	for range 2 * upstream.FailuresToOpen {
		_, err := w.raw(t.Context(), time.Hour)
		w.fails(t, err, upstream.Unavailable, "answered 503")
		texts[err.Error()] = true
	}
	assert.Len(t, w.Requests(), upstream.FailuresToOpen)
	assert.Len(t, texts, 1, "an outage has one text")
	assert.Equal(t, []string{strings.TrimSuffix(w.Address, "/")}, w.client.Open())
}

func TestNoErrorHasPortsOfThisSide(t *testing.T) {
	w := start(t, scoutID)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 1))
			_ = connection.(*net.TCPConn).SetLinger(0)
			_ = connection.Close()
		}
	}()
	texts := map[string]bool{}
	for range 3 {
		_, err := w.client.Raw(t.Context(), "https://"+listener.Addr().String(), 0)
		require.Error(t, err)
		texts[err.Error()] = true
	}
	assert.Equal(t, map[string]bool{fmt.Sprintf("GET /workload/v1/secrets at https://%s: connection reset by peer", listener.Addr()): true}, texts)
}
