package lab_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

func TestServersComeBackWithTheirData(t *testing.T) {
	ctx := realClusters(t)
	l, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(t.TempDir(), "servers"), Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Stop() })
	written := 0
	write := func() {
		t.Helper()
		written++
		applyText(ctx, t, l.Hub, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: written-%d, namespace: default}}", written))
	}
	// A client from before has to work on.
	kept := client(t, l.Hub.Config).Resource(configMaps).Namespace("default")
	read := func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		for i := range written {
			if _, err := kept.Get(ctx, fmt.Sprintf("written-%d", i+1), metav1.GetOptions{}); err != nil {
				return err
			}
		}
		return nil
	}
	write()
	for _, server := range []struct {
		name  string
		stop  func(*lab.Cluster) error
		start func(context.Context, *lab.Cluster) error
	}{
		{"the API server", l.StopAPIServer, l.StartAPIServer},
		{"etcd", l.StopEtcd, l.StartEtcd},
	} {
		if err := server.stop(l.Hub); err != nil {
			t.Fatal(err)
		}
		if read() == nil {
			t.Errorf("the cluster answers without %s", server.name)
		}
		if server.stop(l.Hub) == nil {
			t.Errorf("%s was stopped twice", server.name)
		}
		if err := server.start(ctx, l.Hub); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was written before "+server.name+" was stopped", read)
		write()
	}
	if err := read(); err != nil {
		t.Error(err)
	}
}
