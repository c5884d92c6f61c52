package tools

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tiny is a group that builds in a moment.
var tiny = group{
	folder:   "tiny",
	about:    "a second",
	packages: []program{{"hello", "example.com/tiny", "tiny"}},
}

// tinyModule writes the module of the tiny group.
func tinyModule(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":  "module example.com/tiny\n\ngo 1.26.0\n",
		"main.go": source,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// together collects the progress of several goroutines.
type together struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (w *together) Write(line []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.Buffer.Write(line)
}

func TestEnsureBuildsOnceForAll(t *testing.T) {
	module, folder := tinyModule(t, "package main\n\nfunc main() {}\n"), filepath.Join(t.TempDir(), "cache")
	var out together
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := tiny.ensure(context.Background(), &out, module, folder, tiny.packages); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()

	if count := strings.Count(out.String(), "building hello (about a second the first time)…\n"); count != 1 {
		t.Errorf("it was built %d times, want once:\n%s", count, &out.Buffer)
	}
	if count := strings.Count(out.String(), "… built in "); count != 1 {
		t.Errorf("it says %d times that it was built, want once:\n%s", count, &out.Buffer)
	}
	info, err := os.Stat(filepath.Join(folder, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&0o100 == 0 {
		t.Errorf("the program has the mode %s and cannot be run", info.Mode())
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	module, folder := tinyModule(t, "package main\n\nfunc main() { nonsense }\n"), filepath.Join(t.TempDir(), "cache")

	err := tiny.ensure(context.Background(), &together{}, module, folder, tiny.packages)
	if err == nil || !strings.Contains(err.Error(), "undefined: nonsense") {
		t.Errorf("got %v, want the compiler's complaint", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 0 {
		t.Errorf("the cache holds %v, want nothing: %v", entries, err)
	}
}

func TestCanceledBuildSaysSo(t *testing.T) {
	module, folder := tinyModule(t, "package main\n\nfunc main() {}\n"), filepath.Join(t.TempDir(), "cache")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	if err := tiny.ensure(ctx, &together{}, module, folder, tiny.packages); err == nil {
		t.Error("a canceled build succeeded")
	}
}

func TestEnsureTakesWhatIsInTheCache(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := groups[0].cacheFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	etcd := filepath.Join(folder, string(Etcd))
	if err := os.WriteFile(etcd, nil, 0o755); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	paths, err := Ensure(context.Background(), &out, Etcd)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 1 || paths[Etcd] != etcd || out.Len() != 0 {
		t.Errorf("got %v after saying %q, want only %s and nothing said", paths, &out, etcd)
	}
}

func TestEnsureOfAnUnknownProgram(t *testing.T) {
	if _, err := Ensure(context.Background(), nil, "notepad"); err == nil {
		t.Error("an unknown program was found")
	}
}

func TestRootIsFoundFromAPinnedModule(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(root, "e2e", "lab", "tools", "fleet"))

	again, err := Root()
	if err != nil || again != root {
		t.Errorf("from a pinned module the root is %q (%v), want %q", again, err, root)
	}
}

func TestRootOutsideOfACheckout(t *testing.T) {
	t.Chdir(t.TempDir())
	if root, err := Root(); err == nil {
		t.Errorf("found the root %q outside of any checkout", root)
	}
}

func TestVersionsAreThePinnedOnes(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for folder, pinned := range map[string]string{
		"kubernetes": "k8s.io/kubernetes " + kubernetesVersion,
		"fleet":      fleetModule + " " + FleetVersion,
	} {
		content, err := os.ReadFile(filepath.Join(root, "e2e", "lab", "tools", folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), pinned+"\n") && !strings.Contains(string(content), pinned+" //") {
			t.Errorf("tools/%s/go.mod does not pin %s", folder, pinned)
		}
	}
}
