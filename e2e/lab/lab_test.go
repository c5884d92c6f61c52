package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
)

// started records a process in dir, as a lab would.
func started(t *testing.T, dir string) *proc.Process {
	t.Helper()
	process, err := proc.Start(proc.Spec{
		Name: "sleeper", Dir: dir, Path: "/bin/sleep", Args: []string{"60"}, Lifetime: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = proc.End(0, process.Record) })
	return process
}

// labFolder makes a folder that looks like a lab with one process.
func labFolder(t *testing.T, dir string, s state) *proc.Process {
	t.Helper()
	cluster := filepath.Join(dir, HubName)
	if err := os.MkdirAll(cluster, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeState(dir, s); err != nil {
		t.Fatal(err)
	}
	return started(t, cluster)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestDownEndsAllLabsBelowAFolder(t *testing.T) {
	root := t.TempDir()
	first := labFolder(t, filepath.Join(root, "first"), state{})
	kept := labFolder(t, filepath.Join(root, "deeper", "kept"), state{Keep: true})
	other := labFolder(t, t.TempDir(), state{})

	var out bytes.Buffer
	if err := Down(root, &out); err != nil {
		t.Fatal(err)
	}
	if first.Alive() || kept.Alive() {
		t.Error("a process of a lab below the folder is alive")
	}
	if !other.Alive() {
		t.Error("a process of another folder was ended")
	}
	if exists(filepath.Join(root, "first")) {
		t.Error("the folder of the first lab is still there")
	}
	if !exists(filepath.Join(root, "deeper", "kept", stateFile)) {
		t.Error("the folder to keep is gone")
	}
	if count := strings.Count(out.String(), "ended sleeper"); count != 2 {
		t.Errorf("it says %d times that it ended a process, want 2:\n%s", count, &out)
	}
}

func TestDownWithoutALab(t *testing.T) {
	var out bytes.Buffer
	missing := filepath.Join(t.TempDir(), "missing")
	if err := Down(missing, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "no lab under "+missing+"\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestClaimRefusesAFolderWithOtherThings(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := claim(dir, false, &progress{}); err == nil {
		t.Error("a folder with other things was taken for a lab's")
	}
	if !exists(precious) {
		t.Error("a file that is not a lab's was removed")
	}
}

func TestClaimEndsAndRemovesAnEarlierLab(t *testing.T) {
	dir := t.TempDir()
	leftover := labFolder(t, dir, state{Ready: true})

	unlock, err := claim(dir, false, &progress{})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if leftover.Alive() {
		t.Error("the earlier lab's process is alive")
	}
	if exists(filepath.Join(dir, HubName)) {
		t.Error("the earlier lab's data is still there")
	}
	if _, err := claim(dir, false, &progress{}); err == nil {
		t.Error("two starts got the same folder")
	}
}

func TestOpenOfALabThatIsNotComplete(t *testing.T) {
	cases := map[string]*state{
		"there is nothing":          nil,
		"a start that did not end":  {},
		"servers that are gone now": {Ready: true, Clusters: []clusterState{{Name: HubName}}},
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if s != nil {
				if err := writeState(dir, *s); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(context.Background(), dir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("got %v, want ErrNotRunning", err)
			}
		})
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	cases := map[string]Options{
		"no folder":                     {},
		"clusters without Fleet":        {Dir: "x", Downstream: Sites(1)},
		"a cluster called like the hub": {Dir: "x", Fleet: true, Downstream: []Downstream{{Name: HubName}}},
		"two clusters with one name":    {Dir: "x", Fleet: true, Downstream: append(Sites(1), Sites(1)...)},
		"a name that leaves the folder": {Dir: "x", Fleet: true, Downstream: []Downstream{{Name: "../x"}}},
	}
	for name, options := range cases {
		t.Run(name, func(t *testing.T) {
			if err := options.validate(); err == nil {
				t.Error("the options were accepted")
			}
		})
	}
}

func TestFleet3(t *testing.T) {
	downstream, groups := Fleet3()

	var production []string
	for _, d := range downstream {
		if d.Labels[EnvLabel] == groups[0].Selector[EnvLabel] {
			production = append(production, d.Name)
		}
	}
	if len(downstream) != 3 || !slices.Equal(production, []string{"paris", "tokyo"}) {
		t.Errorf("production is %v of %v, want paris and tokyo of three", production, downstream)
	}
}

func TestSitesHaveDifferentNames(t *testing.T) {
	if err := (Options{Dir: "x", Fleet: true, Downstream: Sites(12)}).validate(); err != nil {
		t.Error(err)
	}
}

func TestPrefixEnd(t *testing.T) {
	cases := map[string]string{
		"/registry/": "/registry0",
		"a\xff":      "b",
		"\xff":       "\x00",
		"":           "\x00",
	}
	for prefix, want := range cases {
		if got := string(prefixEnd(prefix)); got != want {
			t.Errorf("the end of %q is %q, want %q", prefix, got, want)
		}
	}
}

func TestParseObjects(t *testing.T) {
	objects, err := ParseObjects([]byte(`# nothing but a remark
---
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: three}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.GetKind()+" "+o.GetName())
	}
	if want := []string{"Secret one", "ConfigMap two", "ConfigMap three"}; !slices.Equal(names, want) {
		t.Errorf("read %v, want %v", names, want)
	}
	if _, err := ParseObjects([]byte("just: data")); err == nil {
		t.Error("a document that is no object was accepted")
	}
}

func TestParallelReturnsTheFirstErrorAndStopsTheOthers(t *testing.T) {
	first := errors.New("first")
	err := parallel(context.Background(),
		func(context.Context) error { return first },
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	)
	if !errors.Is(err, first) {
		t.Errorf("got %v, want the first error", err)
	}
}
