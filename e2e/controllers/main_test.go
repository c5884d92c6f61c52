// Package controllers tests the operator against a real API server with the real definitions of Fleet, but without
// Fleet's controllers: what it refuses, what it writes, when it wakes up.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const (
	workspace = "fleet-default"
	// sources is the namespace that the operator makes Secrets from Vault in.
	sources = "sources"
	// readers is a namespace that may read from Safe, and not from Vault.
	readers = "readers"
)

var (
	world *lab.Lab
	hub   *install.Hub
)

func TestMain(m *testing.M) {
	harness.Main("a real API server", func() (int, error) { return run(m) })
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	root, err := lab.Root()
	if err != nil {
		return 1, err
	}
	world, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "controllers"), ControllerManager: true, Progress: os.Stdout, Lifetime: 30 * time.Minute,
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.Stop()) }()
	if hub, err = install.On(ctx, world.Hub, "vault.namespaces={"+sources+"}", "vsecm.allow={"+sources+"/*,"+readers+"/shop}"); err != nil {
		return 1, err
	}
	log, err := os.Create(filepath.Join(world.Dir, "operator.log"))
	if err != nil {
		return 1, err
	}
	defer log.Close()
	logrus.SetOutput(log)
	code = m.Run()
	if code != 0 {
		world.Keep = true
		fmt.Println("the operator's log:", log.Name())
	}
	return code, nil
}

// startOperator runs the operator until the returned function is called, which gives the operator's error.
func startOperator(t *testing.T, cfg *rest.Config, change ...func(*operator.Options)) (stop func() error) {
	t.Helper()
	opts := operator.Defaults()
	opts.LeaderElect, opts.ListenAddress = false, "0"
	for _, c := range change {
		c(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- operator.Run(ctx, cfg, opts) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { require.NoError(t, stop()) })
	return stop
}

// send makes a Secret and a handshake of one name, and takes both away when the test ends.
func send(t *testing.T, name string) *v1alpha1.FleetHandshake {
	t.Helper()
	makeSecret(t, name, corev1.SecretTypeOpaque)
	return makeHandshake(t, name)
}

func makeSecret(t *testing.T, name string, secretType corev1.SecretType) *corev1.Secret {
	t.Helper()
	ctx := context.Background()
	secret, err := hub.CoreV1().Secrets(workspace).Create(ctx, &corev1.Secret{
		// The annotation is needed by service account tokens.
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       secretType, Data: map[string][]byte{"password": []byte("x")},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.CoreV1().Secrets(workspace).Delete(ctx, name, metav1.DeleteOptions{}) })
	return secret
}

func makeHandshake(t *testing.T, name string) *v1alpha1.FleetHandshake {
	t.Helper()
	ctx := context.Background()
	hs, err := hub.Handshakes.Create(ctx, &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec:       v1alpha1.FleetHandshakeSpec{SecretName: name, TargetNamespace: "apps", Targets: []v1alpha1.ClusterTarget{{ClusterName: "paris"}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { drop(t, name) })
	return hs
}

// drop deletes a handshake and waits until it is gone. The finalizer is taken away here, because there may be no
// operator any more, and no agent that could confirm.
func drop(t *testing.T, name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		if err := hub.Handshakes.Delete(ctx, workspace, name); apierrors.IsNotFound(err) {
			return nil
		}
		err := hub.Handshakes.Change(ctx, workspace, name, func(hs *v1alpha1.FleetHandshake) { hs.Finalizers = nil })
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		return errors.New(name + " is still there")
	})
}

func eventually(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	require.NoError(t, clients.Until(context.Background(), 30*time.Second, condition))
}

// says waits until a handshake has this status and reason of Ready.
func says(t *testing.T, name string, status v1alpha1.HandshakeState, reason string) *v1alpha1.FleetHandshake {
	t.Helper()
	return saysIn(t, workspace, name, status, reason)
}

func saysIn(t *testing.T, namespace, name string, status v1alpha1.HandshakeState, reason string) *v1alpha1.FleetHandshake {
	t.Helper()
	var hs *v1alpha1.FleetHandshake
	eventually(t, func(ctx context.Context) (err error) {
		if hs, err = hub.Handshakes.Get(ctx, namespace, name); err != nil {
			return err
		}
		for _, c := range hs.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady && c.Reason == reason && hs.Status.Status == status {
				return nil
			}
		}
		return fmt.Errorf("%s says %s %v", name, hs.Status.Status, hs.Status.Conditions)
	})
	return hs
}
