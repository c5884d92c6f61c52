package spire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// entryTimeout bounds how long the agent may take to learn of an entry.
const entryTimeout = 30 * time.Second

// Entry says which processes are given an SVID.
type Entry struct {
	// ID is the SPIFFE ID, of the trust domain of the server.
	ID string
	// Program is the path of the program that a process runs; empty takes every
	// process of this user.
	Program string
	// TTL is how long an SVID is good, in full seconds; 0 is an hour.
	//
	// SPIRE has no minimum. It dates an SVID back by 10 seconds, and the agent
	// gets another one when half of that lifetime is left, or up to a tenth of
	// the half earlier: of 20 seconds after 4 or 5, of 30 after 8 to 10, of an
	// hour after 27 to 30 minutes. With 10 seconds or less that is each time
	// the agent asks the server, several times a second.
	TTL time.Duration
}

// result is what the server says of one entry.
type result struct {
	Status struct {
		Code    int
		Message string
	}
	Entry struct{ ID string }
}

func (r result) err() error {
	if r.Status.Code == 0 {
		return nil
	}
	return fmt.Errorf("the SPIRE server says: %s (code %d)", r.Status.Message, r.Status.Code)
}

// Register makes an entry, and waits until the agent has an SVID for it. It
// does not wait while the agent is stopped or paused. A SPIFFE ID can have
// several entries, if they are for different programs.
func (s *Server) Register(ctx context.Context, entry Entry) error {
	log := s.agentLog()
	id, err := s.create(ctx, entry)
	if err == nil {
		err = log.says(ctx, "SVID updated", id)
	}
	if err != nil {
		return fmt.Errorf("registering %s: %w", entry.ID, err)
	}
	return nil
}

func (s *Server) create(ctx context.Context, entry Entry) (string, error) {
	selector := "unix:uid:" + strconv.Itoa(os.Getuid())
	if entry.Program != "" {
		// The agent sees what the kernel says, where there are no links.
		program, err := filepath.EvalSymlinks(entry.Program)
		if err == nil {
			program, err = filepath.Abs(program)
		}
		if err != nil {
			return "", err
		}
		selector = "unix:path:" + program
	}
	ttl, err := seconds(entry.TTL)
	if err != nil {
		return "", err
	}
	var answer struct{ Results []result }
	err = s.ask(ctx, &answer, "entry", "create", "-parentID", s.agent.id, "-spiffeID", entry.ID, "-selector", selector, "-x509SVIDTTL", ttl)
	if err == nil && len(answer.Results) != 1 {
		err = errors.New("the SPIRE server says nothing of it")
	}
	if err != nil {
		return "", err
	}
	return answer.Results[0].Entry.ID, answer.Results[0].err()
}

// Unregister removes all entries of a SPIFFE ID, and waits until the agent
// knows. It does not wait while the agent is stopped or paused. That there is
// no entry is an error.
//
// At a process that no other entry matches, the Workload API ends the stream
// with PermissionDenied; at others, the SVID is left out of the next answer.
func (s *Server) Unregister(ctx context.Context, id string) error {
	if err := s.unregister(ctx, id); err != nil {
		return fmt.Errorf("removing the entry of %s: %w", id, err)
	}
	return nil
}

func (s *Server) unregister(ctx context.Context, id string) error {
	var known struct{ Entries []struct{ ID string } }
	if err := s.ask(ctx, &known, "entry", "show", "-spiffeID", id); err != nil {
		return err
	}
	if len(known.Entries) == 0 {
		return errors.New("there is none")
	}
	for _, entry := range known.Entries {
		log := s.agentLog()
		var answer struct{ Results []result }
		if err := s.ask(ctx, &answer, "entry", "delete", "-entryID", entry.ID); err != nil {
			return err
		}
		for _, r := range answer.Results {
			if err := r.err(); err != nil {
				return err
			}
		}
		if err := log.says(ctx, "Entry removed", entry.ID); err != nil {
			return err
		}
	}
	return nil
}

// ask runs the server's own command, and reads its answer.
func (s *Server) ask(ctx context.Context, answer any, args ...string) error {
	out, err := s.command(ctx, append(args, "-output", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("%s %s %s: it has not answered with JSON", tools.SpireServer, args[0], args[1])
	}
	return nil
}

// command runs the server's own command of two words.
func (s *Server) command(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, entryTimeout)
	defer cancel()
	args = append(append([]string{}, args...), "-socketPath", s.sockets.server())
	cmd := exec.CommandContext(ctx, s.programs[tools.SpireServer], args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.WaitDelay = stopGrace
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%s %s %s: %w\n%s", tools.SpireServer, args[0], args[1], err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}

// log is the agent's, from now on.
type log struct {
	server *Server
	file   string
	offset int64
}

func (s *Server) agentLog() log {
	l := log{server: s, file: filepath.Join(s.Dir, agentProcess+".log")}
	if info, err := os.Stat(l.file); err == nil {
		l.offset = info.Size()
	}
	return l
}

// says waits until the agent has said something about an entry.
func (l log) says(ctx context.Context, message, entry string) error {
	p := l.server.atWork()
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, entryTimeout)
	defer cancel()
	return wait.For(ctx, "the agent to say "+strconv.Quote(message), func(context.Context) error {
		file, err := os.Open(l.file)
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.Seek(l.offset, io.SeekStart); err != nil {
			return err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var line struct{ Msg, Entry string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == message && line.Entry == entry {
				return nil
			}
		}
		return errors.Join(wait.ErrNotYet, lines.Err())
	}, p)
}
