package safe

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// The paths are compared with the decoded path of a request. That of reveal has
// a question mark, which no query is: it comes only as %3F.
const (
	pathKeystone = "/sentinel/v1/keystone"
	pathSecrets  = "/sentinel/v1/secrets"
	pathReveal   = "/sentinel/v1/secrets?reveal=true"
	pathKeys     = "/sentinel/v1/keys"
	pathWorkload = "/workload/v1/secrets"
)

const (
	ok    = "OK"
	notOK = "NOK!"
)

// call is one request with what is known of it.
type call struct {
	w http.ResponseWriter
	r *http.Request
	// id is the SPIFFE ID of who has sent it.
	id string
	// rootKey and database are as they were when it came.
	rootKey, database bool
}

// answer writes a status with a text.
func (c call) answer(status int, text string) {
	c.w.WriteHeader(status)
	_, _ = io.WriteString(c.w, text)
}

func (c call) json(value any) {
	content, err := json.Marshal(value)
	if err != nil {
		c.answer(http.StatusInternalServerError, "Problem unmarshalling response")
		return
	}
	_, _ = c.w.Write(content)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	// Safe looks at its own identity first, and panics when it is not Safe's.
	if own, err := s.source.GetX509SVID(); err != nil || !s.isWorkload(own.ID.String()) || !s.safe.MatchString(own.ID.String()) {
		panic(http.ErrAbortHandler)
	}
	id, err := x509svid.IDFromCert(r.TLS.PeerCertificates[0])
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.Path, ID: id.String()})
	c := call{w: w, r: r, id: id.String(), rootKey: s.rootKey, database: s.database}
	fault := s.fault
	s.mu.Unlock()
	if fault.serve(c) {
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + pathKeystone:
		s.keystone(c)
	case "GET " + pathReveal:
		s.list(c, true)
	case "GET " + pathSecrets:
		s.list(c, false)
	case "POST " + pathSecrets:
		s.upsert(c)
	case "DELETE " + pathSecrets:
		s.remove(c)
	case "POST " + pathKeys:
		s.keys(c)
	case "GET " + pathWorkload:
		s.fetch(c)
	case "POST " + pathWorkload:
		panic(http.ErrAbortHandler) // "not implemented", without a trace in the log of a test
	default:
		c.answer(http.StatusBadRequest, "")
	}
}

// ready answers when Safe is not.
func (c call) ready() bool {
	if !c.rootKey {
		c.answer(http.StatusBadRequest, "")
		return false
	}
	return c.databaseReady()
}

func (c call) databaseReady() bool {
	if !c.database {
		c.answer(http.StatusServiceUnavailable, notOK)
	}
	return c.database
}

// fetch gives a workload its secret, and scout all raw ones. For scout only the
// name in the SPIFFE ID counts, and not namespace and service account.
func (s *Server) fetch(c call) {
	if !c.ready() {
		return
	}
	type response struct {
		Data    string `json:"data"`
		Created string `json:"created"`
		Updated string `json:"updated"`
		Err     string `json:"err,omitempty"`
	}
	if name := s.nameOf(c.id); name != ScoutName {
		secret, there := s.Get(name)
		if !there {
			c.answer(http.StatusNotFound, "")
			return
		}
		c.json(response{Data: secret.seen(), Created: quoted(secret.Created), Updated: quoted(secret.Updated)})
		return
	}
	var raw []Stored
	for _, secret := range s.all() {
		if strings.HasPrefix(secret.Name, "raw:") {
			raw = append(raw, secret)
		}
	}
	switch len(raw) {
	case 0:
		c.answer(http.StatusNotFound, "")
	case 1:
		c.json(response{Data: raw[0].seen()})
	default:
		list, err := json.Marshal(raw)
		if err != nil {
			list = nil
		}
		c.json(response{Data: string(list)})
	}
}

// quoted is a date with quotes in the text itself.
func quoted(date time.Time) string { return `"` + date.Format(time.RFC3339) + `"` }

func (s *Server) keystone(c call) {
	if !c.ready() || !s.onlySentinel(c) {
		return
	}
	status := "pending"
	if _, there := s.Get("vsecm-keystone"); there {
		status = "ready"
	}
	c.json(map[string]string{"status": status})
}

