package bundle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
)

// TestWhateverHappensThePlanKeepsItsPromisesAndSettles plays random events, with clusters that answer truthfully.
func TestWhateverHappensThePlanKeepsItsPromisesAndSettles(t *testing.T) {
	for seed := range uint64(80) {
		w := newWorld(rand.New(rand.NewPCG(seed, 0)))
		var log []string
		report := func() {
			if t.Failed() {
				t.Logf("seed %d: %v", seed, log)
			}
		}
		func() {
			defer report()
			for range 80 {
				log = append(log, w.event())
				w.turn(t)
				log = append(log, w.say())
			}
			w.heal()
			for range 40 {
				w.turn(t)
				log = append(log, w.say())
			}
			w.settled(t)
		}()
	}
}

// world is a story whose clusters answer by themselves.
type world struct {
	*story
	random *rand.Rand
	agents map[string]*agent
	// wanted are the clusters that the targets match, and denied those that the Secret may not be in.
	wanted []*fleet.Cluster
	denied map[string]bool
	// told is what was sent to each cluster under each number, and leaving since when it is told to remove its copy.
	told    map[string]map[int64]string
	leaving map[string]time.Time
}

// agent is a cluster, with its BundleDeployment.
type agent struct {
	// known is true while there is a BundleDeployment, and going while that is being deleted.
	known, going bool
	// number and content are what it is told; applied and has what it has done. A content is a revision, or empty.
	number, applied int64
	content, has    string
	answer          Answer
	// offline: it does nothing. refuses: it installs nothing. stuck: it can change nothing in place.
	offline, refuses, stuck bool
}

func newWorld(random *rand.Rand) *world {
	w := &world{story: newStory(), random: random, agents: map[string]*agent{}, told: map[string]map[int64]string{}, leaving: map[string]time.Time{}, denied: map[string]bool{}}
	if random.IntN(2) == 0 {
		w.Handshake.Spec.ResyncInterval = nil
	}
	if random.IntN(2) == 0 {
		w.Handshake.Spec.ReplacePolicy = v1alpha1.ReplaceRecreate
	}
	for i := range 4 + random.IntN(6) {
		w.add(fmt.Sprintf("c%d", i))
	}
	w.wanted = slices.Clone(w.Clusters)
	return w
}

func (w *world) add(name string) {
	w.Clusters = append(w.Clusters, clusters(name)...)
	w.agents[name], w.told[name] = &agent{}, map[int64]string{}
}

// event changes something, and says what.
func (w *world) event() string {
	if len(w.Clusters) == 0 {
		w.add("c0")
	}
	c := w.Clusters[w.random.IntN(len(w.Clusters))]
	a := w.agents[c.Name]
	isIt := func(other *fleet.Cluster) bool { return other.Name == c.Name }
	switch n := w.random.IntN(24); n {
	case 0, 1:
		if w.Revoked {
			return ""
		}
		revision := fmt.Sprintf("r%d", w.random.IntN(1e9))
		w.rotate(revision)
		return "rotate " + revision
	case 2, 3, 4:
		if slices.ContainsFunc(w.wanted, isIt) {
			w.wanted = slices.DeleteFunc(w.wanted, isIt)
			return "unmatch " + c.Name
		}
		w.wanted = append(w.wanted, c)
		return "match " + c.Name
	case 5:
		w.wanted = slices.Clone(w.Clusters[w.random.IntN(len(w.Clusters)):])
		return fmt.Sprintf("match %d", len(w.wanted))
	case 6:
		w.Clusters = slices.DeleteFunc(w.Clusters, isIt)
		w.wanted = slices.DeleteFunc(w.wanted, isIt)
		delete(w.agents, c.Name)
		return "lose " + c.Name
	case 7:
		name := fmt.Sprintf("c%d", w.random.IntN(12))
		if w.agents[name] == nil {
			w.add(name)
		}
		return "add " + name
	case 8, 9:
		a.offline = !a.offline
		return fmt.Sprintf("offline %s %t", c.Name, a.offline)
	case 10:
		a.refuses = !a.refuses
		return fmt.Sprintf("refuse %s %t", c.Name, a.refuses)
	case 11:
		a.stuck = !a.stuck
		return fmt.Sprintf("stuck %s %t", c.Name, a.stuck)
	case 12:
		w.Handshake.Spec.Paused = !w.Handshake.Spec.Paused
		return fmt.Sprintf("paused %t", w.Handshake.Spec.Paused)
	case 13:
		annotate(v1alpha1.AnnotationConfirmWithdrawal, w.Revision)(w.story)
		return "confirm"
	case 14:
		annotate(v1alpha1.AnnotationResyncRequestedAt, w.Now.String())(w.story)
		return "resync"
	case 15:
		return w.tamper()
	case 16, 17, 18:
		w.denied[c.Name] = !w.denied[c.Name]
		return fmt.Sprintf("deny %s %t", c.Name, w.denied[c.Name])
	case 19:
		if w.Revoked {
			w.consent()
			return "consent"
		}
		revoke(w.story)
		return "revoke"
	default:
		d := []time.Duration{0, time.Second, 5 * time.Second, time.Minute, 10 * time.Minute, time.Hour}[w.random.IntN(6)]
		w.Now = w.Now.Add(d)
		return d.String()
	}
}

