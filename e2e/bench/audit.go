package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// write is one entry of the hub's audit log.
type write struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	// Received is when the API server got the request, and Answered when it was done with it.
	Received time.Time `json:"requestReceivedTimestamp"`
	Answered time.Time `json:"stageTimestamp"`
}

func (w write) String() string {
	return fmt.Sprintf("%s %s/%s %s/%s: %d", w.Verb, w.ObjectRef.Resource, w.ObjectRef.Subresource, w.ObjectRef.Namespace, w.ObjectRef.Name, w.ResponseStatus.Code)
}

// of says whether the write was one to an object; sub is the subresource, and no name is any.
func (w write) of(resource, sub, name string) bool {
	r := w.ObjectRef
	return r.Resource == resource && r.Subresource == sub && (name == "" || r.Name == name)
}

// auditEnd is the position at the end of the audit log.
func (b *bench) auditEnd() (int64, error) {
	info, err := os.Stat(b.lab.Hub.AuditLog)
	if err != nil {
		return 0, fmt.Errorf("finding the end of the audit log: %w", err)
	}
	return info.Size(), nil
}

// writesSince are the writes after a position of the audit log, leases aside, that keep picks by their line, in the
// order in which the API server got them.
func (b *bench) writesSince(position int64, keep func(line []byte) bool) ([]write, error) {
	file, err := os.Open(b.lab.Hub.AuditLog)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(position, 0); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	var out []write
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			slices.SortStableFunc(out, func(a, b write) int { return a.Received.Compare(b.Received) })
			return out, nil
		}
		if !keep(line) {
			continue
		}
		var w write
		if err := json.Unmarshal(line, &w); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if w.ObjectRef.Resource != "leases" {
			out = append(out, w)
		}
	}
}

var operatorMark = []byte(`"username":"` + operatorUser + `"`)

// byOperator keeps the writes of the operator.
func byOperator(line []byte) bool { return bytes.Contains(line, operatorMark) }

// leastGap is the shortest time between two of the times, which are in order; zero when there are less than two.
func leastGap(times []time.Time) time.Duration {
	var least time.Duration
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); i == 1 || gap < least {
			least = gap
		}
	}
	return least
}

// most is the largest number of the times, which are in order, in any window that begins with one of them and ends
// before that plus d.
func most(times []time.Time, d time.Duration) int {
	n, end := 0, 0
	for i, t := range times {
		for end < len(times) && times[end].Before(t.Add(d)) {
			end++
		}
		n = max(n, end-i)
	}
	return n
}
