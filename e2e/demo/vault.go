package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Secrets of the story. Each comes from Vault and is sent to the clusters of the group.
const (
	settings    = "settings"
	login       = "database-login"
	certificate = "certificate"
	kvPath      = "secret/shop"
	authMount   = "kubernetes"
	account     = "vault-operator-sync"
	period      = 10 * time.Second
)

// The lives of what Vault makes here. They are short, so that a whole life can be watched.
const (
	leaseTTL, leaseMaxTTL             = 10 * time.Second, 25 * time.Second
	certificateTTL, certificateOffset = 40 * time.Second, 28 * time.Second
)

type vaultStory struct {
	*story
	vault    *labvault.Server
	database *postgres.Server
	// old is the first login of the database.
	old map[string][]byte
}

func beginVault(ctx context.Context, l *lab.Lab) (_ *demo, err error) {
	s := &vaultStory{}
	if s.story, err = newStory(ctx, l); err != nil {
		return nil, err
	}
	if err := postgres.Available(); err != nil {
		return nil, err
	}
	fmt.Println("== Starting a Vault and a PostgreSQL")
	s.vault, err = labvault.Start(ctx, labvault.Options{Dir: filepath.Join(l.Dir, "vault"), TLS: true, Audit: true, Progress: os.Stdout})
	if err != nil {
		return nil, err
	}
	if s.database, err = postgres.Start(ctx, postgres.Options{Dir: filepath.Join(l.Dir, "postgres"), Progress: os.Stdout}); err != nil {
		return nil, errors.Join(err, s.vault.Stop())
	}
	d := &demo{
		values: []string{"vault.namespaces={" + workspace + "}"},
		flags:  []string{"--vault-addr", s.vault.Address, "--vault-ca-file", s.vault.CAFile, "--vault-auth-path", authMount},
		tell:   s.tell,
		end:    func() error { return errors.Join(s.database.Stop(), s.vault.Stop()) },
	}
	if err := s.prepare(l); err != nil {
		return nil, errors.Join(err, d.end())
	}
	return d, nil
}

// prepare writes into Vault what an administrator of it would.
func (s *vaultStory) prepare(l *lab.Lab) error {
	if err := s.vault.Golden(s.ctx); err != nil {
		return err
	}
	if err := s.vault.Database(s.ctx, s.database, labvault.DatabaseOptions{TTL: leaseTTL, MaxTTL: leaseMaxTTL}); err != nil {
		return err
	}
	if _, err := s.vault.PKI(s.ctx, labvault.PKIOptions{}); err != nil {
		return err
	}
	if _, err := labvault.ServiceAccountToken(s.ctx, l.Hub, workspace, account); err != nil { // makes the account
		return err
	}
	if err := s.vault.Kubernetes(s.ctx, authMount, l.Hub, labvault.KubernetesOptions{}); err != nil {
		return err
	}
	role := labvault.Role{
		Name: workspace, TTL: time.Hour, MaxTTL: time.Hour,
		Policies: []string{labvault.ReadKV, labvault.DatabaseCredentials, labvault.RevokeLeases, labvault.IssueCertificates},
	}
	return s.vault.KubernetesRole(s.ctx, authMount, role, workspace, account, "")
}

func (s *vaultStory) tell() error {
	return tellSteps(s.table, []step{
		{"A VaultSecret and a FleetHandshake are applied", s.first},
		{"The value is changed in Vault", s.change},
		{"A database credential is made, renewed, and replaced at its maximum life", s.lease},
		{"A certificate rotates", s.rotateCertificate},
		{"Vault does not answer for a while", s.outage},
		{"The VaultDynamicSecret is deleted", s.revoke},
	})
}

// reaches waits until paris and tokyo have a value.
func (s *vaultStory) reaches(began time.Time, value string) error {
	return s.reach(began, settings, func(copied *corev1.Secret) error {
		if string(copied.Data["password"]) != value {
			return errors.New("it does not have the current value")
		}
		return nil
	})
}

func (s *vaultStory) first() error {
	if err := s.vault.PutSecret(s.ctx, kvPath, map[string]any{"user": "shop", "password": "first"}); err != nil {
		return err
	}
	began := time.Now()
	_, err := s.hub.VaultKV.Create(s.ctx, &v1alpha1.VaultSecret{ObjectMeta: s.meta(settings), Spec: v1alpha1.VaultSecretSpec{
		Paths: []v1alpha1.VaultPath{{Path: kvPath}}, ReconcilePeriod: &metav1.Duration{Duration: period},
	}})
	if err != nil {
		return err
	}
	if err := s.sendOn(settings); err != nil {
		return err
	}
	return s.reaches(began, "first")
}

