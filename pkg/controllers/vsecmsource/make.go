package vsecmsource

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm/ref"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// wholeKey is the key of what is no JSON object, as in the Secrets that Safe itself makes.
const wholeKey = "VALUE"

// place is where in the Secret a value goes.
type place int

const (
	inData place = iota
	inAllData
	inLabels
	inAnnotations
)

// item is one ref of a spec. key is the prefix of the keys where the place is inAllData.
type item struct {
	place place
	field string
	key   string
	ref   ref.Ref
}

// itemsOf are the refs of a spec, those of dataFrom first: data wins over them.
func itemsOf(vs *v1alpha1.VSecMSecret) ([]item, *source.Problem) {
	var out []item
	var wrong *source.Problem
	add := func(p place, field string, i int, key, text string) {
		field = fmt.Sprintf("spec.%s[%d].ref", field, i)
		r, err := ref.Parse(text)
		if err == nil && vs.Spec.SecretType == v1alpha1.VSecMRaw && len(r.Path) > 0 {
			err = fmt.Errorf("ref %q leads into a value, and secretType raw takes values as they are: write the name of the secret alone, or secretType: k8s", text)
		}
		if err != nil && wrong == nil {
			wrong = &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: fmt.Sprintf("%s: %v", field, err)}
		}
		out = append(out, item{p, field, key, r})
	}
	for i, o := range vs.Spec.DataFrom {
		add(inAllData, "dataFrom", i, o.Prefix, o.Ref)
	}
	for i, k := range vs.Spec.Data {
		add(inData, "data", i, k.Key, k.Ref)
	}
	for i, l := range vs.Spec.Labels {
		add(inLabels, "labels", i, l.Key, l.Ref)
	}
	for i, a := range vs.Spec.Annotations {
		add(inAnnotations, "annotations", i, a.Key, a.Ref)
	}
	return out, wrong
}

// maker makes the content of one Secret.
type maker struct {
	spec  v1alpha1.VSecMSecretSpec
	now   time.Time
	want  source.Want
	found map[string]lookup

	content source.Content
	// former are the dates at which what the Secret holds expires, and until those of what it is to hold.
	former, until map[string]time.Time
	// kept are the items whose former values stay.
	kept []item
	// what there is to say; the worst is said first.
	expired, missing, notYet []string
	// lacks says that something is not there because it is too early.
	lacks bool
}

// make takes the values out of what was found.
func (m *maker) make(items []item) (source.Content, *source.Problem) {
	m.begin()
	for _, i := range items {
		if problem := m.take(i); problem != nil {
			return source.Content{}, problem
		}
	}
	m.keep()
	m.fill()
	m.content.Problem = m.problem()
	if len(m.content.Data) == 0 && m.want.Keys == nil && m.content.Problem != nil {
		return source.Content{}, m.content.Problem // no Secret without keys where there was none
	}
	return m.content, nil
}

func (m *maker) begin() {
	m.content = source.Content{
		Type: typeOf(m.spec), Data: map[string][]byte{}, Keys: map[string]source.Origin{},
		Metadata: source.Metadata{Labels: map[string]string{}, Annotations: map[string]string{}},
	}
	m.former, m.until = expiresIn(m.want.State), map[string]time.Time{}
	for name, l := range m.found {
		at := l.secret.ExpiresAfter
		if !m.takes(l) {
			at = m.former[name]
		}
		// What stays although it has expired keeps its date: that may be asked for later.
		if dated(at) && (!m.now.After(at) || m.spec.OnExpiry == v1alpha1.OnExpiryKeep) {
			m.until[name] = at.UTC() // JSON has not every zone
		}
	}
	m.remember(m.until)
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

// take takes the value of one item, or notes why there is none.
func (m *maker) take(i item) *source.Problem {
	found := m.found[i.ref.Name]
	if found.missing != "" {
		return m.lack(i, found.missing)
	}
	switch found.secret.State(m.now) {
	case vsecm.NotYet:
		note(&m.notYet, fmt.Sprintf("secret %s may not be used before %s", i.ref.Name, date(found.secret.NotBefore)))
		m.stay(i)
		return nil
	case vsecm.Expired:
		m.expire(i.ref.Name, found.secret.ExpiresAfter)
		if m.spec.OnExpiry != v1alpha1.OnExpiryKeep {
			return nil
		}
	}
	values, err := m.values(i, found.secret.Value)
	var wrong *ref.Error
	switch {
	case errors.As(err, &wrong) && wrong.Missing:
		return m.lack(i, wrong.Error())
	case err != nil:
		return &source.Problem{Reason: v1alpha1.ReasonInvalidValue, Message: fmt.Sprintf("%s: %v: correct the ref, or the secret in Safe", i.field, err)}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		switch i.place {
		case inLabels:
			m.content.Metadata.Labels[key] = v.text
		case inAnnotations:
			m.content.Metadata.Annotations[key] = v.text
		default:
			if problem := m.put(i, key, v); problem != nil {
				return problem
			}
		}
	}
	return nil
}

// value is one value with where it came from.
type value struct{ text, path string }

// values are those of one item by key.
func (m *maker) values(i item, secret string) (map[string]value, error) {
	text, err := i.ref.Value(secret)
	if err != nil {
		return nil, err
	}
	if i.place != inAllData {
		return map[string]value{i.key: {text, i.ref.String()}}, nil
	}
	all, err := i.ref.All(secret)
	if err != nil || m.spec.SecretType == v1alpha1.VSecMRaw {
		return map[string]value{i.key + wholeKey: {text, i.ref.String()}}, nil //nolint:nilerr // what is no object is one value
	}
	out := make(map[string]value, len(all))
	for name, text := range all {
		out[i.key+name] = value{text, i.ref.Child(name)}
	}
	return out, nil
}

func (m *maker) put(i item, key string, v value) *source.Problem {
	if len(validation.IsConfigMapKey(key)) > 0 {
		m.content.LeftOut = append(m.content.LeftOut, key)
		return nil
	}
	if other, taken := m.content.Keys[key]; taken && i.place == inAllData {
		return &source.Problem{Reason: v1alpha1.ReasonKeyCollision, Message: fmt.Sprintf("key %s comes from %s and from %s: give one of them another prefix in spec.dataFrom", key, other.Path, v.path)}
	}
	m.content.Data[key], m.content.Keys[key] = []byte(v.text), source.Origin{Path: v.path}
	return nil
}

// lack does what onMissing says.
func (m *maker) lack(i item, why string) *source.Problem {
	switch m.spec.OnMissing {
	case v1alpha1.OnMissingFail:
		return &source.Problem{Reason: v1alpha1.ReasonPathMissing, Message: why + "; the Secret is left as it is"}
	case v1alpha1.OnMissingRemove:
		return nil
	}
	note(&m.missing, why)
	m.stay(i)
	return nil
}

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

// keep puts back what came from the items whose former values stay.
func (m *maker) keep() {
	for _, i := range m.kept {
		there := false
		switch i.place {
		case inLabels:
			there = restore(m.content.Metadata.Labels, m.want.Metadata.Labels, i.key)
		case inAnnotations:
			there = restore(m.content.Metadata.Annotations, m.want.Metadata.Annotations, i.key)
		default:
			for key, origin := range m.want.Keys {
				if cameFrom(i, key, origin.Path) && restore(m.content.Data, m.want.Data, key) {
					there = restore(m.content.Keys, m.want.Keys, key)
				}
			}
		}
		m.lacks = m.lacks || !there
	}
}

// restore takes one value of before, unless there is a new one. It says whether there is one then.
func restore[V any](into, from map[string]V, key string) bool {
	_, there := into[key]
	if v, ok := from[key]; ok && !there {
		into[key], there = v, true
	}
	return there
}

// cameFrom says whether a key of the Secret came from an item of data or dataFrom.
func cameFrom(i item, key, path string) bool {
	if i.place == inData {
		return key == i.key && path == i.ref.String()
	}
	name, begins := strings.CutPrefix(key, i.key)
	return begins && (path == i.ref.Child(name) || name == wholeKey && path == i.ref.String())
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
		if at := l.secret.ExpiresAfter; m.takes(l) && dated(at) {
			out[name] = sooner(out[name], at)
		}
	}
	return out
}

