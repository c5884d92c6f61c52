// Command lab runs a Fleet hub and downstream clusters on this machine, to try
// things out by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
)

const usage = `usage:
  lab build [--nodes] [--sources]                                 build the programs that a lab needs, if they are not built yet
  lab up [--dir DIR] [--downstream N] [--nodes] [--lifetime 4h]   start a hub and N clusters, if they do not run yet
  lab down [--dir DIR]                                            end every lab in or below DIR and remove its data
  lab status [--dir DIR]                                          say what runs in or below DIR

--nodes gives each cluster a node, and runs Fleet in pods. It needs root, and runc.
--sources builds Vault and SPIRE, too, which tests run.
The default DIR is .lab in the repository; up uses .lab/default.
`

// errUsage asks for the usage text.
var errUsage = errors.New("wrong usage")

func main() {
	// A reader that goes away, as in "lab up | head", must not end a start halfway.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// run runs one subcommand.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	root, err := lab.Root()
	if err != nil {
		return err
	}
	labs := filepath.Join(root, ".lab")

	flags := flag.NewFlagSet("lab "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", labs, "")
	nodes := flags.Bool("nodes", false, "")
	downstream, lifetime, sources := 3, lab.DefaultLifetime, false
	switch args[0] {
	case "build":
		flags.BoolVar(&sources, "sources", false, "")
	case "up":
		*dir = filepath.Join(labs, "default")
		flags.IntVar(&downstream, "downstream", downstream, "")
		flags.DurationVar(&lifetime, "lifetime", lifetime, "")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 || downstream < 0 {
		return errUsage
	}

	switch args[0] {
	case "build":
		return build(ctx, out, *nodes, sources)
	case "up":
		_, groups := lab.Fleet3()
		return up(ctx, out, root, lab.Options{
			Dir:        *dir,
			Downstream: lab.Sites(downstream),
			Groups:     groups,
			Fleet:      true,
			Nodes:      *nodes,
			Lifetime:   lifetime,
			Progress:   out,
			Detached:   true,
		})
	case "down":
		return lab.Down(*dir, out)
	case "status":
		return lab.Status(*dir, out)
	}
	return errUsage
}

// build builds what is missing. Where no node can run, nobody needs its
// programs.
func build(ctx context.Context, out io.Writer, nodes, sources bool) error {
	err := lab.Build(ctx, lab.Options{Fleet: true, Nodes: nodes && lab.NodesAvailable() == nil, Progress: out})
	if err == nil && sources {
		err = vault.Build(ctx, out)
	}
	if err == nil && sources {
		err = spire.Build(ctx, out)
	}
	return err
}

// up starts a lab that outlives this command, unless it runs already.
func up(ctx context.Context, out io.Writer, root string, options lab.Options) error {
	l, err := lab.Open(ctx, options.Dir)
	switch {
	case err == nil && l.HasNodes() != options.Nodes:
		return fmt.Errorf("a lab runs in %s that is of another kind, with or without nodes; end it first with lab down", l.Dir)
	case err == nil:
		say(out, "the lab in %s runs already, with %d downstream clusters; lab down ends it", l.Dir, len(l.Downstream))
	case errors.Is(err, lab.ErrNotRunning):
		l, err = lab.Start(ctx, options)
	}
	// With nodes, the chart can be installed.
	if err == nil && !options.Nodes {
		err = installCRDs(ctx, out, root, l)
	}
	if err != nil && ctx.Err() != nil {
		say(out, "interrupted, cleaning up")
		return errors.Join(err, lab.Down(options.Dir, out))
	}
	if err != nil {
		return err
	}
	introduce(out, l)
	return nil
}

// installCRDs applies this project's definitions, where the checkout has them.
func installCRDs(ctx context.Context, out io.Writer, root string, l *lab.Lab) error {
	crds := filepath.Join(root, "crds")
	if _, err := os.Stat(crds); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := l.Hub.Apply(ctx, crds); err != nil {
		return err
	}
	say(out, "hub: definitions in %s applied", crds)
	return nil
}

// introduce says how to reach the clusters.
func introduce(out io.Writer, l *lab.Lab) {
	say(out, "\nkubeconfig files:")
	for _, cluster := range l.Clusters() {
		say(out, "  %-8s %s", cluster.Name, cluster.Kubeconfig)
	}
	say(out, "\ntry:\n  kubectl --kubeconfig %s get clusters.fleet.cattle.io -A", l.Hub.Kubeconfig)
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
