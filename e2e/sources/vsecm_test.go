package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The workloads of the tests. SPIRE gives all of them to this process, which is Safe and operator: each takes its own.
var (
	scoutID = "spiffe://" + spire.DefaultTrustDomain + "/workload/" + safe.ScoutName + "/ns/fleet-handshake-system/sa/fleet-handshake/n/fleet-handshake-0"
	safeID  = safe.ID(spire.DefaultTrustDomain, safe.SafeName)
	shopID  = safe.ID(spire.DefaultTrustDomain, "shop")
)

// rotation is the life of the SVIDs: they rotate after 4 to 5 seconds.
const rotation = 20 * time.Second

// identities is started by the first test that needs it.
var identities struct {
	sync.Mutex
	*spire.Server
}

// useSPIRE gives the SPIRE that knows Safe and the operator.
func useSPIRE(t *testing.T) *spire.Server {
	t.Helper()
	identities.Lock()
	defer identities.Unlock()
	if identities.Server != nil {
		return identities.Server
	}
	ctx := context.Background()
	server, err := spire.Start(ctx, spire.Options{Dir: filepath.Join(world.Dir, "spire"), Progress: os.Stdout})
	require.NoError(t, err)
	identities.Server = server
	for _, id := range []string{safeID, scoutID, shopID} {
		require.NoError(t, server.Register(ctx, spire.Entry{ID: id, TTL: rotation}))
	}
	return server
}

func stopSPIRE() error {
	if identities.Server == nil {
		return nil
	}
	return identities.Stop()
}

// as is the identity of a workload, from the Workload API.
func as(t *testing.T, id string) *spire.Source {
	t.Helper()
	source, err := useSPIRE(t).Source(t.Context(), id)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	return source
}

// markers are raw secrets beside those of a test: Safe tells names and dates only of several.
var markers = []string{"raw:marker", "raw:marker-2"}

// startSafe starts a Safe with markers.
func startSafe(t *testing.T, identity safe.Source) *safe.Server {
	t.Helper()
	s, err := safe.Start(safe.Options{Source: identity})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	for _, name := range markers {
		s.Put(safe.Stored{Name: name, Value: "x", Meta: safe.Meta{Format: "raw"}})
	}
	return s
}

// putRaw writes a raw secret as JSON.
func putRaw(t *testing.T, s *safe.Server, name string, value any, change ...func(*safe.Stored)) {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	stored := safe.Stored{Name: "raw:" + name, Value: string(content), Meta: safe.Meta{Format: "json"}}
	for _, c := range change {
		c(&stored)
	}
	s.Put(stored)
}

// withSPIRE lets the operator take its identity from the Workload API, and lets all namespaces of the tests read all secrets.
func withSPIRE(t *testing.T) func(*operator.Options) {
	t.Helper()
	socket := useSPIRE(t).Socket
	return func(o *operator.Options) {
		o.VSecM.EndpointSocket, o.VSecM.Allow = socket, []string{team + "/*", many + "/many*", other + "/*"}
	}
}

// makesOf makes a VSecMSecret of its own name with a key password, from the secret of that name.
func makesOf(t *testing.T, name string, s *safe.Server, change ...func(*v1alpha1.VSecMSecretSpec)) *v1alpha1.VSecMSecret {
	t.Helper()
	spec := v1alpha1.VSecMSecretSpec{
		VSecMSafeURL: s.Address, RefreshInterval: &metav1.Duration{Duration: 10 * time.Second},
		Data: []v1alpha1.VSecMKey{{Key: "password", Ref: name + ".password"}},
	}
	for _, c := range change {
		c(&spec)
	}
	return makes(t, hub.VSecM, &v1alpha1.VSecMSecret{ObjectMeta: meta1(name), Spec: spec})
}

func password(value string) map[string]string { return map[string]string{"password": value} }

// vsecmSays waits until a VSecMSecret has a condition.
func vsecmSays(t *testing.T, name, condition string, status metav1.ConditionStatus, reason string) *v1alpha1.VSecMSecret {
	t.Helper()
	return tells[v1alpha1.VSecMSecret](t, hub.VSecM, team, name, condition, status, reason)
}

