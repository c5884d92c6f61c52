package bundle

import (
	"cmp"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// fewClusters is up to how many clusters a change of targets may withdraw from any part of them.
	fewClusters = 5
	// NeverHold is the WithdrawalThreshold that holds nothing.
	NeverHold = 100
	// guardWindow is the time over which withdrawals are added up.
	guardWindow = 10 * time.Minute
)

// Answer is what a cluster has answered.
type Answer struct {
	// Applied is the number that the agent has applied last.
	Applied int64
	// Ready is true when the agent finds what it has applied as it should be.
	Ready bool
	// Refused is true when the agent has given up on an install, and does not try again by itself.
	Refused bool
	// Irreplaceable is true when the copy cannot be changed in place.
	Irreplaceable bool
}

// Outcome is what a plan says beside the Bundle.
type Outcome struct {
	// Held are clusters that no longer match, and keep their copy until somebody confirms the change.
	Held []string
	// Withdrawn are clusters that have confirmed that they have removed their copy.
	Withdrawn []string
	// Unconfirmed are clusters that have not confirmed in time.
	Unconfirmed []string
	// Done is true when no cluster has to be waited for any more before the Bundle can go.
	Done bool
	// Next is when the plan may be another one without any change from outside; zero when never.
	Next time.Time
}

// planner works out the targets and the numbers of one Bundle.
type planner struct {
	Request
	delivery Delivery
	// number is the Bundle's own.
	number  int64
	current map[string]Target
	matched map[string]bool
	// held is true while clusters that no longer match keep their copy until somebody confirms.
	held  bool
	batch int64
	// retried is true when this plan tries again at a cluster, and refused when that refuses still.
	retried, refused bool
	// unaware is true while an agent does not know yet that it has to keep the copy.
	unaware bool
	timer   Timer
	out     Outcome
}

func newPlanner(r Request) *planner {
	// Where there is nothing to send, nobody can have it.
	r.Withdraw = r.Withdraw || r.Revoked || r.Revision == ""
	p := &planner{Request: r, timer: Timer{Now: r.Now}, delivery: DeliveryOf(r.Current), current: TargetsOf(r.Current), matched: map[string]bool{}}
	if r.Current != nil {
		// Somebody may have lowered it. A number that was used before would tell the wrong revision.
		p.number = max(r.Current.Spec.ForceSyncGeneration, p.delivery.Since(), p.delivery.KeptFrom)
	}
	p.delivery = p.delivery.notAfter(r.Now)
	p.delivery.Last = max(p.delivery.Last, p.number)
	for _, t := range p.current {
		p.delivery.Last = max(p.delivery.Last, t.Number)
	}
	for _, a := range r.Answers {
		p.delivery.Last = max(p.delivery.Last, a.Applied)
	}
	for _, c := range r.Matched {
		p.matched[c.Name] = !r.Withdraw
	}
	if r.Current != nil && r.Current.Spec.Paused && !p.paused() {
		// No agent could confirm anything during the pause.
		for i := range p.delivery.Withdrawals {
			p.delivery.Withdrawals[i].At = metav1.NewTime(r.Now)
		}
	}
	p.hold()
	return p
}

// hold decides whether a change of targets takes the Secret from too many clusters to go on unconfirmed. Labels are often
// taken away one after the other, so all that was taken within guardWindow counts.
func (p *planner) hold() {
	if p.Withdraw || p.WithdrawalThreshold >= NeverHold {
		return
	}
	had, refused, leaving := 0, 0, 0
	for _, c := range p.Clusters {
		t, ok := p.current[c.Name]
		if !ok || t.Withdraw {
			continue
		}
		had++
		switch {
		case p.Refused[c.Name]:
			// Its owner has taken it back: that is no mistake in the targets.
			refused++
		case !p.matched[c.Name]:
			leaving++
		}
	}
	g := Guard{Clusters: had, At: metav1.NewTime(p.Now)}
	before := p.delivery.Guard
	if before != nil && (before.Waiting || p.Now.Sub(before.At.Time) < guardWindow) {
		g = *before
	}
	if !g.Waiting {
		g.Clusters = max(g.Clusters, had+g.Taken)
	}
	if leaving == 0 {
		// A change that waited was undone.
		if before != nil && before.Waiting {
			g.Waiting, p.delivery.Guard = false, &g
			if g.Taken == 0 {
				p.delivery.Guard = nil
			}
		}
		return
	}
	confirmed := p.Handshake.Annotations[v1alpha1.AnnotationConfirmWithdrawal] == p.Revision
	tooMany := func(taken, of int) bool { return taken*100 > p.WithdrawalThreshold*of }
	p.held = (g.Clusters > fewClusters && tooMany(g.Taken+leaving, g.Clusters) || had > fewClusters && tooMany(leaving, had-refused)) && !confirmed && !p.paused()
	g.Waiting = p.held || p.paused()
	if !g.Waiting {
		g.Taken += leaving
	}
	p.delivery.Guard = &g
	if confirmed && !g.Waiting {
		p.delivery.Guard = nil
	}
}

