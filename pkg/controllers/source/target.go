package source

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxFetched bounds the annotations that were fetched. They are in the record, too, and the API server takes no more than
// 256 KiB of all annotations.
const maxFetched = 48 << 10

func targetName(src v1alpha1.Source) string {
	if name := src.Target().TargetSecretName; name != "" {
		return name
	}
	return src.GetName()
}

func merges(src v1alpha1.Source) bool {
	return src.Target().ConflictPolicy == v1alpha1.SourceConflictMerge
}

// claim says why a source may not write a Secret that is there. alive says whether a source with a record is still there.
func claim(live *corev1.Secret, kind string, src v1alpha1.Source, alive func(name string, uid types.UID) bool) *Problem {
	conflict := func(format string, args ...any) *Problem {
		return &Problem{Reason: v1alpha1.ReasonSecretConflict, Final: true, Message: fmt.Sprintf("Secret %s/%s ", live.Namespace, live.Name) + fmt.Sprintf(format, args...)}
	}
	if live == nil {
		return nil
	}
	mine := recordName(kind, src)
	var others []string
	for name, r := range records(live) {
		// One of our name is of a former object.
		if name != mine && alive(name, r.UID) && (!merges(src) || owns(live, r.UID)) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	switch {
	case live.DeletionTimestamp != nil:
		return conflict("is being deleted, and a finalizer holds it: %s", list(live.Finalizers))
	case len(others) > 0:
		return conflict("is made by %s: let one of them make another Secret, or write conflictPolicy: Merge in both", list(others))
	case recordOf(live, kind, src) != nil:
		return nil
	case live.Labels[v1alpha1.LabelHandshake] != "":
		return conflict("carries the values of a FleetHandshake: name another Secret in the spec")
	case merges(src), src.Target().ConflictPolicy == v1alpha1.SourceConflictAdopt, ownedBy(live, src):
		return nil
	}
	return conflict("is there and was not made by this object: delete it, name another Secret in the spec, or say conflictPolicy: Adopt to replace it or Merge to add to it")
}

func ownedBy(secret *corev1.Secret, src v1alpha1.Source) bool { return owns(secret, src.GetUID()) }

func owns(secret *corev1.Secret, uid types.UID) bool {
	return slices.ContainsFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == uid })
}

// intact says whether a Secret holds the values that the source has written, as far as that can be told without them:
// the keys are there, and nobody else has set one of them.
func intact(live *corev1.Secret, kind string, src v1alpha1.Source) bool {
	r := recordOf(live, kind, src)
	if r == nil {
		return false
	}
	keys := r.keys()
	for key := range keys {
		if _, ok := live.Data[key]; !ok {
			return false
		}
	}
	return !setByOthers(live, keys)
}

// untouched says whether a Secret is intact, and all else of it is as the source has written it.
func untouched(live *corev1.Secret, kind string, src v1alpha1.Source) bool {
	if !intact(live, kind, src) || !merges(src) && (len(live.Data) != len(recordOf(live, kind, src).keys()) || !ownedBy(live, src)) {
		return false
	}
	m := wanted(src, recordOf(live, kind, src).Fetched)
	return holds(live.Labels, m.Labels) && holds(live.Annotations, m.Annotations)
}

func holds(all, some map[string]string) bool {
	for name, value := range some {
		if have, ok := all[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// wanted is what a spec says and what was fetched.
func wanted(src v1alpha1.Source, fetched Metadata) Metadata {
	t := src.Target()
	return Metadata{Labels: replaced(t.Labels, nil, fetched.Labels), Annotations: replaced(t.Annotations, nil, fetched.Annotations)}
}

// build makes the Secret as it is to be. live is nil when there is none. When it cannot be changed in place, because its
// type is another one, the second result is true.
func build(live *corev1.Secret, kind string, src v1alpha1.Source, content Content) (*corev1.Secret, bool, *Problem) {
	old := recordOf(live, kind, src)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: src.GetNamespace(), Name: targetName(src)}, Type: content.Type}
	recreate := false
	if live != nil {
		secret = live.DeepCopy()
		if content.Same {
			content.Type, content.Keys = live.Type, old.keys()
			content.Data, content.Metadata = dataOf(live, old), old.Fetched
		}
		if recreate = live.Type != content.Type; recreate {
			if merges(src) {
				return nil, false, &Problem{Reason: v1alpha1.ReasonSecretConflict, Final: true, Message: fmt.Sprintf("Secret %s/%s has type %s, and this object makes %s: name another Secret in the spec", live.Namespace, live.Name, live.Type, content.Type)}
			}
			secret.ObjectMeta = metav1.ObjectMeta{Namespace: live.Namespace, Name: live.Name, Labels: live.Labels, Annotations: maps.Clone(live.Annotations)}
		}
	}
	if problem := content.Unfit(); problem != nil {
		return nil, false, problem
	}
	secret.Type = content.Type
	all := records(secret)
	if merges(src) {
		data, problem := merged(secret, old, content)
		if problem != nil {
			return nil, false, problem
		}
		secret.Data = data
		secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == src.GetUID() })
	} else {
		secret.Data = content.Data
		yes := true
		secret.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: kind, Name: src.GetName(), UID: src.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
		}}
		all = map[string]*record{}
	}
	takeOver(secret, content.Keys)
	metadata := wanted(src, content.Metadata)
	r := &record{UID: src.GetUID(), Paths: pathsOf(content.Keys), Fetched: content.Metadata, State: content.State,
		Labels: slices.Sorted(maps.Keys(metadata.Labels)), Annotations: slices.Sorted(maps.Keys(metadata.Annotations))}
	var formerLabels, formerAnnotations []string
	if old != nil {
		formerLabels, formerAnnotations = old.Labels, old.Annotations
	}
	secret.Labels = replaced(secret.Labels, formerLabels, metadata.Labels)
	secret.Annotations = replaced(secret.Annotations, formerAnnotations, metadata.Annotations)
	all[recordName(kind, src)] = r
	if problem := keepRecords(secret, all); problem != nil {
		return nil, false, problem
	}
	return secret, recreate, invalid(secret)
}

