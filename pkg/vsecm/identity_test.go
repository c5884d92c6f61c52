package vsecm

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	scoutID = "spiffe://vsecm.com/workload/vsecm-scout/ns/fleet-handshake-system/sa/fleet-handshake/n/fleet-handshake-1"
	safeID  = "spiffe://vsecm.com/workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/vsecm-safe-1"
	appID   = "spiffe://vsecm.com/workload/app/ns/team/sa/app/n/app-1"
)

func TestWhoIsWho(t *testing.T) {
	acme := Options{TrustDomain: "acme.com"}
	for name, c := range map[string]struct {
		options Options
		id      string
		want    string // the name of the workload
		safe    bool
	}{
		"an ordinary workload":           {Options{}, appID, "app", false},
		"Safe is a workload":             {Options{}, safeID, "vsecm-safe", true},
		"scout anywhere":                 {Options{}, scoutID, "vsecm-scout", false},
		"Safe in another namespace":      {Options{}, "spiffe://vsecm.com/workload/vsecm-safe/ns/team/sa/vsecm-safe/n/x", "vsecm-safe", false},
		"a part is missing":              {Options{}, "spiffe://vsecm.com/workload/app/ns/team/sa/app", "", false},
		"a part is too much":             {Options{}, appID + "/x", "", false},
		"another trust domain":           {Options{}, "spiffe://acme.com/workload/app/ns/team/sa/app/n/app-1", "", false},
		"a dot stands for a dot only":    {Options{}, "spiffe://vsecmxcom/workload/app/ns/team/sa/app/n/app-1", "", false},
		"the trust domain is in all":     {acme, "spiffe://acme.com/workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/x", "vsecm-safe", true},
		"the default one is not":         {acme, safeID, "", false},
		"a plain prefix":                 {Options{SafePattern: "spiffe://vsecm.com/workload/app"}, appID, "app", true},
		"a plain prefix that differs":    {Options{SafePattern: "spiffe://vsecm.com/workload/apx"}, appID, "app", false},
		"a plain prefix is no regex":     {Options{SafePattern: "spiffe://vsecm.com/workload/[a-z]+"}, appID, "app", false},
		"a regex":                        {Options{SafePattern: "^spiffe://vsecm.com/workload/[a-z]+/"}, appID, "app", true},
		"Safe has to be a workload":      {Options{SafePattern: "spiffe://vsecm.com/", WorkloadPattern: "^spiffe://vsecm.com/workload/app/"}, safeID, "", false},
		"a workload has to have a name":  {Options{WorkloadPattern: "spiffe://vsecm.com/"}, "spiffe://vsecm.com/other", "", false},
		"a name at another place":        {Options{WorkloadPattern: "spiffe://vsecm.com/", NamePattern: "^spiffe://vsecm.com/ns/[^/]+/sa/([^/]+)$"}, "spiffe://vsecm.com/ns/a/sa/b", "b", false},
		"an empty name":                  {Options{NamePattern: "^spiffe://vsecm.com/workload/(x*)"}, appID, "", false},
		"the trust domain with a scheme": {Options{TrustDomain: "spiffe://vsecm.com"}, appID, "app", false},
	} {
		client, err := New(clocktesting.NewFakeClock(time.Now()), c.options)
		require.NoError(t, err, name)
		id := spiffeid.RequireFromString(c.id)
		assert.Equal(t, c.want, client.ids.workloadName(id), name)
		assert.Equal(t, c.safe, client.ids.isSafe(id), name)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"no trust domain":                       {Options{TrustDomain: "Not One"}, `the trust domain "Not One" is none`},
		"Safe in another trust domain":          {Options{TrustDomain: "acme.com", SafePattern: DefaultSafePattern("vsecm.com")}, "Safe, \"^spiffe://vsecm.com/workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/[^/]+$\", can match nothing of the trust domain acme.com: begin it with ^spiffe://acme.com/"},
		"workload in another one":               {Options{TrustDomain: "acme.com", WorkloadPattern: "spiffe://vsecm.com/"}, "of workloads, \"spiffe://vsecm.com/\", can match nothing of the trust domain acme.com"},
		"a trust domain that only begins alike": {Options{SafePattern: "^spiffe://vsecm.com.evil.org/"}, "can match nothing"},
		"name in another one":                   {Options{TrustDomain: "acme.com", NamePattern: DefaultNamePattern("vsecm.com")}, "has to begin with ^spiffe://acme.com/"},
		"a name that is no regex":               {Options{NamePattern: "spiffe://vsecm.com/"}, "has to begin with ^spiffe://vsecm.com/"},
		"a broken regex":                        {Options{SafePattern: "^spiffe://vsecm.com/("}, "is no regular expression"},
		"a broken regex for workloads":          {Options{WorkloadPattern: "^spiffe://vsecm.com/("}, "is no regular expression"},
		"a broken regex for names":              {Options{NamePattern: "^spiffe://vsecm.com/("}, "is no regular expression"},
		"a name without a group":                {Options{NamePattern: "^spiffe://vsecm.com/workload/"}, "put the name between ( and )"},
		"a socket that is none":                 {Options{EndpointSocket: "/run/agent.sock"}, "write it as unix:///path/of/the.sock"},
		"a socket that has a relative path":     {Options{EndpointSocket: "unix:run/agent.sock"}, "write it as unix:///path/of/the.sock"},
	} {
		_, err := New(clocktesting.NewFakeClock(time.Now()), c.options)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestTheDefaultsAreThoseOfVSecM(t *testing.T) {
	assert.Equal(t, "^spiffe://vsecm.com/workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/[^/]+$", DefaultSafePattern(DefaultTrustDomain))
	assert.Equal(t, "^spiffe://vsecm.com/workload/[^/]+/ns/[^/]+/sa/[^/]+/n/[^/]+$", DefaultWorkloadPattern(DefaultTrustDomain))
	assert.Equal(t, "^spiffe://vsecm.com/workload/([^/]+)/ns/[^/]+/sa/[^/]+/n/[^/]+$", DefaultNamePattern(DefaultTrustDomain))
	assert.Equal(t, "unix:///spire-agent-socket/spire-agent.sock", DefaultEndpointSocket)
	assert.Equal(t, "https://vsecm-safe.vsecm-system.svc.cluster.local:8443/", DefaultAddress)
}

func TestOfSeveralSVIDsTheOneOfTheWorkloadIsTaken(t *testing.T) {
	client, err := New(clocktesting.NewFakeClock(time.Now()), Options{})
	require.NoError(t, err)
	const none, other = "spiffe://vsecm.com/none", "spiffe://vsecm.com/workload/b/ns/team/sa/app/n/app-1"
	for _, c := range []struct {
		workload    string
		ids         []string
		want, fails string
	}{
		{ScoutName, []string{none, appID, scoutID}, scoutID, ""},
		{ScoutName, []string{scoutID, appID}, scoutID, ""},
		{"app", []string{scoutID, appID, other}, appID, ""},
		{"b", []string{scoutID, appID, other}, other, ""},
		{ScoutName, []string{appID, none, other}, "", "has the name app, b"},
		{"c", []string{appID, scoutID}, "", "gives the operator the name c as well"},
		{"app", []string{none, "spiffe://acme.com/none"}, "", "our SPIFFE ID spiffe://vsecm.com/none, spiffe://acme.com/none is not that of a workload"},
		{"", []string{none}, "", "is not that of a workload"},
		{"app", nil, "", "we have no SVID now"},
	} {
		var svids []*x509svid.SVID
		for _, id := range c.ids {
			svids = append(svids, &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{{}}})
		}
		got, problem := client.ids.pick(svids, c.workload)
		if c.fails != "" {
			require.NotNil(t, problem, c)
			assert.Contains(t, problem.Reason, c.fails)
			continue
		}
		require.Nil(t, problem, c)
		assert.Equal(t, c.want, got.ID.String())
	}
	_, problem := client.ids.pick([]*x509svid.SVID{{ID: spiffeid.RequireFromString(scoutID)}}, ScoutName)
	assert.NotNil(t, problem, "an SVID without a certificate is none")
}
