package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/e2e/rights"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// limits is a policy of all roles: what nobody may read, and that keys may be signed.
const (
	limits     = "limits"
	openLimits = `
path "` + labvault.PKIMount + `/sign/*" { capabilities = ["update"] }
path "secret/data/closed/*" { capabilities = ["deny"] }`
)

// database is started by the first test that needs it, with short lives.
var database struct {
	sync.Mutex
	*postgres.Server
}

// useDatabase lets leases and the password of the static role live so long. Without PostgreSQL the test is skipped.
func useDatabase(t *testing.T, options labvault.DatabaseOptions) *postgres.Server {
	t.Helper()
	if err := postgres.Available(); err != nil {
		t.Skip(err)
	}
	database.Lock()
	defer database.Unlock()
	if database.Server == nil {
		var err error
		database.Server, err = postgres.Start(context.Background(), postgres.Options{Dir: filepath.Join(world.Dir, "postgres"), Progress: os.Stdout})
		require.NoError(t, err)
	}
	require.NoError(t, server.Database(t.Context(), database.Server, options))
	return database.Server
}

func stopDatabase() error {
	if database.Server == nil {
		return nil
	}
	return database.Stop()
}

// misfits names each right for sources that no test has needed, and each request that was refused although the namespace
// is not the one without rights.
func misfits() ([]string, error) {
	used, err := rights.On(world.Hub)
	if err != nil {
		return nil, err
	}
	found, err := used.Unneeded(nil, "sources.yaml", "vault.yaml")
	if err != nil {
		return nil, err
	}
	more, err := used.Unneeded(rights.OfSources, "operator.yaml")
	found = append(found, more...)
	for _, e := range used.Refused {
		if e.ObjectRef.Namespace != other {
			found = append(found, fmt.Sprintf("the operator was refused: %s", e))
		}
	}
	return found, err
}

// makes creates an object, and deletes it when the test ends, which waits until it is gone.
func makes[T any, P interface {
	*T
	metav1.Object
}](t *testing.T, k clients.Kind[T], o P) P {
	t.Helper()
	made, err := k.Create(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { goes(t, k, o.GetNamespace(), o.GetName()) })
	return made
}

// goes deletes an object, and waits until it is gone.
func goes[T any](t *testing.T, k clients.Kind[T], namespace, name string) {
	t.Helper()
	_ = k.Delete(context.Background(), namespace, name)
	eventually(t, func(ctx context.Context) error {
		_, err := k.Get(ctx, namespace, name)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is still there: %w", name, err)
		}
		return nil
	})
}

// tells waits until a source has this condition.
func tells[T any, P interface {
	*T
	v1alpha1.Source
}](t *testing.T, k clients.Kind[T], namespace, name, condition string, status metav1.ConditionStatus, reason string) P {
	t.Helper()
	var src P
	eventually(t, func(ctx context.Context) error {
		o, err := k.Get(ctx, namespace, name)
		if err != nil {
			return err
		}
		src = o
		c := meta.FindStatusCondition(src.Made().Conditions, condition)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != src.GetGeneration() {
			return fmt.Errorf("%s says %v", name, src.Made().Conditions)
		}
		return nil
	})
	return src
}

func messageOf(src v1alpha1.Source, condition string) string {
	if c := meta.FindStatusCondition(src.Made().Conditions, condition); c != nil {
		return c.Message
	}
	return ""
}

// secretWhere waits until the Secret of a name fits.
func secretWhere(t *testing.T, name string, fits func(*corev1.Secret) error) *corev1.Secret {
	t.Helper()
	return secretWithin(t, 30*time.Second, name, fits)
}

func secretWithin(t *testing.T, limit time.Duration, name string, fits func(*corev1.Secret) error) *corev1.Secret {
	t.Helper()
	var secret *corev1.Secret
	require.NoError(t, clients.Until(context.Background(), limit, func(ctx context.Context) (err error) {
		if secret, err = hub.CoreV1().Secrets(team).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return fits(secret)
	}))
	return secret
}

func anything(*corev1.Secret) error { return nil }

// foreign makes a Secret of somebody else, and deletes it when the test ends.
func foreign(t *testing.T, name string, data map[string]string) {
	t.Helper()
	_, err := hub.CoreV1().Secrets(team).Create(t.Context(), &corev1.Secret{ObjectMeta: meta1(name), StringData: data}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = hub.CoreV1().Secrets(team).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

// edits patches a Secret as somebody else.
func edits(t *testing.T, name, patch string) {
	t.Helper()
	_, err := hub.CoreV1().Secrets(team).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
	require.NoError(t, err)
}

// refreshes asks a source for a fetch now.
func refreshes[T any, P interface {
	*T
	metav1.Object
}](t *testing.T, k clients.Kind[T], name string) {
	t.Helper()
	require.NoError(t, k.Change(t.Context(), team, name, func(o *T) {
		P(o).SetAnnotations(map[string]string{v1alpha1.AnnotationRefresh: time.Now().String()})
	}))
}

var errSame = errors.New("it is still the same")
