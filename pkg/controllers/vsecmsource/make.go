package vsecmsource

import (
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
	now, _ := m.metadata(i)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		if now != nil {
			now[key] = v.text
		} else if problem := m.put(i, key, v); problem != nil {
			return problem
		}
	}
	return nil
}

// metadata are the labels or annotations that an item goes to, and those of before; nil where it goes to data.
func (m *maker) metadata(i item) (now, before map[string]string) {
	switch i.place {
	case inLabels:
		return m.content.Metadata.Labels, m.want.Metadata.Labels
	case inAnnotations:
		return m.content.Metadata.Annotations, m.want.Metadata.Annotations
	}
	return nil, nil
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

// keep puts back what came from the items whose former values stay.
func (m *maker) keep() {
	for _, i := range m.kept {
		there := false
		if now, before := m.metadata(i); now != nil {
			there = restore(now, before, i.key)
		} else {
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
