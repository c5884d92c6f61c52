package vsecm

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	labsafe "github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOurOwnIdentityIsCheckedBeforeSafeIsAsked(t *testing.T) {
	w := start(t, appID)
	_, err := w.raw(t.Context(), 0)
	w.fails(t, err, upstream.Denied, "Safe gives raw secrets only to a workload with the name vsecm-scout, and our SPIFFE ID "+appID+" has the name app: change the ClusterSPIFFEID")

	w = start(t, scoutID)
	_, err = w.client.Own(t.Context(), w.Address, "app", 0)
	w.fails(t, err, upstream.Denied, "Safe gives the secret of the workload app to nobody else, and our SPIFFE ID "+scoutID+" has the name vsecm-scout: make a ClusterSPIFFEID")
	_, err = w.client.Own(t.Context(), w.Address, ScoutName, 0)
	w.fails(t, err, upstream.Invalid, "the workload vsecm-scout has no secret of its own")
	assert.Empty(t, w.Requests())

	for _, id := range []string{"spiffe://vsecm.com/vsecm-scout", "spiffe://acme.com/workload/vsecm-scout/ns/a/sa/b/n/c"} {
		w = start(t, id)
		_, err = w.raw(t.Context(), 0)
		w.fails(t, err, upstream.Denied, "our SPIFFE ID "+id+" is not that of a workload of the trust domain vsecm.com")
		_, err = w.client.Own(t.Context(), w.Address, "app", 0)
		w.fails(t, err, upstream.Denied, "is not that of a workload")
		assert.Empty(t, w.Requests())
		assert.Empty(t, w.Refused(), "not even a handshake")
	}
}

func TestTheServerIsSafeOrNobody(t *testing.T) {
	other, err := spiffetest.New(DefaultTrustDomain)
	require.NoError(t, err)
	acme, err := spiffetest.New("acme.com")
	require.NoError(t, err)
	acmeSafe := "spiffe://acme.com/workload/vsecm-safe/ns/vsecm-system/sa/vsecm-safe/n/x"
	for name, c := range map[string]struct {
		ca    *spiffetest.CA // nil: that of the world
		id    string
		trust bool
		life  time.Duration
		kind  upstream.Kind
		want  string
	}{
		"another workload":           {nil, appID, false, time.Hour, upstream.Denied, "the server has the SPIFFE ID " + appID + ", which is not that of Safe: correct the URL of Safe"},
		"Safe in another namespace":  {nil, "spiffe://vsecm.com/workload/vsecm-safe/ns/evil/sa/vsecm-safe/n/x", false, time.Hour, upstream.Denied, "which is not that of Safe"},
		"another authority":          {other, safeID, false, time.Hour, upstream.Denied, "not signed by the trust bundle of vsecm.com"},
		"another trust domain":       {acme, acmeSafe, false, time.Hour, upstream.Denied, "the server is of the trust domain acme.com, and not of vsecm.com"},
		"a federated trust domain":   {acme, acmeSafe, true, time.Hour, upstream.Denied, "the server is of the trust domain acme.com, and not of vsecm.com"},
		"a certificate that is over": {nil, safeID, false, -time.Minute, upstream.Unavailable, "the certificate of the server has expired or is not valid yet"},
	} {
		w := start(t, scoutID)
		w.put("raw:a", "raw:b")
		ca := c.ca
		if ca == nil {
			ca = w.ca
		}
		svid, err := ca.SVID(c.id, c.life)
		require.NoError(t, err)
		w.safeOwn.Rotate(svid)
		if c.trust {
			w.own.Believe(w.ca, acme)
		}
		_, err = w.raw(t.Context(), 0)
		w.fails(t, err, c.kind, c.want)
		assert.Empty(t, w.Requests(), name)
	}

	w := start(t, scoutID)
	secure, plain := httptest.NewUnstartedServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	for name, server := range map[string]*httptest.Server{"is no SVID": secure, "HTTP": plain} {
		_, err := w.client.Raw(t.Context(), "https://"+server.Listener.Addr().String(), 0)
		require.ErrorContains(t, err, name)
		server.Close()
	}
}

func TestAServerThatRefusesUs(t *testing.T) {
	w := start(t, scoutID)
	other, err := spiffetest.New(DefaultTrustDomain)
	require.NoError(t, err)
	stolen, err := other.SVID(scoutID, time.Hour)
	require.NoError(t, err)
	w.own.Rotate(stolen)
	_, err = w.raw(t.Context(), 0)
	require.Error(t, err)
	// The server may close the connection before its reason is read.
	if upstream.IsKind(err, upstream.Denied) {
		w.fails(t, err, upstream.Denied, "the server refuses our SVID "+scoutID)
	} else {
		w.fails(t, err, upstream.Unavailable, "")
	}
	assert.Empty(t, w.Requests())
}

