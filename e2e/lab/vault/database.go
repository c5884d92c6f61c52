package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
)

const (
	// DatabaseMount is where the credentials are.
	DatabaseMount = "database"
	// DynamicRole gives each who asks a database user of his own, with a lease.
	DynamicRole = "reader"
	// StaticRole gives all who ask the password of StaticUser, which Vault
	// changes every now and then.
	StaticRole = "static"
	// StaticUser is a database user that stays.
	StaticUser = "application"
	// Table is what the users of both roles may read.
	Table = "greetings"
	// TableRow is the only row of Table.
	TableRow = "hello"

	connection   = "lab"
	databaseUser = "vault"
	readers      = "readers"
)

// DatabaseOptions say how long credentials are valid.
type DatabaseOptions struct {
	// TTL is the lease of DynamicRole and MaxTTL what renewals can make of it;
	// 0 stands for one minute and for five.
	TTL, MaxTTL time.Duration
	// Rotation is how often the password of StaticRole changes, five seconds at
	// the least; 0 stands for an hour.
	Rotation time.Duration
}

// Database connects Vault with a PostgreSQL, as a user there that can make
// users but is no superuser, and writes DynamicRole, StaticRole and the policies
// DatabaseCredentials and RevokeLeases. Calling it again only changes the durations.
func (s *Server) Database(ctx context.Context, db *postgres.Server, options DatabaseOptions) error {
	ttl, maxTTL := cmp.Or(options.TTL, time.Minute), cmp.Or(options.MaxTTL, 5*time.Minute)
	mounts, err := s.root.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return fmt.Errorf("listing the mounts: %w", err)
	}
	if mounts[DatabaseMount+"/"] == nil {
		if err := s.connect(ctx, db); err != nil {
			return err
		}
	}
	if _, err := s.write(ctx, DatabaseMount+"/roles/"+DynamicRole, map[string]any{
		"db_name": connection, "default_ttl": ttl.String(), "max_ttl": maxTTL.String(),
		"creation_statements":   `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE ` + readers + `;`,
		"revocation_statements": `DROP ROLE IF EXISTS "{{name}}";`,
	}); err != nil {
		return err
	}
	if _, err := s.write(ctx, DatabaseMount+"/static-roles/"+StaticRole, map[string]any{
		"db_name": connection, "username": StaticUser, "rotation_period": cmp.Or(options.Rotation, time.Hour).String(),
	}); err != nil {
		return err
	}
	return s.writePolicies(ctx, DatabaseCredentials, RevokeLeases)
}

// connect makes the users in PostgreSQL, and the connection.
func (s *Server) connect(ctx context.Context, db *postgres.Server) error {
	password := rand.Text()
	// To hand on a role, Vault's user has to be one of its administrators.
	if _, err := db.Exec(ctx, `
CREATE ROLE `+databaseUser+` LOGIN CREATEROLE PASSWORD '`+password+`';
CREATE ROLE `+readers+`;
CREATE ROLE `+StaticUser+` LOGIN IN ROLE `+readers+`;
GRANT `+readers+`, `+StaticUser+` TO `+databaseUser+` WITH ADMIN OPTION;
CREATE TABLE `+Table+` (greeting text);
INSERT INTO `+Table+` VALUES ('`+TableRow+`');
GRANT SELECT ON `+Table+` TO `+readers+`;`); err != nil {
		return fmt.Errorf("preparing the database: %w", err)
	}
	if err := s.mount(ctx, DatabaseMount, api.MountInput{Type: "database"}); err != nil {
		return err
	}
	_, err := s.write(ctx, DatabaseMount+"/config/"+connection, map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"allowed_roles":  DynamicRole + "," + StaticRole,
		"connection_url": "postgresql://{{username}}:{{password}}@" + db.Host + ":" + strconv.Itoa(db.Port) + "/postgres?sslmode=disable",
		"username":       databaseUser,
		"password":       password,
	})
	return err
}

// Credential is a user and a password of the database.
type Credential struct {
	User, Password string
	// Lease names the lease, and TTL is how long it runs; a credential of
	// StaticRole has none.
	Lease string
	TTL   time.Duration
}

// DatabaseCredential asks for a credential of DynamicRole.
func DatabaseCredential(ctx context.Context, client *api.Client) (Credential, error) {
	return credential(ctx, client, "/creds/"+DynamicRole)
}

// StaticCredential asks for the credential of StaticRole.
func StaticCredential(ctx context.Context, client *api.Client) (Credential, error) {
	return credential(ctx, client, "/static-creds/"+StaticRole)
}

func credential(ctx context.Context, client *api.Client, path string) (Credential, error) {
	secret, err := client.Logical().ReadWithContext(ctx, DatabaseMount+path)
	if err == nil && secret == nil {
		err = errors.New("there is no such role")
	}
	if err != nil {
		return Credential{}, fmt.Errorf("reading a database credential: %w", err)
	}
	return Credential{
		User:     text(secret.Data, "username"),
		Password: text(secret.Data, "password"),
		Lease:    secret.LeaseID,
		TTL:      time.Duration(secret.LeaseDuration) * time.Second,
	}, nil
}
