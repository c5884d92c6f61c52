package source

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maker is a source with the UID "mine".
func maker(policy v1alpha1.SourceConflictPolicy) *v1alpha1.VaultSecret {
	src := &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", UID: "mine"}}
	src.Spec.ConflictPolicy = policy
	return src
}

// there is a Secret with records and an owner; both may be empty.
func there(records, owner string, change ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", UID: "secret", ResourceVersion: "1"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	if records != "" {
		s.Annotations = map[string]string{v1alpha1.AnnotationSources: records}
	}
	if owner != "" {
		s.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(owner)}}
	}
	for _, c := range change {
		c(s)
	}
	return s
}

const (
	mine   = `{"VaultSecret/app":{"uid":"mine","paths":[{"path":"secret/a","version":1,"keys":["user"]}]}}`
	theirs = `{"VaultSecret/b":{"uid":"theirs","paths":[{"path":"secret/b","keys":["port"]}]}}`
	both   = `{"VaultSecret/app":{"uid":"mine","paths":[{"path":"secret/a","version":1,"keys":["user"]}]},"VaultSecret/b":{"uid":"theirs","paths":[{"path":"secret/b","keys":["port"]}]}}`
	former = `{"VaultSecret/app":{"uid":"former","paths":[{"path":"secret/a","keys":["user"]}]}}`
)

func TestClaims(t *testing.T) {
	const fail, adopt, merge = v1alpha1.SourceConflictFail, v1alpha1.SourceConflictAdopt, v1alpha1.SourceConflictMerge
	held := func(s *corev1.Secret) {
		s.DeletionTimestamp, s.Finalizers = &metav1.Time{Time: begin}, []string{"a.b/c"}
	}
	handshake := func(s *corev1.Secret) { s.Labels = map[string]string{v1alpha1.LabelHandshake: "uid"} }
	for name, c := range map[string]struct {
		live   *corev1.Secret
		policy v1alpha1.SourceConflictPolicy
		gone   bool
		want   string
	}{
		"no Secret is in nobody's way":                     {nil, fail, false, ""},
		"its own Secret":                                   {there(mine, "mine"), fail, false, ""},
		"a Secret that it owns, without its record":        {there("", "mine"), fail, false, ""},
		"a foreign Secret":                                 {there("", ""), fail, false, "is there and was not made by this object"},
		"a foreign Secret is adopted":                      {there("", ""), adopt, false, ""},
		"a foreign Secret is merged into":                  {there("", ""), merge, false, ""},
		"that of a former object of its name":              {there(former, "former"), fail, false, "is there and was not made by this object"},
		"that of another source is not adopted":            {there(theirs, "theirs"), adopt, false, "is made by VaultSecret/b"},
		"that of another source that is gone":              {there(theirs, "theirs"), adopt, true, ""},
		"that of another source that does not merge":       {there(theirs, "theirs"), merge, false, "is made by VaultSecret/b"},
		"that of another source that merges":               {there(theirs, ""), merge, false, ""},
		"that of another source that merges, without ours": {there(theirs, ""), fail, false, "is made by VaultSecret/b"},
		"two that merge":                                   {there(both, ""), merge, false, ""},
		"one that does not merge any more":                 {there(both, ""), fail, false, "is made by VaultSecret/b"},
		"one that is being deleted":                        {there(mine, "mine", held), fail, false, "is being deleted, and a finalizer holds it: a.b/c"},
		"that of a FleetHandshake is not adopted":          {there("", "", handshake), adopt, false, "carries the values of a FleetHandshake"},
		"records that cannot be read are nobody's":         {there("{", ""), adopt, false, ""},
		"a record that is null is nobody's":                {there(`{"VaultSecret/b":null}`, ""), adopt, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			problem := claim(c.live, "VaultSecret", maker(c.policy), func(string, types.UID) bool { return !c.gone })
			if c.want == "" {
				assert.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, v1alpha1.ReasonSecretConflict, problem.Reason)
			assert.True(t, problem.Final)
			assert.Contains(t, problem.Message, "Secret team/app "+c.want)
		})
	}
}

