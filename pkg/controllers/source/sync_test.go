package source

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestASourceMakesItsSecretAndKeepsIt(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	assert.Equal(t, 8*time.Minute, w.works("app"))
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("app"))
	assert.Equal(t, "True UpToDate", w.ready("app"))
	assert.Equal(t, []v1alpha1.KeyOrigin{{Key: "user", Path: "secret/a", Version: 1}}, w.sources["app"].Status.Keys)
	assert.Equal(t, []string{"Written"}, w.events())
	assert.Equal(t, 1, w.statusWrites)

	w.works("app")
	assert.Len(t, w.wants, 1, "nothing was due")
	assert.Equal(t, 1, w.statusWrites, "nothing had changed")

	w.edit("app", func(s *corev1.Secret) { s.Data["user"] = []byte("mallory") }, "user")
	w.works("app")
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("app"))
	assert.Equal(t, []string{"Written", "Repaired"}, w.events())
	assert.True(t, w.wants[1].Repair)
	assert.False(t, w.wants[1].Intact)
}

func TestAStatusThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.statusFails = apierrors.NewConflict(resource, "app", errors.New("somebody was quicker"))
	_, err := w.work("app")
	require.Error(t, err)
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("app"))
	assert.Empty(t, w.ready("app"))
	assert.Equal(t, 8*time.Minute, w.works("app"))
	assert.Equal(t, "True UpToDate", w.ready("app"))
	assert.Equal(t, begin, w.sources["app"].Status.LastFetchedAt.UTC())
	assert.Len(t, w.wants, 1, "it needs no other fetch")

	w.clock.SetTime(begin.Add(9 * time.Minute))
	w.err = &Problem{Reason: v1alpha1.ReasonDenied, Message: "no"}
	w.statusFails = apierrors.NewConflict(resource, "app", errors.New("somebody was quicker"))
	_, err = w.work("app")
	require.Error(t, err)
	w.works("app")
	assert.Equal(t, "False Denied", w.ready("app"))
	assert.Len(t, w.wants, 2)
}

func TestAfterARestartWhatHadNoNextTimeIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.err = &Problem{Reason: v1alpha1.ReasonConnectionNotFound, Final: true, Message: "no"}
	w.Wake(kindName, "team", "app")
	w.works("app")
	assert.Equal(t, "False ConnectionNotFound", w.ready("app"))

	w.err = nil
	w.restart()
	w.works("app")
	assert.Equal(t, "True UpToDate", w.ready("app"))
}

func TestAWakeBeforeTheFirstSyncIsNotLost(t *testing.T) {
	w := newWorld(t)
	src := w.source("app")
	w.works("app")
	w.restart()
	w.aim(key{kindName, "team", "app"}, src)
	w.Wake(kindName, "team", "app")
	w.works("app")
	assert.Len(t, w.wants, 2)
}

func TestAfterARestartWhatIsStillGoodIsTakenUp(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.restart()
	w.works("app")
	w.works("app")
	assert.Len(t, w.wants, 1)
	assert.Equal(t, 1, w.resumed)

	// Also when somebody has touched the Secret, but no key of ours, while nobody looked.
	w.restart()
	w.edit("app", func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b"} })
	w.works("app")
	assert.Len(t, w.wants, 1)
	assert.Equal(t, 2, w.resumed)
}

func TestARefreshIsFollowedOnceItHasWorked(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "1"} })
	w.err = &Problem{Reason: v1alpha1.ReasonUnavailable, Heals: true, Message: "no answer"}
	w.works("app")
	assert.Empty(t, w.sources["app"].Status.RefreshedFor)
	w.works("app")
	assert.Len(t, w.wants, 2, "it waits for the next attempt")

	w.clock.SetTime(begin.Add(time.Minute))
	w.err = nil
	w.works("app")
	assert.True(t, w.wants[2].Fresh)
	assert.Equal(t, "1", w.sources["app"].Status.RefreshedFor)
}

func TestALongRefreshAnnotationIsCut(t *testing.T) {
	w := newWorld(t)
	w.source("app", func(s *v1alpha1.VaultSecret) {
		s.Annotations = map[string]string{v1alpha1.AnnotationRefresh: strings.Repeat("ä", 300)}
	})
	w.works("app")
	assert.Equal(t, strings.Repeat("ä", 128), w.sources["app"].Status.RefreshedFor)
	w.clock.SetTime(begin.Add(9 * time.Minute))
	w.works("app")
	assert.False(t, w.wants[1].Fresh)
}

