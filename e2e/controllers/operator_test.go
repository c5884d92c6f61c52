package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

func TestTheOperatorSaysWhyItCannotStart(t *testing.T) {
	ctx := context.Background()
	crds, err := apiextensionsclient.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	folder, err := tools.FleetFolder(ctx)
	require.NoError(t, err)
	root, err := tools.Root()
	require.NoError(t, err)
	restore := func() {
		require.NoError(t, world.Hub.Apply(ctx, filepath.Join(folder, "charts", "fleet-crd", "templates", "crds.yaml"), filepath.Join(root, "crds")))
	}
	t.Cleanup(restore)
	remove := func(name string) {
		require.NoError(t, crds.CustomResourceDefinitions().Delete(ctx, name, metav1.DeleteOptions{}))
		eventually(t, func(ctx context.Context) error {
			if _, err := crds.CustomResourceDefinitions().Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is still there", name)
			}
			return nil
		})
	}
	start := func(change ...func(*operator.Options)) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		opts := operator.Defaults()
		opts.LeaderElect, opts.ListenAddress = false, "0"
		for _, c := range change {
			c(&opts)
		}
		return operator.Run(ctx, world.Hub.Config, opts)
	}

	require.ErrorContains(t, start(func(o *operator.Options) { o.LeaderElect, o.Namespace = true, "nowhere" }), "create it with kubectl create namespace nowhere")

	remove("fleethandshakes.fleethandshake.io")
	require.ErrorContains(t, start(), "install the chart fleet-handshake-crd")

	old, err := crds.CustomResourceDefinitions().Get(ctx, "bundles.fleet.cattle.io", metav1.GetOptions{})
	require.NoError(t, err)
	for _, v := range old.Spec.Versions {
		delete(v.Schema.OpenAPIV3Schema.Properties["spec"].Properties, "valuesHash")
	}
	_, err = crds.CustomResourceDefinitions().Update(ctx, old, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, start(), "Fleet is too old: its Bundles have no spec.valuesHash; upgrade Fleet to 0.12.1 or newer")

	remove("bundles.fleet.cattle.io")
	require.ErrorContains(t, start(), "Fleet is not installed in this cluster")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	restore()
	err = start(func(o *operator.Options) { o.ListenAddress = listener.Addr().String() })
	require.ErrorContains(t, err, "choose another with --listen-address")
}

func TestForeignObjectsAreNeverTouched(t *testing.T) {
	ctx := context.Background()
	startOperator(t, hub.Operator)
	t.Run("a Secret has the name", func(t *testing.T) {
		hs := makeHandshake(t, "taken-secret")
		says(t, hs.Name, v1alpha1.StateMissing, v1alpha1.ReasonSecretNotFound)
		foreign := makeSecret(t, bundle.Name(hs.Name, hs.UID, "apps"), corev1.SecretTypeOpaque)
		makeSecret(t, hs.Name, corev1.SecretTypeOpaque)
		says(t, hs.Name, v1alpha1.StateError, v1alpha1.ReasonNameTaken)
		now, err := hub.CoreV1().Secrets(workspace).Get(ctx, foreign.Name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, foreign, now)
		require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, foreign.Name, metav1.DeleteOptions{}))
		says(t, hs.Name, v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	})
	for title, labels := range map[string]map[string]string{"a Bundle has the name": nil, "a Bundle has the name and our label": {v1alpha1.LabelHandshake: "forged"}} {
		t.Run(title, func(t *testing.T) {
			name := fmt.Sprintf("taken-bundle-%d", len(labels))
			hs := makeHandshake(t, name)
			says(t, name, v1alpha1.StateMissing, v1alpha1.ReasonSecretNotFound)
			foreign, err := hub.Bundles.Create(ctx, &fleet.Bundle{ObjectMeta: metav1.ObjectMeta{
				Namespace: workspace, Name: bundle.Name(name, hs.UID, "apps"), Labels: labels,
			}})
			require.NoError(t, err)
			t.Cleanup(func() { _ = hub.Bundles.Delete(ctx, workspace, foreign.Name) })
			makeSecret(t, name, corev1.SecretTypeOpaque)
			says(t, name, v1alpha1.StateError, v1alpha1.ReasonNameTaken)
			now, err := hub.Bundles.Get(ctx, workspace, foreign.Name)
			require.NoError(t, err)
			assert.Equal(t, foreign, now)
		})
	}
}