// TestVSecMSecrets runs against a real SPIRE. SVIDs rotate all the time meanwhile.
func TestVSecMSecrets(t *testing.T) {
	identity := as(t, safeID)
	startOperator(t, withSPIRE(t))
	t.Run("the published manifest", func(t *testing.T) {
		t.Parallel()
		publishedManifest(t, startSafe(t, identity))
	})
	t.Run("the secret of a workload", func(t *testing.T) {
		t.Parallel()
		s := startSafe(t, identity)
		s.Put(safe.Stored{Name: "shop", Value: `{"password":"of the shop"}`, Meta: safe.Meta{Format: "json"}})
		workload := func(spec *v1alpha1.VSecMSecretSpec) { spec.SecretType = v1alpha1.VSecMWorkload }
		makesOf(t, "shop", s, workload)
		holds(t, "shop", password("of the shop"))
		for _, r := range s.Requests() {
			assert.Equal(t, shopID, r.ID)
		}
		makesOf(t, "bank", s, workload)
		bank := vsecmSays(t, "bank", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDenied)
		assert.Contains(t, messageOf(bank, v1alpha1.ConditionReady), "Safe gives the secret of the workload bank to nobody else")
	})
	t.Run("a secret that another namespace may have", func(t *testing.T) {
		t.Parallel()
		s := startSafe(t, identity)
		putRaw(t, s, "forbidden", password("of somebody else"))
		vs := makes(t, hub.VSecM, &v1alpha1.VSecMSecret{ObjectMeta: metav1.ObjectMeta{Namespace: many, Name: "forbidden"}, Spec: v1alpha1.VSecMSecretSpec{
			VSecMSafeURL: s.Address, Data: []v1alpha1.VSecMKey{{Key: "password", Ref: "forbidden.password"}},
		}})
		vs = tells[v1alpha1.VSecMSecret](t, hub.VSecM, many, vs.Name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotAllowed)
		assert.Equal(t, "namespace many may not have the secret forbidden of Safe: add many/forbidden to the value vsecm.allow of the chart (flag --vsecm-allow)", messageOf(vs, v1alpha1.ConditionReady))
		assert.Empty(t, s.Requests(), "Safe is not asked")
	})
	t.Run("what is missing, and a key of others", func(t *testing.T) {
		t.Parallel()
		s := startSafe(t, identity)
		putRaw(t, s, "gone", map[string]string{"password": "first", "user": "anna"})
		foreign(t, "gone", map[string]string{"theirs": "x"})
		makesOf(t, "gone", s, func(spec *v1alpha1.VSecMSecretSpec) {
			spec.Target.ConflictPolicy, spec.Data, spec.DataFrom = v1alpha1.SourceConflictMerge, nil, []v1alpha1.VSecMObject{{Ref: "gone"}}
		})
		all := map[string]string{"password": "first", "user": "anna", "theirs": "x"}
		holds(t, "gone", all)
		s.Delete("raw:gone")
		refreshes(t, hub.VSecM, "gone")
		vsecmSays(t, "gone", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPathMissing)
		holds(t, "gone", all)
		require.NoError(t, hub.VSecM.Change(t.Context(), team, "gone", func(vs *v1alpha1.VSecMSecret) { vs.Spec.OnMissing = v1alpha1.OnMissingRemove }))
		holds(t, "gone", map[string]string{"theirs": "x"})
	})
	t.Run("dates", func(t *testing.T) {
		t.Parallel()
		dates(t, startSafe(t, identity))
	})
	t.Run("a raw secret alone", func(t *testing.T) {
		t.Parallel()
		s := startSafe(t, identity)
		for _, name := range markers {
			s.Delete(name)
		}
		putRaw(t, s, "alone", password("of one"))
		makesOf(t, "alone", s)
		vsecmSays(t, "alone", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidValue)
		require.NoError(t, hub.VSecM.Change(t.Context(), team, "alone", func(vs *v1alpha1.VSecMSecret) { vs.Spec.ExpectedName = "alone" }))
		holds(t, "alone", password("of one"))
	})
	faultyAnswers(t, identity)
	wrongServers(t)
}

