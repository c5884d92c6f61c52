// Command fleet-handshake is the operator: it runs on the Rancher management cluster and sends Secrets to downstream
// clusters through Fleet.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/fleet-handshake/fleet-handshake/pkg/version"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	// The image has no CA certificates: without any of the system, those of Mozilla hold.
	_ "golang.org/x/crypto/x509roots/fallback"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const envPrefix = "FLEET_HANDSHAKE_"

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "fleet-handshake:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	opts := operator.Defaults()
	var kubeconfig, logLevel, logFormat string
	cmd := &cobra.Command{
		Use:           "fleet-handshake",
		Short:         "Send Secrets of the Rancher hub to downstream clusters through Fleet",
		Long:          "Fleet Handshake runs on the Rancher management cluster. It sends Secrets to the downstream clusters that FleetHandshakes name, through Fleet, and reports for each cluster whether it has them.",
		Version:       version.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.Flags()); err != nil {
				return err
			}
			return setUpLogging(logLevel, logFormat)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := restConfig(kubeconfig)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			logrus.WithField("server", cfg.Host).Infof("fleet-handshake %s", version.String())
			return operator.Run(ctx, cfg, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file of the hub; default: $KUBECONFIG, then the service account of the pod")
	f.StringVar(&opts.Namespace, "namespace", opts.Namespace, "namespace of the leader election's Lease")
	f.BoolVar(&opts.LeaderElect, "leader-elect", opts.LeaderElect, "let one of several replicas work at a time")
	f.StringVar(&opts.ListenAddress, "listen-address", opts.ListenAddress, "address of /healthz, /readyz and /metrics; 0 turns it off")
	f.IntVar(&opts.Workers, "workers", opts.Workers, "how many FleetHandshakes are worked on at a time")
	f.IntVar(&opts.SourceWorkers, "source-workers", opts.SourceWorkers, "how many objects that make Secrets, such as VaultSecrets, are worked on at a time")
	f.StringVar(&opts.Vault.Addr, "vault-addr", opts.Vault.Addr, "URL of the Vault of sources that name none; empty: they have to name one")
	f.StringVar(&opts.Vault.CAFile, "vault-ca-file", opts.Vault.CAFile, "PEM file that certificates of Vault servers are checked with where no VaultConnection says otherwise; empty: those that browsers trust")
	f.StringVar(&opts.Vault.AuthPath, "vault-auth-path", opts.Vault.AuthPath, "where the method kubernetes is mounted in Vault, for sources that say nothing else")
	f.StringVar(&opts.Vault.Role, "vault-role", opts.Vault.Role, "role in Vault of sources that name none; empty: the namespace of the service account")
	f.StringVar(&opts.Vault.ServiceAccount, "vault-service-account", opts.Vault.ServiceAccount, "service account that sources log in to Vault with that name none, in the namespace of each")
	f.IntVar(&opts.Vault.RequestsPerSecond, "vault-requests-per-second", opts.Vault.RequestsPerSecond, "how many requests each Vault server gets in a second where no VaultConnection says otherwise")
	f.StringVar(&opts.VSecM.SafeURL, "vsecm-safe-url", opts.VSecM.SafeURL, "URL of the Safe of VSecMSecrets that name none")
	f.StringVar(&opts.VSecM.TrustDomain, "vsecm-trust-domain", opts.VSecM.TrustDomain, "SPIFFE trust domain of Safe and of the operator")
	f.StringVar(&opts.VSecM.EndpointSocket, "vsecm-endpoint-socket", opts.VSecM.EndpointSocket, "address of the SPIFFE Workload API; it is asked only when there is a VSecMSecret")
	f.StringVar(&opts.VSecM.SafePattern, "vsecm-safe-pattern", "", "SPIFFE ID of Safe: a regular expression that begins with ^spiffe://, or what the ID begins with; empty: that of VSecM")
	f.StringVar(&opts.VSecM.WorkloadPattern, "vsecm-workload-pattern", "", "SPIFFE ID of workloads, written as --vsecm-safe-pattern; empty: that of VSecM")
	f.StringVar(&opts.VSecM.NamePattern, "vsecm-name-pattern", "", "regular expression whose first group is the name of a workload in its SPIFFE ID; empty: that of VSecM")
	f.StringSliceVar(&opts.VSecM.Allow, "vsecm-allow", nil, "secrets of Safe that namespaces may have, each as namespace/name, with * at the end for all that begin so; empty: none")
	f.StringSliceVar(&opts.Workspaces, "workspaces", opts.Workspaces, "namespaces that the operator writes in, beside those with the label fleethandshake.io/workspace=true: Fleet workspaces")
	f.StringSliceVar(&opts.SourceNamespaces, "source-namespaces", nil, "namespaces that the operator reads Secrets of, beside the workspaces; empty: all")
	f.StringVar(&opts.RevokedGrants, "revoked-grants", opts.RevokedGrants, "what happens to the copies in the clusters when the consent to send a Secret is taken back: Remove or Keep")
	f.StringVar(&opts.AuditLog, "audit-log", "", "file for the audit log, as lines of JSON; -: standard output; empty: the log of the operator")
	f.StringVar(&opts.FleetNamespace, "fleet-namespace", opts.FleetNamespace, "namespace of Fleet's controller, which holds its configuration")
	f.DurationVar(&opts.OfflineAfter, "offline-after", opts.OfflineAfter, "how long Fleet's agent may be silent until its cluster counts as offline; 0: three times agentCheckinInterval of Fleet's configuration")
	f.DurationVar(&opts.StuckAfter, "stuck-after", opts.StuckAfter, "how long an agent that reports may take to apply a revision until its cluster counts as stuck")
	f.DurationVar(&opts.MissingGrace, "missing-grace", opts.MissingGrace, "how long a Secret may be missing until a person has to look; with missingSourcePolicy Remove, until its copies are removed")
	f.IntVar(&opts.WithdrawalThreshold, "withdrawal-threshold", opts.WithdrawalThreshold, "percentage of the clusters that a change of targets may withdraw the Secret from without a confirmation; 100 never asks")
	f.StringVar(&logLevel, "log-level", "info", "panic, fatal, error, warning, info, debug or trace")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	f.VisitAll(func(flag *pflag.Flag) { flag.Usage += " [$" + strings.Join(envNames(flag.Name), ", $") + "]" })
	return cmd
}

