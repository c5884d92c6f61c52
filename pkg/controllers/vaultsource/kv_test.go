package vaultsource

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// found is one secret as it was read; nil data is nothing.
func found(path string, data map[string]any) read {
	return read{vault.KV{Leaves: []vaultkv.Leaf{{Path: path, Data: data}}}, vaultkv.Read{Base: path}}
}

// folder is what was read below a folder.
func folder(base string, leaves ...vaultkv.Leaf) read {
	return read{vault.KV{Leaves: leaves}, vaultkv.Read{Base: base, Recursive: true}}
}

func data(pairs ...string) map[string][]byte {
	out := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = []byte(pairs[i+1])
	}
	return out
}

func from(pairs ...string) map[string]source.Origin {
	out := map[string]source.Origin{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = source.Origin{Path: pairs[i+1]}
	}
	return out
}

func TestWhatIsMissing(t *testing.T) {
	user := map[string]any{"user": "anna"}
	const keep, remove, fail = v1alpha1.OnMissingKeep, v1alpha1.OnMissingRemove, v1alpha1.OnMissingFail
	held := source.Want{Data: data("old", "x", "user", "former"), Keys: from("old", "secret/b", "user", "secret/a")}
	for name, c := range map[string]struct {
		policies []v1alpha1.OnMissing
		mode     vaultkv.Mode
		format   string
		found    []read
		want     source.Want
		data     map[string][]byte
		same     bool
		problem  bool // beside the content
		fails    bool
	}{
		"nothing is missing": {[]v1alpha1.OnMissing{""}, vaultkv.Exact, "", []read{found("secret/a", user)}, held, data("user", "anna"), false, false, false},
		"its keys stay":      {[]v1alpha1.OnMissing{"", ""}, vaultkv.Exact, "", []read{found("secret/a", user), found("secret/b", nil)}, held, data("user", "anna", "old", "x"), false, true, false},
		"a key that somebody has deleted is not made": {[]v1alpha1.OnMissing{"", ""}, vaultkv.Exact, "", []read{found("secret/a", user), found("secret/b", nil)}, source.Want{Data: data(), Keys: from("old", "secret/b")}, data("user", "anna"), false, true, false},
		"its keys go":                                    {[]v1alpha1.OnMissing{"", remove}, vaultkv.Exact, "", []read{found("secret/a", user), found("secret/b", nil)}, held, data("user", "anna"), false, false, false},
		"its keys go by default in kiwi":                 {[]v1alpha1.OnMissing{"", ""}, vaultkv.Kiwi, "", []read{found("secret/a", user), found("secret/b", nil)}, held, data("user", "anna"), false, false, false},
		"its keys stay in kiwi when that is asked for":   {[]v1alpha1.OnMissing{"", keep}, vaultkv.Kiwi, "", []read{found("secret/a", user), found("secret/b", nil)}, held, data("user", "anna", "old", "x"), false, true, false},
		"all stays as it is":                             {[]v1alpha1.OnMissing{"", fail}, vaultkv.Exact, "", []read{found("secret/a", user), found("secret/b", nil)}, held, nil, false, false, true},
		"one that keeps and one that fails":              {[]v1alpha1.OnMissing{keep, fail}, vaultkv.Exact, "", []read{found("secret/a", nil), found("secret/b", nil)}, held, nil, false, false, true},
		"one that keeps and one that removes":            {[]v1alpha1.OnMissing{keep, remove}, vaultkv.Exact, "", []read{found("secret/a", nil), found("secret/b", nil)}, held, data("user", "former"), false, true, false},
		"both keep":                                      {[]v1alpha1.OnMissing{keep, keep}, vaultkv.Exact, "", []read{found("secret/a", nil), found("secret/b", nil)}, held, data("user", "former", "old", "x"), false, true, false},
		"no Secret is made of nothing":                   {[]v1alpha1.OnMissing{keep}, vaultkv.Exact, "", []read{found("secret/a", nil)}, source.Want{}, nil, false, false, true},
		"a Secret is made of what is there":              {[]v1alpha1.OnMissing{"", keep}, vaultkv.Exact, "", []read{found("secret/a", user), found("secret/b", nil)}, source.Want{}, data("user", "anna"), false, true, false},
		"an empty Secret is made where that is asked":    {[]v1alpha1.OnMissing{remove}, vaultkv.Exact, "", []read{found("secret/a", nil)}, source.Want{}, data(), false, false, false},
		"what came from below a folder that is gone":     {[]v1alpha1.OnMissing{keep}, vaultkv.Exact, "", []read{folder("secret/")}, held, data("old", "x", "user", "former"), false, true, false},
		"one secret below a folder":                      {[]v1alpha1.OnMissing{keep}, vaultkv.Exact, "", []read{folder("secret/", vaultkv.Leaf{Path: "secret/a", Data: user}, vaultkv.Leaf{Path: "secret/b"})}, held, data("user", "anna", "old", "x"), false, true, false},
		"a new value takes the place of one that stayed": {[]v1alpha1.OnMissing{"", keep}, vaultkv.Exact, "", []read{found("secret/a", map[string]any{"old": "new"}), found("secret/b", nil)}, held, data("old", "new"), false, true, false},
		"as JSON all of it stays":                        {[]v1alpha1.OnMissing{"", keep}, vaultkv.Exact, "json", []read{found("secret/a", user), found("secret/b", nil)}, source.Want{Data: data("secrets.json", "{}")}, nil, true, true, false},
		"as YAML all of it stays":                        {[]v1alpha1.OnMissing{"", keep}, vaultkv.Exact, "YAML", []read{found("secret/a", user), found("secret/b", nil)}, source.Want{Data: data("secrets.yaml", "{}")}, nil, true, true, false},
		"as JSON a first one has what is there":          {[]v1alpha1.OnMissing{"", keep}, vaultkv.Exact, "json", []read{found("secret/a", user), found("secret/b", nil)}, source.Want{}, data("user", "anna"), false, true, false},
		"as JSON none is made of nothing":                {[]v1alpha1.OnMissing{keep}, vaultkv.Exact, "json", []read{found("secret/a", nil)}, source.Want{}, nil, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			vs := &v1alpha1.VaultSecret{}
			vs.Spec.TargetFormat = c.format
			content := source.Content{Data: data(), Keys: from(), FetchedAt: begin, Next: begin.Add(time.Minute), StaleAt: begin.Add(time.Hour)}
			for i, p := range c.policies {
				vs.Spec.Paths = append(vs.Spec.Paths, v1alpha1.VaultPath{Path: c.found[i].Base, OnMissing: p})
				for _, leaf := range c.found[i].Leaves {
					for key, value := range leaf.Data {
						content.Data[key], content.Keys[key] = []byte(value.(string)), source.Origin{Path: leaf.Path} //nolint:forcetypeassert // see above
					}
				}
			}
			err := kv{}.keepMissing(vs, c.mode, c.found, c.want, &content, time.Minute)
			if c.fails {
				var problem *source.Problem
				require.ErrorAs(t, err, &problem)
				assert.Equal(t, v1alpha1.ReasonPathMissing, problem.Reason)
				assert.Equal(t, time.Minute, problem.Retry)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.same, content.Same)
			assert.Equal(t, c.data, content.Data)
			assert.Equal(t, c.problem, content.Problem != nil)
			assert.Equal(t, []time.Time{begin, begin.Add(time.Minute), begin.Add(time.Hour)}, []time.Time{content.FetchedAt, content.Next, content.StaleAt})
			for key := range content.Data {
				assert.NotEmpty(t, content.Keys[key].Path, key)
			}
		})
	}
}

