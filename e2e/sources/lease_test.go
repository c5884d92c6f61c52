package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func leaseSource(name string, change ...func(*v1alpha1.VaultDynamicSecretSpec)) *v1alpha1.VaultDynamicSecret {
	o := &v1alpha1.VaultDynamicSecret{ObjectMeta: meta1(name), Spec: v1alpha1.VaultDynamicSecretSpec{Mount: labvault.DatabaseMount, Path: "creds/" + labvault.DynamicRole}}
	for _, c := range change {
		c(&o.Spec)
	}
	return o
}

// logsIn says whether a Secret holds a login of the database that works.
func logsIn(db *postgres.Server, secret *corev1.Secret) error {
	return db.Login(context.Background(), string(secret.Data["username"]), string(secret.Data["password"]))
}

// another waits until a Secret holds another password, which works.
func another(t *testing.T, db *postgres.Server, name string, former *corev1.Secret) *corev1.Secret {
	t.Helper()
	return secretWhere(t, name, func(s *corev1.Secret) error {
		if former != nil && string(s.Data["password"]) == string(former.Data["password"]) {
			return errSame
		}
		return logsIn(db, s)
	})
}

// refused waits until the database does not let a login in any more.
func refused(t *testing.T, db *postgres.Server, secret *corev1.Secret) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if err := logsIn(db, secret); !errors.Is(err, postgres.ErrRefused) {
			return fmt.Errorf("the login was not refused: %w", err)
		}
		return nil
	})
}

func testLeases(t *testing.T) {
	db := useDatabase(t, labvault.DatabaseOptions{TTL: 6 * time.Second, MaxTTL: 14 * time.Second, Rotation: 5 * time.Second})
	t.Run("a lease is renewed, and replaced while the former login still works", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-life"))
		first := another(t, db, "lease-life", nil)
		assert.Len(t, first.Data, 2)
		vds := tells(t, hub.VaultLeases, team, "lease-life", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
		require.NotNil(t, vds.Status.Lease)
		assert.Equal(t, 6*time.Second, vds.Status.Lease.Duration.Duration)
		assert.True(t, vds.Status.Lease.Renewable)
		expires := vds.Status.Lease.ExpiresAt
		eventually(t, func(ctx context.Context) error {
			now, err := hub.VaultLeases.Get(ctx, team, "lease-life")
			if err == nil && !now.Status.Lease.ExpiresAt.After(expires.Time) {
				err = errSame
			}
			return err
		})
		assert.Equal(t, first.Data, secretWhere(t, "lease-life", anything).Data, "a renewal changes nothing")
		second := another(t, db, "lease-life", first)
		assert.NotEqual(t, first.Data["username"], second.Data["username"])
		require.NoError(t, logsIn(db, first), "who uses it has time to change")
		refused(t, db, first)
		require.NoError(t, logsIn(db, secretWhere(t, "lease-life", anything)))
	})
	t.Run("a deletion revokes it", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-revoked"))
		login := another(t, db, "lease-revoked", nil)
		goes(t, hub.VaultLeases, team, "lease-revoked")
		require.ErrorIs(t, logsIn(db, login), postgres.ErrRefused)
	})
	t.Run("with revoke: false it lives until it ends", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-left", func(s *v1alpha1.VaultDynamicSecretSpec) { s.Revoke = ptr.To(false) }))
		login := another(t, db, "lease-left", nil)
		goes(t, hub.VaultLeases, team, "lease-left")
		require.NoError(t, logsIn(db, login))
		refused(t, db, login)
	})
	t.Run("a Secret that was edited has another", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-edited"))
		first := another(t, db, "lease-edited", nil)
		tells(t, hub.VaultLeases, team, "lease-edited", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
		edits(t, "lease-edited", `{"stringData":{"password":"mallory"}}`)
		second := secretWhere(t, "lease-edited", func(s *corev1.Secret) error {
			if string(s.Data["username"]) == string(first.Data["username"]) {
				return errSame
			}
			return logsIn(db, s)
		})
		assert.NotEqual(t, first.Data, second.Data)
		eventNamed(t, "lease-edited", v1alpha1.EventRepaired)
	})
	t.Run("a password that Vault rotates", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-static", func(s *v1alpha1.VaultDynamicSecretSpec) {
			s.Path, s.StaticCredentials = "static-creds/"+labvault.StaticRole, true
		}))
		login := another(t, db, "lease-static", nil)
		for range 2 {
			login = another(t, db, "lease-static", login)
			assert.Equal(t, labvault.StaticUser, string(login.Data["username"]))
			assert.NotContains(t, login.Data, "ttl")
		}
		tells(t, hub.VaultLeases, team, "lease-static", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	})
	t.Run("a role that does not exist is said", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultLeases, leaseSource("lease-nowhere", func(s *v1alpha1.VaultDynamicSecretSpec) { s.Path = "creds/nowhere" }))
		tells(t, hub.VaultLeases, team, "lease-nowhere", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRefused)
		require.NoError(t, absent(t.Context(), "lease-nowhere"))
	})
}

