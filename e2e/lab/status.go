package lab

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
)

// Status writes which labs there are at or below root, their kubeconfig files
// and which of their processes run.
func Status(root string, w io.Writer) error {
	labs, err := labFolders(root)
	if err != nil {
		return err
	}
	progress := &progress{writer: w}
	if len(labs) == 0 {
		progress.say("no lab under %s", root)
	}
	for _, dir := range labs {
		if err := status(dir, progress); err != nil {
			return err
		}
	}
	return nil
}

// status reports one lab.
func status(dir string, progress *progress) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	records, err := proc.Records(dir)
	if err != nil {
		return err
	}
	alive := 0
	lines := map[string][]string{}
	for _, record := range records {
		condition := "ended"
		if record.Alive() {
			condition = fmt.Sprintf("runs, process %d", record.PID)
			alive++
		}
		cluster := filepath.Base(record.Dir)
		lines[cluster] = append(lines[cluster], fmt.Sprintf("    %-24s %s", record.Name, condition))
	}

	switch {
	case !s.Ready:
		progress.say("%s: being started, or its start did not end well; %d of %d processes run", dir, alive, len(records))
	case alive < len(records):
		progress.say("%s: broken, %d of %d processes run; lab down removes it", dir, alive, len(records))
	default:
		progress.say("%s: ready, %d processes run", dir, alive)
	}
	for i, cluster := range s.Clusters {
		progress.say("  %s: %s", cluster.Name, newCluster(i, cluster.Name, filepath.Join(dir, cluster.Name)).Kubeconfig)
		for _, line := range lines[cluster.Name] {
			progress.say("%s", line)
		}
	}
	return nil
}
