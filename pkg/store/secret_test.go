package store_test

import (
	"encoding/json"
	"maps"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// full is a record that has everything.
func full(t *testing.T) store.Record {
	t.Helper()
	e := store.Entry{
		Type: store.Workload, Value: store.KeysValue(map[string]string{"value": "new", "former.1": "mine", ".a": "<x>"}), SPIFFEID: "spiffe://example.org/web",
		Metadata:  store.Metadata{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"example.com/why": "<b>"}},
		NotBefore: now.Add(5e8), ExpirationDate: now.Add(time.Hour),
	}
	first := e
	first.Value = store.TextValue("old")
	r, err := store.New(store.Place{Tenant: "acme", Cluster: "paris.example", Namespace: "apps", Name: "Db_1"}, first, now)
	require.NoError(t, err)
	return put(t, r, e, now.Add(time.Minute), 10)
}

func TestSecret(t *testing.T) {
	r := full(t)
	assert.Equal(t, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "acme", Name: "entry-nx2.paris.example.apps.qcdbqu1",
			Labels: map[string]string{
				"fleethandshake.io/entry-scope": "namespace", "fleethandshake.io/entry-cluster": "paris.example", "fleethandshake.io/entry-namespace": "apps",
				"fleethandshake.io/entry-type": "workload", "fleethandshake.io/never-send": "true",
			},
			Annotations: map[string]string{
				"fleethandshake.io/entry-cluster": "paris.example", "fleethandshake.io/entry-namespace": "apps", "fleethandshake.io/entry-name": "Db_1",
				"fleethandshake.io/entry-type": "workload", "fleethandshake.io/entry-spiffe-id": "spiffe://example.org/web",
				"fleethandshake.io/entry-not-before": "2027-01-31T08:00:00.5Z", "fleethandshake.io/entry-expiration-date": "2027-01-31T09:00:00Z",
				"fleethandshake.io/entry-created": "2027-01-31T08:00:00Z", "fleethandshake.io/entry-updated": "2027-01-31T08:01:00Z",
				"fleethandshake.io/entry-version": "2", "fleethandshake.io/entry-version-time": "2027-01-31T08:01:00Z",
				"fleethandshake.io/entry-metadata": `{"labels":{"team":"a"},"annotations":{"example.com/why":"<b>"}}`,
			},
		},
		Type: "fleethandshake.io/store-entry",
		Data: map[string][]byte{
			"value.value": []byte("new"), "value.former.1": []byte("mine"), "value..a": []byte("<x>"),
			"former.1": []byte(`{"number":1,"time":"2027-01-31T08:00:00Z","value":"old"}`),
		},
	}, r.Secret(nil))
	back, err := store.Read(r.Secret(nil))
	require.NoError(t, err)
	assert.Equal(t, r, back)

	global, err := store.New(store.Place{Tenant: "t", Cluster: strings.Repeat("c", 70), Name: "s"}, raw("x"), now)
	require.NoError(t, err)
	secret := global.Secret(nil)
	assert.Equal(t, map[string]string{"fleethandshake.io/entry-scope": "global", "fleethandshake.io/entry-cluster": strings.Repeat("c", 63), "fleethandshake.io/entry-type": "raw"}, secret.Labels)
	assert.NotContains(t, secret.Annotations, store.AnnotationNamespace)
	assert.Equal(t, strings.Repeat("c", 70), secret.Annotations[store.AnnotationCluster])
	assert.Equal(t, map[string][]byte{"value": []byte("x")}, secret.Data)
	assert.Equal(t, "fleethandshake.io/entry-scope,fleethandshake.io/entry-cluster="+strings.Repeat("c", 63)+",fleethandshake.io/entry-namespace=n",
		store.Scope{Tenant: "t", Cluster: strings.Repeat("c", 70), Namespace: "n"}.Selector())
	assert.Equal(t, "fleethandshake.io/entry-scope", store.Scope{Tenant: "t"}.Selector())
}

// TestSecretsAreReadBack checks random records with random histories.
func TestSecretsAreReadBack(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for range 500 {
		e := randomEntry(r)
		record, err := store.New(randomPlace(r, e.Type), e, now)
		require.NoError(t, err)
		for range r.Intn(5) {
			e.Value = randomValue(r)
			record, _, err = record.Put(e, now.Add(time.Duration(r.Int63n(1e15))), r.Intn(4))
			require.NoError(t, err)
		}
		secret := record.Secret(nil)
		back, err := store.Read(secret)
		require.NoError(t, err)
		if len(record.Former) == 0 {
			back.Former, record.Former = nil, nil
		}
		require.Equal(t, record, back)
		again := back.Secret(secret)
		require.Equal(t, secret, again)
		require.Empty(t, validation.IsDNS1123Subdomain(secret.Name))
		for key := range secret.Data {
			require.Empty(t, validation.IsConfigMapKey(key))
		}
		for key, value := range secret.Labels {
			require.Empty(t, validation.IsQualifiedName(key))
			require.Empty(t, validation.IsValidLabelValue(value))
		}
	}
}

