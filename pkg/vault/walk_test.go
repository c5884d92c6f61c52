package vault

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

var folder = vaultkv.Read{Base: "kv/f/", Recursive: true}

// fill puts many secrets into a folder.
func (f *fake) fill(folder string, secrets int) {
	var keys []string
	for i := range secrets {
		keys = append(keys, fmt.Sprintf("%04d", i))
	}
	f.on("GET kv/metadata/"+strings.TrimSuffix(folder, "/"), says(200, map[string]any{"data": map[string]any{"keys": keys}}))
}

// leaves counts the secrets of a folder that were read.
func (f *fake) leaves() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for key, count := range f.requests {
		var folder string
		var number int
		if _, err := fmt.Sscanf(key, "GET kv/data/%1s/%d", &folder, &number); err == nil {
			n += count
		}
	}
	return n
}

// slow is a session whose server takes so many requests a second.
func slow(t *testing.T, f *fake, perSecond float64) *Session {
	t.Helper()
	s, err := NewPool(clocktesting.NewFakeClock(time.Now()), Options{}).Session(Connection{Address: f.URL, RequestsPerSecond: perSecond, Timeout: time.Second}, &role{})
	require.NoError(t, err)
	_, err = s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	return s
}

func TestHugeFoldersDoNotStarveOthers(t *testing.T) {
	f := newFake(t)
	s := slow(t, f, 100)
	const folders = 5
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, folders)
	for i := range folders {
		f.fill(fmt.Sprintf("%d/", i), 1000)
		go func() {
			_, err := s.ReadKV(ctx, vaultkv.Read{Base: fmt.Sprintf("kv/%d/", i), Recursive: true}, 0, 0)
			done <- err
		}()
	}
	// All that the server takes at once is used up.
	require.Eventually(t, func() bool { return f.leaves() > 120 }, 10*time.Second, time.Millisecond)
	began := time.Now()
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 400*time.Millisecond, "10 requests are before it, and not thousands")

	cancel()
	began = time.Now()
	for range folders {
		require.ErrorContains(t, <-done, "it was not waited for")
	}
	assert.Less(t, time.Since(began), time.Second)
	read := f.leaves()
	assert.Never(t, func() bool { return f.leaves() > read }, 100*time.Millisecond, 10*time.Millisecond, "nothing is read any more")
}

func TestOneWhoDoesNotWaitLetsOthersGoOn(t *testing.T) {
	f, _, s, _ := start(t)
	_, err := s.ReadKV(t.Context(), secretX, 0, 0)
	require.NoError(t, err)
	arrived := make(chan struct{}, 2)
	f.on("GET kv/data/x", func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	first, leave := context.WithCancel(t.Context())
	errs := [3]chan error{make(chan error, 1), make(chan error, 1), make(chan error, 1)}
	read := func(ctx context.Context, to chan error) {
		_, err := s.ReadKV(ctx, secretX, 0, 0)
		to <- err
	}
	go read(first, errs[0])
	<-arrived
	impatient, end := context.WithCancel(t.Context())
	go read(impatient, errs[1])
	end()
	err = <-errs[1]
	require.ErrorContains(t, err, "reading kv/x at "+f.URL+": it was not waited for", "it waits for another one, and no longer than it wants")
	assert.True(t, upstream.IsKind(err, upstream.Unavailable))

	go read(t.Context(), errs[2])
	f.on("GET kv/data/x", nil)
	leave()
	require.ErrorContains(t, <-errs[0], "it was not waited for")
	require.NoError(t, <-errs[2], "it reads by itself")
}

func TestTheErrorOfAFolderIsThatOfTheFirstPath(t *testing.T) {
	f := newFake(t)
	s := slow(t, f, 5000)
	f.fill("f/", 1000)
	later := make(chan struct{})
	f.on("GET kv/data/f/0005", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-later: // the later one was refused before
		case <-r.Context().Done():
		}
		refuses(403, "permission denied")(w, r)
	})
	f.on("GET kv/data/f/0007", func(w http.ResponseWriter, r *http.Request) {
		refuses(403, "permission denied")(w, r)
		close(later)
	})
	_, err := s.ReadKV(t.Context(), folder, 0, 0)
	require.ErrorContains(t, err, "GET kv/data/f/0005")
	assert.Less(t, f.leaves(), 500, "the first error ends it")
}
