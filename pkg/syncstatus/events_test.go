package syncstatus

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// step is one change and what there is to say of it.
type step struct {
	title  string
	change func(*Input)
	events []Event
}

// play goes through the steps, a minute apart. The agents that report do so all the time.
func play(t *testing.T, in Input, steps []step) {
	t.Helper()
	var last Result
	for _, s := range steps {
		for _, c := range in.Clusters {
			if !c.Status.Agent.LastSeen.Equal(ptr.To(at(2, 4, 5))) {
				c.Status.Agent.LastSeen = metav1.NewTime(in.Now)
			}
		}
		s.change(&in)
		r := aggregate(t, in)
		assert.Equal(t, s.events, Transitions(last.Status, r.Status, last.Rows, r.Rows), s.title)
		in, last = in.after(r), r
		in.Now = in.Now.Add(time.Minute)
	}
}

func nothing(*Input) {}

func (in *Input) all(change func(*fleet.BundleDeployment)) {
	for _, bd := range in.Deployments {
		change(bd)
	}
}

func (in *Input) send(revision, from string) {
	in.Bundle.Annotations[v1alpha1.AnnotationDelivery] = `{"revisions":[{"from":` + from + `,"revision":"` + revision + `","at":"2026-01-02T03:00:00.000000Z"}]}`
}

func TestEventsOfADelivery(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"nothing was sent yet", func(in *Input) {
			in.Bundle.Annotations = map[string]string{}
		}, nil},
		{"it is sent", func(in *Input) {
			in.send("r1", "3")
			in.all(waiting)
		}, []Event{{false, "Sent", "revision r1 is on its way to 8 clusters"}}},
		{"some have it", func(in *Input) {
			appliedNumber(in.Deployments[0], 3)
			appliedNumber(in.Deployments[1], 3)
		}, nil},
		{"all have it", func(in *Input) {
			in.all(func(bd *fleet.BundleDeployment) { appliedNumber(bd, 3) })
		}, []Event{{false, "Synced", "revision r1 has arrived in all of 8 clusters"}}},
		{"nothing changes", nothing, nil},
		{"the same is written again", func(in *Input) {
			in.all(func(bd *fleet.BundleDeployment) { staged(bd, 4); handedOn(bd, 4) })
		}, nil},
		{"another revision is sent", func(in *Input) {
			in.send("r2", "5")
			in.all(func(bd *fleet.BundleDeployment) { staged(bd, 5); handedOn(bd, 5) })
		}, []Event{{false, "Sent", "revision r2 is on its way to 8 clusters"}}},
		{"another one is sent, and all have it at once", func(in *Input) {
			in.send("r3", "6")
			in.all(func(bd *fleet.BundleDeployment) { staged(bd, 6); handedOn(bd, 6); appliedNumber(bd, 6) })
		}, []Event{{false, "Sent", "revision r3 is on its way to 8 clusters"}, {false, "Synced", "revision r3 has arrived in all of 8 clusters"}}},
		{"a cluster is no longer matched", func(in *Input) {
			in.unmatch()
			in.tell(7, bundle.Target{Withdraw: true, Number: 7})
		}, []Event{{false, "Withdrawing", "the Secret is being removed from 1 cluster: c00007"}}},
		{"nothing changes", nothing, nil},
		{"its agent does not report", func(in *Input) { silent(in.Clusters[7]) }, nil},
		{"it has removed its copy", func(in *Input) { in.Bundle.Spec.Targets = in.Bundle.Spec.Targets[:7] }, nil},
		{"somebody has deleted the Bundle", func(in *Input) { in.Bundle, in.Deployments = nil, nil }, nil},
	})
}

