package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Mounts of the auth methods that this package enables by itself.
const (
	AppRoleMount = "approle"
	CertMount    = "cert"
)

// Role is what a login gives.
type Role struct {
	// Name of the role.
	Name string
	// Policies of the token, beside Vault's own policy default.
	Policies []string
	// TTL is how long the token is valid and MaxTTL what renewals can make of
	// it; 0 leaves it to Vault, which gives 32 days.
	TTL, MaxTTL time.Duration
}

func (r Role) data(more map[string]any) map[string]any {
	return with(map[string]any{
		"token_policies": strings.Join(r.Policies, ","),
		"token_ttl":      r.TTL.String(),
		"token_max_ttl":  r.MaxTTL.String(),
	}, more)
}

// enableAuth enables an auth method, unless something is mounted there already.
func (s *Server) enableAuth(ctx context.Context, path, method string) error {
	mounts, err := s.root.Sys().ListAuthWithContext(ctx)
	if err != nil {
		return fmt.Errorf("listing the auth methods: %w", err)
	}
	if mounts[path+"/"] != nil {
		return nil
	}
	if err := s.root.Sys().EnableAuthWithOptionsWithContext(ctx, path, &api.EnableAuthOptions{Type: method}); err != nil {
		return fmt.Errorf("enabling the auth method %s: %w", method, err)
	}
	return nil
}

// AppRole writes a role of the approle method and returns what to log in with:
// the role ID and a secret ID that can be used any number of times.
func (s *Server) AppRole(ctx context.Context, role Role) (roleID, secretID string, err error) {
	if err := s.enableAuth(ctx, AppRoleMount, "approle"); err != nil {
		return "", "", err
	}
	path := "auth/" + AppRoleMount + "/role/" + role.Name
	if _, err := s.write(ctx, path, role.data(nil)); err != nil {
		return "", "", err
	}
	read, err := s.root.Logical().ReadWithContext(ctx, path+"/role-id")
	if err != nil {
		return "", "", fmt.Errorf("reading the role ID of %s: %w", role.Name, err)
	}
	made, err := s.write(ctx, path+"/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	return text(read.Data, "role_id"), text(made.Data, "secret_id"), nil
}

// CertRole writes a role of the cert method: clients whose certificate the
// authority has signed, for one of the names. The server needs Options.TLS.
func (s *Server) CertRole(ctx context.Context, role Role, authority string, names ...string) error {
	if s.CAFile == "" {
		return errors.New("the cert method needs TLS; set Options.TLS")
	}
	if err := s.enableAuth(ctx, CertMount, "cert"); err != nil {
		return err
	}
	_, err := s.write(ctx, "auth/"+CertMount+"/certs/"+role.Name, role.data(map[string]any{
		"certificate": authority, "allowed_common_names": strings.Join(names, ","),
	}))
	return err
}

// Login logs in at an auth method and returns a client with the token.
func (s *Server) Login(ctx context.Context, mount string, data map[string]any) (*api.Client, error) {
	client, err := s.client("")
	if err != nil {
		return nil, err
	}
	return login(ctx, client, mount, data)
}

// LoginCertificate logs in with a certificate. The token is only good for
// clients that show the same certificate, as the returned one does.
func (s *Server) LoginCertificate(ctx context.Context, certificate Certificate, role string) (*api.Client, error) {
	pair, err := certificate.pair()
	if err != nil {
		return nil, fmt.Errorf("logging in at %s: %w", CertMount, err)
	}
	client, err := s.client("", pair)
	if err != nil {
		return nil, err
	}
	return login(ctx, client, CertMount, map[string]any{"name": role})
}

func login(ctx context.Context, client *api.Client, mount string, data map[string]any) (*api.Client, error) {
	secret, err := client.Logical().WriteWithContext(ctx, "auth/"+mount+"/login", data)
	if err == nil && (secret == nil || secret.Auth == nil) {
		err = errors.New("the answer has no token")
	}
	if err != nil {
		return nil, fmt.Errorf("logging in at %s: %w", mount, err)
	}
	client.SetToken(secret.Auth.ClientToken)
	return client, nil
}
