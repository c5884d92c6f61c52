package operator

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// fleetConfigMap and its key config hold the configuration of Fleet (Fleet 0.16.0, internal/config).
	fleetConfigMap = "fleet-controller"
	// defaultCheckin is how often an agent reports when Fleet's configuration does not say it.
	defaultCheckin = 15 * time.Minute
	// missedCheckins is after how many of them a cluster counts as offline.
	missedCheckins = 3
)

// offlineAfter works out from Fleet's configuration how long an agent may be silent.
func offlineAfter(ctx context.Context, core corev1client.ConfigMapsGetter, namespace string) time.Duration {
	interval := defaultCheckin
	log := logrus.WithField("configmap", namespace+"/"+fleetConfigMap)
	cm, err := core.ConfigMaps(namespace).Get(ctx, fleetConfigMap, metav1.GetOptions{})
	if err != nil {
		log.WithError(err).Warn("Fleet's configuration cannot be read; give --offline-after if its agents do not report every 15 minutes")
	} else {
		var config struct {
			AgentCheckinInterval metav1.Duration `json:"agentCheckinInterval"`
		}
		if err := json.Unmarshal([]byte(cm.Data["config"]), &config); err == nil && config.AgentCheckinInterval.Duration > 0 {
			interval = config.AgentCheckinInterval.Duration
		}
	}
	limit := missedCheckins * interval
	log.WithField("offline-after", limit.String()).Info("a cluster counts as offline when its agent is silent for so long")
	return limit
}