func TestWhatOthersHaveSetStays(t *testing.T) {
	r := newRecord(t, "x")
	present := r.Secret(nil)
	present.UID, present.ResourceVersion, present.Finalizers = "u", "7", []string{"example.com/f"}
	present.Labels["team"], present.Labels[v1alpha1.NeverSend] = "a", "true"
	present.Labels[store.LabelCluster] = "other"
	present.Labels["fleethandshake.io/entry-old"] = "x"
	present.Annotations["note"] = "n"
	present.Annotations[store.AnnotationSPIFFEID] = "x"
	present.Annotations[corev1.LastAppliedConfigAnnotation] = canary
	present.Data["foreign"], present.StringData = []byte(canary), map[string]string{"foreign": canary}
	before := present.DeepCopy()

	secret := put(t, r, raw("y"), now, 10).Secret(present)
	assert.Equal(t, before, present, "present is not changed")
	assert.Equal(t, map[string]string{"team": "a", v1alpha1.NeverSend: "true", store.LabelScope: "namespace", store.LabelCluster: "c", store.LabelNamespace: "n", store.LabelType: "raw"}, secret.Labels)
	assert.Equal(t, "n", secret.Annotations["note"])
	assert.NotContains(t, secret.Annotations, store.AnnotationSPIFFEID)
	assert.Equal(t, metav1.ObjectMeta{Namespace: "t", Name: "entry-n1.c.n.s", UID: "u", ResourceVersion: "7", Finalizers: []string{"example.com/f"}, Labels: secret.Labels, Annotations: secret.Annotations}, secret.ObjectMeta)
	content, err := json.Marshal(secret)
	require.NoError(t, err)
	assert.NotContains(t, string(content), canary)
	assert.NotContains(t, string(content), "aHVudGVyMg")
}

// TestSecretsThatWereChangedAreNotRead has one change each.
func TestSecretsThatWereChangedAreNotRead(t *testing.T) {
	annotation := func(name, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Annotations[name] = value }
	}
	former := func(content string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data["former.1"] = []byte(content) }
	}
	for name, c := range map[string]struct {
		change func(*corev1.Secret)
		want   string
	}{
		"type":                 {func(s *corev1.Secret) { s.Type = "Opaque" }, "no entry of the store: Secret acme/entry-nx2.paris.example.apps.qcdbqu1 is of type Opaque"},
		"name":                 {func(s *corev1.Secret) { s.Name = "entry-n2.paris.example.apps.db" }, "does not fit"},
		"foreign name":         {func(s *corev1.Secret) { s.Name = "db" }, "does not fit"},
		"cluster":              {annotation(store.AnnotationCluster, "paris"), "does not fit"},
		"namespace":            {annotation(store.AnnotationNamespace, ""), "does not fit"},
		"entry":                {annotation(store.AnnotationName, "db_1"), "does not fit"},
		"no annotations":       {func(s *corev1.Secret) { s.Annotations = nil }, "does not fit"},
		"type of the entry":    {annotation(store.AnnotationType, canary), "type is no type"},
		"raw with a SPIFFE ID": {annotation(store.AnnotationType, "raw"), "spiffeId is for entries of type workload only"},
		"no SPIFFE ID":         {annotation(store.AnnotationSPIFFEID, ""), "spiffeId is missing"},
		"date":                 {annotation(store.AnnotationNotBefore, canary), store.AnnotationNotBefore},
		"date of another form": {annotation(store.AnnotationExpirationDate, "2027-01-31T09:00:00.0Z"), store.AnnotationExpirationDate},
		"dates":                {annotation(store.AnnotationExpirationDate, "2027-01-31T08:00:00Z"), "is not before expirationDate"},
		"created":              {annotation(store.AnnotationCreated, ""), store.AnnotationCreated},
		"updated":              {annotation(store.AnnotationUpdated, ""), store.AnnotationUpdated},
		"version time":         {annotation(store.AnnotationVersionTime, ""), store.AnnotationVersionTime},
		"no version":           {annotation(store.AnnotationVersion, ""), store.AnnotationVersion},
		"version 0":            {annotation(store.AnnotationVersion, "0"), store.AnnotationVersion},
		"version +2":           {annotation(store.AnnotationVersion, "+2"), store.AnnotationVersion},
		"version too high":     {annotation(store.AnnotationVersion, "9007199254740992"), store.AnnotationVersion},
		"version of a former":  {annotation(store.AnnotationVersion, "1"), "former.1"},
		"metadata":             {annotation(store.AnnotationMetadata, canary), store.AnnotationMetadata},
		"metadata twice":       {annotation(store.AnnotationMetadata, `{"labels":{"a":"hunter2","a":"b"}}`), store.AnnotationMetadata},
		"metadata unknown":     {annotation(store.AnnotationMetadata, `{"hunter2":{}}`), store.AnnotationMetadata},
		"label":                {annotation(store.AnnotationMetadata, `{"labels":{"a":"hunter2 "}}`), "labels/a has a value that is no"},
		"text beside keys":     {func(s *corev1.Secret) { s.Data["value"] = []byte(canary) }, "that the store has not written"},
		"foreign key":          {func(s *corev1.Secret) { s.Data["password"] = []byte(canary) }, "key password"},
		"no key":               {func(s *corev1.Secret) { maps.DeleteFunc(s.Data, func(k string, _ []byte) bool { return k[0] == 'v' }) }, "key value"},
		"no data":              {func(s *corev1.Secret) { s.Data = nil }, "key value"},
		"empty key":            {func(s *corev1.Secret) { s.Data["value."] = []byte(canary) }, `value/"" is a key that`},
		"bytes":                {func(s *corev1.Secret) { s.Data["value.value"] = []byte("hunter2\xff") }, "is no UTF-8"},
		"former no JSON":       {former(canary), "former.1"},
		"former in other form": {former(`{"number": 1,"time":"2027-01-31T08:00:00Z","value":"hunter2"}`), "former.1"},
		"former number":        {former(`{"number":2,"time":"2027-01-31T08:00:00Z","value":"hunter2"}`), "former.1"},
		"former time":          {former(`{"number":1,"time":"hunter2","value":"hunter2"}`), "former.1"},
		"former value":         {former(`{"number":1,"time":"2027-01-31T08:00:00Z","value":5}`), "former.1"},
		"former value null":    {former(`{"number":1,"time":"2027-01-31T08:00:00Z","value":null}`), "former.1"},
		"former without value": {former(`{"number":1,"time":"2027-01-31T08:00:00Z"}`), "former.1"},
		"former key":           {func(s *corev1.Secret) { s.Data["former.01"] = s.Data["former.1"] }, "former.01"},
		"former 0": {func(s *corev1.Secret) {
			s.Data["former.0"] = []byte(`{"number":0,"time":"2027-01-31T08:00:00Z","value":"hunter2"}`)
		}, "former.0"},
		"former not before now": {func(s *corev1.Secret) {
			s.Data["former.2"] = []byte(`{"number":2,"time":"2027-01-31T08:00:00Z","value":"hunter2"}`)
		}, "former.2"},
	} {
		secret := full(t).Secret(nil)
		c.change(secret)
		r, err := store.Read(secret)
		require.ErrorContains(t, err, c.want, name)
		assert.NotContains(t, err.Error(), canary, name)
		assert.Zero(t, r, name)
	}
	secret := full(t).Secret(nil)
	secret.Type = corev1.SecretTypeOpaque
	_, err := store.Read(secret)
	require.ErrorIs(t, err, store.ErrNotAnEntry)

	secret = full(t).Secret(nil)
	secret.Labels = map[string]string{"x": "y"}
	secret.Annotations["note"] = "n"
	_, err = store.Read(secret)
	require.NoError(t, err, "labels decide nothing")
}

