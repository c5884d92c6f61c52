package source

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/event"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

const kindName = "VaultSecret"

var (
	begin    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	resource = schema.GroupResource{Group: "fleethandshake.io", Resource: "vaultsecrets"}
)

// world is what a Controller sees: sources, Secrets and a Fetcher, all in memory.
type world struct {
	*Controller
	*fetcher
	t       *testing.T
	clock   *clocktesting.FakePassiveClock
	core    *fake.Clientset
	version int
	sources map[string]*v1alpha1.VaultSecret
	// statusFails and secretFails are the errors of the next writes.
	statusFails, secretFails error
	statusWrites             int
	served                   bool
}

// fetcher is a Fetcher that gives content, and notes what it was called for.
type fetcher struct {
	content  Content
	err      error
	wants    []Want
	releases bool
	// given back: released, discarded and forgotten.
	released, discarded []string
	releaseFails        error
	forgotten, resumed  int
	settle              func(json.RawMessage) (json.RawMessage, error)
	resume              bool
	during              func()
}

func (f *fetcher) Fetch(_ context.Context, _ v1alpha1.Source, want Want) (Content, error) {
	f.wants = append(f.wants, want)
	if f.during != nil {
		f.during()
	}
	return f.content, f.err
}

func (f *fetcher) Resume(_ context.Context, _ v1alpha1.Source, state func() (json.RawMessage, error)) bool {
	f.resumed++
	_, _ = state()
	return f.resume
}

func (f *fetcher) Discard(_ context.Context, _ v1alpha1.Source, state json.RawMessage) {
	f.discarded = append(f.discarded, string(state))
}

func (f *fetcher) Settle(_ context.Context, _ v1alpha1.Source, state json.RawMessage) (json.RawMessage, error) {
	if f.settle != nil {
		return f.settle(state)
	}
	return state, nil
}

func (f *fetcher) Releases(v1alpha1.Source) bool { return f.releases }

func (f *fetcher) Release(_ context.Context, _ v1alpha1.Source, state json.RawMessage) error {
	if f.releaseFails == nil {
		f.released = append(f.released, string(state))
	}
	return f.releaseFails
}

func (f *fetcher) Forget(string, string) { f.forgotten++ }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clocktesting.NewFakePassiveClock(begin), core: fake.NewSimpleClientset(), sources: map[string]*v1alpha1.VaultSecret{}, served: true}
	w.fetcher = &fetcher{resume: true, content: Content{Type: corev1.SecretTypeOpaque, Data: bytesOf(map[string]string{"user": "anna"}), Keys: map[string]Origin{"user": {Path: "secret/a", Version: 1}},
		FetchedAt: begin, Next: begin.Add(8 * time.Minute), StaleAt: begin.Add(30 * time.Minute)}}
	w.restart()
	for _, verb := range []string{"create", "update"} {
		w.core.PrependReactor(verb, "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if w.secretFails != nil {
				return true, nil, w.secretFails
			}
			w.stamp(action.(clienttesting.CreateAction).GetObject().(*corev1.Secret)) //nolint:forcetypeassert // both have this
			return false, nil, nil
		})
	}
	return w
}

// restart forgets all that is only remembered.
func (w *world) restart() {
	c := &Controller{Config: Config{Secrets: w, Writer: w.core.CoreV1(), Events: event.NewRecorder(w.core.CoreV1()), Workers: 1, Clock: w.clock},
		metrics: newCounters(), memos: map[key]memo{}, targets: map[string]map[key]bool{}}
	c.queue = newQueue(c.urgent)
	c.kinds = map[string]Kind{kindName: {
		name: kindName, fetcher: w.fetcher,
		get: func(_, name string) (v1alpha1.Source, error) {
			if src, ok := w.sources[name]; ok {
				return src, nil
			}
			return nil, apierrors.NewNotFound(resource, name)
		},
		list: func() (out []v1alpha1.Source, err error) {
			for _, src := range w.sources {
				out = append(out, src)
			}
			return out, nil
		},
		updateStatus: func(src v1alpha1.Source) (v1alpha1.Source, error) {
			if err := w.statusFails; err != nil {
				w.statusFails = nil
				return nil, err
			}
			w.statusWrites++
			return w.store(src.DeepCopyObject().(*v1alpha1.VaultSecret)), nil //nolint:forcetypeassert // there is no other kind
		},
		patch: func(_, name string, patch []byte) (v1alpha1.Source, error) {
			var p struct {
				Metadata struct {
					Finalizers []string `json:"finalizers"`
				} `json:"metadata"`
			}
			if err := json.Unmarshal(patch, &p); err != nil {
				return nil, err
			}
			src := w.sources[name].DeepCopy()
			src.Finalizers = p.Metadata.Finalizers
			return w.store(src), nil
		},
	}}
	w.Controller = c
}

