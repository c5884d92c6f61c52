package vsecmsource

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// defaultInterval holds for a VSecMSecret that does not say otherwise.
const defaultInterval = time.Hour

// retryUnfetched is when to try again after something was withdrawn without a fetch.
const retryUnfetched = time.Minute

// maxRetry bounds the time after which it is tried again what a person has to mend elsewhere.
const maxRetry = 5 * time.Minute

// fetcher fetches for VSecMSecrets.
type fetcher struct {
	source.ReadOnly
	client  *vsecm.Client
	safeURL string
	allow   allowed
	clock   clock.PassiveClock
}

// Fetch reads the secrets that the refs name, and takes the values out of them.
func (f fetcher) Fetch(ctx context.Context, src v1alpha1.Source, want source.Want) (source.Content, error) {
	vs := src.(*v1alpha1.VSecMSecret) //nolint:forcetypeassert // it is registered for this kind
	interval := source.PeriodOf(vs.Spec.RefreshInterval, defaultInterval)
	content, found, problem := f.fetch(ctx, vs, want, interval)
	unfit := content.Unfit()
	if problem == nil && unfit == nil {
		return content, nil
	}
	failed := cmp.Or(problem, unfit)
	failed.Retry = min(time.Duration(interval), maxRetry)
	rest, err := f.withdraw(vs, want, found, failed)
	if unfit != nil && !rest.Unfetched {
		// Nothing has to be withdrawn yet. What is unfit is told by who cannot write it.
		content.Next = sooner(content.Next, failed.By)
		return content, nil
	}
	return rest, err
}

// fetch gives also what Safe has answered, when it has.
func (f fetcher) fetch(ctx context.Context, vs *v1alpha1.VSecMSecret, want source.Want, interval source.Period) (source.Content, answer, *source.Problem) {
	items, problem := itemsOf(vs)
	if problem != nil {
		return source.Content{}, answer{}, problem
	}
	for _, i := range items {
		if name := i.ref.Name; !f.allow.may(vs.Namespace, name) {
			return source.Content{}, answer{}, notAllowed(vs.Namespace, name)
		}
	}
	age := interval.Age(vs, want)
	found, problem := f.read(ctx, vs, items, age)
	if since := found.turned(f.clock.Now()); problem == nil && since > 0 && !want.Repair {
		// It was read before one of its dates: somebody may have given it another one since.
		found, problem = f.read(ctx, vs, items, since)
	}
	if problem != nil {
		return source.Content{}, answer{}, problem
	}
	m := maker{spec: vs.Spec, now: f.clock.Now(), want: want, found: found.secrets}
	content, problem := m.make(items)
	if problem != nil {
		problem.By = m.turn()
		return source.Content{}, found, problem
	}
	content.FetchedAt = found.at
	interval.Plan(&content, vs.Spec.MaxAge)
	content.Next = sooner(content.Next, m.turn())
	return content, found, nil
}

func notAllowed(namespace, name string) *source.Problem {
	return &source.Problem{Reason: v1alpha1.ReasonNotAllowed, Final: true, Message: fmt.Sprintf("namespace %s may not have the secret %s of Safe: add %s/%s to the value vsecm.allow of the chart (flag --vsecm-allow)", namespace, name, namespace, name)}
}

// answer is what Safe holds of the secrets that are asked for, by their names.
type answer struct {
	at      time.Time
	secrets map[string]lookup
}

// turned is how long ago the last of the dates was that have come since the answer; 0 without any.
func (a answer) turned(now time.Time) time.Duration {
	var last time.Time
	for _, l := range a.secrets {
		for _, at := range []time.Time{l.secret.NotBefore, l.secret.ExpiresAfter} {
			if at.After(a.at) && !at.After(now) && at.After(last) {
				last = at
			}
		}
	}
	if last.IsZero() {
		return 0
	}
	return max(now.Sub(last), 1)
}

// lookup is one secret, or why there is none.
type lookup struct {
	secret vsecm.Secret
	// missing says why there is none; empty when there is one.
	missing string
}

func (f fetcher) read(ctx context.Context, vs *v1alpha1.VSecMSecret, items []item, age time.Duration) (answer, *source.Problem) {
	address := cmp.Or(vs.Spec.VSecMSafeURL, f.safeURL)
	out := answer{secrets: map[string]lookup{}}
	get := func(name string) (vsecm.Secret, error) { return f.client.Own(ctx, address, name, age) }
	listed := vs.Spec.SecretType != v1alpha1.VSecMWorkload
	if listed {
		raw, err := f.client.Raw(ctx, address, age)
		if err != nil {
			return out, source.ProblemOf(err, 0)
		}
		expected := vs.Spec.ExpectedName
		if expected != "" && !f.allow.mayAll(vs.Namespace) {
			if _, known := raw.Names(); !known {
				return out, &source.Problem{Reason: v1alpha1.ReasonNotAllowed, Message: fmt.Sprintf("Safe has only one raw secret and does not tell its name, so that only a namespace which may have all secrets can take it for %s: keep a second raw secret in Safe, such as raw:marker, or add %s/* to the value vsecm.allow of the chart (flag --vsecm-allow)", expected, vs.Namespace)}
			}
		}
		get = func(name string) (vsecm.Secret, error) { return raw.Secret(name, expected) }
		out.at = raw.At
	}
	for _, i := range items {
		name := i.ref.Name
		if _, done := out.secrets[name]; done {
			continue
		}
		secret, err := get(name)
		switch {
		case upstream.IsKind(err, upstream.Missing):
			out.secrets[name] = lookup{missing: err.Error()}
		case err != nil:
			p := source.ProblemOf(err, 0)
			if listed && p.Reason == v1alpha1.ReasonRefused {
				p.Reason = v1alpha1.ReasonInvalidValue // the answer is good, and this secret is not
			}
			return out, p
		default:
			out.secrets[name] = lookup{secret: secret}
		}
		if out.at.IsZero() || secret.At.Before(out.at) && !secret.At.IsZero() {
			out.at = secret.At
		}
	}
	return out, nil
}

// withdraw takes out what has expired by now when nothing new can be written, and leaves the rest as it is. found is what
// Safe has answered, if it has.
func (f fetcher) withdraw(vs *v1alpha1.VSecMSecret, want source.Want, found answer, problem *source.Problem) (source.Content, error) {
	if vs.Spec.OnExpiry == v1alpha1.OnExpiryKeep {
		return source.Content{}, problem
	}
	m := maker{spec: vs.Spec, now: f.clock.Now(), want: want}
	expired := map[string]time.Time{}
	for name, at := range m.dates(found) {
		if m.now.After(at) {
			expired[name] = at
		} else {
			problem.By = sooner(problem.By, after(at))
		}
	}
	content, taken := m.without(expired)
	if !taken {
		return source.Content{}, problem
	}
	content.Unfetched = true
	then := "; what is there now could not be fetched: "
	if found.secrets != nil {
		then = "; the rest stays as it is: "
	}
	content.Problem.Message += then + problem.Message
	content.Problem.Heals, content.Problem.Retry = problem.Heals, problem.Retry
	content.Next = sooner(m.now.Add(retryUnfetched), problem.By)
	if vs.Status.LastFetchedAt != nil {
		content.FetchedAt = vs.Status.LastFetchedAt.Time
	}
	if vs.Status.StaleAt != nil {
		content.StaleAt = vs.Status.StaleAt.Time
	}
	return content, nil
}

func typeOf(spec v1alpha1.VSecMSecretSpec) corev1.SecretType {
	return corev1.SecretType(cmp.Or(spec.Target.Type, string(corev1.SecretTypeOpaque)))
}
