package source

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditionsOf are all conditions in the order in which they came, as "Ready=True UpToDate".
func conditionsOf(status *v1alpha1.SourceStatus) (out []string) {
	for _, c := range status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return out
}

func TestStoriesOfAStatus(t *testing.T) {
	content := func() *Content { return &Content{FetchedAt: begin, StaleAt: begin.Add(time.Hour)} }
	worked := outcome{content: content(), fetch: true}
	outage := outcome{problem: &Problem{Reason: v1alpha1.ReasonUnavailable, Message: "no answer", Heals: true}, fetch: true}
	denied := outcome{problem: &Problem{Reason: v1alpha1.ReasonDenied, Message: "no"}, fetch: true}
	looked := outcome{again: true}
	partly := content()
	partly.LeftOut = []string{"a b"}
	missing := outcome{content: content(), problem: &Problem{Reason: v1alpha1.ReasonPathMissing, Message: "nothing there"}, fetch: true}
	lost := outage
	lost.lost = true

	type chapter struct {
		after   time.Duration
		outcome outcome
		want    []string
	}
	for name, story := range map[string][]chapter{
		"it works, and nothing more is said": {
			{0, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
			{time.Minute, looked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"an outage leaves it ready, until what the Secret holds is too old": {
			{0, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
			{10 * time.Minute, outage, []string{"Fetched=False Unavailable", "Ready=True UpToDate"}},
			{time.Hour, looked, []string{"Fetched=False Unavailable", "Ready=False Stale", "Stale=True Stale"}},
			{time.Hour, outage, []string{"Fetched=False Unavailable", "Ready=False Stale", "Stale=True Stale", "Reconciling=True Unavailable"}},
			{2 * time.Hour, outcome{content: &Content{FetchedAt: begin.Add(2 * time.Hour)}}, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"an outage at the beginning is not ready": {
			{0, outage, []string{"Fetched=False Unavailable", "Ready=False Unavailable", "Reconciling=True Unavailable"}},
			{time.Minute, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"an outage while the Secret is not as it should be is not ready": {
			{0, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
			{time.Minute, lost, []string{"Fetched=False Unavailable", "Ready=False Unavailable", "Reconciling=True Unavailable"}},
		},
		"a denial stalls it, and an outage after that does not make it ready": {
			{0, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
			{time.Minute, denied, []string{"Fetched=False Denied", "Ready=False Denied", "Stalled=True Denied"}},
			{2 * time.Minute, looked, []string{"Fetched=False Denied", "Ready=False Denied", "Stalled=True Denied"}},
			{3 * time.Minute, outage, []string{"Fetched=False Unavailable", "Ready=False Unavailable", "Reconciling=True Unavailable"}},
			{4 * time.Minute, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"what is missing is said although there is content": {
			{0, missing, []string{"Fetched=True UpToDate", "Ready=False PathMissing", "Stalled=True PathMissing"}},
			{time.Minute, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"keys that are left out are said as long as there are any": {
			{0, outcome{content: partly, fetch: true}, []string{"KeysLeftOut=True InvalidKeys", "Fetched=True UpToDate", "Ready=True UpToDate"}},
			{time.Minute, outcome{content: &Content{Same: true, FetchedAt: begin}}, []string{"KeysLeftOut=True InvalidKeys", "Fetched=True UpToDate", "Ready=True UpToDate"}},
			{2 * time.Minute, worked, []string{"Fetched=True UpToDate", "Ready=True UpToDate"}},
		},
		"a conflict is none of the server's": {
			{0, outcome{problem: &Problem{Reason: v1alpha1.ReasonSecretConflict, Final: true}}, []string{"Ready=False SecretConflict", "Stalled=True SecretConflict"}},
		},
		"what was fetched could not be written": {
			{0, outcome{problem: &Problem{Reason: v1alpha1.ReasonNotAllowed}, fetch: true, worked: true}, []string{"Fetched=True UpToDate", "Ready=False NotAllowed", "Stalled=True NotAllowed"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Name: "app", Generation: 1}}
			for i, c := range story {
				apply(src, c.outcome, time.Time{}, begin.Add(c.after))
				assert.ElementsMatch(t, c.want, conditionsOf(&src.Status), "chapter %d", i+1)
			}
		})
	}
}

func TestTheFieldsOfAStatus(t *testing.T) {
	src := &v1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Name: "app", Generation: 3, Annotations: map[string]string{v1alpha1.AnnotationRefresh: "now"}}}
	src.Spec.TargetSecretName = "creds"
	apply(src, outcome{version: "uid/7", content: &Content{
		FetchedAt: begin.Add(300 * time.Millisecond), StaleAt: begin.Add(time.Hour),
		Keys: map[string]Origin{"b": {Path: "secret/b", Version: 2}, "a": {Path: "secret/a"}},
	}}, begin.Add(time.Minute), begin)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: begin.Add(d)} }
	status := src.Status
	status.Conditions = nil
	assert.Equal(t, v1alpha1.SourceStatus{
		ObservedGeneration: 3, SecretName: "creds", SecretVersion: "uid/7", RefreshedFor: "now",
		LastFetchedAt: at(0), NextFetchAt: at(time.Minute), StaleAt: at(time.Hour),
		Keys: []v1alpha1.KeyOrigin{{Key: "a", Path: "secret/a"}, {Key: "b", Path: "secret/b", Version: 2}},
	}, status)
}

func TestAtMost200RowsOfKeys(t *testing.T) {
	keys := map[string]Origin{}
	for i := range 203 {
		keys[fmt.Sprintf("key-%03d", i)] = Origin{Path: "secret/a"}
	}
	got, omitted := rows(keys)
	assert.Len(t, got, 200)
	assert.Equal(t, "key-199", got[199].Key)
	assert.Equal(t, int32(3), omitted)
}

func TestPathsAreCutBetweenCharacters(t *testing.T) {
	got, _ := rows(map[string]Origin{"a": {Path: strings.Repeat("x", 1024)}, "b": {Path: "x" + strings.Repeat("ü", 600)}})
	assert.Equal(t, strings.Repeat("x", 1024), got[0].Path)
	assert.Equal(t, "x"+strings.Repeat("ü", 511), got[1].Path)
}

func TestMessagesAreCutBetweenCharacters(t *testing.T) {
	for name, c := range map[string]struct{ message, want string }{
		"a short one stays":            {"there is nothing", "there is nothing"},
		"the longest one stays":        {strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		"a longer one is cut":          {strings.Repeat("x", 1025), strings.Repeat("x", 1021) + "…"},
		"no character is cut in parts": {strings.Repeat("ü", 600), strings.Repeat("ü", 510) + "…"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, cut(c.message)) })
	}
}

func TestEventsOfATransition(t *testing.T) {
	status := func(conditions ...metav1.Condition) *v1alpha1.SourceStatus {
		return &v1alpha1.SourceStatus{Conditions: conditions}
	}
	is := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: reason + "!"}
	}
	good := status(is("Ready", "True", "UpToDate"), is("Fetched", "True", "UpToDate"))
	denied := status(is("Ready", "False", "Denied"), is("Fetched", "False", "Denied"))
	for name, c := range map[string]struct {
		before, after *v1alpha1.SourceStatus
		event         [2]string
		want          []happened
	}{
		"nothing has changed":                     {good, good, [2]string{}, nil},
		"the first success is the writing":        {status(), good, [2]string{"Written", "new"}, []happened{{false, "Written", "new"}}},
		"one reason is told once":                 {good, denied, [2]string{}, []happened{{true, "Denied", "Denied!"}}},
		"the first denial is told":                {status(), denied, [2]string{}, []happened{{true, "Denied", "Denied!"}}},
		"the end of a problem is told":            {denied, good, [2]string{}, []happened{{false, "UpToDate", "UpToDate!"}}},
		"an outage is told while it stays ready":  {good, status(is("Ready", "True", "UpToDate"), is("Fetched", "False", "Unavailable")), [2]string{}, []happened{{true, "Unavailable", "Unavailable!"}}},
		"two different reasons are told, in turn": {good, status(is("Ready", "False", "Stale"), is("Fetched", "False", "Unavailable")), [2]string{}, []happened{{true, "Stale", "Stale!"}, {true, "Unavailable", "Unavailable!"}}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, transitions(c.before, c.after, outcome{event: c.event}))
		})
	}
}
