package safe

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"
)

// Never is what Safe stores for a secret that does not expire.
var Never = time.Date(9999, time.December, 31, 23, 59, 59, 999999999, time.UTC)

// Stored is a secret as Safe has it, and shows it to scout.
type Stored struct {
	Name string `json:"name"`
	// Value is what was written, ValueTransformed what workloads see.
	Value            string    `json:"value"`
	ValueTransformed string    `json:"valueTransformed"`
	Meta             Meta      `json:"meta"`
	Created          time.Time `json:"created"`
	Updated          time.Time `json:"updated"`
	// NotBefore and ExpiresAfter are kept, and nothing is done about them.
	NotBefore    time.Time `json:"notBefore"`
	ExpiresAfter time.Time `json:"expiresAfter"`
}

// Meta says how a value becomes what workloads see. Format has no small letter
// in JSON: Safe's has no tag.
type Meta struct {
	Namespaces []string `json:"namespaces"`
	Template   string   `json:"template"`
	// Format is json, yaml or raw.
	Format        string `json:"Format"`
	CorrelationID string `json:"correlationId"`
}

// seen is the value for a workload.
func (s Stored) seen() string {
	if s.ValueTransformed != "" {
		return s.ValueTransformed
	}
	return s.Value
}

// Put stores a secret, with the dates of now, and transforms its value. One
// without a value is not stored. A name with k8s: is a name like any other here.
func (s *Server) Put(secret Stored) {
	if secret.Value == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	secret.Created, secret.Updated = now, now
	if before, there := s.secrets[secret.Name]; there {
		secret.Created = before.Created
	}
	if secret.ExpiresAfter.IsZero() {
		secret.ExpiresAfter = Never
	}
	secret.ValueTransformed = transform(strings.TrimSpace(secret.Value), secret.Meta)
	s.secrets[secret.Name] = secret
}

// Get gives the secret with a name.
func (s *Server) Get(name string) (Stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, there := s.secrets[name]
	return secret, there
}

// Delete removes the secret with a name.
func (s *Server) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, name)
}

// all gives all secrets in no order, as Safe does.
func (s *Server) all() []Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Stored
	for _, secret := range s.secrets {
		out = append(out, secret)
	}
	return out
}

// transform applies template and format. What cannot be done is left out, and
// nobody is told.
func transform(value string, meta Meta) string {
	out := value
	if meta.Template != "" {
		out = execute(meta.Template, value)
	}
	switch meta.Format {
	case "json":
		if !json.Valid([]byte(out)) {
			return value
		}
	case "yaml":
		if converted, err := yaml.JSONToYAML([]byte(out)); err == nil && json.Valid([]byte(out)) {
			return string(converted)
		}
	case "raw":
	default:
		return ""
	}
	return out
}

// execute gives the value itself when the template is broken.
func execute(text, value string) string {
	var data any
	var out bytes.Buffer
	parsed, err := template.New("").Parse(text)
	if err != nil || json.Unmarshal([]byte(value), &data) != nil || parsed.Execute(&out, data) != nil {
		return value
	}
	return out.String()
}

// cipherer stands for Safe's encryption. Nobody outside can read what it makes.
type cipherer struct{ cipher.AEAD }

func newCipherer() (cipherer, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return cipherer{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return cipherer{}, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	return cipherer{gcm}, err
}

func (c cipherer) encrypt(text string) string {
	return base64.StdEncoding.EncodeToString(c.Seal(nil, nil, []byte(text), nil))
}

func (c cipherer) decrypt(text string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", err
	}
	plain, err := c.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", errors.New("it was not encrypted here")
	}
	return string(plain), nil
}
