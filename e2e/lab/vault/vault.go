// Package vault runs a real HashiCorp Vault 1.14 for tests, and sets it up:
// secrets in both versions of KV, a certificate authority, credentials of a
// PostgreSQL, and the ways to log in. The program is built by package tools
// from a pinned module.
//
// A server keeps its data, leases included, when it is stopped and started
// again, unless Options.Memory is set. It is unsealed whenever it runs.
package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/folder"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/ports"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// DefaultLifetime is how long a server may run at most.
const DefaultLifetime = time.Hour

const (
	// startTimeout bounds a start, after the program is built.
	startTimeout = time.Minute
	// stopGrace is how long the server may take to end before it is killed.
	stopGrace = 5 * time.Second
)

// process is the name of the process; its log is vault.log in the folder.
const process = "vault"

// tokenEnv hands the root token to the program.
const tokenEnv = "VAULT_LAB_ROOT_TOKEN"

// Options say what to start.
type Options struct {
	// Dir is the folder for everything that is kept. It is made if missing, and
	// must be empty. Below a lab's folder, it is removed with the lab.
	Dir string
	// TLS serves HTTPS with a certificate of an authority of its own, which the
	// cert auth method needs.
	TLS bool
	// Memory keeps all data in memory, so that they are lost when the server is
	// stopped. Started again, it is empty and has the same root token.
	Memory bool
	// Audit writes an audit log, which Requests reads.
	Audit bool
	// Lifetime bounds the process; 0 stands for DefaultLifetime.
	Lifetime time.Duration
	// Progress gets lines that say what is being done; nil is fine.
	Progress io.Writer
}

// Server is a Vault server.
type Server struct {
	// Dir is the folder of the server.
	Dir string
	// Address is the URL.
	Address string
	// RootToken may do everything.
	RootToken string
	// CAFile has the certificate, as PEM, of the authority that signed the
	// server's; it is empty without TLS.
	CAFile string
	// AuditLog is the file of the audit log; it is empty without one.
	AuditLog string

	program  string
	args     []string
	lifetime time.Duration
	root     *api.Client
}

// Build builds the program if it is missing.
func Build(ctx context.Context, progress io.Writer) error {
	_, err := tools.Ensure(ctx, progress, tools.VaultLab)
	return err
}

// Start builds the program if it is missing, starts a server without any data
// and waits until it is unsealed. On an error nothing runs, and the log stays.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Dir == "" {
		return nil, errors.New("starting Vault: no folder is given; set Options.Dir")
	}
	programs, err := tools.Ensure(ctx, options.Progress, tools.VaultLab)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	s, err := newServer(options)
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	s.program = programs[tools.VaultLab]
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if options.Progress != nil {
		_, _ = fmt.Fprintf(options.Progress, "Vault ready at %s (%s)\n", s.Address, time.Since(begin).Round(100*time.Millisecond))
	}
	return s, nil
}

// newServer makes the folder and what is in it before the first start.
func newServer(options Options) (*Server, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}
	if err := folder.Empty(dir); err != nil {
		return nil, err
	}
	free, err := new(ports.Set).Free(1)
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(free[0])
	s := &Server{
		Dir:       dir,
		Address:   "http://" + address,
		RootToken: strings.ToLower(rand.Text()),
		args:      []string{"-listen=" + address},
		lifetime:  options.Lifetime,
	}
	if s.lifetime == 0 {
		s.lifetime = DefaultLifetime
	}
	if !options.Memory {
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			return nil, fmt.Errorf("making the folder of the data: %w", err)
		}
		s.args = append(s.args, "-data="+data)
	}
	if options.TLS {
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		s.CAFile = filepath.Join(dir, "ca.crt")
		if err := writeCertificates(s.CAFile, cert, key); err != nil {
			return nil, err
		}
		s.Address = "https://" + address
		s.args = append(s.args, "-tls-cert="+cert, "-tls-key="+key)
	}
	if options.Audit {
		s.AuditLog = filepath.Join(dir, "audit.log")
		s.args = append(s.args, "-audit-log="+s.AuditLog)
	}
	s.root, err = s.Client(s.RootToken)
	return s, err
}

// Start starts a server that was stopped again, at the same address and with
// its data, and waits until it is unsealed. On an error nothing runs.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := proc.Start(proc.Spec{
		Name:     process,
		Dir:      s.Dir,
		Path:     s.program,
		Args:     s.args,
		Env:      []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, tokenEnv + "=" + s.RootToken},
		Lifetime: s.lifetime,
	})
	if err != nil {
		return fmt.Errorf("starting Vault: %w", err)
	}
	err = wait.For(ctx, "Vault to be ready", func(ctx context.Context) error {
		health, err := s.root.Sys().HealthWithContext(ctx)
		if err == nil && (!health.Initialized || health.Sealed || health.Standby) {
			err = errors.New("it is sealed")
		}
		return err
	}, p)
	if err != nil {
		return fmt.Errorf("starting Vault: %w", errors.Join(err, s.Stop()))
	}
	return nil
}

// Stop ends the server. Requests under way have two seconds to be answered.
// Data stay, but for those of Options.Memory. Stopping twice is fine.
func (s *Server) Stop() error {
	if _, err := proc.EndAll(stopGrace, s.Dir); err != nil {
		return fmt.Errorf("stopping Vault: %w", err)
	}
	return nil
}

// Pause stops the server where it stands: connections stay open, further ones
// are taken, and nothing is answered until Resume.
func (s *Server) Pause() error {
	record, err := proc.Load(s.Dir, process)
	if err != nil {
		return fmt.Errorf("pausing Vault: %w", err)
	}
	return record.Pause()
}

// Resume lets a paused server go on. It answers what it was asked in between.
func (s *Server) Resume() error {
	record, err := proc.Load(s.Dir, process)
	if err != nil {
		return fmt.Errorf("resuming Vault: %w", err)
	}
	return record.Resume()
}