func (p *planner) next() int64 {
	p.delivery.Last++
	return p.delivery.Last
}

// own is the number of all targets that this plan gives one of their own.
func (p *planner) own() int64 {
	if p.batch == 0 {
		p.batch = p.next()
	}
	return p.batch
}

// removing says whether the handshake is being deleted. Then neither a pause nor a rollout holds anything back.
func (p *planner) removing() bool { return !p.Handshake.DeletionTimestamp.IsZero() }

func (p *planner) paused() bool { return p.Handshake.Spec.Paused && !p.removing() && !p.Revoked }

func (p *planner) retain() bool {
	return p.Handshake.Spec.DeletionPolicy == v1alpha1.DeletionRetain && !p.Revoked
}

// takingBack says whether a cluster that the Secret may not be in has not confirmed that it has removed it.
func (p *planner) takingBack(targets []Target) bool {
	return slices.ContainsFunc(targets, func(t Target) bool { return t.Withdraw && p.Refused[t.Cluster] })
}

func (p *planner) confirmed(t Target) bool {
	return p.delivery.Confirmed(t, p.Answers[t.Cluster])
}

// allConfirmed says whether every cluster that is to have the Secret, or keeps it, has it, and there is one. Clusters
// that it is taken from do not matter.
func (p *planner) allConfirmed() bool {
	found := false
	for _, c := range p.Clusters {
		t, had := p.current[c.Name]
		switch {
		case !p.matched[c.Name] && (!p.held || p.Refused[c.Name] || !had || t.Withdraw):
		case !had, t.Withdraw, !p.confirmed(t):
			return false
		default:
			found = true
		}
	}
	return found
}

// raise decides whether the Bundle's number has to be raised: then every cluster applies again.
func (p *planner) raise() {
	d, hs := &p.delivery, p.Handshake
	request := LabelValue(hs.Annotations[v1alpha1.AnnotationResyncRequestedAt])
	rotated := d.Revision() != p.Revision && p.Revision != ""
	kept := p.retain() != (d.KeptFrom > 0)
	sending := p.Revision != "" && !p.paused()
	requested := sending && request != "" && request != d.ResyncRequest
	resync := sending && p.timer.Past(d.resyncDue(ResyncInterval(hs), hs.UID))
	confirmed := p.allConfirmed()
	scrub := sending && confirmed && p.timer.Past(d.scrubDue())
	if p.Current == nil || rotated || kept || requested || resync || scrub {
		p.number = p.next()
		if rotated {
			*d = d.sent(p.Source, p.Revision, p.number, p.Now)
		}
		d.Unscrubbed = rotated && p.Current != nil || !rotated && d.Unscrubbed && !confirmed
		if kept {
			d.KeptFrom = 0
			if p.retain() {
				d.KeptFrom = p.number
			}
		}
		d.AssertedAt, d.ResyncRequest = metav1.NewTime(p.Now), request
		d.Retries, d.RetriedAt = 0, nil
	}
	if sending {
		p.timer.Due(d.resyncDue(ResyncInterval(hs), hs.UID))
	}
	if sending && p.allConfirmed() {
		p.timer.Due(d.scrubDue())
	}
}

// targets decides for each cluster.
func (p *planner) targets() []Target {
	var out, leaving []Target
	for _, c := range p.Clusters {
		t, had := p.current[c.Name]
		switch {
		case p.matched[c.Name] && !had:
			out = append(out, p.deliver(p.join(c.Name)))
		case p.matched[c.Name]:
			out = append(out, p.deliver(t))
		case !had:
		case !t.Withdraw:
			leaving = append(leaving, t)
		default:
			out = append(out, p.finish(t)...)
		}
	}
	left := p.leave(leaving)
	p.out.Done = len(out) == 0 && (len(left) == 0 || p.removing() && p.retain() && !p.unaware)
	out = append(out, left...)
	if p.retried {
		p.delivery.Retries++
		p.delivery.RetriedAt = &metav1.Time{Time: p.Now}
	}
	if p.refused {
		p.timer.Due(p.delivery.retryDue())
	}
	p.delivery.Withdrawals = slices.DeleteFunc(p.delivery.Withdrawals, func(w Withdrawal) bool {
		return !slices.ContainsFunc(out, func(t Target) bool { return t.Withdraw && t.Number == w.Number })
	})
	slices.SortFunc(out, func(a, b Target) int { return cmp.Compare(a.Cluster, b.Cluster) })
	for _, names := range [][]string{p.out.Held, p.out.Withdrawn, p.out.Unconfirmed} {
		slices.Sort(names)
	}
	return out
}

