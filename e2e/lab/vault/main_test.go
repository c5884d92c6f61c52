package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
)

// patience leaves room for building the program.
const patience = 30 * time.Minute

// enabled skips the test unless real servers are wanted.
func enabled(t *testing.T) context.Context {
	t.Helper()
	harness.Need(t, "a real Vault")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start starts a server for one test.
func start(ctx context.Context, t *testing.T, options vault.Options) *vault.Server {
	t.Helper()
	if options.Dir == "" {
		options.Dir = filepath.Join(t.TempDir(), "vault")
	}
	options.Progress = t.Output()
	s, err := vault.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// loggedIn is a client with the rights of some policies.
func loggedIn(ctx context.Context, t *testing.T, s *vault.Server, policies ...string) *api.Client {
	t.Helper()
	roleID, secretID, err := s.AppRole(ctx, vault.Role{Name: "test", Policies: policies})
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.Login(ctx, vault.AppRoleMount, map[string]any{"role_id": roleID, "secret_id": secretID})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// refused fails the test unless Vault answered that something is forbidden.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	if vault.StatusCode(err) != http.StatusForbidden {
		t.Errorf("%s gave %v, want forbidden", what, err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain for %s: %v", what, err)
}

// want is an error that says what was there instead.
func want(expected, got any) error {
	if fmt.Sprint(expected) == fmt.Sprint(got) {
		return nil
	}
	return fmt.Errorf("got %v, want %v", got, expected)
}