func certificateSource(name string, change ...func(*v1alpha1.VaultPKISecretSpec)) *v1alpha1.VaultPKISecret {
	o := &v1alpha1.VaultPKISecret{ObjectMeta: meta1(name), Spec: v1alpha1.VaultPKISecretSpec{
		Mount: labvault.PKIMount, Role: labvault.ServerRole, CommonName: name + "." + labvault.Domain, TTL: &metav1.Duration{Duration: time.Hour},
	}}
	for _, c := range change {
		c(&o.Spec)
	}
	return o
}

// verified is the certificate of a Secret, when it is good for the name, its key belongs to it, and who has ca.crt can
// check it.
func verified(secret *corev1.Secret, name string) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	for _, der := range pair.Certificate[1:] {
		between.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	chains, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name})
	if err == nil && len(chains[0]) != 3 {
		err = fmt.Errorf("the chain has %d certificates: it is that of the leaf, the intermediate and the root", len(chains[0]))
	}
	return pair.Leaf, err
}

// certificate waits until a Secret has a good certificate of another serial number.
func certificate(t *testing.T, name string, former *x509.Certificate) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	secretWhere(t, name, func(s *corev1.Secret) (err error) {
		if leaf, err = verified(s, name+"."+labvault.Domain); err != nil {
			return err
		}
		if former != nil && leaf.SerialNumber.Cmp(former.SerialNumber) == 0 {
			return errSame
		}
		return nil
	})
	return leaf
}

// revoked says whether Vault has revoked a certificate.
func revoked(t *testing.T, leaf *x509.Certificate) bool {
	t.Helper()
	serial := ""
	for i, b := range leaf.SerialNumber.Bytes() {
		if i > 0 {
			serial += ":"
		}
		serial += fmt.Sprintf("%02x", b)
	}
	answer, err := server.Root().Logical().ReadWithContext(t.Context(), labvault.PKIMount+"/cert/"+serial)
	require.NoError(t, err)
	require.NotNil(t, answer, serial)
	return fmt.Sprint(answer.Data["revocation_time"]) != "0"
}

func testCertificates(t *testing.T) {
	t.Run("of Vault, with its key", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultPKI, certificateSource("pki-vault"))
		leaf := certificate(t, "pki-vault", nil)
		s := tells(t, hub.VaultPKI, team, "pki-vault", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
		require.NotNil(t, s.Status.Certificate)
		assert.Equal(t, leaf.NotAfter.UTC(), s.Status.Certificate.NotAfter.UTC())
		secret := secretWhere(t, "pki-vault", anything)
		assert.Equal(t, corev1.SecretTypeTLS, secret.Type)
		assert.Len(t, secret.Data, 3)
		goes(t, hub.VaultPKI, team, "pki-vault")
		assert.False(t, revoked(t, leaf), "nobody has asked for that")
	})
	for name, key := range map[string]v1alpha1.PrivateKey{
		"pki-local": {Source: v1alpha1.KeyLocal}, "pki-local-256": {Source: v1alpha1.KeyLocal, Algorithm: v1alpha1.KeyECDSA, Size: 256},
	} {
		t.Run("with a key that was made here: "+name, func(t *testing.T) {
			t.Parallel()
			makes(t, hub.VaultPKI, certificateSource(name, func(s *v1alpha1.VaultPKISecretSpec) { s.PrivateKey = key }))
			certificate(t, name, nil)
			tells(t, hub.VaultPKI, team, name, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
		})
	}
	t.Run("a key that the role does not take is said", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultPKI, certificateSource("pki-refused", func(s *v1alpha1.VaultPKISecretSpec) {
			s.PrivateKey = v1alpha1.PrivateKey{Source: v1alpha1.KeyLocal, Algorithm: v1alpha1.KeyRSA, Size: 2048}
		}))
		tells(t, hub.VaultPKI, team, "pki-refused", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRefused)
	})
	t.Run("it is replaced before its end, and revoked", func(t *testing.T) {
		t.Parallel()
		makes(t, hub.VaultPKI, certificateSource("pki-short", func(s *v1alpha1.VaultPKISecretSpec) {
			s.TTL, s.ExpiryOffset, s.Revoke = &metav1.Duration{Duration: 20 * time.Second}, &metav1.Duration{Duration: 14 * time.Second}, true
		}))
		first := certificate(t, "pki-short", nil)
		assert.False(t, revoked(t, first))
		second := certificate(t, "pki-short", first)
		assert.True(t, time.Now().Before(first.NotAfter))
		eventually(t, func(context.Context) error {
			if !revoked(t, first) {
				return errors.New("the first certificate is not revoked")
			}
			return nil
		})
		assert.False(t, revoked(t, second))
		goes(t, hub.VaultPKI, team, "pki-short")
		assert.True(t, revoked(t, second))
	})
}

