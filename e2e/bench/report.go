package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

const (
	cpuSeconds    = "process_cpu_seconds_total"
	reconcileTime = "lasso_controller_reconcile_time_seconds"
	ourHandler    = `handler_name="fleet-handshake"`
)

// report is the table of the measurement "fleet".
type report struct {
	// load is the load average of the machine before the benchmark: other programs make it slower.
	load   string
	lines  []string
	failed []string

	// sizeUnsynced and sizeSynced are those of the largest handshake, in bytes.
	sizeUnsynced, sizeSynced int
}

func newReport() (*report, error) {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil, fmt.Errorf("reading the load of the machine: %w", err)
	}
	return &report{load: strings.Fields(string(load))[0]}, nil
}

func (r *report) section(format string, args ...any) {
	r.lines = append(r.lines, "", fmt.Sprintf(format, args...))
}

func (r *report) row(what, format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf("  %-52s %s", what, fmt.Sprintf(format, args...)))
}

// limited is a row that fails the benchmark unless it is good.
func (r *report) limited(good bool, what, format string, args ...any) {
	verdict := "ok"
	if !good {
		verdict = "FAILED"
		r.failed = append(r.failed, what)
	}
	r.row(what, format+"   "+verdict, args...)
}

// work has the rows about the work of the operator between two states of its metrics.
func (r *report) work(before, after metrics) {
	r.row("CPU time of the operator", "%.2f s", after.sum(cpuSeconds, "")-before.sum(cpuSeconds, ""))
	d := after.histogram(reconcileTime, ourHandler).since(before.histogram(reconcileTime, ourHandler))
	if d.count == 0 {
		r.row("reconciles", "0")
		return
	}
	r.row("reconciles", "%.0f, mean %s; up to 25 ms: %.1f %%, 100 ms: %.1f %%, 500 ms: %.1f %%", d.count, d.mean().Round(100*time.Microsecond),
		100*d.share(0.025), 100*d.share(0.1), 100*d.share(0.5))
}

// rollout has the rows about one rotation; writes are those of the operator, and of everybody to Secrets.
func (r *report) rollout(name string, writes []lab.AuditEvent, before, after metrics) error {
	var rotated, sent *lab.AuditEvent
	var statuses []time.Time
	var others []lab.AuditEvent
	for i, w := range writes {
		switch {
		case w.User.Username != lab.OperatorUser:
			if w.Of("secrets", "", name) && rotated == nil {
				rotated = &writes[i]
			}
		case w.Of("fleethandshakes", "status", name):
			statuses = append(statuses, w.Received)
		default:
			if w.Of("bundles", "", "") && sent == nil {
				sent = &writes[i]
			}
			others = append(others, w)
		}
	}
	if rotated == nil || sent == nil || len(statuses) < 2 {
		return fmt.Errorf("the audit log does not show the rotation: %v", writes)
	}
	r.section("rotation of one Secret, %d clusters answer over %s, then the scrub", clusterCount, rolloutTime)
	r.row("from the rotation to the first write of the Bundle", "%d ms, answered after %d ms more",
		sent.Received.Sub(rotated.Answered).Milliseconds(), sent.Answered.Sub(sent.Received).Milliseconds())
	n, first, last := len(statuses), statuses[0], statuses[len(statuses)-1]
	r.row("from the rotation to the last write of the status", "%.1f s", last.Sub(rotated.Answered).Seconds())
	// n writes have n-1 intervals between them.
	rate := float64(n-1) / last.Sub(first).Seconds()
	r.limited(rate <= 1, "writes of the status", "%d, %d intervals in %.1f s: %.2f per second, must be at most 1", n, n-1, last.Sub(first).Seconds(), rate)
	r.limited(most(statuses, time.Second) <= 1, "  most in any second (begin included, end not)", "%d, must be at most 1; shortest interval %.3f s", most(statuses, time.Second), leastGap(statuses).Seconds())
	r.row("other writes of the operator", "%s", byKind(others))
	r.work(before, after)
	return nil
}

// byKind counts writes by verb and resource.
func byKind(writes []lab.AuditEvent) string {
	counts := map[string]int{}
	for _, w := range writes {
		counts[w.Verb+" "+strings.TrimSuffix(w.ObjectRef.Resource+"/"+w.ObjectRef.Subresource, "/")]++
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", kind, counts[kind]))
	}
	return strings.Join(out, ", ")
}

// print writes the table, and gives an error when a limit does not hold.
func (r *report) print(ctx context.Context, b *bench) error {
	version, err := b.hub.Discovery().ServerVersion()
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	fmt.Printf("\nsimulated fleet: no fleetcontroller and no agents; %s, %d cores, load average before %s, Kubernetes %s\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), r.load, version.GitVersion)
	for _, line := range r.lines {
		fmt.Println(line)
	}
	fmt.Println()
	if len(r.failed) > 0 {
		return fmt.Errorf("limits that do not hold: %s", strings.Join(r.failed, "; "))
	}
	fmt.Println("all limits hold")
	return nil
}
