package vaultsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
)

// holders knows which sources have something that hangs on the token of a session.
type holders struct {
	mu       sync.Mutex
	sessions map[holder]*vault.Session
}

// holder is such a source.
type holder struct{ kind, namespace, name string }

// attach keeps the token of a session for a source.
func (h *holders) attach(source holder, session *vault.Session) {
	session.Keep()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions == nil {
		h.sessions = map[holder]*vault.Session{}
	}
	h.sessions[source] = session
}

// holds keeps the token of a session for a source, and says whether it is the one with the accessor.
func (h *holders) holds(ctx context.Context, source holder, session *vault.Session, accessor string) (bool, error) {
	h.attach(source, session)
	now, err := session.Holder(ctx)
	return err == nil && now == accessor, err
}

func (h *holders) detach(source holder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, source)
}

// sourcesOf are the sources that a session holds something for.
func (h *holders) sourcesOf(session string) []holder {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []holder
	for source, s := range h.sessions {
		if s.ID() == session {
			out = append(out, source)
		}
	}
	return out
}

// use says that the sessions are needed, however long ago the last request was.
func (h *holders) use() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		s.Keep()
	}
}

// fingerprint is the same for the same request of the same identity. Nothing in it is secret.
func fingerprint(parts ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return hex.EncodeToString(sum[:])[:32]
}

// whole reads a state; what cannot be read is the zero value.
func whole[T any](state json.RawMessage) T {
	var out T
	if len(state) > 0 && json.Unmarshal(state, &out) != nil {
		var zero T
		return zero
	}
	return out
}

func written(state any) (json.RawMessage, error) {
	content, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("writing the state: %w", err)
	}
	return content, nil
}

func join(mount string, parts ...string) string {
	return strings.Join(append([]string{strings.Trim(mount, "/")}, parts...), "/")
}

// horizon is when to renew what lives for a while: after percent of it, and up to a tenth more by luck, which is from 0 to
// 1, but not after nine tenths.
func horizon(life time.Duration, percent int32, luck float64) time.Duration {
	return min(time.Duration((float64(percent)/100+luck/10)*float64(life)), life*9/10)
}

// luckOf is from 0 to 1, and always the same for the same name: so what is due when needs not be remembered.
func luckOf(name string) float64 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return float64(hash.Sum32()) / (1 << 32)
}
