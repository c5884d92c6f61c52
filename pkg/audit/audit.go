// Package audit writes a line for each decision that lets a Secret out of the hub, takes it back, or leaves it where it
// is, and when one is refused.
// A line holds names and keyed hashes, and nothing of what a Secret holds.
package audit

import (
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Decisions.
const (
	// Send lets a revision out to clusters that did not have it.
	Send = "send"
	// Withdraw takes the Secret back from clusters.
	Withdraw = "withdraw"
	// Retain leaves the copies in the clusters when the handshake is deleted.
	Retain = "retain"
	// Refuse does not send it.
	Refuse = "refuse"
)

// Entry is one decision.
type Entry struct {
	// Decision is one of those above, and Reason why.
	Decision, Reason string
	// Handshake that was decided about.
	Handshake metav1.Object
	// Source is namespace/name of the Secret, and SourceVersion its resourceVersion; empty when it was not read.
	Source, SourceVersion string
	// Revision is a keyed hash of what is sent.
	Revision string
	// TargetNamespace is the namespace in the clusters, and Clusters are their names.
	TargetNamespace string
	Clusters        []string
	// Grants are the names of the SecretGrants that allow it.
	Grants []string
}

// Log takes entries.
type Log struct{ logger *logrus.Logger }

// Open makes a Log that writes JSON lines to the end of a file, or to standard output when path is "-". With an empty
// path the lines are in the log of the operator.
func Open(path string) (*Log, error) {
	// A logger of its own: no log level of the operator leaves a line out.
	logger := logrus.New()
	logger.SetFormatter(&logrus.JSONFormatter{})
	switch path {
	case "":
		logger.SetFormatter(logrus.StandardLogger().Formatter)
		logger.SetOutput(logrus.StandardLogger().Out)
	case "-":
		logger.SetOutput(os.Stdout)
	default:
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the administrator names it
		if err != nil {
			return nil, fmt.Errorf("opening the audit log: %w; name a file that can be written with --audit-log, or - for standard output", err)
		}
		logger.SetOutput(file)
	}
	return &Log{logger}, nil
}

// Record writes an entry. It is called before the decision is carried out: after a crash a line can come twice.
func (l *Log) Record(e Entry) {
	fields := logrus.Fields{
		"decision": e.Decision, "reason": e.Reason,
		"handshake": e.Handshake.GetNamespace() + "/" + e.Handshake.GetName(), "uid": e.Handshake.GetUID(), "generation": e.Handshake.GetGeneration(),
		"source": e.Source, "targetNamespace": e.TargetNamespace, "clusters": e.Clusters,
	}
	for name, value := range map[string]string{
		"sourceVersion": e.SourceVersion, "revision": e.Revision,
		"manager": managerOf(e.Handshake), "creator": e.Handshake.GetAnnotations()[creatorAnnotation],
	} {
		if value != "" {
			fields[name] = value
		}
	}
	if len(e.Grants) > 0 {
		fields["grants"] = e.Grants
	}
	l.logger.WithFields(fields).Info("audit")
}
