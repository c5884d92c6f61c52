package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/vault/api"
)

// requestTimeout bounds one request of a client.
const requestTimeout = 30 * time.Second

// Client makes a client that shows a token, or none when it is empty. Nothing
// is tried twice.
func (s *Server) Client(token string) (*api.Client, error) {
	return s.client(token)
}

// Root is a client that may do everything.
func (s *Server) Root() *api.Client {
	return s.root
}

// client makes a client that shows a token and certificates.
func (s *Server) client(token string, certificates ...tls.Certificate) (*api.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(certificates) > 0 {
		// Also when the authority is none of those that the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificates[0], nil
		}
	}
	if s.CAFile != "" {
		ca, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("making a client for Vault: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca)
	}
	client, err := api.NewClient(&api.Config{
		Address:    s.Address,
		HttpClient: &http.Client{Transport: &http.Transport{TLSClientConfig: config}},
		Timeout:    requestTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("making a client for Vault: %w", err)
	}
	// Nothing of the caller's environment.
	client.SetToken(token)
	client.ClearNamespace()
	return client, nil
}

// StatusCode is the HTTP status of Vault's answer, or 0 when err is not an
// answer of Vault.
func StatusCode(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// write writes as root.
func (s *Server) write(ctx context.Context, path string, data map[string]any) (*api.Secret, error) {
	secret, err := s.root.Logical().WriteWithContext(ctx, path, data)
	if err != nil {
		return nil, fmt.Errorf("writing to %s: %w", path, err)
	}
	return secret, nil
}

// mount mounts an engine, unless something is mounted there already.
func (s *Server) mount(ctx context.Context, path string, input api.MountInput) error {
	mounts, err := s.root.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return fmt.Errorf("listing the mounts: %w", err)
	}
	if mounts[path+"/"] != nil {
		return nil
	}
	if err := s.root.Sys().MountWithContext(ctx, path, &input); err != nil {
		return fmt.Errorf("mounting %s: %w", path, err)
	}
	return nil
}

// text is a field of an answer that is a string.
func text(data map[string]any, field string) string {
	value, _ := data[field].(string)
	return value
}

// with returns data with further fields.
func with(data, more map[string]any) map[string]any {
	out := maps.Clone(data)
	maps.Copy(out, more)
	return out
}
