package spire_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

func TestEntriesSayWhoGetsAnSVID(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := tools.Ensure(ctx, nil, tools.SpireAgent)
	if err != nil {
		t.Fatal(err)
	}
	other := programs[tools.SpireAgent]

	gives(ctx, t, s)
	register(ctx, t, s, spire.Entry{ID: id("other"), Program: other})
	gives(ctx, t, s)
	register(ctx, t, s, spire.Entry{ID: id("self"), Program: self})
	gives(ctx, t, s, id("self"))
	register(ctx, t, s, spire.Entry{ID: id("all")})
	gives(ctx, t, s, id("self"), id("all"))
	register(ctx, t, s, spire.Entry{ID: id("all"), Program: other})
	gives(ctx, t, s, id("self"), id("all"))

	out, err := exec.CommandContext(ctx, other, "api", "fetch", "x509", "-socketPath", strings.TrimPrefix(s.Socket, "unix://")).CombinedOutput()
	if err != nil {
		t.Errorf("the other program was given: %v\n%s", err, out)
	}
	for name, want := range map[string]bool{"other": true, "all": true, "self": false} {
		if got := strings.Contains(string(out), id(name)); got != want {
			t.Errorf("that the other program has %s is %t, want %t:\n%s", id(name), got, want, out)
		}
	}

	svid := svidOf(t, source(ctx, t, s, id("self")))
	bundle, err := source(ctx, t, s, id("all")).GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(s.TrustDomain))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, authority := range bundle.X509Authorities() {
		roots.AddCert(authority)
	}
	if _, err := svid.Certificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the bundle does not vouch for the SVID: %v", err)
	}
	if left := time.Until(svid.Certificates[0].NotAfter); left > time.Hour || left < 59*time.Minute {
		t.Errorf("without a TTL the SVID is good for %s, want an hour", left)
	}

	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := s.Source(within, id("other")); !contains(err, id("other")) {
		t.Errorf("a source of what belongs to another program gave %v, want an error that names it", err)
	}
	if _, err := s.Source(ctx, "nonsense"); err == nil {
		t.Error("there is a source of what is no SPIFFE ID")
	}
	for words, entry := range map[string]spire.Entry{
		"already exists":      {ID: id("all")},
		"vsecm.com":           {ID: "spiffe://elsewhere.example/a"},
		"full seconds":        {ID: id("short"), TTL: 1500 * time.Millisecond},
		"no such file":        {ID: id("lost"), Program: "/nowhere/at/all"},
		"registering nothing": {ID: "nothing"},
	} {
		if err := s.Register(ctx, entry); !contains(err, words) {
			t.Errorf("registering %+v gave %v, want that it says %q", entry, err, words)
		}
	}
}

func TestRemovedEntryEndsTheStream(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	register(ctx, t, s, spire.Entry{ID: id("one")})
	register(ctx, t, s, spire.Entry{ID: id("two")})
	one, two := source(ctx, t, s, id("one")), source(ctx, t, s, id("two"))
	w := watch(ctx, t, s)
	if err := s.Unregister(ctx, id("one")); err != nil {
		t.Fatal(err)
	}
	gives(ctx, t, s, id("two"))
	eventually(t, "the SVID to be gone", func() error {
		if _, err := one.GetX509SVID(); err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	last := svidOf(t, two)
	if err := s.Unregister(ctx, id("two")); err != nil {
		t.Fatal(err)
	}
	gives(ctx, t, s)
	w.endsWith(t, codes.PermissionDenied)
	if svid, err := two.GetX509SVID(); err != nil || svid != last {
		t.Errorf("the source has %v and %v after the last entry is removed, want what it had", svid, err)
	}
	if err := s.Unregister(ctx, id("two")); !contains(err, "there is none") {
		t.Errorf("removing it twice gave %v, want that there is none", err)
	}
	register(ctx, t, s, spire.Entry{ID: id("two"), TTL: 2 * time.Hour})
	renewed(t, two, time.Now().Add(90*time.Minute)) // the source goes on
}

// TestRotation shows when SPIRE gets another SVID.
func TestRotation(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, spire.Options{})
	for _, c := range []struct {
		ttl              time.Duration
		earliest, latest time.Duration
	}{
		// Less than half of 12 and of 20 seconds are ever left: at once.
		{2 * time.Second, 0, 4 * time.Second},
		{10 * time.Second, 0, 4 * time.Second},
		// 15 seconds of 30 are left after 5, and it can be 1.5 seconds earlier.
		{20 * time.Second, 3 * time.Second, 9 * time.Second},
	} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			t.Parallel()
			name := id("every-" + c.ttl.String())
			register(ctx, t, s, spire.Entry{ID: name, TTL: c.ttl})
			from := source(ctx, t, s, name)
			for range 2 {
				leaf := svidOf(t, from).Certificates[0]
				if long := leaf.NotAfter.Sub(leaf.NotBefore); long != c.ttl+10*time.Second {
					t.Errorf("the SVID is good for %s, want the TTL and 10 seconds that have passed", long)
				}
				renewed(t, from, leaf.NotAfter)
				if after := expiry(t, from).Sub(leaf.NotAfter); after < c.earliest || after > c.latest {
					t.Errorf("the next SVID came after %s, want between %s and %s", after, c.earliest, c.latest)
				}
			}
		})
	}
}
