package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bundlesKey is where etcd has the Bundles of the workspace, and bundlesEnd the first key behind them.
const (
	bundlesKey = "/registry/fleet.cattle.io/bundles/" + workspace + "/"
	bundlesEnd = "/registry/fleet.cattle.io/bundles/" + workspace + "0"
)

// stored are the Bundles as etcd has them. It needs no API server.
func stored(t *testing.T) []*fleet.Bundle {
	t.Helper()
	var out []*fleet.Bundle
	require.NoError(t, world.Hub.RangeEtcd(t.Context(), bundlesKey, func(_ string, value []byte) error {
		b := &fleet.Bundle{}
		out = append(out, b)
		return json.Unmarshal(value, b)
	}))
	return out
}

func ownerOf(b *fleet.Bundle) string {
	if owner := metav1.GetControllerOfNoCopy(b); owner != nil {
		return owner.Name
	}
	return ""
}

// askEtcd sends a request to etcd's JSON gateway. 64-bit numbers travel as strings.
func askEtcd(t *testing.T, path string, request any) *json.Decoder {
	t.Helper()
	body, err := json.Marshal(request)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, world.Hub.EtcdURL+path, bytes.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(post)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	return json.NewDecoder(response.Body)
}

// keyValue is one state of a key.
type keyValue struct {
	Value    []byte `json:"value"`
	Modified int64  `json:"mod_revision,string"`
}

// revision is that of etcd, and of the Bundle that was written last.
func revision(t *testing.T) (now, lastBundle int64) {
	t.Helper()
	var answer struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
		KVs []keyValue `json:"kvs"`
	}
	require.NoError(t, askEtcd(t, "/v3/kv/range", map[string]any{
		"key": []byte(bundlesKey), "range_end": []byte(bundlesEnd), "limit": "1", "sort_order": "DESCEND", "sort_target": "MOD",
	}).Decode(&answer))
	if len(answer.KVs) > 0 {
		lastBundle = answer.KVs[0].Modified
	}
	return answer.Header.Revision, lastBundle
}

// history are all states that etcd has stored of Bundles since a revision, in order. Unlike a watch of the API server it
// misses none, also when the API server was away.
func history(t *testing.T, since int64) []*fleet.Bundle {
	t.Helper()
	_, end := revision(t)
	var out []*fleet.Bundle
	if end <= since {
		return nil
	}
	answers := askEtcd(t, "/v3/watch", map[string]any{"create_request": map[string]any{
		"key": []byte(bundlesKey), "range_end": []byte(bundlesEnd), "start_revision": fmt.Sprint(since + 1),
	}})
	for {
		var answer struct {
			Result struct {
				Canceled bool `json:"canceled"`
				Events   []struct {
					KV keyValue `json:"kv"`
				} `json:"events"`
			} `json:"result"`
		}
		require.NoError(t, answers.Decode(&answer))
		require.False(t, answer.Result.Canceled, "etcd no longer has the history since revision %d", since)
		for _, event := range answer.Result.Events {
			if len(event.KV.Value) > 0 { // not a deletion
				b := &fleet.Bundle{}
				require.NoError(t, json.Unmarshal(event.KV.Value, b))
				out = append(out, b)
			}
			if event.KV.Modified >= end {
				return out
			}
		}
	}
}

// checkNumbers fails when one number was used for two contents for one cluster, or when the number of a Bundle became
// lower. It returns how many revisions were sent.
func checkNumbers(t *testing.T, states []*fleet.Bundle) (revisions int) {
	t.Helper()
	meaning, last, sent := map[string]string{}, map[string]int64{}, map[string]bool{}
	for _, b := range states {
		assert.GreaterOrEqual(t, b.Spec.ForceSyncGeneration, last[b.Name], "the number of the Bundle of %s went down", ownerOf(b))
		last[b.Name] = b.Spec.ForceSyncGeneration
		for _, target := range b.Spec.Targets {
			number, content := b.Spec.ForceSyncGeneration, b.Spec.ValuesHash
			if target.ForceSyncGeneration > 0 {
				number = target.ForceSyncGeneration
			}
			if target.Name != bundle.ValuesKey {
				// Whoever is told to remove its copy gets no values.
				content = target.Name
			} else {
				sent[b.Name+bundle.DeliveryOf(b).Revision()] = true
			}
			key := fmt.Sprintf("number %d of %s for %s", number, ownerOf(b), target.ClusterName)
			if meaning[key] == "" {
				meaning[key] = content
			}
			assert.Equal(t, meaning[key], content, "%s was used for two contents", key)
		}
	}
	return len(sent)
}