// publishedManifest makes a Secret of the manifest that VMware Secrets Manager's own documentation shows.
func publishedManifest(t *testing.T, s *safe.Server) {
	var vs v1alpha1.VSecMSecret
	require.NoError(t, yaml.UnmarshalStrict([]byte(`
spec:
  vsecmSafeURL: https://vsecm-safe.vsecm-system.svc.cluster.local:8443/
  secretType: k8s
  refreshInterval: 1h
  target: {name: database-credentials}
  data:        [{key: username, ref: "databaseCredentials.cocaCola.data.username"}]
  labels:      [{key: app, ref: "databaseCredentials.cocaCola.labels.app"}]
  annotations: [{key: env, ref: "databaseCredentials.cocaCola.annotations.env"}]
`), &vs))
	secret := func(app string) map[string]any {
		return map[string]any{"cocaCola": map[string]any{
			"data": map[string]string{"username": "anna"}, "labels": map[string]string{"app": app}, "annotations": map[string]string{"env": "a sentence"},
		}}
	}
	putRaw(t, s, "databaseCredentials", secret("shop"))
	vs.ObjectMeta, vs.Spec.VSecMSafeURL = meta1("published"), s.Address
	makes(t, hub.VSecM, &vs)
	const name = "database-credentials"
	labelled := func(app string) func(*corev1.Secret) error {
		return func(secret *corev1.Secret) error {
			if secret.Labels["app"] != app || secret.Annotations["env"] != "a sentence" {
				return fmt.Errorf("it has the labels %v", secret.Labels)
			}
			return nil
		}
	}
	holds(t, name, map[string]string{"username": "anna"})
	secretWhere(t, name, labelled("shop"))
	ready := vsecmSays(t, "published", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	assert.Equal(t, []v1alpha1.KeyOrigin{{Key: "username", Path: "databaseCredentials.cocaCola.data.username"}}, ready.Status.Keys)
	assert.Equal(t, name, ready.Status.SecretName)

	edits(t, name, `{"metadata":{"labels":{"app":"edited"}}}`)
	secretWhere(t, name, labelled("shop"))
	putRaw(t, s, "databaseCredentials", secret("bank"))
	refreshes(t, hub.VSecM, "published")
	secretWhere(t, name, labelled("bank"))
	putRaw(t, s, "databaseCredentials", secret("no label: the canary"))
	refreshes(t, hub.VSecM, "published")
	wrong := vsecmSays(t, "published", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidValue)
	assert.Contains(t, messageOf(wrong, v1alpha1.ConditionReady), "what was fetched for the label app cannot be one")
	assert.NotContains(t, fmt.Sprint(wrong.Status), "canary")
	secretWhere(t, name, labelled("bank"))
}

// dates are kept to, also while Safe does not answer.
func dates(t *testing.T, s *safe.Server) {
	begin := time.Now().Add(8 * time.Second).Truncate(time.Second)
	end := begin.Add(6 * time.Second)
	within := func(stored *safe.Stored) { stored.NotBefore, stored.ExpiresAfter = begin, end }
	putRaw(t, s, "dated", password("for a while"), within)
	makesOf(t, "dated", s, func(spec *v1alpha1.VSecMSecretSpec) {
		spec.RefreshInterval = &metav1.Duration{Duration: time.Hour}
	})
	vsecmSays(t, "dated", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotYetValid)
	secretWhere(t, "dated", func(*corev1.Secret) error {
		if time.Now().Before(begin) {
			assert.Fail(t, "it is there too early")
		}
		return nil
	})
	came := time.Since(begin)
	s.Break(safe.Fault{Closed: true})
	withdrawn := secretWhere(t, "dated", func(secret *corev1.Secret) error {
		if len(secret.Data) > 0 {
			return errSame
		}
		return nil
	})
	went := time.Since(end)
	assert.Positive(t, went, "it was valid until then")
	assert.Empty(t, withdrawn.Data)
	vsecmSays(t, "dated", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExpired)
	s.Break(safe.Fault{})
	putRaw(t, s, "dated", password("anew"))
	refreshes(t, hub.VSecM, "dated")
	holds(t, "dated", password("anew"))
	t.Logf("there %s after notBefore, withdrawn %s after expiresAfter", came.Round(time.Millisecond), went.Round(time.Millisecond))
	assert.Less(t, max(came, went), 5*time.Second)
}

// faultyAnswers are those that Safe gives when something is wrong. Nothing is wiped, and nothing is shown.
func faultyAnswers(t *testing.T, identity safe.Source) {
	t.Helper()
	const canary = "canary-of-safe"
	for name, c := range map[string]struct {
		fault  safe.Fault
		reason string
		words  string
	}{
		"no root key":          {safe.Fault{Status: 400}, v1alpha1.ReasonUnavailable, "Safe has no root key yet, or its patterns do not take our SPIFFE ID"},
		"no database":          {safe.Fault{Status: 503, Body: "NOK!"}, v1alpha1.ReasonUnavailable, "Safe is not ready"},
		"an internal error":    {safe.Fault{Status: 500, Body: canary}, v1alpha1.ReasonUnavailable, "see the log of Safe"},
		"too many requests":    {safe.Fault{Status: 429}, v1alpha1.ReasonUnavailable, "see the log of Safe"},
		"a proxy's page":       {safe.Fault{Status: 403, Body: canary}, v1alpha1.ReasonRefused, "this is no answer of Safe"},
		"a redirect":           {safe.Fault{Status: 302, Location: "https://127.0.0.1:1/"}, v1alpha1.ReasonRefused, "this is no answer of Safe"},
		"none with words":      {safe.Fault{Status: 404, Body: canary}, v1alpha1.ReasonRefused, "see whether the URL is that of Safe"},
		"no JSON":              {safe.Fault{Body: canary}, v1alpha1.ReasonUnavailable, "the answer is no whole JSON object"},
		"other JSON":           {safe.Fault{Body: `{"data":{"x":"` + canary + `"}}`}, v1alpha1.ReasonRefused, "not that of Safe"},
		"an error in JSON":     {safe.Fault{Body: `{"data":"","err":"` + canary + `"}`}, v1alpha1.ReasonUnavailable, "Safe says that it has failed"},
		"a list of others":     {safe.Fault{Body: `{"data":"[{\"name\":\"app\",\"valueTransformed\":\"` + canary + `\"}]"}`}, v1alpha1.ReasonRefused, "looks like a list of raw secrets and is none"},
		"a broken answer":      {safe.Fault{Body: strings.Repeat(canary, 100), Truncated: true}, v1alpha1.ReasonUnavailable, "the answer broke off"},
		"a closed connection":  {safe.Fault{Closed: true}, v1alpha1.ReasonUnavailable, ""},
		"nine megabytes":       {safe.Fault{Body: strings.Repeat("x", 9<<20)}, v1alpha1.ReasonRefused, "keep fewer or smaller secrets"},
		"no answer in time":    {safe.Fault{Delay: time.Minute}, v1alpha1.ReasonUnavailable, "no answer in time"},
		"an empty answer":      {safe.Fault{Body: `{"data":"","created":"","updated":""}`}, v1alpha1.ReasonRefused, "the answer has no data"},
		"not even that a body": {safe.Fault{Body: `null`}, v1alpha1.ReasonRefused, "not that of Safe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSafe(t, identity)
			source := "fault-" + strings.NewReplacer(" ", "-", "'", "").Replace(strings.ToLower(name))
			putRaw(t, s, source, password("right"))
			makesOf(t, source, s)
			before := holds(t, source, password("right"))
			vsecmSays(t, source, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
			s.Break(c.fault)
			refreshes(t, hub.VSecM, source)
			vs := vsecmSays(t, source, v1alpha1.ConditionFetched, metav1.ConditionFalse, c.reason)
			message := messageOf(vs, v1alpha1.ConditionFetched)
			assert.Contains(t, message, "GET /workload/v1/secrets at "+strings.TrimSuffix(s.Address, "/"))
			assert.Contains(t, message, c.words)
			assert.NotContains(t, fmt.Sprint(vs.Status), canary)
			after := secretWhere(t, source, anything)
			assert.Equal(t, before.ResourceVersion, after.ResourceVersion, "the Secret is left as it is")
			if c.reason == v1alpha1.ReasonUnavailable {
				vsecmSays(t, source, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
			}
			s.Break(safe.Fault{})
			refreshes(t, hub.VSecM, source)
			vsecmSays(t, source, v1alpha1.ConditionFetched, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
		})
	}
	t.Run("down for longer than maxAge", func(t *testing.T) {
		t.Parallel()
		s := startSafe(t, identity)
		putRaw(t, s, "outage", password("right"))
		makesOf(t, "outage", s, func(spec *v1alpha1.VSecMSecretSpec) { spec.MaxAge = &metav1.Duration{Duration: 11 * time.Second} })
		before := holds(t, "outage", password("right"))
		s.Break(safe.Fault{Closed: true})
		vs := vsecmSays(t, "outage", v1alpha1.ConditionFetched, metav1.ConditionFalse, v1alpha1.ReasonUnavailable)
		assert.Equal(t, v1alpha1.ReasonUpToDate, meta.FindStatusCondition(vs.Status.Conditions, v1alpha1.ConditionReady).Reason, "Ready until it is too old")
		vsecmSays(t, "outage", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonStale)
		vsecmSays(t, "outage", v1alpha1.ConditionStale, metav1.ConditionTrue, v1alpha1.ReasonStale)
		assert.Equal(t, before.ResourceVersion, secretWhere(t, "outage", anything).ResourceVersion)
		s.Break(safe.Fault{})
		vsecmSays(t, "outage", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate)
	})
}

// wrongServers are not Safe. What belongs to another trust domain is minted in memory.
func wrongServers(t *testing.T) {
	t.Helper()
	minted := func(t *testing.T, domain, id string) safe.Source {
		t.Helper()
		ca, err := spiffetest.New(domain)
		require.NoError(t, err)
		identity, err := ca.Identity(id, time.Hour)
		require.NoError(t, err)
		return identity
	}
	for name, c := range map[string]struct {
		identity func(t *testing.T) safe.Source
		words    string
	}{
		"the SVID of another workload": {func(t *testing.T) safe.Source { t.Helper(); return as(t, shopID) }, "the server has the SPIFFE ID " + shopID + ", which is not that of Safe"},
		"another trust domain": {func(t *testing.T) safe.Source {
			t.Helper()
			return minted(t, "acme.com", safe.ID("acme.com", safe.SafeName))
		}, "the server is of the trust domain acme.com, and not of vsecm.com"},
		"another authority": {func(t *testing.T) safe.Source { t.Helper(); return minted(t, spire.DefaultTrustDomain, safeID) }, "the certificate of the server is not signed by the trust bundle of vsecm.com"},
	} {
		t.Run("a server with "+name, func(t *testing.T) {
			t.Parallel()
			s := startSafe(t, c.identity(t))
			source := strings.ReplaceAll(strings.ToLower(name), " ", "-")
			putRaw(t, s, source, password("of nobody"))
			makesOf(t, source, s)
			vs := vsecmSays(t, source, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDenied)
			assert.Contains(t, messageOf(vs, v1alpha1.ConditionReady), c.words)
			assert.Empty(t, s.Requests(), "no request is sent")
		})
	}
}

// TestIdentitiesOfTheOperator changes what SPIRE knows, which all VSecMSecrets feel.
func TestIdentitiesOfTheOperator(t *testing.T) {
	server := useSPIRE(t)
	s := startSafe(t, as(t, safeID))
	startOperator(t, withSPIRE(t))
	putRaw(t, s, "identity", password("1"))
	makesOf(t, "identity", s)
	holds(t, "identity", password("1"))

	// SVIDs rotate while it is read again and again.
	id := func() string {
		svid, err := as(t, scoutID).GetX509SVID()
		require.NoError(t, err)
		return svid.Certificates[0].SerialNumber.String()
	}
	first := id()
	eventually(t, func(context.Context) error {
		refreshes(t, hub.VSecM, "identity")
		if vs := vsecmSays(t, "identity", v1alpha1.ConditionFetched, metav1.ConditionTrue, v1alpha1.ReasonUpToDate); vs.Status.LastFetchedAt == nil || id() == first {
			return errors.New("the SVID has not rotated yet")
		}
		return nil
	})

	// Without its agent the operator has the last SVID, until that ends.
	require.NoError(t, server.StopAgent())
	putRaw(t, s, "identity", password("2"))
	refreshes(t, hub.VSecM, "identity")
	before := holds(t, "identity", password("2"))
	vs := vsecmSays(t, "identity", v1alpha1.ConditionFetched, metav1.ConditionFalse, v1alpha1.ReasonUnavailable)
	assert.Contains(t, messageOf(vs, v1alpha1.ConditionFetched), "has expired")
	assert.Equal(t, before.ResourceVersion, secretWhere(t, "identity", anything).ResourceVersion)
	putRaw(t, s, "identity", password("3"))
	require.NoError(t, server.StartAgent(t.Context()))
	holds(t, "identity", password("3"))

	// Another identity is not enough: one that is stolen gives nothing of others away.
	requests := len(s.Requests())
	require.NoError(t, server.Unregister(t.Context(), scoutID))
	t.Cleanup(func() {
		require.NoError(t, server.Register(context.Background(), spire.Entry{ID: scoutID, TTL: rotation}))
	})
	eventually(t, func(context.Context) error {
		refreshes(t, hub.VSecM, "identity")
		got, err := hub.VSecM.Get(t.Context(), team, "identity")
		if err == nil && !strings.Contains(messageOf(got, v1alpha1.ConditionReady), "Safe gives raw secrets only to a workload with the name vsecm-scout, and our SPIFFE ID") {
			err = errors.New("it still has its identity")
		}
		return err
	})
	vsecmSays(t, "identity", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDenied)
	for _, r := range s.Requests()[requests:] {
		assert.Equal(t, scoutID, r.ID, "with no other identity Safe is asked")
	}
	holds(t, "identity", password("3"))
}
