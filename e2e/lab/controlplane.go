package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// Names of processes; their logs are <name>.log in the cluster's folder.
const (
	etcdProcess              = "etcd"
	apiServerProcess         = "kube-apiserver"
	controllerManagerProcess = "kube-controller-manager"
)

// kubeControllers are the parts of the controller manager a cluster without
// nodes has a use for. Fleet's registration rests on the service account
// tokens, its clean-up on garbage collection and namespaces.
const kubeControllers = "garbage-collector-controller,namespace-controller," +
	"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller," +
	"clusterrole-aggregation-controller,resourcequota-controller"

// nodeControllers are those that a cluster with a node needs beside them.
const nodeControllers = ",deployment-controller,replicaset-controller,job-controller,disruption-controller," +
	"node-lifecycle-controller,pod-garbage-collector-controller,endpointslice-controller,ttl-after-finished-controller"

// auditPolicy logs who wrote what, and what the operator read, never what was
// in it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + OperatorUser + `"]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`

// runner starts the processes of a lab.
type runner struct {
	programs tools.Paths
	lifetime time.Duration
	detached bool
	nodes    bool
	ports    *ports.Set
}

// start starts one process for a cluster. Its environment holds nothing of the
// caller's but PATH, so that a lab is the same everywhere.
func (r runner) start(c *Cluster, name string, program tools.Name, env, args []string) (*proc.Process, error) {
	return proc.Start(proc.Spec{
		Name:     name,
		Dir:      c.Dir,
		Path:     r.programs[program],
		Args:     args,
		Env:      append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir}, env...),
		Lifetime: r.lifetime,
		Detached: r.detached,
	})
}

// startControlPlane starts the cluster and waits until its API server is
// ready. A port somebody else took in between makes it try again with others.
func (r runner) startControlPlane(ctx context.Context, c *Cluster, controllerManager bool) error {
	if err := newPKI(c.pkiDir(), c.Name, serviceAddress, c.podAddress); err != nil {
		return fmt.Errorf("making certificates for cluster %s: %w", c.Name, err)
	}
	var err error
	if c.caPEM, err = os.ReadFile(filepath.Join(c.pkiDir(), caCertFile)); err != nil {
		return fmt.Errorf("reading the authority of cluster %s: %w", c.Name, err)
	}

	const attempts = 3
	for attempt := 1; ; attempt++ {
		err := r.startServers(ctx, c)
		if err == nil {
			break
		}
		if attempt == attempts || !portTaken(c) {
			return fmt.Errorf("starting cluster %s: %w", c.Name, err)
		}
		if err := discardServers(c); err != nil {
			return fmt.Errorf("starting cluster %s again on other ports: %w", c.Name, err)
		}
	}
	if controllerManager {
		if err := r.startControllerManager(c); err != nil {
			return fmt.Errorf("starting cluster %s: %w", c.Name, err)
		}
	}
	return nil
}

// discardServers ends what startServers started and removes what it left.
func discardServers(c *Cluster) error {
	if _, err := proc.EndAll(time.Second, c.Dir); err != nil {
		return err
	}
	for _, leftover := range []string{"etcd", etcdProcess + ".log", apiServerProcess + ".log"} {
		if err := os.RemoveAll(filepath.Join(c.Dir, leftover)); err != nil {
			return err
		}
	}
	return nil
}

// portTaken reports whether a server of the cluster found its port in use.
func portTaken(c *Cluster) bool {
	for _, name := range []string{etcdProcess, apiServerProcess} {
		log := proc.Tail(filepath.Join(c.Dir, name+".log"), 50)
		if strings.Contains(log, "address already in use") {
			return true
		}
	}
	return false
}

// startServers starts etcd and the API server on free ports and waits for
// both. It fills in the cluster's addresses and clients.
func (r runner) startServers(ctx context.Context, c *Cluster) error {
	free, err := r.ports.Free(2)
	if err != nil {
		return err
	}
	c.EtcdURL, c.server = loopback("http", free[0]), loopback("https", free[1])
	if c.Config, err = c.user(c.Kubeconfig, c.server, "admin", []string{"system:masters"}); err != nil {
		return err
	}
	etcd, err := r.startEtcd(ctx, c)
	if err != nil {
		return err
	}
	return r.startAPIServer(ctx, c, etcd)
}

// startControllerManager starts the controller manager under its own name, so
// that audit events tell its writes from those of others.
func (r runner) startControllerManager(c *Cluster) error {
	const user = "system:kube-controller-manager"
	_, kubeconfig, err := c.User(user)
	if err != nil {
		return err
	}
	controllers := kubeControllers
	if r.nodes {
		controllers += nodeControllers
	}
	_, err = r.start(c, controllerManagerProcess, tools.KubeControllerManager, nil, []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + controllers,
		"--root-ca-file=" + filepath.Join(c.pkiDir(), caCertFile),
		"--service-account-private-key-file=" + filepath.Join(c.pkiDir(), serviceAccountFile),
		"--use-service-account-credentials",
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--secure-port=0",
		"--concurrent-gc-syncs=20",
		"--concurrent-namespace-syncs=10",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--profiling=false",
	})
	return err
}

// etcdArgs runs a single member that trusts the page cache: a lab's data need
// not survive a power failure.
func etcdArgs(c *Cluster, peerURL string) []string {
	return []string{
		"--name=lab",
		"--data-dir=" + filepath.Join(c.Dir, "etcd"),
		"--listen-client-urls=" + c.EtcdURL,
		"--advertise-client-urls=" + c.EtcdURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=lab=" + peerURL,
		"--unsafe-no-fsync",
		"--log-level=warn",
		"--snapshot-count=1000",
	}
}

func apiServerArgs(c *Cluster, auditPolicy, port string) []string {
	pki := func(name string) string { return filepath.Join(c.pkiDir(), name) }
	return []string{
		"--etcd-servers=" + c.EtcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + port,
		"--tls-cert-file=" + pki(servingCertFile),
		"--tls-private-key-file=" + pki(servingKeyFile),
		"--client-ca-file=" + pki(caCertFile),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki(serviceAccountFile),
		"--service-account-signing-key-file=" + pki(serviceAccountFile),
		"--service-cluster-ip-range=" + serviceSubnet,
		"--authorization-mode=Node,RBAC",
		"--endpoint-reconciler-type=none",
		"--allow-privileged",
		"--profiling=false",
		"--audit-policy-file=" + auditPolicy,
		"--audit-log-path=" + c.AuditLog,
		"--audit-log-mode=blocking", // a write that was answered is in the log
		"--audit-log-maxsize=1000",
	}
}

// loopback is a URL on this machine only.
func loopback(scheme string, port int) string {
	return scheme + "://127.0.0.1:" + strconv.Itoa(port)
}

// getTimeout keeps a server that accepts but does not answer from holding up
// the wait that asks it.
const getTimeout = 3 * time.Second

// get asks a health endpoint.
func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 2000))
		return fmt.Errorf("%s answered %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
