package charts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestWrongValuesAreRefused holds the words that an administrator sees.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, c := range []struct{ set, words string }{
		{"stuckAfter=10 minutes", "at '/stuckAfter': value must be 'a time with its unit, such as 45s, 10m or 1h30m'"},
		{"stuckAfter=-10m", "at '/stuckAfter': value must be 'a time with its unit, such as 45s, 10m or 1h30m'"},
		{"stuckAfter=0s", "at '/stuckAfter': value must be 'a time longer than 0s, such as 10m'"},
		{"stuckAfter=0h0m", "at '/stuckAfter': value must be 'a time longer than 0s, such as 10m'"},
		{"stuckAfter=null", "missing property 'stuckAfter'"},
		{"offlineAfter=45", "at '/offlineAfter': got number, want string"},
		{"missingGrace=1d", "at '/missingGrace': value must be 'a time with its unit, such as 45s, 10m or 1h30m'"},
		{"workspaces=fleet-default", "at '/workspaces': got string, want array"},
		{"workspaces={Fleet_Default}", "at '/workspaces/0': value must be 'the name of a namespace, such as fleet-default'"},
		{"workspaces={fleet-default,}", "at '/workspaces/1': value must be 'the name of a namespace, such as fleet-default'"},
		{"workspaces={a,b,a}", "at '/workspaces': items at 0 and 2 are equal"},
		{"sourceNamespaces={" + strings.Repeat("a", 64) + "}", "at '/sourceNamespaces/0': value must be 'the name of a namespace, such as fleet-default'"},
		{"sourceNamespaces={*}", "at '/sourceNamespaces/0': value must be 'the name of a namespace, such as fleet-default'"},
		{"sourceNamespaces={a},vault.namespaces={b}", "vault.namespaces has b, and neither sourceNamespaces nor workspaces has it: the operator sees the Secrets of those only; add b to sourceNamespaces"},
		{"vault.namespaces={team_a}", "at '/vault/namespaces/0': value must be 'the name of a namespace, such as fleet-default'"},
		{"vault.namespaces={a,a}", "at '/vault/namespaces': items at 0 and 1 are equal"},
		{"vault.address=vault.example.com:8200", "at '/vault/address': value must be 'a URL such as https://vault.example.com:8200, or empty'"},
		{"vault.address=https://me:x@vault.example.com", "at '/vault/address': value must be 'a URL such as https://vault.example.com:8200, or empty'"},
		{"vault.ca=/etc/ssl/vault.pem", "at '/vault/ca': value must be 'certificates as PEM, with a line -----BEGIN CERTIFICATE----- before each, or empty'"},
		{"vault.authPath=", "at '/vault/authPath': value must be 'the path of the method kubernetes in Vault, such as kubernetes'"},
		{"vault.serviceAccount=", "at '/vault/serviceAccount': value must be 'the name of a service account, such as vault-operator-sync'"},
		{"vault.serviceAccount=team-a/vault", "at '/vault/serviceAccount': value must be 'the name of a service account, such as vault-operator-sync'"},
		{"vault.requestsPerSecond=0", "at '/vault/requestsPerSecond': minimum: got 0, want 1"},
		{"vault.role=1", "at '/vault/role': got number, want string"},
		{"vault.addr=https://vault.example.com", "at '/vault': additional properties 'addr' not allowed"},
		{"vsecm.allow=team-a/x", "at '/vsecm/allow': got string, want array"},
		{"vsecm.allow={team-a}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={team_a/x}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={team-a/}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={*/x}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={team-a/*-x}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={team-a/x**}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{`vsecm.allow={team-a/"x}`, "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={team-a/x y}", "at '/vsecm/allow/0': value must be 'the name of a namespace and of a secret, such as team-a/databaseCredentials, team-a/team-a-* or team-a/*'"},
		{"vsecm.allow={a/x,a/x}", "at '/vsecm/allow': items at 0 and 1 are equal"},
		{"sourceNamespaces={a},vsecm.allow={b/x}", "vsecm.allow has b, and neither sourceNamespaces nor workspaces has it: the operator sees the Secrets of those only; add b to sourceNamespaces"},
		{"vsecm.safeURL=", "at '/vsecm/safeURL': value must be 'https:// with host and port, such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/'"},
		{"vsecm.safeURL=http://safe:8443", "at '/vsecm/safeURL': value must be 'https:// with host and port, such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/'"},
		{"vsecm.safeURL=https://me:x@safe:8443", "at '/vsecm/safeURL': value must be 'https:// with host and port, such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/'"},
		{"vsecm.safeURL=https://safe:8443/workload", "at '/vsecm/safeURL': value must be 'https:// with host and port, such as https://vsecm-safe.vsecm-system.svc.cluster.local:8443/'"},
		{"vsecm.trustDomain=", "at '/vsecm/trustDomain': value must be 'a trust domain in small letters, such as vsecm.com'"},
		{"vsecm.trustDomain=spiffe://vsecm.com", "at '/vsecm/trustDomain': value must be 'a trust domain in small letters, such as vsecm.com'"},
		{"vsecm.safePattern=vsecm-safe", "at '/vsecm/safePattern': value must be 'a regular expression that begins with ^spiffe:// and the trust domain, the beginning of a SPIFFE ID, or empty'"},
		{"vsecm.workloadPattern=^/workload/", "at '/vsecm/workloadPattern': value must be 'a regular expression that begins with ^spiffe:// and the trust domain, the beginning of a SPIFFE ID, or empty'"},
		{"vsecm.namePattern=^spiffe://vsecm.com/workload/", "at '/vsecm/namePattern': value must be 'a regular expression that begins with ^spiffe:// and the trust domain, with the name between ( and ), or empty'"},
		{"vsecm.namePattern=spiffe://vsecm.com/(x)", "at '/vsecm/namePattern': value must be 'a regular expression that begins with ^spiffe:// and the trust domain, with the name between ( and ), or empty'"},
		{"vsecm.csi.driver=", "at '/vsecm/csi/driver': value must be 'the name of a CSI driver, such as csi.spiffe.io'"},
		{"vsecm.csi.socket=/run/agent.sock", "at '/vsecm/csi/socket': value must be 'the name of a file, such as spire-agent.sock'"},
		{"vsecm.clusterSPIFFEID.enabled=yes", "at '/vsecm/clusterSPIFFEID/enabled': got string, want boolean"},
		{"vsecm.clusterSPIFFEID.class=x", "at '/vsecm/clusterSPIFFEID': additional properties 'class' not allowed"},
		{"vsecm.namespaces={team-a}", "at '/vsecm': additional properties 'namespaces' not allowed"},
		{"networkPolicy.vsecmPorts={0}", "at '/networkPolicy/vsecmPorts/0': minimum: got 0, want 1"},
		{"networkPolicy.vsecmPorts=null", "missing property 'vsecmPorts'"},
		{"sourceWorkers=0", "at '/sourceWorkers': minimum: got 0, want 1"},
		{"networkPolicy.vaultPorts={0}", "at '/networkPolicy/vaultPorts/0': minimum: got 0, want 1"},
		{"networkPolicy.vaultPorts=null", "missing property 'vaultPorts'"},
		{"fleetNamespace=", "at '/fleetNamespace': value must be 'the name of a namespace, such as fleet-default'"},
		{"revokedGrants=keep", "at '/revokedGrants': value must be one of 'Remove', 'Keep'"},
		{"withdrawalThreshold=101", "at '/withdrawalThreshold': maximum: got 101, want 100"},
		{"withdrawalThreshold=50%", "at '/withdrawalThreshold': got string, want integer"},
		{"workers=0", "at '/workers': minimum: got 0, want 1"},
		{"replicas=-1", "at '/replicas': minimum: got -1, want 0"},
		{"log.level=verbose", "at '/log/level': value must be one of 'panic', 'fatal', 'error', 'warning', 'info', 'debug', 'trace'"},
		{"log.audit=/var/log/audit.log", "at '/log/audit': value must be one of 'log', 'stdout'"},
		{"workspace={fleet-default}", "additional properties 'workspace' not allowed"},
		{"image.pullpolicy=Always", "at '/image': additional properties 'pullpolicy' not allowed"},
		{"image.repository=example.com/operator:v1", "at '/image/repository': value must be 'a repository without a tag, such as fleet-handshake/fleet-handshake'"},
		{"image.tag=v1 beta", "at '/image/tag': value must be 'a tag such as v0.1.0, or empty'"},
		{"global.cattle.systemDefaultRegistry=https://registry.example.com", "at '/global/cattle/systemDefaultRegistry': value must be 'a registry without https://, such as registry.example.com:5000, or empty'"},
		{"extraEnv[0].name=FLEET_HANDSHAKE_WORKERS", "at '/extraEnv/0/name': value must be 'a variable that does not begin with FLEET_HANDSHAKE_: the flags of the chart win over those'"},
		{"imagePullSecrets[0].secret=x", "at '/imagePullSecrets/0': additional properties 'secret' not allowed"},
		{"labels.team=1", "at '/labels/team': got number, want string"},
		{"labels.team=a b", "at '/labels/team': value must be 'the value of a label: letters, digits, -, _ and ., at most 63'"},
		{"labels.a b=c", "at '/labels/a b': value must be 'left out: a key is such as team or example.com/team'"},
		{"labels.rbac\\.authorization\\.k8s\\.io/aggregate-to-view=x", "at '/labels/rbac.authorization.k8s.io~1aggregate-to-view': value must be 'left out: this key would add the rights of the operator to the roles of people'"},
		{"nodeSelector.disk=s s d", "at '/nodeSelector/disk': value must be 'the value of a label: letters, digits, -, _ and ., at most 63'"},
		{"metrics.serviceMonitor.labels.a b=c", "at '/metrics/serviceMonitor/labels/a b': value must be 'left out: a key is such as team or example.com/team'"},
		{"metrics.prometheusRule.labels.a b=c", "at '/metrics/prometheusRule/labels/a b': value must be 'left out: a key is such as team or example.com/team'"},
		{"metrics.dashboard.labels.a b=c", "at '/metrics/dashboard/labels/a b': value must be 'left out: a key is such as team or example.com/team'"},
		{"resources.limits.memory=", "at '/resources/limits/memory': value must be 'a quantity such as 50m, 0.5, 256Mi or 1Gi'"},
		{"resources.requests.cpu=fifty", "at '/resources/requests/cpu': value must be 'a quantity such as 50m, 0.5, 256Mi or 1Gi'"},
		{"priorityClassName=x\n      hostNetwork: true", "at '/priorityClassName': value must be 'the name of a PriorityClass, such as system-cluster-critical, or empty'"},
		{"networkPolicy.apiServerPorts={70000}", "at '/networkPolicy/apiServerPorts/0': maximum: got 70,000, want 65,535"},
		{"metrics.serviceMonitor.enabled=yes", "at '/metrics/serviceMonitor/enabled': got string, want boolean"},
		{"metrics.serviceMonitor.interval=30 seconds", "at '/metrics/serviceMonitor/interval': value must be 'a time of Prometheus such as 30s, or empty'"},
	} {
		t.Run(c.set, func(t *testing.T) {
			_, err := install.Template(context.Background(), install.Chart, newest, "--set="+c.set)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestUnusualValuesAreTaken(t *testing.T) {
	for _, set := range []string{
		"offlineAfter=1h30m0.5s", "missingGrace=0s", "workspaces={a}", "image.tag=v1@sha256:" + strings.Repeat("a", 64),
		"image.repository=registry.example.com:5000/a/b_c", "global.cattle.systemDefaultRegistry=registry.example.com/proxy/docker.io",
		"global.cattle.clusterId=local", "replicas=0", "resources=null", "affinity=null", "nodeSelector=null", "podSecurityContext=null",
		"global.cattle.imagePullSecrets=null", "labels.team=", "labels.example\\.com/Team_1=A.b-c", "priorityClassName=a.b-c", "resources.limits.cpu=2",
		"vault.namespaces={fleet-default},sourceNamespaces={a}", "vault.address=http://gateway/vault/", "vault.role=", "vault.serviceAccount=a.b-c",
		"vsecm.allow={team-a/*}", "vsecm.allow={fleet-default/x},sourceNamespaces={a}", `vsecm.allow={a/Data_Base.1:x/y-*}`, "vsecm.safeURL=https://10.0.0.1",
		"vsecm.safePattern=spiffe://vsecm.com/", "vsecm.clusterSPIFFEID.className=", "vsecm.clusterSPIFFEID.enabled=true",
		"resources.limits.cpu=0.5", "resources.limits.memory=268435456", "resources.limits.memory=1e9", "resources.limits.memory=null",
	} {
		_, err := install.Template(context.Background(), install.Chart, newest, "--set="+set)
		require.NoError(t, err, set)
	}
}

// TestAStringStaysAString renders without the schema: the templates quote what an administrator writes.
func TestAStringStaysAString(t *testing.T) {
	defaults := values(t)
	for _, text := range []string{"1e3", "x\n      hostNetwork: true\nhostNetwork: true"} {
		args := []string{withEveryKind, "--values=" + valueSet(t, "vsecm"), "--values=" + valueSet(t, "high-availability"), "--skip-schema-validation"}
		for _, path := range leaves(defaults, "") {
			value, _ := lookup(defaults, path)
			// Quantities are no strings.
			if _, isString := value.(string); isString && !strings.HasPrefix(path, "resources.") {
				args = append(args, "--set-string="+path+"="+text)
			}
		}
		require.Greater(t, len(args), 10)
		for _, object := range decoded(t, strictly(t), render(t, install.Chart, newest, args...)) {
			assert.NotContains(t, object.Object, "hostNetwork")
			pod, _, err := unstructured.NestedMap(object.Object, "spec", "template", "spec")
			require.NoError(t, err)
			assert.NotContains(t, pod, "hostNetwork")
		}
	}
}

// TestALabelComesOnce renders without the schema, which refuses this label.
func TestALabelComesOnce(t *testing.T) {
	rendered := render(t, install.Chart, newest, "--skip-schema-validation", "--show-only=templates/people.yaml",
		`--set-string=labels.rbac\.authorization\.k8s\.io/aggregate-to-view=no`)
	for _, object := range decoded(t, strictly(t), rendered) {
		if object.GetName() == "fleet-handshake-view" {
			assert.Equal(t, "true", object.GetLabels()["rbac.authorization.k8s.io/aggregate-to-view"])
		}
	}
}

// TestEveryValueIsInTheSchemaAndInTheReadme also looks for what the schema has and values.yaml has not.
func TestEveryValueIsInTheSchemaAndInTheReadme(t *testing.T) {
	inReadme := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\w+ \\| .+ \\| (.*) \\|$")
	content, err := os.ReadFile("fleet-handshake/README.md")
	require.NoError(t, err)
	described := map[string]bool{}
	for _, row := range inReadme.FindAllStringSubmatch(string(content), -1) {
		described[row[1]] = row[2] != ""
	}
	require.NotEmpty(t, described)

	defaults, properties := values(t), schema(t)
	for path := range described {
		_, found := lookup(defaults, path)
		assert.True(t, found, "README.md has %s, and values.yaml has not: run make generate", path)
	}
	covered := func(path string) bool {
		for parent := path; parent != ""; parent = path[:max(0, strings.LastIndex(parent, "."))] {
			if described[parent] {
				return true
			}
		}
		return false
	}
	for _, path := range leaves(defaults, "") {
		assert.True(t, covered(path), "README.md does not describe %s: write a comment in values.yaml, and run make generate", path)
	}
	// What Rancher writes, and no administrator.
	written := []string{"global.cattle.imagePullSecrets"}
	var walk func(path string, node property)
	walk = func(path string, node property) {
		assert.True(t, path == "" || node.Description != "" || len(node.Properties) > 0, "values.schema.json does not describe %s", path)
		for name, child := range node.Properties {
			below := strings.TrimPrefix(path+"."+name, ".")
			// Objects of Kubernetes are only begun.
			if _, found := lookup(defaults, below); !found && !slices.Contains(written, below) && node.closed() && !kubernetesOwn(path) {
				t.Errorf("values.schema.json has %s, and values.yaml has not", below)
			}
			walk(below, child)
		}
		if len(node.Properties) == 0 || kubernetesOwn(path) {
			return
		}
		if object, ok := at(defaults, path).(map[string]any); ok {
			for name := range object {
				assert.Contains(t, node.Properties, name, "values.schema.json does not have %s.%s", path, name)
			}
		}
	}
	walk("", properties)
}

// TestEveryFlagHasAValue compares the flags of the operator with those that the chart sets, and their defaults.
func TestEveryFlagHasAValue(t *testing.T) {
	without := map[string]string{
		"help":           "prints the flags",
		"version":        "prints the version",
		"kubeconfig":     "a Pod has a service account",
		"namespace":      "is that of the release",
		"leader-elect":   "is on: an upgrade runs two replicas for a moment",
		"listen-address": "is the port of the probes and of the Service",
	}
	// The flags of VSecM are there only when there is something that may be read.
	const anything = "vsecm.allow={a/b,c/d-*}"
	flags := map[string]struct{ set, want string }{
		"workspaces":                {"workspaces={a,b}", "a,b"},
		"source-namespaces":         {"sourceNamespaces={a,b}", "a,b"},
		"fleet-namespace":           {"fleetNamespace=elsewhere", "elsewhere"},
		"revoked-grants":            {"revokedGrants=Keep", "Keep"},
		"offline-after":             {"offlineAfter=45m", "45m"},
		"stuck-after":               {"stuckAfter=45m", "45m"},
		"missing-grace":             {"missingGrace=45m", "45m"},
		"withdrawal-threshold":      {"withdrawalThreshold=7", "7"},
		"workers":                   {"workers=7", "7"},
		"source-workers":            {"sourceWorkers=7", "7"},
		"vault-addr":                {"vault.address=https://vault.example.com:8200", "https://vault.example.com:8200"},
		"vault-ca-file":             {"vault.ca=-----BEGIN CERTIFICATE-----", "/etc/fleet-handshake/vault/ca.crt"},
		"vault-auth-path":           {"vault.authPath=hub", "hub"},
		"vault-role":                {"vault.role=reader", "reader"},
		"vault-service-account":     {"vault.serviceAccount=vault", "vault"},
		"vault-requests-per-second": {"vault.requestsPerSecond=7", "7"},
		"vsecm-allow":               {anything, "a/b,c/d-*"},
		"vsecm-safe-url":            {anything + ",vsecm.safeURL=https://safe:8443", "https://safe:8443"},
		"vsecm-trust-domain":        {anything + ",vsecm.trustDomain=example.org", "example.org"},
		"vsecm-endpoint-socket":     {anything + ",vsecm.csi.socket=agent.sock", "unix:///spire-agent-socket/agent.sock"},
		"vsecm-safe-pattern":        {anything + ",vsecm.safePattern=^spiffe://vsecm.com/safe$", "^spiffe://vsecm.com/safe$"},
		"vsecm-workload-pattern":    {anything + ",vsecm.workloadPattern=spiffe://vsecm.com/", "spiffe://vsecm.com/"},
		"vsecm-name-pattern":        {anything + ",vsecm.namePattern=^spiffe://vsecm.com/(.+)$", "^spiffe://vsecm.com/(.+)$"},
		"audit-log":                 {"log.audit=stdout", "-"},
		"log-level":                 {"log.level=trace", "trace"},
		"log-format":                {"log.format=json", "json"},
	}
	binary := filepath.Join(t.TempDir(), "fleet-handshake")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/fleet-handshake").CombinedOutput()
	require.NoError(t, err, "%s", out)
	help, err := exec.Command(binary, "--help").CombinedOutput()
	require.NoError(t, err, "%s", help)
	found := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(string(help), -1)
	require.Greater(t, len(found), len(without))
	for _, match := range found {
		_, has := flags[match[1]]
		assert.True(t, has || without[match[1]] != "", "the chart has no value for --%s: add one, or say in this test why not", match[1])
	}

	for name := range arguments(t) {
		assert.NotContains(t, name, "vsecm")
	}
	defaults := arguments(t, "--set=vsecm.allow={team-a/*}")
	for name, flag := range flags {
		assert.Contains(t, string(help), "--"+name)
		assert.Contains(t, defaults, name)
		got := arguments(t, "--set="+flag.set)
		assert.Equal(t, flag.want, got[name], "--%s with %s", name, flag.set)
		assert.NotEqual(t, got[name], defaults[name], "choose another value than the default of --%s", name)
		all := make([]string, 0, len(got))
		for argument, value := range got {
			all = append(all, "--"+argument+"="+value)
		}
		out, err := exec.Command(binary, append(all, "--version")...).CombinedOutput()
		require.NoError(t, err, "the operator does not take %v: %s", all, out)
	}

	own := operator.Defaults()
	for name, want := range map[string]string{
		"listen-address": own.ListenAddress, "leader-elect": strconv.FormatBool(own.LeaderElect), "workers": strconv.Itoa(own.Workers),
		"workspaces": strings.Join(own.Workspaces, ","), "source-namespaces": strings.Join(own.SourceNamespaces, ","),
		"revoked-grants": own.RevokedGrants, "audit-log": own.AuditLog, "fleet-namespace": own.FleetNamespace,
		"offline-after": own.OfflineAfter.String(), "withdrawal-threshold": strconv.Itoa(own.WithdrawalThreshold),
		"stuck-after": strings.TrimSuffix(own.StuckAfter.String(), "0s"), "missing-grace": strings.TrimSuffix(own.MissingGrace.String(), "0s"),
		"source-workers": strconv.Itoa(own.SourceWorkers), "vault-addr": own.Vault.Addr, "vault-ca-file": own.Vault.CAFile,
		"vault-auth-path": own.Vault.AuthPath, "vault-role": own.Vault.Role, "vault-service-account": own.Vault.ServiceAccount,
		"vault-requests-per-second": strconv.Itoa(own.Vault.RequestsPerSecond),
		"vsecm-allow":               "team-a/*", "vsecm-safe-url": vsecm.DefaultAddress, "vsecm-trust-domain": vsecm.DefaultTrustDomain,
		"vsecm-endpoint-socket": vsecm.DefaultEndpointSocket, "vsecm-safe-pattern": "", "vsecm-workload-pattern": "", "vsecm-name-pattern": "",
		"log-level": "info", "log-format": "text", "namespace": own.Namespace,
	} {
		assert.Equal(t, want, defaults[name], "the default of --%s", name)
		delete(defaults, name)
	}
	assert.Empty(t, defaults, "flags whose default nobody compares")
}

// arguments are the flags of the rendered Deployment.
func arguments(t *testing.T, args ...string) map[string]string {
	t.Helper()
	deployment := appsv1.Deployment{}
	require.NoError(t, yaml.Unmarshal(render(t, install.Chart, newest, append(args, "--show-only=templates/deployment.yaml")...), &deployment))
	out := map[string]string{}
	for _, argument := range deployment.Spec.Template.Spec.Containers[0].Args {
		name, value, ok := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		require.True(t, ok, argument)
		out[name] = value
	}
	return out
}

// property is a part of values.schema.json.
type property struct {
	Description          string              `json:"description"`
	Enum                 []string            `json:"enum"`
	Minimum              *float64            `json:"minimum"`
	Maximum              *float64            `json:"maximum"`
	Properties           map[string]property `json:"properties"`
	AdditionalProperties any                 `json:"additionalProperties"`
}

// closed says whether unknown keys are refused.
func (p property) closed() bool { return p.AdditionalProperties == false }

// kubernetesOwn says whether a value is a part of an object of Kubernetes.
func kubernetesOwn(path string) bool {
	return path == "resources" || path == "affinity" || strings.HasSuffix(path, "ecurityContext")
}

func schema(t *testing.T) property {
	t.Helper()
	content, err := os.ReadFile("fleet-handshake/values.schema.json")
	require.NoError(t, err)
	out := property{}
	require.NoError(t, json.Unmarshal(content, &out))
	require.NotEmpty(t, out.Properties)
	return out
}

func values(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile("fleet-handshake/values.yaml")
	require.NoError(t, err)
	out := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict(content, &out))
	return out
}

// lookup is what is at a path with dots.
func lookup(from map[string]any, path string) (any, bool) {
	var node any = from
	for key := range strings.SplitSeq(path, ".") {
		object, ok := node.(map[string]any)
		if !ok {
			return nil, false
		}
		if node, ok = object[key]; !ok {
			return nil, false
		}
	}
	return node, true
}

func at(from map[string]any, path string) any {
	if path == "" {
		return from
	}
	found, _ := lookup(from, path)
	return found
}

// leaves are the paths of all values that are not objects with something in them.
func leaves(from map[string]any, prefix string) []string {
	var out []string
	for key, value := range from {
		path := strings.TrimPrefix(fmt.Sprintf("%s.%s", prefix, key), ".")
		if object, ok := value.(map[string]any); ok && len(object) > 0 {
			out = append(out, leaves(object, path)...)
			continue
		}
		out = append(out, path)
	}
	return out
}