func (w *world) stamp(o metav1.Object) {
	w.version++
	o.SetResourceVersion(fmt.Sprint(w.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", w.version)))
	}
}

func (w *world) store(src *v1alpha1.VaultSecret) *v1alpha1.VaultSecret {
	w.stamp(src)
	if src.DeletionTimestamp != nil && len(src.Finalizers) == 0 {
		delete(w.sources, src.Name)
		return src
	}
	w.sources[src.Name] = src
	return src
}

// OnChange, Serves, Version and Get are those of Secrets.
func (w *world) OnChange(func(metav1.Object)) {}
func (w *world) Serves(string) bool           { return w.served }
func (w *world) Version(_, name string) string {
	secret, err := w.Get(context.Background(), "team", name)
	if err != nil {
		return ""
	}
	return secrets.VersionOf(secret)
}

func (w *world) Get(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return w.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// source makes or changes a source, as a user does.
func (w *world) source(name string, change ...func(*v1alpha1.VaultSecret)) *v1alpha1.VaultSecret {
	src := &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}}
	if old, ok := w.sources[name]; ok {
		src = old.DeepCopy()
	}
	for _, c := range change {
		c(src)
	}
	src.Generation++
	return w.store(src)
}

// work syncs a source once.
func (w *world) work(name string) (time.Duration, error) {
	return w.sync(w.t.Context(), key{kindName, "team", name})
}

// works syncs a source once, which has to work.
func (w *world) works(name string) time.Duration {
	w.t.Helper()
	wait, err := w.work(name)
	require.NoError(w.t, err)
	return wait
}

// secret is the data of a Secret; nil when there is none.
func (w *world) secret(name string) map[string]string {
	w.t.Helper()
	secret, err := w.Get(w.t.Context(), "team", name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(w.t, err)
	out := map[string]string{}
	for key, value := range secret.Data {
		out[key] = string(value)
	}
	return out
}

// edit changes a Secret as somebody else. The keys are noted as his.
func (w *world) edit(name string, change func(*corev1.Secret), keys ...string) {
	w.t.Helper()
	secret, err := w.Get(w.t.Context(), "team", name)
	require.NoError(w.t, err)
	change(secret)
	if len(keys) > 0 {
		secret.ManagedFields = append(secret.ManagedFields, managedBy("kubectl-edit", keys...))
	}
	_, err = w.core.CoreV1().Secrets("team").Update(w.t.Context(), secret, metav1.UpdateOptions{})
	require.NoError(w.t, err)
}

// managedBy is what the API server notes about keys that somebody has set.
func managedBy(manager string, keys ...string) metav1.ManagedFieldsEntry {
	data := map[string]any{}
	for _, key := range keys {
		data["f:"+key] = map[string]any{}
	}
	raw, err := json.Marshal(map[string]any{"f:data": data, "f:type": map[string]any{}})
	if err != nil {
		panic(err) // it is a map of maps
	}
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw))}
}

// ready is status and reason of the condition Ready.
func (w *world) ready(name string) string { return w.says(name, v1alpha1.ConditionReady) }

func (w *world) says(name, conditionType string) string {
	c := meta.FindStatusCondition(w.sources[name].Status.Conditions, conditionType)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

// events are the reasons of all events, in order.
func (w *world) events() (out []string) {
	w.t.Helper()
	for _, action := range w.core.Actions() {
		if create, ok := action.(clienttesting.CreateAction); ok && action.Matches("create", "events") {
			out = append(out, create.GetObject().(*corev1.Event).Reason) //nolint:forcetypeassert // it is one
		}
	}
	return out
}

func bytesOf(data map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for key, value := range data {
		out[key] = []byte(value)
	}
	return out
}