func contentOf(data map[string]string) Content {
	c := Content{Type: corev1.SecretTypeOpaque, Data: bytesOf(data), Keys: map[string]Origin{}}
	for key := range data {
		c.Keys[key] = Origin{Path: "secret/a", Version: 1}
	}
	return c
}

func TestBuild(t *testing.T) {
	const fail, merge = v1alpha1.SourceConflictFail, v1alpha1.SourceConflictMerge
	holding := func(data map[string]string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data = bytesOf(data) }
	}
	for name, c := range map[string]struct {
		live     *corev1.Secret
		policy   v1alpha1.SourceConflictPolicy
		content  Content
		data     map[string]string
		records  string
		owners   []types.UID
		recreate bool
		problem  string
	}{
		"a new Secret is owned": {
			content: contentOf(map[string]string{"user": "anna"}),
			data:    map[string]string{"user": "anna"}, records: mine, owners: []types.UID{"mine"},
		},
		"a Secret of its own has no other keys, owners or records": {
			live: there(theirs, "theirs", holding(map[string]string{"port": "1"})), policy: v1alpha1.SourceConflictAdopt, content: contentOf(map[string]string{"user": "anna"}),
			data: map[string]string{"user": "anna"}, records: mine, owners: []types.UID{"mine"},
		},
		"a merged Secret keeps what others have put there": {
			live: there(theirs, "", holding(map[string]string{"port": "1", "x": "y"})), policy: merge, content: contentOf(map[string]string{"user": "anna"}),
			data: map[string]string{"port": "1", "x": "y", "user": "anna"}, records: both,
		},
		"a new merged Secret is owned by nobody": {
			policy: merge, content: contentOf(map[string]string{"user": "anna"}), data: map[string]string{"user": "anna"}, records: mine,
		},
		"keys that are not there any more go": {
			live: there(mine, "", holding(map[string]string{"user": "anna", "x": "y"})), policy: merge, content: contentOf(nil),
			data: map[string]string{"x": "y"}, records: `{"VaultSecret/app":{"uid":"mine"}}`,
		},
		"a foreign key is not overwritten": {
			live: there("", "", holding(map[string]string{"user": "mallory"})), policy: merge, content: contentOf(map[string]string{"user": "anna"}),
			problem: v1alpha1.ReasonSecretConflict,
		},
		"it stops to merge": {
			live: there(mine, "", holding(map[string]string{"user": "anna", "x": "y"})), policy: fail, content: contentOf(map[string]string{"user": "anna"}),
			data: map[string]string{"user": "anna"}, records: mine, owners: []types.UID{"mine"},
		},
		"it begins to merge": {
			live: there(mine, "mine", holding(map[string]string{"user": "anna"})), policy: merge, content: contentOf(map[string]string{"user": "anna"}),
			data: map[string]string{"user": "anna"}, records: mine, owners: []types.UID{},
		},
		"the same content keeps data, type and records": {
			live: there(mine, "mine", holding(map[string]string{"user": "anna"})), policy: fail, content: Content{Same: true},
			data: map[string]string{"user": "anna"}, records: mine, owners: []types.UID{"mine"},
		},
		"another type needs another Secret": {
			live: there(mine, "mine", holding(map[string]string{"user": "anna"}), func(s *corev1.Secret) { s.Type = "example.com/x" }), policy: fail, content: contentOf(map[string]string{"user": "anna"}),
			data: map[string]string{"user": "anna"}, records: mine, owners: []types.UID{"mine"}, recreate: true,
		},
		"another type is not merged": {
			live: there("", "", func(s *corev1.Secret) { s.Type = "example.com/x" }), policy: merge, content: contentOf(map[string]string{"user": "anna"}),
			problem: v1alpha1.ReasonSecretConflict,
		},
		"what is too large is not written": {
			content: contentOf(map[string]string{"user": strings.Repeat("x", 1<<20+1)}), problem: v1alpha1.ReasonTooLarge,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before *corev1.Secret
			if c.live != nil {
				before = c.live.DeepCopy()
			}
			secret, recreate, problem := build(c.live, "VaultSecret", maker(c.policy), c.content)
			assert.Equal(t, before, c.live, "what is cached is not changed")
			if c.problem != "" {
				require.NotNil(t, problem)
				assert.Equal(t, c.problem, problem.Reason)
				assert.NotContains(t, problem.Message, "anna")
				return
			}
			require.Nil(t, problem)
			assert.Equal(t, c.recreate, recreate)
			assert.Equal(t, bytesOf(c.data), secret.Data)
			assert.JSONEq(t, c.records, secret.Annotations[v1alpha1.AnnotationSources])
			var owners []types.UID
			for _, o := range secret.OwnerReferences {
				owners = append(owners, o.UID)
			}
			assert.ElementsMatch(t, c.owners, owners)
			if recreate {
				assert.Empty(t, secret.ResourceVersion)
				assert.Empty(t, secret.UID)
			}
		})
	}
}

