// Package operator puts the controllers, leader election, health and metrics together. Run works in a test as it does
// in main.
package operator

import (
	"errors"
	"fmt"
	"net"

	"k8s.io/utils/clock"
)

// Options of the operator.
type Options struct {
	// Namespace holds the Lease of the leader election. It must exist when LeaderElect is on.
	Namespace string
	// LeaderElect lets several replicas run, of which one works.
	LeaderElect bool
	// ListenAddress serves /healthz, /readyz and /metrics; "0" turns it off.
	ListenAddress string
	// Workers is how many handshakes are worked on at a time.
	Workers int
	// AllowCrossNamespace lets a handshake send a Secret of another namespace.
	AllowCrossNamespace bool
	// Clock decides when resyncs are due; nil is the real one.
	Clock clock.PassiveClock
}

// Validate says what is wrong with the options, and what to write instead.
func (o Options) Validate() error {
	var errs []error
	if o.LeaderElect && o.Namespace == "" {
		errs = append(errs, errors.New("--namespace is empty: name the namespace of the leader election's Lease, for example fleet-handshake-system"))
	}
	if o.Workers < 1 {
		errs = append(errs, fmt.Errorf("--workers is %d: write 1 or more", o.Workers))
	}
	if o.ListenAddress != "0" {
		if _, _, err := net.SplitHostPort(o.ListenAddress); err != nil {
			errs = append(errs, fmt.Errorf("--listen-address is %q: write host:port, for example :8080, or 0 to turn it off", o.ListenAddress))
		}
	}
	return errors.Join(errs...)
}
