package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/flock"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

const (
	stateFile = "lab.json" // marks a folder as a lab's
	lockFile  = "lab.lock" // held while a lab is started
)

// ErrNotRunning is returned by Open when the folder holds no running lab.
var ErrNotRunning = errors.New("no lab is running")

// state is what other programs need to know of a lab.
type state struct {
	Ready    bool           `json:"ready"`
	Fleet    bool           `json:"fleet"`
	Nodes    bool           `json:"nodes"`
	Detached bool           `json:"detached"`
	Keep     bool           `json:"keep"`
	Lifetime time.Duration  `json:"lifetime"`
	Clusters []clusterState `json:"clusters"` // the hub first
}

type clusterState struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	EtcdURL string `json:"etcdURL"`
}

// claim makes the folder ready for a new lab and keeps others from doing the
// same until unlock is called.
func claim(dir string, keep bool, progress *progress) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the lab's folder: %w", err)
	}
	_, stateErr := readState(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the lab's folder: %w", err)
	}
	for _, entry := range entries {
		if stateErr != nil && entry.Name() != lockFile {
			return nil, fmt.Errorf("%s is in use for something else than a lab (%s); choose another folder", dir, entry.Name())
		}
	}

	unlock, err = flock.Try(filepath.Join(dir, lockFile))
	if errors.Is(err, flock.ErrTaken) {
		return nil, fmt.Errorf("another program is starting a lab in %s; wait for it", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := removeEarlier(dir, progress); err != nil {
		unlock()
		return nil, err
	}
	if err := writeState(dir, state{Keep: keep}); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// removeEarlier ends what an earlier lab left in the folder and empties it.
func removeEarlier(dir string, progress *progress) error {
	ended, err := proc.EndAll(stopGrace, dir)
	if err != nil {
		return err
	}
	removeCgroups(dir)
	if len(ended) > 0 {
		progress.say("ended %d processes an earlier lab left in %s", len(ended), dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the lab's folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("removing what an earlier lab left: %w", err)
		}
	}
	return nil
}

// save writes down the lab for Open, Down and the lab command.
func (l *Lab) save(ready bool) error {
	s := state{
		Ready:    ready,
		Fleet:    l.fleet,
		Nodes:    l.nodes,
		Detached: l.runner.detached,
		Keep:     l.Keep,
		Lifetime: l.runner.lifetime,
	}
	for _, c := range l.Clusters() {
		s.Clusters = append(s.Clusters, clusterState{Name: c.Name, Server: c.server, EtcdURL: c.EtcdURL})
	}
	return writeState(l.Dir, s)
}

func writeState(dir string, s state) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	return nil
}

func readState(dir string) (state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return state{}, fmt.Errorf("reading the lab's state: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return state{}, fmt.Errorf("reading the lab's state in %s: %w", dir, err)
	}
	return s, nil
}

// Open returns the lab that runs in the folder, whoever started it. The error
// matches ErrNotRunning when there is none, or not all of its servers live.
func Open(ctx context.Context, dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the lab's folder: %w", err)
	}
	s, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNotRunning, dir)
	}
	if err != nil {
		return nil, err
	}
	if !s.Ready {
		return nil, fmt.Errorf("%w in %s: it was never started completely", ErrNotRunning, dir)
	}

	l := &Lab{Dir: dir, Keep: s.Keep, fleet: s.Fleet, nodes: s.Nodes, progress: &progress{}}
	for i, saved := range s.Clusters {
		cluster := newCluster(i, saved.Name, filepath.Join(dir, saved.Name))
		cluster.server, cluster.EtcdURL = saved.Server, saved.EtcdURL
		for _, name := range []string{etcdProcess, apiServerProcess} {
			record, err := proc.Load(cluster.Dir, name)
			if err != nil || !record.Alive() {
				return nil, fmt.Errorf("%w in %s: %s of cluster %s is gone", ErrNotRunning, dir, name, saved.Name)
			}
		}
		if cluster.caPEM, err = os.ReadFile(filepath.Join(cluster.pkiDir(), caCertFile)); err != nil {
			return nil, fmt.Errorf("reading the authority of cluster %s: %w", saved.Name, err)
		}
		if cluster.Config, err = loadConfig(cluster.Kubeconfig); err != nil {
			return nil, err
		}
		if saved.Name == HubName {
			l.Hub = cluster
			continue
		}
		l.Downstream = append(l.Downstream, cluster)
	}

	programs, err := tools.Ensure(ctx, nil, Options{Fleet: s.Fleet, Nodes: s.Nodes}.programs()...)
	if err != nil {
		return nil, err
	}
	l.runner = runner{programs: programs, lifetime: s.Lifetime, detached: s.Detached, nodes: s.Nodes, ports: &ports.Set{}}
	return l, nil
}

// Down ends every process recorded under root, in as many labs as there are,
// also after their starters crashed. It removes the folders of these labs
// unless they are to be kept, and writes to w what it ended.
func Down(root string, w io.Writer) error {
	if w == nil {
		w = io.Discard
	}
	progress := &progress{writer: w}
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("finding the folder: %w", err)
	}
	ended, err := proc.EndAll(stopGrace, root)
	for _, record := range ended {
		progress.say("ended %s (process %d) of %s", record.Name, record.PID, record.Dir)
	}
	if err != nil {
		return err
	}

	labs, err := labFolders(root)
	if err != nil {
		return err
	}
	for _, dir := range labs {
		removeCgroups(dir)
		if s, err := readState(dir); err == nil && s.Keep {
			progress.say("kept %s", dir)
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the lab's folder: %w", err)
		}
		progress.say("removed %s", dir)
	}
	if len(labs) == 0 && len(ended) == 0 {
		progress.say("no lab under %s", root)
	}
	return nil
}

// labFolders finds the folders of labs at or below root.
func labFolders(root string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(path, stateFile)); err == nil {
			dirs = append(dirs, path)
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for labs under %s: %w", root, err)
	}
	return dirs, nil
}
