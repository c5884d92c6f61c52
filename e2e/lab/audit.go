package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// OperatorUser is who the operator under test is to the hub. The audit log has
// its reads too; of all others it has the writes.
const OperatorUser = "system:serviceaccount:fleet-handshake-system:fleet-handshake"

// AuditEvent is one entry of a cluster's audit log.
type AuditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	// Received is when the API server got the request, and Answered when it
	// was done with it.
	Received time.Time `json:"requestReceivedTimestamp"`
	Answered time.Time `json:"stageTimestamp"`
}

// Writes says whether the request was to change something.
func (e AuditEvent) Writes() bool {
	return !slices.Contains([]string{"get", "list", "watch"}, e.Verb)
}

// Of says whether the request was for an object; sub is the subresource, and
// no name is any.
func (e AuditEvent) Of(resource, sub, name string) bool {
	r := e.ObjectRef
	return r.Resource == resource && r.Subresource == sub && (name == "" || r.Name == name)
}

func (e AuditEvent) String() string {
	r := e.ObjectRef
	return fmt.Sprintf("%s %s %s/%s: %d", e.Verb, strings.TrimSuffix(r.Resource+"/"+r.Subresource, "/"), r.Namespace, r.Name, e.ResponseStatus.Code)
}

// AuditSince reads the entries after a position of the audit log that keep
// picks, in the order in which the API server got the requests, and returns the
// position after them.
func (c *Cluster) AuditSince(position int64, keep func(AuditEvent) bool) ([]AuditEvent, int64, error) {
	file, err := os.Open(c.AuditLog)
	if err != nil {
		return nil, position, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(position, 0); err != nil {
		return nil, position, fmt.Errorf("reading the audit log: %w", err)
	}
	var out []AuditEvent
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			slices.SortStableFunc(out, func(a, b AuditEvent) int { return a.Received.Compare(b.Received) })
			return out, position, nil
		}
		position += int64(len(line))
		var e AuditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, position, fmt.Errorf("reading the audit log: %w", err)
		}
		if keep(e) {
			out = append(out, e)
		}
	}
}

// AuditEnd is the position at the end of the audit log.
func (c *Cluster) AuditEnd() (int64, error) {
	info, err := os.Stat(c.AuditLog)
	if err != nil {
		return 0, fmt.Errorf("finding the end of the audit log: %w", err)
	}
	return info.Size(), nil
}

// ByOperator keeps the writes of the operator, but for those of its Lease.
func ByOperator(e AuditEvent) bool {
	return e.User.Username == OperatorUser && e.Writes() && e.ObjectRef.Resource != "leases"
}
