// Package operator puts the controllers, leader election, health and metrics together. Run works in a test as it does
// in main.
package operator

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vaultsource"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vsecmsource"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"
)

// What happens to copies that may not be sent any more.
const (
	RemoveRevoked = "Remove"
	KeepRevoked   = "Keep"
)

// Options of the operator.
type Options struct {
	// Namespace holds the Lease of the leader election. It must exist when LeaderElect is on.
	Namespace string
	// LeaderElect lets several replicas run, of which one works.
	LeaderElect bool
	// ListenAddress serves /healthz, /readyz and /metrics; "0" turns it off.
	ListenAddress string
	// Workers is how many handshakes are worked on at a time.
	Workers int
	// SourceWorkers is how many objects that make Secrets, such as VaultSecrets, are worked on at a time.
	SourceWorkers int
	// Vault and VSecM hold for the sources that say nothing else.
	Vault vaultsource.Defaults
	VSecM vsecmsource.Defaults
	// Workspaces are the namespaces that the operator writes in, beside those that have the label
	// fleethandshake.io/workspace.
	Workspaces []string
	// SourceNamespaces are the namespaces that the operator reads Secrets of, beside the workspaces; none means all.
	SourceNamespaces []string
	// RevokedGrants is Remove or Keep: what happens to the copies when the consent to send a Secret is taken back.
	RevokedGrants string
	// AuditLog is the file that the audit log is written to; "-" is standard output, and empty the log of the operator.
	AuditLog string
	// FleetNamespace is where Fleet's controller and its configuration are.
	FleetNamespace string
	// OfflineAfter is how long an agent may be silent until its cluster counts as offline; 0 is three times the
	// interval at which Fleet's configuration tells the agents to report.
	OfflineAfter time.Duration
	// StuckAfter is how long an agent that reports may take to apply a revision until its cluster counts as stuck.
	StuckAfter time.Duration
	// MissingGrace is how long a Secret may be missing until its handshake is Stalled, or its copies are removed.
	MissingGrace time.Duration
	// WithdrawalThreshold is the percentage of the clusters of a handshake that a change of targets may withdraw the
	// Secret from; a change that withdraws from more waits for a confirmation. 100 turns that off.
	WithdrawalThreshold int
	// Clock decides when resyncs are due; nil is the real one.
	Clock clock.PassiveClock
}

// Defaults are what the flags say when they are not given.
func Defaults() Options {
	return Options{
		Namespace: "fleet-handshake-system", LeaderElect: true, ListenAddress: ":8080", Workers: 8, SourceWorkers: 16,
		Vault:      vaultsource.Defaults{AuthPath: "kubernetes", ServiceAccount: "vault-operator-sync", RequestsPerSecond: 20},
		VSecM:      vsecmsource.Defaults{SafeURL: vsecm.DefaultAddress, TrustDomain: vsecm.DefaultTrustDomain, EndpointSocket: vsecm.DefaultEndpointSocket},
		Workspaces: []string{"fleet-default"}, RevokedGrants: RemoveRevoked,
		FleetNamespace: "cattle-fleet-system", StuckAfter: 10 * time.Minute, MissingGrace: time.Minute, WithdrawalThreshold: 50,
	}
}

// Validate says what is wrong with the options, and what to write instead.
func (o Options) Validate() error {
	var errs []error
	if o.LeaderElect && o.Namespace == "" {
		errs = append(errs, errors.New("--namespace is empty: name the namespace of the leader election's Lease, for example fleet-handshake-system"))
	}
	if o.Workers < 1 {
		errs = append(errs, fmt.Errorf("--workers is %d: write 1 or more", o.Workers))
	}
	if o.SourceWorkers < 1 {
		errs = append(errs, fmt.Errorf("--source-workers is %d: write 1 or more", o.SourceWorkers))
	}
	errs = append(errs, validateVault(o.Vault), o.VSecM.Validate())
	if o.RevokedGrants != RemoveRevoked && o.RevokedGrants != KeepRevoked {
		errs = append(errs, fmt.Errorf("--revoked-grants is %q: write %s or %s", o.RevokedGrants, RemoveRevoked, KeepRevoked))
	}
	errs = append(errs, areNamespaces("--workspaces", o.Workspaces), areNamespaces("--source-namespaces", o.SourceNamespaces))
	if o.FleetNamespace == "" {
		errs = append(errs, errors.New("--fleet-namespace is empty: name the namespace of Fleet's controller, for example cattle-fleet-system"))
	}
	if o.OfflineAfter < 0 {
		errs = append(errs, fmt.Errorf("--offline-after is %s: write a time such as 45m, or 0 for three of Fleet's check-in intervals", o.OfflineAfter))
	}
	if o.StuckAfter <= 0 {
		errs = append(errs, fmt.Errorf("--stuck-after is %s: write a time such as 10m", o.StuckAfter))
	}
	if o.MissingGrace < 0 {
		errs = append(errs, fmt.Errorf("--missing-grace is %s: write a time such as 1m", o.MissingGrace))
	}
	if o.WithdrawalThreshold < 0 || o.WithdrawalThreshold > 100 {
		errs = append(errs, fmt.Errorf("--withdrawal-threshold is %d: write a percentage from 0 to 100", o.WithdrawalThreshold))
	}
	if o.ListenAddress != "0" {
		if _, _, err := net.SplitHostPort(o.ListenAddress); err != nil {
			errs = append(errs, fmt.Errorf("--listen-address is %q: write host:port, for example :8080, or 0 to turn it off", o.ListenAddress))
		}
	}
	return errors.Join(errs...)
}

// vaultAddress is what the field addr of a VaultSecret takes.
var vaultAddress = regexp.MustCompile(`^https?://[^/?#@ ]+(/[^?#@ ]*)?$`)

func validateVault(v vaultsource.Defaults) error {
	var errs []error
	if v.Addr != "" && !vaultAddress.MatchString(v.Addr) {
		errs = append(errs, fmt.Errorf("--vault-addr is %q: write a URL, for example https://vault.example.com:8200, or nothing when each source names its server", v.Addr))
	}
	if v.CAFile != "" {
		if err := hasCertificates(v.CAFile); err != nil {
			errs = append(errs, fmt.Errorf("--vault-ca-file is %q: %w; name a PEM file with certificates, or write nothing for those that browsers trust", v.CAFile, err))
		}
	}
	if v.AuthPath == "" {
		errs = append(errs, errors.New("--vault-auth-path is empty: name the path that Vault's method kubernetes is mounted at, for example kubernetes"))
	}
	if len(validation.IsDNS1123Subdomain(v.ServiceAccount)) > 0 {
		errs = append(errs, fmt.Errorf("--vault-service-account is %q, which is not the name of a service account: write one, for example vault-operator-sync", v.ServiceAccount))
	}
	if v.RequestsPerSecond < 1 {
		errs = append(errs, fmt.Errorf("--vault-requests-per-second is %d: write 1 or more", v.RequestsPerSecond))
	}
	return errors.Join(errs...)
}

func hasCertificates(file string) error {
	content, err := os.ReadFile(file) //nolint:gosec // the administrator names it
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return errors.New("it has no certificate")
	}
	return nil
}

func areNamespaces(flag string, names []string) error {
	var errs []error
	for _, name := range names {
		if len(validation.IsDNS1123Label(name)) > 0 {
			errs = append(errs, fmt.Errorf("%s has %q, which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local", flag, name))
		}
	}
	return errors.Join(errs...)
}
