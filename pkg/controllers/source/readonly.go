package source

import (
	"context"
	"encoding/json"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
)

// ReadOnly is the part of a Fetcher that only reads, so that nothing has to be given back.
type ReadOnly struct{}

// Resume has nothing to take up.
func (ReadOnly) Resume(context.Context, v1alpha1.Source, func() (json.RawMessage, error)) bool {
	return true
}

// Discard has nothing to give back.
func (ReadOnly) Discard(context.Context, v1alpha1.Source, json.RawMessage) {}

// Settle has nothing to give back.
func (ReadOnly) Settle(_ context.Context, _ v1alpha1.Source, state json.RawMessage) (json.RawMessage, error) {
	return state, nil
}

// Releases is false: what is read needs not be given back.
func (ReadOnly) Releases(v1alpha1.Source) bool { return false }

// Release does nothing.
func (ReadOnly) Release(context.Context, v1alpha1.Source, json.RawMessage) error { return nil }

// Forget does nothing.
func (ReadOnly) Forget(string, string) {}
