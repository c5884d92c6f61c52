package vaultsource

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// caKey is where a Secret of type kubernetes.io/tls has the certificate of the authority, by convention.
const caKey = "ca.crt"

// pki fetches for VaultPKISecrets.
type pki struct {
	*access
	*holders
	clock clock.PassiveClock
}

// certificateState is what a Secret with a certificate remembers.
type certificateState struct {
	// Request is a fingerprint of what was asked for.
	Request   string    `json:"request"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Holder is the accessor of the token that the certificate hangs on, when its role makes leases.
	Holder string `json:"holder,omitempty"`
	// Replaced are the serial numbers that are still to be revoked.
	Replaced []string `json:"replaced,omitempty"`
}

func mountOf(s *v1alpha1.VaultPKISecret) string {
	return cmp.Or(strings.Trim(s.Spec.Mount, "/"), "pki")
}

func (f pki) request(s *v1alpha1.VaultPKISecret, c vault.Connection) string {
	spec := s.Spec
	return fingerprint(c.Address, c.Namespace, mountOf(s), spec.Role, spec.IssuerRef, spec.CommonName, spec.AltNames, spec.IPSans, spec.URISans, source.DurationOr(spec.TTL, 0), spec.PrivateKey)
}

// Fetch has a certificate issued, unless the one that the Secret holds is good for a while.
func (f pki) Fetch(ctx context.Context, src v1alpha1.Source, want source.Want) (source.Content, error) {
	s := src.(*v1alpha1.VaultPKISecret) //nolint:forcetypeassert // it is registered for this kind
	server, err := f.of(ctx, s.Namespace, s.Spec.VaultAccess)
	if err != nil {
		return source.Content{}, problemOf(err, defaultPeriod)
	}
	state := whole[certificateState](want.State)
	if want.Intact && !want.Fresh && state.Serial != "" && state.Request == f.request(s, server.connection) {
		good, err := f.good(ctx, s, server.Session, state)
		if err != nil {
			return source.Content{}, problemOf(err, defaultPeriod)
		}
		if good {
			content := source.Content{Same: true, State: want.State, FetchedAt: state.NotBefore, StaleAt: state.NotAfter, Next: renewalOf(s, state), Report: reportCertificate(state)}
			if s.Status.LastFetchedAt != nil {
				content.FetchedAt = s.Status.LastFetchedAt.Time
			}
			return content, nil
		}
	}
	content, err := f.issue(ctx, s, server, state)
	return content, problemOf(err, defaultPeriod)
}

// good says whether the certificate needs no successor yet.
func (f pki) good(ctx context.Context, s *v1alpha1.VaultPKISecret, session *vault.Session, state certificateState) (bool, error) {
	if !f.clock.Now().Before(renewalOf(s, state)) {
		return false, nil
	}
	if state.Holder == "" {
		return true, nil
	}
	return f.holds(ctx, f.holder(s), session, state.Holder)
}

// offsetOf is how long before its end the certificate is replaced.
func offsetOf(s *v1alpha1.VaultPKISecret, state certificateState) time.Duration {
	life := state.NotAfter.Sub(state.NotBefore)
	offset := source.DurationOr(s.Spec.ExpiryOffset, life/3)
	if offset >= life {
		return life / 3
	}
	return offset
}

// renewalOf is when the certificate is replaced: up to 5 % of the offset come or go by luck.
func renewalOf(s *v1alpha1.VaultPKISecret, state certificateState) time.Time {
	return state.NotAfter.Add(-time.Duration((0.95 + luckOf(state.Serial)/10) * float64(offsetOf(s, state))))
}

func reportCertificate(state certificateState) func(v1alpha1.Source) {
	return func(src v1alpha1.Source) {
		//nolint:forcetypeassert // it is the source of the Fetch
		src.(*v1alpha1.VaultPKISecret).Status.Certificate = &v1alpha1.Certificate{SerialNumber: state.Serial, NotBefore: metav1.NewTime(state.NotBefore), NotAfter: metav1.NewTime(state.NotAfter)}
	}
}

func (f pki) issue(ctx context.Context, s *v1alpha1.VaultPKISecret, server reached, old certificateState) (source.Content, error) {
	params := map[string]any{"format": "pem"}
	for name, value := range map[string]string{
		"common_name": s.Spec.CommonName, "alt_names": strings.Join(s.Spec.AltNames, ","), "ip_sans": strings.Join(s.Spec.IPSans, ","), "uri_sans": strings.Join(s.Spec.URISans, ","),
	} {
		if value != "" {
			params[name] = value
		}
	}
	if s.Spec.TTL != nil {
		params["ttl"] = fmt.Sprintf("%ds", int64(s.Spec.TTL.Seconds()))
	}
	verb, key := "issue", []byte(nil)
	if s.Spec.PrivateKey.Source == v1alpha1.KeyLocal {
		verb = "sign"
		var request []byte
		var err error
		if key, request, err = signingRequest(s.Spec.PrivateKey); err != nil {
			return source.Content{}, err
		}
		params["csr"] = string(request)
	}
	at := join(mountOf(s), verb, s.Spec.Role)
	if s.Spec.IssuerRef != "" {
		at = join(mountOf(s), "issuer", s.Spec.IssuerRef, verb, s.Spec.Role)
	}
	answer, err := server.Request(ctx, http.MethodPost, at, params)
	if err != nil {
		return source.Content{}, err
	}
	data, certificate, err := bundleOf(answer.Data, key)
	if err != nil {
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonRefused, Message: fmt.Sprintf("the answer at %s cannot be used: %v", at, err)}
	}
	state := certificateState{Request: f.request(s, server.connection), Serial: text(answer.Data["serial_number"]), NotBefore: certificate.NotBefore, NotAfter: certificate.NotAfter}
	if answer.Lease.ID != "" {
		// Vault revokes the certificate when the token ends.
		f.attach(f.holder(s), server.Session)
		state.Holder = answer.Lease.Holder
	}
	content := source.Content{Type: corev1.SecretTypeTLS, Data: data, Keys: map[string]source.Origin{}, FetchedAt: f.clock.Now(), StaleAt: certificate.NotAfter, Report: reportCertificate(state)}
	if s.Spec.Revoke {
		state.Replaced = old.Replaced
		if old.Serial != "" {
			state.Replaced = append(state.Replaced, old.Serial)
		}
	}
	for name := range data {
		content.Keys[name] = source.Origin{Path: at}
	}
	content.Next = renewalOf(s, state)
	if life, wanted := certificate.NotAfter.Sub(certificate.NotBefore), source.DurationOr(s.Spec.ExpiryOffset, 0); wanted >= life {
		content.Problem = &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: fmt.Sprintf("Vault has issued the certificate for %s only, which is not longer than expiryOffset %s: it is replaced when a third of its life is left; write a shorter expiryOffset, or allow a longer ttl in role %s", life.Round(time.Second), wanted, s.Spec.Role)}
	}
	content.State, err = written(state)
	return content, err
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// bundleOf makes the data of a Secret of an answer. key is one that was made here.
func bundleOf(answer map[string]any, key []byte) (map[string][]byte, *x509.Certificate, error) {
	leaf := []byte(strings.TrimSpace(text(answer["certificate"])) + "\n")
	block, _ := pem.Decode(leaf)
	if block == nil {
		return nil, nil, errors.New("it has no certificate as PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, errors.New("its certificate cannot be read")
	}
	if key == nil {
		key = []byte(strings.TrimSpace(text(answer["private_key"])) + "\n")
	}
	chain, _ := answer["ca_chain"].([]any)
	if len(chain) == 0 {
		chain = []any{answer["issuing_ca"]}
	}
	// Who checks the certificate has the root, and needs what is between.
	crt, root := leaf, []byte(nil)
	for _, link := range chain {
		content := []byte(strings.TrimSpace(text(link)) + "\n")
		block, _ := pem.Decode(content)
		if block == nil {
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if bytes.Equal(ca.RawIssuer, ca.RawSubject) {
			root = content
		} else {
			crt = append(crt, content...)
		}
	}
	if root == nil {
		root = []byte(strings.TrimSpace(text(answer["issuing_ca"])) + "\n")
	}
	if _, err := tls.X509KeyPair(crt, key); err != nil {
		return nil, nil, errors.New("its private key does not belong to its certificate, or is not PEM")
	}
	return map[string][]byte{corev1.TLSCertKey: crt, corev1.TLSPrivateKeyKey: key, caKey: root}, certificate, nil
}

// signingRequest makes a key and a request to sign it, both as PEM. What is to be in the certificate is in the other
// params of the request to Vault.
func signingRequest(spec v1alpha1.PrivateKey) (key, request []byte, err error) {
	signer, err := newKey(spec)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, errors.New("the private key cannot be written")
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
	if err != nil {
		return nil, nil, errors.New("the signing request cannot be made")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), nil
}

func newKey(spec v1alpha1.PrivateKey) (crypto.Signer, error) {
	// The definition of the kind has seen to it that the size fits.
	switch spec.Algorithm {
	case v1alpha1.KeyRSA:
		return rsa.GenerateKey(rand.Reader, int(cmp.Or(spec.Size, 2048)))
	case v1alpha1.KeyEd25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	curve := map[int32]elliptic.Curve{384: elliptic.P384(), 521: elliptic.P521()}[spec.Size]
	if curve == nil {
		curve = elliptic.P256()
	}
	return ecdsa.GenerateKey(curve, rand.Reader)
}

// Resume takes over the token that a certificate hangs on.
func (f pki) Resume(ctx context.Context, src v1alpha1.Source, state func() (json.RawMessage, error)) bool {
	s := src.(*v1alpha1.VaultPKISecret) //nolint:forcetypeassert // it is registered for this kind
	raw, err := state()
	if err != nil {
		return false
	}
	accessor := whole[certificateState](raw).Holder
	if accessor == "" {
		return true
	}
	server, err := f.of(ctx, s.Namespace, s.Spec.VaultAccess)
	if err != nil {
		return false
	}
	held, _ := f.holds(ctx, f.holder(s), server.Session, accessor)
	return held
}

// Discard revokes a certificate that nobody has seen. The one that it was to replace stays.
func (f pki) Discard(ctx context.Context, src v1alpha1.Source, state json.RawMessage) {
	s := src.(*v1alpha1.VaultPKISecret) //nolint:forcetypeassert // it is registered for this kind
	now := whole[certificateState](state)
	if !s.Spec.Revoke || now.Serial == "" {
		return
	}
	if err := f.revoke(ctx, s, now.Serial); err != nil {
		logrus.WithField("source", "VaultPKISecret "+s.Namespace+"/"+s.Name).WithError(err).Warn("the certificate could not be written, and is not revoked")
	}
}

// Settle revokes what was replaced.
func (f pki) Settle(ctx context.Context, src v1alpha1.Source, state json.RawMessage) (json.RawMessage, error) {
	s := src.(*v1alpha1.VaultPKISecret) //nolint:forcetypeassert // it is registered for this kind
	now := whole[certificateState](state)
	if len(now.Replaced) == 0 {
		return state, nil
	}
	if err := f.revoke(ctx, s, now.Replaced...); err != nil {
		return state, err
	}
	now.Replaced = nil
	return written(now)
}

func (f pki) revoke(ctx context.Context, s *v1alpha1.VaultPKISecret, serials ...string) error {
	server, err := f.of(ctx, s.Namespace, s.Spec.VaultAccess)
	if err != nil {
		return problemOf(err, defaultPeriod)
	}
	log := logrus.WithField("source", "VaultPKISecret "+s.Namespace+"/"+s.Name)
	for _, serial := range serials {
		_, err := server.Request(ctx, http.MethodPost, join(mountOf(s), "revoke"), map[string]any{"serial_number": serial})
		switch {
		case upstream.IsKind(err, upstream.Invalid), upstream.IsKind(err, upstream.Missing):
			log.WithField("serial", serial).Warn("the certificate cannot be revoked: Vault does not know it, or no longer; a role with no_store keeps none")
		case err != nil:
			return problemOf(err, defaultPeriod)
		default:
			log.WithField("serial", serial).Info("certificate revoked")
		}
	}
	return nil
}

// Releases says whether the certificate is revoked when the source goes.
func (f pki) Releases(src v1alpha1.Source) bool {
	return src.(*v1alpha1.VaultPKISecret).Spec.Revoke //nolint:forcetypeassert // it is registered for this kind
}

// Release revokes the certificate, and those before it that are not revoked yet.
func (f pki) Release(ctx context.Context, src v1alpha1.Source, state json.RawMessage) error {
	now := whole[certificateState](state)
	if now.Serial == "" {
		return nil
	}
	//nolint:forcetypeassert // it is registered for this kind
	return f.revoke(ctx, src.(*v1alpha1.VaultPKISecret), append(now.Replaced, now.Serial)...)
}

// Forget lets the token go that a certificate hung on.
func (f pki) Forget(namespace, name string) { f.detach(holder{pkiKind, namespace, name}) }

func (f pki) holder(s *v1alpha1.VaultPKISecret) holder { return holder{pkiKind, s.Namespace, s.Name} }
