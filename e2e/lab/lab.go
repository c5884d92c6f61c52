// Package lab runs real clusters without containers: etcd, a Kubernetes API
// server and a controller manager per cluster as plain processes on loopback,
// and on them Rancher Fleet's own controllers and agents, with Fleet's real
// registration. There are no nodes, so no pod ever runs, but for labs with
// Options.Nodes: there Fleet runs in pods.
//
// The programs are built from pinned Go modules by package tools. Every
// process runs under a hard time limit and is recorded below the lab's folder,
// so that Down ends exactly what a crashed starter left. Linux only.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// HubName is the name of the cluster Fleet's controllers run on.
const HubName = "hub"

// DefaultLifetime is how long a lab's processes may run at most.
const DefaultLifetime = 4 * time.Hour

// startTimeout bounds a start, after the programs are built.
const startTimeout = 5 * time.Minute

// stopGrace is how long a process may take to end before it is killed; nothing
// of a lab is worth waiting for.
const stopGrace = 1 * time.Second

// Options say what to start.
type Options struct {
	// Dir is the folder everything is kept in. It is made if missing, must be
	// empty or an earlier lab's, and is removed by Stop.
	Dir string
	// Downstream lists the clusters to register with Fleet.
	Downstream []Downstream
	// Groups lists the cluster groups to make in fleet-default.
	Groups []Group
	// Fleet runs Fleet and the downstream clusters. Without it there is only
	// the hub's API server, which has Fleet's definitions.
	Fleet bool
	// Nodes gives each cluster a node. Fleet then runs in pods, installed with
	// its own charts. NodesAvailable says whether this machine can.
	Nodes bool
	// Publish lists addresses on this machine's loopback, host:port, that pods
	// reach at PublishedHost and the same port.
	Publish []string
	// ControllerManager runs the hub's controller manager, for garbage
	// collection and the removal of namespaces. With Fleet it always runs.
	ControllerManager bool
	// Lifetime bounds every process; 0 stands for DefaultLifetime.
	Lifetime time.Duration
	// Progress gets lines that say what is being done; nil is fine.
	Progress io.Writer
	// Detached lets the lab outlive the program that starts it. Otherwise the
	// kernel ends the processes when that program dies, even when killed.
	Detached bool
	// Keep leaves the folder, with logs and data, when the lab ends.
	Keep bool
}

// Lab is a running lab.
type Lab struct {
	// Dir is the folder of the lab.
	Dir string
	// Hub is the cluster with Fleet's controllers.
	Hub *Cluster
	// Downstream lists the registered clusters in the order of the options.
	Downstream []*Cluster
	// Keep leaves the folder when the lab is stopped.
	Keep bool

	fleet    bool
	nodes    bool
	runner   runner
	progress *progress
	// hubFleet are Fleet's processes on the hub, as far as this program
	// started them.
	hubFleet []*proc.Process
}

// Root returns the folder of this project's go.mod, found by walking up from
// the working directory.
func Root() (string, error) {
	return tools.Root()
}

// Build builds the programs of a lab that are missing.
func Build(ctx context.Context, options Options) error {
	_, err := tools.Ensure(ctx, options.Progress, options.programs()...)
	return err
}

// Start builds what is missing, starts a lab and waits until it is usable:
// API servers ready and, with Fleet, every agent registered and at work.
// Whatever an earlier lab left in the folder is ended and removed first. On an
// error everything that was started is ended again; the logs stay.
func Start(ctx context.Context, options Options) (*Lab, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the lab's folder: %w", err)
	}
	progress := &progress{writer: options.Progress}
	unlock, err := claim(dir, options.Keep, progress)
	if err != nil {
		return nil, err
	}
	defer unlock()

	programs, err := tools.Ensure(ctx, progress, options.programs()...)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		Dir:      dir,
		Hub:      newCluster(0, HubName, filepath.Join(dir, HubName)),
		Keep:     options.Keep,
		fleet:    options.Fleet,
		nodes:    options.Nodes,
		progress: progress,
		runner: runner{
			programs: programs,
			lifetime: options.Lifetime,
			detached: options.Detached,
			nodes:    options.Nodes,
			ports:    &ports.Set{},
		},
	}
	if l.runner.lifetime == 0 {
		l.runner.lifetime = DefaultLifetime
	}
	for i, downstream := range options.Downstream {
		l.Downstream = append(l.Downstream, newCluster(i+1, downstream.Name, filepath.Join(dir, downstream.Name)))
	}

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := l.start(ctx, options); err != nil {
		return nil, errors.Join(err, l.end())
	}
	if err := l.save(true); err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

