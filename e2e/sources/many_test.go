package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

const (
	// many is the namespace of the tests with many sources. All reads there are of mounts whose names begin with it.
	many = "many"
	// reader is a service account there beside the default one, with a role of its own: another identity.
	reader = "reader"

	manyMounts  = 20
	manyPaths   = 100
	manySecrets = 500
	// manyFolders of the paths end with /*, and each folder has so many secrets.
	manyFolders, perFolder = 4, 3
)

// place is a path of a VaultSecret, and what has to be asked of Vault for it.
type place struct {
	path    string
	account string
	asks    []string
}

func mountOf(i int) (name string, v2 bool) { return fmt.Sprintf("%s-%d", many, i%manyMounts), i%2 == 0 }

// places are all paths: on mounts of both versions, and read with two identities.
func places() []place {
	var out []place
	for i := range manyPaths {
		mount, v2 := mountOf(i)
		data, metadata := mount+"/", mount+"/"
		if v2 {
			data, metadata = mount+"/data/", mount+"/metadata/"
		}
		p := place{account: account}
		if i%5 == 0 {
			p.account = reader
		}
		if i >= manyFolders {
			name := fmt.Sprintf("app-%d", i)
			p.path, p.asks = mount+"/"+name, []string{data + name}
		} else {
			folder := fmt.Sprintf("tree-%d/", i)
			p.path, p.asks = mount+"/"+folder+"*", []string{metadata + folder}
			for leaf := range perFolder {
				p.asks = append(p.asks, fmt.Sprintf("%s%sleaf-%d", data, folder, leaf))
			}
		}
		out = append(out, p)
	}
	return out
}

// prepareMany starts a Vault for one test, which server is until that ends: nobody else asks it, and it can be stopped. It
// mounts the engines, writes the secrets, and lets two service accounts read them. What the test makes in the namespace is
// deleted when it ends, after the operator.
func prepareMany(t *testing.T, policies ...string) {
	t.Helper()
	ctx := t.Context()
	own, err := labvault.Start(ctx, labvault.Options{Dir: filepath.Join(world.Dir, t.Name()), TLS: true, Audit: true, Progress: t.Output()})
	require.NoError(t, err)
	common := server
	server = own
	t.Cleanup(func() {
		server = common
		require.NoError(t, own.Stop())
	})
	require.NoError(t, server.Kubernetes(ctx, mount, world.Hub, labvault.KubernetesOptions{}))
	require.NoError(t, server.Policy(ctx, many, `path "`+many+`-*" { capabilities = ["read", "list"] }`))
	for role, account := range map[string]string{many: account, reader: reader} {
		_, err := labvault.ServiceAccountToken(ctx, world.Hub, many, account) // makes the account
		require.NoError(t, err)
		granted := labvault.Role{Name: role, Policies: append([]string{many}, policies...), TTL: time.Hour, MaxTTL: time.Hour}
		require.NoError(t, server.KubernetesRole(ctx, mount, granted, many, account, ""))
	}
	for i := range manyMounts {
		name, v2 := mountOf(i)
		version := map[bool]string{false: "1", true: "2"}[v2]
		require.NoError(t, server.Root().Sys().MountWithContext(ctx, name, &api.MountInput{Type: "kv", Options: map[string]string{"version": version}}))
	}
	for i, p := range places() {
		for _, ask := range p.asks {
			if strings.HasSuffix(ask, "/") {
				continue
			}
			data := map[string]any{fmt.Sprintf("key-%d", i): "value", "of": ask}
			if _, v2 := mountOf(i); v2 {
				require.NoError(t, server.PutSecret(ctx, strings.Replace(ask, "/data/", "/", 1), data))
				continue
			}
			_, err := server.Root().Logical().WriteWithContext(ctx, ask, data)
			require.NoError(t, err)
		}
	}
	t.Cleanup(func() { clearMany(t) })
}

// clearMany deletes all sources and Secrets of the namespace. They have no finalizers.
func clearMany(t *testing.T) {
	t.Helper()
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	ctx := context.Background()
	for _, resource := range []string{"vaultsecrets", "vaultdynamicsecrets", "vsecmsecrets"} {
		of := dyn.Resource(v1alpha1.SchemeGroupVersion.WithResource(resource)).Namespace(many)
		require.NoError(t, of.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	}
	require.NoError(t, hub.CoreV1().Secrets(many).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// makeMany creates so many objects, several at a time.
func makeMany(t *testing.T, n int, create func(ctx context.Context, i int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return create(t.Context(), i) })
	}
	require.NoError(t, group.Wait())
}

// manyOf makes the VaultSecrets, with each path in several of them.
func manyOf(t *testing.T, n int, period, maxAge time.Duration) {
	t.Helper()
	all := places()
	makeMany(t, n, func(ctx context.Context, i int) error {
		p := all[i%len(all)]
		spec := v1alpha1.VaultSecretSpec{Paths: paths(p.path), ReconcilePeriod: &metav1.Duration{Duration: period}, MaxAge: &metav1.Duration{Duration: maxAge}}
		if p.account != account {
			spec.Auth.ServiceAccountRef = &v1alpha1.VaultServiceAccountRef{Name: p.account, Role: p.account}
		}
		_, err := hub.VaultKV.Create(ctx, &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: many, Name: fmt.Sprintf("app-%03d", i)}, Spec: spec})
		return err
	})
}

