package syncstatus

import (
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestOffline(t *testing.T) {
	for title, c := range map[string]struct {
		created, seen metav1.Time
		state         v1alpha1.ClusterState
		next          time.Time
	}{
		"the agent has just reported":                     {at(0, 0, 0), at(3, 4, 5), "Synced", at(3, 49, 5).Time},
		"the agent reported a moment less than 45m ago":   {at(0, 0, 0), at(2, 19, 6), "Synced", at(3, 4, 6).Time},
		"the agent reported 45m ago":                      {at(0, 0, 0), at(2, 19, 5), "Offline", time.Time{}},
		"the agent reported 45m ago to the moment":        {at(0, 0, 0), metav1.NewTime(now.Add(-45 * time.Minute)), "Offline", time.Time{}},
		"the agent has not reported, and is new":          {at(3, 0, 0), metav1.Time{}, "Synced", at(3, 45, 0).Time},
		"the agent has not reported since it was created": {at(2, 0, 0), metav1.Time{}, "Offline", time.Time{}},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			in.Clusters[0].CreationTimestamp, in.Clusters[0].Status.Agent.LastSeen = c.created, c.seen
			r := aggregate(t, in)
			assert.Equal(t, c.state, r.Rows[0].State)
			assert.Equal(t, c.next, r.Next.UTC())
		})
	}
}

func TestNextIsWhenTheNextClusterChanges(t *testing.T) {
	for title, c := range map[string]struct {
		change func(*Input)
		next   time.Time
	}{
		"no cluster": {func(in *Input) { in.Clusters, in.Matched, in.Bundle.Spec.Targets = nil, nil, nil }, time.Time{}},
		"both become offline, one of them first": {func(in *Input) { in.Clusters[1].Status.Agent.LastSeen = at(2, 30, 0) },
			at(3, 15, 0).Time},
		"one is offline already": {func(in *Input) { silent(in.Clusters[1]) }, at(3, 48, 5).Time},
		"both are offline":       {func(in *Input) { silent(in.Clusters[0]); silent(in.Clusters[1]) }, time.Time{}},
		"a cluster that does not matter goes offline before": {func(in *Input) {
			in.Clusters = append(in.Clusters, &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "other", CreationTimestamp: at(3, 0, 0)}})
		}, at(3, 48, 5).Time},
		"one becomes stuck before": {func(in *Input) { waiting(in.Deployments[1]) }, at(3, 10, 0).Time},
		"one becomes stuck, and the other becomes offline before": {func(in *Input) {
			waiting(in.Deployments[1])
			in.Clusters[0].Status.Agent.LastSeen = at(2, 20, 0)
		}, at(3, 5, 0).Time},
		"the Secret is missing, and its time is up before": {func(in *Input) {
			in.Problem = missing()
		}, now.Add(time.Minute)},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris", "tokyo")
			c.change(&in)
			assert.Equal(t, c.next, aggregate(t, in).Next.UTC())
		})
	}
}

