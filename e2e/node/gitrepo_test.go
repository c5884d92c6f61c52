package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

var gitRepos = schema.GroupVersionResource{Group: "fleet.cattle.io", Version: "v1alpha1", Resource: "gitrepos"}

// The namespaces of examples/gitrepo.
const (
	hubWorkspace = "fleet-local"
	owner        = "platform"
	app          = "app"
)

// TestGitRepo applies examples/gitrepo as it is, but for the address of the Git repository. Fleet's gitjob installs the
// operator, puts the FleetHandshakes on the hub, and starts the application after its Secret.
func TestGitRepo(t *testing.T) {
	needNodes(t)
	ctx := t.Context()
	_, err := hub.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: owner}}, metav1.CreateOptions{})
	require.NoError(t, err)
	put(t, owner, "database", "granted")
	require.NoError(t, world.ImportPause(ctx, world.Cluster(site), "registry.k8s.io/pause:3.10"))
	secrets, pods := firstSecret(t, app, "app-credentials"), firstPod(t, app)
	step := func(name string, f func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, f)
		}
	}

	step("install the operator", func(t *testing.T) {
		apply(t, "operator")
		awaitOperator(t, version)
		awaitRepo(t, "operator", hubWorkspace)
	})
	step("the FleetHandshakes of a team", func(t *testing.T) {
		apply(t, "handshakes")
		awaitCopy(t, app, "database", "granted")
		awaitStatus(t, "database", v1alpha1.StateSynced)
		awaitStatus(t, "app-credentials", v1alpha1.StateMissing)
	})
	step("the application waits", func(t *testing.T) {
		apply(t, "application")
		until(t, time.Minute, func(ctx context.Context) error {
			return awaitsDependency(ctx, "example-application")
		})
		_, err := paris.AppsV1().Deployments(app).Get(ctx, "example", metav1.GetOptions{})
		require.ErrorContains(t, err, "not found")
	})
	step("the application starts after its Secret", func(t *testing.T) {
		put(t, workspace, "app-credentials", "needed")
		until(t, 2*time.Minute, func(ctx context.Context) error {
			pods, err := paris.CoreV1().Pods(app).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=example"})
			if err == nil && (len(pods.Items) != 1 || !isReady(pods.Items[0])) {
				err = fmt.Errorf("%d pods of the application, or not ready", len(pods.Items))
			}
			return err
		})
		assert.Less(t, <-secrets, <-pods, "the Secret is older than the pod")
		// A pod without its Secret would have had an event.
		events, err := paris.CoreV1().Events(app).List(ctx, metav1.ListOptions{})
		require.NoError(t, err)
		for _, e := range events.Items {
			assert.NotContains(t, e.Message, "not found", "%s of %s", e.Reason, e.InvolvedObject.Name)
		}
		awaitRepo(t, "application", workspace)
		awaitRepo(t, "handshakes", hubWorkspace)
	})
	step("remove everything", func(t *testing.T) {
		remove(t, "application", workspace)
		remove(t, "handshakes", hubWorkspace)
		for _, name := range []string{"app-credentials", "database"} {
			awaitGone(t, "FleetHandshake "+name, func(ctx context.Context) error {
				_, err := hub.Handshakes.Get(ctx, workspace, name)
				return err
			})
			requireNoCopy(t, app, name)
		}
		remove(t, "operator", hubWorkspace)
		awaitNoPods(t)
		deleteKept(t)
	})
}

// apply applies a GitRepo of examples/gitrepo with the address of the served repository.
func apply(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "examples", "gitrepo", "gitrepos", name+".yaml"))
	require.NoError(t, err)
	repo := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal(content, &repo.Object))
	require.NoError(t, unstructured.SetNestedField(repo.Object, served.git(), "spec", "repo"))
	require.NoError(t, world.Hub.ApplyObjects(t.Context(), repo))
}

func repos(t *testing.T, namespace string) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	return client.Resource(gitRepos).Namespace(namespace)
}

// awaitRepo waits until Fleet says that all of a GitRepo is ready.
func awaitRepo(t *testing.T, name, namespace string) {
	t.Helper()
	until(t, 2*time.Minute, func(ctx context.Context) error {
		repo, err := repos(t, namespace).Get(ctx, "fleet-handshake-"+name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		desired, _, _ := unstructured.NestedInt64(repo.Object, "status", "summary", "desiredReady")
		ready, _, _ := unstructured.NestedInt64(repo.Object, "status", "summary", "ready")
		if desired == 0 || ready != desired {
			return fmt.Errorf("GitRepo %s has %d of %d ready", name, ready, desired)
		}
		return nil
	})
}

// remove deletes a GitRepo, and waits until its Bundles are gone.
func remove(t *testing.T, name, namespace string) {
	t.Helper()
	require.NoError(t, repos(t, namespace).Delete(t.Context(), "fleet-handshake-"+name, metav1.DeleteOptions{}))
	until(t, time.Minute, func(ctx context.Context) error {
		bundles, err := hub.Bundles.List(ctx, namespace, fleet.RepoLabel+"=fleet-handshake-"+name)
		if err == nil && len(bundles) > 0 {
			err = fmt.Errorf("GitRepo %s has %d Bundles left", name, len(bundles))
		}
		return err
	})
}

// awaitsDependency is nil when the agent says that a Bundle waits for another.
func awaitsDependency(ctx context.Context, bundle string) error {
	deployments, err := hub.Deployments.List(ctx, "", fleet.BundleLabel+"="+bundle)
	if err != nil {
		return err
	}
	for _, d := range deployments {
		for _, c := range d.Status.Conditions {
			if strings.Contains(c.Message, "no bundles matching labels") || strings.Contains(c.Message, "dependent bundle") {
				return nil
			}
		}
	}
	return fmt.Errorf("%d BundleDeployments of %s, and none says that it waits", len(deployments), bundle)
}

// firstSecret gives the version at which a Secret of the downstream cluster is made.
func firstSecret(t *testing.T, namespace, name string) <-chan uint64 {
	t.Helper()
	w, err := paris.CoreV1().Secrets(namespace).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(t, err)
	return firstVersion(t, w)
}

// firstPod gives the version at which the first pod of a namespace of the downstream cluster is made.
func firstPod(t *testing.T, namespace string) <-chan uint64 {
	t.Helper()
	w, err := paris.CoreV1().Pods(namespace).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	return firstVersion(t, w)
}

// firstVersion gives the resource version of the first object of a watch. All objects of a cluster count from one
// counter.
func firstVersion(t *testing.T, w watch.Interface) <-chan uint64 {
	t.Helper()
	t.Cleanup(w.Stop)
	version := make(chan uint64, 1)
	go func() {
		defer close(version)
		if event, ok := <-w.ResultChan(); ok {
			object, err := meta.Accessor(event.Object)
			if err != nil {
				return
			}
			if number, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64); err == nil {
				version <- number
			}
		}
	}()
	return version
}