func TestAnSVIDIsRotatedInFlight(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	w.Break(labsafe.Fault{Delay: 200 * time.Millisecond})
	done := make(chan error, 1)
	go func() {
		_, err := w.raw(t.Context(), 0)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(w.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	next, err := w.ca.SVID(strings.Replace(scoutID, "handshake-1", "handshake-2", 1), time.Hour)
	require.NoError(t, err)
	w.own.Rotate(next)
	own, err := w.ca.SVID(safeID, time.Hour)
	require.NoError(t, err)
	w.safeOwn.Rotate(own)
	require.NoError(t, <-done)
	_, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, next.ID.String(), w.Requests()[1].ID, "the next request has the new one")

	// Also the authority is another one now.
	ca, err := spiffetest.New(DefaultTrustDomain)
	require.NoError(t, err)
	for identity, id := range map[*spiffetest.Identity]string{w.own: scoutID, w.safeOwn: safeID} {
		svid, err := ca.SVID(id, time.Hour)
		require.NoError(t, err)
		identity.Rotate(svid)
		identity.Believe(ca)
	}
	_, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
	w.own.Believe(w.ca)
	_, err = w.raw(t.Context(), 0)
	w.fails(t, err, upstream.Denied, "not signed by the trust bundle")
	assert.Equal(t, 1, w.opened)
}

// fickle has another identity each time it is asked.
type fickle struct {
	*spiffetest.Identity
	svids []*x509svid.SVID
}

func (f *fickle) SVIDs() []*x509svid.SVID {
	next := f.svids[0]
	f.svids = append(f.svids[1:], next)
	return []*x509svid.SVID{next}
}

func TestTheSVIDThatWasCheckedIsTheOneThatIsShown(t *testing.T) {
	w := start(t, scoutID)
	app, err := w.ca.SVID(appID, time.Hour)
	require.NoError(t, err)
	scout, err := w.own.GetX509SVID()
	require.NoError(t, err)
	client, err := New(w.clock, Options{Open: func(context.Context) (Source, error) {
		return &fickle{w.own, []*x509svid.SVID{scout, app}}, nil
	}})
	require.NoError(t, err)
	_, err = client.Raw(t.Context(), w.Address, 0)
	require.NoError(t, err)
	assert.Equal(t, scoutID, w.Requests()[0].ID)
}

func TestAnSVIDThatHasExpired(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b")
	_, err := w.raw(t.Context(), 0)
	require.NoError(t, err)
	late, err := w.ca.SVID(scoutID, -time.Minute)
	require.NoError(t, err)
	w.own.Rotate(late)
	_, err = w.raw(t.Context(), 0)
	w.fails(t, err, upstream.Unavailable, "our SVID "+scoutID+" has expired, and the SPIRE agent on this node has given no other")
	assert.Len(t, w.Requests(), 1, "it is not shown")
	_, err = w.raw(t.Context(), time.Hour)
	require.NoError(t, err, "what was read is not forgotten")
	next, err := w.ca.SVID(scoutID, time.Hour)
	require.NoError(t, err)
	w.own.Rotate(next)
	_, err = w.raw(t.Context(), 0)
	require.NoError(t, err)
}

func TestWhatAnotherIdentityHasReadIsNotGiven(t *testing.T) {
	w := start(t, scoutID)
	w.put("raw:a", "raw:b", "app")
	_, err := w.raw(t.Context(), time.Hour)
	require.NoError(t, err)
	app, err := w.ca.SVID(appID, time.Hour)
	require.NoError(t, err)
	w.own.Rotate(app)
	_, err = w.raw(t.Context(), time.Hour)
	w.fails(t, err, upstream.Denied, "has the name app")
	secret, err := w.client.Own(t.Context(), w.Address, "app", time.Hour)
	require.NoError(t, err)
	assert.Equal(t, canary+" of app", secret.Value)
	assert.Len(t, w.Requests(), 2)
	scout, err := w.ca.SVID(scoutID, time.Hour)
	require.NoError(t, err)
	w.own.Rotate(scout)
	_, err = w.raw(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Len(t, w.Requests(), 2, "each has what it has read")
}