func TestTheDataIsWrittenAgainAfterEachInterval(t *testing.T) {
	ctx := context.Background()
	clock := clocktesting.NewFakePassiveClock(time.Now())
	startOperator(t, hub.Operator, func(o *operator.Options) { o.Clock = clock })
	hs := send(t, "interval")
	var sent *fleet.Bundle
	generation := func(want int64) {
		t.Helper()
		eventually(t, func(ctx context.Context) (err error) {
			sent, err = hub.Bundles.Get(ctx, workspace, bundle.Name(hs.Name, hs.UID, "apps"))
			if err == nil && sent.Spec.ForceSyncGeneration != want {
				err = fmt.Errorf("forceSyncGeneration is %d, not %d", sent.Spec.ForceSyncGeneration, want)
			}
			return err
		})
	}
	generation(1)
	_, outcome := bundle.Render(bundle.Request{
		Handshake: hs, Current: sent, Hash: sent.Spec.ValuesHash, Revision: bundle.DeliveryOf(sent).Revision(),
		Names: []string{hs.Name}, Now: clock.Now(),
	})
	due := outcome.Next
	require.WithinRange(t, due, clock.Now().Add(45*time.Minute), clock.Now().Add(time.Hour))
	clock.SetTime(due.Add(-3 * time.Second))
	// A change of the spec, to see that this sync is through: it raises nothing, and sets a timer of three seconds.
	require.NoError(t, hub.Handshakes.Change(ctx, workspace, hs.Name, func(hs *v1alpha1.FleetHandshake) { hs.Spec.CorrectDrift = ptr.To(false) }))
	eventually(t, func(ctx context.Context) error {
		now, err := hub.Handshakes.Get(ctx, workspace, hs.Name)
		if err == nil && now.Status.ObservedGeneration != now.Generation {
			err = errors.New("not worked off")
		}
		return err
	})
	generation(1)
	// The operator's own status write wakes it once more. Only the timer is left after two seconds.
	time.Sleep(2 * time.Second)
	clock.SetTime(due)
	generation(2)
}

func TestASecretOfATypeThatIsNotWatchedIsFoundAfterItWasMissing(t *testing.T) {
	startOperator(t, hub.Operator)
	for name, secretType := range map[string]corev1.SecretType{
		"late-token": corev1.SecretTypeServiceAccountToken, "late-release": "helm.sh/release.v1",
	} {
		makeHandshake(t, name)
		says(t, name, v1alpha1.StateMissing, v1alpha1.ReasonSecretNotFound)
		makeSecret(t, name, secretType)
		if secretType == "helm.sh/release.v1" {
			// No event tells of it; the next wake-up finds it.
			require.NoError(t, hub.Handshakes.Change(context.Background(), workspace, name, func(hs *v1alpha1.FleetHandshake) { hs.Spec.CorrectDrift = ptr.To(false) }))
		}
		says(t, name, v1alpha1.StateError, v1alpha1.ReasonUnsupportedType)
	}
}

func TestWhatTheAPIServerRefusesIsReported(t *testing.T) {
	ctx := context.Background()
	startOperator(t, hub.Operator)
	quota, err := hub.CoreV1().ResourceQuotas(workspace).Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-more-bundles"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/bundles.fleet.cattle.io": resource.MustParse("0")}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.CoreV1().ResourceQuotas(workspace).Delete(ctx, quota.Name, metav1.DeleteOptions{}) })
	eventually(t, func(ctx context.Context) error {
		q, err := hub.CoreV1().ResourceQuotas(workspace).Get(ctx, quota.Name, metav1.GetOptions{})
		if err == nil && len(q.Status.Hard) == 0 {
			err = errors.New("the quota is not in force yet")
		}
		return err
	})
	send(t, "no-room")
	says(t, "no-room", v1alpha1.StateError, v1alpha1.ReasonWriteFailed)
	require.NoError(t, hub.CoreV1().ResourceQuotas(workspace).Delete(ctx, quota.Name, metav1.DeleteOptions{}))
	says(t, "no-room", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
}

