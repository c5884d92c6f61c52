package vaultsource

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issued is a certificate with its key, both also as PEM without the line break at the end, as Vault gives them.
type issued struct {
	certificate *x509.Certificate
	signer      crypto.Signer
	crt, key    string
}

// issue makes a certificate that parent has signed; a nil parent is itself.
func issue(t *testing.T, name string, parent *issued) *issued {
	t.Helper()
	signer, err := newKey(v1alpha1.PrivateKey{})
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: name != "leaf", BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	by, with := template, signer
	if parent != nil {
		by, with = parent.certificate, parent.signer
	}
	der, err := x509.CreateCertificate(nil, template, by, signer.Public(), with)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(signer)
	require.NoError(t, err)
	text := func(kind string, content []byte) string {
		out := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
		return string(out[:len(out)-1])
	}
	return &issued{certificate, signer, text("CERTIFICATE", der), text("PRIVATE KEY", encoded)}
}

func TestBundles(t *testing.T) {
	root := issue(t, "root", nil)
	middle := issue(t, "middle", root)
	leaf := issue(t, "leaf", middle)
	direct := issue(t, "leaf", root)
	for name, c := range map[string]struct {
		answer  map[string]any
		key     string
		crt, ca string
		fails   string
	}{
		"root and intermediate": {
			map[string]any{"certificate": leaf.crt, "private_key": leaf.key, "issuing_ca": middle.crt, "ca_chain": []any{middle.crt, root.crt}}, leaf.key,
			leaf.crt + "\n" + middle.crt + "\n", root.crt + "\n", "",
		},
		"only a root, which has signed itself": {
			map[string]any{"certificate": direct.crt, "private_key": direct.key, "issuing_ca": root.crt, "ca_chain": []any{root.crt}}, direct.key,
			direct.crt + "\n", root.crt + "\n", "",
		},
		"no chain": {
			map[string]any{"certificate": direct.crt, "private_key": direct.key, "issuing_ca": root.crt}, direct.key,
			direct.crt + "\n", root.crt + "\n", "",
		},
		"no chain, and an intermediate": {
			map[string]any{"certificate": leaf.crt, "private_key": leaf.key, "issuing_ca": middle.crt}, leaf.key,
			leaf.crt + "\n" + middle.crt + "\n", middle.crt + "\n", "",
		},
		"the intermediate alone is what the certificate is checked with": {
			map[string]any{"certificate": leaf.crt, "private_key": leaf.key, "issuing_ca": middle.crt, "ca_chain": []any{middle.crt}}, leaf.key,
			leaf.crt + "\n" + middle.crt + "\n", middle.crt + "\n", "",
		},
		"no certificate": {
			map[string]any{"private_key": leaf.key}, "", "", "", "it has no certificate as PEM",
		},
		"a certificate that is none": {
			map[string]any{"certificate": "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----", "private_key": leaf.key}, "", "", "", "its certificate cannot be read",
		},
		"a wrong key": {
			map[string]any{"certificate": leaf.crt, "private_key": middle.key, "issuing_ca": middle.crt}, "", "", "", "its private key does not belong to its certificate, or is not PEM",
		},
		"no key": {
			map[string]any{"certificate": leaf.crt, "issuing_ca": middle.crt}, "", "", "", "its private key does not belong to its certificate, or is not PEM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, certificate, err := bundleOf(c.answer, nil)
			if c.fails != "" {
				require.EqualError(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, map[string][]byte{"tls.crt": []byte(c.crt), "tls.key": []byte(c.key + "\n"), "ca.crt": []byte(c.ca)}, got)
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AppendCertsFromPEM(got["ca.crt"])
			between.AppendCertsFromPEM(got["tls.crt"])
			_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "leaf"})
			require.NoError(t, err)
		})
	}
	t.Run("a key that was made here", func(t *testing.T) {
		got, _, err := bundleOf(map[string]any{"certificate": leaf.crt, "issuing_ca": middle.crt}, []byte(leaf.key+"\n"))
		require.NoError(t, err)
		assert.Equal(t, leaf.key+"\n", string(got["tls.key"]))
	})
}

