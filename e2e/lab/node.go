package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// PublishedHost is the address at which pods reach what Options.Publish lists.
const PublishedHost = "10.95.1.1"

// Addresses in the network of a node. Each node has a network of its own, so
// all of them can use the same.
const (
	nodeAddress    = "10.95.2.1"
	podSubnet      = "10.42.0.0/24"
	serviceSubnet  = "10.96.0.0/16"
	serviceAddress = "10.96.0.1" // of the Service kubernetes: the first of the subnet
	serviceDNS     = "10.96.0.10"
	podAPIPort     = "6443"

	nodeProcess      = "node"
	schedulerProcess = "kube-scheduler"
	pauseImage       = "docker.io/lab/pause:1"
)

// maxSocketPath is the longest path of a Unix socket on Linux.
const maxSocketPath = 107

var nodeGVR = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// NodesAvailable says why this machine cannot run nodes; nil is a machine that
// can.
func NodesAvailable() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("a node needs root on Linux")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		return errors.New("a node needs runc: apt-get install runc")
	}
	return nil
}

// startNode gives a cluster a node and a scheduler, and waits until pods can
// run on it.
func (l *Lab) startNode(ctx context.Context, c *Cluster, publish []string) error {
	begin := time.Now()
	dir := filepath.Join(c.Dir, "node")
	// The kubelet makes the socket with the longest path.
	if longest := filepath.Join(dir, "kubelet", "pod-resources", "kubelet.sock"); len(longest) > maxSocketPath {
		return fmt.Errorf("the path %s is too long for a socket: it has %d characters, and %d are possible; choose a folder for the lab with a shorter path",
			longest, len(longest), maxSocketPath)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the node: %w", err)
	}
	if err := l.runner.startScheduler(c); err != nil {
		return err
	}
	process, err := l.runner.startNode(c, dir, l.forwards(c, publish))
	if err != nil {
		return err
	}
	if err := wait.For(ctx, "containerd of cluster "+c.Name, func(ctx context.Context) error {
		return l.ctr(ctx, c, "version")
	}, process); err != nil {
		return err
	}
	if err := l.ImportPause(ctx, c, pauseImage); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making a client for cluster %s: %w", c.Name, err)
	}
	if err := wait.For(ctx, "the node of cluster "+c.Name, func(ctx context.Context) error {
		node, err := client.Resource(nodeGVR).Get(ctx, c.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return isTrue(node, "Ready")
	}, process); err != nil {
		return err
	}
	l.progress.say("%s: node ready (%s)", c.Name, since(begin))
	return nil
}

// isTrue returns an error with the message of a condition that does not hold.
func isTrue(o *unstructured.Unstructured, condition string) error {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range conditions {
		c, ok := entry.(map[string]any)
		if ok && c["type"] == condition {
			if c["status"] == "True" {
				return nil
			}
			return fmt.Errorf("%s is %v: %v", condition, c["status"], c["message"])
		}
	}
	return fmt.Errorf("there is no condition %s", condition)
}

// forwards lists what a pod of the cluster can reach outside of its node.
func (l *Lab) forwards(c *Cluster, publish []string) []forward {
	server := func(c *Cluster) string { return strings.TrimPrefix(c.server, "https://") }
	forwards := []forward{{serviceAddress + ":443", server(c)}}
	for _, other := range l.Clusters() {
		forwards = append(forwards, forward{other.podAddress + ":" + podAPIPort, server(other)})
	}
	for _, address := range publish {
		_, port, _ := net.SplitHostPort(address) // the options were validated
		forwards = append(forwards, forward{PublishedHost + ":" + port, address})
	}
	return forwards
}

// forward is an address in a node that leads to one on the machine's loopback.
type forward struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// podServer is the URL at which pods of all clusters reach the API server.
func (c *Cluster) podServer() string {
	return "https://" + c.podAddress + ":" + podAPIPort
}

func (c *Cluster) containerdSocket() string {
	return filepath.Join(c.Dir, "node", "containerd.sock")
}

// PodLogs is the folder with the logs of all containers of the cluster's node.
func (c *Cluster) PodLogs() string {
	return filepath.Join(c.Dir, "node", "logs")
}

// startScheduler starts the scheduler, which only clusters with a node need.
func (r runner) startScheduler(c *Cluster) error {
	_, kubeconfig, err := c.User("system:kube-scheduler")
	if err != nil {
		return err
	}
	_, err = r.start(c, schedulerProcess, tools.KubeScheduler, nil, []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--secure-port=0",
		"--profiling=false",
	})
	return err
}

