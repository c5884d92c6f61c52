package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

const (
	// FleetNamespace is where Fleet's own parts live, on both sides.
	FleetNamespace = "cattle-fleet-system"
	// Workspace is the namespace of the Cluster objects on the hub.
	Workspace = "fleet-default"

	agentProcess = "fleet-agent"
	// checkinInterval and garbageInterval keep what depends on time short: an
	// agent's heartbeat, and its clean-up of Helm releases.
	checkinInterval = 5 * time.Second
	garbageInterval = 15 * time.Second
	// workers is what Fleet's chart sets for each reconciler.
	workers = "50"
)

var (
	secretGVR  = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	clusterGVR = schema.GroupVersionResource{Group: "fleet.cattle.io", Version: "v1alpha1", Resource: "clusters"}
)

// election holds the variables without which Fleet's programs refuse to start;
// the agents' ones are copied into the agent's Deployment.
var election = []string{
	"CATTLE_ELECTION_LEASE_DURATION=30s", "CATTLE_ELECTION_RETRY_PERIOD=10s", "CATTLE_ELECTION_RENEW_DEADLINE=25s",
	"FLEET_AGENT_ELECTION_LEASE_DURATION=30s", "FLEET_AGENT_ELECTION_RETRY_PERIOD=10s", "FLEET_AGENT_ELECTION_RENEW_DEADLINE=25s",
	"FLEET_AGENT_REPLICA_COUNT=1",
}

// prepareHub gives the hub Fleet's definitions and, if wanted, runs Fleet.
func (l *Lab) prepareHub(ctx context.Context, options Options) error {
	begin := time.Now()
	source, err := tools.FleetFolder(ctx)
	if err != nil {
		return err
	}
	if err := l.Hub.Apply(ctx, filepath.Join(source, "charts", "fleet-crd", "templates", "crds.yaml")); err != nil {
		return err
	}
	l.progress.say("%s: Fleet's definitions established (%s)", HubName, since(begin))
	if !options.Fleet {
		return nil
	}

	objects, err := fleetObjects(l.Hub)
	if err != nil {
		return err
	}
	for _, group := range options.Groups {
		objects = append(objects, clusterGroup(group))
	}
	if err := l.Hub.ApplyObjects(ctx, objects...); err != nil {
		return err
	}
	if err := l.startFleet(); err != nil {
		return err
	}
	l.progress.say("%s: Fleet started (%s)", HubName, since(begin))
	return nil
}

// startFleet runs the three controllers of Fleet's Deployment, as the service
// account of Fleet's chart.
func (l *Lab) startFleet() error {
	_, kubeconfig, err := l.Hub.serviceAccount("fleet-controller")
	if err != nil {
		return err
	}
	env := append([]string{
		"KUBECONFIG=" + kubeconfig,
		"NAMESPACE=" + FleetNamespace,
		"FLEET_HEALTHPROBE_BIND_ADDRESS=0",
		"BUNDLE_RECONCILER_WORKERS=" + workers,
		"BUNDLEDEPLOYMENT_RECONCILER_WORKERS=" + workers,
		"CLUSTER_RECONCILER_WORKERS=" + workers,
		"CLUSTERGROUP_RECONCILER_WORKERS=" + workers,
		"SCHEDULE_RECONCILER_WORKERS=" + workers,
		"CONTENT_RECONCILER_WORKERS=" + workers,
	}, election...)
	common := []string{"--kubeconfig=" + kubeconfig, "--namespace=" + FleetNamespace}
	parts := []struct {
		name string
		args []string
	}{
		{"fleet-controller", append([]string{"--disable-metrics", "--leader-elect=false"}, common...)},
		{"fleet-agentmanagement", append([]string{"agentmanagement", "--disable-bootstrap"}, common...)},
		{"fleet-cleanup", append([]string{"cleanup"}, common...)},
	}
	for _, part := range parts {
		process, err := l.runner.start(l.Hub, part.name, tools.FleetController, env, part.args)
		if err != nil {
			return err
		}
		l.hubFleet = append(l.hubFleet, process)
	}
	return nil
}

// noOldAgent tells Fleet that there is no agent in another namespace to remove.
// Without it, Fleet 0.16 wants to delete the old agent's bundle before each
// import and, as manageAgent is off and the bundle never was, fails for good.
const noOldAgent = `{"status":{"agent":{"namespace":"` + FleetNamespace + `"},"agentNamespaceMigrated":true}}`

// serviceAccount makes a client that acts as a service account of Fleet.
func (c *Cluster) serviceAccount(name string) (*rest.Config, string, error) {
	return c.User("system:serviceaccount:"+FleetNamespace+":"+name,
		"system:serviceaccounts", "system:serviceaccounts:"+FleetNamespace)
}