func TestWhatAFleetHandshakeMaySend(t *testing.T) {
	e := raw("new-" + canary)
	e.Metadata = store.Metadata{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"why": "x"}}
	e.NotBefore, e.ExpirationDate = now, now.Add(time.Hour)
	r := put(t, newRecord(t, "old-"+canary), e, now, 10)
	present := r.Secret(nil)
	present.UID, present.ResourceVersion = "u", "7"
	present.Annotations[corev1.LastAppliedConfigAnnotation] = canary
	before := present.DeepCopy()

	source, err := store.Source(present, now)
	require.NoError(t, err)
	assert.Equal(t, before, present)
	assert.Equal(t, &corev1.Secret{
		TypeMeta:   present.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Namespace: "t", Name: "entry-n1.c.n.s", UID: "u", ResourceVersion: "7", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"why": "x"}},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"value": []byte("new-" + canary)},
	}, source)
	sealed, err := bundle.Seal(source, nil, bundle.Terms{}, func() string { return "nonce" })
	require.NoError(t, err)
	assert.Equal(t, []string{"value"}, sealed.Keys)

	for at, want := range map[time.Time]string{now.Add(-1): "may not be used before 2027-01-31T08:00:00Z", now.Add(time.Hour): "has expired at 2027-01-31T09:00:00Z"} {
		_, err = store.Source(present, at)
		require.ErrorIs(t, err, store.ErrNotActive)
		require.ErrorContains(t, err, want)
	}

	present.Labels[v1alpha1.NeverSend] = "true"
	source, err = store.Source(present, now)
	require.NoError(t, err)
	assert.True(t, bundle.NeverSend(source), "the mark of an owner stays")

	for _, kind := range []store.Type{store.Kubernetes, store.Workload} {
		e := raw(canary)
		e.Type = kind
		if kind == store.Workload {
			e.SPIFFEID = "spiffe://example.org/web"
		}
		r, err := store.New(somewhere, e, now)
		require.NoError(t, err)
		_, err = store.Source(r.Secret(nil), now)
		require.ErrorIs(t, err, store.ErrNotSent)
		assert.NotContains(t, err.Error(), canary)
		_, err = bundle.Seal(r.Secret(nil), nil, bundle.Terms{}, func() string { return "nonce" })
		require.ErrorIs(t, err, bundle.ErrNeverSend)
	}
	_, err = store.Source(&corev1.Secret{Type: corev1.SecretTypeOpaque}, now)
	require.ErrorIs(t, err, store.ErrNotAnEntry)
}