// within asks five times a second until condition is nil: what it looks at is too much to ask for all the time.
func within(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, limit, true, func(context.Context) (bool, error) {
		last = condition()
		return last == nil, nil
	})
	require.NoError(t, errors.Join(err, last))
}

// watched gives the objects of a resource in the namespace as they are now. To list them all again and again would keep the
// API server busy.
func watched[T any](t *testing.T, resource string) func() []*T {
	t.Helper()
	dyn, err := dynamic.NewForConfig(world.Hub.Config)
	require.NoError(t, err)
	informer := dynamicinformer.NewFilteredDynamicInformer(dyn, v1alpha1.SchemeGroupVersion.WithResource(resource), many, 0, cache.Indexers{}, nil).Informer()
	require.NoError(t, informer.SetTransform(func(o any) (any, error) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return o, nil
		}
		out := new(T)
		return out, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out)
	}))
	go informer.RunWithContext(t.Context())
	require.True(t, cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced))
	return func() []*T {
		var out []*T
		for _, o := range informer.GetStore().List() {
			out = append(out, o.(*T))
		}
		return out
	}
}

// areReady is an error until so many sources are Ready with what was fetched after a time.
func areReady[T any, S interface {
	*T
	v1alpha1.Source
}](all []*T, n int, after time.Time) error {
	have, other := 0, "none"
	for _, o := range all {
		src := S(o)
		status := src.Made()
		if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) && status.LastFetchedAt.After(after) {
			have++
		} else {
			other = fmt.Sprintf("%s, which says %v", src.GetName(), status.Conditions)
		}
	}
	if have != n {
		return fmt.Errorf("%d of %d sources are ready; not so %s", have, n, other)
	}
	return nil
}

// versionsOf are the resourceVersions of all Secrets of the namespace: they change with each write.
func versionsOf(t *testing.T) map[string]string {
	t.Helper()
	list, err := hub.CoreV1().Secrets(many).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]string{}
	for _, s := range list.Items {
		out[s.Name] = string(s.UID) + "/" + s.ResourceVersion
	}
	return out
}

// unchanged checks that nobody has written or deleted a Secret of the namespace.
func unchanged(t *testing.T, before map[string]string) {
	t.Helper()
	now := versionsOf(t)
	var other []string
	for name, version := range before {
		if now[name] != version {
			other = append(other, name)
		}
	}
	assert.Empty(t, other, "Secrets that were written or deleted")
	assert.Equal(t, len(before), len(now), "Secrets") //nolint:testifylint // the difference would fill pages
}

// asked is what the operator has asked Vault, and got an answer to, after a time, in the order of the answers.
func asked(t *testing.T, after time.Time) []labvault.Request {
	t.Helper()
	all, err := server.Requests()
	require.NoError(t, err)
	all = slices.DeleteFunc(all, func(r labvault.Request) bool { return !r.Time.After(after) || r.Who == "root" })
	slices.SortStableFunc(all, func(a, b labvault.Request) int { return a.Time.Compare(b.Time) })
	return all
}

// timesOf are the requests by path.
func timesOf(requests []labvault.Request) map[string][]time.Time {
	out := map[string][]time.Time{}
	for _, r := range requests {
		out[r.Path] = append(out[r.Path], r.Time)
	}
	return out
}

const (
	loginPath = "auth/" + mount + "/login"
	mountPath = "sys/internal/ui/mounts/"
)

// busiest is the greatest number of requests in any second.
func busiest(requests []labvault.Request) int {
	most, from := 0, 0
	for i, r := range requests {
		for !requests[from].Time.Add(time.Second).After(r.Time) {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// freeAddress is one that the operator can serve its metrics at.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := clients.FreeAddress(t.Context())
	require.NoError(t, err)
	return address
}

// metric gives the samples of a metric whose line has all of these words, by their labels.
func metric(t *testing.T, address, name string, words ...string) map[string]float64 {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	out := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		labels, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || !strings.HasPrefix(labels, name+"{") || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(labels, w) }) {
			continue
		}
		out[labels], err = strconv.ParseFloat(value, 64)
		require.NoError(t, err, line)
	}
	return out
}

func sum(samples map[string]float64) (total int) {
	for _, value := range samples {
		total += int(value)
	}
	return total
}
