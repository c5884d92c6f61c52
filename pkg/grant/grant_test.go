package grant

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	// notSent and advice are what each message begins and ends with.
	notSent = "no SecretGrant in namespace platform lets this FleetHandshake send Secret platform/db-creds "
	advice  = "; its owner can create one there with from: [{namespace: fleet-default, handshakes: [web]}] and to: [{kind: Secret, names: [db-creds]}]"
)

// now has a fraction of a second, which expiresAt does not.
var now = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

func cluster(name string, labels map[string]string) *fleet.Cluster {
	return &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name, Labels: labels}}
}

func group(namespace, name string, selector, labels map[string]string) *fleet.ClusterGroup {
	return &fleet.ClusterGroup{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       fleet.ClusterGroupSpec{Selector: &metav1.LabelSelector{MatchLabels: selector}},
	}
}

// request is of a handshake that sends a Secret of another namespace to three clusters, and nobody has granted that.
func request() Request {
	return Request{
		Handshake: &v1alpha1.FleetHandshake{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "web"},
			Spec:       v1alpha1.FleetHandshakeSpec{SecretName: "db-creds", SecretNamespace: "platform", TargetNamespace: "apps"},
		},
		Clusters: []*fleet.Cluster{
			cluster("denver", map[string]string{"env": "staging"}),
			cluster("paris", map[string]string{"env": "production", "management.cattle.io/cluster-display-name": "Paris One"}),
			cluster("tokyo", map[string]string{"env": "production"}),
		},
		Groups: []*fleet.ClusterGroup{
			group("fleet-default", "production", map[string]string{"env": "production"}, map[string]string{"tier": "gold"}),
			group("platform", "foreign", map[string]string{"env": "production"}, map[string]string{"tier": "lead"}),
		},
		Now: now,
	}
}

// allow is a grant for the Secret of request to its handshake, changed.
func allow(name string, changes ...func(*v1alpha1.SecretGrant)) *v1alpha1.SecretGrant {
	g := &v1alpha1.SecretGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: name},
		Spec: v1alpha1.SecretGrantSpec{
			From: []v1alpha1.GrantFrom{{Namespace: "fleet-default"}},
			To:   []v1alpha1.GrantTo{{Kind: v1alpha1.SourceSecret, Names: []string{"db-creds"}}},
		},
	}
	for _, change := range changes {
		change(g)
	}
	return g
}

func from(from ...v1alpha1.GrantFrom) func(*v1alpha1.SecretGrant) {
	return func(g *v1alpha1.SecretGrant) { g.Spec.From = from }
}

func to(to ...v1alpha1.GrantTo) func(*v1alpha1.SecretGrant) {
	return func(g *v1alpha1.SecretGrant) { g.Spec.To = to }
}

func in(targets ...v1alpha1.ClusterTarget) func(*v1alpha1.SecretGrant) {
	return func(g *v1alpha1.SecretGrant) { g.Spec.Clusters = targets }
}

func only(keys ...string) func(*v1alpha1.SecretGrant) {
	return func(g *v1alpha1.SecretGrant) { g.Spec.Keys = keys }
}

// until is when the grant ends, in seconds from now, whose fraction does not count.
func until(seconds int) func(*v1alpha1.SecretGrant) {
	return func(g *v1alpha1.SecretGrant) {
		g.Spec.ExpiresAt = ptr.To(metav1.NewTime(now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second)))
	}
}

func named(name string) v1alpha1.ClusterTarget { return v1alpha1.ClusterTarget{ClusterName: name} }

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func names(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, name := range names {
		out[name] = true
	}
	return out
}

func with(grants ...*v1alpha1.SecretGrant) Request {
	r := request()
	r.Grants = grants
	return r
}

func withNoMatch(grants ...*v1alpha1.SecretGrant) Request {
	r := with(grants...)
	r.Clusters = nil
	return r
}

