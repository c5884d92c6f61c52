package grant

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// everyKey are the keys that random grants speak of, and one that none does: it may travel only where all keys may.
var everyKey = []string{"a", "b", "c", "", "*", "another"}

// TestWhateverIsGrantedTheDecisionKeepsItsPromises makes random grants, and compares the decision with what the words
// of the API say.
func TestWhateverIsGrantedTheDecisionKeepsItsPromises(t *testing.T) {
	granted, refused, partly, limited := 0, 0, 0, 0
	for seed := range uint64(5_000) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := randomRequest(random)
		before := deepCopy(r)
		d := Decide(r)
		told := fmt.Sprintf("seed %d: %s", seed, describe(r))
		require.Equal(t, before, r, "the request is changed: %s", told)
		agrees(t, r, d, told)

		random.Shuffle(len(r.Grants), func(i, j int) { r.Grants[i], r.Grants[j] = r.Grants[j], r.Grants[i] })
		require.Equal(t, d, Decide(r), "the order of the grants matters: %s", told)

		more := r
		more.Grants = append(slices.Clone(r.Grants), randomGrant(random))
		addsUp(t, d, Decide(more), told+" and "+describe(more))

		if !d.Next.IsZero() {
			require.True(t, d.Next.After(r.Now), told)
			just := r
			just.Now = d.Next.Add(-time.Nanosecond)
			require.Equal(t, d, Decide(just), "it is another decision before Next: %s", told)
		} else if same := r; d.Granted {
			same.Now = r.Now.Add(1000 * time.Hour)
			require.Equal(t, d, Decide(same), "it is another decision after a while: %s", told)
		}

		r.Grants = nil
		nothing := Decide(r)
		require.False(t, nothing.Granted, told)
		require.Len(t, nothing.Refused, len(r.Clusters), told)
		require.Empty(t, nothing.Keys, told)

		switch {
		case !d.Granted:
			refused++
		case len(d.Refused) > 0:
			partly++
		case d.Keys != nil:
			limited++
		default:
			granted++
		}
	}
	for _, n := range []int{granted, refused, partly, limited} {
		require.Greater(t, n, 150, "there is enough of each kind: %v", []int{granted, refused, partly, limited})
	}
}

// agrees holds that a decision says what the grants say, word by word.
func agrees(t *testing.T, r Request, d Decision, told string) {
	t.Helper()
	var shared []string
	covered := 0
	for _, c := range r.Clusters {
		allowed := allowedIn(r, c)
		if len(allowed) == 0 {
			require.True(t, d.Refused[c.Name], "%s gets what nobody has granted: %s", c.Name, told)
			continue
		}
		covered++
		if covered == 1 {
			shared = slices.Clone(everyKey)
		}
		shared = slices.DeleteFunc(shared, func(key string) bool { return !slices.Contains(allowed, key) })
	}
	if len(r.Clusters) == 0 {
		for _, g := range r.Grants {
			if d.Granted && counts(r, g) {
				covered++
				require.Subset(t, keysIn(g), sent(d), "a key is sent that not every grant lets travel: %s", told)
			}
		}
		require.Equal(t, d.Granted, covered > 0, told)
		return
	}
	require.Equal(t, len(shared) > 0, d.Granted, told)
	require.Equal(t, d.Message == "", d.Granted && covered == len(r.Clusters), told)
	if !d.Granted {
		require.Len(t, d.Refused, len(r.Clusters), told)
		require.Empty(t, d.By, told)
		return
	}
	require.Len(t, d.Refused, len(r.Clusters)-covered, told)
	require.ElementsMatch(t, shared, sent(d), told)
}

// allowedIn are the keys that may travel to a cluster.
func allowedIn(r Request, c *fleet.Cluster) []string {
	var keys []string
	for _, g := range r.Grants {
		if counts(r, g) && coversByHand(g, c) {
			keys = append(keys, keysIn(g)...)
		}
	}
	return keys
}

// counts says whether a grant is one for the handshake, as the API describes it.
func counts(r Request, g *v1alpha1.SecretGrant) bool {
	who, what := false, false
	for _, f := range g.Spec.From {
		who = who || f.Namespace == "fleet-default" && (len(f.Handshakes) == 0 || strings.Contains(","+strings.Join(f.Handshakes, ",")+",", ",web,"))
	}
	for _, o := range g.Spec.To {
		what = what || o.Kind == "Secret" && (len(o.Names) == 0 || strings.Contains(","+strings.Join(o.Names, ",")+",", ",db-creds,"))
	}
	ended := g.Spec.ExpiresAt != nil && !g.Spec.ExpiresAt.After(r.Now)
	return who && what && !ended && g.Namespace == "platform" && g.DeletionTimestamp == nil && !strings.Contains(fmt.Sprint(g.Spec.Clusters), "Equals")
}