func TestEventsOfDrift(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"the operator has just started", nothing, []Event{
			{false, "Sent", "revision r2 is on its way to 8 clusters"}, {false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"one copy is deleted", func(in *Input) { modifiedCopy(in.Deployments[3], fleet.ModifiedStatus{Create: true}) },
			[]Event{{true, "DriftFound", "the copy was deleted or edited in 1 cluster: c00003"}}},
		{"nothing changes", nothing, nil},
		{"it was edited too", func(in *Input) { modifiedCopy(in.Deployments[3], fleet.ModifiedStatus{}) }, nil},
		{"all others are deleted", func(in *Input) {
			in.all(func(bd *fleet.BundleDeployment) { modifiedCopy(bd, fleet.ModifiedStatus{Create: true}) })
		}, []Event{{true, "DriftFound", "the copy was deleted or edited in 7 clusters: c00000, c00001, c00002, c00004, c00005 and 2 more"}}},
		{"they are put right", func(in *Input) {
			in.all(func(bd *fleet.BundleDeployment) { bd.Status.NonModified, bd.Status.ModifiedStatus = true, nil })
		}, []Event{
			{false, "DriftRepaired", "the copy is as it should be again in 8 clusters: c00000, c00001, c00002, c00003, c00004 and 3 more"},
			{false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
	})
}

func TestEventsOfClustersThatDoNotReport(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"the operator has just started, and one does not report", func(in *Input) { silent(in.Clusters[7]) }, []Event{
			{false, "Sent", "revision r2 is on its way to 8 clusters"}, {true, "ClusterOffline", "no report from 1 cluster: c00007"}}},
		{"nothing changes", nothing, nil},
		{"all but one do not report", func(in *Input) {
			for _, c := range in.Clusters[1:] {
				silent(c)
			}
		}, []Event{{true, "ClusterOffline", "no report from 6 clusters: c00001, c00002, c00003, c00004, c00005 and 1 more"}}},
		{"two report again, and one of them does not have it", func(in *Input) {
			in.Clusters[1].Status.Agent.LastSeen, in.Clusters[2].Status.Agent.LastSeen = metav1.NewTime(in.Now), metav1.NewTime(in.Now)
			waiting(in.Deployments[2])
		}, []Event{{false, "ClusterOnline", "reports again from 2 clusters: c00002, c00001"}}},
		{"one that does not report is withdrawn from", func(in *Input) {
			in.unmatch()
			in.tell(7, bundle.Target{Withdraw: true, Number: 5})
		}, []Event{{false, "Withdrawing", "the Secret is being removed from 1 cluster: c00007"}}},
		{"the handshake is deleted", func(in *Input) {
			in.Handshake.DeletionTimestamp = ptr.To(metav1.NewTime(in.Now))
			for i := range in.Clusters {
				in.tell(i, bundle.Target{Withdraw: true, Number: 6})
			}
		}, []Event{{false, "Removing", "waiting for the confirmation of 8 clusters: c00000, c00001, c00002, c00003, c00004 and 3 more. To stop waiting: kubectl annotate fhs -n fleet-default hs fleethandshake.io/force-delete=true"}}},
	})
}