func TestWhereKeysComeFrom(t *testing.T) {
	vs := &v1alpha1.VaultSecret{}
	vs.Spec.Paths = []v1alpha1.VaultPath{{Path: "secret/a"}, {Path: "secret/b/*"}}
	for name, c := range map[string]struct {
		rendered vaultkv.Rendered
		want     map[string]source.Origin
	}{
		"each from its secret": {
			vaultkv.Rendered{Data: data("user", "x"), Origins: map[string]vaultkv.Origin{"user": {Path: "secret/a", Version: 3}}},
			map[string]source.Origin{"user": {Path: "secret/a", Version: 3}},
		},
		"one that holds all is from all": {
			vaultkv.Rendered{Data: data("secrets.json", "{}")},
			map[string]source.Origin{"secrets.json": {Path: "secret/a, secret/b/*"}},
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, origins(c.rendered, vs)) })
	}
}

func TestHorizon(t *testing.T) {
	for name, c := range map[string]struct {
		life    time.Duration
		percent int32
		luck    float64
		want    time.Duration
	}{
		"without luck at its percent":  {100 * time.Second, 67, 0, 67 * time.Second},
		"with luck a tenth later":      {100 * time.Second, 50, 1, 60 * time.Second},
		"not after nine tenths":        {100 * time.Second, 90, 1, 90 * time.Second},
		"a life of nothing is renewed": {0, 67, 1, 0},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, horizon(c.life, c.percent, c.luck)) })
	}
}

func TestLuckIsTheSameForTheSameNameAndSpread(t *testing.T) {
	assert.InDelta(t, 0.575880, luckOf("database/creds/reader/abc"), 1e-6)
	tenths := map[int]int{}
	for i := range 1000 {
		luck := luckOf("database/creds/reader/" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String())
		require.GreaterOrEqual(t, luck, 0.0)
		require.Less(t, luck, 1.0)
		tenths[int(luck*10)]++
	}
	for tenth := range 10 {
		assert.Greater(t, tenths[tenth], 50, "tenth %d", tenth)
	}
}

func TestWhatIsSaidOfErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		want  string
		heals bool
		retry time.Duration
	}{
		"no answer":         {&upstream.Error{Kind: upstream.Unavailable}, v1alpha1.ReasonUnavailable, true, time.Hour},
		"a denial":          {&upstream.Error{Kind: upstream.Denied}, v1alpha1.ReasonDenied, false, time.Hour},
		"nothing there":     {&upstream.Error{Kind: upstream.Missing}, v1alpha1.ReasonPathMissing, false, time.Hour},
		"a wrong request":   {&upstream.Error{Kind: upstream.Invalid}, v1alpha1.ReasonRefused, false, time.Hour},
		"no credentials":    {errors.New("Secret team/x does not exist"), v1alpha1.ReasonCredentialsMissing, false, time.Minute},
		"what was said yet": {&source.Problem{Reason: v1alpha1.ReasonInvalidSpec}, v1alpha1.ReasonInvalidSpec, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var problem *source.Problem
			require.ErrorAs(t, problemOf(c.err, time.Hour), &problem)
			assert.Equal(t, c.want, problem.Reason)
			assert.Equal(t, c.heals, problem.Heals)
			assert.Equal(t, c.retry, problem.Retry)
		})
	}
}
