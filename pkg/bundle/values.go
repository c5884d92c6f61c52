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
	"maps"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// nonceKey is the key of the values Secret that every target gets (Fleet 0.16.0, pkg/helmvalues). It holds the
	// nonce alone, so that a cluster which is to have nothing gets no secret.
	nonceKey = "values.yaml"
	// ValuesKey is the key that the targets of this name get: the Secrets.
	ValuesKey = "deliver"
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
	// ErrImmutable says that the copies are immutable and would have to be recreated.
	ErrImmutable = errors.New("immutable")
	// ErrTypeChanged says that the copies are of another type and would have to be recreated.
	ErrTypeChanged = errors.New("type changed")
	// ErrNeverSend says that the owner of the Secret does not want it to be sent.
	ErrNeverSend = errors.New("never to be sent")
	// ErrUnsupportedMetadata says that a label or an annotation cannot be carried.
	ErrUnsupportedMetadata = errors.New("unsupported metadata")
	// ErrNoKeys says that the Secret has none of the keys that may travel.
	ErrNoKeys = errors.New("no keys")
)

// neverSent are the types that ErrUnsupportedType speaks of; a trailing slash stands for all that begins so.
var neverSent = []string{
	string(corev1.SecretTypeServiceAccountToken),
	string(corev1.SecretTypeBootstrapToken),
	"helm.sh/",
	"fleet.cattle.io/",
}

// clusterLabels begins a plain string value that Fleet replaces by a label of the cluster (Fleet 0.16.0, processLabelValues).
const clusterLabels = "global.fleet.clusterLabels."

// requiredKeys are the keys without which the API server refuses a Secret of a type (Kubernetes 1.36,
// pkg/apis/core/validation).
var requiredKeys = map[corev1.SecretType][]string{
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
}

// strippedMetadata are the labels and annotations that are not copied, because they change how Helm, Fleet or kubectl
// treat the object, or because they are the operator's own; a trailing slash stands for all with that prefix, and covers its subdomains.
var strippedMetadata = []string{
	"helm.sh/",
	"meta.helm.sh/",
	"app.kubernetes.io/managed-by",
	"objectset.rio.cattle.io/",
	"kubectl.kubernetes.io/last-applied-configuration",
	"cattle.io/",
	"fleethandshake.io/",
}

// values is what the constant chart ranges over. Labels and annotations are base64 like the data: Fleet replaces every
// plain string value that begins with "global.fleet.clusterLabels.", even with disablePreProcess.
type values struct {
	// Source is namespace/name of what the Secrets were made from. The chart does not look at it.
	Source  string   `json:"source,omitempty"`
	Secrets []secret `json:"secrets"`
}

// nonce is random and stable as long as the values are. Fleet's hashes of the values are public and unsalted; without a
// nonce a short secret could be guessed from them.
type nonce struct {
	Nonce string `json:"nonce"`
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
	// Revision is a hash of the content, keyed with the nonce; empty when there are no Secrets.
	Revision string
	// Source is namespace/name of what they were made from, and Keys are its keys that travel, sorted.
	Source string
	Keys   []string
	// Names are the names of the Secrets that arrive downstream.
	Names []string
}

// Terms are what a Secret is sent under.
type Terms struct {
	// Keys are those that may travel; nil stands for all.
	Keys []string
	// Replace is true when copies may be recreated that cannot be changed in place.
	Replace bool
}

// Seal makes the values for source. When previous, the data of the values Secret as it is now, already says the same,
// then it is returned with its nonce; otherwise the nonce is taken from newNonce. Errors are those above, each with a
// sentence for people that holds no secret.
func Seal(source *corev1.Secret, previous map[string][]byte, terms Terms, newNonce func() string) (Sealed, error) {
	if NeverSend(source) {
		return Sealed{}, fmt.Errorf("%w: its owner has marked it with %s", ErrNeverSend, v1alpha1.NeverSend)
	}
	for _, never := range neverSent {
		t := string(source.Type)
		if t == never || strings.HasSuffix(never, "/") && strings.HasPrefix(t, never) {
			return Sealed{}, fmt.Errorf("%w: Secrets of type %s are never sent; copy the keys that you need into a Secret of type Opaque", ErrUnsupportedType, t)
		}
	}
	if strings.HasPrefix(string(source.Type), clusterLabels) || !carried(string(source.Type)) {
		return Sealed{}, fmt.Errorf("%w: the type has a control character, or begins with %s, which Fleet replaces; use another type, for example Opaque", ErrUnsupportedType, clusterLabels)
	}
	for _, set := range []map[string]string{source.Labels, source.Annotations} {
		for key, value := range set {
			if !stripped(key) && !carried(value) {
				return Sealed{}, fmt.Errorf("%w: the label or annotation %s has a control character, which Helm cannot carry; remove it", ErrUnsupportedMetadata, key)
			}
		}
	}
	data := nonNil(source.Data)
	if terms.Keys != nil {
		maps.DeleteFunc(data, func(key string, _ []byte) bool { return !slices.Contains(terms.Keys, key) })
		if len(data) == 0 {
			return Sealed{}, fmt.Errorf("%w: it has none of the keys that its SecretGrant lets travel (%s)", ErrNoKeys, strings.Join(terms.Keys, ", "))
		}
		for _, key := range requiredKeys[source.Type] {
			if _, ok := data[key]; !ok {
				return Sealed{}, fmt.Errorf("%w: a Secret of type %s needs key %s, which its SecretGrant does not let travel", ErrNoKeys, source.Type, key)
			}
		}
	}
	v := values{Source: source.Namespace + "/" + source.Name, Secrets: []secret{{
		Name:        source.Name,
		Type:        string(source.Type),
		Immutable:   source.Immutable != nil && *source.Immutable,
		Labels:      copyMetadata(source.Labels),
		Annotations: copyMetadata(source.Annotations),
		Data:        data,
	}}}
	if n, before, old, err := open(previous); err == nil {
		if again := seal(n, v); again.Hash == old.Hash {
			return old, nil
		}
		if err := replaceable(before, v); err != nil && !terms.Replace {
			return Sealed{}, err
		}
	}
	sealed := seal(nonce{newNonce()}, v)
	if size := len(sealed.Data[ValuesKey]); size > MaxValues {
		return Sealed{}, fmt.Errorf("%w: the Secret makes %d KiB of values and a Bundle takes %d KiB; split it into smaller Secrets, each with a FleetHandshake of its own", ErrTooLarge, (size+1023)/1024, MaxValues/1024)
	}
	return sealed, nil
}

