package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"golang.org/x/sync/errgroup"
)

// mountsFor is how long it is believed what a mount is.
const mountsFor = time.Hour

// atOnce bounds the requests of recursive reads that are under way or wait for the rate limit: of one, and of all of a
// server together. So whoever asks for one secret waits for no more than these, however large a folder is.
const atOnce = 10

// maxLeaves bounds a recursive read. A Secret could not hold more.
const maxLeaves = 5000

// mount is a KV engine.
type mount struct {
	// path has a slash at its end.
	path    string
	v2      bool
	learned time.Time
}

// KV is what was read at a path.
type KV struct {
	// Leaves are in the order of their paths. Data is nil where there is nothing.
	Leaves []vaultkv.Leaf
	// At is when it was read.
	At time.Time
}

// ReadKV reads a secret, or with Recursive all below a folder. What was read at most age ago by this identity is taken
// as it is; 0 always reads. version is one of KV version 2, 0 is the newest. A single secret that is not there has no
// Data; a folder without secrets has no leaves.
func (s *Session) ReadKV(ctx context.Context, read vaultkv.Read, version int64, age time.Duration) (KV, error) {
	key := fmt.Sprintf("%s\x00%t\x00%d", read.Base, read.Recursive, version)
	if kv, ok := s.recent(key, age); ok {
		return kv, nil
	}
	switch {
	case strings.Contains(read.Base, ".."):
		return KV{}, s.invalid("GET "+read.Base, "the path has ..: write it from the mount on, such as secret/team/app")
	case reserved(read.Base):
		return KV{}, s.invalid("GET "+read.Base, reservedWords)
	}
	kv, err := s.reads.Do(ctx, key, func() (KV, error) {
		if kv, ok := s.recent(key, age); ok {
			return kv, nil
		}
		kv := KV{At: s.clock.Now()}
		var err error
		if read.Recursive {
			kv.Leaves, err = s.walk(ctx, read.Base)
		} else {
			var leaf vaultkv.Leaf
			leaf, err = s.leaf(ctx, read.Base, version)
			kv.Leaves = []vaultkv.Leaf{leaf}
		}
		if err != nil {
			return KV{}, err
		}
		s.mu.Lock()
		s.known[key] = kv
		s.mu.Unlock()
		return kv, nil
	})
	var asked *upstream.Error
	if err != nil && ctx.Err() != nil && !errors.As(err, &asked) {
		return KV{}, s.unasked(ctx, "reading "+read.Base)
	}
	return kv, err
}

func (s *Session) recent(key string, age time.Duration) (KV, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kv, ok := s.known[key]
	return kv, ok && age > 0 && s.clock.Since(kv.At) <= age
}

// leaf reads one secret.
func (s *Session) leaf(ctx context.Context, path string, version int64) (vaultkv.Leaf, error) {
	leaf := vaultkv.Leaf{Path: path}
	m, err := s.mountOf(ctx, path)
	if err != nil {
		return leaf, err
	}
	r := request{method: http.MethodGet, path: path}
	if m.v2 {
		r.path = m.path + "data/" + strings.TrimPrefix(path, m.path)
		if version > 0 {
			r.query = url.Values{"version": {strconv.FormatInt(version, 10)}}
		}
	}
	out, err := s.do(ctx, r)
	if upstream.IsKind(err, upstream.Missing) {
		return leaf, nil
	}
	if err != nil {
		return leaf, err
	}
	leaf.Data = out.Data
	if m.v2 {
		leaf.Data, _ = out.Data["data"].(map[string]any)
		metadata, _ := out.Data["metadata"].(map[string]any)
		number, _ := metadata["version"].(json.Number)
		leaf.Version, _ = number.Int64()
	}
	return leaf, nil
}