// consent lets the Secret be sent again. What is sent then has a revision of its own.
func (w *world) consent() {
	w.Revoked = false
	w.rotate(fmt.Sprintf("r%d", w.random.IntN(1e9)))
}

func (w *world) tamper() string {
	if w.Current == nil {
		return ""
	}
	w.Current = w.Current.DeepCopy()
	targets := w.Current.Spec.Targets
	switch n := w.random.IntN(5); {
	case n == 0:
		w.Current.Spec.ForceSyncGeneration = 1
		return "lower the number"
	case n == 1:
		w.Current.Annotations = nil
		return "forget the record"
	case n == 2 && len(targets) > 0:
		w.Current.Spec.Targets = targets[:w.random.IntN(len(targets))]
		return "lose targets"
	case n == 3 && len(targets) > 0 && targets[0].Name == "withdraw":
		targets[0].ForceSyncGeneration = 1
		return "lower the number of a withdrawal"
	case n == 4 && len(targets) > 0:
		w.Current.Spec.Targets = append(w.Current.Spec.Targets, targets[0])
		return "name one twice"
	}
	return ""
}

// turn renders, checks, hands on, and lets the agents work.
func (w *world) turn(t *testing.T) {
	t.Helper()
	w.Answers = map[string]Answer{}
	for _, c := range w.Clusters {
		if a := w.agents[c.Name]; a.known && !a.going {
			w.Answers[c.Name] = a.answer
		}
	}
	w.Matched, w.Refused = nil, map[string]bool{}
	for _, c := range w.wanted {
		if w.Refused[c.Name] = w.denied[c.Name]; !w.denied[c.Name] && !w.Revoked {
			w.Matched = append(w.Matched, c)
		}
	}
	before := w.Current
	w.render(t)
	w.check(t, before)
	w.handOn(t)
	for _, c := range w.Clusters {
		if a := w.agents[c.Name]; !a.offline && w.random.IntN(4) > 0 {
			a.work()
		}
	}
}

// handOn is what Fleet does.
func (w *world) handOn(t *testing.T) {
	t.Helper()
	d, targets := DeliveryOf(w.Current), TargetsOf(w.Current)
	for _, c := range w.Clusters {
		a := w.agents[c.Name]
		target, is := targets[c.Name]
		if !is {
			a.going = a.going || a.known
			clear(w.told[c.Name])
			continue
		}
		if a.going {
			continue
		}
		a.known = true
		if w.Current.Spec.Paused {
			continue
		}
		content := w.Revision
		if target.Withdraw {
			content = ""
		}
		number := w.number(c.Name)
		require.GreaterOrEqual(t, number, d.Expected(target), "what %s is told can never be confirmed", c.Name)
		if before, used := w.told[c.Name][number]; used {
			require.Equal(t, before, content, "number %d of %s is used again", number, c.Name)
		}
		w.told[c.Name][number] = content
		if a.number != number || a.content != content {
			a.number, a.content = number, content
			a.answer.Refused, a.answer.Irreplaceable = false, false
		}
	}
}

// work is what the agent in a cluster does.
func (a *agent) work() {
	switch {
	case a.going:
		*a = agent{refuses: a.refuses, stuck: a.stuck}
	case a.number == 0:
	case a.content != "" && a.has == "" && a.refuses:
		a.answer.Refused, a.answer.Ready = true, false
	case a.content != "" && a.has != "" && a.has != a.content && a.stuck:
		a.answer.Irreplaceable, a.answer.Ready = true, false
	default:
		a.applied, a.has = a.number, a.content
		a.answer = Answer{Applied: a.applied, Ready: true}
	}
}

