package vault

import (
	"context"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
)

// Policies that come with what they are for. Each allows just that.
const (
	// ReadKV reads and lists the secrets that Golden writes.
	ReadKV = "read-kv"
	// IssueCertificates has certificates issued by all roles of PKI, and
	// revokes them.
	IssueCertificates = "issue-certificates"
	// DatabaseCredentials reads credentials of the roles of Database.
	DatabaseCredentials = "database-credentials"
	// RevokeLeases ends leases before their time. Vault's own policy default
	// allows to renew them, and a token that is revoked takes its leases along.
	RevokeLeases = "revoke-leases"
)

var policies = map[string]string{
	ReadKV: `
path "` + golden.KV1 + `/*" { capabilities = ["read", "list"] }
path "` + golden.KV2 + `/data/*" { capabilities = ["read"] }
path "` + golden.KV2 + `/metadata/*" { capabilities = ["read", "list"] }`,
	IssueCertificates: `
path "` + PKIMount + `/issue/*" { capabilities = ["update"] }
path "` + PKIMount + `/revoke" { capabilities = ["update"] }`,
	DatabaseCredentials: `
path "` + DatabaseMount + `/creds/*" { capabilities = ["read"] }
path "` + DatabaseMount + `/static-creds/*" { capabilities = ["read"] }`,
	RevokeLeases: `path "sys/leases/revoke" { capabilities = ["update"] }`,
}

// writePolicies writes policies of this package.
func (s *Server) writePolicies(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := s.Policy(ctx, name, policies[name]); err != nil {
			return err
		}
	}
	return nil
}

// Policy writes a policy in Vault's language.
func (s *Server) Policy(ctx context.Context, name, rules string) error {
	if err := s.root.Sys().PutPolicyWithContext(ctx, name, rules); err != nil {
		return fmt.Errorf("writing the policy %s: %w", name, err)
	}
	return nil
}