// all is the decision that lets everything go to every cluster.
func all(by ...string) Decision {
	return Decision{Granted: true, Refused: map[string]bool{}, By: by}
}

// some is the decision that lets everything go to some of the three clusters.
func some(message string, refused map[string]bool, by ...string) Decision {
	return Decision{Granted: true, Refused: refused, By: by, Message: message}
}

// parts is the decision that lets some keys go to every cluster.
func parts(keys []string, by ...string) Decision {
	return Decision{Granted: true, Refused: map[string]bool{}, By: by, Keys: keys}
}

// none is the decision that lets nothing go.
func none(why string) Decision {
	return Decision{Refused: names("denver", "paris", "tokyo"), Message: notSent + "to these clusters" + why + advice}
}

func next(d Decision, seconds int) Decision {
	d.Next = now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second)
	return d
}

type decisions map[string]struct {
	request Request
	want    Decision
}

func (cases decisions) test(t *testing.T) {
	t.Helper()
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			d := Decide(c.request)
			d.Next = d.Next.UTC()
			if d.Next.IsZero() {
				d.Next = time.Time{}
			}
			assert.Equal(t, c.want, d)
		})
	}
}

func TestWhoMaySendWhat(t *testing.T) {
	source := func(namespace, name string) Request {
		r := with(allow("g"))
		r.Handshake.Spec.SecretNamespace, r.Handshake.Spec.SecretName = namespace, name
		return r
	}
	secret := func(names ...string) v1alpha1.GrantTo {
		return v1alpha1.GrantTo{Kind: v1alpha1.SourceSecret, Names: names}
	}
	foreign := func(g *v1alpha1.SecretGrant) { g.Namespace = "fleet-default" }
	decisions{
		"within one namespace no grant is needed":                   {source("", "db-creds"), Decision{Granted: true}},
		"within one namespace no grant is needed, also by its name": {source("fleet-default", "db-creds"), Decision{Granted: true}},
		"nobody has granted it": {with(), Decision{
			Refused: names("denver", "paris", "tokyo"),
			Message: "no SecretGrant in namespace platform lets this FleetHandshake send Secret platform/db-creds to these clusters; its owner can create one there with from: [{namespace: fleet-default, handshakes: [web]}] and to: [{kind: Secret, names: [db-creds]}]",
		}},
		"a grant names the workspace and the Secret":           {with(allow("g")), all("g")},
		"a grant names the handshake too":                      {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"shop", "web"}}))), all("g")},
		"a grant names no Secret: all of them":                 {with(allow("g", to(secret()))), all("g")},
		"a grant names several":                                {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-local"}, v1alpha1.GrantFrom{Namespace: "fleet-default"}), to(v1alpha1.GrantTo{Kind: v1alpha1.SourceConfigMap}, secret("a", "db-creds")))), all("g")},
		"empty lists are as none":                              {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{}}), to(secret([]string{}...)), in([]v1alpha1.ClusterTarget{}...), only([]string{}...))), all("g")},
		"the names of the grants are in order":                 {with(allow("g2"), allow("g10"), allow("g1")), all("g1", "g10", "g2")},
		"a grant is for another workspace":                     {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-local"}))), none("")},
		"a grant is for another handshake":                     {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"shop"}}))), none("")},
		"a grant is for another Secret":                        {with(allow("g", to(secret("db-admin")))), none("")},
		"a grant is for ConfigMaps":                            {with(allow("g", to(v1alpha1.GrantTo{Kind: v1alpha1.SourceConfigMap}))), none("")},
		"a grant is for the ConfigMap of that name":            {with(allow("g", to(v1alpha1.GrantTo{Kind: v1alpha1.SourceConfigMap, Names: []string{"db-creds"}}))), none("")},
		"a grant is for the ConfigMap, and for another Secret": {with(allow("g", to(v1alpha1.GrantTo{Kind: v1alpha1.SourceConfigMap, Names: []string{"db-creds"}}, secret("db-admin")))), none("")},
		"a grant is for another handshake of the workspace, and for that name elsewhere": {with(allow("g", from(
			v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"shop"}}, v1alpha1.GrantFrom{Namespace: "fleet-local", Handshakes: []string{"web"}}))), none("")},
		"one grant names the handshake, and another one the Secret": {with(
			allow("g1", to(secret("db-admin"))), allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-local"}))), none("")},
		"a grant is being deleted":                        {with(allow("g", func(g *v1alpha1.SecretGrant) { g.DeletionTimestamp = ptr.To(metav1.NewTime(now)) })), none("")},
		"a grant is in the namespace of the handshake":    {with(allow("g", foreign)), none("")},
		"a grant is in another namespace":                 {source("payments", "db-creds"), Decision{Refused: names("denver", "paris", "tokyo"), Message: "no SecretGrant in namespace payments lets this FleetHandshake send Secret payments/db-creds to these clusters; its owner can create one there with from: [{namespace: fleet-default, handshakes: [web]}] and to: [{kind: Secret, names: [db-creds]}]"}},
		"no kind is no Secret":                            {with(allow("g", to(v1alpha1.GrantTo{Names: []string{"db-creds"}}))), none("")},
		"a kind is read to the letter":                    {with(allow("g", to(v1alpha1.GrantTo{Kind: "secret"}, v1alpha1.GrantTo{Kind: "Secrets"}, v1alpha1.GrantTo{Kind: "*"}))), none("")},
		"nobody is named":                                 {with(allow("g", from())), none("")},
		"nothing is named":                                {with(allow("g", to())), none("")},
		"an empty grant":                                  {with(&v1alpha1.SecretGrant{}), none("")},
		"an empty spec":                                   {with(&v1alpha1.SecretGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "g"}}), none("")},
		"an empty name of a workspace is not all of them": {with(allow("g", from(v1alpha1.GrantFrom{}, v1alpha1.GrantFrom{Handshakes: []string{"web"}}))), none("")},
		"an empty name of a handshake is not all of them": {with(allow("g", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{""}}))), none("")},
		"an empty name of a Secret is not all of them":    {with(allow("g", to(secret("")))), none("")},
		"there are no wildcards": {with(
			allow("g1", from(v1alpha1.GrantFrom{Namespace: "*"}, v1alpha1.GrantFrom{Namespace: "fleet-*"}, v1alpha1.GrantFrom{Namespace: ".*"})),
			allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"*", "w*", "^web$"}})),
			allow("g3", to(secret("*", "db-*", "%")))), none("")},
		"a name is no part of a name": {with(
			allow("g1", from(v1alpha1.GrantFrom{Namespace: "fleet"}, v1alpha1.GrantFrom{Namespace: "fleet-default-2"}, v1alpha1.GrantFrom{Namespace: "default"})),
			allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"we", "web2", "eb"}})),
			allow("g3", to(secret("db", "db-creds2", "creds")))), none("")},
		"a name is read to the letter": {with(
			allow("g1", from(v1alpha1.GrantFrom{Namespace: "Fleet-Default"}, v1alpha1.GrantFrom{Namespace: " fleet-default"}, v1alpha1.GrantFrom{Namespace: "fleet-default,fleet-local"}, v1alpha1.GrantFrom{Namespace: "fleet-default\x00"})),
			allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"WEB", "web ", "shop,web", "fleet-default/web", "wеb"}})), // the last has a Cyrillic e
			allow("g3", to(secret("DB-CREDS", "db-creds\n", "platform/db-creds", "../db-creds")))), none("")},
	}.test(t)
}