// merged is the data of a Secret with the keys of one source replaced.
func merged(secret *corev1.Secret, old *record, content Content) (map[string][]byte, *Problem) {
	data := map[string][]byte{}
	maps.Copy(data, secret.Data)
	for key := range old.keys() {
		delete(data, key)
	}
	var taken []string
	for key := range content.Data {
		if _, foreign := data[key]; foreign {
			taken = append(taken, key)
		}
	}
	if len(taken) > 0 {
		slices.Sort(taken)
		return nil, &Problem{Reason: v1alpha1.ReasonSecretConflict, Message: fmt.Sprintf("Secret %s/%s already has %s, which this object has not made: take the key out there, or give it another name here, for example with a prefix", secret.Namespace, secret.Name, list(taken))}
	}
	maps.Copy(data, content.Data)
	return data, nil
}

// withoutSource is a Secret without what a source has put there; nil when nothing is left of it.
func withoutSource(live *corev1.Secret, kind string, src v1alpha1.Source) *corev1.Secret {
	r := recordOf(live, kind, src)
	secret := live.DeepCopy()
	for key := range r.keys() {
		delete(secret.Data, key)
	}
	secret.Labels = replaced(secret.Labels, r.Labels, nil)
	secret.Annotations = replaced(secret.Annotations, r.Annotations, nil)
	all := records(live)
	delete(all, recordName(kind, src))
	if len(all) == 0 && len(secret.Data) == 0 {
		return nil
	}
	_ = keepRecords(secret, all) // it only became shorter
	return secret
}

// replaced takes the former names out and puts the present ones in.
func replaced(all map[string]string, former []string, now map[string]string) map[string]string {
	out := maps.Clone(all)
	if out == nil {
		out = map[string]string{}
	}
	for _, name := range former {
		delete(out, name)
	}
	maps.Copy(out, now)
	if len(out) == 0 {
		return nil
	}
	return out
}

// Unfit says why no Secret can hold the content, without showing a value; nil when one can.
func (c Content) Unfit() *Problem {
	if problem := unfit(c.Metadata); problem != nil {
		return problem
	}
	return tooLarge(c.Data)
}

// unfit says what of the fetched labels and annotations the API server would refuse.
func unfit(m Metadata) *Problem {
	problem := func(what, key, rule string) *Problem {
		return &Problem{Reason: v1alpha1.ReasonInvalidValue, Message: fmt.Sprintf("what was fetched for the %s %s cannot be one: %s; correct the value at its source, or fetch another", what, key, rule)}
	}
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		if len(validation.IsValidLabelValue(m.Labels[key])) > 0 {
			return problem("label", key, "it must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit")
		}
	}
	size := 0
	for _, key := range slices.Sorted(maps.Keys(m.Annotations)) {
		if size += len(key) + len(m.Annotations[key]); size > maxFetched {
			return problem("annotation", key, fmt.Sprintf("all of them together may have %d bytes", maxFetched))
		}
	}
	return nil
}

// invalid says what of a Secret the API server would refuse, as far as the spec of a source can cause it.
func invalid(secret *corev1.Secret) *Problem {
	if reserved(secret.Type) {
		return &Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: fmt.Sprintf("the spec wants type %s, which others than Secrets of people have: write Opaque or another type", secret.Type)}
	}
	if secret.Labels[v1alpha1.LabelHandshake] != "" {
		return &Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: "spec.labels has " + v1alpha1.LabelHandshake + ", by which the operator knows its own Secrets: leave it out"}
	}
	errs := metav1validation.ValidateLabels(secret.Labels, field.NewPath("spec", "labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(secret.Annotations, field.NewPath("spec", "annotations"))...)
	if len(errs) > 0 {
		return &Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: errs.ToAggregate().Error() + ": correct it"}
	}
	return tooLarge(secret.Data)
}

func tooLarge(data map[string][]byte) *Problem {
	size := 0
	for _, value := range data {
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		return &Problem{Reason: v1alpha1.ReasonTooLarge, Message: fmt.Sprintf("what was fetched has %d bytes, and a Secret can hold %d: fetch fewer values, or make two Secrets", size, corev1.MaxSecretSize)}
	}
	return nil
}

// reserved says whether a type makes more of a Secret than that. The definitions of the kinds refuse these types too.
func reserved(t corev1.SecretType) bool {
	return t == corev1.SecretTypeServiceAccountToken || t == corev1.SecretTypeBootstrapToken || t == "helm.sh/release.v1" ||
		t == "fleethandshake.io/vault-token" || strings.HasPrefix(string(t), "fleet.cattle.io/")
}

// equal says whether a write would change nothing.
func equal(a, b *corev1.Secret) bool {
	return a.Type == b.Type && maps.EqualFunc(a.Data, b.Data, bytes.Equal) && maps.Equal(a.Labels, b.Labels) &&
		maps.Equal(a.Annotations, b.Annotations) && equality.Semantic.DeepEqual(a.ManagedFields, b.ManagedFields) &&
		slices.EqualFunc(a.OwnerReferences, b.OwnerReferences, func(x, y metav1.OwnerReference) bool { return x.UID == y.UID })
}

// list names some of many.
func list(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
