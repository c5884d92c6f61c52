package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/hashicorp/vault/api"
)

// maxBody bounds what is read of an answer. Vault itself refuses secrets of more than a megabyte.
const maxBody = 4 << 20

// request is one request to Vault.
type request struct {
	method string
	// path is without /v1/.
	path  string
	query url.Values
	body  any
	// engine means that the answer depends on more than Vault, such as a database.
	engine bool
}

func (r request) String() string { return r.method + " " + r.path }

// response is what is looked at of an answer.
type response struct {
	Data          map[string]any `json:"data"`
	Auth          *auth          `json:"auth"`
	LeaseID       string         `json:"lease_id"`
	LeaseDuration int64          `json:"lease_duration"`
	Renewable     bool           `json:"renewable"`
}

type auth struct {
	ClientToken   string   `json:"client_token"`
	Accessor      string   `json:"accessor"`
	Policies      []string `json:"policies"`
	TokenType     string   `json:"token_type"`
	LeaseDuration int64    `json:"lease_duration"`
	Renewable     bool     `json:"renewable"`
}

// send sends the request. Numbers in the answer stay exact.
func (r request) send(ctx context.Context, client *api.Client) (*response, *upstream.Error) {
	httpRequest := client.NewRequest(r.method, "/v1/"+r.path)
	if r.query != nil {
		httpRequest.Params = r.query
	}
	if r.body != nil {
		if err := httpRequest.SetJSONBody(r.body); err != nil {
			return nil, &upstream.Error{Kind: upstream.Invalid, Request: r.String(), Reason: "the request cannot be written as JSON"}
		}
	}
	//nolint:staticcheck // the typed methods give numbers away, and take no path with a list
	answer, err := client.RawRequestWithContext(ctx, httpRequest)
	if answer == nil || answer.Response == nil {
		return nil, &upstream.Error{Kind: upstream.Unavailable, Request: r.String(), Reason: upstream.ReasonOf(ctx, err)}
	}
	defer answer.Body.Close()
	if err != nil {
		return nil, r.refused(err, answer.StatusCode)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, &upstream.Error{Kind: upstream.Unavailable, Request: r.String(), Reason: "the answer broke off"}
	case len(content) > maxBody:
		return nil, &upstream.Error{Kind: upstream.Invalid, Request: r.String(), Reason: fmt.Sprintf("the answer has more than %d bytes", maxBody)}
	}
	out := &response{}
	if len(bytes.TrimSpace(content)) == 0 {
		return out, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(out); err != nil {
		return nil, &upstream.Error{Kind: upstream.Unavailable, Status: answer.StatusCode, Request: r.String(), Reason: "the answer is no whole JSON object: is this Vault?"}
	}
	return out, nil
}

// refused makes an Error of an answer that is none of success.
func (r request) refused(err error, status int) *upstream.Error {
	e := &upstream.Error{Kind: upstream.Invalid, Status: status, Request: r.String(), Reason: http.StatusText(status)}
	switch {
	case status == http.StatusForbidden:
		e.Kind = upstream.Denied
	case status == http.StatusNotFound:
		e.Kind = upstream.Missing
		e.Reason = "there is nothing at this path"
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError, status == http.StatusPreconditionFailed:
		// 412: a standby that has not caught up.
		e.Kind = upstream.Unavailable
		if status == http.StatusServiceUnavailable {
			e.Reason = "Vault is sealed or in maintenance"
		}
	}
	var refusal *api.ResponseError
	if !errors.As(err, &refusal) {
		return e
	}
	if r.engine && status == http.StatusInternalServerError && !refusal.RawError {
		e.Behind = true
		e.Reason = "Vault or what is behind this path has failed: the log of Vault says why"
	}
	if e.Kind == upstream.Denied || e.Kind == upstream.Invalid {
		if words := slices.DeleteFunc(slices.Clone(refusal.Errors), func(s string) bool { return strings.TrimSpace(s) == "" }); len(words) > 0 {
			e.Reason = upstream.Shorten(strings.Join(strings.Fields(strings.Join(words, "; ")), " "))
		}
	}
	return e
}
