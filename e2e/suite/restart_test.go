package suite

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
)

// killAfterWrites makes this test binary run an operator that the kernel kills right after it has made so many writes.
const killAfterWrites = "FLEET_HANDSHAKE_KILL_AFTER_WRITES"

func runMortalOperator() int {
	writes, err := strconv.ParseInt(os.Getenv(killAfterWrites), 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var left atomic.Int64
	left.Store(writes)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &fuse{next, &left} })
	if err := operator.Run(context.Background(), cfg, options()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// fuse is a transport that injects a fault: it kills the process once the API server has answered the last write.
type fuse struct {
	next http.RoundTripper
	left *atomic.Int64
}

func (f *fuse) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := f.next.RoundTrip(r)
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		if err == nil && response.StatusCode < 300 && f.left.Add(-1) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	return response, err
}

// outlive runs operators one after the other, each of which is killed after its first write, until reached says that
// the goal is reached. It returns how many were killed.
func outlive(t *testing.T, kubeconfig string, reached func() bool) int {
	t.Helper()
	for deaths := 0; ; {
		require.Less(t, deaths, 60, "no end of writes in sight")
		var output clients.Buffer
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killAfterWrites+"=1", "KUBECONFIG="+kubeconfig)
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&output, &logs), io.MultiWriter(&output, &logs)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, cmd.Start())
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		deadline := time.NewTimer(patience)
		tick := time.NewTicker(100 * time.Millisecond)
	life:
		for {
			select {
			case err := <-exited:
				require.ErrorContains(t, err, "killed", output.String())
				deaths++
				break life
			case <-tick.C:
				if reached() {
					_ = cmd.Process.Kill()
					require.ErrorContains(t, <-exited, "killed")
					tick.Stop()
					return deaths
				}
			case <-deadline.C:
				_ = cmd.Process.Kill()
				require.ErrorContains(t, <-exited, "killed")
				require.Fail(t, "an operator lived on without reaching the goal", output.String())
			}
		}
		tick.Stop()
		deadline.Stop()
	}
}

func TestTheOperatorMayDieAfterEachOfItsWrites(t *testing.T) {
	ctx := context.Background()
	synced := func(name, clusters string) func() bool {
		return func() bool {
			hs, err := hub.Handshakes.Get(ctx, workspace, name)
			if err != nil || hs.Status.Status != v1alpha1.StateSynced || hs.Status.ObservedGeneration != hs.Generation || hs.Status.Display.ReadyClusters != clusters {
				return false
			}
			b, err := hub.Bundles.Get(ctx, workspace, bundle.NameFor(hs))
			return err == nil && !strings.Contains(b.Annotations[v1alpha1.AnnotationDelivery], "unscrubbed")
		}
	}
	data := map[string][]byte{"password": secretValue("first")}
	hs := toGroup("mortal")
	create(t, source("mortal", data), hs)
	sent := outlive(t, hub.Kubeconfig, synced("mortal", "2/2"))
	arrives(t, "paris", "apps", "mortal", data)

	data = map[string][]byte{"password": secretValue("second")}
	before, err := hub.Handshakes.Get(ctx, workspace, "mortal")
	require.NoError(t, err)
	rotate(t, "mortal", data)
	rotated := outlive(t, hub.Kubeconfig, func() bool {
		now, err := hub.Handshakes.Get(ctx, workspace, "mortal")
		return err == nil && now.Status.Revision != before.Status.Revision && synced("mortal", "2/2")()
	})
	arrives(t, "tokyo", "apps", "mortal", data)

	require.NoError(t, hub.Handshakes.Change(ctx, workspace, "mortal", func(hs *v1alpha1.FleetHandshake) {
		hs.Spec.TargetNamespace = "mortal"
	}))
	moved := outlive(t, hub.Kubeconfig, func() bool {
		bundles, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelName+"=mortal")
		return err == nil && len(bundles) == 1 && synced("mortal", "2/2")()
	})
	arrives(t, "paris", "mortal", "mortal", data)
	goes(t, "paris", "apps", "mortal")
	bundles, err := hub.Bundles.List(ctx, workspace, v1alpha1.LabelName+"=mortal")
	require.NoError(t, err)
	require.Len(t, bundles, 1, "nothing is left over, nothing is doubled")
	require.NoError(t, hub.Handshakes.Delete(ctx, workspace, "mortal"))
	removed := outlive(t, hub.Kubeconfig, func() bool {
		_, err := hub.Handshakes.Get(ctx, workspace, "mortal")
		return apierrors.IsNotFound(err)
	})
	goes(t, "paris", "mortal", "mortal")
	goes(t, "tokyo", "mortal", "mortal")
	fmt.Printf("operators killed right after a write: %d while sending, %d while rotating, %d while moving, %d while removing\n", sent, rotated, moved, removed)
	require.GreaterOrEqual(t, removed, 2, "the values secret, the Bundle")
	require.GreaterOrEqual(t, sent, 2, "the values secret, the Bundle")
	require.GreaterOrEqual(t, rotated, 3, "the values secret, the Bundle, the scrub")
	require.GreaterOrEqual(t, moved, 3, "the values secret, the Bundle, the obsolete one")
}
