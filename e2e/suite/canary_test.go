package suite

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// forms are the ways in which a text may stand in a store: plain, and in base64 at each of the three offsets, without
// the characters at both ends that depend on their neighbours.
func forms(text string) [][]byte {
	out := [][]byte{[]byte(text)}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
		out = append(out, []byte(encoded[4:len(encoded)-4]))
	}
	return out
}

// holds says whether a value holds the text in one of its forms, also inside gzip in base64, as Fleet's Contents and
// Helm's releases are, and inside base64 of base64.
func holds(value []byte, text string) bool {
	for _, form := range forms(text) {
		if bytes.Contains(value, form) || bytes.Contains(value, forms(string(form))[1]) {
			return true
		}
	}
	for _, field := range bytes.FieldsFunc(value, func(r rune) bool { return r == '"' || r < ' ' }) {
		for range 2 {
			decoded, err := base64.StdEncoding.DecodeString(string(field))
			if err != nil {
				break
			}
			field = decoded
			if reader, err := gzip.NewReader(bytes.NewReader(decoded)); err == nil {
				plain, _ := io.ReadAll(reader)
				if holds(plain, text) {
					return true
				}
			}
		}
	}
	return false
}

// whereIs lists the keys in a cluster's etcd whose values hold the text.
func whereIs(ctx context.Context, c *lab.Cluster, text string) ([]string, error) {
	var keys []string
	scanned := 0
	err := c.RangeEtcd(ctx, "/", func(key string, value []byte) error {
		scanned++
		if holds(value, text) {
			keys = append(keys, key)
		}
		return nil
	})
	if err == nil && scanned < 50 {
		err = fmt.Errorf("the scan of %s has seen %d keys only", c.Name, scanned)
	}
	return keys, err
}

// scan lists where the text is and must not be: outside Secrets in the etcd of each cluster, and in the logs.
func scan(ctx context.Context, text string) ([]string, error) {
	var leaks []string
	for _, c := range world.Clusters() {
		keys, err := whereIs(ctx, c, text)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if !strings.HasPrefix(key, "/registry/secrets/") {
				leaks = append(leaks, c.Name+": "+key)
			}
		}
	}
	for _, form := range forms(text) {
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

func TestTheScanFindsWhatItLooksFor(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(`{"data":"` + base64.StdEncoding.EncodeToString([]byte("x"+marker+"y")) + `"}`))
	_ = w.Close()
	encoded := base64.StdEncoding.EncodeToString(zipped.Bytes())
	for title, value := range map[string]string{
		"plain": "a " + marker, "base64": base64.StdEncoding.EncodeToString([]byte("ab" + marker + "c")),
		"gzip in base64": `{"content":"` + encoded + `"}`, "gzip in base64 twice": `{"release":"` + base64.StdEncoding.EncodeToString([]byte(encoded)) + `"}`,
	} {
		assert.True(t, holds([]byte(value), marker), title)
	}
	assert.False(t, holds([]byte(`{"content":"CANARY"}`), marker))
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
	assert.False(t, holds(metrics, text), "a metric holds secret data")
	for _, words := range fleetsWords {
		assert.False(t, bytes.Contains(metrics, []byte(words)), "a metric has Fleet's words %q", words)
	}
}

func TestNoSecretByteOutsideKindSecret(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
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
	itself, err := whereIs(ctx, world.Hub, first)
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
		keys, err := whereIs(ctx, c, first)
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
