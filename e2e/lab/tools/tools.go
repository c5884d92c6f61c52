// Package tools builds the programs a lab runs (Kubernetes, etcd and Fleet)
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
	FleetController       Name = "fleetcontroller"
	FleetAgent            Name = "fleetagent"
)

// CacheEnv names the environment variable that moves the cache; without it,
// the cache is the folder fleet-handshake in the user's cache folder.
const CacheEnv = "FLEET_HANDSHAKE_CACHE"

// Paths are the absolute paths of built programs.
type Paths map[Name]string

// group is a set of programs that come from one pinned module.
type group struct {
	// folder of the module, beside this file
	folder string
	// ldflags for the Go linker
	ldflags string
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

// groups lists everything that can be built.
var groups = []group{
	{
		folder: "kubernetes",
		ldflags: "-s -w" +
			" -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1" +
			" -X k8s.io/component-base/version.gitMinor=36",
		about: "10 minutes",
		packages: []program{
			{KubeAPIServer, "k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"},
			{KubeControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"},
			{Etcd, "go.etcd.io/etcd/server/v3", "server"},
		},
	},
	{
		folder:  "fleet",
		ldflags: "-s -w",
		about:   "4 minutes",
		packages: []program{
			{FleetController, "github.com/rancher/fleet/cmd/fleetcontroller", "fleetcontroller"},
			{FleetAgent, "github.com/rancher/fleet/cmd/fleetagent", "fleetagent"},
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
		if err := g.ensure(ctx, progress, moduleFolder(root, g.folder), folder, wanted); err != nil {
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
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(moduleFolder(root, g.folder), file))
		if err != nil {
			return "", fmt.Errorf("reading the pinned module of %s: %w", g.folder, err)
		}
		hash.Write(content)
	}
	hash.Write([]byte(g.ldflags))
	return filepath.Join(base, "tools", g.folder+"-"+hex.EncodeToString(hash.Sum(nil))[:12]), nil
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
