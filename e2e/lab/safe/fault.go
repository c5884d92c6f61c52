package safe

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// Fault is what Safe does wrong on purpose. The zero value is none.
type Fault struct {
	// Delay is waited before each answer, or until the client has gone.
	Delay time.Duration
	// Status is answered in the place of the right one, with Body.
	Status int
	// Body is answered in the place of the right one, with Status or 200.
	Body string
	// Location is where an answer with a Status of a redirect leads.
	Location string
	// Truncated breaks the connection after half of Body.
	Truncated bool
	// Closed closes the connection without an answer.
	Closed bool
}

// Break makes the answers from now on wrong. Fault{} mends them.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// serve says whether the request was answered.
func (f Fault) serve(c call) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-c.r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if f.Closed {
		panic(http.ErrAbortHandler)
	}
	if f.Status == 0 && f.Body == "" {
		return false
	}
	if f.Truncated {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(f.Body)))
	}
	if f.Location != "" {
		c.w.Header().Set("Location", f.Location)
	}
	if f.Status != 0 {
		c.w.WriteHeader(f.Status)
	}
	if f.Truncated {
		_, _ = io.WriteString(c.w, f.Body[:len(f.Body)/2])
		_ = http.NewResponseController(c.w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(c.w, f.Body)
	return true
}
