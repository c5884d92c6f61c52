package source

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// marked has labels and annotations that were fetched.
func marked(label, annotation string) Metadata {
	return Metadata{Labels: map[string]string{"fetched": label}, Annotations: map[string]string{"fetched": annotation}}
}

func (w *world) metadata(name string) (labels, annotations map[string]string) {
	w.t.Helper()
	secret, err := w.Get(w.t.Context(), "team", name)
	require.NoError(w.t, err)
	annotations = map[string]string{}
	for key, value := range secret.Annotations {
		if key != v1alpha1.AnnotationSources {
			annotations[key] = value
		}
	}
	return secret.Labels, annotations
}

func TestFetchedLabelsAndAnnotations(t *testing.T) {
	w := newWorld(t)
	w.content.Metadata = marked("a", "b c")
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"spec": "1"} })
	w.works("app")
	labels, annotations := w.metadata("app")
	assert.Equal(t, map[string]string{"spec": "1", "fetched": "a"}, labels)
	assert.Equal(t, map[string]string{"fetched": "b c"}, annotations)

	w.restart()
	w.works("app")
	assert.Len(t, w.wants, 1, "it is as it should be")

	// Somebody edits one, and takes the other away.
	w.edit("app", func(s *corev1.Secret) {
		s.Labels["fetched"] = "x"
		delete(s.Annotations, "fetched")
		s.Labels["own"] = "y"
	})
	w.works("app")
	require.Len(t, w.wants, 2)
	assert.True(t, w.wants[1].Repair)
	assert.True(t, w.wants[1].Intact, "no key has changed")
	assert.Equal(t, marked("a", "b c"), w.wants[1].Metadata)
	assert.Equal(t, corev1.SecretTypeOpaque, w.wants[1].Type)
	labels, annotations = w.metadata("app")
	assert.Equal(t, map[string]string{"spec": "1", "fetched": "a", "own": "y"}, labels)
	assert.Equal(t, map[string]string{"fetched": "b c"}, annotations)
	assert.Equal(t, []string{"Written", "Repaired"}, w.events())

	// The same content keeps them.
	kept := w.content
	w.content = Content{Same: true, FetchedAt: begin}
	w.Wake(kindName, "team", "app")
	w.works("app")
	labels, annotations = w.metadata("app")
	assert.Equal(t, "a", labels["fetched"])
	assert.Equal(t, "b c", annotations["fetched"])
	w.Wake(kindName, "team", "app")
	w.works("app")
	assert.Equal(t, marked("a", "b c"), w.wants[3].Metadata, "they are remembered")

	// They go when they are not there any more. What others have set stays.
	w.content = kept
	w.content.Metadata = Metadata{}
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = nil })
	w.works("app")
	labels, annotations = w.metadata("app")
	assert.Equal(t, map[string]string{"own": "y"}, labels)
	assert.Empty(t, annotations)
	secret, err := w.Get(t.Context(), "team", "app")
	require.NoError(t, err)
	assert.NotContains(t, secret.Annotations[v1alpha1.AnnotationSources], "fetched")
}

func TestFetchedLabelsOfAMergedSecretGoWithTheirSource(t *testing.T) {
	w := newWorld(t)
	_, err := w.core.CoreV1().Secrets("team").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "team", Labels: map[string]string{"own": "x"}}, Type: corev1.SecretTypeOpaque, Data: bytesOf(map[string]string{"own": "x"})}, metav1.CreateOptions{})
	require.NoError(t, err)
	w.content.Metadata = marked("a", "b")
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy = v1alpha1.SourceConflictMerge })
	w.works("app")
	labels, _ := w.metadata("app")
	assert.Equal(t, map[string]string{"own": "x", "fetched": "a"}, labels)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.DeletionTimestamp = &metav1.Time{Time: begin} })
	w.works("app")
	labels, annotations := w.metadata("app")
	assert.Equal(t, map[string]string{"own": "x"}, labels)
	assert.Empty(t, annotations)
}

