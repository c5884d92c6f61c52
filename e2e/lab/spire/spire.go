// Package spire runs a real SPIRE for tests: a server, and an agent with the
// Workload API that gives SVIDs to processes of this machine. The programs are
// built by package tools from a pinned module.
//
// Whoever asks is known by its user and by the path of its program. What it is
// given are the SVIDs of all entries that match, see Server.Register.
//
// Server and agent keep their identities when they are stopped and started
// again.
package spire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/folder"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

const (
	// DefaultTrustDomain is that of VSecM.
	DefaultTrustDomain = "vsecm.com"
	// DefaultLifetime is how long the processes may run at most.
	DefaultLifetime = time.Hour
)

const (
	// startTimeout bounds a start, after the programs are built.
	startTimeout = time.Minute
	// stopGrace is how long a process may take to end before it is killed.
	stopGrace = 5 * time.Second
)

// Names of processes; their logs are <name>.log in the folder.
const (
	serverProcess = "spire-server"
	agentProcess  = "spire-agent"
)

// Options say what to start.
type Options struct {
	// Dir is the folder for data, keys and logs. It is made if missing, and must
	// be empty. Below a lab's folder, it is removed with the lab.
	Dir string
	// TrustDomain is DefaultTrustDomain when it is empty.
	TrustDomain string
	// Lifetime bounds every process; 0 stands for DefaultLifetime.
	Lifetime time.Duration
	// Progress gets lines that say what is being done; nil is fine.
	Progress io.Writer
}

// Server is a SPIRE server with its agent.
type Server struct {
	// Dir is the folder of the server.
	Dir string
	// TrustDomain is that of all SVIDs.
	TrustDomain string
	// Socket is the address of the Workload API: unix:///….
	Socket string

	programs tools.Paths
	lifetime time.Duration
	port     int
	sockets  sockets

	mu    sync.Mutex
	agent agent
}

// Build builds the programs if they are missing.
func Build(ctx context.Context, progress io.Writer) error {
	_, err := tools.Ensure(ctx, progress, tools.SpireServer, tools.SpireAgent)
	return err
}

// Start builds the programs if they are missing, starts a server and an agent
// without any entry, and waits until the Workload API answers. On an error
// nothing runs, and the logs stay.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Dir == "" {
		return nil, errors.New("starting SPIRE: no folder is given; set Options.Dir")
	}
	programs, err := tools.Ensure(ctx, options.Progress, tools.SpireServer, tools.SpireAgent)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	s, err := newServer(options)
	if err != nil {
		return nil, fmt.Errorf("starting SPIRE: %w", err)
	}
	s.programs = programs
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if options.Progress != nil {
		_, _ = fmt.Fprintf(options.Progress, "SPIRE ready at %s (%s)\n", s.Socket, time.Since(begin).Round(100*time.Millisecond))
	}
	return s, nil
}

// newServer makes the folder.
func newServer(options Options) (*Server, error) {
	s := &Server{TrustDomain: options.TrustDomain, lifetime: options.Lifetime}
	if s.TrustDomain == "" {
		s.TrustDomain = DefaultTrustDomain
	}
	if _, err := spiffeid.TrustDomainFromString(s.TrustDomain); err != nil {
		return nil, fmt.Errorf("the trust domain %q is none: %w", s.TrustDomain, err)
	}
	if s.lifetime == 0 {
		s.lifetime = DefaultLifetime
	}
	var err error
	if s.Dir, err = filepath.Abs(options.Dir); err != nil {
		return nil, err
	}
	if err := folder.Empty(s.Dir); err != nil {
		return nil, err
	}
	free, err := new(ports.Set).Free(1)
	if err != nil {
		return nil, err
	}
	s.port = free[0]
	if s.sockets, err = placeSockets(s.Dir); err != nil {
		return nil, err
	}
	s.Socket = "unix://" + s.sockets.agent()
	return s, nil
}

// begin starts both for the first time.
func (s *Server) begin(ctx context.Context) error {
	if err := s.StartServer(ctx); err != nil {
		return err
	}
	if err := s.admit(ctx); err != nil {
		return fmt.Errorf("starting the SPIRE agent: %w", err)
	}
	return s.StartAgent(ctx)
}

// admit makes what an agent needs to be known: the bundle to know the server
// by, and a join token, which is good for one time.
func (s *Server) admit(ctx context.Context) error {
	bundle, err := s.command(ctx, "bundle", "show")
	if err != nil {
		return err
	}
	var token struct{ Value string }
	if err := s.ask(ctx, &token, "token", "generate"); err != nil {
		return err
	}
	s.agent.id = "spiffe://" + s.TrustDomain + "/spire/agent/join_token/" + token.Value
	for file, content := range map[string]string{
		bundleFile: string(bundle),
		tokenFile:  token.Value,
		agentFile:  s.agentConfig(),
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// StartServer starts a server that was stopped again, with its entries and its
// authority, and waits until it is ready.
//
// While it is away, the agent goes on to give the SVIDs it has, also when they
// have expired. Its first attempts to reach the server are less than a second
// apart, later ones up to 12 seconds.
func (s *Server) StartServer(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(s.Dir, serverFile), []byte(s.serverConfig()), 0o600); err != nil {
		return fmt.Errorf("starting the SPIRE server: %w", err)
	}
	if _, err := s.run(ctx, serverProcess, tools.SpireServer, serverFile, s.sockets.server()); err != nil {
		return fmt.Errorf("starting the SPIRE server: %w", errors.Join(err, s.StopServer()))
	}
	return nil
}

// StopServer ends the server, and not the agent. Stopping twice is fine.
func (s *Server) StopServer() error {
	if err := s.end(serverProcess); err != nil {
		return fmt.Errorf("stopping the SPIRE server: %w", err)
	}
	return nil
}

// Stop ends agent and server. Everything in the folder stays. Stopping twice is
// fine.
func (s *Server) Stop() error {
	if err := errors.Join(s.StopAgent(), s.StopServer()); err != nil {
		return err
	}
	return s.sockets.remove()
}

// run starts one of the programs, and waits until it is healthy.
func (s *Server) run(ctx context.Context, name string, program tools.Name, config, socket string) (*proc.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := proc.Start(proc.Spec{
		Name:     name,
		Dir:      s.Dir,
		Path:     s.programs[program],
		Args:     []string{"run", "-config", filepath.Join(s.Dir, config)},
		Env:      []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir},
		Lifetime: s.lifetime,
	})
	if err != nil {
		return nil, err
	}
	return p, wait.For(ctx, name+" to be ready", func(ctx context.Context) error { return healthy(ctx, socket) }, p)
}

// end ends one of the processes.
func (s *Server) end(name string) error {
	record, err := proc.Load(s.Dir, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = proc.End(stopGrace, record)
	return err
}

// healthy asks at a socket whether all is well.
func healthy(ctx context.Context, socket string) error {
	// One that has found nobody would wait before it tries again.
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close() //nolint:errcheck // nothing is under way
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		err = errors.New("it says that it is " + answer.GetStatus().String())
	}
	return err
}

// seconds is how SPIRE wants a TTL; 0 stands for its default.
func seconds(ttl time.Duration) (string, error) {
	if ttl < 0 || ttl%time.Second != 0 {
		return "", fmt.Errorf("a TTL of %s is not possible: take full seconds", ttl)
	}
	return strconv.Itoa(int(ttl / time.Second)), nil
}
