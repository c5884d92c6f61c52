// Package spiffetest gives tests SPIFFE identities without SPIRE: an authority
// that mints X.509-SVIDs, identities in memory that can be rotated, and a
// Workload API that serves one.
package spiffetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// CA is the authority of a trust domain.
type CA struct {
	Domain spiffeid.TrustDomain

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      atomic.Int64
}

// New makes an authority with a new key. Two of the same trust domain do not
// believe each other.
func New(trustDomain string) (*CA, error) {
	domain, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	ca := &CA{Domain: domain}
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.serial.Add(1)), Subject: pkix.Name{CommonName: trustDomain},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{domain.ID().URL()},
	}
	ca.certificate, err = sign(template, template, &ca.key.PublicKey, ca.key)
	return ca, err
}

func sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, with *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, with)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// SVID mints one that is valid for so long from now on. With a negative life,
// it ended so long ago.
func (c *CA) SVID(id string, life time.Duration) (*x509svid.SVID, error) {
	spiffeID, err := spiffeid.FromString(id)
	if err != nil {
		return nil, fmt.Errorf("minting an SVID: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("minting an SVID: %w", err)
	}
	end := time.Now().Add(life)
	certificate, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(c.serial.Add(1)), Subject: pkix.Name{Organization: []string{"SPIRE"}},
		NotBefore: end.Add(-12 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{spiffeID.URL()},
	}, c.certificate, &key.PublicKey, c.key)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: spiffeID, Certificates: []*x509.Certificate{certificate}, PrivateKey: key}, nil
}

// Bundle is what the SVIDs of this authority are checked with.
func (c *CA) Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(c.Domain, []*x509.Certificate{c.certificate})
}

// Identity is an SVID with the bundles that its owner believes. It can be
// changed while it is used, as the Workload API does.
type Identity struct {
	mu      sync.Mutex
	svid    *x509svid.SVID
	bundles *x509bundle.Set
	closed  bool
}

// Identity mints an SVID, and believes this authority.
func (c *CA) Identity(id string, life time.Duration) (*Identity, error) {
	svid, err := c.SVID(id, life)
	if err != nil {
		return nil, err
	}
	return &Identity{svid: svid, bundles: x509bundle.NewSet(c.Bundle())}, nil
}

// Rotate makes another SVID that of the identity.
func (i *Identity) Rotate(svid *x509svid.SVID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.svid = svid
}

// Believe makes the owner believe other authorities, and no longer those of
// before.
func (i *Identity) Believe(authorities ...*CA) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bundles = x509bundle.NewSet()
	for _, ca := range authorities {
		i.bundles.Add(ca.Bundle())
	}
}

// GetX509SVID implements x509svid.Source.
func (i *Identity) GetX509SVID() (*x509svid.SVID, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.svid, nil
}

// SVIDs gives the one that there is.
func (i *Identity) SVIDs() []*x509svid.SVID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return []*x509svid.SVID{i.svid}
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (i *Identity) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.bundles.GetX509BundleForTrustDomain(domain)
}

// Close implements io.Closer.
func (i *Identity) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	return nil
}

// Closed says whether Close was called.
func (i *Identity) Closed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closed
}