func TestAnEditOfLabelsIsNoEditOfKeys(t *testing.T) {
	w := newWorld(t)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"a": "b"} })
	w.works("app")
	w.edit("app", func(s *corev1.Secret) { s.Labels, s.OwnerReferences = nil, nil; s.Data["more"] = []byte("x") }, "more")
	w.works("app")
	assert.True(t, w.wants[1].Intact, "a lease would not be good any more")

	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"a": "c"} })
	w.works("app")
	assert.True(t, w.wants[2].Intact)

	w.clock.SetTime(begin.Add(2 * time.Second))
	w.edit("app", func(s *corev1.Secret) { s.Data["user"] = []byte("x") }, "user")
	w.works("app")
	assert.False(t, w.wants[3].Intact)
}

func TestASecretThatIsEditedAgainAndAgainIsPutRightLessOften(t *testing.T) {
	w := newWorld(t)
	w.source("app", func(*v1alpha1.VaultSecret) {})
	w.works("app")
	edited := func() bool {
		w.edit("app", func(s *corev1.Secret) { s.Data["user"] = []byte("x") }, "user")
		w.works("app")
		return w.secret("app")["user"] == "x"
	}
	assert.False(t, edited(), "at once")
	assert.True(t, edited(), "not at once")
	w.clock.SetTime(begin.Add(time.Second))
	assert.False(t, edited(), "after a second")
	w.clock.SetTime(begin.Add(2 * time.Second))
	assert.True(t, edited(), "not after another second")
	w.clock.SetTime(begin.Add(3 * time.Second))
	assert.False(t, edited(), "after two seconds")
	w.clock.SetTime(begin.Add(4 * time.Minute))
	assert.False(t, edited(), "at once, because it was quiet for a while")
}

func TestAnAdoptedKeyWithTheSameValueBecomesOurs(t *testing.T) {
	w := newWorld(t)
	_, err := w.core.CoreV1().Secrets("team").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "team",
		ManagedFields: []metav1.ManagedFieldsEntry{managedBy("another-operator", "user", "old")}}, Type: corev1.SecretTypeOpaque, Data: bytesOf(map[string]string{"user": "anna", "old": "x"})}, metav1.CreateOptions{})
	require.NoError(t, err)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy = v1alpha1.SourceConflictAdopt })
	w.works("app")
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("app"))
	w.Wake(kindName, "team", "app")
	w.works("app")
	assert.False(t, w.wants[0].Intact)
	assert.True(t, w.wants[1].Intact, "or it would be made anew each time")
	secret, err := w.Get(t.Context(), "team", "app")
	require.NoError(t, err)
	assert.JSONEq(t, `{"f:data": {"f:old": {}}, "f:type": {}}`, secret.ManagedFields[0].FieldsV1.GetRawString())

	// Somebody takes it over with the same value: he is noted, and nothing else has changed.
	w.edit("app", func(*corev1.Secret) {}, "user")
	w.works("app")
	w.Wake(kindName, "team", "app")
	w.works("app")
	assert.True(t, w.wants[3].Intact)
}

func TestWhatCouldNotBeWrittenIsGivenBack(t *testing.T) {
	w := newWorld(t)
	w.content.State = json.RawMessage(`{"lease":"1"}`)
	w.source("app")
	w.secretFails = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "app", errors.New("quota"))
	w.works("app")
	assert.Equal(t, "False NotAllowed", w.ready("app"))
	assert.Equal(t, "True UpToDate", w.says("app", v1alpha1.ConditionFetched))
	assert.Equal(t, []string{`{"lease":"1"}`}, w.discarded)

	w.secretFails = nil
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"not/a/label": ""} })
	w.works("app")
	assert.Equal(t, "False InvalidSpec", w.ready("app"))
	assert.Len(t, w.discarded, 2)
	assert.Nil(t, w.secret("app"))

	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = nil })
	w.works("app")
	assert.Equal(t, "True UpToDate", w.ready("app"))
	assert.Len(t, w.discarded, 2)

	// What the Secret holds is not given back.
	w.content.Same, w.content.Data = true, nil
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"not/a/label": ""} })
	w.works("app")
	assert.Equal(t, "False InvalidSpec", w.ready("app"))
	assert.Len(t, w.discarded, 2)
}

func TestStateOutlivesItsSecret(t *testing.T) {
	w := newWorld(t)
	w.releases = true
	w.content.State = json.RawMessage(`{"lease":"1"}`)
	w.source("app")
	w.works("app")
	require.NoError(t, w.core.CoreV1().Secrets("team").Delete(t.Context(), "app", metav1.DeleteOptions{}))
	w.works("app")
	assert.JSONEq(t, `{"lease":"1"}`, string(w.wants[1].State), "a certificate that was replaced may have to be revoked")
	assert.False(t, w.wants[1].Intact)

	// A namespace goes: first its Secrets, then the sources.
	require.NoError(t, w.core.CoreV1().Secrets("team").Delete(t.Context(), "app", metav1.DeleteOptions{}))
	w.source("app", func(s *v1alpha1.VaultSecret) { s.DeletionTimestamp = &metav1.Time{Time: begin} })
	w.works("app")
	assert.Equal(t, []string{`{"lease":"1"}`}, w.released)
	assert.Empty(t, w.sources)
}

