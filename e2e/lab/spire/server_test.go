package spire_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// shortTTL expires within a test.
const shortTTL = 4 * time.Second

// agents are the SPIFFE IDs of the agents that the server knows.
func agents(ctx context.Context, t *testing.T, s *spire.Server) string {
	t.Helper()
	programs, err := tools.Ensure(ctx, nil, tools.SpireServer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, programs[tools.SpireServer], "agent", "list", "-output", "json",
		"-socketPath", filepath.Join(filepath.Dir(strings.TrimPrefix(s.Socket, "unix://")), "server.sock")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Agents []struct{ ID struct{ Path string } }
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, agent := range list.Agents {
		paths = append(paths, agent.ID.Path)
	}
	return strings.Join(paths, " ")
}

func TestAgentStaysTheSameThroughARestart(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	register(ctx, t, s, spire.Entry{ID: id("app"), TTL: shortTTL})
	from, w, before := source(ctx, t, s, id("app")), watch(ctx, t, s), agents(ctx, t, s)

	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	w.endsWith(t, codes.Unavailable)
	if _, err := fetch(ctx, s, answerWithin); status.Code(err) != codes.Unavailable {
		t.Errorf("without an agent, the Workload API gave %v, want that it is unavailable", err)
	}
	if err := s.StopAgent(); err != nil {
		t.Errorf("stopping it twice: %v", err)
	}
	if s.PauseAgent() == nil || s.ResumeAgent() == nil {
		t.Error("an agent that is stopped was paused")
	}
	register(ctx, t, s, spire.Entry{ID: id("late")})
	last := svidOf(t, from)
	passed(t, expiry(t, from))
	if svid := svidOf(t, from); svid != last {
		t.Error("the source has another SVID while there is no agent")
	}

	if err := s.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	renewed(t, from, time.Now())
	knows(ctx, t, s, id("late"))
	if after := agents(ctx, t, s); after != before || strings.Contains(after, " ") || after == "" {
		t.Errorf("the server knows the agents %q, want the one from before, %q", after, before)
	}
	register(ctx, t, s, spire.Entry{ID: id("later")})
	gives(ctx, t, s, id("app"), id("late"), id("later"))
}

// knows waits until this process is given an SVID of an entry that was made
// meanwhile.
func knows(ctx context.Context, t *testing.T, s *spire.Server, entry string) {
	t.Helper()
	eventually(t, "the entry that was made meanwhile", func() error {
		got, err := fetch(ctx, s, answerWithin)
		if err == nil && !got[entry] {
			err = errors.New("it is not there")
		}
		return err
	})
}

func TestPausedAgentAnswersLater(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	register(ctx, t, s, spire.Entry{ID: id("app"), TTL: shortTTL})
	from, w := source(ctx, t, s, id("app")), watch(ctx, t, s)

	if err := s.PauseAgent(); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(ctx, s, 500*time.Millisecond); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a paused agent gave %v, want no answer", err)
	}
	register(ctx, t, s, spire.Entry{ID: id("late")})
	passed(t, expiry(t, from))
	if err := s.ResumeAgent(); err != nil {
		t.Fatal(err)
	}
	renewed(t, from, time.Now())
	knows(ctx, t, s, id("late"))
	if w.mu.Lock(); len(w.ends) > 0 {
		t.Errorf("a pause ended the stream with %v", w.ends)
	}
	w.mu.Unlock()

	// A paused one can be stopped.
	if err := s.PauseAgent(); err != nil {
		t.Fatal(err)
	}
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsItsEntriesThroughARestart(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	register(ctx, t, s, spire.Entry{ID: id("app"), TTL: shortTTL})
	from := source(ctx, t, s, id("app"))

	if err := s.StopServer(); err != nil {
		t.Fatal(err)
	}
	if err := s.Register(ctx, spire.Entry{ID: id("late")}); err == nil {
		t.Error("an entry was made without a server")
	}
	passed(t, expiry(t, from))
	// The agent goes on, and says nothing of it that the SVID has expired.
	gives(ctx, t, s, id("app"))
	if err := s.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	renewed(t, from, time.Now())
	register(ctx, t, s, spire.Entry{ID: id("late")})
	gives(ctx, t, s, id("app"), id("late"))
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	// Too long for a socket.
	dir := filepath.Join(root, strings.Repeat("long", 25))
	ctx, s := start(t, spire.Options{Dir: dir, TrustDomain: "example.org"})
	register(ctx, t, s, spire.Entry{ID: "spiffe://example.org/app"})
	gives(ctx, t, s, "spiffe://example.org/app")
	socket := strings.TrimPrefix(s.Socket, "unix://")
	if strings.HasPrefix(socket, root) {
		t.Errorf("the socket is %s, which is too long", socket)
	}
	records, err := proc.Records(root)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d processes are recorded, want 2: %v", len(records), err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range records {
		if r.Alive() {
			t.Errorf("%s is alive", r.Name)
		}
		if _, err := os.Stat(r.LogFile()); err != nil {
			t.Errorf("its log is gone: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the sockets is still there: %v", err)
	}
	if connection, err := net.Dial("unix", socket); err == nil {
		_ = connection.Close()
		t.Error("somebody still listens")
	}
	for words, options := range map[string]spire.Options{
		"is not empty":       {Dir: dir},
		"no folder is given": {},
		"is none":            {Dir: filepath.Join(root, "domain"), TrustDomain: "Not A Domain"},
	} {
		if _, err := spire.Start(ctx, options); !contains(err, words) {
			t.Errorf("%+v gave %v, want that it says %q", options, err, words)
		}
	}
}