func (s *Server) onlySentinel(c call) bool {
	if !s.isSentinel(c.id) {
		c.answer(http.StatusBadRequest, "")
		return false
	}
	return true
}

// list gives the names with dates, and with reveal the values, encrypted. It
// does not ask for the database.
func (s *Server) list(c call, reveal bool) {
	if !c.rootKey {
		c.answer(http.StatusBadRequest, "")
		return
	}
	if !s.onlySentinel(c) {
		return
	}
	secrets := []map[string]any{}
	for _, secret := range s.all() {
		line := map[string]any{
			"name": secret.Name, "created": secret.Created.Format(time.RFC3339), "updated": secret.Updated.Format(time.RFC3339),
			"notBefore": secret.NotBefore.Format(time.RFC3339), "expiresAfter": secret.ExpiresAfter.Format(time.RFC3339),
		}
		if reveal {
			line["value"] = []string{s.cipher.encrypt(secret.Value)}
		}
		secrets = append(secrets, line)
	}
	out := map[string]any{"secrets": secrets}
	if reveal {
		out["algorithm"] = "age"
	}
	c.json(out)
}

// upsert stores a value under each name, and writes OK for each.
func (s *Server) upsert(c call) {
	if !c.rootKey {
		c.answer(http.StatusBadRequest, notOK)
		return
	}
	if !s.isSentinel(c.id) && !s.isScout(c.id) {
		c.answer(http.StatusBadRequest, "")
		return
	}
	var in struct {
		Workloads  []string `json:"workloads"`
		Namespaces []string `json:"namespaces"`
		Value      string   `json:"value"`
		Template   string   `json:"template"`
		Format     string   `json:"format"`
		Encrypt    bool     `json:"encrypt"`
		NotBefore  string   `json:"notBefore"`
		Expires    string   `json:"expires"`
	}
	if !c.read(&in) {
		return
	}
	own := len(in.Workloads) > 0 && in.Workloads[0] == SafeName
	if !own && !c.databaseReady() {
		return
	}
	switch {
	case len(in.Workloads) == 0 && in.Encrypt:
		if s.onlySentinel(c) {
			_, _ = io.WriteString(c.w, s.cipher.encrypt(in.Value))
		}
		return
	case in.Encrypt:
		var err error
		if in.Value, err = s.cipher.decrypt(in.Value); err != nil {
			c.answer(http.StatusInternalServerError, "")
			return
		}
	}
	if len(in.Namespaces) == 0 {
		in.Namespaces = []string{"default"}
	}
	for _, name := range in.Workloads {
		s.Put(Stored{
			Name: name, Value: in.Value, Meta: Meta{Namespaces: in.Namespaces, Template: in.Template, Format: in.Format, CorrelationID: "test"},
			NotBefore: dateOr(in.NotBefore, time.Now()), ExpiresAfter: dateOr(in.Expires, Never),
		})
		_, _ = io.WriteString(c.w, ok)
	}
}

// dateOr reads a date. What is none, such as now and never, stands for another
// one, and is no error.
func dateOr(text string, otherwise time.Time) time.Time {
	if date, err := time.Parse(time.RFC3339, text); err == nil {
		return date
	}
	return otherwise
}

// read decodes the body, or answers 400.
func (c call) read(into any) bool {
	content, err := io.ReadAll(c.r.Body)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		c.answer(http.StatusBadRequest, "")
	}
	return err == nil
}

func (s *Server) remove(c call) {
	if !c.ready() || !s.onlySentinel(c) {
		return
	}
	var in struct {
		Workloads []string `json:"workloads"`
	}
	if !c.read(&in) || len(in.Workloads) == 0 {
		return
	}
	for _, name := range in.Workloads {
		s.Delete(name)
	}
	_, _ = io.WriteString(c.w, ok)
}

// keys gives Safe its root key.
func (s *Server) keys(c call) {
	if !s.onlySentinel(c) || !c.databaseReady() {
		return
	}
	var in struct {
		Secret string `json:"ageSecretKey"`
		Public string `json:"agePublicKey"`
		Cipher string `json:"aesCipherKey"`
	}
	if !c.read(&in) {
		return
	}
	if strings.TrimSpace(in.Secret) == "" || strings.TrimSpace(in.Public) == "" || strings.TrimSpace(in.Cipher) == "" {
		return
	}
	s.SetRootKey(true)
	_, _ = io.WriteString(c.w, ok)
}