// walk reads all secrets below a folder, which has a slash at its end. The first error ends it. With several, it is that
// of the first path, so that it is the same each time: all before it have begun when it comes, and are waited for.
func (s *Session) walk(ctx context.Context, folder string) ([]vaultkv.Leaf, error) {
	paths, err := s.below(ctx, folder)
	if err != nil {
		return nil, err
	}
	leaves := make([]vaultkv.Leaf, len(paths))
	errs := make([]error, len(paths))
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, path := range paths {
		if failed.Load() {
			break
		}
		group.Go(func() error {
			leave, err := s.server.place(ctx)
			if err == nil {
				leaves[i], err = s.leaf(ctx, path, 0)
				leave()
			}
			if errs[i] = err; err != nil {
				failed.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(leaves, func(a, b vaultkv.Leaf) int { return strings.Compare(a.Path, b.Path) })
	return leaves, nil
}

// below gives the paths of all secrets below a folder.
func (s *Session) below(ctx context.Context, folder string) ([]string, error) {
	folders := []string{folder}
	var paths []string
	for len(folders) > 0 {
		leave, err := s.server.place(ctx)
		if err != nil {
			return nil, err
		}
		names, err := s.list(ctx, folders[0])
		leave()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				folders = append(folders, folders[0]+name)
			} else {
				paths = append(paths, folders[0]+name)
			}
		}
		folders = folders[1:]
		if len(paths)+len(folders) > maxLeaves {
			return nil, s.invalid("LIST "+folder, fmt.Sprintf("there are more than %d secrets and folders below it: name fewer", maxLeaves))
		}
	}
	return paths, nil
}

// list gives the names in a folder. Those of folders have a slash at their end.
func (s *Session) list(ctx context.Context, folder string) ([]string, error) {
	m, err := s.mountOf(ctx, folder)
	if err != nil {
		return nil, err
	}
	r := request{method: http.MethodGet, path: folder, query: url.Values{"list": {"true"}}}
	if m.v2 {
		r.path = m.path + "metadata/" + strings.TrimPrefix(folder, m.path)
	}
	out, err := s.do(ctx, r)
	if upstream.IsKind(err, upstream.Missing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keys, _ := out.Data["keys"].([]any)
	var names []string
	for _, key := range keys {
		if name, ok := key.(string); ok && name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// mountOf finds out which KV engine a path belongs to. Each mount is asked for once in a while.
func (s *Session) mountOf(ctx context.Context, path string) (mount, error) {
	path = strings.TrimPrefix(path, "/")
	if m, ok := s.knownMount(path); ok {
		return m, nil
	}
	first, _, _ := strings.Cut(path, "/")
	unlock, err := s.server.lockFor(ctx, first)
	if err != nil {
		return mount{}, err
	}
	defer unlock()
	if m, ok := s.knownMount(path); ok {
		return m, nil
	}
	out, err := s.do(ctx, request{method: http.MethodGet, path: "sys/internal/ui/mounts/" + strings.TrimSuffix(path, "/")})
	var refused *upstream.Error
	if errors.As(err, &refused) && refused.Kind == upstream.Denied {
		refused.Reason = "no policy of this identity lets it read there, or there is no secrets engine"
		return mount{}, refused
	}
	if err != nil {
		return mount{}, err
	}
	at, _ := out.Data["path"].(string)
	if at == "" {
		return mount{}, &upstream.Error{Kind: upstream.Missing, Request: "GET sys/internal/ui/mounts/" + path, Address: s.server.connection.Address, Reason: "there is no secrets engine at this path"}
	}
	options, _ := out.Data["options"].(map[string]any)
	m := mount{path: strings.TrimSuffix(at, "/") + "/", v2: fmt.Sprint(options["version"]) == "2", learned: s.clock.Now()}
	if !strings.HasPrefix(path, m.path) {
		// The mount of another of Vault's namespaces begins with its name, and the path does not.
		if i := strings.Index(m.path, "/"+first+"/"); i >= 0 {
			m.path = m.path[i+1:]
		}
	}
	s.server.mu.Lock()
	s.server.mounts[m.path] = m
	s.server.mu.Unlock()
	return m, nil
}

func (s *Session) knownMount(path string) (mount, bool) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	// No mount is below another one.
	for at, m := range s.server.mounts {
		if strings.HasPrefix(path, at) && s.clock.Since(m.learned) < mountsFor {
			return m, true
		}
	}
	return mount{}, false
}
