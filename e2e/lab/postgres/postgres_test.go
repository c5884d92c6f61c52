package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
)

// start starts a server for one test.
func start(ctx context.Context, t *testing.T, dir string) *postgres.Server {
	t.Helper()
	harness.Need(t, "a real PostgreSQL")
	if err := postgres.Available(); err != nil {
		t.Skip(err)
	}
	s, err := postgres.Start(ctx, postgres.Options{Dir: dir, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func TestLogin(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	dir := filepath.Join(t.TempDir(), "postgres")
	s := start(ctx, t, dir)

	const secret = "in-plain-sight"
	if _, err := s.Exec(ctx, `CREATE ROLE guest LOGIN PASSWORD '`+secret+`'; CREATE ROLE idler PASSWORD '`+secret+`'`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, user, password string
		refused              bool
	}{
		{"the right password", "guest", secret, false},
		{"a wrong password", "guest", "guess", true},
		{"a user who does not exist", "stranger", secret, true},
		{"a user who may not log in", "idler", secret, true},
	} {
		if err := s.Login(ctx, c.user, c.password); errors.Is(err, postgres.ErrRefused) != c.refused || !c.refused && err != nil {
			t.Errorf("%s: got %v, want refused %t", c.name, err, c.refused)
		}
	}
	if who, err := s.Query(ctx, "guest", secret, "SELECT current_user, 1"); err != nil || who != "guest|1" {
		t.Errorf("the database calls the user %q: %v", who, err)
	}
	if _, err := s.Query(ctx, "guest", secret, "CREATE ROLE more"); err == nil || errors.Is(err, postgres.ErrRefused) {
		t.Errorf("a guest made a user, or was refused for another reason: %v", err)
	}
	if _, err := s.Exec(ctx, "CREATE ROLE guest LOGIN PASSWORD '"+secret+"'"); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a statement that fails gives %v, want an error without the password", err)
	}

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Login(ctx, "guest", secret); err == nil || errors.Is(err, postgres.ErrRefused) {
		t.Errorf("with the server stopped, a login gave %v", err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Login(ctx, "guest", secret); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), secret) {
		t.Error("the log has the password")
	}
	if !strings.Contains(string(log), "received fast shutdown request") || !strings.Contains(string(log), "database system is shut down") {
		t.Errorf("the server did not end properly when it was stopped:\n%s", log)
	}
}

func TestDownEndsTheServerAndItsClients(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	root := t.TempDir()
	s := start(ctx, t, filepath.Join(root, "postgres"))
	records, err := proc.Records(root)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d processes are recorded, want the server only: %v", len(records), err)
	}
	busy := make(chan error, 1)
	go func() {
		_, err := s.Exec(ctx, "SELECT pg_sleep(120)")
		busy <- err
	}()
	eventually(t, "the client to be at work", func() bool {
		count, err := s.Exec(ctx, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
		return err == nil && count == "1"
	})
	lock := filepath.Join(root, "postgres", "data", "postmaster.pid")
	if _, err := os.Stat(lock); err != nil {
		t.Fatal(err)
	}

	if err := lab.Down(root, t.Output()); err != nil {
		t.Fatal(err)
	}
	if records[0].Alive() {
		t.Error("the server is alive after Down")
	}
	select {
	case err := <-busy:
		if err == nil {
			t.Error("the client finished")
		}
	case <-time.After(10 * time.Second):
		t.Error("the client is still connected after Down")
	}
	// The server removes this file when it ends by itself, and its shared memory with it.
	if _, err := os.Stat(lock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the server was killed before it had cleaned up: %v", err)
	}
}

func TestFolderHasToBeEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "diary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, folder := range map[string]string{"is not empty": dir, "no folder is given": ""} {
		if _, err := postgres.Start(context.Background(), postgres.Options{Dir: folder}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the folder %q gave %v, want that it %s", folder, err, want)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
