package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-uuid"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetesauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// postgresPlugin is what the configuration of a database connection calls it.
const postgresPlugin = "postgresql-database-plugin"

// open returns an unsealed server. The first time, it is initialized.
func open(ctx context.Context, o options, logger hclog.Logger) (*vault.Core, error) {
	storage, err := newStorage(o.data, logger)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage,
		LogicalBackends: map[string]logical.Factory{
			"kv":       kv.Factory,
			"pki":      pki.Factory,
			"database": database.Factory,
		},
		CredentialBackends: map[string]logical.Factory{
			"approle":    approle.Factory,
			"cert":       cert.Factory,
			"jwt":        jwtauth.Factory,
			"kubernetes": kubernetesauth.Factory,
		},
		AuditBackends:   map[string]audit.Factory{"file": auditfile.Factory},
		BuiltinRegistry: registry{},
		Logger:          logger,
		DisableMlock:    true,
		ClusterName:     "lab",
	})
	if err != nil {
		return nil, fmt.Errorf("making the server: %w", err)
	}
	if err := unseal(ctx, core, o); err != nil {
		return nil, errors.Join(err, core.Shutdown())
	}
	return core, nil
}

func newStorage(data string, logger hclog.Logger) (physical.Backend, error) {
	if data == "" {
		return inmem.NewInmem(nil, logger)
	}
	return file.NewFileBackend(map[string]string{"path": filepath.Join(data, "storage")}, logger)
}

// unseal unseals the server. One that has no data yet is initialized first, and
// gets the root token and the audit log.
func unseal(ctx context.Context, core *vault.Core, o options) error {
	keyFile := filepath.Join(o.data, "unseal-key")
	text, err := os.ReadFile(keyFile)
	if o.data != "" && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("reading the unseal key: %w", err)
		}
		key, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("reading the unseal key: %w", err)
		}
		return unsealWith(core, key)
	}

	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	initialized, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one})
	if err != nil {
		return fmt.Errorf("initializing the server: %w", err)
	}
	key := initialized.SecretShares[0]
	if o.data != "" {
		if err := os.WriteFile(keyFile, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing the unseal key: %w", err)
		}
	}
	if err := unsealWith(core, key); err != nil {
		return err
	}
	return prepare(ctx, core, o, initialized.RootToken)
}

func unsealWith(core *vault.Core, key []byte) error {
	unsealed, err := core.Unseal(key)
	if err == nil && !unsealed {
		err = errors.New("one key is not enough")
	}
	if err != nil {
		return fmt.Errorf("unsealing the server: %w", err)
	}
	return nil
}

// prepare replaces the root token that initialization made by the wanted one,
// and starts the audit log.
func prepare(ctx context.Context, core *vault.Core, o options, token string) error {
	if err := update(ctx, core, token, "auth/token/create", map[string]any{
		"id": o.token, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
	}); err != nil {
		return err
	}
	if err := update(ctx, core, o.token, "auth/token/revoke", map[string]any{"token": token}); err != nil {
		return err
	}
	if o.audit == "" {
		return nil
	}
	return update(ctx, core, o.token, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]any{"file_path": o.audit},
	})
}

// update carries out one request.
func update(ctx context.Context, core *vault.Core, token, path string, data map[string]any) error {
	id, err := uuid.GenerateUUID()
	if err != nil {
		return err
	}
	response, err := core.HandleRequest(namespace.RootContext(ctx), &logical.Request{
		ID: id, Operation: logical.UpdateOperation, ClientToken: token, Path: path, Data: data,
	})
	if err == nil && response.IsError() {
		err = response.Error()
	}
	if err != nil {
		return fmt.Errorf("writing to %s: %w", path, err)
	}
	return nil
}

// registry has the one database plugin. Vault's own has those of every cloud.
type registry struct{}

// Contains reports whether there is such a plugin.
func (registry) Contains(name string, kind consts.PluginType) bool {
	return kind == consts.PluginTypeDatabase && name == postgresPlugin
}

// Get returns what makes the plugin.
func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	if !r.Contains(name, kind) {
		return nil, false
	}
	return postgresql.New, true
}

// Keys returns the names of the plugins of a kind.
func (registry) Keys(kind consts.PluginType) []string {
	if kind != consts.PluginTypeDatabase {
		return nil
	}
	return []string{postgresPlugin}
}

// DeprecationStatus says that what there is, is supported.
func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

// IsBuiltinEntPlugin says that there is none of Vault Enterprise.
func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