func (s *vaultStory) change() error {
	began := time.Now()
	if err := s.vault.PutSecret(s.ctx, kvPath, map[string]any{"user": "shop", "password": "second"}); err != nil {
		return err
	}
	fmt.Printf("   the operator reads Vault at 80 to 90 %% of spec.reconcilePeriod, which is %s here:\n", period)
	if err := s.reaches(began, "second"); err != nil {
		return err
	}
	began = time.Now()
	if err := s.vault.PutSecret(s.ctx, kvPath, map[string]any{"user": "shop", "password": "third"}); err != nil {
		return err
	}
	err := s.hub.VaultKV.Change(s.ctx, workspace, settings, func(vs *v1alpha1.VaultSecret) {
		vs.Annotations = map[string]string{v1alpha1.AnnotationRefresh: began.Format(time.RFC3339Nano)}
	})
	if err != nil {
		return err
	}
	fmt.Printf("   once more, and asked for with the annotation %s:\n", v1alpha1.AnnotationRefresh)
	return s.reaches(began, "third")
}

// lease watches a whole life of a credential.
func (s *vaultStory) lease() error {
	began := time.Now()
	_, err := s.hub.VaultLeases.Create(s.ctx, &v1alpha1.VaultDynamicSecret{ObjectMeta: s.meta(login), Spec: v1alpha1.VaultDynamicSecretSpec{
		Mount: labvault.DatabaseMount, Path: "creds/" + labvault.DynamicRole,
	}})
	if err != nil {
		return err
	}
	if err := s.sendOn(login); err != nil {
		return err
	}
	if s.old, err = s.inParis(login, s.logsIn); err != nil {
		return err
	}
	fmt.Printf("   with the copy in paris PostgreSQL lets %s in: after %.1f s\n", s.old["username"], time.Since(began).Seconds())
	if err := s.renewed(); err != nil {
		return err
	}
	fmt.Printf("   its lease is renewed: after %.1f s\n", time.Since(began).Seconds())
	latest, err := s.inParis(login, func(data map[string][]byte) error {
		if string(data["username"]) == string(s.old["username"]) {
			return errors.New("it is still the first credential")
		}
		return s.logsIn(data)
	})
	if err != nil {
		return err
	}
	fmt.Printf("   it is replaced before %s are over: after %.1f s; PostgreSQL lets %s in with the copy in paris\n", leaseMaxTTL, time.Since(began).Seconds(), latest["username"])
	err = clients.Until(s.ctx, patience, func(context.Context) error {
		if s.logsIn(s.old) == nil {
			return errors.New("the first credential still works")
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("   Vault has revoked the first one, and PostgreSQL refuses it: after %.1f s\n", time.Since(began).Seconds())
	return s.logsIn(latest)
}

// logsIn tries a credential on PostgreSQL.
func (s *vaultStory) logsIn(data map[string][]byte) error {
	return s.database.Login(s.ctx, string(data["username"]), string(data["password"]))
}

// renewed waits until the lease lives longer than it did.
func (s *vaultStory) renewed() error {
	first := metav1.Time{}
	return clients.Until(s.ctx, patience, func(ctx context.Context) error {
		vds, err := s.hub.VaultLeases.Get(ctx, workspace, login)
		switch {
		case err != nil:
			return err
		case vds.Status.Lease == nil:
			return errors.New("there is no lease")
		case first.IsZero():
			first = vds.Status.Lease.ExpiresAt
		}
		if !vds.Status.Lease.ExpiresAt.After(first.Time) {
			return errors.New("the lease is not renewed")
		}
		return nil
	})
}

func (s *vaultStory) rotateCertificate() error {
	began := time.Now()
	_, err := s.hub.VaultPKI.Create(s.ctx, &v1alpha1.VaultPKISecret{ObjectMeta: s.meta(certificate), Spec: v1alpha1.VaultPKISecretSpec{
		Mount: labvault.PKIMount, Role: labvault.ServerRole, CommonName: "shop." + labvault.Domain, Revoke: true,
		TTL: &metav1.Duration{Duration: certificateTTL}, ExpiryOffset: &metav1.Duration{Duration: certificateOffset},
	}})
	if err != nil {
		return err
	}
	if err := s.sendOn(certificate); err != nil {
		return err
	}
	serial := ""
	for _, which := range []string{"the first", "the next"} {
		_, err := s.inParis(certificate, func(data map[string][]byte) error {
			now, err := verify(data)
			if err == nil && now == serial {
				err = errors.New("it is still the same certificate")
			}
			if err == nil {
				serial = now
			}
			return err
		})
		if err != nil {
			return err
		}
		fmt.Printf("   %s certificate is in paris, and verifies with ca.crt: serial number %s, after %.1f s\n", which, serial, time.Since(began).Seconds())
	}
	return s.hub.VaultPKI.Delete(s.ctx, workspace, certificate)
}

// verify checks a certificate with the chain and the authority beside it, and gives its serial number.
func verify(data map[string][]byte) (string, error) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data["ca.crt"]) {
		return "", errors.New("ca.crt has no certificate")
	}
	block, rest := pem.Decode(data[corev1.TLSCertKey])
	if block == nil {
		return "", errors.New("tls.crt has no certificate")
	}
	between.AppendCertsFromPEM(rest)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "shop." + labvault.Domain})
	return leaf.SerialNumber.Text(16), err
}

