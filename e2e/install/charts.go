package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// The charts. The definitions have to be there first.
const (
	DefinitionsChart = "fleet-handshake-crd"
	Chart            = "fleet-handshake"
)

// Template is what Helm would install of a chart as a release of the same name, as YAML. It asks no cluster, so
// kubeVersion says which Kubernetes it is for. The error has Helm's own words.
func Template(ctx context.Context, chart, kubeVersion string, args ...string) ([]byte, error) {
	root, err := lab.Root()
	if err != nil {
		return nil, err
	}
	programs, err := tools.Ensure(ctx, os.Stderr, tools.Helm)
	if err != nil {
		return nil, err
	}
	all := append([]string{"template", chart, filepath.Join(root, "charts", chart), "--namespace", Namespace, "--kube-version", kubeVersion}, args...)
	cmd := exec.CommandContext(ctx, programs[tools.Helm], all...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering the chart %s: %w: %s", chart, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
