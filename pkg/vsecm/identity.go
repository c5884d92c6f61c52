package vsecm

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// The defaults are those of VMware Secrets Manager.
const (
	// DefaultAddress is where Safe is when VSecM is installed as it comes. VSecM reads it from VSECM_SAFE_ENDPOINT_URL.
	DefaultAddress = "https://vsecm-safe.vsecm-system.svc.cluster.local:8443/"
	// DefaultTrustDomain is that of SPIFFE_TRUST_DOMAIN.
	DefaultTrustDomain = "vsecm.com"
	// DefaultEndpointSocket is where the SPIRE agent serves the Workload API: SPIFFE_ENDPOINT_SOCKET.
	DefaultEndpointSocket = "unix:///spire-agent-socket/spire-agent.sock"
)

// ScoutName is the name of the workload that Safe gives all raw secrets to. Safe looks at no other part of its SPIFFE ID.
const ScoutName = "vsecm-scout"

// Where the default patterns of the trust domain differ from it.
const (
	safeSuffix     = "workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/[^/]+$"
	workloadSuffix = "workload/[^/]+/ns/[^/]+/sa/[^/]+/n/[^/]+$"
	nameSuffix     = "workload/([^/]+)/ns/[^/]+/sa/[^/]+/n/[^/]+$"
)

// DefaultSafePattern is what Safe's own SPIFFE ID looks like: VSECM_SPIFFEID_PREFIX_SAFE.
func DefaultSafePattern(trustDomain string) string {
	return "^spiffe://" + trustDomain + "/" + safeSuffix
}

// DefaultWorkloadPattern is what the SPIFFE ID of a workload looks like: VSECM_SPIFFEID_PREFIX_WORKLOAD.
func DefaultWorkloadPattern(trustDomain string) string {
	return "^spiffe://" + trustDomain + "/" + workloadSuffix
}

// DefaultNamePattern finds the name of a workload in its SPIFFE ID: VSECM_WORKLOAD_NAME_REGEXP.
func DefaultNamePattern(trustDomain string) string {
	return "^spiffe://" + trustDomain + "/" + nameSuffix
}

// identities tell who is who by SPIFFE IDs.
type identities struct {
	domain         spiffeid.TrustDomain
	safe, workload func(id string) bool
	name           *regexp.Regexp
}

// newIdentities reads the patterns. The rules are those of VSecM: what begins with ^spiffe://<trust domain>/ is a regular
// expression, everything else is what an ID has to begin with. Where VSecM panics, or nothing could ever match, there is
// an error that names the option.
func newIdentities(o Options) (identities, error) {
	var ids identities
	var err error
	if ids.domain, err = spiffeid.TrustDomainFromString(o.TrustDomain); err != nil {
		return ids, fmt.Errorf("the trust domain %q is none: write a name in small letters, such as %s", o.TrustDomain, DefaultTrustDomain)
	}
	domain := ids.domain.Name()
	if ids.safe, err = matcher("Safe", cmp.Or(o.SafePattern, DefaultSafePattern(domain)), domain); err != nil {
		return ids, err
	}
	if ids.workload, err = matcher("workloads", cmp.Or(o.WorkloadPattern, DefaultWorkloadPattern(domain)), domain); err != nil {
		return ids, err
	}
	name := cmp.Or(o.NamePattern, DefaultNamePattern(domain))
	if !strings.HasPrefix(name, regexStart(domain)) {
		return ids, fmt.Errorf("the pattern for names of workloads, %q, has to begin with %s", name, regexStart(domain))
	}
	if ids.name, err = regexp.Compile(name); err != nil {
		return ids, fmt.Errorf("the pattern for names of workloads, %q, is no regular expression: %w", name, err)
	}
	if ids.name.NumSubexp() == 0 {
		return ids, fmt.Errorf("the pattern for names of workloads, %q, has no group: put the name between ( and )", name)
	}
	return ids, nil
}

func regexStart(domain string) string { return "^" + plainStart(domain) }

func plainStart(domain string) string { return "spiffe://" + domain + "/" }

func matcher(of, pattern, domain string) (func(id string) bool, error) {
	switch {
	case strings.HasPrefix(pattern, regexStart(domain)):
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("the pattern for the SPIFFE ID of %s, %q, is no regular expression: %w", of, pattern, err)
		}
		return expression.MatchString, nil
	case strings.HasPrefix(pattern, plainStart(domain)):
		return func(id string) bool { return strings.HasPrefix(id, pattern) }, nil
	}
	return nil, fmt.Errorf("the pattern for the SPIFFE ID of %s, %q, can match nothing of the trust domain %s: begin it with %s for a regular expression or with %s for the beginning of an ID, or change the trust domain",
		of, pattern, domain, regexStart(domain), plainStart(domain))
}

// workloadName is the name of a workload, and empty for what is none.
func (i identities) workloadName(id spiffeid.ID) string {
	if !id.MemberOf(i.domain) || !i.workload(id.String()) {
		return ""
	}
	if match := i.name.FindStringSubmatch(id.String()); match != nil {
		return match[1]
	}
	return ""
}

// isSafe says whether an ID is that of Safe, which is a workload, too.
func (i identities) isSafe(id spiffeid.ID) bool {
	return i.workloadName(id) != "" && i.safe(id.String())
}

// pick finds the SVID of our workload with a name. The error has Kind and Reason only.
func (i identities) pick(svids []*x509svid.SVID, workload string) (*x509svid.SVID, *upstream.Error) {
	var all, names []string
	for _, svid := range svids {
		name := i.workloadName(svid.ID)
		if name != "" && name == workload && len(svid.Certificates) > 0 {
			return svid, nil
		}
		all = append(all, svid.ID.String())
		if name != "" {
			names = append(names, name)
		}
	}
	denied := func(format string, args ...any) *upstream.Error {
		return &upstream.Error{Kind: upstream.Denied, Reason: fmt.Sprintf(format, args...) + ", as docs/sources/vsecm.md says"}
	}
	switch {
	case len(all) == 0:
		return nil, &upstream.Error{Kind: upstream.Unavailable, Reason: "we have no SVID now: see the log of the SPIRE agent on this node"}
	case len(names) == 0:
		return nil, denied("our SPIFFE ID %s is not that of a workload of the trust domain %s: change the ClusterSPIFFEID of the operator, or its pattern for workloads", strings.Join(all, ", "), i.domain)
	case workload == ScoutName:
		return nil, denied("Safe gives raw secrets only to a workload with the name %s, and our SPIFFE ID %s has the name %s: change the ClusterSPIFFEID of the operator", ScoutName, strings.Join(all, ", "), strings.Join(names, ", "))
	}
	return nil, denied("Safe gives the secret of the workload %s to nobody else, and our SPIFFE ID %s has the name %s: make a ClusterSPIFFEID that gives the operator the name %s as well", workload, strings.Join(all, ", "), strings.Join(names, ", "), workload)
}