func TestAGrantEnds(t *testing.T) {
	ended := " (SecretGrant platform/g has expired at 2026-01-02T03:04:05Z)"
	elsewhere := func(g *v1alpha1.SecretGrant) {
		g.Spec.ExpiresAt = ptr.To(metav1.NewTime(time.Date(2026, 1, 2, 5, 4, 5, 0, time.FixedZone("", 2*3600))))
	}
	exactly := with(allow("g", until(0)))
	exactly.Now = now.Truncate(time.Second)
	before := with(allow("g", until(0)))
	before.Now = exactly.Now.Add(-time.Nanosecond)
	decisions{
		"it ends never":                      {with(allow("g", func(g *v1alpha1.SecretGrant) { g.Spec.ExpiresAt = nil })), all("g")},
		"it ends later":                      {with(allow("g", until(1))), next(all("g"), 1)},
		"it ends in a moment":                {before, next(all("g"), 0)},
		"it ends at this very moment":        {exactly, none(ended)},
		"it has ended":                       {with(allow("g", until(0))), none(ended)},
		"it has ended long ago":              {with(allow("g", until(-3600))), none(" (SecretGrant platform/g has expired at 2026-01-02T02:04:05Z)")},
		"the message has the time of UTC":    {with(allow("g", elsewhere)), none(ended)},
		"one has ended, and another has not": {with(allow("g1", until(-60)), allow("g2")), all("g2")},
		"several have ended": {with(allow("g3", until(-60)), allow("g1", until(0)), allow("g2", until(-1))), none(
			" (SecretGrant platform/g1 has expired at 2026-01-02T03:04:05Z; SecretGrant platform/g2 has expired at 2026-01-02T03:04:04Z; SecretGrant platform/g3 has expired at 2026-01-02T03:03:05Z)")},
		"one that has ended is named when it is missed": {with(allow("g1", until(-60), in(named("tokyo"))), allow("g2", in(named("paris"), named("denver")))), some(
			notSent+"to 1 of 3 clusters (SecretGrant platform/g1 has expired at 2026-01-02T03:03:05Z)"+advice, names("tokyo"), "g2")},
		"one that has ended and is for another handshake is not named": {with(
			allow("g", until(-60), from(v1alpha1.GrantFrom{Namespace: "fleet-default", Handshakes: []string{"shop"}}))), none("")},
		"the next change is the earliest end": {with(allow("g1", until(3600)), allow("g2", until(60)), allow("g3", until(-60)), allow("g4"), allow("g5", until(7200))),
			next(all("g1", "g2", "g4", "g5"), 60)},
		"the end of a grant for another handshake changes nothing": {with(allow("g1", until(3600)),
			allow("g2", until(60), to(v1alpha1.GrantTo{Kind: v1alpha1.SourceSecret, Names: []string{"db-admin"}}))), next(all("g1"), 3600)},
		"within one namespace nothing ends": {func() Request {
			r := with(allow("g", until(60)))
			r.Handshake.Spec.SecretNamespace = ""
			return r
		}(), Decision{Granted: true}},
	}.test(t)
}

