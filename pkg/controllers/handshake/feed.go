package handshake

import (
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// starvedAfter is how long a BundleDeployment may wait for its values. Fleet asks for them every 5 seconds.
const starvedAfter = 10 * time.Second

// feed makes Fleet load the values of BundleDeployments again that wait for them in vain. Fleet 0.16.0 keeps the values
// of each in a Secret. When that is lost, by hand or because the BundleDeployment was deleted and made again at once,
// Fleet waits for it for ever; without a hash of the values it makes it anew.
func (h *handler) feed(v *view) error {
	m := h.memo(v.hs)
	now, starved := h.Clock.Now(), map[types.UID]time.Time{}
	for _, bd := range v.deployments {
		if !bd.Spec.WaitingForValues || !bd.DeletionTimestamp.IsZero() {
			continue
		}
		since, known := m.starved[bd.UID]
		if !known {
			since = now
		}
		if now.Before(since.Add(starvedAfter)) {
			starved[bd.UID] = since
			h.wakeAt(v.hs, since.Add(starvedAfter))
			continue
		}
		patch := []byte(`[{"op":"test","path":"/spec/waitingForValues","value":true},{"op":"add","path":"/spec/valuesHash","value":""}]`)
		_, err := h.Deployments.Patch(bd.Namespace, bd.Name, types.JSONPatchType, patch)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
			return fmt.Errorf("making Fleet load the values of bundle deployment %s/%s again: %w", bd.Namespace, bd.Name, err)
		}
		logrus.WithFields(logrus.Fields{"handshake": v.hs.Namespace + "/" + v.hs.Name, "bundledeployment": bd.Namespace + "/" + bd.Name}).
			Info("Fleet has lost the values of a bundle deployment, and is told to load them again")
	}
	if len(starved) > 0 || len(m.starved) > 0 {
		h.remember(v.hs, func(m *memo) { m.starved = starved })
	}
	return nil
}
