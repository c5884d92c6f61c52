package spire

import (
	"fmt"
	"os"
	"path/filepath"
)

// Files in the folder.
const (
	serverFile = "server.conf"
	agentFile  = "agent.conf"
	bundleFile = "bundle.pem"
	tokenFile  = "join-token"
)

// interval is how often the server looks for changed entries, and how often
// the agent asks it for them. SPIRE's own default is 5 seconds for both.
const interval = "250ms"

// serverConfig is what the server reads. Its data outlive it: entries and
// agents in SQLite, and the keys of its authority beside it.
func (s *Server) serverConfig() string {
	return fmt.Sprintf(`server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = %q
  trust_domain = %q
  data_dir = %q
  log_format = "json"
  ca_ttl = "48h"
  agent_ttl = "24h"
  experimental {
    cache_reload_interval = %q
  }
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = %q
    }
  }
  NodeAttestor "join_token" {
    plugin_data {}
  }
  KeyManager "disk" {
    plugin_data {
      keys_path = %q
    }
  }
}
`, s.port, s.sockets.server(), s.TrustDomain, s.Dir, interval,
		filepath.Join(s.Dir, "server.sqlite3"), filepath.Join(s.Dir, "server-keys.json"))
}

// agentConfig is what the agent reads. Its identity outlives it, so that a join
// token is needed only once. The log says what Register waits for.
func (s *Server) agentConfig() string {
	return fmt.Sprintf(`agent {
  data_dir = %q
  server_address = "127.0.0.1"
  server_port = "%d"
  socket_path = %q
  trust_domain = %q
  trust_bundle_path = %q
  join_token_file = %q
  log_format = "json"
  log_level = "DEBUG"
  experimental {
    sync_interval = %q
  }
}
plugins {
  NodeAttestor "join_token" {
    plugin_data {}
  }
  KeyManager "disk" {
    plugin_data {
      directory = %q
    }
  }
  WorkloadAttestor "unix" {
    plugin_data {
      discover_workload_path = true
      workload_size_limit = -1
    }
  }
}
`, s.Dir, s.port, s.sockets.agent(), s.TrustDomain, filepath.Join(s.Dir, bundleFile),
		filepath.Join(s.Dir, tokenFile), interval, s.Dir)
}

// maxSocket is how long the path of a socket may be on Linux.
const maxSocket = 107

// sockets is a folder for sockets.
type sockets struct {
	dir string
	// own says that it is not the folder of the server.
	own bool
}

// placeSockets takes the folder itself, or a folder of its own where that has
// a path too long for sockets.
func placeSockets(dir string) (sockets, error) {
	s := sockets{dir: dir}
	if s.fit() {
		return s, nil
	}
	temporary, err := os.MkdirTemp("", "spire-")
	if err != nil {
		return s, fmt.Errorf("making a folder for sockets: %w", err)
	}
	s = sockets{dir: temporary, own: true}
	if !s.fit() {
		_ = os.Remove(temporary)
		return s, fmt.Errorf("the path of a socket may have %d bytes, and both %s and %s are too long; choose a shorter folder", maxSocket, dir, os.TempDir())
	}
	return s, nil
}

func (s sockets) agent() string { return filepath.Join(s.dir, "agent.sock") }

func (s sockets) server() string { return filepath.Join(s.dir, "server.sock") }

func (s sockets) fit() bool { return len(s.agent()) <= maxSocket && len(s.server()) <= maxSocket }

// remove removes the folder, if it is one of its own.
func (s sockets) remove() error {
	if !s.own {
		return nil
	}
	return os.RemoveAll(s.dir)
}
