package vsecmsource

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type spec = v1alpha1.VSecMSecretSpec

func from(pairs ...string) map[string]source.Origin {
	out := map[string]source.Origin{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = source.Origin{Path: pairs[i+1]}
	}
	return out
}

func bytesOf(pairs ...string) map[string][]byte {
	out := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = []byte(pairs[i+1])
	}
	return out
}

func TestItems(t *testing.T) {
	vs := &v1alpha1.VSecMSecret{Spec: spec{
		Data:        dataOf("user", "db.user", "password", `db.pass\.word`),
		DataFrom:    []v1alpha1.VSecMObject{{Ref: "more", Prefix: "more-"}, {Ref: "db.all"}},
		Labels:      metadataOf("app", "db.app"),
		Annotations: metadataOf("note", "db.note"),
	}}
	items, problem := itemsOf(vs)
	require.Nil(t, problem)
	var got []string
	for _, i := range items {
		got = append(got, fmt.Sprintf("%d %s %s = %s %q", i.place, i.field, i.key, i.ref.Name, i.ref.Path))
	}
	assert.Equal(t, []string{
		`1 spec.dataFrom[0].ref more- = more []`,
		`1 spec.dataFrom[1].ref  = db ["all"]`,
		`0 spec.data[0].ref user = db ["user"]`,
		`0 spec.data[1].ref password = db ["pass.word"]`,
		`2 spec.labels[0].ref app = db ["app"]`,
		`3 spec.annotations[0].ref note = db ["note"]`,
	}, got, "dataFrom is first, so that data wins")
}

func TestRefsThatAreNone(t *testing.T) {
	const intoRaw = `leads into a value, and secretType raw takes values as they are: write the name of the secret alone, or secretType: k8s`
	for name, c := range map[string]struct {
		spec spec
		want string
	}{
		"an empty name":             {spec{Data: dataOf("a", "db.a", "b", "db..b")}, `spec.data[1].ref: ref "db..b" has an empty name: write the name of the secret, and the names on the way to the value, with one dot between`},
		"a backslash":               {spec{DataFrom: []v1alpha1.VSecMObject{{Ref: `d\b`}}}, `spec.dataFrom[0].ref: ref "d\\b" has a backslash that is not before a dot or another backslash: write \\ for a backslash`},
		"into a raw secret":         {spec{SecretType: v1alpha1.VSecMRaw, Data: dataOf("a", "db", "b", "db.b")}, `spec.data[1].ref: ref "db.b" ` + intoRaw},
		"a label from a raw secret": {spec{SecretType: v1alpha1.VSecMRaw, Labels: metadataOf("app", "db.b")}, `spec.labels[0].ref: ref "db.b" ` + intoRaw},
		"the first one is told":     {spec{Data: dataOf("a", "."), Annotations: metadataOf("note", ".x")}, `spec.data[0].ref: ref "." has an empty name: write the name of the secret, and the names on the way to the value, with one dot between`},
		"an annotation":             {spec{Annotations: metadataOf("note", ".x")}, `spec.annotations[0].ref: ref ".x" has an empty name: write the name of the secret, and the names on the way to the value, with one dot between`},
	} {
		t.Run(name, func(t *testing.T) {
			_, problem := itemsOf(&v1alpha1.VSecMSecret{Spec: c.spec})
			assert.Equal(t, &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: c.want}, problem)
		})
	}
	_, problem := itemsOf(&v1alpha1.VSecMSecret{Spec: spec{SecretType: v1alpha1.VSecMRaw, Data: dataOf("a", `d\.b`)}})
	assert.Nil(t, problem, "a dot in a name leads nowhere")
}

// held is a secret of Safe with dates around now: from and until so much later.
func held(value string, dates ...time.Duration) lookup {
	s := vsecm.Secret{Value: value, Dated: true}
	if len(dates) > 0 && dates[0] != 0 {
		s.NotBefore = now.Add(dates[0])
	}
	if len(dates) > 1 {
		s.ExpiresAfter = now.Add(dates[1])
	}
	return lookup{secret: s}
}

func gone(name string) lookup { return lookup{missing: "there is no raw secret " + name} }