func TestStuck(t *testing.T) {
	was := func(state v1alpha1.ClusterState, since metav1.Time) *v1alpha1.ClusterStatus {
		return &v1alpha1.ClusterStatus{Namespace: "fleet-default", Name: "paris", State: state, Since: since}
	}
	justNow := now.Add(10 * time.Minute)
	for title, c := range map[string]struct {
		sent   time.Time
		before *v1alpha1.ClusterStatus
		change func(*Input)
		state  v1alpha1.ClusterState
		since  metav1.Time
		next   time.Time
	}{
		"the revision was sent a moment less than 10m ago":           {sent: now.Add(time.Second - 10*time.Minute), state: "WaitApplied", since: at(3, 4, 5), next: now.Add(time.Second)},
		"the revision was sent 10m ago":                              {sent: now.Add(-10 * time.Minute), state: "Stuck", since: at(3, 4, 5)},
		"the cluster has waited less than 10m":                       {sent: at(1, 0, 0).Time, before: was("WaitApplied", at(2, 54, 6)), state: "WaitApplied", since: at(2, 54, 6), next: at(3, 4, 6).Time},
		"the cluster has waited 10m":                                 {sent: at(1, 0, 0).Time, before: was("WaitApplied", at(2, 54, 5)), state: "Stuck", since: at(3, 4, 5)},
		"the cluster has waited long, and another revision was sent": {sent: at(3, 0, 0).Time, before: was("WaitApplied", at(1, 0, 0)), state: "WaitApplied", since: at(1, 0, 0), next: at(3, 10, 0).Time},
		"the cluster was Offline":                                    {sent: at(1, 0, 0).Time, before: was("Offline", at(1, 0, 0)), state: "WaitApplied", since: at(3, 4, 5), next: justNow},
		"the cluster was OutOfSync":                                  {sent: at(1, 0, 0).Time, before: was("OutOfSync", at(1, 0, 0)), state: "WaitApplied", since: at(3, 4, 5), next: justNow},
		"the cluster was Paused":                                     {sent: at(1, 0, 0).Time, before: was("Paused", at(1, 0, 0)), state: "WaitApplied", since: at(3, 4, 5), next: justNow},
		"the cluster was Stuck":                                      {sent: at(1, 0, 0).Time, before: was("Stuck", at(1, 10, 0)), state: "Stuck", since: at(1, 10, 0)},
		"the cluster was Stuck a moment ago":                         {sent: at(1, 0, 0).Time, before: was("Stuck", at(3, 4, 5)), state: "Stuck", since: at(3, 4, 5)},
		"the cluster was Stuck, and another revision was sent":       {sent: at(3, 0, 0).Time, before: was("Stuck", at(2, 0, 0)), state: "WaitApplied", since: at(3, 4, 5), next: justNow},
		"the cluster was Stuck, and has it now": {sent: at(1, 0, 0).Time, before: was("Stuck", at(1, 10, 0)), state: "Synced", since: at(3, 4, 5),
			change: func(in *Input) { appliedNumber(in.Deployments[0], 3) }},
		"the cluster was Stuck, and does not report now": {sent: at(1, 0, 0).Time, before: was("Stuck", at(1, 10, 0)), state: "Offline", since: at(3, 4, 5),
			change: func(in *Input) { silent(in.Clusters[0]) }},
		"the copy is being recreated": {sent: at(1, 0, 0).Time, before: was("WaitApplied", at(1, 0, 0)), state: "Stuck", since: at(3, 4, 5),
			change: func(in *Input) { in.tell(0, bundle.Target{Withdraw: true, Number: 5}) }},
		"the agent tries, and fails": {sent: at(1, 0, 0).Time, before: was("ErrApplied", at(1, 0, 0)), state: "ErrApplied", since: at(1, 0, 0),
			change: func(in *Input) { irreplaceableCopy(in.Deployments[0], "") }},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris")
			in.record(c.sent)
			waiting(in.Deployments[0])
			if c.before != nil {
				in.Before = []v1alpha1.ClusterStatus{*c.before}
			}
			if c.change != nil {
				c.change(&in)
			}
			r := aggregate(t, in)
			assert.Equal(t, c.state, r.Rows[0].State)
			assert.Equal(t, c.since, r.Rows[0].Since)
			if c.next.IsZero() && c.state != "Offline" {
				c.next = at(3, 48, 5).Time // when it becomes offline
			}
			assert.Equal(t, c.next, r.Next.UTC())
		})
	}
}

func TestAClusterBecomesStuckAndRecovers(t *testing.T) {
	in := input("paris")
	in.OfflineAfter = 1000 * time.Hour
	var r Result
	for _, step := range []struct {
		after  time.Duration
		change func(*Input)
		state  v1alpha1.ClusterState
		since  metav1.Time
	}{
		{0, func(*Input) {}, "Synced", at(3, 4, 5)},
		{time.Hour, func(in *Input) { in.record(at(4, 0, 0).Time); waiting(in.Deployments[0]) }, "WaitApplied", at(4, 4, 5)},
		{10*time.Minute - 2*time.Second, func(*Input) {}, "WaitApplied", at(4, 4, 5)},
		{2 * time.Second, func(*Input) {}, "Stuck", at(4, 14, 5)},
		{5 * time.Hour, func(*Input) {}, "Stuck", at(4, 14, 5)},
		{time.Hour, func(in *Input) { in.record(at(10, 14, 0).Time) }, "WaitApplied", at(10, 14, 5)},
		{time.Minute, func(in *Input) { appliedNumber(in.Deployments[0], 3) }, "Synced", at(10, 15, 5)},
	} {
		in.Now = in.Now.Add(step.after)
		step.change(&in)
		r = aggregate(t, in)
		assert.Equal(t, step.state, r.Rows[0].State)
		assert.Equal(t, step.since, r.Rows[0].Since)
		in = in.after(r)
	}
}