// check holds the promises that every plan keeps.
func (w *world) check(t *testing.T, before *fleet.Bundle) {
	t.Helper()
	d, was, targets, had := DeliveryOf(w.Current), DeliveryOf(before), TargetsOf(w.Current), TargetsOf(before)
	highest := was.Last
	if before != nil {
		highest = max(highest, before.Spec.ForceSyncGeneration)
		require.GreaterOrEqual(t, w.Current.Spec.ForceSyncGeneration, before.Spec.ForceSyncGeneration, "the Bundle's number goes down")
	}
	for _, a := range w.Answers {
		highest = max(highest, a.Applied)
	}
	require.GreaterOrEqual(t, d.Last, highest, "the record goes down")
	require.Len(t, w.Current.Spec.Targets, len(targets), "a cluster has two targets")
	matched := map[string]bool{}
	for _, c := range w.Matched {
		matched[c.Name] = true
		require.Contains(t, targets, c.Name, "a cluster that matches has no target")
	}
	leave, of := 0, 0
	for _, c := range w.Clusters {
		now, is := targets[c.Name]
		old, did := had[c.Name]
		answer, answers := w.Answers[c.Name]
		if is && now.Number > 0 && now.Number != old.Number {
			require.Greater(t, now.Number, highest, "%s gets a number that was used", c.Name)
		}
		paused := w.Handshake.Spec.Paused && !w.Revoked
		acts := !now.Withdraw || !paused
		if is && acts && answers && answer.Ready && answer.Applied >= d.Expected(now) {
			want := d.Revision()
			if now.Withdraw {
				want = ""
			}
			require.Equal(t, want, w.agents[c.Name].has, "%s is taken for confirmed", c.Name)
		}
		if sent := d.RevisionAt(answer.Applied); sent != "" && w.agents[c.Name].has != "" {
			require.Equal(t, w.agents[c.Name].has, sent, "another revision is told of %s", c.Name)
		}
		if paused && did {
			require.True(t, is && now.Withdraw == old.Withdraw, "%s changes while paused", c.Name)
		}
		if w.Revoked || w.Refused[c.Name] && (!paused || !did) {
			require.True(t, !is || now.Withdraw, "%s may not have it", c.Name)
		}
		if did && !old.Withdraw && is && now.Withdraw && !matched[c.Name] && !w.Refused[c.Name] && !w.Revoked {
			leave++
		}
		w.checkLeaving(t, c.Name, old, did, is)
		if !is || !now.Withdraw {
			delete(w.leaving, c.Name)
		} else if _, since := w.leaving[c.Name]; !since {
			w.leaving[c.Name] = w.Now
		}
	}
	for _, c := range w.Clusters {
		if old, did := had[c.Name]; did && !old.Withdraw {
			of++
		}
	}
	if of > 5 && w.Handshake.Annotations[v1alpha1.AnnotationConfirmWithdrawal] != w.Revision {
		require.LessOrEqual(t, leave*2, of, "too many are withdrawn from")
	}
}

// checkLeaving holds that no cluster is dropped without a reason that the outcome gives.
func (w *world) checkLeaving(t *testing.T, name string, old Target, did, is bool) {
	t.Helper()
	_, answers := w.Answers[name]
	confirmed, late := slices.Contains(w.out.Withdrawn, name), slices.Contains(w.out.Unconfirmed, name)
	switch {
	case !did || is:
		require.False(t, confirmed || late, "%s is told to be dropped and is not", name)
	case confirmed:
		require.True(t, old.Withdraw && answers && w.agents[name].has == "", "%s has not confirmed", name)
	case late:
		require.True(t, old.Withdraw && !w.Now.Before(w.leaving[name].Add(10*time.Minute-time.Second)), "%s had more time", name)
	default:
		require.False(t, answers, "%s is dropped for no reason", name)
	}
}

// heal: every cluster is online and able, nobody touches anything, and what is held is confirmed.
func (w *world) heal() {
	w.Handshake.Spec.Paused = false
	if w.Revoked {
		w.consent()
	}
	annotate(v1alpha1.AnnotationConfirmWithdrawal, w.Revision)(w.story)
	for _, a := range w.agents {
		a.offline, a.refuses, a.stuck = false, false, false
	}
}

// settled holds that each cluster has what it is to have, and that nothing but resyncs happens from then on.
func (w *world) settled(t *testing.T) {
	t.Helper()
	w.Now = w.Now.Add(5 * time.Minute)
	for range 10 {
		w.turn(t)
	}
	matched := map[string]string{}
	for _, c := range w.Matched {
		matched[c.Name] = w.Revision
	}
	targets := TargetsOf(w.Current)
	for _, c := range w.Clusters {
		_, is := targets[c.Name]
		require.Equal(t, matched[c.Name] != "", is, "the target of %s", c.Name)
		require.Equal(t, matched[c.Name], w.agents[c.Name].has, "what %s has", c.Name)
		require.False(t, targets[c.Name].Withdraw)
	}
	require.Equal(t, len(matched) > 0, newPlanner(w.Request).allConfirmed())

	settled := w.Current
	raised := 0
	for range 40 {
		w.Now = w.Now.Add(15 * time.Minute)
		number := w.Current.Spec.ForceSyncGeneration
		w.turn(t)
		if w.Current.Spec.ForceSyncGeneration > number {
			raised++
		}
		require.Len(t, w.Current.Spec.Targets, len(settled.Spec.Targets))
	}
	if w.Handshake.Spec.ResyncInterval != nil {
		require.Equal(t, settled, w.Current, "something happens for no reason")
		return
	}
	require.GreaterOrEqual(t, raised, 8, "ten hours have eight resyncs at least")
	require.LessOrEqual(t, raised, 13, "ten hours have thirteen resyncs at most")
}