func TestLabelsAndAnnotationsThatASourceHasSetGoWithItsSpec(t *testing.T) {
	src := maker("")
	src.Spec.Labels, src.Spec.Annotations = map[string]string{"a": "1"}, map[string]string{"b": "2"}
	first, _, problem := build(there("", "mine", func(s *corev1.Secret) { s.Labels = map[string]string{"foreign": "x"} }), "VaultSecret", src, contentOf(nil))
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"foreign": "x", "a": "1"}, first.Labels)
	assert.Equal(t, "2", first.Annotations["b"])

	src.Spec.Labels, src.Spec.Annotations = map[string]string{"c": "3"}, nil
	second, _, problem := build(first, "VaultSecret", src, contentOf(nil))
	require.Nil(t, problem)
	assert.Equal(t, map[string]string{"foreign": "x", "c": "3"}, second.Labels)
	assert.NotContains(t, second.Annotations, "b")
}

func TestWhatIsUntouched(t *testing.T) {
	set := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	by := func(manager string, keys ...string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.ManagedFields = append(s.ManagedFields, managedBy(manager, keys...)) }
	}
	unreadable := func(s *corev1.Secret) {
		s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x", FieldsV1: metav1.NewFieldsV1("{")}}
	}
	label := func(value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Labels = map[string]string{"team": value} }
	}
	user := set("user", "anna")
	for name, c := range map[string]struct {
		live              *corev1.Secret
		merge             bool
		intact, untouched bool
	}{
		"as it was written":                      {there(mine, "mine", user, label("a"), by(manager, "user")), false, true, true},
		"no record":                              {there("", "mine", user, label("a")), false, false, false},
		"the record of a former object":          {there(former, "mine", user, label("a")), false, false, false},
		"a key is gone":                          {there(mine, "mine", label("a")), false, false, false},
		"somebody else has set a key":            {there(mine, "mine", user, label("a"), by("kubectl-edit", "user")), false, false, false},
		"what cannot be read counts as an edit":  {there(mine, "mine", user, label("a"), unreadable), false, false, false},
		"a key too many":                         {there(mine, "mine", user, label("a"), set("x", "y"), by("kubectl-edit", "x")), false, true, false},
		"a key too many does not matter, merged": {there(mine, "", user, label("a"), set("x", "y"), by("kubectl-edit", "x")), true, true, true},
		"another label":                          {there(mine, "mine", user, label("b")), false, true, false},
		"no owner":                               {there(mine, "", user, label("a")), false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			src := maker("")
			if c.merge {
				src = maker(v1alpha1.SourceConflictMerge)
			}
			src.Spec.Labels = map[string]string{"team": "a"}
			assert.Equal(t, c.intact, intact(c.live, "VaultSecret", src))
			assert.Equal(t, c.untouched, untouched(c.live, "VaultSecret", src))
		})
	}
}

