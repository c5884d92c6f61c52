package spire_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
)

// secrets are the names of those in a Safe.
var secrets = []string{"cache", "database"}

// client reads with the SVIDs of a SPIRE.
func client(t *testing.T, s *spire.Server, options vsecm.Options) *vsecm.Client {
	t.Helper()
	options.EndpointSocket = s.Socket
	c, err := vsecm.New(clock.RealClock{}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// startSafe starts a Safe with an SVID of a SPIRE, and secrets.
func startSafe(ctx context.Context, t *testing.T, s *spire.Server) (*safe.Server, *spire.Source) {
	t.Helper()
	own := source(ctx, t, s, safe.ID(s.TrustDomain, safe.SafeName))
	server, err := safe.Start(safe.Options{Source: own, TrustDomain: s.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	for _, name := range secrets {
		server.Put(safe.Stored{Name: "raw:" + name, Value: "of " + name, Meta: safe.Meta{Format: "raw"}})
	}
	return server, own
}

// read reads all secrets.
func read(ctx context.Context, c *vsecm.Client, address string) error {
	raw, err := c.Raw(ctx, address, 0)
	if err != nil {
		return err
	}
	for _, name := range secrets {
		secret, err := raw.Secret(name, "")
		if err != nil {
			return err
		}
		if secret.Value != "of "+name {
			return errors.New("the secret " + name + " has another value")
		}
	}
	return nil
}

func TestClientReadsFromSafeWhileSVIDsRotate(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	scout := safe.ID(s.TrustDomain, safe.ScoutName)
	for _, id := range []string{safe.ID(s.TrustDomain, safe.SafeName), scout} {
		register(ctx, t, s, spire.Entry{ID: id, TTL: 10 * time.Second})
	}
	server, safeOwn := startSafe(ctx, t, s)
	scoutOwn, c := source(ctx, t, s, scout), client(t, s, vsecm.Options{})

	// Beyond the life of the first ones, so that nothing works that has not rotated.
	first, serials := expiry(t, safeOwn), map[string]map[string]bool{"safe": {}, "scout": {}}
	if left := time.Until(first); left > 10*time.Second {
		t.Fatalf("the first SVID is good for %s, want the 10 seconds of its entry", left)
	}
	reads := 0
	for ; time.Until(first.Add(time.Second)) > 0; reads++ {
		if err := read(ctx, c, server.Address); err != nil {
			t.Errorf("read %d: %v", reads, err)
		}
		serials["safe"][svidOf(t, safeOwn).Certificates[0].SerialNumber.String()] = true
		serials["scout"][svidOf(t, scoutOwn).Certificates[0].SerialNumber.String()] = true
	}
	for who, seen := range serials {
		if len(seen) < 4 {
			t.Errorf("%s has had %d SVIDs, want 4 or more", who, len(seen))
		}
	}
	if requests := server.Requests(); len(requests) != reads || reads < 20 || requests[0].ID != scout {
		t.Errorf("%d requests were counted for %d reads, want 20 or more as %s: %+v", len(requests), reads, scout, requests[:1])
	}
}

func TestClientOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	scout := safe.ID(s.TrustDomain, safe.ScoutName)
	register(ctx, t, s, spire.Entry{ID: safe.ID(s.TrustDomain, safe.SafeName)})
	register(ctx, t, s, spire.Entry{ID: scout, TTL: shortTTL})
	server, _ := startSafe(ctx, t, s)
	own, c := source(ctx, t, s, scout), client(t, s, vsecm.Options{})
	if err := read(ctx, c, server.Address); err != nil {
		t.Fatal(err)
	}
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if err := read(ctx, c, server.Address); err != nil {
		t.Errorf("with an SVID that is good, and without an agent: %v", err)
	}
	passed(t, expiry(t, own))
	if err := read(ctx, c, server.Address); !upstream.IsKind(err, upstream.Unavailable) || !contains(err, "has expired") {
		t.Errorf("reading with an expired SVID gave %v, want that it is unavailable", err)
	}
	if err := s.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client to read again", func() error { return read(ctx, c, server.Address) })
}

func TestClientAndSafeOfDifferentTrust(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	_, twin := start(t, spire.Options{}) // the same name, another authority
	_, other := start(t, spire.Options{TrustDomain: "other.example"})
	for _, server := range []*spire.Server{s, twin, other} {
		register(ctx, t, server, spire.Entry{ID: safe.ID(server.TrustDomain, safe.SafeName)})
		register(ctx, t, server, spire.Entry{ID: safe.ID(server.TrustDomain, safe.ScoutName)})
	}
	server, _ := startSafe(ctx, t, s)
	if err := read(ctx, client(t, s, vsecm.Options{}), server.Address); err != nil {
		t.Fatalf("nothing can be read at all: %v", err)
	}
	before := len(server.Requests())
	for words, c := range map[string]*vsecm.Client{
		"is not signed by the trust bundle":                client(t, twin, vsecm.Options{}),
		"is not that of a workload of the trust domain":    client(t, other, vsecm.Options{}),
		"the server is of the trust domain vsecm.com":      client(t, other, vsecm.Options{TrustDomain: other.TrustDomain}),
		"that of a workload of the trust domain other.exa": client(t, s, vsecm.Options{TrustDomain: other.TrustDomain}),
	} {
		err := read(ctx, c, server.Address)
		if !upstream.IsKind(err, upstream.Denied) || !contains(err, words) {
			t.Errorf("reading gave %v, want that it is denied and says %q", err, words)
		}
	}
	if after := len(server.Requests()); after != before {
		t.Errorf("%d requests came through to Safe", after-before)
	}
}
