package vsecm

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
)

// State says whether a secret may be used at a time. Safe stores the dates and enforces nothing: who reads has to.
type State int

const (
	// Active secrets may be used.
	Active State = iota
	// NotYet means that NotBefore has not come.
	NotYet
	// Expired means that ExpiresAfter is over.
	Expired
)

func (s State) String() string { return [...]string{"active", "not yet", "expired"}[s] }

// Secret is one secret of Safe. The value is never printed.
type Secret struct {
	// Name is without raw:.
	Name string
	// Value is what Safe's template has made of what was stored. When the template is broken, Safe leaves out the step that
	// fails and does not say so.
	Value string `json:"-"`
	// Created and Updated are zero where Safe does not tell.
	Created, Updated time.Time
	// NotBefore and ExpiresAfter are zero for no bound. Safe has the year 9999 for never.
	NotBefore, ExpiresAfter time.Time
	// Dated says that Safe has told NotBefore and ExpiresAfter. It does so only in a list of several raw secrets.
	Dated bool
	// At is when it was read.
	At time.Time
}

// State is that of the secret at a time. At both dates themselves it is active.
func (s Secret) State(now time.Time) State {
	switch {
	case !s.ExpiresAfter.IsZero() && now.After(s.ExpiresAfter):
		return Expired
	case now.Before(s.NotBefore):
		return NotYet
	}
	return Active
}

// String hides the value.
func (s Secret) String() string { return "secret " + s.Name }

// Format hides the value, whatever the verb is.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// Raw is all raw secrets of one Safe at a time. No value is ever printed.
type Raw struct {
	// At is when they were read.
	At time.Time

	address string
	secrets map[string]stored
	// alone is the value of a single one, which comes without its name.
	alone *string
}

// stored is a secret, or why it cannot be used.
type stored struct {
	secret  Secret
	problem string
}

// Names gives the names without raw:, in order. known is false when there is one, and Safe has not told its name.
func (r Raw) Names() (names []string, known bool) {
	return slices.Sorted(maps.Keys(r.secrets)), r.alone == nil
}

// Secret gives the secret with a name. Safe does not tell the name of a single raw secret: it is taken for that with
// expectedName, and nobody's when that is empty. Where Safe tells the names, expectedName changes nothing. The error is an
// *upstream.Error, Missing when there is none with the name.
func (r Raw) Secret(name, expectedName string) (Secret, error) {
	if r.alone != nil {
		switch expectedName {
		case "":
			return Secret{}, r.problem(upstream.Invalid, fmt.Sprintf("there is only one raw secret, and Safe does not tell the name of a single one: keep a second raw secret in Safe, such as raw:marker, or say that %s is the only one", name))
		case name:
			return Secret{Name: name, Value: *r.alone, At: r.At}, nil
		}
		return Secret{}, r.problem(upstream.Missing, fmt.Sprintf("there is only one raw secret, which is expected to be %s: write raw:%s in Safe, or correct the name", expectedName, name))
	}
	found, ok := r.secrets[name]
	switch {
	case !ok:
		return Secret{}, r.problem(upstream.Missing, fmt.Sprintf("there is no raw secret %s: write raw:%s in Safe, or correct the name", name, name))
	case found.problem != "":
		return Secret{}, r.problem(upstream.Invalid, fmt.Sprintf("raw secret %s %s: write it anew in Safe", name, found.problem))
	}
	found.secret.At = r.At
	return found.secret, nil
}

func (r Raw) problem(kind upstream.Kind, reason string) *upstream.Error {
	return &upstream.Error{Kind: kind, Request: request, Address: r.address, Reason: reason}
}

// String hides the values.
func (r Raw) String() string { return "the raw secrets of " + r.address }

// Format hides the values, whatever the verb is.
func (r Raw) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }
