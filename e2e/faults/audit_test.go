package faults

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/stretchr/testify/require"
)

// calm is how long nothing must be asked for or written, and nothing fail, to show that no loop is left.
const calm = 3 * time.Second

func auditEnd(t *testing.T) int64 {
	t.Helper()
	position, err := world.Hub.AuditEnd()
	require.NoError(t, err)
	return position
}

// requestsSince are those of operators after a position of the audit log, but for watches and those of the Lease.
func requestsSince(t *testing.T, position int64) []lab.AuditEvent {
	t.Helper()
	requests, _, err := world.Hub.AuditSince(position, func(e lab.AuditEvent) bool {
		return e.User.Username == lab.OperatorUser && e.Verb != "watch" && e.ObjectRef.Resource != "leases"
	})
	require.NoError(t, err)
	return requests
}

// comesToRest fails when the operator does not stop asking, writing, or logging errors.
func comesToRest(t *testing.T) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		position, logged := auditEnd(t), len(logs.String())
		// What is shown is that nothing happens in this time.
		select {
		case <-time.After(calm):
		case <-ctx.Done():
		}
		if requests := requestsSince(t, position); len(requests) > 0 {
			return fmt.Errorf("%d requests in %s, for example %s", len(requests), calm, requests[len(requests)-1])
		}
		if errors := errorsIn(logs.String()[logged:]); len(errors) > 0 {
			return fmt.Errorf("%d errors in %s, for example %s", len(errors), calm, errors[len(errors)-1])
		}
		return nil
	})
}

// errorsIn are the lines that tell of errors, those of client-go among them.
func errorsIn(log string) []string {
	var out []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=error") || strings.HasPrefix(line, "E") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
