package spiffetest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// WorkloadAPI serves X.509-SVIDs over a socket, as the SPIRE agent does.
type WorkloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	// Address is that of the socket, with unix://.
	Address string

	server *grpc.Server
	mu     sync.Mutex
	ca     *CA
	svids  []*x509svid.SVID
	// changed is closed when there are others.
	changed chan struct{}
	asked   int
}

// ServeWorkloadAPI listens on a socket in a folder. Without any SVID, nobody has
// an identity.
func ServeWorkloadAPI(dir string, ca *CA, svids ...*x509svid.SVID) (*WorkloadAPI, error) {
	path := filepath.Join(dir, "agent.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("serving the Workload API: %w", err)
	}
	w := &WorkloadAPI{Address: "unix://" + path, server: grpc.NewServer(), ca: ca, svids: svids, changed: make(chan struct{})}
	workload.RegisterSpiffeWorkloadAPIServer(w.server, w)
	go func() { _ = w.server.Serve(listener) }()
	return w, nil
}

// Rotate gives other SVIDs to all who watch.
func (w *WorkloadAPI) Rotate(svids ...*x509svid.SVID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.svids = svids
	close(w.changed)
	w.changed = make(chan struct{})
}

// Stop ends the server, and with it each watch.
func (w *WorkloadAPI) Stop() { w.server.Stop() }

// Asked counts who has asked for SVIDs.
func (w *WorkloadAPI) Asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// FetchX509SVID implements workload.SpiffeWorkloadAPIServer.
func (w *WorkloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if header, _ := metadata.FromIncomingContext(stream.Context()); len(header.Get("workload.spiffe.io")) == 0 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	w.mu.Lock()
	w.asked++
	w.mu.Unlock()
	for {
		response, changed, err := w.response()
		if err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (w *WorkloadAPI) response() (*workload.X509SVIDResponse, chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.svids) == 0 {
		return nil, nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	out := &workload.X509SVIDResponse{}
	for _, svid := range w.svids {
		chain, key, err := svid.MarshalRaw()
		if err != nil {
			return nil, nil, errors.Join(errors.New("writing an SVID"), err)
		}
		out.Svids = append(out.Svids, &workload.X509SVID{SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: concat(w.ca.Bundle().X509Authorities())})
	}
	return out, w.changed, nil
}

func concat(certificates []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, c.Raw...)
	}
	return out
}
