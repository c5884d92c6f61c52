package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is the certificate authority of one cluster.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// keyPair is a certificate with its key, both as PEM.
type keyPair struct {
	cert []byte
	key  []byte
}

// validity of everything that is signed; a lab lives for hours.
const validity = 30 * 24 * time.Hour

// File names in a cluster's pki folder.
const (
	caCertFile         = "ca.crt"
	caKeyFile          = "ca.key"
	servingCertFile    = "apiserver.crt"
	servingKeyFile     = "apiserver.key"
	serviceAccountFile = "service-account.key"
)

// newPKI makes the authority, the API server's certificate and the service
// account key of a cluster, and writes them to dir. The API server has the
// addresses beside that of this machine.
func newPKI(dir, cluster string, addresses ...string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := certificate(pkix.Name{CommonName: "lab " + cluster})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("signing the authority of %s: %w", cluster, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading the authority of %s: %w", cluster, err)
	}
	ca := authority{cert: cert, key: key}

	serving := certificate(pkix.Name{CommonName: "kube-apiserver"})
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, address := range addresses {
		serving.IPAddresses = append(serving.IPAddresses, net.ParseIP(address))
	}
	serving.DNSNames = []string{"localhost"}
	server, err := ca.sign(serving)
	if err != nil {
		return fmt.Errorf("signing the API server's certificate of %s: %w", cluster, err)
	}

	accountKey, err := newKey()
	if err != nil {
		return err
	}
	caKey, err := encodeKey(key)
	if err != nil {
		return err
	}
	account, err := encodeKey(accountKey)
	if err != nil {
		return err
	}
	return writePrivate(dir, map[string][]byte{
		caCertFile:         encodeCert(der),
		caKeyFile:          caKey,
		servingCertFile:    server.cert,
		servingKeyFile:     server.key,
		serviceAccountFile: account,
	})
}

// loadAuthority reads what newPKI wrote.
func loadAuthority(dir string) (authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return authority{}, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return authority{}, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return authority{}, errors.New("the authority's files are not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return authority{}, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return authority{}, err
	}
	return authority{cert: cert, key: key}, nil
}

// client signs a client certificate for a user and the user's groups.
func (a authority) client(name string, groups []string) (keyPair, error) {
	template := certificate(pkix.Name{CommonName: name, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(template)
}

// sign makes a key and signs a certificate for it.
func (a authority) sign(template *x509.Certificate) (keyPair, error) {
	key, err := newKey()
	if err != nil {
		return keyPair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return keyPair{}, err
	}
	encoded, err := encodeKey(key)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{cert: encodeCert(der), key: encoded}, nil
}

// certificate is what all certificates of a lab have in common.
func certificate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		serial = big.NewInt(time.Now().UnixNano()) // unique enough where nothing is revoked
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// newKey makes a key of the kind that is quick to make.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// writePrivate writes files only their owner can read.
func writePrivate(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}
