package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const platform = "platform"

// ofPlatform is a Secret in another namespace than the workspace, and a handshake that names it.
func ofPlatform(t *testing.T, name string, data map[string][]byte, targets ...v1alpha1.ClusterTarget) (*corev1.Secret, *v1alpha1.FleetHandshake) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: platform}}
	if _, err := hub.CoreV1().Namespaces().Create(context.Background(), namespace, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	secret := source(name, data)
	secret.Namespace = platform
	hs := handshake(name, targets...)
	hs.Spec.SecretNamespace = platform
	return secret, hs
}

func createOfPlatform(t *testing.T, name string, data map[string][]byte, targets ...v1alpha1.ClusterTarget) {
	t.Helper()
	secret, hs := ofPlatform(t, name, data, targets...)
	create(t, secret, hs)
}

// allow makes a SecretGrant for a handshake and the Secret of the same name.
func allow(t *testing.T, name string, change ...func(*v1alpha1.SecretGrantSpec)) {
	t.Helper()
	g := &v1alpha1.SecretGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: platform, Name: name},
		Spec: v1alpha1.SecretGrantSpec{
			From: []v1alpha1.GrantFrom{{Namespace: workspace, Handshakes: []string{name}}},
			To:   []v1alpha1.GrantTo{{Kind: v1alpha1.SourceSecret, Names: []string{name}}},
		},
	}
	for _, c := range change {
		c(&g.Spec)
	}
	_, err := hub.Grants.Create(context.Background(), g)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := hub.Grants.Delete(context.Background(), platform, name); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func changeGrant(t *testing.T, name string, change func(*v1alpha1.SecretGrantSpec)) {
	t.Helper()
	require.NoError(t, hub.Grants.Change(context.Background(), platform, name, func(g *v1alpha1.SecretGrant) { change(&g.Spec) }))
}

func withEnv(values ...string) v1alpha1.ClusterTarget {
	return v1alpha1.ClusterTarget{ClusterSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "env", Operator: metav1.LabelSelectorOpIn, Values: values},
	}}}
}

func untilBundle(t *testing.T, name, what string, condition func(*fleet.Bundle) bool) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		b, err := hub.Bundles.Get(ctx, workspace, name)
		if err == nil && !condition(b) {
			err = fmt.Errorf("it is not so that bundle %s %s", name, what)
		}
		return err
	})
}

// readsOf are the reads of a Secret by the operator after a position of the audit log.
func readsOf(t *testing.T, namespace, name string, position int64) []lab.AuditEvent {
	t.Helper()
	reads, _, err := world.Hub.AuditSince(position, func(e lab.AuditEvent) bool {
		return e.User.Username == lab.OperatorUser && e.Verb == "get" && e.Of("secrets", "", name) && e.ObjectRef.Namespace == namespace
	})
	require.NoError(t, err)
	return reads
}