// missing is the problem that the Secret does not exist.
func missing() *Problem {
	return &Problem{State: v1alpha1.StateMissing, Reason: v1alpha1.ReasonSecretNotFound, Message: "create it", Source: true}
}

func TestMissingIsStalledAfterAWhile(t *testing.T) {
	in := input("paris")
	in.Problem = missing()
	for _, step := range []struct {
		after time.Duration
		what  string
	}{
		{0, "Reconciling"},
		{58 * time.Second, "Reconciling"},
		{2 * time.Second, "Stalled"},
		{time.Hour, "Stalled"},
	} {
		in.Now = in.Now.Add(step.after)
		r := aggregate(t, in)
		got := conditions(r)
		delete(got, "SourceAvailable")
		delete(got, "Delivered")
		assert.Equal(t, map[string]string{"Ready": "False SecretNotFound", step.what: "True SecretNotFound"}, got)
		assert.Equal(t, v1alpha1.StateMissing, r.Status.Status)
		in = in.after(r)
	}
}

func TestMissingSinceBeginsAnewAfterAnotherProblem(t *testing.T) {
	in := input("paris")
	assert.Equal(t, now, MissingSince(in.Handshake, now), "nobody has looked yet")
	in.Problem = &Problem{State: v1alpha1.StateError, Reason: v1alpha1.ReasonUnsupportedType, Message: "not this type", Source: true}
	in = in.after(aggregate(t, in))
	assert.Equal(t, now, MissingSince(in.Handshake, now), "it is there")

	in.Now, in.Problem = now.Add(time.Hour), missing()
	r := aggregate(t, in)
	assert.Equal(t, "True SecretNotFound", conditions(r)["Reconciling"])
	in = in.after(r)
	in.Now = in.Now.Add(30 * time.Second)
	assert.Equal(t, now.Add(time.Hour), MissingSince(in.Handshake, in.Now), "the Secret was there until an hour later")
	assert.Equal(t, "True SecretNotFound", conditions(aggregate(t, in))["Reconciling"])
}

func TestOfflineAtOfAClusterThatNeverReported(t *testing.T) {
	c := &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(1, 0, 0), DeletionTimestamp: ptr.To(at(2, 0, 0))}}
	assert.Equal(t, at(1, 45, 0).Time, OfflineAt(c, 45*time.Minute))
	c.Status.Agent.LastSeen = at(2, 0, 0)
	assert.Equal(t, at(2, 45, 0).Time, OfflineAt(c, 45*time.Minute))
}

func TestAClusterThatRefusesStaysWhereItIsWhileItIsAskedAgain(t *testing.T) {
	in := input("paris")
	refusing(in.Deployments[0], "SecretExists")
	first := Aggregate(in)
	assert.Equal(t, v1alpha1.ClusterConflict, first.Rows[0].State)

	// The next attempt is on its way, and the agent has not answered yet.
	record := in.Bundle.Annotations[v1alpha1.AnnotationDelivery]
	in.Bundle.Annotations[v1alpha1.AnnotationDelivery] = strings.Replace(record, `"last":9`, `"last":9,"retries":1`, 1)
	in.tell(0, bundle.Target{Number: 7})
	in.Before, in.Now = first.Rows, in.Now.Add(time.Minute)
	again := Aggregate(in)
	assert.Equal(t, first.Rows, again.Rows)

	// It is applied.
	handedOn(in.Deployments[0], 7)
	appliedNumber(in.Deployments[0], 7)
	in.Deployments[0].Status.Conditions, in.Deployments[0].Status.Ready, in.Deployments[0].Status.NonModified = nil, true, true
	in.Before = again.Rows
	assert.Equal(t, v1alpha1.ClusterSynced, Aggregate(in).Rows[0].State)
}
