package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// fleetImages are what Fleet's charts ask for.
func (r runner) fleetImages() []image {
	const user = "1000:1000" // as in Fleet's own images
	return []image{
		{name: "docker.io/rancher/fleet:" + tools.FleetVersion, user: user, programs: map[string]string{
			"/usr/bin/fleetcontroller": r.programs[tools.FleetController],
			"/usr/bin/fleet":           r.programs[tools.FleetCLI],
		}},
		{name: "docker.io/rancher/fleet-agent:" + tools.FleetVersion, user: user, programs: map[string]string{
			"/usr/bin/fleetagent": r.programs[tools.FleetAgent],
		}},
	}
}

// startPods gives each cluster a node and runs Fleet in pods. A node has to know
// the addresses of all API servers, so these come first.
func (l *Lab) startPods(ctx context.Context, options Options) error {
	each := func(f func(context.Context, *Cluster) error) error {
		var jobs []func(context.Context) error
		for _, cluster := range l.Clusters() {
			jobs = append(jobs, func(ctx context.Context) error { return f(ctx, cluster) })
		}
		return parallel(ctx, jobs...)
	}
	err := each(func(ctx context.Context, c *Cluster) error { return l.startCluster(ctx, c, true) })
	if err != nil {
		return err
	}
	err = each(func(ctx context.Context, c *Cluster) error { return l.startNode(ctx, c, options.Publish) })
	if err != nil || !options.Fleet {
		return err
	}
	if err := l.installFleet(ctx, options); err != nil {
		return err
	}
	var jobs []func(context.Context) error
	for i, downstream := range options.Downstream {
		jobs = append(jobs, func(ctx context.Context) error { return l.importCluster(ctx, downstream, l.Downstream[i]) })
	}
	return parallel(ctx, jobs...)
}

// importFleetImages makes Fleet's images known to all nodes.
func (l *Lab) importFleetImages(ctx context.Context) error {
	for i, image := range l.runner.fleetImages() {
		archive := filepath.Join(l.Dir, fmt.Sprintf("fleet-%d.tar", i))
		if err := l.runner.writeImage(ctx, image, archive); err != nil {
			return err
		}
		for _, cluster := range l.Clusters() {
			if err := l.ImportImage(ctx, cluster, archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// installFleet installs Fleet's own charts on the hub: its controllers, gitjob
// and the agent of the hub run as pods.
func (l *Lab) installFleet(ctx context.Context, options Options) error {
	begin := time.Now()
	if err := l.importFleetImages(ctx); err != nil {
		return err
	}
	source, err := tools.FleetFolder(ctx)
	if err != nil {
		return err
	}
	values, err := yaml.Marshal(map[string]any{
		"image":                     map[string]any{"tag": tools.FleetVersion},
		"agentImage":                map[string]any{"tag": tools.FleetVersion},
		"apiServerURL":              l.Hub.podServer(),
		"apiServerCA":               string(l.Hub.caPEM),
		"agentTLSMode":              "strict",
		"agentCheckinInterval":      checkinInterval.String(),
		"garbageCollectionInterval": garbageInterval.String(),
		"helmops":                   map[string]any{"enabled": false},
		"metrics":                   map[string]any{"enabled": false},
	})
	if err != nil {
		return fmt.Errorf("writing the values of Fleet's chart: %w", err)
	}
	file := filepath.Join(l.Hub.Dir, "fleet-values.yaml")
	if err := writePrivate(l.Hub.Dir, map[string][]byte{filepath.Base(file): values}); err != nil {
		return err
	}
	charts := filepath.Join(source, "charts")
	for _, args := range [][]string{
		{"install", "fleet-crd", filepath.Join(charts, "fleet-crd")},
		{"install", "fleet", filepath.Join(charts, "fleet"), "--values=" + file},
	} {
		args = append(args, "--namespace="+FleetNamespace, "--create-namespace", "--wait", "--timeout=3m")
		if _, err := l.Helm(ctx, l.Hub, args...); err != nil {
			return err
		}
	}
	objects := []*unstructured.Unstructured{object("v1", "Namespace", "", Workspace, nil)}
	for _, group := range options.Groups {
		objects = append(objects, clusterGroup(group))
	}
	if err := l.Hub.ApplyObjects(ctx, objects...); err != nil {
		return err
	}
	l.progress.say("%s: Fleet runs in pods (%s)", HubName, since(begin))
	return nil
}

// Helm runs Helm as the administrator of a cluster, and returns what it
// printed. Its settings are those of the lab, not of the user.
func (l *Lab) Helm(ctx context.Context, c *Cluster, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.runner.programs[tools.Helm], args...)
	cmd.Env = []string{"HOME=" + c.Dir, "KUBECONFIG=" + c.Kubeconfig}
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("helm %s: %w\n%s", args[0], err, output)
	}
	return string(output), nil
}

// importCluster lets Fleet import a cluster by its kubeconfig, as a user would,
// and waits until the agent that Fleet has deployed there reports.
func (l *Lab) importCluster(ctx context.Context, downstream Downstream, cluster *Cluster) error {
	begin := time.Now()
	kubeconfig := filepath.Join(cluster.Dir, "import.kubeconfig")
	if _, err := cluster.user(kubeconfig, cluster.podServer(), "admin", []string{"system:masters"}); err != nil {
		return err
	}
	clusters, err := l.askForImport(ctx, downstream, kubeconfig)
	if err != nil {
		return err
	}
	err = wait.For(ctx, "the agent of cluster "+cluster.Name+" to report", func(ctx context.Context) error {
		imported, err := clusters.Get(ctx, cluster.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if seen, _, _ := unstructured.NestedString(imported.Object, "status", "agent", "lastSeen"); seen == "" {
			return errors.New("status.agent.lastSeen is empty")
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.progress.say("%s: imported by Fleet, its agent reports (%s)", cluster.Name, since(begin))
	return nil
}
