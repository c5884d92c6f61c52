package vault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Request is one request that Vault answered, as its audit log has it.
type Request struct {
	// Time of the answer.
	Time time.Time
	// Operation is read, list, update, create or delete.
	Operation string
	// Path is without v1/ at the beginning.
	Path string
	// Who is the display name of the token, such as approle or root.
	Who string
	// Error is why Vault refused; it is empty when it did not.
	Error string
}

// Requests returns all requests that were answered since the audit log exists,
// in the order of the answers. Vault writes an answer down before it gives it.
// Health checks, and requests that need no token and change nothing, are not in
// the log.
func (s *Server) Requests() ([]Request, error) {
	content, err := os.ReadFile(s.AuditLog)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return requests(content)
}

// requests reads an audit log. Its last line may not be complete yet.
func requests(content []byte) ([]Request, error) {
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	var all []Request
	for line := range bytes.Lines(content) {
		var entry struct {
			Time  time.Time `json:"time"`
			Type  string    `json:"type"`
			Error string    `json:"error"`
			Auth  struct {
				DisplayName string `json:"display_name"`
			} `json:"auth"`
			Request struct {
				Operation string `json:"operation"`
				Path      string `json:"path"`
			} `json:"request"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if entry.Type != "response" {
			continue
		}
		all = append(all, Request{
			Time: entry.Time, Operation: entry.Request.Operation, Path: entry.Request.Path, Who: entry.Auth.DisplayName, Error: entry.Error,
		})
	}
	return all, nil
}
