package vault_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
)

// readSecret reads a golden secret with a time limit.
func readSecret(ctx context.Context, s *vault.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	secret, err := s.Root().Logical().ReadWithContext(ctx, "v1/something/a/secret")
	if err == nil && secret == nil {
		err = errors.New("there is no secret")
	}
	return err
}

func TestPausedServerAnswersLater(t *testing.T) {
	ctx := enabled(t)
	s := start(ctx, t, vault.Options{TLS: true})
	if err := s.Golden(ctx); err != nil {
		t.Fatal(err)
	}
	// Several times: Pause must not return before the last thread has stopped.
	for range 10 {
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		if err := readSecret(ctx, s, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a paused server gave %v, want no answer", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := readSecret(ctx, s, 20*time.Second); err != nil {
			t.Fatalf("after a pause: %v", err)
		}
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() { answer <- readSecret(ctx, s, 20*time.Second) }()
	select {
	case err := <-answer:
		t.Errorf("a paused server gave %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("after the pause: %v", err)
	}

	// A paused one can be stopped, and then there is nothing to pause.
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if s.Pause() == nil || s.Resume() == nil {
		t.Error("a server that is stopped was paused")
	}
}

func TestRestartKeepsDataUnlessInMemory(t *testing.T) {
	ctx := enabled(t)
	for _, memory := range []bool{false, true} {
		s := start(ctx, t, vault.Options{Memory: memory, Audit: true})
		if err := s.Golden(ctx); err != nil {
			t.Fatal(err)
		}
		client := loggedIn(ctx, t, s, vault.ReadKV)
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := readSecret(ctx, s, 5*time.Second); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stopped server gave %v, want that the connection is refused", err)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := readSecret(ctx, s, 5*time.Second); (err != nil) != memory {
			t.Errorf("after a restart with memory %t, reading a secret gave %v", memory, err)
		}
		_, err := client.Auth().Token().LookupSelfWithContext(ctx)
		if memory {
			refused(t, "a token that the server has forgotten", err)
		} else if err != nil {
			t.Errorf("after a restart, the token gave %v", err)
		}
		if err := s.Golden(ctx); err != nil {
			t.Errorf("after a restart with memory %t: %v", memory, err)
		}
		if requests, err := s.Requests(); err != nil || len(requests) < 2*len(golden.Secrets) {
			t.Errorf("the audit log has %d requests, want those from before and after the restart: %v", len(requests), err)
		}
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	ctx := enabled(t)
	root := t.TempDir()
	s := start(ctx, t, vault.Options{Dir: filepath.Join(root, "one"), Audit: true})
	other := start(ctx, t, vault.Options{Dir: filepath.Join(root, "other"), Memory: true})
	if err := s.Golden(ctx); err != nil {
		t.Fatal(err)
	}
	records, err := proc.Records(root)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d processes are recorded, want 2: %v", len(records), err)
	}
	arguments, err := os.ReadFile("/proc/" + commandOf(t, records[0].PID) + "/cmdline")
	if err != nil || !bytes.Contains(arguments, []byte("-listen=")) || bytes.Contains(arguments, []byte(s.RootToken)) {
		t.Errorf("the command line is %q, want one without the root token: %v", arguments, err)
	}

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if records[0].Alive() || !records[1].Alive() {
		t.Errorf("after one of two was stopped, they are alive: %t, %t", records[0].Alive(), records[1].Alive())
	}
	if last := proc.Tail(records[0].LogFile(), 1); last != "vault-lab: stopped" {
		t.Errorf("the last that the server said is %q, so it was killed before it had ended", last)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	// Nothing but the folder is known from here on, as after a crash.
	if err := lab.Down(root, t.Output()); err != nil {
		t.Fatal(err)
	}
	if records[1].Alive() {
		t.Error("a server is alive after Down")
	}
	for _, server := range []*vault.Server{s, other} {
		_, address, _ := strings.Cut(server.Address, "://")
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("somebody still listens: %v", err)
			continue
		}
		_ = listener.Close()
		if _, err := os.Stat(filepath.Join(server.Dir, "vault.process.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the record is still there: %v", err)
		}
	}
	for _, file := range []string{"vault.log", "audit.log"} {
		content, err := os.ReadFile(filepath.Join(s.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string]string{"the root token": s.RootToken, "a secret": "super-secret-api-key"} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s has %s", file, what)
			}
		}
	}
}

// commandOf is the one child of a process.
func commandOf(t *testing.T, pid int) string {
	t.Helper()
	text := strings.TrimSpace(proc.Tail("/proc/"+strconv.Itoa(pid)+"/task/"+strconv.Itoa(pid)+"/children", 1))
	if text == "" || strings.Contains(text, " ") {
		t.Fatalf("the children of the process are %q, want one", text)
	}
	return text
}

func TestFolderHasToBeEmpty(t *testing.T) {
	ctx := enabled(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "diary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, folder := range map[string]string{"is not empty": dir, "no folder is given": ""} {
		if _, err := vault.Start(ctx, vault.Options{Dir: folder}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the folder %q gave %v, want that it %s", folder, err, text)
		}
	}
}