func TestSigningRequests(t *testing.T) {
	size := func(key any) int {
		switch key := key.(type) {
		case *rsa.PrivateKey:
			return key.N.BitLen()
		case *ecdsa.PrivateKey:
			return key.Params().BitSize
		case ed25519.PrivateKey:
			return 8 * len(key.Seed())
		}
		return 0
	}
	for name, c := range map[string]struct {
		spec      v1alpha1.PrivateKey
		algorithm x509.PublicKeyAlgorithm
		size      int
	}{
		"ECDSA is what nobody asked otherwise gets": {v1alpha1.PrivateKey{}, x509.ECDSA, 256},
		"ECDSA 384": {v1alpha1.PrivateKey{Algorithm: v1alpha1.KeyECDSA, Size: 384}, x509.ECDSA, 384},
		"ECDSA 521": {v1alpha1.PrivateKey{Algorithm: v1alpha1.KeyECDSA, Size: 521}, x509.ECDSA, 521},
		"RSA":       {v1alpha1.PrivateKey{Algorithm: v1alpha1.KeyRSA}, x509.RSA, 2048},
		"RSA 3072":  {v1alpha1.PrivateKey{Algorithm: v1alpha1.KeyRSA, Size: 3072}, x509.RSA, 3072},
		"Ed25519":   {v1alpha1.PrivateKey{Algorithm: v1alpha1.KeyEd25519}, x509.Ed25519, 256},
	} {
		t.Run(name, func(t *testing.T) {
			key, request, err := signingRequest(c.spec)
			require.NoError(t, err)
			block, _ := pem.Decode(request)
			require.NotNil(t, block)
			assert.Equal(t, "CERTIFICATE REQUEST", block.Type)
			csr, err := x509.ParseCertificateRequest(block.Bytes)
			require.NoError(t, err)
			require.NoError(t, csr.CheckSignature())
			assert.Equal(t, c.algorithm, csr.PublicKeyAlgorithm)
			block, _ = pem.Decode(key)
			require.NotNil(t, block)
			assert.Equal(t, "PRIVATE KEY", block.Type)
			private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			require.NoError(t, err)
			assert.Equal(t, c.size, size(private))
			assert.Equal(t, csr.PublicKey, private.(crypto.Signer).Public()) //nolint:forcetypeassert // all are
		})
	}
}

func TestWhenACertificateIsReplaced(t *testing.T) {
	const serial = "01:02"
	luck := luckOf(serial)
	for name, c := range map[string]struct {
		offset *metav1.Duration
		life   time.Duration
		least  time.Duration // before its end
		most   time.Duration
	}{
		"a third of its life before the end":      {nil, 90 * time.Minute, 28*time.Minute + 30*time.Second, 31*time.Minute + 30*time.Second},
		"as the spec says":                        {&metav1.Duration{Duration: 20 * time.Minute}, 90 * time.Minute, 19 * time.Minute, 21 * time.Minute},
		"a third when the spec asks for it all":   {&metav1.Duration{Duration: 90 * time.Minute}, 90 * time.Minute, 28*time.Minute + 30*time.Second, 31*time.Minute + 30*time.Second},
		"a third when the spec asks for too much": {&metav1.Duration{Duration: 24 * time.Hour}, 90 * time.Minute, 28*time.Minute + 30*time.Second, 31*time.Minute + 30*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.VaultPKISecret{Spec: v1alpha1.VaultPKISecretSpec{ExpiryOffset: c.offset}}
			state := certificateState{Serial: serial, NotBefore: begin, NotAfter: begin.Add(c.life)}
			before := state.NotAfter.Sub(renewalOf(s, state))
			assert.GreaterOrEqual(t, before, c.least)
			assert.LessOrEqual(t, before, c.most)
			assert.InDelta(t, luck, (before-c.least).Seconds()/(c.most-c.least).Seconds(), 0.001)
		})
	}
}
