package vsecmsource

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm/ref"
	corev1 "k8s.io/api/core/v1"
)

// state is kept with the Secret.
type state struct {
	// Expires are the dates of the secrets in it, so that they hold while Safe does not answer.
	Expires map[string]time.Time `json:"expires,omitempty"`
}

// expiresIn are the dates in a State; what cannot be read has none.
func expiresIn(content json.RawMessage) map[string]time.Time {
	var s state
	if json.Unmarshal(content, &s) != nil {
		return nil
	}
	return s.Expires
}

// takes says whether a secret is there and not too early. Otherwise what came from one before has the date of that.
func (m *maker) takes(l lookup) bool {
	return l.missing == "" && l.secret.State(m.now) != vsecm.NotYet
}

// remember makes dates the State.
func (m *maker) remember(expires map[string]time.Time) {
	m.content.State = nil
	if len(expires) > 0 {
		m.content.State, _ = json.Marshal(state{Expires: expires}) // they can be written
	}
}

// never is the year in which Safe lets expire what does not.
const never = 9999

// dated says whether a secret expires at all.
func dated(expiresAfter time.Time) bool { return !expiresAfter.IsZero() && expiresAfter.Year() < never }

// stay leaves what came from an item before, until that expires.
func (m *maker) stay(i item) {
	if at := m.former[i.ref.Name]; dated(at) && m.now.After(at) && m.spec.OnExpiry != v1alpha1.OnExpiryKeep {
		m.expire(i.ref.Name, at)
		m.lacks = true
		return
	}
	m.kept = append(m.kept, i)
}

func (m *maker) expire(name string, at time.Time) {
	note(&m.expired, fmt.Sprintf("secret %s has expired at %s", name, date(at)))
}

// withdrawn are what keys hold whose values are withdrawn, where the type of a Secret wants the keys.
var withdrawn = map[corev1.SecretType]map[string]string{
	corev1.SecretTypeTLS:              {corev1.TLSCertKey: "", corev1.TLSPrivateKeyKey: ""},
	corev1.SecretTypeBasicAuth:        {corev1.BasicAuthUsernameKey: "", corev1.BasicAuthPasswordKey: ""},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey: "withdrawn\n"},
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey: "{}"},
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey: "{}"},
}

// fill gives a Secret what its type wants in the place of keys whose values are withdrawn now, or were before.
func (m *maker) fill() {
	over := len(m.expired) > 0 && m.spec.OnExpiry != v1alpha1.OnExpiryKeep
	for key, text := range withdrawn[m.content.Type] {
		origin, held := m.want.Keys[key]
		if _, there := m.content.Data[key]; held && !there && (over || origin == source.Origin{}) {
			m.content.Data[key], m.content.Keys[key] = []byte(text), source.Origin{}
		}
	}
}

// dates are when what the Secret holds expires: as Safe has told it with that, or sooner, as it does now.
func (m *maker) dates(found answer) map[string]time.Time {
	out := map[string]time.Time{}
	maps.Copy(out, expiresIn(m.want.State))
	for name, l := range found.secrets {
		if at := l.secret.ExpiresAfter; dated(at) {
			out[name] = sooner(out[name], at)
		}
	}
	return out
}

// without is what the Secret holds now, without what came from the secrets that have expired. false means that nothing did.
func (m *maker) without(expired map[string]time.Time) (source.Content, bool) {
	m.begin()
	if m.want.Type != "" {
		m.content.Type = m.want.Type // that of the spec comes with what the spec wants
	}
	for _, name := range slices.Sorted(maps.Keys(expired)) {
		m.expire(name, expired[name])
		delete(m.former, name)
	}
	m.remember(m.former)
	taken := false
	over := func(name string) bool { _, ok := expired[name]; return ok }
	for key, origin := range m.want.Keys {
		if r, err := ref.Parse(origin.Path); err == nil && over(r.Name) {
			taken = true
		} else if restore(m.content.Data, m.want.Data, key) {
			m.content.Keys[key] = origin
		}
	}
	items, _ := itemsOf(&v1alpha1.VSecMSecret{Spec: m.spec}) // what is wrong with one was said
	for _, i := range items {
		now, before := m.metadata(i)
		if !over(i.ref.Name) {
			restore(now, before, i.key)
		} else if _, there := before[i.key]; there {
			taken = true
		}
	}
	m.fill()
	m.content.Problem = m.problem()
	return m.content, taken
}

// turn is the first date from which on other secrets may be used; zero is never.
func (m *maker) turn() time.Time {
	var first time.Time
	for _, l := range m.found {
		if from := l.secret.NotBefore; from.After(m.now) {
			first = sooner(first, from)
		}
	}
	for _, at := range m.until {
		if !m.now.After(at) {
			first = sooner(first, after(at))
		}
	}
	return first
}

// after is the moment from which on something has expired.
func after(expires time.Time) time.Time { return expires.Add(time.Millisecond) }

// sooner is the first of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