// join is the target of a cluster that is new. When it still has a BundleDeployment from before, its answer must not be
// taken for one to this target.
func (p *planner) join(cluster string) Target {
	t := Target{Cluster: cluster}
	if p.Answers[cluster].Applied >= p.delivery.Since() && p.Answers[cluster].Applied > 0 {
		t.Number = p.own()
	}
	return t
}

// deliver is the next target of a cluster that is to have the Secret.
func (p *planner) deliver(t Target) Target {
	a := p.Answers[t.Cluster]
	_, ours := p.delivery.withdrawnAt(t.Number)
	switch {
	case p.paused():
	case t.Withdraw && (p.confirmed(t) || !ours):
		return Target{Cluster: t.Cluster, Number: p.own()}
	case t.Withdraw:
	case a.Irreplaceable && p.matched[t.Cluster] && p.Handshake.Spec.ReplacePolicy == v1alpha1.ReplaceRecreate && (p.delivery.Retries == 0 || p.timer.Due(p.delivery.retryDue())):
		p.retried = true
		return p.withdraw(t)
	case a.Refused && p.timer.Due(p.delivery.retryDue()):
		p.retried, p.refused = true, true
		return Target{Cluster: t.Cluster, Number: p.own()}
	case t.Number > 0 && (t.Number < p.delivery.Since() || t.Number < p.number && p.confirmed(t)):
		t.Number = 0
	}
	return t
}

func (p *planner) withdraw(t Target) Target {
	number := p.own()
	w := Withdrawal{Number: number, At: metav1.NewTime(p.Now)}
	if !slices.Contains(p.delivery.Withdrawals, w) {
		p.delivery.Withdrawals = append(p.delivery.Withdrawals, w)
	}
	return Target{Cluster: t.Cluster, Withdraw: true, Number: number}
}

// finish keeps the target of a cluster that is to remove its copy as long as it has to be waited for.
func (p *planner) finish(t Target) []Target {
	if p.paused() {
		return []Target{t}
	}
	at, ours := p.delivery.withdrawnAt(t.Number)
	if !ours {
		// Somebody has changed the target or its record.
		t, at = p.withdraw(t), p.Now
	}
	if p.removing() && at.Before(p.Handshake.DeletionTimestamp.Time) {
		at = p.Handshake.DeletionTimestamp.Time
	}
	_, answers := p.Answers[t.Cluster]
	switch {
	case p.confirmed(t):
		p.out.Withdrawn = append(p.out.Withdrawn, t.Cluster)
		return nil
	case !answers:
		// Fleet has made nothing for it, or has removed it already.
		return nil
	case p.delivery.KeptFrom > 0 && !p.removing():
		// An agent that is away has been told to keep the copy when the Bundle goes, so it is waited for.
	case RemovalForced(p.Handshake) || p.timer.Due(at.Add(RemovalTimeout(p.Handshake))):
		p.out.Unconfirmed = append(p.out.Unconfirmed, t.Cluster)
		return nil
	}
	return []Target{t}
}

// leave decides about clusters that have the Secret and are not to have it any more.
func (p *planner) leave(leaving []Target) []Target {
	if p.removing() && p.retain() {
		return p.retained(leaving)
	}
	var out []Target
	for _, t := range leaving {
		switch {
		case p.held && !p.Refused[t.Cluster]:
			p.out.Held = append(p.out.Held, t.Cluster)
			out = append(out, p.deliver(t))
		case p.paused():
			out = append(out, t)
		default:
			out = append(out, p.finish(p.withdraw(t))...)
		}
	}
	return out
}

// retained waits until every agent knows that it has to keep the copy.
func (p *planner) retained(targets []Target) []Target {
	var out []Target
	for _, t := range targets {
		a, answers := p.Answers[t.Cluster]
		switch {
		case !answers || a.Applied >= p.delivery.KeptFrom && p.delivery.KeptFrom > 0:
		case RemovalForced(p.Handshake) || p.timer.Due(RemovalDeadline(p.Handshake)):
			p.out.Unconfirmed = append(p.out.Unconfirmed, t.Cluster)
		default:
			p.unaware = true
		}
		if t.Number < p.delivery.KeptFrom {
			// Its own number would hide whether the agent knows.
			t.Number = 0
		}
		out = append(out, t)
	}
	return out
}
