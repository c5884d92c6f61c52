package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/faults"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// replica makes this test binary run one of several replicas of the operator, as the user of a kubeconfig file.
	replica = "FLEET_HANDSHAKE_REPLICA"
	// takeoverLimit is how long nobody may work after a leader was killed.
	takeoverLimit = 20 * time.Second
)

func runReplica() int {
	logrus.SetOutput(os.Stderr)
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv(replica))
	if err == nil {
		opts := operator.Defaults()
		opts.ListenAddress, opts.OfflineAfter = "0", 10*time.Minute
		err = operator.Run(context.Background(), cfg, opts)
	}
	fmt.Fprintln(os.Stderr, "the replica has ended:", err)
	return 1
}

// process is a replica in a process of its own.
type process struct {
	output clients.Buffer
	cmd    *exec.Cmd
	exited chan struct{}
}

// startReplica runs a replica until it is killed, at the latest when the test ends.
func startReplica(t *testing.T, kubeconfig string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), replica+"="+kubeconfig)
	both := io.MultiWriter(&p.output, &logs)
	p.cmd.Stdout, p.cmd.Stderr = both, both
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends it with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

func (p *process) lives(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
		require.Fail(t, "the replica has ended", p.output.String())
	default:
	}
}

// holder of the Lease; empty when nobody has it.
func holder(ctx context.Context) (string, error) {
	lease, err := hub.CoordinationV1().Leases(install.Namespace).Get(ctx, "fleet-handshake", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	return *lease.Spec.HolderIdentity, nil
}

// elected waits until somebody else than before holds the Lease.
func elected(t *testing.T, before string) (now string) {
	t.Helper()
	eventually(t, func(ctx context.Context) (err error) {
		if now, err = holder(ctx); err == nil && (now == "" || now == before) {
			err = errors.New("nobody else holds the Lease")
		}
		return err
	})
	return now
}

// sentIs says whether a handshake has the event that its current revision was sent.
func sentIs(ctx context.Context, name string) error {
	hs, err := hub.Handshakes.Get(ctx, workspace, name)
	if err != nil {
		return err
	}
	events, err := hub.CoreV1().Events(workspace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(hs.UID) + ",reason=" + v1alpha1.EventSent})
	if err != nil {
		return err
	}
	for _, e := range events.Items {
		if strings.Contains(e.Message, hs.Status.Revision) {
			return nil
		}
	}
	return fmt.Errorf("%s has no event that its revision was sent", name)
}

// written counts the writes of Bundles, and of values Secrets, that were carried out, by name.
func written(requests []lab.AuditEvent) (bundles, values map[string]int) {
	bundles, values = map[string]int{}, map[string]int{}
	for _, r := range requests {
		switch {
		case !r.Writes() || r.ResponseStatus.Code >= http.StatusMultipleChoices:
		case r.ObjectRef.Resource == "bundles":
			bundles[r.ObjectRef.Name]++
		case r.ObjectRef.Resource == "secrets":
			values[r.ObjectRef.Name]++
		}
	}
	return bundles, values
}

// muffled is a proxy that a replica connects through. In a storm its events do not get through: the first one gets no
// answer, and the others wait behind it.
func muffled(t *testing.T) (proxy *faults.Proxy, kubeconfig string) {
	t.Helper()
	proxy, err := faults.New(hub.Operator, faults.Options{
		Kinds: []faults.Kind{faults.Silence}, Patience: time.Minute, Spare: func(r *http.Request) bool { return !isEvent(r) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"hub": {Server: proxy.Config().Host}},
		Contexts:       map[string]*clientcmdapi.Context{"hub": {Cluster: "hub"}},
		CurrentContext: "hub",
	}, kubeconfig))
	return proxy, kubeconfig
}

func TestAStandbyTakesOver(t *testing.T) {
	sites := []site{{name: "paris"}, {name: "tokyo"}}
	startFleet(t, time.Now, sites...)
	before, err := holder(t.Context())
	require.True(t, err == nil || apierrors.IsNotFound(err), "%v", err)
	proxy, kubeconfig := muffled(t)
	leader := startReplica(t, kubeconfig)
	held := elected(t, before)
	standby := startReplica(t, hub.Kubeconfig)
	eventually(t, func(context.Context) error {
		if !strings.Contains(standby.output.String(), "leader elected") {
			return errors.New("the standby knows no leader")
		}
		return nil
	})
	all := names("handed-over", 24)
	send(t, all, sites...)
	settle(t, all, len(sites))

	since, _ := revision(t)
	position := auditEnd(t)
	proxy.Storm(1)
	rotated := make(chan error, 1)
	go func() {
		var errs []error
		for _, name := range all {
			errs = append(errs, write(context.Background(), name, "second"))
		}
		rotated <- errors.Join(errs...)
	}()
	eventually(t, func(context.Context) error {
		if bundles, _ := written(requestsSince(t, position)); len(bundles) < len(all)/4 {
			return fmt.Errorf("the leader has written %d Bundles", len(bundles))
		}
		return nil
	})
	leader.kill()
	killed := time.Now()
	require.NoError(t, <-rotated)
	elected(t, held)
	took := time.Since(killed)
	assert.Less(t, took, takeoverLimit)

	settle(t, all, len(sites))
	standby.lives(t)
	checkNumbers(t, history(t, since))
	comesToRest(t)
	requests := requestsSince(t, position)
	bundles, values := written(requests)
	assert.Len(t, bundles, len(all))
	for name, n := range bundles {
		assert.LessOrEqual(t, n, 2, "writes of Bundle %s: one for the rotation, one for the scrub", name)
		assert.LessOrEqual(t, values[name], 1, "writes of values Secret %s", name)
	}
	// What the leader has sent last arrives when it is dead. Then nobody writes for a long time.
	first := slices.IndexFunc(requests, func(r lab.AuditEvent) bool { return r.Writes() && r.Received.After(killed.Add(took/2)) })
	byLeader, _ := written(requests[:first])
	assert.Less(t, len(byLeader), len(all), "the leader was killed too late, in no rotation")
	fmt.Printf("%d of %d Bundles were written when the leader was killed; another replica had the Lease %.1f s later, and wrote after %.1f s\n",
		len(byLeader), len(all), took.Seconds(), requests[first].Received.Sub(killed).Seconds())
	var lost []string
	for _, name := range all {
		if err := sentIs(t.Context(), name); err != nil {
			lost = append(lost, name)
		}
	}
	assert.Empty(t, lost, "handshakes without the event that the revision was sent")
}