// holds says whether the Secret holds something from one of the secrets.
func (m *maker) holds(secrets map[string]time.Time) bool {
	for _, origin := range m.want.Keys {
		if r, err := ref.Parse(origin.Path); err == nil && !secrets[r.Name].IsZero() {
			return true
		}
	}
	items, _ := itemsOf(&v1alpha1.VSecMSecret{Spec: m.spec})
	return slices.ContainsFunc(items, func(i item) bool {
		return !secrets[i.ref.Name].IsZero() && (i.place == inLabels && has(m.want.Metadata.Labels, i.key) || i.place == inAnnotations && has(m.want.Metadata.Annotations, i.key))
	})
}

func has(all map[string]string, key string) bool {
	_, ok := all[key]
	return ok
}

// without is what the Secret holds now, without what came from the secrets that have expired.
func (m *maker) without(expired map[string]time.Time) source.Content {
	m.begin()
	if m.want.Type != "" {
		m.content.Type = m.want.Type // that of the spec comes with what the spec wants
	}
	for _, name := range slices.Sorted(maps.Keys(expired)) {
		m.expire(name, expired[name])
		delete(m.former, name)
	}
	m.remember(m.former)
	items, _ := itemsOf(&v1alpha1.VSecMSecret{Spec: m.spec}) // what is wrong with one was said
	over := func(name string) bool { _, ok := expired[name]; return ok }
	for key, origin := range m.want.Keys {
		if r, err := ref.Parse(origin.Path); (err != nil || !over(r.Name)) && restore(m.content.Data, m.want.Data, key) {
			m.content.Keys[key] = origin
		}
	}
	for _, i := range items {
		switch {
		case over(i.ref.Name):
		case i.place == inLabels:
			restore(m.content.Metadata.Labels, m.want.Metadata.Labels, i.key)
		case i.place == inAnnotations:
			restore(m.content.Metadata.Annotations, m.want.Metadata.Annotations, i.key)
		}
	}
	m.fill()
	m.content.Problem = m.problem()
	return m.content
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

// problem is what a person should know of the content.
func (m *maker) problem() *source.Problem {
	var out *source.Problem
	say := func(when bool, reason string, heals bool, notes []string, then string) {
		if !when || len(notes) == 0 {
			return
		}
		text := strings.Join(notes, ", ") + then
		if out == nil {
			out = &source.Problem{Reason: reason, Message: text, Heals: heals}
			return
		}
		out.Message += "; " + text
	}
	then := ", and what came from it is withdrawn: write it anew in Safe with a later date"
	if m.spec.OnExpiry == v1alpha1.OnExpiryKeep {
		then = ", and what came from it stays, as onExpiry says: write it anew in Safe with a later date"
	}
	say(true, v1alpha1.ReasonExpired, false, m.expired, then)
	say(true, v1alpha1.ReasonPathMissing, false, m.missing, "; what came from there stays as it is: write it in Safe, correct the ref, or say onMissing: Remove")
	say(m.lacks, v1alpha1.ReasonNotYetValid, true, m.notYet, ", and is put into the Secret then")
	return out
}

func note(notes *[]string, text string) {
	if !slices.Contains(*notes, text) {
		*notes = append(*notes, text)
	}
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