func TestEventsOfWhatAPersonHasToMend(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"the operator has just started", nothing, []Event{
			{false, "Sent", "revision r2 is on its way to 8 clusters"}, {false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"one fails", func(in *Input) { irreplaceableCopy(in.Deployments[0], "") }, []Event{
			{true, "ClusterFailed", "7 of 8 clusters have the current revision; 1 cluster could not apply it: c00000. The rows in status.clusters say what to do"}}},
		{"nothing changes", nothing, nil},
		{"more fail", func(in *Input) {
			irreplaceableCopy(in.Deployments[1], "")
			irreplaceableCopy(in.Deployments[2], "Immutable")
		}, nil},
		{"a foreign Secret is in the way", func(in *Input) { refusing(in.Deployments[3], "SecretExists") }, []Event{
			{true, "Conflict", "4 of 8 clusters have the current revision; in 1 cluster a Secret of that name is there that is not ours: c00003. Delete it there, or set spec.conflictPolicy to Adopt"}}},
		{"all is well", func(in *Input) {
			in.all(func(bd *fleet.BundleDeployment) {
				appliedNumber(bd, 3)
				bd.Status.Ready, bd.Status.NonModified, bd.Status.Conditions = true, true, nil
			})
		}, []Event{{false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"the name is taken", problem("NameTaken", false), []Event{{true, "NameTaken", "mend it"}}},
		{"the Secret is too large", problem("TooLarge", true), []Event{{true, "TooLarge", "mend it"}}},
		{"the Secret is smaller", func(in *Input) { in.Problem = nil }, []Event{{false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
	})
}

func TestEventsOfAMissingSecret(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"the operator has just started", nothing, []Event{
			{false, "Sent", "revision r2 is on its way to 8 clusters"}, {false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"the Secret is deleted", func(in *Input) { in.Problem = missing() }, []Event{{true, "SecretNotFound", "create it"}}},
		{"a person has to look", nothing, nil},
		{"nothing changes", nothing, nil},
		{"the Secret is there, and cannot be sent", problem("UnsupportedType", true), []Event{{true, "UnsupportedType", "mend it"}}},
		{"the Secret is deleted again", func(in *Input) { in.Problem = missing() }, []Event{{true, "SecretNotFound", "create it"}}},
		{"a person has to look again", nothing, nil},
		{"the Secret is there", func(in *Input) { in.Problem = nil }, []Event{{false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
	})
}

func TestEventsOfConsent(t *testing.T) {
	play(t, input(many(8)...), []step{
		{"the operator has just started", nothing, []Event{
			{false, "Sent", "revision r2 is on its way to 8 clusters"}, {false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"two clusters may not have it any more", func(in *Input) {
			in.refuse(6, bundle.Target{Withdraw: true, Number: 5})
			in.refuse(7, bundle.Target{Withdraw: true, Number: 5})
		}, []Event{
			{false, "Withdrawing", "the Secret is being removed from 2 clusters: c00006, c00007"},
			{true, "NotGranted", "6 of 6 clusters have the current revision; ask its owner"}}},
		{"nothing changes", nothing, nil},
		{"one has removed its copy", func(in *Input) { in.refuse(7) }, nil},
		{"a third may not have it", func(in *Input) { in.refuse(5, bundle.Target{Withdraw: true, Number: 6}) },
			[]Event{{false, "Withdrawing", "the Secret is being removed from 1 cluster: c00005"}}},
		{"both have removed their copies", func(in *Input) {
			in.refuse(5)
			in.refuse(6)
		}, nil},
		{"all may have it again", func(in *Input) { in.Refused, in.Matched = nil, in.Clusters }, nil},
		{"they have it", func(in *Input) {
			for i := range in.Clusters {
				in.tell(i, bundle.Target{})
			}
		}, []Event{{false, "Synced", "revision r2 has arrived in all of 8 clusters"}}},
		{"no cluster may have it", func(in *Input) {
			problem("NotGranted", true)(in)
			in.Withdraw, in.Matched = true, nil
			for i := range in.Clusters {
				in.tell(i, bundle.Target{Withdraw: true, Number: 7})
			}
		}, []Event{
			{false, "Withdrawing", "the Secret is being removed from 8 clusters: c00000, c00001, c00002, c00003, c00004 and 3 more"},
			{true, "NotGranted", "mend it"}}},
		{"the handshake is deleted", func(in *Input) {
			in.Handshake.DeletionTimestamp, in.Problem = ptr.To(metav1.NewTime(in.Now)), nil
		}, []Event{{false, "Removing", "waiting for the confirmation of 8 clusters: c00000, c00001, c00002, c00003, c00004 and 3 more. To stop waiting: kubectl annotate fhs -n fleet-default hs fleethandshake.io/force-delete=true"}}},
	})
}

func TestEventsOfAHandshakeThatIsDeleted(t *testing.T) {
	play(t, input(many(2)...), []step{
		{"the operator has just started", nothing, []Event{
			{false, "Sent", "revision r2 is on its way to 2 clusters"}, {false, "Synced", "revision r2 has arrived in all of 2 clusters"}}},
		{"it is deleted", func(in *Input) {
			in.Handshake.DeletionTimestamp = ptr.To(metav1.NewTime(in.Now))
			in.tell(0, bundle.Target{Withdraw: true, Number: 5})
			in.tell(1, bundle.Target{Withdraw: true, Number: 5})
		}, []Event{{false, "Removing", "waiting for the confirmation of 2 clusters: c00000, c00001. To stop waiting: kubectl annotate fhs -n fleet-default hs fleethandshake.io/force-delete=true"}}},
		{"one has removed its copy", func(in *Input) { in.Bundle.Spec.Targets = in.Bundle.Spec.Targets[:1] }, nil},
	})
}

func TestNoEventsForRowsThatWereLeftOutOfTheStatus(t *testing.T) {
	in := input(many(300)...)
	for _, c := range in.Clusters[:150] {
		silent(c)
	}
	for _, bd := range in.Deployments[150:] {
		modifiedCopy(bd, fleet.ModifiedStatus{Create: true})
	}
	in.Matched = in.Matched[:280]
	for i := range in.Clusters[280:] {
		in.tell(280+i, bundle.Target{Withdraw: true, Number: 5})
	}
	r := aggregate(t, in)
	in = in.after(r)
	in.Before = r.Status.Clusters // what is left after a restart
	silent(in.Clusters[150])
	again := Aggregate(in)
	assert.Empty(t, Transitions(r.Status, again.Status, in.Before, again.Rows))

	in.Clusters[0].Status.Agent.LastSeen = at(3, 4, 5)
	again = Aggregate(in)
	assert.Equal(t, []Event{{false, "ClusterOnline", "reports again from 1 cluster: c00000"}}, Transitions(r.Status, again.Status, in.Before, again.Rows))
}