func coversByHand(g *v1alpha1.SecretGrant, c *fleet.Cluster) bool {
	for _, target := range g.Spec.Clusters {
		if target.ClusterName == c.Name || target.ClusterSelector != nil && target.ClusterSelector.MatchLabels["env"] == c.Labels["env"] || target.ClusterGroup == c.Labels["env"] {
			return !target.DoNotDeploy
		}
	}
	return len(g.Spec.Clusters) == 0
}

func keysIn(g *v1alpha1.SecretGrant) []string {
	if len(g.Spec.Keys) == 0 {
		return everyKey
	}
	return g.Spec.Keys
}

// sent are the keys that a decision lets travel.
func sent(d Decision) []string {
	if d.Keys == nil {
		return everyKey
	}
	return d.Keys
}

// addsUp holds that one more grant takes nothing away, unless the keys have nothing in common then.
func addsUp(t *testing.T, before, after Decision, told string) {
	t.Helper()
	if !before.Granted || strings.Contains(after.Message, "have no key in common") {
		return
	}
	require.True(t, after.Granted, "one more grant takes everything away: %s", told)
	for name := range after.Refused {
		require.True(t, before.Refused[name], "one more grant takes %s away: %s", name, told)
	}
	if len(after.Refused) == len(before.Refused) && len(after.By) == len(before.By) {
		require.ElementsMatch(t, sent(before), sent(after), told)
	}
}

func randomRequest(random *rand.Rand) Request {
	r := request()
	r.Clusters, r.Groups = nil, nil
	for _, env := range []string{"blue", "green"} {
		r.Groups = append(r.Groups, group("fleet-default", env, map[string]string{"env": env}, nil))
	}
	for i := range random.IntN(6) {
		r.Clusters = append(r.Clusters, cluster(fmt.Sprintf("c%d", i), map[string]string{"env": pick(random, "blue", "green")}))
	}
	for range random.IntN(5) {
		r.Grants = append(r.Grants, randomGrant(random))
	}
	return r
}

func randomGrant(random *rand.Rand) *v1alpha1.SecretGrant {
	g := allow(fmt.Sprintf("g%d", random.IntN(1e9)))
	rarely := func() bool { return random.IntN(10) == 0 }
	if rarely() {
		g.Spec.From = []v1alpha1.GrantFrom{
			{Namespace: pick(random, "fleet-default", "fleet-local", "", "*"), Handshakes: []string{pick(random, "web", "shop", "", "*")}},
			{Namespace: pick(random, "fleet-local", "", "*"), Handshakes: []string{"web"}},
		}
	}
	if rarely() {
		g.Spec.To = []v1alpha1.GrantTo{
			{Kind: v1alpha1.SourceKind(pick(random, "Secret", "ConfigMap", "")), Names: []string{pick(random, "db-creds", "db-admin", "", "*")}},
			{Kind: v1alpha1.SourceConfigMap},
		}
	}
	if rarely() {
		g.Namespace = pick(random, "fleet-default", "payments")
	}
	if rarely() {
		g.DeletionTimestamp = ptr.To(metav1.NewTime(now))
	}
	if random.IntN(3) == 0 {
		g.Spec.ExpiresAt = ptr.To(metav1.NewTime(now.Add(time.Duration(random.IntN(5)-2) * time.Hour)))
	}
	for range random.IntN(3) {
		c := v1alpha1.ClusterTarget{DoNotDeploy: random.IntN(4) == 0}
		switch random.IntN(4) {
		case 0:
			c.ClusterSelector = selector("env", pick(random, "blue", "green", "red"))
		case 1:
			c.ClusterGroup = pick(random, "blue", "green", "red")
		default:
			c.ClusterName = fmt.Sprintf("c%d", random.IntN(6))
		}
		if rarely() {
			c = v1alpha1.ClusterTarget{ClusterSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Equals"}}}}
		}
		g.Spec.Clusters = append(g.Spec.Clusters, c)
	}
	if random.IntN(2) == 0 {
		for range 1 + random.IntN(3) {
			g.Spec.Keys = append(g.Spec.Keys, pick(random, everyKey[:len(everyKey)-1]...))
		}
	}
	return g
}

func pick(random *rand.Rand, from ...string) string { return from[random.IntN(len(from))] }

func deepCopy(r Request) Request {
	r.Handshake = r.Handshake.DeepCopy()
	r.Grants = slices.Clone(r.Grants)
	for i, g := range r.Grants {
		r.Grants[i] = g.DeepCopy()
	}
	r.Clusters = slices.Clone(r.Clusters)
	for i, c := range r.Clusters {
		r.Clusters[i] = c.DeepCopy()
	}
	return r
}

func describe(r Request) string {
	var out []string
	for _, c := range r.Clusters {
		out = append(out, c.Name+" is "+c.Labels["env"])
	}
	for _, g := range r.Grants {
		out = append(out, fmt.Sprintf("%s/%s %+v", g.Namespace, g.Name, g.Spec))
	}
	return strings.Join(out, "; ")
}
