// Package postgres runs a real PostgreSQL for tests, from the Debian package
// that scripts/postgresql installs. It listens on this machine's loopback only,
// and asks everybody for a password.
//
// PostgreSQL does not run as root. Started by root, it runs in a user namespace
// in which its user is nobody: it has none of root's powers, and its data can
// still be kept in any folder.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/folder"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
)

// Superuser is the name of the user that may do everything.
const Superuser = "postgres"

// DefaultLifetime is how long the processes may run at most.
const DefaultLifetime = time.Hour

const (
	// startTimeout bounds a start, with the making of an empty database.
	startTimeout = 2 * time.Minute
	// stopGrace is how long the server may take to end before it is killed.
	stopGrace = 10 * time.Second
)

// Names of processes; their logs are <name>.log in the server's folder.
const (
	initProcess   = "initdb"
	serverProcess = "postgres"
)

// supervise runs the server and turns SIGTERM, on which it would wait for its
// clients, into the signal on which it ends at once. A wait ends early when a
// signal comes.
const supervise = `"$@" & server=$!
trap 'kill -INT $server' TERM
wait $server; status=$?
while kill -0 $server 2> /dev/null; do wait $server; status=$?; done
exit $status`

// Options say what to start.
type Options struct {
	// Dir is the folder for data and logs. It is made if missing, and must be
	// empty. Below a lab's folder, it is removed with the lab.
	Dir string
	// Lifetime bounds every process; 0 stands for DefaultLifetime.
	Lifetime time.Duration
	// Progress gets lines that say what is being done; nil is fine.
	Progress io.Writer
}

// Server is a database server.
type Server struct {
	// Dir is the folder of the server.
	Dir string
	// Host and Port are the address.
	Host string
	Port int
	// Password is that of the superuser.
	Password string

	programs programs
	lifetime time.Duration
}

// Available says how to install PostgreSQL; nil when it is installed.
func Available() error {
	_, err := findPrograms()
	return err
}

// Start makes an empty database and waits until it can be used. On an error
// nothing runs, and the logs stay. Without PostgreSQL, the error says how to
// install it.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Dir == "" {
		return nil, errors.New("starting PostgreSQL: no folder is given; set Options.Dir")
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	s := &Server{Dir: dir, Host: "127.0.0.1", Password: rand.Text(), lifetime: options.Lifetime}
	if s.lifetime == 0 {
		s.lifetime = DefaultLifetime
	}
	if err := folder.Empty(dir); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	if s.programs, err = findPrograms(); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	free, err := new(ports.Set).Free(1)
	if err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	s.Port = free[0]
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.initialize(ctx); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if options.Progress != nil {
		_, _ = fmt.Fprintf(options.Progress, "PostgreSQL ready at %s:%d (%s)\n", s.Host, s.Port, time.Since(begin).Round(100*time.Millisecond))
	}
	return s, nil
}

// initialize makes an empty database.
func (s *Server) initialize(ctx context.Context) error {
	password := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(password, []byte(s.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the password: %w", err)
	}
	defer os.Remove(password) //nolint:errcheck // in a folder that only its owner reads
	process, err := s.run(initProcess, s.programs.initdb, "--pgdata="+s.data(), "--username="+Superuser,
		"--pwfile="+password, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	if err != nil {
		return err
	}
	select {
	case <-process.Exited():
	case <-ctx.Done():
	}
	_, err = proc.End(0, process.Record)
	<-process.Exited()
	// What has failed leaves no data behind, unless it was cut off.
	if _, missing := os.Stat(filepath.Join(s.data(), "global", "pg_control")); missing != nil {
		err = errors.Join(process.Failure(), err)
	}
	return errors.Join(ctx.Err(), err)
}

// Start starts a server that was stopped again, at the same address and with
// the same data, and waits until it can be used.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	process, err := s.run(serverProcess, "/bin/sh", "-c", supervise, "sh", s.programs.postgres,
		"-D", s.data(),
		"-c", "listen_addresses="+s.Host,
		"-c", "port="+strconv.Itoa(s.Port),
		"-c", "unix_socket_directories=",
		"-c", "fsync=off", // data need not survive a power failure
		"-c", "shared_buffers=16MB",
		"-c", "max_connections=50",
		"-c", "log_min_error_statement=panic", // a statement may have a password in it
	)
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	err = wait.For(ctx, "PostgreSQL to be ready", func(ctx context.Context) error {
		return s.Login(ctx, Superuser, s.Password)
	}, process)
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", errors.Join(err, s.Stop()))
	}
	return nil
}

// Stop ends the server and cuts its connections. The data stay. Stopping twice
// is fine.
func (s *Server) Stop() error {
	if _, err := proc.EndAll(stopGrace, s.Dir); err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	return nil
}

func (s *Server) data() string {
	return filepath.Join(s.Dir, "data")
}

// run starts a program that refuses to run as root.
func (s *Server) run(name, path string, args ...string) (*proc.Process, error) {
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		// Inside, the files of root are those of nobody.
		args = append([]string{"--user", "--map-user=" + nobody.Uid, "--map-group=" + nobody.Gid, "--", path}, args...)
		path = "unshare"
	}
	return proc.Start(proc.Spec{
		Name:     name,
		Dir:      s.Dir,
		Path:     path,
		Args:     args,
		Env:      []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "LC_ALL=C", "TZ=UTC"},
		Lifetime: s.lifetime,
	})
}

// programs are the paths of PostgreSQL's own.
type programs struct {
	initdb, postgres, psql string
}

// findPrograms finds the newest version of Debian's packages, or what is on the
// path.
func findPrograms() (programs, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return programs{}, err
	}
	find := func(name string) string {
		newest, found := 0, ""
		for _, folder := range folders {
			version, err := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
			file := filepath.Join(folder, name)
			if _, missing := os.Stat(file); err == nil && missing == nil && version > newest {
				newest, found = version, file
			}
		}
		if found == "" {
			found, _ = exec.LookPath(name) // empty when it is nowhere
		}
		return found
	}
	p := programs{initdb: find("initdb"), postgres: find("postgres"), psql: find("psql")}
	if p.initdb == "" || p.postgres == "" || p.psql == "" {
		return programs{}, errors.New("PostgreSQL is not installed; run scripts/postgresql, or install the package postgresql")
	}
	return p, nil
}
