package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var bundles = schema.GroupVersionResource{Group: "fleet.cattle.io", Version: "v1alpha1", Resource: "bundles"}

// backend stands in for an API server: it counts the writes that it carries out, and a watch of it has three events.
func backend(t *testing.T) (cfg *rest.Config, carriedOut *atomic.Int32) {
	t.Helper()
	carriedOut = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Query().Get("watch") != "":
			for range 3 {
				_, _ = io.WriteString(w, `{"type":"ADDED"}`+"\n")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(20 * time.Millisecond) // so that they come one by one
			}
		case strings.HasSuffix(r.URL.Path, "/refused"):
			w.WriteHeader(http.StatusForbidden)
		default:
			if r.Method != http.MethodGet {
				carriedOut.Add(1)
			}
			_, _ = io.WriteString(w, `{"apiVersion":"fleet.cattle.io/v1alpha1","kind":"Bundle","metadata":{"name":"one"}}`)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, carriedOut
}

func start(t *testing.T, cfg *rest.Config, options Options) *Proxy {
	t.Helper()
	p, err := New(cfg, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// update writes one object through a proxy, once.
func update(t *testing.T, p *Proxy, name string) error {
	t.Helper()
	client, err := dynamic.NewForConfig(p.Config())
	require.NoError(t, err)
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Bundle", "metadata": map[string]any{"name": name}}}
	// More than the silence, and less than the second after which a throttled client comes again.
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err = client.Resource(bundles).Namespace("fleet-default").Update(ctx, object, metav1.UpdateOptions{})
	return err
}

func TestEachKindOfFault(t *testing.T) {
	for kind, want := range map[Kind]struct {
		check func(error) bool
		sides int
	}{
		Conflict:    {apierrors.IsConflict, 1},
		Throttled:   {func(err error) bool { return err != nil }, 1}, // the client waits for a second and is cancelled
		ServerError: {apierrors.IsInternalError, 2},
		Silence:     {func(err error) bool { return err != nil && !apierrors.IsInternalError(err) }, 2},
		LostAnswer:  {func(err error) bool { return err != nil && strings.Contains(err.Error(), "EOF") }, 1},
	} {
		t.Run(string(kind), func(t *testing.T) {
			cfg, carriedOut := backend(t)
			p := start(t, cfg, Options{Seed: 1, Kinds: []Kind{kind}, Patience: 20 * time.Millisecond})
			require.NoError(t, update(t, p, "one"), "it begins calm")
			require.Zero(t, p.Counts()[kind])
			p.Storm(1)
			const times = 8
			for range times {
				err := update(t, p, "one")
				require.True(t, want.check(err), "%v", err)
			}
			count := p.Counts()[kind]
			assert.Equal(t, times, count.Total())
			assert.EqualValues(t, 1+count.After, carriedOut.Load(), "those after the write and no other were carried out")
			switch {
			case want.sides == 2:
				assert.NotZero(t, count.Before)
				assert.NotZero(t, count.After)
			case kind == LostAnswer:
				assert.Zero(t, count.Before)
			default:
				assert.Zero(t, count.After)
			}
			p.Calm()
			require.NoError(t, update(t, p, "one"), "calm is back")
		})
	}
}

func TestAConflictNamesTheObject(t *testing.T) {
	cfg, _ := backend(t)
	p := start(t, cfg, Options{Kinds: []Kind{Conflict}})
	p.Storm(1)
	require.EqualError(t, update(t, p, "one"), `Operation cannot be fulfilled on bundles.fleet.cattle.io "one": the object has been modified; please apply your changes to the latest version and try again`)
}

func TestTooManyRequestsAskToComeAgain(t *testing.T) {
	cfg, _ := backend(t)
	p := start(t, cfg, Options{Kinds: []Kind{Throttled}})
	p.Storm(1)
	response, err := http.Get(p.Config().Host + "/api/v1/namespaces/default/secrets/one")
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	assert.Equal(t, "1", response.Header.Get("Retry-After"))
}

func TestAWriteThatTheAPIServerRefusesIsNoLostAnswer(t *testing.T) {
	cfg, _ := backend(t)
	p := start(t, cfg, Options{Kinds: []Kind{LostAnswer}})
	p.Storm(1)
	require.True(t, apierrors.IsForbidden(update(t, p, "refused")))
	assert.Zero(t, p.Counts()[LostAnswer])
}

func TestAWatchIsCutInTheMiddleOfAnEvent(t *testing.T) {
	cfg, _ := backend(t)
	p := start(t, cfg, Options{Kinds: []Kind{CutWatch}})
	watch := func() (events []string, err error) {
		response, err := http.Get(p.Config().Host + "/api/v1/secrets?watch=true")
		require.NoError(t, err)
		defer response.Body.Close()
		lines := bufio.NewReader(response.Body)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				events = append(events, line)
			}
			if err != nil {
				return events, err
			}
		}
	}
	whole := `{"type":"ADDED"}` + "\n"
	events, err := watch()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{whole, whole, whole}, events)
	p.Storm(1)
	events, err = watch()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, []string{whole, whole[:len(whole)/2]}, events, "one event, and the half of the next")
	assert.Equal(t, Count{Before: 1}, p.Counts()[CutWatch])
}

func TestWhatIsSparedGoesThrough(t *testing.T) {
	cfg, carriedOut := backend(t)
	p := start(t, cfg, Options{Spare: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/events") }})
	p.Storm(1)
	response, err := http.Post(p.Config().Host+"/api/v1/namespaces/default/events", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.EqualValues(t, 1, carriedOut.Load())
}

func TestTheSameSeedMakesTheSameDecisions(t *testing.T) {
	draw := func(seed uint64) (decisions []string) {
		cfg, _ := backend(t)
		p := start(t, cfg, Options{Seed: seed})
		p.Storm(0.5)
		for range 50 {
			r := httptest.NewRequest(http.MethodPut, "/api/v1/namespaces/default/secrets/one", nil)
			f, hit := p.decide(r)
			decisions = append(decisions, fmt.Sprint(f, hit))
		}
		return decisions
	}
	first, again := draw(7), draw(7)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, draw(8))
	for _, kind := range forWrites {
		assert.True(t, slices.ContainsFunc(first, func(d string) bool { return strings.Contains(d, string(kind)) }), kind)
	}
}

func TestAPathNamesAnObject(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/namespaces/default/secrets/one":                                 "secrets one",
		"/api/v1/namespaces/default/secrets":                                     "secrets ",
		"/api/v1/namespaces/default":                                             "namespaces default",
		"/apis/fleet.cattle.io/v1alpha1/namespaces/default/bundles/one":          "bundles.fleet.cattle.io one",
		"/apis/fleethandshake.io/v1alpha1/namespaces/a/fleethandshakes/b/status": "fleethandshakes.fleethandshake.io b",
		"/readyz": " ",
	} {
		resource, name := object(path)
		assert.Equal(t, want, resource.String()+" "+name, path)
	}
}
