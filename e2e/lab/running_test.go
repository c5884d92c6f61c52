package lab_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
)

var (
	clusters   = schema.GroupVersionResource{Group: "fleet.cattle.io", Version: "v1alpha1", Resource: "clusters"}
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// realClusters skips the test unless real clusters are wanted. The context
// leaves room for building the programs.
func realClusters(t *testing.T) context.Context {
	t.Helper()
	harness.Need(t, "real clusters")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// client makes a client for any kind.
func client(t *testing.T, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain for %s: %v", what, err)
}

// applyText applies YAML to a cluster.
func applyText(ctx context.Context, t *testing.T, cluster *lab.Cluster, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Apply(ctx, file); err != nil {
		t.Fatal(err)
	}
}

// bundle is a Fleet Bundle that deploys one ConfigMap everywhere.
func bundle(name string) string {
	return strings.ReplaceAll(`
apiVersion: fleet.cattle.io/v1alpha1
kind: Bundle
metadata:
  name: NAME
  namespace: fleet-default
spec:
  defaultNamespace: deployed
  resources:
  - name: configmap.yaml
    content: |
      apiVersion: v1
      kind: ConfigMap
      metadata:
        name: NAME
      data:
        greeting: hello
  targets:
  - clusterSelector: {}
`, "NAME", name)
}

func TestFleetDeploysToADownstreamCluster(t *testing.T) {
	ctx := realClusters(t)
	dir := filepath.Join(t.TempDir(), "lab")
	_, groups := lab.Fleet3()
	l, err := lab.Start(ctx, lab.Options{
		Dir: dir, Downstream: lab.Sites(1), Groups: groups, Fleet: true, Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Stop() })
	records, err := proc.Records(dir)
	if err != nil {
		t.Fatal(err)
	}
	hub, paris := client(t, l.Hub.Config), client(t, l.Cluster("paris").Config)
	arrived := func(name string) error {
		_, err := paris.Resource(configMaps).Namespace("deployed").Get(ctx, name, metav1.GetOptions{})
		return err
	}

	eventually(t, "the cluster's first heartbeat", func() error {
		cluster, err := hub.Resource(clusters).Namespace(lab.Workspace).Get(ctx, "paris", metav1.GetOptions{})
		if err != nil {
			return err
		}
		seen, _, err := unstructured.NestedString(cluster.Object, "status", "agent", "lastSeen")
		if err == nil && seen == "" {
			err = errors.New("status.agent.lastSeen is empty")
		}
		return err
	})
	applyText(ctx, t, l.Hub, bundle("first"))
	eventually(t, "the first bundle's ConfigMap", func() error { return arrived("first") })

	if err := l.StopAgent(ctx, "paris"); err != nil {
		t.Fatal(err)
	}
	applyText(ctx, t, l.Hub, bundle("second"))
	if err := arrived("second"); !apierrors.IsNotFound(err) {
		t.Errorf("with its agent stopped, the cluster answered %v for the second bundle", err)
	}
	if err := l.StartAgent(ctx, "paris"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second bundle's ConfigMap", func() error { return arrived("second") })

	opened, err := lab.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := opened.Cluster("paris").Config.Host; got != l.Cluster("paris").Config.Host {
		t.Errorf("the opened lab has paris at %s, want %s", got, l.Cluster("paris").Config.Host)
	}

	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if len(records) != 10 {
		t.Errorf("%d processes were recorded, want 3 for each cluster, Fleet's 3 and the agent", len(records))
	}
	for _, record := range records {
		if record.Alive() {
			t.Errorf("%s (process %d) is alive after Stop", record.Name, record.PID)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's folder is still there: %v", err)
	}
}

func TestHubWithoutFleetAndACrashedStarter(t *testing.T) {
	ctx := realClusters(t)
	root := t.TempDir()
	l, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(root, "hub-only"), Detached: true, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Down(root, nil) })
	admin := client(t, l.Hub.Config)

	applyText(ctx, t, l.Hub, bundle("lonely")+`---
{apiVersion: v1, kind: Namespace, metadata: {name: fleet-default}}
---
apiVersion: v1
kind: Secret
metadata: {name: treasure, namespace: fleet-default}
stringData: {key: in-plain-sight}
`)

	cfg, kubeconfig, err := l.Hub.User("somebody", "some-group")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kubeconfig); err != nil {
		t.Error(err)
	}
	_, err = client(t, cfg).Resource(secrets).Namespace("fleet-default").Get(ctx, "treasure", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a user without any permission got %v, want forbidden", err)
	}

	found := map[string]bool{}
	err = l.Hub.RangeEtcd(ctx, "/registry/", func(key string, value []byte) error {
		found[key] = bytes.Contains(value, []byte("in-plain-sight"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found["/registry/secrets/fleet-default/treasure"] {
		t.Errorf("the Secret's content is not among the %d keys of etcd", len(found))
	}
	if _, ok := found["/registry/fleet.cattle.io/bundles/fleet-default/lonely"]; !ok {
		t.Errorf("the Bundle is not among the %d keys of etcd", len(found))
	}

	audit, err := os.ReadFile(l.Hub.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(audit, []byte("/api/v1/namespaces/fleet-default/secrets/treasure")) {
		t.Error("the audit log does not tell of the Secret")
	}
	if bytes.Contains(audit, []byte("in-plain-sight")) {
		t.Error("the audit log tells the Secret's content")
	}

	records, err := proc.Records(root)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d processes were recorded, want 2: %v", len(records), err)
	}
	// Nothing but the folder is known from here on, as after a crash.
	if err := lab.Down(root, t.Output()); err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if record.Alive() {
			t.Errorf("%s (process %d) is alive after Down", record.Name, record.PID)
		}
	}
	if _, err := admin.Resource(secrets).Namespace("fleet-default").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("the API server still answers after Down")
	}
}
