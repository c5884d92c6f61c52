package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
)

func TestANodeRunsPodsAndLeavesNothing(t *testing.T) {
	ctx := realClusters(t)
	if err := lab.NodesAvailable(); err != nil {
		t.Skip(err)
	}
	before := traces(t)
	// The path of a socket in it has to be short.
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := lab.Start(ctx, lab.Options{Dir: dir, Nodes: true, Lifetime: 5 * time.Minute, Progress: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = l.Stop()
		}
	})

	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "pod", "namespace": "default"},
		"spec": map[string]any{"containers": []any{map[string]any{
			"name": "pause", "image": "docker.io/lab/pause:1", "imagePullPolicy": "Never",
		}}},
	}}
	if err := l.Hub.ApplyObjects(ctx, pod); err != nil {
		t.Fatal(err)
	}
	pods := client(t, l.Hub.Config).Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("default")
	eventually(t, "the pod to run", func() error {
		running, err := pods.Get(ctx, "pod", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if phase, _, _ := unstructured.NestedString(running.Object, "status", "phase"); phase != "Running" {
			return fmt.Errorf("the pod is %q", phase)
		}
		return nil
	})
	if len(processesOf(t, dir)) == 0 || slices.Equal(traces(t), before) {
		t.Fatal("the test does not find the processes or control groups of the node")
	}

	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped = true
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if after := traces(t); !slices.Equal(after, before) {
		t.Errorf("the machine had before:\n%s\nand has now:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// processesOf lists the processes that carry the mark of a lab in dir. Those in
// containers have an environment of their own; the shim that watches them has
// the mark.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err == nil && bytes.Contains(environ, []byte(proc.Mark+"="+dir)) {
			found = append(found, filepath.Dir(file))
		}
	}
	return found
}

// traces lists what nodes could leave on the machine outside of their folder:
// control groups, and files where the kubelet, containerd and network plugins
// keep them by default.
func traces(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{
		"/sys/fs/cgroup/fleet-handshake-*", "/sys/fs/cgroup/*/fleet-handshake-*",
		"/var/lib/kubelet/*/*", "/var/lib/cni/*/*", "/var/lib/containerd/*", "/var/log/containers/*", "/var/log/pods/*",
		"/opt/containerd/*", "/run/containerd/*", "/run/netns/*", "/run/runc/*",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	return found
}