// validate refuses options that cannot work.
func (o Options) validate() error {
	if o.Dir == "" {
		return errors.New("starting a lab: no folder is given; set Options.Dir")
	}
	if !o.Fleet && (len(o.Downstream) > 0 || len(o.Groups) > 0) {
		return errors.New("starting a lab: downstream clusters and groups need Fleet; set Options.Fleet")
	}
	if o.Nodes {
		if err := NodesAvailable(); err != nil {
			return fmt.Errorf("starting a lab: %w", err)
		}
	}
	for _, address := range o.Publish {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("starting a lab: %q in Publish is not host:port: %w", address, err)
		}
	}
	label := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)
	seen := map[string]bool{HubName: true}
	for _, downstream := range o.Downstream {
		if !label.MatchString(downstream.Name) {
			return fmt.Errorf("starting a lab: %q is no name for a cluster; use a DNS label", downstream.Name)
		}
		if seen[downstream.Name] {
			return fmt.Errorf("starting a lab: the cluster name %q is taken", downstream.Name)
		}
		seen[downstream.Name] = true
	}
	return nil
}

// programs lists what has to be built.
func (o Options) programs() []tools.Name {
	names := []tools.Name{tools.Etcd, tools.KubeAPIServer}
	if o.Fleet || o.ControllerManager || o.Nodes {
		names = append(names, tools.KubeControllerManager)
	}
	if o.Fleet {
		names = append(names, tools.FleetController, tools.FleetAgent)
	}
	if o.Nodes {
		names = append(names, tools.KubeScheduler, tools.Kubelet, tools.Containerd, tools.ContainerdShim, tools.Ctr,
			tools.BridgePlugin, tools.HostLocalPlugin, tools.Node, tools.Pause, tools.Package)
	}
	if o.Fleet && o.Nodes {
		names = append(names, tools.FleetCLI, tools.Helm)
	}
	return names
}

// start starts the clusters and Fleet.
func (l *Lab) start(ctx context.Context, options Options) error {
	begin := time.Now()
	for _, cluster := range l.Clusters() {
		if err := os.Mkdir(cluster.Dir, 0o700); err != nil {
			return fmt.Errorf("making the folder of cluster %s: %w", cluster.Name, err)
		}
	}

	startParts := l.startProcesses
	if options.Nodes {
		startParts = l.startPods
	}
	if err := startParts(ctx, options); err != nil {
		return err
	}
	l.progress.say("lab ready (%s)", since(begin))
	return nil
}

// startProcesses runs Fleet as processes. Each downstream cluster comes up
// beside the hub and is registered as soon as both are ready.
func (l *Lab) startProcesses(ctx context.Context, options Options) error {
	hubReady := make(chan struct{})
	jobs := []func(context.Context) error{func(ctx context.Context) error {
		if err := l.startCluster(ctx, l.Hub, options.Fleet || options.ControllerManager); err != nil {
			return err
		}
		if err := l.prepareHub(ctx, options); err != nil {
			return err
		}
		close(hubReady)
		return nil
	}}
	for i, downstream := range options.Downstream {
		jobs = append(jobs, func(ctx context.Context) error {
			cluster := l.Downstream[i]
			if err := l.startCluster(ctx, cluster, true); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("registering cluster %s: the hub did not get ready: %w", cluster.Name, ctx.Err())
			case <-hubReady:
			}
			return l.register(ctx, downstream, cluster)
		})
	}
	return parallel(ctx, jobs...)
}

// startCluster starts one control plane.
func (l *Lab) startCluster(ctx context.Context, cluster *Cluster, controllerManager bool) error {
	begin := time.Now()
	if err := l.runner.startControlPlane(ctx, cluster, controllerManager); err != nil {
		return err
	}
	l.progress.say("%s: API server ready (%s)", cluster.Name, since(begin))
	return nil
}

// HasNodes says whether the clusters have nodes.
func (l *Lab) HasNodes() bool {
	return l.nodes
}

// Clusters returns the hub and then the downstream clusters.
func (l *Lab) Clusters() []*Cluster {
	return append([]*Cluster{l.Hub}, l.Downstream...)
}

// Cluster returns the cluster with the name, or nil.
func (l *Lab) Cluster(name string) *Cluster {
	for _, cluster := range l.Clusters() {
		if cluster.Name == name {
			return cluster
		}
	}
	return nil
}

// Stop ends every process of the lab and, unless Keep is set, removes its
// folder. Stopping twice is fine.
func (l *Lab) Stop() error {
	if err := l.end(); err != nil {
		return err
	}
	if l.Keep {
		return nil
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("removing the lab's folder: %w", err)
	}
	return nil
}

// end ends every recorded process of the lab.
func (l *Lab) end() error {
	if _, err := proc.EndAll(stopGrace, l.Dir); err != nil {
		return fmt.Errorf("stopping the lab in %s: %w", l.Dir, err)
	}
	removeCgroups(l.Dir)
	return nil
}

// parallel runs all jobs at once. The first that fails makes the others stop;
// its error is returned, not theirs.
func parallel(ctx context.Context, jobs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, job := range jobs {
		group.Go(func() {
			if err := job(ctx); err != nil {
				once.Do(func() {
					first = err
					cancel()
				})
			}
		})
	}
	group.Wait()
	return first
}
