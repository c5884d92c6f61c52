package main

import (
	"bytes"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// execute runs the command and gives its output.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestVersion(t *testing.T) {
	out, err := execute(t, "--version")
	require.NoError(t, err)
	assert.Equal(t, "fleet-handshake version dev (unknown)\n", out)
}

func TestEachFlagHasAnEnvironmentTwin(t *testing.T) {
	out, err := execute(t, "--help")
	require.NoError(t, err)
	command().Flags().VisitAll(func(f *pflag.Flag) {
		twin := "FLEET_HANDSHAKE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		assert.Contains(t, out, twin)
	})

	t.Setenv("FLEET_HANDSHAKE_WORKERS", "3")
	t.Setenv("FLEET_HANDSHAKE_NAMESPACE", "from-environment")
	flags := command().Flags()
	require.NoError(t, flags.Parse([]string{"--namespace", "from-flag"}))
	require.NoError(t, fromEnvironment(flags))
	assert.Equal(t, "3", flags.Lookup("workers").Value.String())
	assert.Equal(t, "from-flag", flags.Lookup("namespace").Value.String(), "the command line wins")

	t.Setenv("FLEET_HANDSHAKE_WORKERS", "many")
	require.ErrorContains(t, fromEnvironment(command().Flags()), "environment variable FLEET_HANDSHAKE_WORKERS")
}

func TestTheVariablesOfVSecMCountToo(t *testing.T) {
	out, err := execute(t, "--help")
	require.NoError(t, err)
	theirs := map[string]string{
		"vsecm-safe-url":         "VSECM_SAFE_ENDPOINT_URL",
		"vsecm-trust-domain":     "SPIFFE_TRUST_DOMAIN",
		"vsecm-endpoint-socket":  "SPIFFE_ENDPOINT_SOCKET",
		"vsecm-safe-pattern":     "VSECM_SPIFFEID_PREFIX_SAFE",
		"vsecm-workload-pattern": "VSECM_SPIFFEID_PREFIX_WORKLOAD",
		"vsecm-name-pattern":     "VSECM_WORKLOAD_NAME_REGEXP",
	}
	for flag, variable := range theirs {
		ours := "FLEET_HANDSHAKE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		assert.Contains(t, out, "[$"+ours+", $"+variable+"]")
		read := func(args ...string) string {
			t.Helper()
			flags := command().Flags()
			require.NoError(t, flags.Parse(args))
			require.NoError(t, fromEnvironment(flags))
			return flags.Lookup(flag).Value.String()
		}
		assert.Equal(t, command().Flags().Lookup(flag).DefValue, read())
		t.Setenv(variable, "theirs")
		assert.Equal(t, "theirs", read())
		t.Setenv(ours, "ours")
		assert.Equal(t, "ours", read(), "what is said to the operator counts more")
		t.Setenv(ours, "")
		assert.Empty(t, read(), "also nothing")
		assert.Equal(t, "flag", read("--"+flag, "flag"), "the command line wins")
	}
	command().Flags().VisitAll(func(f *pflag.Flag) {
		if theirs[f.Name] == "" {
			assert.Len(t, envNames(f.Name), 1, f.Name)
		}
	})
}

func TestSecretsOfSafeThatNamespacesMayHave(t *testing.T) {
	for title, c := range map[string]struct {
		variable string
		args     []string
		want     []string
	}{
		"none":               {"", nil, nil},
		"with commas":        {"", []string{"--vsecm-allow", "a/x,b/*"}, []string{"a/x", "b/*"}},
		"one after another":  {"", []string{"--vsecm-allow", "a/x", "--vsecm-allow=b/*"}, []string{"a/x", "b/*"}},
		"in the environment": {"a/x,b/*", nil, []string{"a/x", "b/*"}},
		"in both":            {"c/z", []string{"--vsecm-allow", "a/x"}, []string{"a/x"}},
	} {
		t.Run(title, func(t *testing.T) {
			if c.variable != "" {
				t.Setenv("FLEET_HANDSHAKE_VSECM_ALLOW", c.variable)
			}
			flags := command().Flags()
			require.NoError(t, flags.Parse(c.args))
			require.NoError(t, fromEnvironment(flags))
			got, err := flags.GetStringSlice("vsecm-allow")
			require.NoError(t, err)
			assert.ElementsMatch(t, c.want, got)
		})
	}
}

// TestAnImageWithoutCertificatesTrustsWhatBrowsersTrust runs this test again, where the system has no certificates.
func TestAnImageWithoutCertificatesTrustsWhatBrowsersTrust(t *testing.T) {
	if os.Getenv("WITHOUT_CERTIFICATES") == "" {
		nothing := t.TempDir()
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), "WITHOUT_CERTIFICATES=1", "SSL_CERT_FILE="+filepath.Join(nothing, "none"), "SSL_CERT_DIR="+nothing)
		out, err := again.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	roots, err := x509.SystemCertPool()
	require.NoError(t, err)
	assert.False(t, roots.Equal(x509.NewCertPool()), "nothing is trusted")
}

func TestMistakesGetASentence(t *testing.T) {
	t.Cleanup(func() { logrus.SetLevel(logrus.InfoLevel) })
	for title, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown level":    {[]string{"--log-level", "loud"}, "write panic, fatal, error, warning, info, debug or trace"},
		"an unknown format":   {[]string{"--log-format", "xml"}, "write text or json"},
		"a missing file":      {[]string{"--kubeconfig", "nowhere.yaml"}, "name a kubeconfig file with --kubeconfig"},
		"an extra argument":   {[]string{"start"}, "unknown command"},
		"a misspelled flag":   {[]string{"--worker", "1"}, "unknown flag: --worker"},
		"a rate in letters":   {[]string{"--vault-requests-per-second", "many"}, "invalid argument"},
		"a number in letters": {[]string{"--workers", "many"}, "invalid argument"},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := execute(t, c.args...)
			require.ErrorContains(t, err, c.want)
		})
	}
}