// register lets Fleet import the cluster by its kubeconfig, as a user would,
// and then runs the agent that Fleet's Deployment cannot run without a node.
func (l *Lab) register(ctx context.Context, downstream Downstream, cluster *Cluster) error {
	begin := time.Now()
	clusters, err := l.askForImport(ctx, downstream, cluster.Kubeconfig)
	if err != nil {
		return err
	}
	_, err = clusters.Patch(ctx, cluster.Name, types.MergePatchType, []byte(noOldAgent), metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("preparing the import of cluster %s/%s: %w", Workspace, cluster.Name, err)
	}
	what := fmt.Sprintf("Fleet to import cluster %s/%s", Workspace, cluster.Name)
	err = wait.For(ctx, what, func(ctx context.Context) error {
		imported, err := clusters.Get(ctx, cluster.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if namespace, _, _ := unstructured.NestedString(imported.Object, "status", "namespace"); namespace == "" {
			return errors.New("status.namespace is empty")
		}
		if _, deployed, _ := unstructured.NestedInt64(imported.Object, "status", "agentDeployedGeneration"); !deployed {
			return errors.New("status.agentDeployedGeneration is empty")
		}
		return nil
	}, l.hubFleet...)
	if err != nil {
		return err
	}
	l.progress.say("%s: imported by Fleet (%s)", cluster.Name, since(begin))

	if err := l.StartAgent(ctx, cluster.Name); err != nil {
		return err
	}
	l.progress.say("%s: agent registered (%s)", cluster.Name, since(begin))
	return nil
}

// askForImport creates the Fleet Cluster of a downstream cluster, which Fleet
// reaches by the kubeconfig file, and returns a client for Fleet Clusters.
func (l *Lab) askForImport(ctx context.Context, downstream Downstream, kubeconfig string) (dynamic.ResourceInterface, error) {
	objects, err := registration(downstream, kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := l.Hub.ApplyObjects(ctx, objects...); err != nil {
		return nil, err
	}
	hub, err := dynamic.NewForConfig(l.Hub.Config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the hub: %w", err)
	}
	return hub.Resource(clusterGVR).Namespace(Workspace), nil
}

// StartAgent runs the Fleet agent of a downstream cluster and waits until it
// has registered, if it has to, and is at work. An agent that runs is left
// alone.
func (l *Lab) StartAgent(ctx context.Context, name string) error {
	cluster, err := l.downstream(name)
	if err != nil {
		return err
	}
	record, err := proc.Load(cluster.Dir, agentProcess)
	if err == nil && record.Alive() {
		return nil
	}

	cfg, kubeconfig, err := cluster.serviceAccount("fleet-agent")
	if err != nil {
		return err
	}
	if err := agentMayStart(ctx, cfg); err != nil {
		return fmt.Errorf("starting the agent of cluster %s: %w", name, err)
	}
	free, err := l.runner.ports.Free(1)
	if err != nil {
		return err
	}
	probe := "127.0.0.1:" + strconv.Itoa(free[0])
	env := append([]string{
		"KUBECONFIG=" + kubeconfig,
		"NAMESPACE=" + FleetNamespace,
		"FLEET_AGENT_METRICS_BIND_ADDRESS=0",
		"FLEET_AGENT_PROBE_BIND_ADDRESS=" + probe,
		"FLEET_AGENT_PPROF_DISABLED=true",
		"BUNDLEDEPLOYMENT_RECONCILER_WORKERS=" + workers,
		"DRIFT_RECONCILER_WORKERS=" + workers,
	}, election...)
	process, err := l.runner.start(cluster, agentProcess, tools.FleetAgent, env, []string{
		"--kubeconfig=" + kubeconfig,
		"--namespace=" + FleetNamespace,
		"--agent-scope=",
		"--leader-elect=false",
		"--checkin-interval=" + checkinInterval.String(),
	})
	if err != nil {
		return err
	}
	// The agent answers probes only after it has registered.
	return wait.For(ctx, "the agent of cluster "+name+" to register", func(ctx context.Context) error {
		return get(ctx, http.DefaultClient, "http://"+probe+"/readyz")
	}, process)
}

// agentMayStart waits until the agent could read its credentials. It tries
// once and then pauses for a minute, which would be the price of a grant the
// API server has not heard of yet.
func agentMayStart(ctx context.Context, cfg *rest.Config) error {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	secrets := client.Resource(secretGVR).Namespace(FleetNamespace)
	return wait.For(ctx, "its credentials", func(ctx context.Context) error {
		_, err := secrets.Get(ctx, "fleet-agent", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		_, err = secrets.Get(ctx, "fleet-agent-bootstrap", metav1.GetOptions{})
		return err
	})
}

// StopAgent ends the Fleet agent of a downstream cluster, as if the cluster
// had lost its network. Its Cluster object stays. Without a running agent it
// does nothing.
func (l *Lab) StopAgent(ctx context.Context, name string) error {
	cluster, err := l.downstream(name)
	if err != nil {
		return err
	}
	record, err := proc.Load(cluster.Dir, agentProcess)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopping the agent of cluster %s: %w", name, err)
	}
	_, err = proc.End(stopGrace, record)
	return err
}

// downstream finds a cluster that has an agent.
func (l *Lab) downstream(name string) (*Cluster, error) {
	for _, cluster := range l.Downstream {
		if cluster.Name == name {
			return cluster, nil
		}
	}
	return nil, fmt.Errorf("the lab has no downstream cluster %q", name)
}

// fleetConfig is the part of Fleet's configuration a lab sets.
func fleetConfig(hub *Cluster) (string, error) {
	content, err := json.Marshal(map[string]any{
		// No bundle of Fleet's own for the agents: its Deployment never gets
		// ready without a node, and would hide what a test looks at.
		"manageAgent":               false,
		"apiServerURL":              hub.server,
		"apiServerCA":               hub.caPEM,
		"agentTLSMode":              "strict",
		"agentCheckinInterval":      checkinInterval.String(),
		"garbageCollectionInterval": garbageInterval.String(),
		"agentWorkers":              map[string]string{"bundledeployment": workers, "drift": workers},
	})
	if err != nil {
		return "", fmt.Errorf("writing Fleet's configuration: %w", err)
	}
	return string(content), nil
}
