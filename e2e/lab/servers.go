package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// StopAPIServer ends the API server of a cluster at once, as a crash would:
// requests under way get no answer. StartAPIServer brings it back.
func (l *Lab) StopAPIServer(c *Cluster) error {
	return stopServer(c, apiServerProcess)
}

// StopEtcd ends etcd of a cluster at once, as a crash would. Nothing that was
// written is lost. StartEtcd brings it back.
func (l *Lab) StopEtcd(c *Cluster) error {
	return stopServer(c, etcdProcess)
}

// StartAPIServer starts the API server of a cluster again, at the same address
// and with the same certificates, and waits until it is ready.
func (l *Lab) StartAPIServer(ctx context.Context, c *Cluster) error {
	if err := l.runner.startAPIServer(ctx, c); err != nil {
		return fmt.Errorf("starting the API server of cluster %s again: %w", c.Name, err)
	}
	return nil
}

// StartEtcd starts etcd of a cluster again, at the same address and with the
// same data, and waits until it is ready.
func (l *Lab) StartEtcd(ctx context.Context, c *Cluster) error {
	if _, err := l.runner.startEtcd(ctx, c); err != nil {
		return fmt.Errorf("starting etcd of cluster %s again: %w", c.Name, err)
	}
	return nil
}

// stopServer ends one server by its record.
func stopServer(c *Cluster, name string) error {
	record, err := proc.Load(c.Dir, name)
	if err == nil {
		_, err = proc.End(0, record)
	}
	if err != nil {
		return fmt.Errorf("stopping %s of cluster %s: %w", name, c.Name, err)
	}
	return nil
}

// startEtcd starts etcd at the cluster's address and waits for it. Its port for
// peers is another each time: a single member has none.
func (r runner) startEtcd(ctx context.Context, c *Cluster) (*proc.Process, error) {
	free, err := r.ports.Free(1)
	if err != nil {
		return nil, err
	}
	etcd, err := r.start(c, etcdProcess, tools.Etcd, nil, etcdArgs(c, loopback("http", free[0])))
	if err != nil {
		return nil, err
	}
	return etcd, wait.For(ctx, "etcd to be ready", func(ctx context.Context) error {
		return get(ctx, http.DefaultClient, c.EtcdURL+"/readyz")
	}, etcd)
}

// startAPIServer starts the API server at the cluster's address and waits for
// it.
func (r runner) startAPIServer(ctx context.Context, c *Cluster, needs ...*proc.Process) error {
	address, err := url.Parse(c.server)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	policy := filepath.Join(c.Dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("writing the audit policy: %w", err)
	}
	server, err := r.start(c, apiServerProcess, tools.KubeAPIServer, nil, apiServerArgs(c, policy, address.Port()))
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return wait.For(ctx, "the API server to be ready", func(ctx context.Context) error {
		return get(ctx, client, c.server+"/readyz")
	}, append(needs, server)...)
}
