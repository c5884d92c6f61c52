package node

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// web serves the packaged charts as a Helm repository, and this checkout as a Git repository.
type web struct {
	// address is host:port on loopback.
	address string
	server  *http.Server
	folder  string
}

// serve starts serving. The Git repository has the charts and examples of this checkout as they are, in one commit.
func serve(root, dist string) (*web, error) {
	folder, err := os.MkdirTemp("", "fleet-handshake-git-")
	if err != nil {
		return nil, err
	}
	w := &web{folder: folder}
	if err := w.init(root); err != nil {
		return nil, err
	}
	programs, err := git("", "--exec-path")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("/charts/", http.StripPrefix("/charts/", http.FileServer(http.Dir(dist))))
	mux.Handle("/git/", &cgi.Handler{
		Path: filepath.Join(programs, "git-http-backend"), Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(folder, "served"), "GIT_HTTP_EXPORT_ALL=1"},
	})
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.server.Serve(listener) }()
	return w, nil
}

func (w *web) stop() {
	_ = w.server.Close()
	_ = os.RemoveAll(w.folder)
}

// helm is the URL of the Helm repository for this machine.
func (w *web) helm() string { return "http://" + w.address + "/charts" }

// git is the URL of the Git repository for pods.
func (w *web) git() string {
	_, port, _ := strings.Cut(w.address, ":")
	return "http://" + lab.PublishedHost + ":" + port + "/git/fleet-handshake.git"
}

// init makes the Git repository.
func (w *web) init(root string) error {
	files, err := git(root, "ls-files", "--cached", "--others", "--exclude-standard", "charts", "examples")
	if err != nil {
		return err
	}
	worktree := filepath.Join(w.folder, "worktree")
	for _, file := range strings.Split(files, "\n") {
		content, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(worktree, file)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(worktree, file), content, 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=As in the checkout"},
		{"clone", "--quiet", "--bare", ".", filepath.Join(w.folder, "served", "fleet-handshake.git")},
	} {
		if _, err := git(worktree, args...); err != nil {
			return err
		}
	}
	return nil
}

// git runs git without the settings of the user.
func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	var output, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, &complaints)
	}
	return strings.TrimSpace(output.String()), nil
}
