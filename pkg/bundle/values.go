package bundle

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// ValuesKey is the key of the values Secret that every target gets (Fleet 0.16.0, pkg/helmvalues).
	ValuesKey = "values.yaml"
	// MaxValues is the largest size of the values in bytes. Fleet stores them twice in one Secret of at most 1 MiB.
	MaxValues = 256 * 1024

	revisionLen = 12
)

var (
	// ErrUnsupportedType says that Secrets of this type are never sent: they are credentials of the hub itself, or
	// belong to Helm or Fleet.
	ErrUnsupportedType = errors.New("unsupported type")
	// ErrTooLarge says that the Secret does not fit into MaxValues.
	ErrTooLarge = errors.New("too large")
)

// neverSent are the types that ErrUnsupportedType speaks of; a trailing slash stands for all that begins so.
var neverSent = []string{
	string(corev1.SecretTypeServiceAccountToken),
	string(corev1.SecretTypeBootstrapToken),
	"helm.sh/",
	"fleet.cattle.io/",
}

// strippedMetadata are the labels and annotations that are not copied, because they change how Helm, Fleet or kubectl
// treat the object; a trailing slash stands for all with that prefix, and covers its subdomains.
var strippedMetadata = []string{
	"helm.sh/",
	"meta.helm.sh/",
	"app.kubernetes.io/managed-by",
	"objectset.rio.cattle.io/",
	"kubectl.kubernetes.io/last-applied-configuration",
	"cattle.io/",
}

// values is what the constant chart ranges over. Labels and annotations are base64 like the data: Fleet replaces every
// plain string value that begins with "global.fleet.clusterLabels.", even with disablePreProcess.
type values struct {
	// Nonce is random and stable as long as Secrets is. Fleet's hashes of the values are public and unsalted;
	// without a nonce a short secret could be guessed from them.
	Nonce   string   `json:"nonce"`
	Secrets []secret `json:"secrets"`
}

type secret struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Immutable   bool              `json:"immutable,omitempty"`
	Labels      map[string][]byte `json:"labels,omitempty"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
	Data        map[string][]byte `json:"data"`
}

// Sealed is the content of a values Secret, with what may be said of it in public.
type Sealed struct {
	// Data is the data map of the values Secret. It is secret.
	Data map[string][]byte
	// Hash is the Bundle's spec.valuesHash: hex SHA-256 of the JSON of Data (Fleet 0.16.0, pkg/helmvalues). It can
	// be public because Data holds a nonce.
	Hash string
	// Revision is a hash of the content, keyed with the nonce.
	Revision string
	// Names are the names of the Secrets that arrive downstream.
	Names []string
}

// Seal makes the values for source. When previous, the data of the values Secret as it is now, already says the same,
// then it is returned with its nonce; otherwise the nonce is taken from newNonce. Errors are ErrUnsupportedType and
// ErrTooLarge, with a sentence for people that holds no secret.
func Seal(source *corev1.Secret, previous map[string][]byte, newNonce func() string) (Sealed, error) {
	for _, never := range neverSent {
		t := string(source.Type)
		if t == never || strings.HasSuffix(never, "/") && strings.HasPrefix(t, never) {
			return Sealed{}, fmt.Errorf("%w: Secrets of type %s are never sent; copy the keys that you need into a Secret of type Opaque", ErrUnsupportedType, t)
		}
	}
	content := []secret{{
		Name:        source.Name,
		Type:        string(source.Type),
		Immutable:   source.Immutable != nil && *source.Immutable,
		Labels:      copyMetadata(source.Labels),
		Annotations: copyMetadata(source.Annotations),
		Data:        nonNil(source.Data),
	}}
	if v, old, err := open(previous); err == nil {
		if again := seal(values{Nonce: v.Nonce, Secrets: content}); again.Hash == old.Hash {
			return old, nil
		}
	}
	sealed := seal(values{Nonce: newNonce(), Secrets: content})
	if size := len(sealed.Data[ValuesKey]); size > MaxValues {
		return Sealed{}, fmt.Errorf("%w: the Secret makes %d KiB of values and a Bundle takes %d KiB; split it into smaller Secrets, each with a FleetHandshake of its own", ErrTooLarge, (size+1023)/1024, MaxValues/1024)
	}
	return sealed, nil
}

// Open reads the data of a values Secret that Seal has made. It fails when the data is not of that form.
func Open(data map[string][]byte) (Sealed, error) {
	_, sealed, err := open(data)
	return sealed, err
}

func open(data map[string][]byte) (values, Sealed, error) {
	var v values
	decoder := json.NewDecoder(bytes.NewReader(data[ValuesKey]))
	decoder.DisallowUnknownFields()
	// The decoder's own error is dropped: it can quote the input.
	if err := decoder.Decode(&v); err != nil || v.Nonce == "" || len(v.Secrets) == 0 {
		return values{}, Sealed{}, errors.New("the values Secret does not hold values of this operator")
	}
	sealed := seal(v)
	if len(data) != 1 || !bytes.Equal(sealed.Data[ValuesKey], data[ValuesKey]) {
		return values{}, Sealed{}, errors.New("the values Secret was changed by hand")
	}
	return v, sealed, nil
}

func seal(v values) Sealed {
	sealed := Sealed{Data: map[string][]byte{ValuesKey: mustJSON(v)}}
	sum := sha256.Sum256(mustJSON(sealed.Data))
	sealed.Hash = hex.EncodeToString(sum[:])
	mac := hmac.New(sha256.New, []byte(v.Nonce))
	mac.Write(mustJSON(v.Secrets))
	sealed.Revision = hex.EncodeToString(mac.Sum(nil))[:revisionLen]
	for _, s := range v.Secrets {
		sealed.Names = append(sealed.Names, s.Name)
	}
	return sealed
}

func copyMetadata(from map[string]string) map[string][]byte {
	to := map[string][]byte{}
	for key, value := range from {
		if !stripped(key) {
			to[key] = []byte(value)
		}
	}
	return to
}

func stripped(key string) bool {
	for _, s := range strippedMetadata {
		domain, isPrefix := strings.CutSuffix(s, "/")
		keyDomain, _, hasDomain := strings.Cut(key, "/")
		switch {
		case key == s:
			return true
		case isPrefix && hasDomain && (keyDomain == domain || strings.HasSuffix(keyDomain, "."+domain)):
			return true
		}
	}
	return false
}

// mustJSON is deterministic: encoding/json sorts map keys and writes []byte as base64. It cannot fail for the types here.
func mustJSON(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic("bundle: values cannot be encoded")
	}
	return out
}

func nonNil(m map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(m))
	for k, v := range m {
		if v == nil {
			v = []byte{}
		}
		out[k] = v
	}
	return out
}

// Nonce encodes random bytes as a nonce. Sixteen bytes are enough.
func Nonce(random []byte) string {
	return base64.RawURLEncoding.EncodeToString(random)
}
