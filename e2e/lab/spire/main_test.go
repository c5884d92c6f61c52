package spire_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
)

const (
	// patience bounds each test, after the programs are built.
	patience = 2 * time.Minute
	// answerWithin bounds one request to the Workload API.
	answerWithin = 10 * time.Second
)

func TestMain(m *testing.M) {
	harness.Main("a real SPIRE", func() (int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
		defer cancel()
		if err := spire.Build(ctx, os.Stdout); err != nil {
			return 1, err
		}
		return m.Run(), nil
	})
}

// start starts one for a test.
func start(t *testing.T, options spire.Options) (context.Context, *spire.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	if options.Dir == "" {
		options.Dir = filepath.Join(t.TempDir(), "spire")
	}
	options.Progress = t.Output()
	s, err := spire.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return ctx, s
}

// id is the SPIFFE ID of a workload.
func id(name string) string {
	return fmt.Sprintf("spiffe://%s/workload/%s/ns/team/sa/app/n/%s-1", spire.DefaultTrustDomain, name, name)
}

// register makes an entry.
func register(ctx context.Context, t *testing.T, s *spire.Server, entry spire.Entry) {
	t.Helper()
	if err := s.Register(ctx, entry); err != nil {
		t.Fatal(err)
	}
}

// source opens a Source.
func source(ctx context.Context, t *testing.T, s *spire.Server, id string) *spire.Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	opened, err := s.Source(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// svidOf is what a Source gives now.
func svidOf(t *testing.T, from *spire.Source) *x509svid.SVID {
	t.Helper()
	svid, err := from.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// expiry is when the SVID of a Source is good no more.
func expiry(t *testing.T, from *spire.Source) time.Time {
	t.Helper()
	return svidOf(t, from).Certificates[0].NotAfter
}

// fetch asks the Workload API once, and gives the SPIFFE IDs.
func fetch(ctx context.Context, s *spire.Server, within time.Duration) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	svids, err := workloadapi.FetchX509SVIDs(ctx, workloadapi.WithAddr(s.Socket))
	ids := map[string]bool{}
	for _, svid := range svids {
		ids[svid.ID.String()] = true
	}
	return ids, err
}

// gives fails the test unless the Workload API gives exactly these SPIFFE IDs.
func gives(ctx context.Context, t *testing.T, s *spire.Server, want ...string) {
	t.Helper()
	got, err := fetch(ctx, s, answerWithin)
	if len(want) == 0 {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("the Workload API gave %v and %v, want permission denied", got, err)
		}
		return
	}
	if err != nil {
		t.Errorf("the Workload API gave %v, want %v", err, want)
	}
	for _, id := range want {
		if !got[id] {
			t.Errorf("the Workload API gave %v, and not %s", got, id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the Workload API gave %v, want %v", got, want)
	}
}

// contains says whether an error has words in it.
func contains(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain for %s: %v", what, err)
}

// renewed waits until a Source gives an SVID that is good for longer.
func renewed(t *testing.T, from *spire.Source, before time.Time) {
	t.Helper()
	eventually(t, "another SVID", func() error {
		if after := expiry(t, from); !after.After(before) {
			return errors.New("it is still the one that is good until " + after.String())
		}
		return nil
	})
}

// passed waits until a time has passed by a second.
func passed(t *testing.T, when time.Time) {
	t.Helper()
	eventually(t, "the SVID to expire", func() error {
		if left := time.Until(when.Add(time.Second)); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
}

// stream notes how the streams of the Workload API end.
type stream struct {
	mu   sync.Mutex
	ends []codes.Code
}

// watch follows the Workload API until the end of the test.
func watch(ctx context.Context, t *testing.T, s *spire.Server) *stream {
	t.Helper()
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(s.Socket))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	w, ended := &stream{}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.WatchX509Context(ctx, w)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = client.Close()
	})
	return w
}

func (s *stream) OnX509ContextUpdate(*workloadapi.X509Context) {}

func (s *stream) OnX509ContextWatchError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, status.Code(err))
}

// endsWith waits for the first end.
func (s *stream) endsWith(t *testing.T, want codes.Code) {
	t.Helper()
	eventually(t, "the end of a stream of the Workload API", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.ends) == 0 {
			return errors.New("it goes on")
		}
		if s.ends[0] != want {
			t.Errorf("the stream ended with %s, want %s", s.ends[0], want)
		}
		return nil
	})
}