// startNode writes the configuration of containerd, its network and the
// kubelet, and starts them.
func (r runner) startNode(c *Cluster, dir string, forwards []forward) (*proc.Process, error) {
	kubeconfig := filepath.Join(dir, "kubelet.kubeconfig")
	if _, err := c.user(kubeconfig, "https://"+serviceAddress, "system:node:"+c.Name, []string{"system:nodes"}); err != nil {
		return nil, err
	}
	cgroup := cgroupPrefix(filepath.Dir(c.Dir)) + c.Name
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, NodesAvailable()
	}
	plugins := filepath.Dir(r.programs[tools.BridgePlugin])
	containerd, kubelet, config := filepath.Join(dir, "containerd.toml"), filepath.Join(dir, "kubelet.yaml"), filepath.Join(dir, "node.json")
	files := map[string][]byte{
		filepath.Base(containerd): []byte(containerdConfig(dir, plugins, c.containerdSocket(), runc)),
		filepath.Base(kubelet):    kubeletConfig(c, dir, cgroup),
		filepath.Base(config): mustJSON(map[string]any{
			"dir": dir, "keep": c.Dir, "cgroup": cgroup, "address": nodeAddress, "forwards": forwards,
			"programs": [][]string{
				{r.programs[tools.Containerd], "--config=" + containerd, "--log-level=warn"},
				{
					r.programs[tools.Kubelet], "--config=" + kubelet, "--kubeconfig=" + kubeconfig,
					"--root-dir=" + filepath.Join(dir, "kubelet"), "--cert-dir=" + filepath.Join(dir, "kubelet-pki"),
					"--hostname-override=" + c.Name, "--node-ip=" + nodeAddress, "--v=1",
				},
			},
		}),
	}
	if err := writePrivate(dir, files); err != nil {
		return nil, err
	}
	if err := writePrivate(filepath.Join(dir, "cni"), map[string][]byte{"lab.conflist": cniConfig(dir)}); err != nil {
		return nil, err
	}
	// containerd finds its shim by the path.
	return r.start(c, nodeProcess, tools.Node, []string{"PATH=" + plugins + ":" + os.Getenv("PATH")}, []string{config})
}

// cgroupPrefix begins the names of the control groups of all nodes of a lab.
func cgroupPrefix(lab string) string {
	hash := sha256.Sum256([]byte(lab))
	return "fleet-handshake-" + hex.EncodeToString(hash[:4]) + "-"
}

// removeCgroups removes the control groups of the nodes of a lab. They are
// empty: their processes have ended.
func removeCgroups(lab string) {
	for _, level := range []string{"", "*"} { // one tree, or one for each controller
		groups, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", level, cgroupPrefix(lab)+"*"))
		for _, group := range groups {
			var folders []string
			_ = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					folders = append(folders, path)
				}
				return nil
			})
			for _, folder := range slices.Backward(folders) {
				_ = os.Remove(folder) // one that stays is empty, and does no harm
			}
		}
	}
}

// containerdConfig keeps everything of containerd in dir. Without
// restrict_oom_score_adj no sandbox starts where CAP_SYS_RESOURCE is missing.
func containerdConfig(dir, plugins, socket, runc string) string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = %[2]q
[grpc]
address = %[3]q
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [%[4]q]
conf_dir = %[5]q
use_internal_loopback = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = %[6]q
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = %[7]q
[plugins."io.containerd.internal.v1.opt"]
path = %[8]q
`, filepath.Join(dir, "containerd"), "/run/containerd", socket, plugins, filepath.Join(dir, "cni"), runc, pauseImage, filepath.Join(dir, "opt"))
}

// cniConfig is one bridge in the node's own network. Nothing leaves the node:
// what pods may reach has addresses in it.
func cniConfig(dir string) []byte {
	return mustJSON(map[string]any{
		"cniVersion": "1.0.0", "name": "lab",
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": filepath.Join(dir, "addresses"),
				"ranges": []any{[]any{map[string]any{"subnet": podSubnet}}},
				"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
			},
		}},
	})
}

// kubeletConfig holds no pod back for a lack of resources: the machine is
// shared.
func kubeletConfig(c *Cluster, dir, cgroup string) []byte {
	return mustJSON(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address":                     nodeAddress,
		"authentication":              map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": false}, "x509": map[string]any{"clientCAFile": filepath.Join(c.pkiDir(), caCertFile)}},
		"authorization":               map[string]any{"mode": "AlwaysAllow"},
		"cgroupDriver":                "cgroupfs",
		"cgroupRoot":                  "/" + cgroup,
		"enforceNodeAllocatable":      []string{},
		"failCgroupV1":                false,
		"failSwapOn":                  false,
		"containerRuntimeEndpoint":    "unix://" + c.containerdSocket(),
		"podLogsDir":                  c.PodLogs(),
		"resolvConf":                  "",
		"clusterDNS":                  []string{serviceDNS}, // nobody answers there
		"volumePluginDir":             filepath.Join(dir, "volume-plugins"),
		"evictionHard":                map[string]string{"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent": 100,
		// A Secret that changes is in the pods soon.
		"syncFrequency": "5s",
	})
}

// mustJSON encodes what can always be encoded.
func mustJSON(value any) []byte {
	content, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return content
}

// ImportImage makes the images of an archive known to the node of a cluster.
func (l *Lab) ImportImage(ctx context.Context, c *Cluster, archive string) error {
	return l.ctr(ctx, c, "--namespace=k8s.io", "images", "import", archive)
}

// ImportPause makes an image of a program that does nothing known to the node of
// a cluster, under any name.
func (l *Lab) ImportPause(ctx context.Context, c *Cluster, name string) error {
	archive := filepath.Join(c.Dir, "node", "pause.tar")
	pause := image{name: name, programs: map[string]string{"/pause": l.runner.programs[tools.Pause]}, entrypoint: "/pause", user: "65535:65535"}
	if err := l.runner.writeImage(ctx, pause, archive); err != nil {
		return err
	}
	return l.ImportImage(ctx, c, archive)
}

// ctr runs one command of containerd's own client.
func (l *Lab) ctr(ctx context.Context, c *Cluster, args ...string) error {
	args = append([]string{"--address=" + c.containerdSocket()}, args...)
	output, err := exec.CommandContext(ctx, l.runner.programs[tools.Ctr], args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return nil
}
