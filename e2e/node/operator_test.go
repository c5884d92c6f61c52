package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// until waits for a condition, and says what the pods do when it does not come.
func until(t *testing.T, limit time.Duration, condition func(context.Context) error) {
	t.Helper()
	err := clients.Until(t.Context(), limit, condition)
	if err != nil {
		explain(t)
	}
	require.NoError(t, err)
}

// awaitOperator waits until two pods of a version are ready and one of them leads, and returns its name.
func awaitOperator(t *testing.T, version string) (holder string) {
	t.Helper()
	until(t, 90*time.Second, func(ctx context.Context) error {
		pods, err := hub.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var ready []string
		for _, pod := range pods.Items {
			if isReady(pod) && strings.HasSuffix(pod.Spec.Containers[0].Image, ":v"+version) {
				ready = append(ready, pod.Name)
			}
		}
		if len(pods.Items) != 2 || len(ready) != 2 {
			return fmt.Errorf("%d pods, of which are ready and of version %s: %v", len(pods.Items), version, ready)
		}
		if holder, err = leader(ctx); err != nil {
			return err
		}
		if !slices.Contains(ready, holder) {
			return fmt.Errorf("%q leads, and the pods are %v", holder, ready)
		}
		return nil
	})
	return holder
}

func isReady(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// leader is the pod that holds the Lease, or empty.
func leader(ctx context.Context) (string, error) {
	lease, err := hub.CoordinationV1().Leases(namespace).Get(ctx, "fleet-handshake", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	// The identity is the name of the pod and five random characters.
	holder := *lease.Spec.HolderIdentity
	return holder[:max(0, strings.LastIndex(holder, "-"))], nil
}

func awaitNoPods(t *testing.T) {
	t.Helper()
	until(t, time.Minute, func(ctx context.Context) error {
		pods, err := hub.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods are left", len(pods.Items))
		}
		return err
	})
}

// put makes a Secret on the hub, or gives it another value.
func put(t *testing.T, namespace, name, value string) {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, StringData: map[string]string{"value": value},
	}
	_, err := hub.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = hub.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{})
	}
	require.NoError(t, err)
}

// awaitCopy waits until the cluster has a value.
func awaitCopy(t *testing.T, namespace, name, value string) {
	t.Helper()
	until(t, time.Minute, func(ctx context.Context) error {
		secret, err := paris.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && string(secret.Data["value"]) != value {
			err = errors.New("the copy has another value")
		}
		return err
	})
}

// requireNoCopy checks that the cluster has no such Secret now.
func requireNoCopy(t *testing.T, namespace, name string) {
	t.Helper()
	_, err := paris.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "the copy of %s is still there: %v", name, err)
}

func awaitStatus(t *testing.T, name string, status v1alpha1.HandshakeState) {
	t.Helper()
	until(t, time.Minute, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, workspace, name)
		if err == nil && (hs.Status.Status != status || hs.Status.ObservedGeneration != hs.Generation) {
			err = fmt.Errorf("FleetHandshake %s is %q and not %q", name, hs.Status.Status, status)
		}
		return err
	})
}

// awaitGone waits until a read says that there is nothing.
func awaitGone(t *testing.T, what string, get func(context.Context) error) {
	t.Helper()
	until(t, time.Minute, func(ctx context.Context) error {
		err := get(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("%s is still there", what), err)
	})
}

// copies watches one Secret of the downstream cluster.
type copies struct {
	watcher watch.Interface
	done    chan struct{}
	deleted int
	values  []string
}

// watchCopies begins to watch, so that not even a moment without the Secret is missed.
func watchCopies(t *testing.T, namespace, name string) *copies {
	t.Helper()
	w, err := paris.CoreV1().Secrets(namespace).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(t, err)
	c := &copies{watcher: w, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for event := range w.ResultChan() {
			if event.Type == watch.Deleted {
				c.deleted++
			}
			if secret, ok := event.Object.(*corev1.Secret); ok {
				c.values = append(c.values, string(secret.Data["value"]))
			}
		}
	}()
	return c
}

// expect ends the watch: the copy was never deleted, and had these values in this order.
func (c *copies) expect(t *testing.T, values ...string) {
	t.Helper()
	select {
	case <-c.done:
		t.Error("the watch of the copies has ended early")
	default:
	}
	c.watcher.Stop()
	<-c.done
	assert.Zero(t, c.deleted, "how often the copy was deleted")
	assert.Equal(t, values, slices.Compact(c.values))
}

// explain prints what helps to find out why pods do not do what they should.
func explain(t *testing.T) {
	t.Helper()
	for name, cluster := range map[string]*clients.Hub{"hub": hub, site: paris} {
		pods, err := cluster.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Log(err)
			continue
		}
		for _, pod := range pods.Items {
			t.Logf("%s: %s/%s %s", name, pod.Namespace, pod.Name, pod.Status.Phase)
			for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
				t.Logf("    %s: ready=%t restarts=%d %s", c.Name, c.Ready, c.RestartCount, c.State.String())
			}
		}
	}
	logs, _ := filepath.Glob(filepath.Join(world.Hub.PodLogs(), namespace+"_*", "*", "*.log"))
	for _, file := range logs {
		content, _ := os.ReadFile(file)
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		t.Logf("%s:\n%s", file, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}