// ofVSecM are the variables that VSecM itself is configured with (core/constants/env/env.go).
var ofVSecM = map[string]string{
	"vsecm-safe-url":         "VSECM_SAFE_ENDPOINT_URL",
	"vsecm-trust-domain":     "SPIFFE_TRUST_DOMAIN",
	"vsecm-endpoint-socket":  "SPIFFE_ENDPOINT_SOCKET",
	"vsecm-safe-pattern":     "VSECM_SPIFFEID_PREFIX_SAFE",
	"vsecm-workload-pattern": "VSECM_SPIFFEID_PREFIX_WORKLOAD",
	"vsecm-name-pattern":     "VSECM_WORKLOAD_NAME_REGEXP",
}

// envNames are the variables that a flag is read from; the first that is set counts.
func envNames(flag string) []string {
	names := []string{envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
	if theirs := ofVSecM[flag]; theirs != "" {
		names = append(names, theirs)
	}
	return names
}

// fromEnvironment sets each flag that is not on the command line from its environment twins.
func fromEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(flag *pflag.Flag) {
		for _, name := range envNames(flag.Name) {
			value, ok := os.LookupEnv(name)
			if !ok || flag.Changed || failed != nil {
				continue
			}
			if err := flags.Set(flag.Name, value); err != nil {
				failed = fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
	})
	return failed
}

func setUpLogging(level, format string) error {
	parsed, err := logrus.ParseLevel(level)
	if err != nil {
		return fmt.Errorf("--log-level is %q: write panic, fatal, error, warning, info, debug or trace", level)
	}
	logrus.SetLevel(parsed)
	switch format {
	case "text":
		logrus.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	case "json":
		logrus.SetFormatter(&logrus.JSONFormatter{})
	default:
		return fmt.Errorf("--log-format is %q: write text or json", format)
	}
	return redirectKlog()
}

// redirectKlog makes client-go log through logrus, each line once.
func redirectKlog() error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "one_output": "true", "stderrthreshold": "FATAL", "skip_headers": "true"} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("setting up klog: %w", err)
		}
	}
	klog.SetOutput(logrus.StandardLogger().WriterLevel(logrus.InfoLevel))
	return nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to work on: %w; name a kubeconfig file with --kubeconfig", err)
	}
	return cfg, nil
}
