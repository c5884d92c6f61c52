package spire

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// agent is what is known of the agent.
type agent struct {
	// id is its SPIFFE ID, the parent of all entries.
	id string
	// process is nil when it was stopped.
	process *proc.Process
	paused  bool
}

// StartAgent starts an agent that was stopped again, with the same identity and
// at the same socket, and waits until the Workload API answers. The SVIDs it
// gives are new.
func (s *Server) StartAgent(ctx context.Context) error {
	p, err := s.run(ctx, agentProcess, tools.SpireAgent, agentFile, s.sockets.agent())
	if err != nil {
		return fmt.Errorf("starting the SPIRE agent: %w", errors.Join(err, s.StopAgent()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent.process, s.agent.paused = p, false
	return nil
}

// StopAgent ends the agent, and with it all streams of the Workload API.
// Stopping twice is fine.
func (s *Server) StopAgent() error {
	s.mu.Lock()
	s.agent.process = nil
	s.mu.Unlock()
	if err := s.end(agentProcess); err != nil {
		return fmt.Errorf("stopping the SPIRE agent: %w", err)
	}
	return nil
}

// PauseAgent stops the agent where it stands: streams stay open, further
// connections are taken, and nothing is answered until ResumeAgent.
func (s *Server) PauseAgent() error {
	return s.setPaused(true, proc.Record.Pause)
}

// ResumeAgent lets a paused agent go on. It answers what it was asked in
// between.
func (s *Server) ResumeAgent() error {
	return s.setPaused(false, proc.Record.Resume)
}

func (s *Server) setPaused(paused bool, do func(proc.Record) error) error {
	record, err := proc.Load(s.Dir, agentProcess)
	if err != nil {
		return fmt.Errorf("pausing or resuming the SPIRE agent: %w", err)
	}
	if err := do(record); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent.paused = paused
	return nil
}

// atWork gives the process of the agent, and nil when it was stopped or paused.
func (s *Server) atWork() *proc.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent.paused {
		return nil
	}
	return s.agent.process
}