// SealNothing makes values without any Secret, for clusters that are to remove what they have.
func SealNothing(previous map[string][]byte, newNonce func() string) Sealed {
	if n, v, old, err := open(previous); err == nil {
		if len(v.Secrets) == 0 {
			return old
		}
		return seal(n, values{})
	}
	return seal(nonce{newNonce()}, values{})
}

// carried says whether Helm and Fleet carry a text as it is. They read YAML in which these characters are not escaped
// (Fleet 0.16.0 with Helm 4.2): some become a space, and the others are an error.
func carried(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff
	})
}

// NeverSend says whether the owner of a Secret has marked it as never to be sent.
func NeverSend(source metav1.Object) bool {
	return source.GetLabels()[v1alpha1.NeverSend] == "true" || source.GetAnnotations()[v1alpha1.NeverSend] == "true"
}

// replaceable says whether the API server takes now as an update of before.
func replaceable(before, now values) error {
	for _, b := range before.Secrets {
		for _, n := range now.Secrets {
			switch {
			case b.Name != n.Name:
			case typeOf(b) != typeOf(n):
				return fmt.Errorf("%w: the copies are of type %s and the Secret is of type %s, which no update can change; set spec.replacePolicy to Recreate to have each copy deleted and made anew", ErrTypeChanged, typeOf(b), typeOf(n))
			case b.Immutable && (!n.Immutable || !maps.EqualFunc(b.Data, n.Data, bytes.Equal)):
				return fmt.Errorf("%w: the copies are immutable; set spec.replacePolicy to Recreate to have each copy deleted and made anew", ErrImmutable)
			}
		}
	}
	return nil
}

func typeOf(s secret) string {
	if s.Type == "" {
		return string(corev1.SecretTypeOpaque)
	}
	return s.Type
}

// Open reads the data of a values Secret that Seal has made. It fails when the data is not of that form.
func Open(data map[string][]byte) (Sealed, error) {
	_, _, sealed, err := open(data)
	return sealed, err
}

func open(data map[string][]byte) (nonce, values, Sealed, error) {
	var n nonce
	var v values
	err := decode(data[nonceKey], &n)
	if data[ValuesKey] != nil {
		err = errors.Join(err, decode(data[ValuesKey], &v))
	}
	if err != nil || n.Nonce == "" {
		return nonce{}, values{}, Sealed{}, errors.New("the values Secret does not hold values of this operator")
	}
	sealed := seal(n, v)
	if !maps.EqualFunc(sealed.Data, data, bytes.Equal) {
		return nonce{}, values{}, Sealed{}, errors.New("the values Secret was changed by hand")
	}
	return n, v, sealed, nil
}

// decode reads strictly. The decoder's own error is dropped: it can quote the input.
func decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode(into) != nil {
		return errors.New("not of the expected form")
	}
	return nil
}

func seal(n nonce, v values) Sealed {
	sealed := Sealed{Data: map[string][]byte{nonceKey: mustJSON(n)}}
	if len(v.Secrets) > 0 {
		sealed.Data[ValuesKey] = mustJSON(v)
		mac := hmac.New(sha256.New, []byte(n.Nonce))
		mac.Write(mustJSON(v.Secrets))
		sealed.Revision = hex.EncodeToString(mac.Sum(nil))[:revisionLen]
	}
	sum := sha256.Sum256(mustJSON(sealed.Data))
	sealed.Hash = hex.EncodeToString(sum[:])
	sealed.Source = v.Source
	for _, s := range v.Secrets {
		sealed.Names = append(sealed.Names, s.Name)
		sealed.Keys = append(sealed.Keys, slices.Sorted(maps.Keys(s.Data))...)
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
