package operator

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vsecmsource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestValidate(t *testing.T) {
	noCertificate := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(noCertificate, []byte("x"), 0o600))
	require.NoError(t, Defaults().Validate())
	for title, c := range map[string]struct {
		change func(*Options)
		err    string
	}{
		"no worker": {
			func(o *Options) { o.Workers = 0 },
			"--workers is 0: write 1 or more",
		},
		"leader election without a namespace": {
			func(o *Options) { o.Namespace = "" },
			"--namespace is empty: name the namespace of the leader election's Lease, for example fleet-handshake-system",
		},
		"an address without a port": {
			func(o *Options) { o.ListenAddress = "localhost" },
			`--listen-address is "localhost": write host:port, for example :8080, or 0 to turn it off`,
		},
		"no namespace of Fleet": {
			func(o *Options) { o.FleetNamespace = "" },
			"--fleet-namespace is empty: name the namespace of Fleet's controller, for example cattle-fleet-system",
		},
		"a time before now": {
			func(o *Options) { o.OfflineAfter = -time.Second },
			"--offline-after is -1s: write a time such as 45m, or 0 for three of Fleet's check-in intervals",
		},
		"no time at all": {
			func(o *Options) { o.StuckAfter = 0 },
			"--stuck-after is 0s: write a time such as 10m",
		},
		"a negative grace": {
			func(o *Options) { o.MissingGrace = -time.Second },
			"--missing-grace is -1s: write a time such as 1m",
		},
		"a workspace with a wildcard": {
			func(o *Options) { o.Workspaces = []string{"fleet-default", "fleet-*"} },
			`--workspaces has "fleet-*", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"workspaces without a comma between them": {
			func(o *Options) { o.Workspaces = []string{"fleet-default fleet-local"} },
			`--workspaces has "fleet-default fleet-local", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"a comma too many between source namespaces": {
			func(o *Options) { o.SourceNamespaces = []string{"platform", "", "payments"} },
			`--source-namespaces has "", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"a source namespace that is the name of a Secret": {
			func(o *Options) { o.SourceNamespaces = []string{"platform/db-creds"} },
			`--source-namespaces has "platform/db-creds", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"a workspace that is the name of a Secret only": {
			func(o *Options) { o.Workspaces = []string{"fleet.default"} },
			`--workspaces has "fleet.default", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"two source namespaces that are none": {
			func(o *Options) { o.SourceNamespaces = []string{"Platform", "payments", " a"} },
			`--source-namespaces has "Platform", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local
--source-namespaces has " a", which is not the name of a namespace: write names with commas between them, for example fleet-default,fleet-local`,
		},
		"another word for revoked grants": {
			func(o *Options) { o.RevokedGrants = "Delete" },
			`--revoked-grants is "Delete": write Remove or Keep`,
		},
		"a small letter for revoked grants": {
			func(o *Options) { o.RevokedGrants = "keep" },
			`--revoked-grants is "keep": write Remove or Keep`,
		},
		"no word for revoked grants": {
			func(o *Options) { o.RevokedGrants = "" },
			`--revoked-grants is "": write Remove or Keep`,
		},
		"no worker for sources": {
			func(o *Options) { o.SourceWorkers = 0 },
			"--source-workers is 0: write 1 or more",
		},
		"a Vault without a scheme": {
			func(o *Options) { o.Vault.Addr = "vault.example.com:8200" },
			`--vault-addr is "vault.example.com:8200": write a URL, for example https://vault.example.com:8200, or nothing when each source names its server`,
		},
		"a Vault with a password": {
			func(o *Options) { o.Vault.Addr = "https://me:x@vault.example.com" },
			`--vault-addr is "https://me:x@vault.example.com": write a URL, for example https://vault.example.com:8200, or nothing when each source names its server`,
		},
		"a file of certificates that is missing": {
			func(o *Options) { o.Vault.CAFile = "nowhere/ca.pem" },
			`--vault-ca-file is "nowhere/ca.pem": no such file or directory; name a PEM file with certificates, or write nothing for those that browsers trust`,
		},
		"a file without certificates": {
			func(o *Options) { o.Vault.CAFile = noCertificate },
			fmt.Sprintf("--vault-ca-file is %q: it has no certificate; name a PEM file with certificates, or write nothing for those that browsers trust", noCertificate),
		},
		"a Safe without https": {
			func(o *Options) { o.VSecM.SafeURL = "http://safe:8443" },
			`--vsecm-safe-url is "http://safe:8443": the URL has to begin with https://: write one such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/`,
		},
		"a Safe with a path": {
			func(o *Options) { o.VSecM.SafeURL = "https://safe:8443/workload/v1/secrets" },
			`--vsecm-safe-url is "https://safe:8443/workload/v1/secrets": the URL has more than host and port: write one such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/`,
		},
		"no Safe": {
			func(o *Options) { o.VSecM.SafeURL = "" },
			`--vsecm-safe-url is "": this is no URL: write one such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/`,
		},
		"a trust domain that is none": {
			func(o *Options) { o.VSecM.TrustDomain = "Acme Corp" },
			`--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the trust domain "Acme Corp" is none: write a name in small letters, such as vsecm.com`,
		},
		"a socket that is a path": {
			func(o *Options) { o.VSecM.EndpointSocket = "/spire-agent-socket/spire-agent.sock" },
			`--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the address of the Workload API, "/spire-agent-socket/spire-agent.sock", cannot be used: write it as unix:///path/of/the.sock: workload endpoint socket URI must have a "tcp" or "unix" scheme`,
		},
		"a pattern of another trust domain": {
			func(o *Options) { o.VSecM.TrustDomain, o.VSecM.SafePattern = "acme.com", "^spiffe://vsecm.com/safe$" },
			`--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the pattern for the SPIFFE ID of Safe, "^spiffe://vsecm.com/safe$", can match nothing of the trust domain acme.com: begin it with ^spiffe://acme.com/ for a regular expression or with spiffe://acme.com/ for the beginning of an ID, or change the trust domain`,
		},
		"a pattern for workloads that is no regular expression": {
			func(o *Options) { o.VSecM.WorkloadPattern = "^spiffe://vsecm.com/(" },
			"--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the pattern for the SPIFFE ID of workloads, \"^spiffe://vsecm.com/(\", is no regular expression: error parsing regexp: missing closing ): `^spiffe://vsecm.com/(`",
		},
		"a pattern for names without a group": {
			func(o *Options) { o.VSecM.NamePattern = "^spiffe://vsecm.com/x$" },
			`--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the pattern for names of workloads, "^spiffe://vsecm.com/x$", has no group: put the name between ( and )`,
		},
		"a secret of Safe for nobody": {
			func(o *Options) { o.VSecM.Allow = []string{"team-a/db", "db"} },
			`--vsecm-allow has "db": write a namespace and the name of a secret in Safe, for example team-a/database or team-a/*`,
		},
		"several things about a Safe": {
			func(o *Options) {
				o.VSecM.TrustDomain, o.VSecM.SafeURL, o.VSecM.Allow = "A", "safe:8443", []string{"*/db", "team-a/*db"}
			},
			`--vsecm-trust-domain, --vsecm-endpoint-socket and --vsecm-*-pattern: the trust domain "A" is none: write a name in small letters, such as vsecm.com
--vsecm-safe-url is "safe:8443": this is no URL: write one such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/
--vsecm-allow has "*/db": write a namespace and the name of a secret in Safe, for example team-a/database or team-a/*
--vsecm-allow has "team-a/*db": write * at the end only, for example team-a/database*`,
		},
		"a login that is mounted nowhere": {
			func(o *Options) { o.Vault.AuthPath = "" },
			"--vault-auth-path is empty: name the path that Vault's method kubernetes is mounted at, for example kubernetes",
		},
		"no service account": {
			func(o *Options) { o.Vault.ServiceAccount = "" },
			`--vault-service-account is "", which is not the name of a service account: write one, for example vault-operator-sync`,
		},
		"a service account with its namespace": {
			func(o *Options) { o.Vault.ServiceAccount = "team-a/default" },
			`--vault-service-account is "team-a/default", which is not the name of a service account: write one, for example vault-operator-sync`,
		},
		"no request at all": {
			func(o *Options) { o.Vault.RequestsPerSecond = 0 },
			"--vault-requests-per-second is 0: write 1 or more",
		},
		"more than all": {
			func(o *Options) { o.WithdrawalThreshold = 101 },
			"--withdrawal-threshold is 101: write a percentage from 0 to 100",
		},
	} {
		t.Run(title, func(t *testing.T) {
			o := Defaults()
			c.change(&o)
			assert.EqualError(t, o.Validate(), c.err)
		})
	}
	certificates := filepath.Join(t.TempDir(), "ca.pem")
	server := httptest.NewTLSServer(nil)
	server.Close()
	require.NoError(t, os.WriteFile(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	for title, change := range map[string]func(*Options){
		"no address":                 func(o *Options) { o.ListenAddress = "0" },
		"revoked grants keep copies": func(o *Options) { o.RevokedGrants = "Keep" },
		"a Vault for sources that name none": func(o *Options) {
			o.Vault.Addr, o.Vault.CAFile, o.Vault.Role = "https://vault.example.com:8200", certificates, "hub"
		},
		"a Safe of one's own": func(o *Options) {
			o.VSecM.SafeURL, o.VSecM.TrustDomain, o.VSecM.EndpointSocket = "https://safe.acme.com", "acme.com", "tcp://10.0.0.1:8081"
			o.VSecM.SafePattern, o.VSecM.WorkloadPattern, o.VSecM.NamePattern = "spiffe://acme.com/safe", "^spiffe://acme.com/[^/]+$", "^spiffe://acme.com/([^/]+)$"
			o.VSecM.Allow = []string{"team-a/db", "team-a/shared-*", "team-b/*"}
		},
		"a Vault behind a path":    func(o *Options) { o.Vault.Addr = "http://gateway/vault/" },
		"labelled workspaces only": func(o *Options) { o.Workspaces = nil },
		"several namespaces": func(o *Options) {
			o.Workspaces, o.SourceNamespaces = []string{"fleet-default", "fleet-local"}, []string{"platform", "1-2"}
		},
	} {
		t.Run(title, func(t *testing.T) {
			o := Defaults()
			change(&o)
			assert.NoError(t, o.Validate())
		})
	}
}

func TestTheSafeWaysAreTheDefaults(t *testing.T) {
	o := Defaults()
	assert.Equal(t, "Remove", o.RevokedGrants)
	assert.Equal(t, []string{"fleet-default"}, o.Workspaces)
	assert.Equal(t, 50, o.WithdrawalThreshold)
	assert.Empty(t, o.Vault.Addr, "a token of a service account goes to no server that nobody has named")
	assert.Empty(t, o.Vault.Role, "each namespace has a role of its own")
	assert.Empty(t, o.VSecM.Allow, "Safe tells no namespaces apart, so that none may have anything")
	assert.Equal(t, vsecmsource.Defaults{
		SafeURL: "https://vsecm-safe.vsecm-system.svc.cluster.local:8443/", TrustDomain: "vsecm.com", EndpointSocket: "unix:///spire-agent-socket/spire-agent.sock",
	}, o.VSecM, "as VSecM comes")
}

func TestHasValuesHash(t *testing.T) {
	crd := func(version string, properties map[string]apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: version, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Properties: properties},
				}},
			}}},
		}}
	}
	has := map[string]apiextensionsv1.JSONSchemaProps{"valuesHash": {}}
	assert.True(t, hasValuesHash(crd("v1alpha1", has)))
	assert.False(t, hasValuesHash(crd("v1alpha1", nil)))
	assert.False(t, hasValuesHash(crd("v2", has)))
	assert.False(t, hasValuesHash(&apiextensionsv1.CustomResourceDefinition{}))
}
