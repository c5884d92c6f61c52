// Package upstream has what requests to any secret manager have in common: the kinds of errors, words for them that stay
// the same while the cause does, a rate limit and a circuit breaker.
package upstream

import (
	"errors"
	"fmt"
)

// Kind says what can be done about an Error.
type Kind int

const (
	// Unavailable means that the server cannot be reached or is not able to answer now. It may heal by itself.
	Unavailable Kind = iota
	// Denied means that the identity may not do that. A person has to change a policy or a role.
	Denied
	// Missing means that there is nothing at the path.
	Missing
	// Invalid means that the request cannot be answered as it is. A person has to change it.
	Invalid
)

// Error is a request that was not answered as it should. It holds no byte of a secret.
type Error struct {
	Kind Kind
	// Status is the one of HTTP; 0 when there was no answer.
	Status int
	// Request is method and path, Address that of the server.
	Request, Address string
	// Reason is in our own words or, for what a person has to mend, in those of the server. It stays the same while the
	// cause does.
	Reason string
	// Behind says that the server is well, but not what is behind it, such as a database.
	Behind bool
}

func (e *Error) Error() string {
	status := ""
	if e.Status != 0 {
		status = fmt.Sprintf(" answered %d", e.Status)
	}
	return fmt.Sprintf("%s at %s%s: %s", e.Request, e.Address, status, e.Reason)
}

// IsKind says whether an error is an Error of a kind.
func IsKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