func TestWhatDoesNotFitIsSaidWithoutShowingIt(t *testing.T) {
	const canary = "hunter2"
	var log bytes.Buffer
	logrus.SetOutput(&log)
	t.Cleanup(func() { logrus.SetOutput(os.Stderr) })
	size := "what was fetched has 1048577 bytes, and a Secret can hold 1048576: fetch fewer values, or make two Secrets"
	label := func(value string) Content { return Content{Metadata: marked(value, "")} }
	const rule = "what was fetched for the label fetched cannot be one: it must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit; correct the value at its source, or fetch another"
	for name, c := range map[string]struct {
		content Content
		reason  string
		want    string
	}{
		"nothing":                         {Content{}, "", ""},
		"ordinary ones":                   {Content{Metadata: marked("a", "b\nc")}, "", ""},
		"an empty label":                  {label(""), "", ""},
		"the longest label":               {label(strings.Repeat("x", 63)), "", ""},
		"a longer label":                  {label(canary + strings.Repeat("x", 57)), v1alpha1.ReasonInvalidValue, rule},
		"a label with a space":            {label(canary + " x"), v1alpha1.ReasonInvalidValue, rule},
		"a label with a line":             {label(canary + "\n"), v1alpha1.ReasonInvalidValue, rule},
		"a label that ends with a dash":   {label(canary + "-"), v1alpha1.ReasonInvalidValue, rule},
		"the largest annotations":         {Content{Metadata: marked("", strings.Repeat("x", maxFetched-len("fetched")))}, "", ""},
		"annotations that are too large":  {Content{Metadata: marked("", canary+strings.Repeat("x", maxFetched-len("fetched")-len(canary)+1))}, v1alpha1.ReasonInvalidValue, "what was fetched for the annotation fetched cannot be one: all of them together may have 49152 bytes; correct the value at its source, or fetch another"},
		"the largest Secret":              {Content{Data: map[string][]byte{"a": make([]byte, 1<<20)}}, "", ""},
		"a larger one":                    {Content{Data: map[string][]byte{"a": make([]byte, 1<<20), "b": []byte("x")}}, v1alpha1.ReasonTooLarge, size},
		"a label is told before the size": {Content{Metadata: marked("-", ""), Data: map[string][]byte{"a": make([]byte, 1<<20+1)}}, v1alpha1.ReasonInvalidValue, rule},
	} {
		t.Run(name, func(t *testing.T) {
			problem := c.content.Unfit()
			if c.want == "" {
				assert.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, &Problem{Reason: c.reason, Message: c.want}, problem, "neither does it heal, nor is it final")

			w := newWorld(t)
			w.content.Metadata, w.content.State = c.content.Metadata, json.RawMessage("{}")
			if c.content.Data != nil {
				w.content.Data = c.content.Data
			}
			w.source("app")
			w.works("app")
			assert.Equal(t, "False "+c.reason, w.ready("app"))
			assert.Equal(t, c.want, condition(&w.sources["app"].Status, v1alpha1.ConditionReady).Message)
			assert.Equal(t, []string{"{}"}, w.discarded)
			assert.Nil(t, w.secret("app"))
			said, err := json.Marshal([]any{w.sources["app"], w.core.Actions()})
			require.NoError(t, err)
			assert.NotContains(t, string(said), canary)
			assert.Contains(t, log.String(), "VaultSecret team/app")
			assert.NotContains(t, log.String(), canary)
		})
	}
}

func TestFetchedLabelsThatTheOperatorWorksWithAreRefused(t *testing.T) {
	w := newWorld(t)
	w.content.Metadata.Labels = map[string]string{v1alpha1.LabelHandshake: "x"}
	w.source("app")
	w.works("app")
	assert.Equal(t, "False InvalidSpec", w.ready("app"))
	assert.Nil(t, w.secret("app"))

	w.content.Metadata = Metadata{Annotations: map[string]string{v1alpha1.AnnotationSources: `{"VaultSecret/other":{"uid":"x"}}`}}
	w.source("app")
	w.works("app")
	secret, err := w.Get(t.Context(), "team", "app")
	require.NoError(t, err)
	assert.NotContains(t, records(secret), "VaultSecret/other", "what sources make is said by the operator alone")
	assert.NotNil(t, recordOf(secret, kindName, w.sources["app"]))
}

func TestWhatWasFetchedWinsOverTheSpec(t *testing.T) {
	w := newWorld(t)
	w.content.Metadata = marked("a", "b")
	w.source("app", func(s *v1alpha1.VaultSecret) {
		s.Spec.Labels, s.Spec.Annotations = map[string]string{"fetched": "spec"}, map[string]string{"fetched": "spec"}
	})
	w.works("app")
	labels, annotations := w.metadata("app")
	assert.Equal(t, map[string]string{"fetched": "a"}, labels)
	assert.Equal(t, map[string]string{"fetched": "b"}, annotations)
}

func TestWhatIsKeptOfAnOutcomeHasNoValues(t *testing.T) {
	o := outcome{content: &Content{Data: bytesOf(map[string]string{"a": "x"}), Metadata: marked("a", "b"), Keys: map[string]Origin{"a": {Path: "p"}}}}
	assert.Equal(t, &Content{Keys: map[string]Origin{"a": {Path: "p"}}}, o.withoutValues().content)
	assert.Equal(t, marked("a", "b"), o.content.Metadata, "what is to be written is not changed")
}

func TestMetadataIsZero(t *testing.T) {
	assert.True(t, Metadata{}.IsZero())
	assert.True(t, Metadata{Labels: map[string]string{}, Annotations: map[string]string{}}.IsZero())
	assert.False(t, Metadata{Labels: map[string]string{"a": ""}}.IsZero())
	assert.False(t, Metadata{Annotations: map[string]string{"a": ""}}.IsZero())
}
