package vault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
)

// Golden mounts v1/ with KV version 1 and secret/ with version 2, writes the
// secrets of package golden, and the policy ReadKV.
func (s *Server) Golden(ctx context.Context) error {
	for path, version := range map[string]string{golden.KV1: "1", golden.KV2: "2"} {
		if err := s.mount(ctx, path, api.MountInput{Type: "kv", Options: map[string]string{"version": version}}); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(golden.Secrets)) {
		if err := s.PutSecret(ctx, path, golden.Data(golden.Secrets[path])); err != nil {
			return err
		}
	}
	return s.writePolicies(ctx, ReadKV)
}

// PutSecret writes a secret of one of the mounts of Golden. The path starts
// with the mount, and is without data/ for both.
func (s *Server) PutSecret(ctx context.Context, path string, data map[string]any) error {
	mount, rest, _ := strings.Cut(path, "/")
	if mount == golden.KV1 {
		_, err := s.write(ctx, path, data)
		return err
	}
	for {
		_, err := s.write(ctx, mount+"/data/"+rest, map[string]any{"data": data})
		// For a moment, a new mount is getting ready.
		if err == nil || !strings.Contains(err.Error(), "Upgrading from non-versioned to versioned") {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