func TestADeletionAlsoGivesBackWhatIsInTheFormerSecret(t *testing.T) {
	w := newWorld(t)
	w.releases = true
	w.content.State = json.RawMessage(`{"lease":"1"}`)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy = v1alpha1.SourceConflictMerge })
	w.works("app")
	w.source("app", func(s *v1alpha1.VaultSecret) {
		s.Spec.TargetSecretName = "other"
		s.DeletionTimestamp = &metav1.Time{Time: begin}
	})
	w.restart()
	w.works("app")
	assert.Equal(t, []string{`{"lease":"1"}`}, w.released)
	assert.Nil(t, w.secret("app"))
	assert.Empty(t, w.sources)
}

func TestADeletionThatIsForcedStillTakesTheKeysOut(t *testing.T) {
	w := newWorld(t)
	_, err := w.core.CoreV1().Secrets("team").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "team"}, Type: corev1.SecretTypeOpaque, Data: bytesOf(map[string]string{"own": "x"})}, metav1.CreateOptions{})
	require.NoError(t, err)
	w.releases = true
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy = v1alpha1.SourceConflictMerge })
	w.works("app")
	assert.Equal(t, map[string]string{"own": "x", "user": "anna"}, w.secret("app"))
	w.releaseFails = &Problem{Reason: v1alpha1.ReasonDenied, Message: "no"}
	w.source("app", func(s *v1alpha1.VaultSecret) { s.DeletionTimestamp = &metav1.Time{Time: begin} })
	assert.Positive(t, w.works("app"))
	assert.Equal(t, "False Revoking", w.ready("app"))
	assert.Equal(t, map[string]string{"own": "x", "user": "anna"}, w.secret("app"))

	w.source("app", func(s *v1alpha1.VaultSecret) {
		s.Annotations = map[string]string{v1alpha1.AnnotationForceDelete: "true"}
	})
	w.works("app")
	assert.Equal(t, map[string]string{"own": "x"}, w.secret("app"))
	assert.Empty(t, w.sources)
	assert.Contains(t, w.events(), "NotRevoked")
}

func TestADeletionIsNotHeldForEverByASecretThatMayNotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy = v1alpha1.SourceConflictMerge })
	w.works("app")
	w.edit("app", func(s *corev1.Secret) { s.Data["own"] = []byte("x") })
	w.secretFails = apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "app", nil)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.DeletionTimestamp = &metav1.Time{Time: begin} })
	w.works("app")
	assert.Equal(t, "False Revoking", w.ready("app"))
	w.clock.SetTime(begin.Add(10 * time.Minute))
	w.works("app")
	assert.Empty(t, w.sources)
}

func TestASecretHasOneOwnerOrManyThatMerge(t *testing.T) {
	w := newWorld(t)
	policy := func(p v1alpha1.SourceConflictPolicy) func(*v1alpha1.VaultSecret) {
		return func(s *v1alpha1.VaultSecret) { s.Spec.ConflictPolicy, s.Spec.TargetSecretName = p, "shared" }
	}
	other := w.content
	other.Data, other.Keys = bytesOf(map[string]string{"token": "t"}), map[string]Origin{"token": {Path: "secret/b"}}
	sync := func(name string) string {
		content := w.content
		if name == "b" {
			w.content = other
		}
		w.works(name)
		w.content = content
		return w.ready(name)
	}
	w.source("a", policy(v1alpha1.SourceConflictFail))
	assert.Equal(t, "True UpToDate", sync("a"))
	w.source("b", policy(v1alpha1.SourceConflictMerge))
	assert.Equal(t, "False SecretConflict", sync("b"), "it is a's alone")
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("shared"))

	w.source("a", policy(v1alpha1.SourceConflictMerge))
	assert.Equal(t, "True UpToDate", sync("a"))
	assert.Equal(t, "True UpToDate", sync("b"))
	assert.Equal(t, map[string]string{"user": "anna", "token": "t"}, w.secret("shared"))

	w.source("a", policy(v1alpha1.SourceConflictAdopt))
	assert.Equal(t, "False SecretConflict", sync("a"), "b is in there")
	assert.Equal(t, map[string]string{"user": "anna", "token": "t"}, w.secret("shared"))
	assert.Equal(t, "True UpToDate", sync("b"))
	assert.Equal(t, []string{v1alpha1.FinalizerRelease}, w.sources["a"].Finalizers, "its keys are still to be taken out")

	delete(w.sources, "b") // without a finalizer
	w.edit("shared", func(s *corev1.Secret) { s.Annotations["x"] = "y" })
	assert.Equal(t, "True UpToDate", sync("a"), "nobody else is there any more")
	assert.Equal(t, map[string]string{"user": "anna"}, w.secret("shared"))
	assert.Empty(t, w.sources["a"].Finalizers, "the Secret goes with it")
}

func TestASecretThatIsBeingDeletedIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.edit("app", func(s *corev1.Secret) {
		s.DeletionTimestamp, s.Finalizers = &metav1.Time{Time: begin}, []string{"example.com/hold"}
	})
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{"a": "b"} })
	assert.Equal(t, 30*time.Minute, w.works("app"), "when it is stale")
	assert.Equal(t, "False SecretConflict", w.ready("app"))
	assert.Len(t, w.wants, 1)
}

func TestInAnOutageASpecThatHasChangedIsNotReady(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.err = &Problem{Reason: v1alpha1.ReasonUnavailable, Heals: true, Message: "first words"}
	w.clock.SetTime(begin.Add(9 * time.Minute))
	w.works("app")
	assert.Equal(t, "True UpToDate", w.ready("app"), "the Secret keeps what it has")
	assert.Equal(t, "False Unavailable", w.says("app", v1alpha1.ConditionFetched))

	w.source("app")
	w.err = &Problem{Reason: v1alpha1.ReasonUnavailable, Heals: true, Message: "of another server"}
	w.works("app")
	assert.Equal(t, "False Unavailable", w.ready("app"))
	assert.Equal(t, "True Unavailable", w.says("app", v1alpha1.ConditionReconciling))
	assert.Equal(t, "of another server", condition(&w.sources["app"].Status, v1alpha1.ConditionFetched).Message)
}

func TestTheRowsAreThereAlsoWhenTheProcessEndedBeforeTheyWereWritten(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.statusFails = errors.New("the process has ended")
	_, err := w.work("app")
	require.Error(t, err)
	w.restart()
	w.content.Same, w.content.Data, w.content.Keys = true, nil, nil
	w.works("app")
	assert.Equal(t, []v1alpha1.KeyOrigin{{Key: "user", Path: "secret/a", Version: 1}}, w.sources["app"].Status.Keys)
}

func TestALongMessageIsCut(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.err = &Problem{Reason: v1alpha1.ReasonKeyCollision, Message: strings.Repeat("key ", 50000)}
	w.works("app")
	assert.Len(t, condition(&w.sources["app"].Status, v1alpha1.ConditionReady).Message, 1024)
}

func TestANamespaceThatIsWatchedLaterIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	w.served = false
	w.source("app")
	wait := w.works("app")
	assert.Positive(t, wait)
	assert.Equal(t, "False SourceNotServed", w.ready("app"))
	w.served = true
	w.clock.SetTime(begin.Add(wait))
	w.works("app")
	assert.Equal(t, "True UpToDate", w.ready("app"))
}

func TestAnotherObjectOfThatNameIsAnotherOne(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.source("app", func(s *v1alpha1.VaultSecret) { s.UID, s.Status = "another", v1alpha1.SourceStatus{} })
	w.works("app")
	assert.Equal(t, 1, w.forgotten)
	assert.Equal(t, "False SecretConflict", w.ready("app"), "the Secret is the former one's, and goes with it")
	require.NoError(t, w.core.CoreV1().Secrets("team").Delete(t.Context(), "app", metav1.DeleteOptions{}))
	w.works("app")
	assert.Equal(t, "True UpToDate", w.ready("app"))
}

func TestASecretThatWouldBeMoreThanASecretIsRefused(t *testing.T) {
	w := newWorld(t)
	w.content.Type = corev1.SecretTypeServiceAccountToken
	w.source("app", func(s *v1alpha1.VaultSecret) {
		s.Spec.Annotations = map[string]string{corev1.ServiceAccountNameKey: "admin"}
	})
	w.works("app")
	assert.Equal(t, "False InvalidSpec", w.ready("app"), "the API server would put a token of any service account there")
	w.content.Type = corev1.SecretTypeOpaque
	w.source("other", func(s *v1alpha1.VaultSecret) { s.Spec.Labels = map[string]string{v1alpha1.LabelHandshake: "uid"} })
	w.works("other")
	assert.Equal(t, "False InvalidSpec", w.ready("other"), "the FleetHandshake would take it for its own")
	assert.Nil(t, w.secret("app"))
	assert.Nil(t, w.secret("other"))
}