func TestMake(t *testing.T) {
	const (
		keep, remove, fail = v1alpha1.OnMissingKeep, v1alpha1.OnMissingRemove, v1alpha1.OnMissingFail
		stays              = "; what came from there stays as it is: write it in Safe, correct the ref, or say onMissing: Remove"
		asItIs             = "; the Secret is left as it is"
		correct            = ": correct the ref, or the secret in Safe"
		withdrawn          = ", and what came from it is withdrawn: write it anew in Safe with a later date"
	)
	all := func(ref, prefix string) v1alpha1.VSecMObject { return v1alpha1.VSecMObject{Ref: ref, Prefix: prefix} }
	before := func(pairs ...string) source.Want { // key, value, ref
		w := source.Want{Data: map[string][]byte{}, Keys: map[string]source.Origin{}}
		for i := 0; i < len(pairs); i += 3 {
			w.Data[pairs[i]], w.Keys[pairs[i]] = []byte(pairs[i+1]), source.Origin{Path: pairs[i+2]}
		}
		return w
	}
	marked := func(labels, annotations map[string]string) source.Want {
		w := before()
		w.Metadata = source.Metadata{Labels: labels, Annotations: annotations}
		return w
	}
	db := held(`{"user":"anna","port":5432,"tls":{"a.b":"x","n":null,"list":[1, 2]},"big":12345678901234567890,"":"e"}`)
	for name, c := range map[string]struct {
		spec  spec
		found map[string]lookup
		want  source.Want

		data        map[string][]byte
		keys        map[string]source.Origin
		labels      map[string]string
		annotations map[string]string
		leftOut     []string
		says        string // the problem beside the content
		heals       bool
		fails       string // the problem in the place of content
	}{
		"single values": {
			spec:  spec{Data: dataOf("user", "db.user", "port", "db.port", "big", "db.big", "x", `db.tls.a\.b`, "null", "db.tls.n", "list", "db.tls.list")},
			found: map[string]lookup{"db": db},
			data:  bytesOf("user", "anna", "port", "5432", "big", "12345678901234567890", "x", "x", "null", "null", "list", "[1,2]"),
			keys:  from("user", "db.user", "port", "db.port", "big", "db.big", "x", `db.tls.a\.b`, "null", "db.tls.n", "list", "db.tls.list"),
		},
		"a whole secret is not changed": {
			spec: spec{Data: dataOf("all", "db")}, found: map[string]lookup{"db": held(` { "a" : 1 } `)},
			data: bytesOf("all", ` { "a" : 1 } `), keys: from("all", "db"),
		},
		"a raw secret is not read": {
			spec: spec{SecretType: v1alpha1.VSecMRaw, Data: dataOf("all", "db"), DataFrom: []v1alpha1.VSecMObject{all("db", "x-")}}, found: map[string]lookup{"db": held(`{"a":1}`)},
			data: bytesOf("all", `{"a":1}`, "x-VALUE", `{"a":1}`), keys: from("all", "db", "x-VALUE", "db"),
		},
		"the secret of a workload is read": {
			spec: spec{SecretType: v1alpha1.VSecMWorkload, Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": db},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
		},
		"all values of an object": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("db.tls", "tls-")}}, found: map[string]lookup{"db": db},
			data: bytesOf("tls-a.b", "x", "tls-n", "null", "tls-list", "[1,2]"), keys: from("tls-a.b", `db.tls.a\.b`, "tls-n", "db.tls.n", "tls-list", "db.tls.list"),
		},
		"what is no object has one key": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("text", ""), all("db.port", "port-"), all("db.tls.list", "list-"), all("db.tls.n", "n-")}}, found: map[string]lookup{"db": db, "text": held("no JSON")},
			data: bytesOf("VALUE", "no JSON", "port-VALUE", "5432", "list-VALUE", "[1,2]", "n-VALUE", "null"), keys: from("VALUE", "text", "port-VALUE", "db.port", "list-VALUE", "db.tls.list", "n-VALUE", "db.tls.n"),
		},
		"an empty object has no keys": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("db", "")}}, found: map[string]lookup{"db": held("{}")},
			data: bytesOf(), keys: from(),
		},
		"data wins": {
			spec: spec{Data: dataOf("user", "other.user"), DataFrom: []v1alpha1.VSecMObject{all("db", "")}}, found: map[string]lookup{"db": held(`{"user":"anna","port":1}`), "other": held(`{"user":"berta"}`)},
			data: bytesOf("user", "berta", "port", "1"), keys: from("user", "other.user", "port", "db.port"),
		},
		"two objects have the same key": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("a", ""), all("b", "")}}, found: map[string]lookup{"a": held(`{"x":"hunter2","y":1}`), "b": held(`{"x":"hunter2"}`)},
			fails: "KeyCollision: key x comes from a.x and from b.x: give one of them another prefix in spec.dataFrom",
		},
		"two texts have the same key": {
			spec: spec{SecretType: v1alpha1.VSecMRaw, DataFrom: []v1alpha1.VSecMObject{all("a", ""), all("b", "")}}, found: map[string]lookup{"a": held("hunter2"), "b": held("hunter2")},
			fails: "KeyCollision: key VALUE comes from a and from b: give one of them another prefix in spec.dataFrom",
		},
		"keys that a Secret cannot have are left out": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("db", "p")}}, found: map[string]lookup{"db": held(`{"ü":"hunter2","a b":"hunter2","x/":"hunter2","":"1","c d":"hunter2","ok":"1"}`)},
			data: bytesOf("p", "1", "pok", "1"), keys: from("p", "db.", "pok", "db.ok"), leftOut: []string{"pa b", "pc d", "px/", "pü"},
		},
		"labels and annotations": {
			spec:  spec{Data: dataOf("user", "db.user"), Labels: metadataOf("app", "db.user", "port", "db.port"), Annotations: metadataOf("note", "db.tls.list")},
			found: map[string]lookup{"db": db}, data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			labels: map[string]string{"app": "anna", "port": "5432"}, annotations: map[string]string{"note": "[1,2]"},
		},
		"a way through a text": {
			spec: spec{Data: dataOf("x", "db.user.x")}, found: map[string]lookup{"db": db},
			fails: "InvalidValue: spec.data[0].ref: ref db.user.x: db.user is a text, and a ref leads through objects only" + correct,
		},
		"a way into what is no JSON": {
			spec: spec{Labels: metadataOf("x", "db.user")}, found: map[string]lookup{"db": held(`{"user":"hunter2"`)},
			fails: "InvalidValue: spec.labels[0].ref: ref db.user: the value of secret db is no JSON: only its name alone can be a ref" + correct,
		},
		"all of a way into what is no JSON": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("db.x", "")}}, found: map[string]lookup{"db": held("hunter2")},
			fails: "InvalidValue: spec.dataFrom[0].ref: ref db.x: the value of secret db is no JSON: only its name alone can be a ref" + correct,
		},

		"missing: its key stays": {
			spec: spec{Data: dataOf("user", "db.user", "old", "gone.x"), OnMissing: keep}, found: map[string]lookup{"db": db, "gone": gone("gone")}, want: before("old", "former", "gone.x", "other", "former", "gone.y"),
			data: bytesOf("user", "anna", "old", "former"), keys: from("user", "db.user", "old", "gone.x"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing in the JSON: its key stays, by default": {
			spec: spec{Data: dataOf("user", "db.user", "old", "db.x")}, found: map[string]lookup{"db": held(`{"user":"anna"}`)}, want: before("old", "former", "db.x"),
			data: bytesOf("user", "anna", "old", "former"), keys: from("user", "db.user", "old", "db.x"),
			says: "PathMissing: ref db.x: secret db has no x: it has user" + stays,
		},
		"missing: what came from elsewhere does not stay": {
			spec: spec{Data: dataOf("user", "db.user", "old", "gone.x"), OnMissing: keep}, found: map[string]lookup{"db": db, "gone": gone("gone")}, want: before("old", "former", "other.x"),
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: a key that somebody has deleted is not made of nothing": {
			spec: spec{Data: dataOf("user", "db.user", "old", "gone.x")}, found: map[string]lookup{"db": db, "gone": gone("gone")}, want: source.Want{Data: bytesOf(), Keys: from("old", "gone.x")},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: keys of an object stay": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("gone", "p-")}}, found: map[string]lookup{"gone": gone("gone")}, want: before("p-a", "1", "gone.a", "p-b", "2", `gone.b`, "q-c", "3", "gone.c", "p-d", "4", "gone.e", "p-VALUE", "5", "gone"),
			data: bytesOf("p-a", "1", "p-b", "2", "p-VALUE", "5"), keys: from("p-a", "gone.a", "p-b", "gone.b", "p-VALUE", "gone"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: a new value takes the place of one that stayed": {
			spec: spec{Data: dataOf("user", "db.user"), DataFrom: []v1alpha1.VSecMObject{all("gone", "")}}, found: map[string]lookup{"db": db, "gone": gone("gone")}, want: before("user", "former", "gone.user"),
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: labels and annotations stay": {
			spec:  spec{Data: dataOf("user", "db.user"), Labels: metadataOf("app", "gone.a", "new", "gone.b"), Annotations: metadataOf("note", "db.none")},
			found: map[string]lookup{"db": held(`{"user":"anna"}`), "gone": gone("gone")}, want: marked(map[string]string{"app": "a", "unasked": "b"}, map[string]string{"note": "n"}),
			data: bytesOf("user", "anna"), keys: from("user", "db.user"), labels: map[string]string{"app": "a"}, annotations: map[string]string{"note": "n"},
			says: "PathMissing: there is no raw secret gone, ref db.none: secret db has no none: it has user" + stays,
		},
		"missing: all goes that is asked to": {
			spec:  spec{Data: dataOf("user", "db.user", "old", "gone.x"), DataFrom: []v1alpha1.VSecMObject{all("gone.y", "y-")}, Labels: metadataOf("app", "gone.a"), OnMissing: remove},
			found: map[string]lookup{"db": db, "gone": gone("gone")}, want: before("old", "former", "gone.x", "y-1", "former", "gone.y.1"),
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
		},
		"missing: an empty Secret is made where that is asked": {
			spec: spec{Data: dataOf("old", "gone.x"), OnMissing: remove}, found: map[string]lookup{"gone": gone("gone")},
			data: bytesOf(), keys: from(),
		},
		"missing: no Secret is made of nothing": {
			spec: spec{Data: dataOf("old", "gone.x")}, found: map[string]lookup{"gone": gone("gone")},
			fails: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: a Secret is made of what is there": {
			spec: spec{Data: dataOf("user", "db.user", "old", "gone.x")}, found: map[string]lookup{"db": db, "gone": gone("gone")},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			says: "PathMissing: there is no raw secret gone" + stays,
		},
		"missing: data fails": {
			spec: spec{Data: dataOf("user", "db.user", "old", "gone.x"), OnMissing: fail}, found: map[string]lookup{"db": db, "gone": gone("gone")}, want: before("user", "former", "db.user"),
			fails: "PathMissing: there is no raw secret gone" + asItIs,
		},
		"missing: an object fails": {
			spec: spec{DataFrom: []v1alpha1.VSecMObject{all("db.x", "")}, OnMissing: fail}, found: map[string]lookup{"db": held(`{"user":"hunter2"}`)},
			fails: "PathMissing: ref db.x: secret db has no x: it has user" + asItIs,
		},
		"missing: a label fails": {
			spec: spec{Data: dataOf("user", "db.user"), Labels: metadataOf("x", "gone.x"), OnMissing: fail}, found: map[string]lookup{"db": db, "gone": gone("gone")},
			fails: "PathMissing: there is no raw secret gone" + asItIs,
		},

		"too early: the former value stays, and nothing is to be said": {
			spec: spec{Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": held(`{"user":"hunter2"}`, time.Hour)}, want: before("user", "former", "db.user"),
			data: bytesOf("user", "former"), keys: from("user", "db.user"),
		},
		"too early: there is no former value": {
			spec: spec{Data: dataOf("user", "db.user", "now", "x"), Labels: metadataOf("l", "db.l")}, found: map[string]lookup{"db": held(`{"user":"hunter2"}`, time.Hour), "x": held("x")}, want: before("user", "former", "former.user"),
			data: bytesOf("now", "x"), keys: from("now", "x"),
			says: "NotYetValid: secret db may not be used before 2026-01-02T04:04:05Z, and is put into the Secret then", heals: true,
		},
		"too early: a label that lacks is said": {
			spec: spec{Data: dataOf("now", "x"), Labels: metadataOf("l", "db.l")}, found: map[string]lookup{"db": held(`{"l":"hunter2"}`, 1), "x": held("x")},
			data: bytesOf("now", "x"), keys: from("now", "x"),
			says: "NotYetValid: secret db may not be used before 2026-01-02T03:04:05Z, and is put into the Secret then", heals: true,
		},
		"too early: nothing is made": {
			spec: spec{Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": held("hunter2", time.Nanosecond)},
			fails: "NotYetValid: secret db may not be used before 2026-01-02T03:04:05Z, and is put into the Secret then", heals: true,
		},
		"at the date itself it is used": {
			spec: spec{Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": {secret: vsecm.Secret{Value: `{"user":"anna"}`, NotBefore: now}}},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
		},

		"expired: it goes, and the rest stays": {
			spec:  spec{Data: dataOf("user", "db.user", "now", "x"), DataFrom: []v1alpha1.VSecMObject{all("db", "p-")}, Labels: metadataOf("l", "db.user"), Annotations: metadataOf("a", "db.user")},
			found: map[string]lookup{"db": held(`{"user":"hunter2"}`, 0, -time.Second), "x": held("x")}, want: before("user", "former", "db.user", "p-user", "former", "db.user"),
			data: bytesOf("now", "x"), keys: from("now", "x"),
			says: "Expired: secret db has expired at 2026-01-02T03:04:04Z" + withdrawn,
		},
		"expired: a missing ref in it is not told": {
			spec: spec{Data: dataOf("user", "db.x"), OnMissing: fail}, found: map[string]lookup{"db": held("hunter2", 0, -time.Second)}, want: before("user", "former", "db.x"),
			data: bytesOf(), keys: from(),
			says: "Expired: secret db has expired at 2026-01-02T03:04:04Z" + withdrawn,
		},
		"expired: no Secret is made of nothing": {
			spec: spec{Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": held("hunter2", 0, -1)},
			fails: "Expired: secret db has expired at 2026-01-02T03:04:04Z" + withdrawn,
		},
		"expired: it stays where that is asked": {
			spec: spec{Data: dataOf("user", "db.user"), OnExpiry: v1alpha1.OnExpiryKeep}, found: map[string]lookup{"db": held(`{"user":"anna"}`, 0, -time.Second)},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
			says: "Expired: secret db has expired at 2026-01-02T03:04:04Z, and what came from it stays, as onExpiry says: write it anew in Safe with a later date",
		},
		"expired: all is told, the worst first": {
			spec:  spec{Data: dataOf("a", "a", "b", "b", "c", "c", "d", "d")},
			found: map[string]lookup{"a": held("hunter2", time.Hour), "b": gone("b"), "c": held("hunter2", 0, -time.Hour), "d": held("d")},
			data:  bytesOf("d", "d"), keys: from("d", "d"),
			says: "Expired: secret c has expired at 2026-01-02T02:04:05Z" + withdrawn + "; there is no raw secret b" + stays + "; secret a may not be used before 2026-01-02T04:04:05Z, and is put into the Secret then",
		},
		"expired: what is missing is not filled where all is to stay": {
			spec:  spec{Target: v1alpha1.VSecMTarget{Type: "kubernetes.io/tls"}, Data: dataOf("tls.crt", "db", "tls.key", "gone"), OnExpiry: v1alpha1.OnExpiryKeep, OnMissing: remove},
			found: map[string]lookup{"db": held("crt", 0, -time.Second), "gone": gone("gone")}, want: before("tls.crt", "crt", "db", "tls.key", "key", "gone"),
			data: bytesOf("tls.crt", "crt"), keys: from("tls.crt", "db"),
			says: "Expired: secret db has expired at 2026-01-02T03:04:04Z, and what came from it stays, as onExpiry says: write it anew in Safe with a later date",
		},
		"expired: a date of another zone is told in UTC": {
			spec: spec{Data: dataOf("user", "db")}, found: map[string]lookup{"db": {secret: vsecm.Secret{Value: "hunter2", ExpiresAfter: now.Add(-time.Second).In(time.FixedZone("", 3600))}}},
			fails: "Expired: secret db has expired at 2026-01-02T03:04:04Z" + withdrawn,
		},
		"at the date itself it is not expired": {
			spec: spec{Data: dataOf("user", "db.user")}, found: map[string]lookup{"db": {secret: vsecm.Secret{Value: `{"user":"anna"}`, ExpiresAfter: now}}},
			data: bytesOf("user", "anna"), keys: from("user", "db.user"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			vs := &v1alpha1.VSecMSecret{Spec: c.spec}
			items, problem := itemsOf(vs)
			require.Nil(t, problem)
			for name, l := range c.found {
				l.secret.Name = name
				c.found[name] = l
			}
			m := maker{spec: c.spec, now: now, want: c.want, found: c.found}
			content, problem := m.make(items)
			if c.fails != "" {
				require.NotNil(t, problem)
				assert.Equal(t, c.fails, problem.Error())
				assert.Equal(t, c.heals, problem.Heals)
				assert.Equal(t, source.Content{}, content)
				assert.NotContains(t, problem.Error(), canary)
				return
			}
			require.Nil(t, problem)
			assert.Equal(t, c.data, content.Data)
			assert.Equal(t, c.keys, content.Keys)
			assert.Equal(t, c.leftOut, content.LeftOut)
			if c.labels == nil {
				c.labels = map[string]string{}
			}
			if c.annotations == nil {
				c.annotations = map[string]string{}
			}
			assert.Equal(t, source.Metadata{Labels: c.labels, Annotations: c.annotations}, content.Metadata)
			if c.says == "" {
				assert.Nil(t, content.Problem)
				return
			}
			require.NotNil(t, content.Problem)
			assert.Equal(t, c.says, content.Problem.Error())
			assert.Equal(t, c.heals, content.Problem.Heals)
			assert.False(t, content.Problem.Final)
		})
	}
}

func TestTheStateHasTheDatesThatAreToBeKeptTo(t *testing.T) {
	never := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	offset := time.FixedZone("", 24*60*60)
	for name, c := range map[string]struct {
		found map[string]lookup
		want  string
	}{
		"none":                 {map[string]lookup{"a": held("x")}, ""},
		"some day":             {map[string]lookup{"a": held("x", 0, time.Hour), "b": held("x")}, `{"expires":{"a":"2026-01-02T04:04:05Z"}}`},
		"this moment":          {map[string]lookup{"a": held("x", 0, 0)}, `{"expires":{"a":"2026-01-02T03:04:05Z"}}`},
		"what is over":         {map[string]lookup{"a": held("x", 0, -1)}, ""},
		"never":                {map[string]lookup{"a": {secret: vsecm.Secret{ExpiresAfter: never}}}, ""},
		"almost never":         {map[string]lookup{"a": {secret: vsecm.Secret{ExpiresAfter: never.AddDate(-1, 0, 0)}}}, `{"expires":{"a":"9998-12-31T23:59:59.999999999Z"}}`},
		"what is not there":    {map[string]lookup{"a": gone("a")}, ""},
		"a zone that JSON has": {map[string]lookup{"a": {secret: vsecm.Secret{ExpiresAfter: now.Add(time.Hour).In(time.FixedZone("", 3600))}}}, `{"expires":{"a":"2026-01-02T04:04:05Z"}}`},
		"a zone that it has not, beside another": {
			map[string]lookup{"a": held("x", 0, time.Hour), "b": {secret: vsecm.Secret{ExpiresAfter: now.Add(2 * time.Hour).In(offset)}}},
			`{"expires":{"a":"2026-01-02T04:04:05Z","b":"2026-01-02T05:04:05Z"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := maker{now: now, found: c.found}
			content, problem := m.make(nil)
			require.Nil(t, problem)
			assert.Equal(t, c.want, string(content.State))
			assert.True(t, c.want == "" || json.Valid(content.State))
		})
	}
}
