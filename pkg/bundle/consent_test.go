package bundle

import (
	"slices"
	"testing"
	"time"

	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func typed(kind corev1.SecretType, keys ...string) *corev1.Secret {
	s := opaque(map[string][]byte{})
	s.Type = kind
	for _, key := range keys {
		s.Data[key] = []byte("c4n4ry " + key)
	}
	return s
}

func TestSealSendsTheKeysThatMayTravel(t *testing.T) {
	for title, c := range map[string]struct {
		source *corev1.Secret
		keys   []string
		want   []string
		err    string
	}{
		"all of them":     {typed("Opaque", "a", "b"), nil, []string{"a", "b"}, ""},
		"all of none":     {typed("Opaque"), nil, nil, ""},
		"some of them":    {typed("Opaque", "a", "b", "c"), []string{"c", "a"}, []string{"a", "c"}, ""},
		"each of them":    {typed("Opaque", "a", "b"), []string{"a", "b"}, []string{"a", "b"}, ""},
		"some are there":  {typed("Opaque", "a", "b"), []string{"b", "c"}, []string{"b"}, ""},
		"to the letter":   {typed("Opaque", "a", "A", "ab"), []string{"A"}, []string{"A"}, ""},
		"none is there":   {typed("Opaque", "a", "b"), []string{"c", "d"}, nil, "no keys: it has none of the keys that its SecretGrant lets travel (c, d)"},
		"none of nothing": {typed("Opaque"), []string{"c"}, nil, "no keys: it has none of the keys that its SecretGrant lets travel (c)"},
		"no wildcard":     {typed("Opaque", "a"), []string{"*"}, nil, "no keys: it has none of the keys that its SecretGrant lets travel (*)"},
		"an empty key":    {typed("Opaque", "a"), []string{""}, nil, "no keys: it has none of the keys that its SecretGrant lets travel ()"},
		"a list of none":  {typed("Opaque", "a"), []string{}, nil, "no keys: it has none of the keys that its SecretGrant lets travel ()"},

		"what a certificate needs":        {typed(corev1.SecretTypeTLS, "tls.crt", "tls.key", "ca.crt"), []string{"tls.crt", "tls.key"}, []string{"tls.crt", "tls.key"}, ""},
		"a certificate without its key":   {typed(corev1.SecretTypeTLS, "tls.crt", "tls.key", "ca.crt"), []string{"tls.crt", "ca.crt"}, nil, "no keys: a Secret of type kubernetes.io/tls needs key tls.key, which its SecretGrant does not let travel"},
		"a key without its certificate":   {typed(corev1.SecretTypeTLS, "tls.crt", "tls.key"), []string{"tls.key"}, nil, "no keys: a Secret of type kubernetes.io/tls needs key tls.crt, which its SecretGrant does not let travel"},
		"what ssh needs":                  {typed(corev1.SecretTypeSSHAuth, "ssh-privatekey", "known_hosts"), []string{"ssh-privatekey"}, []string{"ssh-privatekey"}, ""},
		"ssh without its key":             {typed(corev1.SecretTypeSSHAuth, "ssh-privatekey", "known_hosts"), []string{"known_hosts"}, nil, "no keys: a Secret of type kubernetes.io/ssh-auth needs key ssh-privatekey, which its SecretGrant does not let travel"},
		"what a registry needs":           {typed(corev1.SecretTypeDockerConfigJson, ".dockerconfigjson", "x"), []string{".dockerconfigjson"}, []string{".dockerconfigjson"}, ""},
		"a registry without it":           {typed(corev1.SecretTypeDockerConfigJson, ".dockerconfigjson", "x"), []string{"x"}, nil, "no keys: a Secret of type kubernetes.io/dockerconfigjson needs key .dockerconfigjson, which its SecretGrant does not let travel"},
		"a registry of old without it":    {typed(corev1.SecretTypeDockercfg, ".dockercfg", "x"), []string{"x"}, nil, "no keys: a Secret of type kubernetes.io/dockercfg needs key .dockercfg, which its SecretGrant does not let travel"},
		"one of what a login needs":       {typed(corev1.SecretTypeBasicAuth, "username", "password"), []string{"username"}, []string{"username"}, ""},
		"a type of somebody else's":       {typed("example.com/x", "a", "b"), []string{"b"}, []string{"b"}, ""},
		"a type that needs all, and gets": {typed(corev1.SecretTypeTLS, "tls.crt", "tls.key"), nil, []string{"tls.crt", "tls.key"}, ""},
	} {
		t.Run(title, func(t *testing.T) {
			before := c.source.DeepCopy()
			sealed, err := Seal(c.source, nil, Terms{Keys: c.keys}, newNonce("n"))
			assert.True(t, assert.ObjectsAreEqual(before, c.source), "the source is changed")
			if c.err != "" {
				require.ErrorIs(t, err, ErrNoKeys)
				require.EqualError(t, err, c.err)
				assert.NotContains(t, err.Error(), "c4n4ry")
				assert.True(t, same(Sealed{}, sealed), "nothing is sealed")
				return
			}
			require.NoError(t, err)
			copied := renderChart(t, sealed)
			assert.Len(t, copied.Data, len(c.want))
			for _, key := range c.want {
				assert.Equal(t, "c4n4ry "+key, string(copied.Data[key]))
			}
			assert.Equal(t, c.source.Type, copied.Type)
		})
	}
}

func TestOtherKeysAreAnotherRevision(t *testing.T) {
	source := typed("Opaque", "a", "b", "c")
	seal := func(previous Sealed, keys ...string) Sealed {
		sealed, err := Seal(source, previous.Data, Terms{Keys: keys}, newNonce("n"+previous.Revision))
		require.NoError(t, err)
		return sealed
	}
	first := seal(Sealed{}, "a", "b")
	assert.True(t, same(first, seal(first, "b", "a")), "the order of the keys does not matter")
	assert.True(t, same(first, seal(first, "a", "b", "nothere")), "a key that is not there does not matter")
	less := seal(first, "a")
	assert.NotEqual(t, first.Revision, less.Revision)
	assert.NotContains(t, renderChart(t, less).Data, "b", "what may not travel any more is taken out")
	assert.NotEqual(t, less.Revision, seal(less).Revision)
	source.Data["c"] = []byte("two")
	assert.True(t, same(less, seal(less, "a")), "a key that does not travel does not count")
}

func TestSealRefusesWhatItsOwnerHasMarked(t *testing.T) {
	const mark = "fleethandshake.io/never-send"
	marked := func(label, annotation string) *corev1.Secret {
		s := typed("Opaque", "a")
		s.Labels, s.Annotations = map[string]string{"app": "shop"}, map[string]string{"app": "shop"}
		if label != "-" {
			s.Labels[mark] = label
		}
		if annotation != "-" {
			s.Annotations[mark] = annotation
		}
		return s
	}
	bootstrap, large, keyless := marked("true", "-"), marked("-", "true"), marked("true", "-")
	bootstrap.Type = corev1.SecretTypeBootstrapToken
	large.Data["a"] = make([]byte, MaxValues)
	keyless.Data = nil
	for title, source := range map[string]*corev1.Secret{
		"with a label":       marked("true", "-"),
		"with an annotation": marked("-", "true"),
		"with both":          marked("true", "true"),
		"with a label that the annotation denies":  marked("true", "false"),
		"with an annotation that the label denies": marked("false", "true"),
		"and it is of a type that is never sent":   bootstrap,
		"and it is too large":                      large,
		"and it has none of the keys":              keyless,
	} {
		t.Run(title, func(t *testing.T) {
			for _, previous := range []map[string][]byte{nil, sealOnce(t, typed("Opaque", "a"), "n1").Data} {
				sealed, err := Seal(source, previous, Terms{Keys: []string{"a"}, Replace: true}, newNonce("n2"))
				require.ErrorIs(t, err, ErrNeverSend)
				require.EqualError(t, err, "never to be sent: its owner has marked it with fleethandshake.io/never-send")
				assert.True(t, same(Sealed{}, sealed), "nothing is sealed")
			}
		})
	}
	for _, other := range []string{"-", "", "false", "True", "TRUE", "1", "yes", " true"} {
		_, err := Seal(marked(other, other), nil, Terms{}, newNonce("n"))
		require.NoError(t, err, "%q says nothing", other)
	}
	elsewhere := marked("-", "-")
	elsewhere.Labels["example.com/never-send"], elsewhere.Labels["never-send"], elsewhere.Data[mark] = "true", "true", []byte("true")
	_, err := Seal(elsewhere, nil, Terms{}, newNonce("n"))
	require.NoError(t, err, "another name says nothing")
}

// refuse: the Secret may not be sent to these clusters.
func refuse(names ...string) func(*story) {
	return func(s *story) {
		s.Refused = map[string]bool{}
		for _, name := range names {
			s.Refused[name] = true
		}
		s.Matched = slices.DeleteFunc(slices.Clone(s.Matched), func(c *fleet.Cluster) bool { return s.Refused[c.Name] })
	}
}

// revoke: the Secret may not be sent at all any more.
func revoke(s *story) {
	withdraw(s)
	s.Revoked, s.Withdraw, s.Matched = true, false, nil
}

// consent: the Secret may be sent again.
func consent(revision string, names ...string) func(*story) {
	return all(match(names...), rotate(revision), func(s *story) { s.Revoked, s.Refused = false, nil })
}

func TestAClusterThatMayNotHaveTheSecret(t *testing.T) {
	for title, steps := range map[string][]step{
		"it gets nothing": {
			{refuse("b"), "1: a"},
		},
		"it removes its copy": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "1: a | withdrawn b"},
			{nil, "1: a"},
		},
		"it does not answer in time": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2 | next 10m0s"},
			{later(10 * time.Minute), "1: a | unconfirmed b"},
		},
		"none of them may have it": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("a", "b")), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a", "b"), "1:  | withdrawn a, b | done"},
		},
		"it may have it again after it has removed its copy": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "1: a | withdrawn b"},
			{all(refuse(), match("a", "b")), "1: a, b 3"},
			{apply("b"), "1: a, b 3"},
		},
		"it may have it again before it has removed its copy: it removes it first": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2 | next 10m0s"},
			{all(refuse(), match("a", "b")), "1: a, b withdraw 2"},
			{apply("b"), "1: a, b 3"},
		},
		"it does not match any more either": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2 | next 10m0s"},
			{refuse(), "1: a, b withdraw 2 | next 10m0s"},
			{apply("b"), "1: a | withdrawn b"},
		},
		"paused, it keeps its copy until the pause ends": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b"), pause(true)), "1: a, b"},
			{later(time.Hour), "1: a, b"},
			{pause(false), "1: a, b withdraw 2 | next 10m0s"},
		},
		"paused, and it may have it again before the pause ends": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b"), pause(true)), "1: a, b"},
			{all(refuse(), match("a", "b")), "1: a, b"},
			{pause(false), "1: a, b"},
		},
		"the copies are to stay when the handshake goes, and yet it removes its own": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), refuse("b")), "1: a, b withdraw 2"},
			{later(time.Hour), "1: a, b withdraw 2"},
			{apply("b"), "1: a | withdrawn b"},
		},
		"a rotation meanwhile does not reach it": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), refuse("b"), rotate("r2")), "2: a, b withdraw 3 | next 10m0s"},
			{apply("b"), "2: a | withdrawn b"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestAClusterThatMayNotHaveTheSecretIsNotHeld(t *testing.T) {
	eight := []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}
	six := eight[:6]
	had := step{all(exist(six...), match(six...)), "1: c0, c1, c2, c3, c4, c5"}
	for title, steps := range map[string][]step{
		"more than half": {
			had,
			{all(apply(six...), refuse(six[1:]...)), "1: c0, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"all of them": {
			had,
			{all(apply(six...), refuse(six...)), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"the others of the same change are held": {
			had,
			{all(apply(six...), match("c0", "c5"), refuse("c5")), "1: c0, c1, c2, c3, c4, c5 withdraw 2 | held c1, c2, c3, c4 | next 10m0s"},
			{apply("c5"), "1: c0, c1, c2, c3, c4 | held c1, c2, c3, c4 | withdrawn c5"},
		},
		"one that is held": {
			had,
			{all(apply(six...), match("c0")), "1: c0, c1, c2, c3, c4, c5 | held c1, c2, c3, c4, c5"},
			{refuse("c1"), "1: c0, c1 withdraw 2, c2, c3, c4, c5 | held c2, c3, c4, c5 | next 10m0s"},
			{apply("c1"), "1: c0, c2, c3, c4, c5 | held c2, c3, c4, c5 | withdrawn c1"},
		},
		"it does not count for the change of the others": {
			had,
			{all(apply(six...), match("c0", "c1", "c2", "c4", "c5"), refuse("c4", "c5")), "1: c0, c1, c2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"it does not count for the next change": {
			{all(exist(eight...), match(eight...)), "1: c0, c1, c2, c3, c4, c5, c6, c7"},
			{all(apply(eight...), refuse("c4", "c5", "c6", "c7")), "1: c0, c1, c2, c3, c4 withdraw 2, c5 withdraw 2, c6 withdraw 2, c7 withdraw 2 | next 10m0s"},
			{apply("c4", "c5", "c6", "c7"), "1: c0, c1, c2, c3 | withdrawn c4, c5, c6, c7"},
			{match("c0", "c1", "c2"), "1: c0, c1, c2, c3 withdraw 3 | next 10m0s"},
		},
		"the former revision is pushed out, though one that may not have the new one has not got it": {
			had,
			{all(apply(six...), match("c0")), "1: c0, c1, c2, c3, c4, c5 | held c1, c2, c3, c4, c5"},
			{rotate("r2"), "2: c0, c1, c2, c3, c4, c5 | held c1, c2, c3, c4, c5"},
			{all(apply(six[:5]...), later(time.Minute)), "2: c0, c1, c2, c3, c4, c5 | held c1, c2, c3, c4, c5"},
			{refuse("c5"), "3: c0, c1, c2, c3, c4, c5 withdraw 4 | held c1, c2, c3, c4 | next 10m0s"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestConsentIsTakenBack(t *testing.T) {
	six := []string{"c0", "c1", "c2", "c3", "c4", "c5"}
	for title, steps := range map[string][]step{
		"all remove their copy, and it is done when the last has": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), revoke), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a"), "1: b withdraw 2 | withdrawn a | next 10m0s"},
			{apply("b"), "1:  | withdrawn b | done"},
		},
		"nothing was sent yet": {
			{revoke, "1:  | done"},
		},
		"those that match get nothing, whatever else the request says": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), func(s *story) { s.Revoked = true }), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(exist("a", "b", "c"), match("a", "b", "c")), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
		},
		"more than the threshold may go": {
			{all(exist(six...), match(six...)), "1: c0, c1, c2, c3, c4, c5"},
			{all(apply(six...), revoke), "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"those that were held go too": {
			{all(exist(six...), match(six...)), "1: c0, c1, c2, c3, c4, c5"},
			{all(apply(six...), match("c0")), "1: c0, c1, c2, c3, c4, c5 | held c1, c2, c3, c4, c5"},
			{revoke, "1: c0 withdraw 2, c1 withdraw 2, c2 withdraw 2, c3 withdraw 2, c4 withdraw 2, c5 withdraw 2 | next 10m0s"},
		},
		"a pause does not hold it back": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), pause(true)), "1: a, b"},
			{revoke, "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), later(10*time.Minute)), "1:  | withdrawn a | unconfirmed b | done"},
		},
		"one that was told before the pause has the whole time to confirm": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), match("a")), "1: a, b withdraw 2 | next 10m0s"},
			{all(later(time.Minute), pause(true)), "1: a, b withdraw 2"},
			{all(later(time.Hour), revoke), "1: a withdraw 3, b withdraw 2 | next 10m0s"},
			{apply("a", "b"), "1:  | withdrawn a, b | done"},
		},
		"it is given again while the copies are being removed": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), revoke), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), consent("r2", "a", "b")), "3: a 4, b withdraw 2"},
			{apply("a", "b"), "3: a 4, b 5"},
		},
		"it is given again, and the pause goes on": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), pause(true), revoke), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), consent("r2", "a", "b")), "3: a withdraw 2, b withdraw 2"},
			{pause(false), "3: a 4, b withdraw 2"},
		},
		"it is given again for one cluster": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), revoke), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(apply("a"), consent("r2", "a"), refuse("b")), "3: a 4, b withdraw 2 | next 10m0s"},
		},
		"the handshake is deleted then": {
			{pause(true), "1: a, b"},
			{all(apply("a", "b"), revoke), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{all(later(time.Minute), remove), "1: a withdraw 2, b withdraw 2 | next 10m0s"},
			{apply("a", "b"), "1:  | withdrawn a, b | done"},
		},
		"the copies were to stay when the handshake goes": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), revoke), "2: a withdraw 3, b withdraw 3 | next 10m0s"},
			{all(later(time.Minute), remove), "2: a withdraw 3, b withdraw 3 | next 10m0s"},
			{apply("a", "b"), "2:  | withdrawn a, b | done"},
		},
		"the copies were to stay, and the handshake goes first": {
			{retain, "1: a, b"},
			{all(apply("a", "b"), remove, revoke), "2: a withdraw 3, b withdraw 3 | next 10m0s"},
			{apply("a", "b"), "2:  | withdrawn a, b | done"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestTheBundleIsNotPausedWhileConsentIsTakenBack(t *testing.T) {
	s := newStory("a", "b")
	pause(true)(s)
	s.render(t)
	assert.True(t, s.Current.Spec.Paused)
	refuse("b")(s)
	s.render(t)
	assert.True(t, s.Current.Spec.Paused, "the others wait for the end of the pause")
	all(apply("a", "b"), revoke)(s)
	s.render(t)
	assert.False(t, s.Current.Spec.Paused, "no agent would hear of it")
	consent("r2", "a", "b")(s)
	s.render(t)
	assert.True(t, s.Current.Spec.Paused, "the pause goes on")
}

func TestSealRefusesWhatHelmDoesNotCarry(t *testing.T) {
	with := func(change func(*corev1.Secret)) *corev1.Secret {
		s := opaque(map[string][]byte{"password": {0x7f, 0x80}})
		change(s)
		return s
	}
	for title, c := range map[string]struct {
		source *corev1.Secret
		want   error
	}{
		"data is bytes":                          {with(func(*corev1.Secret) {}), nil},
		"a line break in an annotation":          {with(func(s *corev1.Secret) { s.Annotations = map[string]string{"a": "b\nc\t"} }), nil},
		"a control character in an annotation":   {with(func(s *corev1.Secret) { s.Annotations = map[string]string{"a": "b\u0085"} }), ErrUnsupportedMetadata},
		"one in an annotation that stays behind": {with(func(s *corev1.Secret) { s.Annotations = map[string]string{"helm.sh/x": "b\u0085"} }), nil},
		"a byte order mark in a label":           {with(func(s *corev1.Secret) { s.Labels = map[string]string{"a": "\ufeff"} }), ErrUnsupportedMetadata},
		"a control character in the type":        {with(func(s *corev1.Secret) { s.Type = "x\u007f" }), ErrUnsupportedType},
		"a type that Fleet replaces":             {with(func(s *corev1.Secret) { s.Type = "global.fleet.clusterLabels.env" }), ErrUnsupportedType},
	} {
		t.Run(title, func(t *testing.T) {
			_, err := Seal(c.source, nil, Terms{}, newNonce("n"))
			require.ErrorIs(t, err, c.want)
		})
	}
}