func (s *vaultStory) outage() error {
	if err := s.vault.Pause(); err != nil {
		return err
	}
	began := time.Now()
	err := s.settingsSay(v1alpha1.ConditionFetched, v1alpha1.ReasonUnavailable)
	if err != nil {
		return errors.Join(err, s.vault.Resume())
	}
	fmt.Printf("   the VaultSecret says %s=False %s: after %.1f s; the Secret stays as it is\n", v1alpha1.ConditionFetched, v1alpha1.ReasonUnavailable, time.Since(began).Seconds())
	if err := s.settingsSay(v1alpha1.ConditionReady, v1alpha1.ReasonStale); err != nil {
		return errors.Join(err, s.vault.Resume())
	}
	vs, err := s.hub.VaultKV.Get(s.ctx, workspace, settings)
	if err != nil {
		return errors.Join(err, s.vault.Resume())
	}
	fmt.Printf("   it says Ready=False %s, because what the Secret holds is %s old\n", v1alpha1.ReasonStale, time.Since(vs.Status.LastFetchedAt.Time).Round(time.Second))
	if err := s.reaches(began, "third"); err != nil {
		return errors.Join(err, s.vault.Resume())
	}
	if err := s.vault.Resume(); err != nil {
		return err
	}
	back := time.Now()
	if err := s.settingsSay(v1alpha1.ConditionReady, v1alpha1.ReasonUpToDate); err != nil {
		return err
	}
	fmt.Printf("   Vault answers again, and it is Ready: after %.1f s\n", time.Since(back).Seconds())
	return nil
}

func (s *vaultStory) settingsSay(condition, reason string) error {
	return says(s.ctx, s.hub.VaultKV, settings, condition, reason)
}

func (s *vaultStory) revoke() error {
	// During the outage the credential may have ended: this is the one that works now.
	data, err := s.inParis(login, s.logsIn)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.hub.VaultLeases.Delete(s.ctx, workspace, login); err != nil {
		return err
	}
	err = clients.Until(s.ctx, patience, func(ctx context.Context) error {
		_, err := s.hub.VaultLeases.Get(ctx, workspace, login)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the VaultDynamicSecret is still there: %w", err)
		}
		if s.logsIn(data) == nil {
			return errors.New("its credential still works")
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("   its lease is revoked, and PostgreSQL refuses %s: after %.1f s\n", data["username"], time.Since(began).Seconds())
	return nil
}

// table prints what the sources say.
func (s *vaultStory) table() error {
	rows := map[string]v1alpha1.SourceStatus{}
	if kv, err := s.hub.VaultKV.Get(s.ctx, workspace, settings); err == nil {
		rows["VaultSecret/"+settings] = kv.Status
	}
	if lease, err := s.hub.VaultLeases.Get(s.ctx, workspace, login); err == nil {
		rows["VaultDynamicSecret/"+login] = lease.Status.SourceStatus
	}
	if pki, err := s.hub.VaultPKI.Get(s.ctx, workspace, certificate); err == nil {
		rows["VaultPKISecret/"+certificate] = pki.Status.SourceStatus
	}
	printReady(rows)
	return nil
}
