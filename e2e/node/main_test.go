// Package node proves that Fleet Handshake can be installed as its documentation says: on clusters with real nodes, with
// Fleet in pods, from the packaged charts and image, and from a GitRepo.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// The versions that are packaged. The first is the one of the charts in this checkout.
const (
	version = "0.1.0"
	newer   = "0.1.1"
)

const (
	namespace = "fleet-handshake-system"
	workspace = "fleet-default"
	site      = "paris"
)

var (
	world *lab.Lab
	hub   *clients.Hub
	paris *clients.Hub
	// unavailable says why this machine cannot run nodes.
	unavailable error
	// served has the chart repository and the Git repository.
	served *web
)

func TestMain(m *testing.M) {
	harness.Main("real nodes", func() (int, error) {
		if unavailable = lab.NodesAvailable(); unavailable != nil {
			return m.Run(), nil //nolint:nilerr // each test says so
		}
		return run(m)
	})
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	root, err := lab.Root()
	if err != nil {
		return 1, err
	}
	folder, err := os.MkdirTemp("", "fleet-handshake-node-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a folder that stays does no harm
	dist := filepath.Join(folder, "dist")
	for _, v := range []string{version, newer} {
		if err := pack(ctx, root, folder, dist, v); err != nil {
			return 1, err
		}
	}
	if served, err = serve(root, dist); err != nil {
		return 1, err
	}
	defer served.stop()

	world, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "node"), Downstream: lab.Sites(1), Fleet: true, Nodes: true,
		Publish: []string{served.address}, Progress: os.Stdout, Lifetime: 30 * time.Minute,
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.Stop()) }()
	for _, v := range []string{version, newer} {
		if err := world.ImportImage(ctx, world.Hub, filepath.Join(dist, "fleet-handshake-"+v+".oci.tar")); err != nil {
			return 1, err
		}
	}
	if hub, err = clients.New(world.Hub.Config); err != nil {
		return 1, err
	}
	if paris, err = clients.New(world.Cluster(site).Config); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// needNodes skips a test where no node can run.
func needNodes(t *testing.T) {
	t.Helper()
	if unavailable != nil {
		t.Skip(unavailable)
	}
}

// pack makes what is released, with a version. The programs that it needs are built in folder, once.
func pack(ctx context.Context, root, folder, dist, version string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "package"))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "VERSION="+version, "DIST="+dist, "PLATFORMS=linux/"+runtime.GOARCH,
		"PACKAGE_TOOL="+filepath.Join(folder, "package"), "SBOM_TOOL="+filepath.Join(folder, "generator"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("packaging version %s: %w", version, err)
	}
	return nil
}
