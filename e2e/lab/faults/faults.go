// Package faults holds a fault proxy. It is a fake only to inject faults: it stands between a program under test and a
// real API server, hands everything on, and lets some of it go wrong on the way, as networks, etcd and API servers do.
package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind of a fault.
type Kind string

const (
	// Conflict answers a write with 409: somebody was quicker.
	Conflict Kind = "409 conflict"
	// Throttled answers with 429, and asks to come again after a second. Clients do so by themselves.
	Throttled Kind = "429 too many requests"
	// ServerError answers with 500, before a write is carried out or after it.
	ServerError Kind = "500 server error"
	// Silence gives no answer, before a write is carried out or after it, and then cuts the connection.
	Silence Kind = "no answer"
	// LostAnswer cuts the connection right after a write was carried out.
	LostAnswer Kind = "lost answer"
	// CutWatch cuts a watch in the middle of an event.
	CutWatch Kind = "cut watch"
)

// All are the kinds of faults.
var All = []Kind{Conflict, Throttled, ServerError, Silence, LostAnswer, CutWatch}

// forReads are the faults of reads other than watches.
var forReads = []Kind{Throttled, ServerError, Silence}

// forWrites are the faults of writes.
var forWrites = []Kind{Conflict, Throttled, ServerError, Silence, LostAnswer}

// eitherSide are the faults of writes that come before the write is carried out or after it.
var eitherSide = []Kind{ServerError, Silence}

// Count says how many faults of a kind there were.
type Count struct {
	// Before counts those that came instead of the answer to a request that was not handed on, and After those that
	// came after a write was carried out. Cut watches count as Before.
	Before, After int
}

// Total of both.
func (c Count) Total() int { return c.Before + c.After }

// fault is one decision.
type fault struct {
	kind Kind
	// after is true when the write is carried out first.
	after bool
}

// answer writes what the API server would say.
func (f fault) answer(w http.ResponseWriter, r *http.Request) {
	resource, name := object(r.URL.Path)
	var status metav1.Status
	switch f.kind {
	case Conflict:
		status = apierrors.NewConflict(resource, name, errors.New("the object has been modified; please apply your changes to the latest version and try again")).Status()
	case Throttled:
		status = apierrors.NewTooManyRequests("the fault proxy says that there are too many requests, please try again later", 1).Status()
		w.Header().Set("Retry-After", strconv.Itoa(1))
	default:
		status = apierrors.NewInternalError(errors.New("the fault proxy says so")).Status()
	}
	status.Kind, status.APIVersion = "Status", "v1"
	body, err := json.Marshal(status)
	if err != nil {
		panic(fmt.Sprintf("faults: a Status cannot be encoded: %v", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body) // whoever has gone needs no answer
}

// object is what a path of the API server speaks of; the name is empty when it speaks of many.
func object(path string) (resource schema.GroupResource, name string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		resource.Group, parts = parts[1], parts[3:]
	default:
		return resource, ""
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource.Resource = parts[0]
	if len(parts) > 1 {
		name = parts[1]
	}
	return resource, name
}
