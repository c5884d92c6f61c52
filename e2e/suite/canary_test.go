package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/canary"
	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// scan lists where the text is and must not be: outside Secrets in the etcd of each cluster, and in the logs.
func scan(ctx context.Context, text string) ([]string, error) {
	var leaks []string
	for _, c := range world.Clusters() {
		found, err := canary.Leaks(ctx, c, text)
		if err != nil {
			return nil, err
		}
		leaks = append(leaks, found...)
	}
	for _, form := range canary.Forms(text) {
		if strings.Contains(logs.String(), string(form)) {
			leaks = append(leaks, "the operator's log")
		}
	}
	return leaks, nil
}

func assertSealed(t *testing.T, text string) {
	t.Helper()
	leaks, err := scan(t.Context(), text)
	require.NoError(t, err)
	assert.Empty(t, leaks, "these hold secret data")
}

// driftUntilReported edits data and a label of a copy until Fleet has reported it. Fleet does not see what is edited
// within the first seconds after it has applied something, so it is edited more than once.
func driftUntilReported(t *testing.T, site, name string) {
	t.Helper()
	var err error
	for attempt := range 6 {
		edit(t, site, name, fmt.Sprintf(`{"data":{"password":"Zm9yZ2Vk"},"metadata":{"labels":{"app":"forged-%d"}}}`, attempt))
		err = clients.Until(t.Context(), 15*time.Second, func(ctx context.Context) error {
			hs, err := hub.Handshakes.Get(ctx, workspace, name)
			if err != nil {
				return err
			}
			for _, r := range hs.Status.Clusters {
				if r.Name == site && r.State == v1alpha1.ClusterModified {
					return nil
				}
			}
			return errors.New(site + " is not Modified")
		})
		if err == nil {
			return
		}
	}
	require.NoError(t, err)
}

// assertMetricsSealed reads the metrics of the operator, and looks for the text and for words of Fleet in them.
func assertMetricsSealed(t *testing.T, address, text string) {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(metrics), "fleet_handshake_clusters{", "the metrics of handshakes are there")
	assert.False(t, canary.Holds(metrics, text), "a metric holds secret data")
	for _, words := range fleetsWords {
		assert.False(t, bytes.Contains(metrics, []byte(words)), "a metric has Fleet's words %q", words)
	}
}

func TestNoSecretByteOutsideKindSecret(t *testing.T) {
	address, err := clients.FreeAddress(t.Context())
	require.NoError(t, err)
	startOperator(t, func(o *operator.Options) { o.ListenAddress = address })
	ctx := context.Background()
	const first, second = marker + " before the rotation", marker + " after the rotation"
	secret := source("canary", map[string][]byte{"password": []byte(first)})
	// kubectl apply leaves a copy of the data in this annotation.
	applied, err := json.Marshal(map[string]any{"data": secret.Data})
	require.NoError(t, err)
	secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: string(applied)}
	secret.Labels = map[string]string{"app": "shop"}
	create(t, secret, toGroup("canary"))
	says(t, "canary", v1alpha1.StateSynced, "")
	arrives(t, "paris", "apps", "canary", secret.Data)
	itself, err := canary.WhereIs(ctx, world.Hub, first)
	require.NoError(t, err)
	require.NotEmpty(t, itself, "the scan must find the Secret itself")
	assertSealed(t, marker)

	// Drift that stays: Fleet has reported it when the row says so.
	correct := func(on bool) {
		require.NoError(t, hub.Handshakes.Change(ctx, workspace, "canary", func(hs *v1alpha1.FleetHandshake) { hs.Spec.CorrectDrift = ptr.To(on) }))
		eventually(t, func(ctx context.Context) error {
			deployments, err := hub.Deployments.List(ctx, "", v1alpha1.LabelName+"=canary")
			for _, bd := range deployments {
				if bd.Spec.CorrectDrift == nil || bd.Spec.CorrectDrift.Enabled != on {
					return errors.New("correctDrift has not reached the deployments yet")
				}
			}
			return err
		})
	}
	correct(false)
	driftUntilReported(t, "paris", "canary")
	assertSealed(t, marker)
	assertMetricsSealed(t, address, marker)
	correct(true)
	askForResync(t, "canary")
	arrives(t, "paris", "apps", "canary", secret.Data)
	arrives(t, "tokyo", "apps", "canary", secret.Data)
	hs := says(t, "canary", v1alpha1.StateSynced, "")

	// Drift that is corrected at once.
	edit(t, "paris", "canary", `{"data":{"password":"Zm9yZ2Vk"},"metadata":{"labels":{"forged":"yes"}}}`)
	edit(t, "tokyo", "canary", `{"data":{"password":null,"extra":"eA=="}}`)
	edit(t, "tokyo", "canary", `{"metadata":{"annotations":{"objectset.rio.cattle.io/id":"forged"}}}`)
	eventually(t, func(ctx context.Context) error {
		copied, err := sites["tokyo"].CoreV1().Secrets("apps").Get(ctx, "canary", metav1.GetOptions{})
		if err == nil && copied.Annotations["objectset.rio.cattle.io/id"] == "forged" {
			err = fmt.Errorf("the drift in tokyo is not corrected yet")
		}
		return err
	})
	assertSealed(t, marker)

	rotate(t, "canary", map[string][]byte{"password": []byte(second)})
	scrubbed(t, hs)
	arrives(t, "tokyo", "apps", "canary", map[string][]byte{"password": []byte(second)})
	assertSealed(t, marker)
	for _, c := range world.Downstream {
		keys, err := canary.WhereIs(ctx, c, first)
		require.NoError(t, err)
		for _, key := range keys {
			t.Errorf("%s: %s holds the former value after the scrub", c.Name, key)
		}
	}
	require.NoError(t, sites["paris"].CoreV1().Secrets("apps").Delete(ctx, "canary", metav1.DeleteOptions{}))
	arrives(t, "paris", "apps", "canary", map[string][]byte{"password": []byte(second)})
	assertSealed(t, marker)

	// A cluster that cannot apply it: Fleet's message quotes what it could not apply.
	_, err = sites["paris"].CoreV1().Secrets("apps").Patch(ctx, "canary", types.MergePatchType, []byte(`{"immutable":true}`), metav1.PatchOptions{})
	require.NoError(t, err)
	rotate(t, "canary", map[string][]byte{"password": []byte(marker + " that paris does not take")})
	row(t, "canary", "paris", v1alpha1.ClusterErrApplied)
	assertSealed(t, marker)
	assertMetricsSealed(t, address, marker)
	withdraw(t, hs)
	goes(t, "paris", "apps", "canary")
	assertSealed(t, marker)
}