// withAppRole makes a VaultConnection with the method approle and a CA of its own, and a VaultSecret of it.
func withAppRole(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	roleID, secretID, err := server.AppRole(ctx, labvault.Role{Name: "sources", Policies: []string{labvault.ReadKV}, TTL: time.Hour, MaxTTL: time.Hour})
	require.NoError(t, err)
	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	_, err = hub.CoreV1().ConfigMaps(team).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta1("approle"), Data: map[string]string{"ca.crt": string(ca)}}, metav1.CreateOptions{})
	require.NoError(t, err)
	makes(t, hub.Connections, &v1alpha1.VaultConnection{ObjectMeta: meta1("approle"), Spec: v1alpha1.VaultConnectionSpec{
		Address: server.Address, CA: &v1alpha1.CertificateSource{ConfigMapRef: &v1alpha1.CertificateKey{Name: "approle"}},
		Auth: v1alpha1.VaultAuth{AppRole: &v1alpha1.VaultAppRoleAuth{RoleID: roleID, SecretIDRef: v1alpha1.SecretKey{Name: "approle-id", Key: "id"}}},
	}})
	makes(t, hub.VaultKV, kvSource("approle", v1alpha1.VaultSecretSpec{Paths: paths("secret/access"), VaultAccess: v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Name: "approle"}}}))
	assert.Contains(t, messageOf(notReady(t, "approle", v1alpha1.ReasonCredentialsMissing), v1alpha1.ConditionReady), "approle-id")
	foreign(t, "approle-id", map[string]string{"id": secretID})
	refreshes(t, hub.VaultKV, "approle")
	holds(t, "approle", map[string]string{"user": "anna"})
}

func TestARestartMakesNoNewCredential(t *testing.T) {
	db := useDatabase(t, labvault.DatabaseOptions{TTL: 15 * time.Second, MaxTTL: 5 * time.Minute})
	stop := startOperator(t)
	_, err := hub.VaultLeases.Create(t.Context(), leaseSource("restart"))
	require.NoError(t, err)
	_, err = hub.VaultPKI.Create(t.Context(), certificateSource("restart-pki", func(s *v1alpha1.VaultPKISecretSpec) { s.Revoke = true }))
	require.NoError(t, err)
	login := another(t, db, "restart", nil)
	leaf := certificate(t, "restart-pki", nil)
	tells(t, hub.VaultPKI, team, "restart-pki", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	vds := tells(t, hub.VaultLeases, team, "restart", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	stop()
	require.NoError(t, logsIn(db, login), "the token that the lease hangs on is not given back")
	startOperator(t)
	// The one after it has the token of the one before: it renews the lease.
	require.NoError(t, clients.Until(t.Context(), 30*time.Second, func(ctx context.Context) error {
		now, err := hub.VaultLeases.Get(ctx, team, "restart")
		if err == nil && !now.Status.Lease.ExpiresAt.After(vds.Status.Lease.ExpiresAt.Time) {
			err = errSame
		}
		return err
	}))
	assert.Equal(t, login.Data, secretWhere(t, "restart", anything).Data)
	require.NoError(t, logsIn(db, login))
	assert.Equal(t, leaf.SerialNumber, certificate(t, "restart-pki", nil).SerialNumber)
	assert.False(t, revoked(t, leaf))
	// While there is an operator.
	goes(t, hub.VaultLeases, team, "restart")
	goes(t, hub.VaultPKI, team, "restart-pki")
}
