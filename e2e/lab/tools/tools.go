// Package tools builds the programs a lab runs (Kubernetes, etcd, Fleet and more)
// from Go modules pinned beside this file, once, into a cache that all
// checkouts share.
package tools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/flock"
)

// Name is the file name of a program.
type Name string

// The programs that can be built.
const (
	Etcd                  Name = "etcd"
	KubeAPIServer         Name = "kube-apiserver"
	KubeControllerManager Name = "kube-controller-manager"
	KubeScheduler         Name = "kube-scheduler"
	Kubelet               Name = "kubelet"
	FleetController       Name = "fleetcontroller"
	FleetAgent            Name = "fleetagent"
	FleetCLI              Name = "fleet"
	Containerd            Name = "containerd"
	ContainerdShim        Name = "containerd-shim-runc-v2"
	Ctr                   Name = "ctr"
	BridgePlugin          Name = "bridge"
	HostLocalPlugin       Name = "host-local"
	Node                  Name = "node"
	Pause                 Name = "pause"
	Helm                  Name = "helm"
	Package               Name = "package"
	SpireAgent            Name = "spire-agent"
	SpireServer           Name = "spire-server"
	VaultLab              Name = "vault-lab"
)

// CacheEnv names the environment variable that moves the cache; without it,
// the cache is the folder fleet-handshake in the user's cache folder.
const CacheEnv = "FLEET_HANDSHAKE_CACHE"

// Paths are the absolute paths of built programs.
type Paths map[Name]string

// group is a set of programs that come from one pinned module.
type group struct {
	// folder of the module, from the root of the repository
	folder string
	// ldflags for the Go linker
	ldflags string
	// tags for the Go compiler
	tags string
	// gcflags for the Go compiler
	gcflags string
	// cgo lets the programs have parts in C
	cgo bool
	// about says how long the first build takes on two cores
	about string
	// packages to build, in the order they are spoken of
	packages []program
}

// program is one package of a group.
type program struct {
	name Name
	path string
	// output is what the go command calls the binary
	output string
}

// kubernetesVersion is the one in tools/kubernetes/go.mod; the programs need
// to be told.
const kubernetesVersion = "v1.36.3"

// FleetVersion is the one in tools/fleet/go.mod; Fleet's images bear it.
const FleetVersion = "v0.16.0"