func TestWithoutASource(t *testing.T) {
	data := func(data map[string]string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data = bytesOf(data) }
	}
	for name, c := range map[string]struct {
		live    *corev1.Secret
		data    map[string]string
		records string
		nothing bool
	}{
		"another source stays": {there(both, "", data(map[string]string{"user": "anna", "port": "1"})), map[string]string{"port": "1"}, theirs, false},
		"foreign keys stay":    {there(mine, "", data(map[string]string{"user": "anna", "x": "y"})), map[string]string{"x": "y"}, "", false},
		"nothing is left":      {there(mine, "", data(map[string]string{"user": "anna"})), nil, "", true},
		"another source without keys stays": {
			there(`{"VaultSecret/app":{"uid":"mine","paths":[{"keys":["user"]}]},"VaultSecret/b":{"uid":"theirs"}}`, "", data(map[string]string{"user": "anna"})),
			map[string]string{}, `{"VaultSecret/b":{"uid":"theirs"}}`, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rest := withoutSource(c.live, "VaultSecret", maker(v1alpha1.SourceConflictMerge))
			if c.nothing {
				assert.Nil(t, rest)
				return
			}
			assert.Equal(t, bytesOf(c.data), rest.Data)
			if c.records == "" {
				assert.NotContains(t, rest.Annotations, v1alpha1.AnnotationSources)
				return
			}
			assert.JSONEq(t, c.records, rest.Annotations[v1alpha1.AnnotationSources])
		})
	}
}

func TestWhatTheAPIServerWouldRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Secret)
		want   string
	}{
		"an ordinary Secret":             {func(*corev1.Secret) {}, ""},
		"the type of Fleet's own":        {func(s *corev1.Secret) { s.Type = "fleet.cattle.io/bundle-helmops" }, v1alpha1.ReasonInvalidSpec},
		"a token of a service account":   {func(s *corev1.Secret) { s.Type = corev1.SecretTypeServiceAccountToken }, v1alpha1.ReasonInvalidSpec},
		"a token that lets nodes in":     {func(s *corev1.Secret) { s.Type = corev1.SecretTypeBootstrapToken }, v1alpha1.ReasonInvalidSpec},
		"a release of Helm":              {func(s *corev1.Secret) { s.Type = "helm.sh/release.v1" }, v1alpha1.ReasonInvalidSpec},
		"a token of Vault":               {func(s *corev1.Secret) { s.Type = "fleethandshake.io/vault-token" }, v1alpha1.ReasonInvalidSpec},
		"the label of a FleetHandshake":  {func(s *corev1.Secret) { s.Labels = map[string]string{v1alpha1.LabelHandshake: "x"} }, v1alpha1.ReasonInvalidSpec},
		"a label with a space":           {func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b c"} }, v1alpha1.ReasonInvalidSpec},
		"an annotation without a name":   {func(s *corev1.Secret) { s.Annotations = map[string]string{"": "b"} }, v1alpha1.ReasonInvalidSpec},
		"annotations that are too large": {func(s *corev1.Secret) { s.Annotations = map[string]string{"a": strings.Repeat("x", 256<<10)} }, v1alpha1.ReasonInvalidSpec},
		"the largest Secret":             {func(s *corev1.Secret) { s.Data["a"] = make([]byte, 1<<20) }, ""},
		"a larger one":                   {func(s *corev1.Secret) { s.Data["a"], s.Data["b"] = make([]byte, 1<<20), []byte("x") }, v1alpha1.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			problem := invalid(there("", "", c.change))
			if c.want == "" {
				assert.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, c.want, problem.Reason)
		})
	}
}

func TestRecordsThatDoNotFitAreAProblem(t *testing.T) {
	all := map[string]*record{"VaultSecret/app": {UID: "mine", State: json.RawMessage(`"` + strings.Repeat("x", 200<<10) + `"`)}}
	problem := keepRecords(there("", ""), all)
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonTooLarge, problem.Reason)
}