func TestAGrantIsForSomeClusters(t *testing.T) {
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Equals"}}}
	one, two := "to 1 of 3 clusters", "to 2 of 3 clusters"
	not := func(target v1alpha1.ClusterTarget) v1alpha1.ClusterTarget {
		target.DoNotDeploy = true
		return target
	}
	denver, tokyo := some(notSent+one+advice, names("denver"), "g"), some(notSent+two+advice, names("denver", "paris"), "g")
	every := v1alpha1.ClusterTarget{ClusterSelector: &metav1.LabelSelector{}}
	decisions{
		"by selector":                             {with(allow("g", in(v1alpha1.ClusterTarget{ClusterSelector: selector("env", "production")}))), denver},
		"by a selector of all":                    {with(allow("g", in(every))), all("g")},
		"by group":                                {with(allow("g", in(v1alpha1.ClusterTarget{ClusterGroup: "production"}))), denver},
		"by the labels of a group":                {with(allow("g", in(v1alpha1.ClusterTarget{ClusterGroupSelector: selector("tier", "gold")}))), denver},
		"by name":                                 {with(allow("g", in(named("tokyo")))), tokyo},
		"by the name that it has in Rancher":      {with(allow("g", in(named("Paris One"), named("tokyo")))), denver},
		"all but one":                             {with(allow("g", in(not(named("denver")), every))), denver},
		"the first target that matches decides":   {with(allow("g", in(every, not(named("denver"))))), all("g")},
		"doNotDeploy takes from its own grant":    {with(allow("g1", in(not(named("denver")), every)), allow("g2", in(named("denver")))), all("g1", "g2")},
		"two grants add up":                       {with(allow("g1", in(named("paris"), named("denver"))), allow("g2", in(named("tokyo")))), all("g1", "g2")},
		"two grants add up to less than all":      {with(allow("g1", in(named("paris"))), allow("g2", in(named("tokyo")))), some(notSent+one+advice, names("denver"), "g1", "g2")},
		"a grant without clusters adds all":       {with(allow("g1", in(named("paris"))), allow("g2")), all("g1", "g2")},
		"none that is there":                      {with(allow("g", in(named("rome")))), none("")},
		"a group of another namespace":            {with(allow("g", in(v1alpha1.ClusterTarget{ClusterGroup: "foreign"}))), none("")},
		"the labels of a group elsewhere":         {with(allow("g", in(v1alpha1.ClusterTarget{ClusterGroupSelector: selector("tier", "lead")}))), none("")},
		"an empty target is for no cluster":       {with(allow("g", in(v1alpha1.ClusterTarget{}))), none("")},
		"a target with a name of its own only":    {with(allow("g", in(v1alpha1.ClusterTarget{Name: "paris"}))), none("")},
		"doNotDeploy alone":                       {with(allow("g", in(not(every)))), none("")},
		"a grant for another handshake adds none": {with(allow("g1", in(named("paris"))), allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-local"}))), some(notSent+two+advice, names("denver", "tokyo"), "g1")},
		"a selector that is not valid": {with(allow("g", in(named("paris"), v1alpha1.ClusterTarget{ClusterSelector: broken}))), none(
			` (SecretGrant platform/g: spec.clusters[1]: clusterSelector: "Equals" is not a valid label selector operator)`)},
		"a selector that is not valid, beside a grant": {with(allow("g1", in(v1alpha1.ClusterTarget{ClusterGroupSelector: broken})), allow("g2", in(named("tokyo")))), some(
			notSent+two+` (SecretGrant platform/g1: spec.clusters[0]: clusterGroupSelector: "Equals" is not a valid label selector operator)`+advice, names("denver", "paris"), "g2")},
		"a selector that is not valid, and nobody misses it": {with(allow("g1", in(v1alpha1.ClusterTarget{ClusterSelector: broken})), allow("g2")), all("g2")},
		"a selector that is not valid, and the grant has ended": {with(allow("g", in(v1alpha1.ClusterTarget{ClusterSelector: broken}), until(0))), none(
			" (SecretGrant platform/g has expired at 2026-01-02T03:04:05Z)")},
		"no cluster matches yet":                              {withNoMatch(allow("g", in(named("rome")))), all("g")},
		"no cluster matches yet, and nobody has granted it":   {withNoMatch(), Decision{Refused: map[string]bool{}, Message: notSent + "to these clusters" + advice}},
		"no cluster matches yet, and the selector is invalid": {withNoMatch(allow("g", in(v1alpha1.ClusterTarget{ClusterSelector: broken}))), Decision{Refused: map[string]bool{}, Message: notSent + "to these clusters" + ` (SecretGrant platform/g: spec.clusters[0]: clusterSelector: "Equals" is not a valid label selector operator)` + advice}},
	}.test(t)
}

func TestAGrantIsForSomeKeys(t *testing.T) {
	user, password := only("username"), only("password")
	paris, others := in(named("paris")), in(named("tokyo"), named("denver"))
	apart := none(" (the grants g1, g2 have no key in common that may travel to all clusters)")
	decisions{
		"one grant":                            {with(allow("g", only("username", "host"))), parts([]string{"host", "username"}, "g")},
		"a key twice":                          {with(allow("g", only("host", "host"))), parts([]string{"host"}, "g")},
		"two for the same clusters add up":     {with(allow("g1", user), allow("g2", password)), parts([]string{"password", "username"}, "g1", "g2")},
		"one is for all keys":                  {with(allow("g1", user), allow("g2")), all("g1", "g2")},
		"one is for all keys, the other later": {with(allow("g1"), allow("g2", user)), all("g1", "g2")},
		"of different clusters what they have in common": {with(
			allow("g1", paris, only("username", "host")), allow("g2", others, only("password", "host"))), parts([]string{"host"}, "g1", "g2")},
		"all keys for some clusters":                   {with(allow("g1", paris), allow("g2", others, user)), parts([]string{"username"}, "g1", "g2")},
		"all keys for other clusters":                  {with(allow("g1", paris, user), allow("g2", others)), parts([]string{"username"}, "g1", "g2")},
		"one cluster has more than the others":         {with(allow("g1", user), allow("g2", paris, password)), parts([]string{"username"}, "g1", "g2")},
		"one cluster has all keys, and the others one": {with(allow("g1", user), allow("g2", paris)), parts([]string{"username"}, "g1", "g2")},
		"no key in common":                             {with(allow("g1", paris, user), allow("g2", others, password)), apart},
		"no key in common, and one has expired": {with(allow("g1", paris, user), allow("g2", others, password), allow("g3", until(0))), none(
			" (SecretGrant platform/g3 has expired at 2026-01-02T03:04:05Z; the grants g1, g2 have no key in common that may travel to all clusters)")},
		"a cluster that no grant covers does not count": {with(allow("g", paris, user)), Decision{
			Granted: true, Keys: []string{"username"}, By: []string{"g"}, Refused: names("denver", "tokyo"), Message: notSent + "to 2 of 3 clusters" + advice}},
		"a grant for another handshake adds no key":             {with(allow("g1", user), allow("g2", from(v1alpha1.GrantFrom{Namespace: "fleet-local"}))), parts([]string{"username"}, "g1")},
		"a grant that has ended adds no key":                    {with(allow("g1", user), allow("g2", until(0))), parts([]string{"username"}, "g1")},
		"an empty key is not all keys":                          {with(allow("g", only(""))), parts([]string{""}, "g")},
		"there are no wildcards":                                {with(allow("g", only("*"))), parts([]string{"*"}, "g")},
		"keys are compared to the letter":                       {with(allow("g1", paris, user), allow("g2", others, only("Username", "username ", "user"))), apart},
		"no cluster matches yet":                                {withNoMatch(allow("g", user)), parts([]string{"username"}, "g")},
		"no cluster matches yet, and one is for all keys":       {withNoMatch(allow("g1", paris), allow("g2", others, user)), parts([]string{"username"}, "g1", "g2")},
		"no cluster matches yet, and they have a key in common": {withNoMatch(allow("g1", paris, only("host", "username")), allow("g2", others, only("host", "password"))), parts([]string{"host"}, "g1", "g2")},
	}.test(t)
}

func TestAGrantForAClusterThatIsNotMatchedAddsNoKey(t *testing.T) {
	for _, grants := range [][]*v1alpha1.SecretGrant{
		{allow("g1", only("username")), allow("g2", in(named("rome")))},
		{allow("g1", only("username")), allow("g2", in(named("rome")), only("password"))},
	} {
		d := Decide(with(grants...))
		assert.True(t, d.Granted)
		assert.Equal(t, []string{"username"}, d.Keys)
		assert.Empty(t, d.Refused)
	}
}