func TestASecretOfAnotherNamespaceNeedsAGrant(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	_, begin := writesSince(t, 0)
	data := map[string][]byte{"password": secretValue("granted"), "admin": secretValue("not granted")}
	createOfPlatform(t, "granted", data, withEnv("production"), v1alpha1.ClusterTarget{ClusterName: "denver"})

	refused := says(t, "granted", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	assert.Empty(t, refused.Status.Bundles)
	assert.Equal(t, v1alpha1.ClusterSummary{Desired: 3, Pending: 3}, refused.Status.Summary)
	assert.Empty(t, readsOf(t, platform, "granted", begin), "the operator has read what it may not send")
	name := bundle.NameFor(refused)
	_, err := hub.Bundles.Get(ctx, workspace, name)
	assert.True(t, apierrors.IsNotFound(err), "a Bundle: %v", err)
	_, err = hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "a values Secret: %v", err)

	// The owner allows one key, in production.
	allow(t, "granted", func(s *v1alpha1.SecretGrantSpec) {
		s.Keys, s.Clusters = []string{"password"}, []v1alpha1.ClusterTarget{{ClusterGroup: "production"}}
	})
	some := map[string][]byte{"password": data["password"]}
	arrives(t, "paris", "apps", "granted", some)
	arrives(t, "tokyo", "apps", "granted", some)
	row(t, "granted", "paris", v1alpha1.ClusterSynced)
	row(t, "granted", "tokyo", v1alpha1.ClusterSynced)
	left := row(t, "granted", "denver", v1alpha1.ClusterPending)
	assert.Equal(t, v1alpha1.ClusterNotGranted, left.Reason)
	partly := says(t, "granted", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	assert.Equal(t, v1alpha1.ClusterSummary{Desired: 3, Synced: 2, Pending: 1}, partly.Status.Summary)
	_, err = sites["denver"].CoreV1().Secrets("apps").Get(ctx, "granted", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "denver: %v", err)

	changeGrant(t, "granted", func(s *v1alpha1.SecretGrantSpec) { s.Keys, s.Clusters = nil, nil })
	says(t, "granted", v1alpha1.StateSynced, "")
	for _, site := range []string{"paris", "tokyo", "denver"} {
		arrives(t, site, "apps", "granted", data)
	}

	// One cluster is taken back without a question, and then all, also during a pause.
	changeGrant(t, "granted", func(s *v1alpha1.SecretGrantSpec) {
		s.Clusters = []v1alpha1.ClusterTarget{{ClusterName: "paris", DoNotDeploy: true}, {ClusterSelector: &metav1.LabelSelector{}}}
	})
	goes(t, "paris", "apps", "granted")
	assert.Equal(t, v1alpha1.ClusterNotGranted, row(t, "granted", "paris", v1alpha1.ClusterPending).Reason)
	arrives(t, "tokyo", "apps", "granted", data)

	change(t, "granted", func(hs *v1alpha1.FleetHandshake) { hs.Spec.Paused = true })
	untilBundle(t, name, "is paused", func(b *fleet.Bundle) bool { return b.Spec.Paused })
	require.NoError(t, hub.Grants.Delete(ctx, platform, "granted"))
	goes(t, "tokyo", "apps", "granted")
	goes(t, "denver", "apps", "granted")
	says(t, "granted", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	assert.Contains(t, happened(t, "granted", v1alpha1.EventWithdrawing), "the Secret is being removed from ")
	assert.Contains(t, happened(t, "granted", v1alpha1.EventWithdrawn), "the Secret was removed from ")
	eventually(t, func(ctx context.Context) error {
		if _, err := hub.Bundles.Get(ctx, workspace, name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("bundle %s is still there: %w", name, err)
		}
		now, err := hub.Handshakes.Get(ctx, workspace, "granted")
		if err == nil && now.Status.Revision != "" {
			err = fmt.Errorf("the status still speaks of revision %s", now.Status.Revision)
		}
		return err
	})

	t.Run("the audit log tells it", func(t *testing.T) {
		for _, line := range []string{
			`decision=refuse .*handshake=fleet-default/granted .*reason=NotGranted`,
			`clusters="\[paris tokyo\]" decision=send .*grants="\[granted\]" handshake=fleet-default/granted .*reason=NewRevision revision=[0-9a-f]{12} source=platform/granted sourceVersion=[0-9]+ targetNamespace=apps`,
			`clusters="\[paris\]" decision=withdraw .*handshake=fleet-default/granted .*reason=NotGranted`,
			`clusters="\[denver tokyo\]" decision=withdraw .*handshake=fleet-default/granted .*reason=NotGranted`,
		} {
			assert.Regexp(t, line, logs.String())
		}
	})
}

// TestTheAuthorCannotHoldWhatIsTakenBack has what an author may do to a FleetHandshake before the owner of the Secret
// takes the consent back.
func TestTheAuthorCannotHoldWhatIsTakenBack(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	revoke := func(t *testing.T, name string) {
		t.Helper()
		require.NoError(t, hub.Grants.Delete(ctx, platform, name))
	}
	spec := func(edit func(*v1alpha1.FleetHandshakeSpec)) func(*testing.T, *v1alpha1.FleetHandshake) {
		return func(t *testing.T, hs *v1alpha1.FleetHandshake) {
			t.Helper()
			change(t, hs.Name, func(hs *v1alpha1.FleetHandshake) { edit(&hs.Spec) })
			eventually(t, func(ctx context.Context) error {
				now, err := hub.Handshakes.Get(ctx, workspace, hs.Name)
				if err == nil && now.Status.ObservedGeneration != now.Generation {
					err = fmt.Errorf("%s is not worked off", hs.Name)
				}
				return err
			})
		}
	}
	breakTargets := spec(func(s *v1alpha1.FleetHandshakeSpec) {
		s.Targets[0].ClusterSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Equals"}}}
	})
	for title, c := range map[string]struct {
		name     string
		hold     func(*testing.T, *v1alpha1.FleetHandshake)
		takeBack func(*testing.T, string)
	}{
		"broken targets": {"hold-targets", breakTargets, revoke},
		"broken targets, and the Secret is marked": {"hold-marked", breakTargets, func(t *testing.T, name string) {
			secret, err := hub.CoreV1().Secrets(platform).Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			secret.Labels = map[string]string{v1alpha1.NeverSend: "true"}
			_, err = hub.CoreV1().Secrets(platform).Update(ctx, secret, metav1.UpdateOptions{})
			require.NoError(t, err)
		}},
		"broken targets, and the grant no longer covers the cluster": {"hold-cluster", breakTargets, func(t *testing.T, name string) {
			changeGrant(t, name, func(s *v1alpha1.SecretGrantSpec) { s.Clusters = []v1alpha1.ClusterTarget{{ClusterName: "tokyo"}} })
		}},
		"the grant no longer has any of its keys": {"hold-keys", func(*testing.T, *v1alpha1.FleetHandshake) {}, func(t *testing.T, name string) {
			changeGrant(t, name, func(s *v1alpha1.SecretGrantSpec) { s.Keys = []string{"another"} })
		}},
		"a rollout that lets nothing pass": {"hold-rollout", spec(func(s *v1alpha1.FleetHandshakeSpec) {
			s.RolloutStrategy = &v1alpha1.RolloutStrategy{MaxUnavailable: ptr.To(intstr.FromInt32(0))}
		}), revoke},
		"another Secret is named, which does not exist": {"hold-source", spec(func(s *v1alpha1.FleetHandshakeSpec) {
			s.SecretNamespace = workspace
		}), revoke},
		"the values Secret is made a foreign one": {"hold-values", func(t *testing.T, hs *v1alpha1.FleetHandshake) {
			_, err := hub.CoreV1().Secrets(workspace).Patch(ctx, bundle.NameFor(hs), types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = hub.CoreV1().Secrets(workspace).Delete(ctx, bundle.NameFor(hs), metav1.DeleteOptions{}) })
			says(t, hs.Name, v1alpha1.StateError, v1alpha1.ReasonNameTaken)
		}, revoke},
		"another target namespace and a pause": {"hold-former", spec(func(s *v1alpha1.FleetHandshakeSpec) {
			s.TargetNamespace, s.Paused, s.DeletionPolicy = "elsewhere", true, v1alpha1.DeletionRetain
		}), revoke},
	} {
		t.Run(title, func(t *testing.T) {
			data := map[string][]byte{"password": secretValue(c.name)}
			createOfPlatform(t, c.name, data, v1alpha1.ClusterTarget{ClusterName: "paris"})
			allow(t, c.name)
			hs := says(t, c.name, v1alpha1.StateSynced, "")
			c.hold(t, hs)
			arrives(t, "paris", "apps", c.name, data)
			c.takeBack(t, c.name)
			goes(t, "paris", "apps", c.name)
		})
	}
}

func TestRetainDoesNotKeepWhatWasTakenBackMeanwhile(t *testing.T) {
	ctx := context.Background()
	data := map[string][]byte{"password": secretValue("retained without consent")}
	secret, hs := ofPlatform(t, "no-consent", data, v1alpha1.ClusterTarget{ClusterName: "paris"})
	hs.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	create(t, secret, hs)
	t.Run("sent", func(t *testing.T) {
		allow(t, "no-consent")
		startOperator(t)
		says(t, "no-consent", v1alpha1.StateSynced, "")
	})
	// The operator has ended, and then the grant has gone.
	require.NoError(t, hub.Handshakes.Delete(ctx, workspace, "no-consent"))
	arrives(t, "paris", "apps", "no-consent", data)
	startOperator(t)
	goes(t, "paris", "apps", "no-consent")
	disappears(t, "no-consent")
}

func TestAGrantExpires(t *testing.T) {
	startOperator(t)
	data := map[string][]byte{"password": secretValue("for a while")}
	createOfPlatform(t, "expiring", data, v1alpha1.ClusterTarget{ClusterName: "paris"})
	// The API knows whole seconds.
	end := metav1.NewTime(time.Now().Add(15 * time.Second).Truncate(time.Second))
	allow(t, "expiring", func(s *v1alpha1.SecretGrantSpec) { s.ExpiresAt = &end })
	arrives(t, "paris", "apps", "expiring", data)
	goes(t, "paris", "apps", "expiring")
	assert.False(t, time.Now().Before(end.Time), "it went before the grant had expired")
	hs := says(t, "expiring", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	assert.Contains(t, hs.Status.Conditions[0].Message, "SecretGrant platform/expiring has expired at "+end.UTC().Format(time.RFC3339))
}

func TestCopiesCanBeKeptWhenAGrantIsRevoked(t *testing.T) {
	startOperator(t, func(o *operator.Options) { o.RevokedGrants = operator.KeepRevoked })
	data := map[string][]byte{"password": secretValue("kept")}
	createOfPlatform(t, "kept", data, v1alpha1.ClusterTarget{ClusterName: "paris"})
	allow(t, "kept")
	before := says(t, "kept", v1alpha1.StateSynced, "")

	require.NoError(t, hub.Grants.Delete(context.Background(), platform, "kept"))
	says(t, "kept", v1alpha1.StateError, v1alpha1.ReasonNotGranted)
	_, begin := writesSince(t, 0)
	secret, err := hub.CoreV1().Secrets(platform).Get(context.Background(), "kept", metav1.GetOptions{})
	require.NoError(t, err)
	secret.Data = map[string][]byte{"password": secretValue("not sent any more")}
	_, err = hub.CoreV1().Secrets(platform).Update(context.Background(), secret, metav1.UpdateOptions{})
	require.NoError(t, err)
	// The operator looks at the handshake once more after the rotation.
	name := bundle.NameFor(before)
	former, err := hub.Bundles.Get(context.Background(), workspace, name)
	require.NoError(t, err)
	askForResync(t, "kept")
	untilBundle(t, name, "is written again", func(b *fleet.Bundle) bool { return b.Spec.ForceSyncGeneration > former.Spec.ForceSyncGeneration })
	arrives(t, "paris", "apps", "kept", data)
	assert.Empty(t, readsOf(t, platform, "kept", begin))
}

func TestASecretThatItsOwnerMarksIsNeverSent(t *testing.T) {
	startOperator(t)
	ctx := context.Background()
	mark := func(name, value string) {
		t.Helper()
		eventually(t, func(context.Context) error {
			secret, err := hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			secret.Annotations = map[string]string{v1alpha1.NeverSend: value}
			_, err = hub.CoreV1().Secrets(workspace).Update(ctx, secret, metav1.UpdateOptions{})
			return err
		})
	}
	data := map[string][]byte{"password": secretValue("marked")}
	labelled := source("marked-from-the-start", data)
	labelled.Labels = map[string]string{v1alpha1.NeverSend: "true"}
	create(t, labelled, toGroup("marked-from-the-start"))
	assert.Empty(t, says(t, "marked-from-the-start", v1alpha1.StateError, v1alpha1.ReasonNeverSend).Status.Bundles)

	create(t, source("marked", data), toGroup("marked"))
	says(t, "marked", v1alpha1.StateSynced, "")
	mark("marked", "true")
	goes(t, "paris", "apps", "marked")
	goes(t, "tokyo", "apps", "marked")
	says(t, "marked", v1alpha1.StateError, v1alpha1.ReasonNeverSend)
	mark("marked", "false")
	says(t, "marked", v1alpha1.StateSynced, "")
	arrives(t, "paris", "apps", "marked", data)
}