func TestOneOfTwoReplicasWorksAndTheOtherTakesOver(t *testing.T) {
	ctx := context.Background()
	elected := func(o *operator.Options) { o.LeaderElect = true }
	first := startOperator(t, hub.Operator, elected)
	send(t, "first")
	says(t, "first", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	holder := func() string {
		lease, err := hub.CoordinationV1().Leases(install.Namespace).Get(ctx, "fleet-handshake", metav1.GetOptions{})
		require.NoError(t, err)
		return *lease.Spec.HolderIdentity
	}
	leader := holder()
	var requests recorder
	second := rest.CopyConfig(hub.Operator)
	second.Wrap(requests.wrap)
	startOperator(t, second, elected)
	send(t, "both")
	says(t, "both", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	assert.Empty(t, requests.all(), "the standby looks at no Secret")
	require.NoError(t, first())
	send(t, "second")
	says(t, "second", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	assert.NotEqual(t, leader, holder())
}

func TestHealthAndMetrics(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	startOperator(t, hub.Operator, func(o *operator.Options) { o.ListenAddress = address })
	get := func(path string) (string, error) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answers %s", path, response.Status)
		}
		return string(body), err
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		eventually(t, func(context.Context) error { _, err := get(path); return err })
	}
	send(t, "metrics")
	says(t, "metrics", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	eventually(t, func(context.Context) error {
		metrics, err := get("/metrics")
		for _, want := range []string{"fleet_handshake_build_info{", "lasso_controller_total_handler_execution{", "process_resident_memory_bytes"} {
			if err == nil && !strings.Contains(metrics, want) {
				err = fmt.Errorf("no metric %s", want)
			}
		}
		return err
	})
}

// recorder notes the requests that read Secrets.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if path := request.URL.Path; strings.Contains(path, "/secrets") && request.Method == http.MethodGet {
			r.mu.Lock()
			r.seen = append(r.seen, path+" "+request.Header.Get("Accept"))
			r.mu.Unlock()
		}
		return next.RoundTrip(request)
	})
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestOnlyUsedSecretsAreRead(t *testing.T) {
	ctx := context.Background()
	var requests recorder
	cfg := rest.CopyConfig(hub.Operator)
	cfg.Wrap(requests.wrap)
	for i := range 20 {
		makeSecret(t, fmt.Sprintf("foreign-%d", i), corev1.SecretTypeOpaque)
	}
	startOperator(t, cfg)
	hs := send(t, "used")
	says(t, "used", v1alpha1.StatePending, v1alpha1.ReasonNoTargets)
	for i := range 20 {
		secret, err := hub.CoreV1().Secrets(workspace).Get(ctx, fmt.Sprintf("foreign-%d", i), metav1.GetOptions{})
		require.NoError(t, err)
		secret.Data = map[string][]byte{"password": []byte("changed")}
		_, err = hub.CoreV1().Secrets(workspace).Update(ctx, secret, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	// When the deletion of the last one has its effect, all events before it were seen.
	require.NoError(t, hub.CoreV1().Secrets(workspace).Delete(ctx, "used", metav1.DeleteOptions{}))
	says(t, "used", v1alpha1.StateMissing, v1alpha1.ReasonSecretNotFound)

	values := bundle.Name(hs.Name, hs.UID, "apps")
	require.NotEmpty(t, requests.all())
	for _, seen := range requests.all() {
		path, accept, _ := strings.Cut(seen, " ")
		switch path {
		case "/api/v1/secrets":
			assert.Contains(t, accept, "as=PartialObjectMetadata", "the watch must ask for metadata only")
		case "/api/v1/namespaces/" + workspace + "/secrets/used", "/api/v1/namespaces/" + workspace + "/secrets/" + values:
		case "/api/v1/namespaces/" + install.Namespace + "/secrets": // the operator's own: tokens of Vault
		default:
			t.Errorf("a Secret was read that is not used: %s", path)
		}
	}
}
