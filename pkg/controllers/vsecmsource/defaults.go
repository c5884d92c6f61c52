// Package vsecmsource fetches what VSecMSecrets ask the Safe of VMware Secrets Manager for.
package vsecmsource

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"
)

// Defaults are what the operator was started with.
type Defaults struct {
	// SafeURL is that of VSecMSecrets that name none.
	SafeURL string
	// TrustDomain, EndpointSocket and the patterns are those of vsecm.Options.
	TrustDomain, EndpointSocket, SafePattern, WorkloadPattern, NamePattern string
	// Allow has the secrets of Safe that the namespaces may have, each as namespace/name. A name with * at its end stands
	// for all that begin so.
	Allow []string
}

// Validate says what is wrong, and what to write instead.
func (d Defaults) Validate() error {
	_, err := d.client(nil)
	if err != nil {
		err = fmt.Errorf("--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: %w", err)
	}
	if _, urlErr := vsecm.BaseOf(d.SafeURL); urlErr != nil {
		err = errors.Join(err, fmt.Errorf("--vsecm-safe-url is %q: %w", d.SafeURL, urlErr))
	}
	_, allowErr := parseAllow(d.Allow)
	return errors.Join(err, allowErr)
}

func (d Defaults) client(requested func(address string, err error)) (*vsecm.Client, error) {
	return vsecm.New(clock.RealClock{}, vsecm.Options{
		TrustDomain: d.TrustDomain, EndpointSocket: d.EndpointSocket,
		SafePattern: d.SafePattern, WorkloadPattern: d.WorkloadPattern, NamePattern: d.NamePattern,
		Timeout: timeout, Requested: requested,
	})
}

// timeout bounds each request.
const timeout = 10 * time.Second

// allowed are the names that each namespace may have. Safe knows the operator only, so that the operator has to tell the
// namespaces apart.
type allowed map[string][]string

func parseAllow(entries []string) (allowed, error) {
	out := allowed{}
	var errs []error
	for _, entry := range entries {
		namespace, name, found := strings.Cut(entry, "/")
		star := strings.Index(name, "*")
		switch {
		case !found || name == "" || len(validation.IsDNS1123Label(namespace)) > 0:
			errs = append(errs, fmt.Errorf("--vsecm-allow has %q: write a namespace and the name of a secret in Safe, for example team-a/database or team-a/*", entry))
		case star >= 0 && star != len(name)-1:
			errs = append(errs, fmt.Errorf("--vsecm-allow has %q: write * at the end only, for example team-a/database*", entry))
		default:
			out[namespace] = append(out[namespace], name)
		}
	}
	return out, errors.Join(errs...)
}

// may says whether a namespace may have a secret.
func (a allowed) may(namespace, name string) bool {
	for _, pattern := range a[namespace] {
		begin, open := strings.CutSuffix(pattern, "*")
		if pattern == name || open && strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}

// mayAll says whether a namespace may have every secret.
func (a allowed) mayAll(namespace string) bool { return a.may(namespace, "") }