// groups lists everything that can be built.
var groups = []group{
	{
		folder: "e2e/lab/tools/kubernetes",
		ldflags: "-s -w" +
			" -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1" +
			" -X k8s.io/component-base/version.gitMinor=36",
		about: "10 minutes",
		packages: []program{
			{KubeAPIServer, "k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"},
			{KubeControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"},
			{KubeScheduler, "k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"},
			{Kubelet, "k8s.io/kubernetes/cmd/kubelet", "kubelet"},
			{Etcd, "go.etcd.io/etcd/server/v3", "server"},
		},
	},
	{
		folder:  "e2e/lab/tools/fleet",
		ldflags: "-s -w",
		about:   "4 minutes",
		packages: []program{
			{FleetController, "github.com/rancher/fleet/cmd/fleetcontroller", "fleetcontroller"},
			{FleetAgent, "github.com/rancher/fleet/cmd/fleetagent", "fleetagent"},
			{FleetCLI, "github.com/rancher/fleet/cmd/fleetcli", "fleetcli"},
		},
	},
	{
		folder:  "e2e/lab/tools/node",
		ldflags: "-s -w",
		tags:    "no_btrfs,no_zfs,no_devmapper",
		about:   "4 minutes",
		packages: []program{
			{Containerd, "github.com/containerd/containerd/v2/cmd/containerd", "containerd"},
			{ContainerdShim, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"},
			{Ctr, "github.com/containerd/containerd/v2/cmd/ctr", "ctr"},
			{BridgePlugin, "github.com/containernetworking/plugins/plugins/main/bridge", "bridge"},
			{HostLocalPlugin, "github.com/containernetworking/plugins/plugins/ipam/host-local", "host-local"},
			{Node, Module + "/e2e/lab/tools/node", "node"},
			{Pause, Module + "/e2e/lab/tools/node/pause", "pause"},
		},
	},
	{
		folder:   "e2e/lab/tools/charts",
		ldflags:  "-s -w",
		about:    "2 minutes",
		packages: []program{{Helm, "helm.sh/helm/v3/cmd/helm", "helm"}},
	},
	{
		folder:   "scripts/tools/package",
		ldflags:  "-s -w",
		about:    "1 minute",
		packages: []program{{Package, Module + "/scripts/tools/package", "package"}},
	},
	{
		folder:   "e2e/lab/tools/vault",
		ldflags:  "-s -w",
		about:    "4 minutes",
		packages: []program{{VaultLab, Module + "/e2e/lab/tools/vault", "vault"}},
	},
	{
		// The longest of all builds, and speed of the programs matters to nobody.
		folder:  "e2e/lab/tools/spire",
		ldflags: "-s -w",
		gcflags: "all=-N -l -dwarf=false",
		cgo:     true, // SQLite
		about:   "7 minutes",
		packages: []program{
			{SpireServer, "github.com/spiffe/spire/cmd/spire-server", "spire-server"},
			{SpireAgent, "github.com/spiffe/spire/cmd/spire-agent", "spire-agent"},
		},
	},
}

// Ensure returns the paths of the named programs, after building those that
// are missing. Progress is reported in words, every 30 seconds or so while a
// build runs; nil is fine. Two programs that call it at once do not build
// twice, and an interrupted build leaves nothing behind that looks complete.
func Ensure(ctx context.Context, progress io.Writer, names ...Name) (Paths, error) {
	if progress == nil {
		progress = io.Discard
	}
	root, err := Root()
	if err != nil {
		return nil, err
	}

	paths := Paths{}
	for _, g := range groups {
		wanted := g.pick(names)
		if len(wanted) == 0 {
			continue
		}
		folder, err := g.cacheFolder(root)
		if err != nil {
			return nil, err
		}
		if err := g.ensure(ctx, progress, filepath.Join(root, g.folder), folder, wanted); err != nil {
			return nil, err
		}
		for _, p := range wanted {
			paths[p.name] = filepath.Join(folder, string(p.name))
		}
	}
	for _, name := range names {
		if paths[name] == "" {
			return nil, fmt.Errorf("no program is called %q", name)
		}
	}
	return paths, nil
}

// pick returns the programs of the group that are named.
func (g group) pick(names []Name) []program {
	var wanted []program
	for _, p := range g.packages {
		if slices.Contains(names, p.name) {
			wanted = append(wanted, p)
		}
	}
	return wanted
}

// cacheFolder is where the group's programs are kept. It differs for
// everything that goes into a build, so it never holds a stale program.
func (g group) cacheFolder(root string) (string, error) {
	base := os.Getenv(CacheEnv)
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding the cache folder, set %s to choose one: %w", CacheEnv, err)
		}
		base = filepath.Join(cache, "fleet-handshake")
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}

	hash := sha256.New()
	module := os.DirFS(filepath.Join(root, g.folder))
	err = fs.WalkDir(module, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(module, file)
		hash.Write(content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the pinned module of %s: %w", g.folder, err)
	}
	hash.Write([]byte(g.ldflags + g.tags + g.gcflags + strings.Join(g.env(), " ")))
	return filepath.Join(base, "tools", filepath.Base(g.folder)+"-"+hex.EncodeToString(hash.Sum(nil))[:12]), nil
}

// ensure builds what is missing in folder.
func (g group) ensure(ctx context.Context, progress io.Writer, module, folder string, wanted []program) error {
	if len(missing(folder, wanted)) == 0 {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the cache folder: %w", err)
	}
	unlock, err := flock.Wait(ctx, folder+".lock", func() {
		say(progress, "another program is building %s, waiting for it…", speak(wanted))
	})
	if err != nil {
		return fmt.Errorf("building %s: %w", speak(wanted), err)
	}
	defer unlock()

	todo := missing(folder, wanted) // the other program may have built them
	if len(todo) == 0 {
		return nil
	}
	say(progress, "building %s (about %s the first time)…", speak(todo), g.about)
	begin := time.Now()
	if err := g.build(ctx, progress, module, folder, todo); err != nil {
		return fmt.Errorf("building %s: %w", speak(todo), err)
	}
	say(progress, "… built in %s", time.Since(begin).Round(time.Second))
	return nil
}

// missing returns the programs that are not in folder.
func missing(folder string, wanted []program) []program {
	return slices.DeleteFunc(slices.Clone(wanted), func(p program) bool {
		_, err := os.Stat(filepath.Join(folder, string(p.name)))
		return err == nil
	})
}

// speak lists programs as one does in a sentence.
func speak(programs []program) string {
	var names []string
	for _, p := range programs {
		names = append(names, string(p.name))
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// say writes one line of progress.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // progress that cannot be shown is no error
}

// errNoRoot is what Root returns outside of a checkout.
var errNoRoot = errors.New("not inside a checkout of " + Module + "; change into one")
