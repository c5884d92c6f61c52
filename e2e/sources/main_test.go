// Package sources tests what makes Secrets on the hub: the operator with a real API server, a real Vault and a real
// PostgreSQL.
package sources

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

const (
	// team is the namespace of the sources, and other one that the operator may not write in.
	team  = "team"
	other = "other"
	// shared is the namespace of a VaultConnection that others may use.
	shared = "shared"
	// account is the default of the operator.
	account = "vault-operator-sync"
	mount   = "kubernetes"
)

var (
	world  *lab.Lab
	hub    *install.Hub
	server *labvault.Server
)

func TestMain(m *testing.M) {
	harness.Main("a real API server and a real Vault", func() (int, error) { return run(m) })
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	root, err := lab.Root()
	if err != nil {
		return 1, err
	}
	world, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "sources"), ControllerManager: true, Progress: os.Stdout, Lifetime: 30 * time.Minute,
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.Stop()) }()
	if hub, err = install.On(ctx, world.Hub, "vault.namespaces={"+team+","+shared+","+many+"}", "vsecm.allow={"+team+"/*,"+many+"/many*}"); err != nil {
		return 1, err
	}
	server, err = labvault.Start(ctx, labvault.Options{Dir: filepath.Join(world.Dir, "vault"), TLS: true, Audit: true, Progress: os.Stdout})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Stop(), stopDatabase(), stopSPIRE()) }()
	if err := prepare(ctx); err != nil {
		return 1, err
	}
	log, err := os.Create(filepath.Join(world.Dir, "operator.log"))
	if err != nil {
		return 1, err
	}
	defer log.Close()
	logrus.SetOutput(log)
	logrus.SetLevel(logrus.TraceLevel)
	klog.LogToStderr(false)
	klog.SetOutput(log)
	// Tests wait more than they work.
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		return 1, err
	}
	code = m.Run()
	if flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" {
		// Only all tests together use all rights.
		wrong, err := misfits()
		if err != nil {
			return 1, err
		}
		for _, misfit := range wrong {
			fmt.Println("RIGHTS after all tests:", misfit)
			code = 1
		}
	}
	if code != 0 {
		world.Keep = true
		fmt.Println("the operator's log:", log.Name())
	}
	return code, nil
}

// prepare lets the service account of the namespace log in.
func prepare(ctx context.Context) error {
	if err := server.Golden(ctx); err != nil {
		return err
	}
	if err := server.Kubernetes(ctx, mount, world.Hub, labvault.KubernetesOptions{}); err != nil {
		return err
	}
	if _, err := server.PKI(ctx, labvault.PKIOptions{}); err != nil {
		return err
	}
	if err := server.Policy(ctx, limits, openLimits); err != nil {
		return err
	}
	for _, namespace := range []string{team, other, shared} {
		if _, err := labvault.ServiceAccountToken(ctx, world.Hub, namespace, account); err != nil { // makes the account
			return err
		}
		role := labvault.Role{Name: namespace, Policies: []string{labvault.ReadKV, labvault.DatabaseCredentials, labvault.RevokeLeases, labvault.IssueCertificates, limits}, TTL: time.Hour, MaxTTL: time.Hour}
		if err := server.KubernetesRole(ctx, mount, role, namespace, account, ""); err != nil {
			return err
		}
	}
	return nil
}

// startOperator runs the operator until the returned function is called, which waits for its end.
func startOperator(t *testing.T, change ...func(*operator.Options)) (stop func()) {
	t.Helper()
	opts := operator.Defaults()
	opts.LeaderElect, opts.ListenAddress, opts.Namespace = false, "0", install.Namespace
	opts.Vault.Addr, opts.Vault.CAFile, opts.Vault.RequestsPerSecond = server.Address, server.CAFile, 1000
	for _, c := range change {
		c(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- operator.Run(ctx, hub.Operator, opts) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(stop)
	return stop
}

// name of a source and of its Secret, for the test that runs.
func meta1(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: team, Name: name} }

// make creates a VaultSecret, and deletes it when the test ends.
func makeVaultSecret(t *testing.T, name string, spec v1alpha1.VaultSecretSpec) *v1alpha1.VaultSecret {
	t.Helper()
	made, err := hub.VaultKV.Create(t.Context(), &v1alpha1.VaultSecret{ObjectMeta: meta1(name), Spec: spec})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = hub.VaultKV.Delete(context.Background(), team, name)
		gone(t, name)
	})
	return made
}

// gone waits until a VaultSecret and its Secret are gone.
func gone(t *testing.T, name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		_, err := hub.VaultKV.Get(ctx, team, name)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("VaultSecret %s is still there: %w", name, err)
		}
		return nil
	})
}

func eventually(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	require.NoError(t, clients.Until(context.Background(), 30*time.Second, condition))
}

// holds waits until a Secret has this data.
func holds(t *testing.T, name string, data map[string]string) *corev1.Secret {
	t.Helper()
	var secret *corev1.Secret
	eventually(t, func(ctx context.Context) (err error) {
		if secret, err = hub.CoreV1().Secrets(team).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if len(secret.Data) != len(data) {
			return fmt.Errorf("Secret %s has %d keys and not %d", name, len(secret.Data), len(data))
		}
		for key, value := range data {
			if string(secret.Data[key]) != value {
				return fmt.Errorf("Secret %s has another value for %s", name, key)
			}
		}
		return nil
	})
	return secret
}

// says waits until a VaultSecret has this condition.
func says(t *testing.T, name, condition string, status metav1.ConditionStatus, reason string) *v1alpha1.VaultSecret {
	t.Helper()
	var vs *v1alpha1.VaultSecret
	eventually(t, func(ctx context.Context) (err error) {
		if vs, err = hub.VaultKV.Get(ctx, team, name); err != nil {
			return err
		}
		c := meta.FindStatusCondition(vs.Status.Conditions, condition)
		if c == nil || c.Status != status || c.Reason != reason {
			return fmt.Errorf("VaultSecret %s says %v", name, vs.Status.Conditions)
		}
		return nil
	})
	return vs
}
