package vault_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
)

func TestDatabaseCredentials(t *testing.T) {
	ctx := enabled(t)
	if err := postgres.Available(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	s := start(ctx, t, vault.Options{Dir: filepath.Join(dir, "vault")})
	db, err := postgres.Start(ctx, postgres.Options{Dir: filepath.Join(dir, "postgres"), Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Stop() })
	if err := s.Database(ctx, db, vault.DatabaseOptions{TTL: 4 * time.Second, MaxTTL: time.Minute, Rotation: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	client := loggedIn(ctx, t, s, vault.DatabaseCredentials, vault.RevokeLeases)

	short, err := vault.DatabaseCredential(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := vault.DatabaseCredential(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	if short.TTL != 4*time.Second || short.Lease == "" || short.User == renewed.User {
		t.Errorf("the first of two credentials is %s with the lease %q for %s", short.User, short.Lease, short.TTL)
	}
	lease, err := client.Sys().RenewWithContext(ctx, renewed.Lease, 60)
	if err != nil || lease.LeaseDuration < 50 {
		t.Fatalf("the renewed lease is %+v: %v", lease, err)
	}
	for _, credential := range []vault.Credential{short, renewed} {
		rows, err := db.Query(ctx, credential.User, credential.Password, "SELECT greeting FROM "+vault.Table)
		if err != nil || rows != vault.TableRow {
			t.Errorf("%s reads %q from the table: %v", credential.User, rows, err)
		}
	}
	if _, err := db.Query(ctx, renewed.User, renewed.Password, "DELETE FROM "+vault.Table); err == nil {
		t.Error("a reader emptied the table")
	}
	eventually(t, "the end of the lease", func() error {
		if err := db.Login(ctx, short.User, short.Password); !errors.Is(err, postgres.ErrRefused) {
			return errors.New("the credential still works")
		}
		return nil
	})
	if err := db.Login(ctx, renewed.User, renewed.Password); err != nil {
		t.Errorf("the renewed credential does not work: %v", err)
	}
	// Vault knows its leases after a restart.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := db.Login(ctx, renewed.User, renewed.Password); err != nil {
		t.Errorf("after a restart of Vault, the credential does not work: %v", err)
	}
	if err := client.Sys().RevokeWithContext(ctx, renewed.Lease); err != nil {
		t.Fatal(err)
	}
	if err := db.Login(ctx, renewed.User, renewed.Password); !errors.Is(err, postgres.ErrRefused) {
		t.Errorf("a revoked credential gave %v, want that it is refused", err)
	}

	static, err := vault.StaticCredential(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Login(ctx, static.User, static.Password); err != nil || static.User != vault.StaticUser || static.Lease != "" {
		t.Errorf("the static credential of %s with the lease %q: %v", static.User, static.Lease, err)
	}
	eventually(t, "another password", func() error {
		rotated, err := vault.StaticCredential(ctx, client)
		if err != nil || rotated.Password == static.Password {
			return errors.Join(err, errors.New("it is the same password"))
		}
		return db.Login(ctx, rotated.User, rotated.Password)
	})
	if err := db.Login(ctx, static.User, static.Password); !errors.Is(err, postgres.ErrRefused) {
		t.Errorf("the password from before the rotation gave %v, want that it is refused", err)
	}

	stranger := loggedIn(ctx, t, s)
	_, err = vault.DatabaseCredential(ctx, stranger)
	refused(t, "a credential without a policy", err)
}

func TestCertificatesAreIssued(t *testing.T) {
	ctx := enabled(t)
	s := start(ctx, t, vault.Options{})
	authorities, err := s.PKI(ctx, vault.PKIOptions{TTL: time.Hour, MaxTTL: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	client := loggedIn(ctx, t, s, vault.IssueCertificates)
	issued, err := vault.Issue(ctx, client, vault.ServerRole, "web."+vault.Domain, 0)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(issued.Certificate))
	if block == nil {
		t.Fatalf("the certificate is no PEM: %q", issued.Certificate)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(root string, usage x509.ExtKeyUsage) error {
		options := x509.VerifyOptions{
			Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
			DNSName: "web." + vault.Domain, KeyUsages: []x509.ExtKeyUsage{usage},
		}
		options.Roots.AppendCertsFromPEM([]byte(root))
		options.Intermediates.AppendCertsFromPEM([]byte(issued.Chain))
		_, err := certificate.Verify(options)
		return err
	}
	if err := verify(authorities.Root, x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("with the root and the chain: %v", err)
	}
	if verify(authorities.Root, x509.ExtKeyUsageClientAuth) == nil {
		t.Error("a server's certificate is good for a client")
	}
	if left := time.Until(certificate.NotAfter); left > time.Hour || left < 55*time.Minute || !issued.Expires.Equal(certificate.NotAfter) {
		t.Errorf("it is valid for %s until %s, and Vault says until %s", left, certificate.NotAfter, issued.Expires)
	}
	longest, err := vault.Issue(ctx, client, vault.ClientRole, "web."+vault.Domain, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(longest.Expires); left > 2*time.Hour || left < 115*time.Minute {
		t.Errorf("the longest is valid for %s, want 2 hours", left)
	}
	if _, err := vault.Issue(ctx, client, vault.ServerRole, "web.elsewhere.example", 0); vault.StatusCode(err) != 400 {
		t.Errorf("a name of another domain gave %v, want bad request", err)
	}
	revoked := func() bool {
		crl, err := s.Root().Logical().ReadRawWithContext(ctx, vault.PKIMount+"/crl")
		if err != nil {
			t.Fatal(err)
		}
		defer crl.Body.Close()
		der := make([]byte, 1<<20)
		n, _ := crl.Body.Read(der)
		list, err := x509.ParseRevocationList(der[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
				return true
			}
		}
		return false
	}
	if revoked() {
		t.Error("the certificate is on the list before it is revoked")
	}
	if _, err := client.Logical().WriteWithContext(ctx, vault.PKIMount+"/revoke", map[string]any{"serial_number": issued.Serial}); err != nil {
		t.Fatal(err)
	}
	if !revoked() {
		t.Error("the revoked certificate is not on the list")
	}
	_, err = vault.Issue(ctx, loggedIn(ctx, t, s), vault.ServerRole, "web."+vault.Domain, 0)
	refused(t, "a certificate without a policy", err)
}
