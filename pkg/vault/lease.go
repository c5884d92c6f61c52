package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
)

// Answer is what an engine has answered.
type Answer struct {
	// Data has numbers as json.Number. It is nil when there is none.
	Data map[string]any
	// Lease is empty when Vault has made none.
	Lease Lease
}

// Lease says how long what was answered is good for, unless it is renewed. It ends before when its token ends.
type Lease struct {
	ID string
	// Duration is how long it lives from the answer on.
	Duration  time.Duration
	Renewable bool
	// Holder is the accessor of the token that it hangs on. It is empty in the answer to a renewal, which does not tell.
	Holder string
}

// Request asks any path of any engine, such as database/creds/reader or pki/issue/server. GET puts the params into the
// query, POST and PUT into the body. What makes something is sent once, and once more only when Vault has refused it
// because the token had ended. Call Keep before the first request that makes a lease. The error is an *upstream.Error, or
// says why there is no token.
func (s *Session) Request(ctx context.Context, method, at string, params map[string]any) (Answer, error) {
	r, err := s.requestOf(method, at, params)
	if err != nil {
		return Answer{}, err
	}
	out, t, err := s.doAs(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	lease := leaseOf(out)
	if lease.ID != "" {
		lease.Holder = t.accessor
		s.noteLease(lease)
	}
	return Answer{Data: out.Data, Lease: lease}, nil
}

// RenewLease lets a lease live so long from now on. When the Duration of the answer is shorter than the increment, then its
// greatest age is near. An increment of 0 leaves it to Vault. The Error is of Kind Missing when the lease has ended, and of
// Kind Invalid when it cannot be renewed.
func (s *Session) RenewLease(ctx context.Context, id string, increment time.Duration) (Lease, error) {
	r := request{method: http.MethodPut, path: "sys/leases/renew", engine: true, body: map[string]any{
		"lease_id": id, "increment": int64(math.Ceil(increment.Seconds())),
	}}
	if id == "" {
		return Lease{}, s.invalid(r.String(), "no lease is named: give the ID of one")
	}
	out, err := s.do(ctx, r)
	var refused *upstream.Error
	if errors.As(err, &refused) && refused.Kind == upstream.Invalid && ended(refused.Reason) {
		refused.Kind = upstream.Missing
	}
	if err != nil {
		return Lease{}, err
	}
	lease := leaseOf(out)
	s.noteLease(lease)
	return lease, nil
}

// RevokeLease ends a lease. One that has ended already is no error. The Error is of Kind Unavailable when what is behind
// the engine, such as a database, does not let Vault end it now: then it lives on, and can be revoked later.
func (s *Session) RevokeLease(ctx context.Context, id string) error {
	r := request{method: http.MethodPut, path: "sys/leases/revoke", engine: true, body: map[string]any{"lease_id": id}}
	if id == "" {
		return s.invalid(r.String(), "no lease is named: give the ID of one")
	}
	_, err := s.do(ctx, r)
	var refused *upstream.Error
	if errors.As(err, &refused) && refused.Kind == upstream.Invalid {
		switch {
		case ended(refused.Reason):
			return nil
		case strings.Contains(refused.Reason, "failed to revoke"):
			refused.Kind, refused.Reason = upstream.Unavailable, "what is behind the engine has failed, so the lease lives on: the log of Vault says why"
		}
	}
	return err
}

// ended knows the words of Vault's expiration manager, which come with status 400, as those of what cannot be renewed do.
func ended(reason string) bool {
	return strings.Contains(reason, "lease not found") || strings.Contains(reason, "lease expired") || strings.Contains(reason, "lease is expired")
}

func leaseOf(out *response) Lease {
	if out.LeaseID == "" {
		return Lease{}
	}
	return Lease{ID: out.LeaseID, Duration: time.Duration(out.LeaseDuration) * time.Second, Renewable: out.Renewable}
}

// noteLease notes until when a lease lives.
func (s *Session) noteLease(lease Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.clock.Now().Add(lease.Duration); end.After(s.leased) {
		s.leased = end
	}
}

// requestOf makes a request of what a user has written.
func (s *Session) requestOf(method, at string, params map[string]any) (request, error) {
	r := request{method: method, path: strings.Trim(at, "/"), engine: true}
	switch {
	case r.path == "":
		return r, s.invalid(r.String(), "the path is empty: write one such as database/creds/reader")
	case strings.Contains(r.path, "..") || path.Clean(r.path) != r.path:
		return r, s.invalid(r.String(), "the path has .. or an empty part: write it from the mount on, such as database/creds/reader")
	case reserved(r.path):
		return r, s.invalid(r.String(), reservedWords)
	}
	switch method {
	case http.MethodGet:
		var err error
		if r.query, err = queryOf(params); err != nil {
			return r, s.invalid(r.String(), err.Error())
		}
	case http.MethodPost, http.MethodPut:
		body, err := json.Marshal(params)
		if err != nil {
			return r, s.invalid(r.String(), "the params cannot be written as JSON")
		}
		if params == nil {
			body = []byte("{}")
		}
		r.body = json.RawMessage(body)
	default:
		return r, s.invalid(r.String(), "the method has to be GET, POST or PUT")
	}
	return r, nil
}

const reservedWords = "what is below auth/ and sys/ is Vault's own: name the mount of a secrets engine"

// reserved says whether a path is none of a secrets engine. auth/token/lookup-self, for one, answers with the token
// itself, and whoever writes paths must not get that.
func reserved(at string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(at, "/"), "/")
	return first == "auth" || first == "sys"
}

// queryOf writes params as Vault reads them from a query: a list is a name that is there several times.
func queryOf(params map[string]any) (url.Values, error) {
	query := url.Values{}
	for name, value := range params {
		values, list := value.([]any)
		if !list {
			values = []any{value}
		}
		for _, v := range values {
			switch v := v.(type) {
			case nil:
			case string:
				query.Add(name, v)
			case map[string]any, []any:
				return nil, fmt.Errorf("the param %s is no text, number or list of these: use POST for it", name)
			default:
				text, err := json.Marshal(v)
				if err != nil {
					return nil, fmt.Errorf("the param %s cannot be written into a query: use POST for it", name)
				}
				query.Add(name, string(text))
			}
		}
	}
	return query, nil
}

func (s *Session) invalid(request, reason string) error {
	return &upstream.Error{Kind: upstream.Invalid, Request: request, Address: s.server.connection.Address, Reason: reason}
}
