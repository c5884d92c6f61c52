package vault

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// PKIMount is where certificates are issued, by the intermediate authority.
	PKIMount = "pki"
	// Domain is the one below which certificates are issued.
	Domain = "lab.example"
	// ServerRole issues certificates of servers.
	ServerRole = "server"
	// ClientRole issues certificates of clients.
	ClientRole = "client"

	rootMount = "pki-root"
)

// PKIOptions say how long certificates are valid.
type PKIOptions struct {
	// TTL is what nobody asked otherwise gets, and MaxTTL the most; 0 stands for
	// an hour and a day.
	TTL, MaxTTL time.Duration
}

// PKI is a certificate authority of two levels.
type PKI struct {
	// Root and Intermediate are the certificates of the authorities, as PEM.
	Root, Intermediate string
}

// PKI makes a root and an intermediate authority, the roles ServerRole and
// ClientRole, and the policy IssueCertificates.
func (s *Server) PKI(ctx context.Context, options PKIOptions) (*PKI, error) {
	ttl, maxTTL := cmp.Or(options.TTL, time.Hour), cmp.Or(options.MaxTTL, 24*time.Hour)
	const years = "87600h"
	for _, path := range []string{rootMount, PKIMount} {
		if err := s.mount(ctx, path, api.MountInput{Type: "pki", Config: api.MountConfigInput{MaxLeaseTTL: years}}); err != nil {
			return nil, err
		}
	}
	root, err := s.write(ctx, rootMount+"/root/generate/internal", map[string]any{
		"common_name": "lab root", "ttl": years, "key_type": "ec", "key_bits": 256,
	})
	if err != nil {
		return nil, err
	}
	request, err := s.write(ctx, PKIMount+"/intermediate/generate/internal", map[string]any{
		"common_name": "lab intermediate", "key_type": "ec", "key_bits": 256,
	})
	if err != nil {
		return nil, err
	}
	intermediate, err := s.write(ctx, rootMount+"/root/sign-intermediate", map[string]any{
		"csr": request.Data["csr"], "common_name": "lab intermediate", "ttl": "43800h",
	})
	if err != nil {
		return nil, err
	}
	authorities := &PKI{Root: text(root.Data, "certificate"), Intermediate: text(intermediate.Data, "certificate")}
	base := s.Address + "/v1/" + PKIMount
	role := map[string]any{
		"allowed_domains": Domain, "allow_subdomains": true, "allow_localhost": false, "key_type": "ec", "key_bits": 256,
		"ttl": ttl.String(), "max_ttl": maxTTL.String(), "server_flag": false, "client_flag": false,
	}
	for _, w := range []struct {
		path string
		data map[string]any
	}{
		{"/intermediate/set-signed", map[string]any{"certificate": authorities.Intermediate + "\n" + authorities.Root}},
		{"/config/urls", map[string]any{"issuing_certificates": base + "/ca", "crl_distribution_points": base + "/crl"}},
		{"/roles/" + ServerRole, with(role, map[string]any{"server_flag": true})},
		{"/roles/" + ClientRole, with(role, map[string]any{"client_flag": true})},
	} {
		if _, err := s.write(ctx, PKIMount+w.path, w.data); err != nil {
			return nil, err
		}
	}
	return authorities, s.writePolicies(ctx, IssueCertificates)
}

// Certificate is one that was issued.
type Certificate struct {
	// Certificate, Key and Chain are PEM. Chain has the authorities from the one
	// that signed upwards.
	Certificate, Key, Chain string
	// Serial is Vault's name of the certificate, in pairs of hexadecimal digits.
	Serial string
	// Expires is the end of its validity.
	Expires time.Time
}

// Issue has a certificate issued by a role of PKI, for a name below Domain. A
// ttl of 0 leaves it to the role.
func Issue(ctx context.Context, client *api.Client, role, name string, ttl time.Duration) (Certificate, error) {
	data := map[string]any{"common_name": name}
	if ttl != 0 {
		data["ttl"] = ttl.String()
	}
	secret, err := client.Logical().WriteWithContext(ctx, PKIMount+"/issue/"+role, data)
	if err != nil {
		return Certificate{}, fmt.Errorf("issuing a certificate for %s: %w", name, err)
	}
	c := Certificate{
		Certificate: text(secret.Data, "certificate"),
		Key:         text(secret.Data, "private_key"),
		Serial:      text(secret.Data, "serial_number"),
	}
	chain, _ := secret.Data["ca_chain"].([]any)
	var parts []string
	for _, part := range chain {
		pem, _ := part.(string)
		parts = append(parts, pem)
	}
	c.Chain = strings.Join(parts, "\n")
	number, ok := secret.Data["expiration"].(json.Number)
	if !ok {
		return Certificate{}, errors.New("issuing a certificate: the answer has no expiration")
	}
	seconds, err := number.Int64()
	if err != nil {
		return Certificate{}, fmt.Errorf("issuing a certificate: reading the expiration: %w", err)
	}
	c.Expires = time.Unix(seconds, 0)
	return c, nil
}

// pair is what a TLS client shows.
func (c Certificate) pair() (tls.Certificate, error) {
	return tls.X509KeyPair([]byte(c.Certificate+"\n"+c.Chain), []byte(c.Key))
}
