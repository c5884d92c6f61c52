package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const leaseName = "fleet-handshake"

// elect runs work while this process holds the Lease, until ctx ends. When the Lease is lost it stops everything: the
// controllers cannot be started twice in one process. It uses client-go directly, because Wrangler's election ends the
// process by itself.
func elect(ctx context.Context, stop context.CancelCauseFunc, kube kubernetes.Interface, namespace string, work func(context.Context)) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	identity := host + "-" + rand.String(5)
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, leaseName, kube.CoreV1(), kube.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: identity})
	if err != nil {
		stop(fmt.Errorf("making the Lease: %w", err))
		return
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   15 * time.Second,
		RenewDeadline:   10 * time.Second,
		RetryPeriod:     time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: work,
			OnStoppedLeading: func() {
				stop(errors.New("the Lease " + namespace + "/" + leaseName + " was lost: another replica works on, and this one starts again"))
			},
			OnNewLeader: func(leader string) {
				logrus.WithField("leader", leader).Info("leader elected")
			},
		},
	})
	if err != nil {
		stop(fmt.Errorf("preparing the leader election: %w", err))
		return
	}
	elector.Run(ctx)
}
