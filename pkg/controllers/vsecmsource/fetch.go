package vsecmsource

import (
	"cmp"
	"context"
	"encoding/json"
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

// state is kept with the Secret.
type state struct {
	// Expires are the dates of the secrets in it, so that they hold while Safe does not answer.
	Expires map[string]time.Time `json:"expires,omitempty"`
}

// Fetch reads the secrets that the refs name, and takes the values out of them.
func (f fetcher) Fetch(ctx context.Context, src v1alpha1.Source, want source.Want) (source.Content, error) {
	vs := src.(*v1alpha1.VSecMSecret) //nolint:forcetypeassert // it is registered for this kind
	interval := source.PeriodOf(vs.Spec.RefreshInterval, defaultInterval)
	content, problem := f.fetch(ctx, vs, want, interval)
	if problem == nil {
		return content, nil
	}
	problem.Retry = min(time.Duration(interval), maxRetry)
	return f.withdraw(vs, want, problem)
}

func (f fetcher) fetch(ctx context.Context, vs *v1alpha1.VSecMSecret, want source.Want, interval source.Period) (source.Content, *source.Problem) {
	items, problem := itemsOf(vs)
	if problem != nil {
		return source.Content{}, problem
	}
	for _, i := range items {
		if name := i.ref.Name; !f.allow.may(vs.Namespace, name) {
			return source.Content{}, notAllowed(vs.Namespace, name)
		}
	}
	found, problem := f.read(ctx, vs, items, interval.Age(vs, want))
	if problem != nil {
		return source.Content{}, problem
	}
	m := maker{spec: vs.Spec, now: f.clock.Now(), want: want, found: found.secrets}
	content, problem := m.make(items)
	turn := m.turn()
	if problem != nil {
		problem.By = turn
		return content, problem
	}
	content.FetchedAt = found.at
	interval.Plan(&content, vs.Spec.MaxAge)
	content.Next = sooner(content.Next, turn)
	return content, nil
}

func notAllowed(namespace, name string) *source.Problem {
	return &source.Problem{Reason: v1alpha1.ReasonNotAllowed, Final: true, Message: fmt.Sprintf("namespace %s may not have the secret %s of Safe: add %s/%s to the value vsecm.allow of the chart (flag --vsecm-allow)", namespace, name, namespace, name)}
}

// answer is what Safe holds of the secrets that are asked for. One that is not there has an error.
type answer struct {
	at      time.Time
	secrets map[string]lookup
}

type lookup struct {
	secret vsecm.Secret
	// missing says why there is none; empty when there is one.
	missing string
}

func (f fetcher) read(ctx context.Context, vs *v1alpha1.VSecMSecret, items []item, age time.Duration) (answer, *source.Problem) {
	address := cmp.Or(vs.Spec.VSecMSafeURL, f.safeURL)
	out := answer{secrets: map[string]lookup{}}
	get := func(name string) (vsecm.Secret, error) { return f.client.Own(ctx, address, name, age) }
	if vs.Spec.SecretType != v1alpha1.VSecMWorkload {
		raw, err := f.client.Raw(ctx, address, age)
		if err != nil {
			return out, source.ProblemOf(err, 0)
		}
		expected := vs.Spec.ExpectedName
		if _, known := raw.Names(); !known && expected != "" && !f.allow.mayAll(vs.Namespace) {
			return out, &source.Problem{Reason: v1alpha1.ReasonNotAllowed, Message: fmt.Sprintf("Safe has only one raw secret and does not tell its name, so that only a namespace which may have all secrets can take it for %s: keep a second raw secret in Safe, such as raw:marker, or add %s/* to the value vsecm.allow of the chart (flag --vsecm-allow)", expected, vs.Namespace)}
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
			secret.At = f.clock.Now()
		case err != nil:
			p := source.ProblemOf(err, 0)
			if p.Reason == v1alpha1.ReasonRefused {
				p.Reason = v1alpha1.ReasonInvalidValue
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

// withdraw takes out what has expired by now when nothing could be fetched, and leaves the rest as it is.
func (f fetcher) withdraw(vs *v1alpha1.VSecMSecret, want source.Want, problem *source.Problem) (source.Content, error) {
	var kept state
	if len(want.State) > 0 && json.Unmarshal(want.State, &kept) != nil || vs.Spec.OnExpiry == v1alpha1.OnExpiryKeep {
		return source.Content{}, problem
	}
	m := maker{spec: vs.Spec, now: f.clock.Now(), want: want, found: map[string]lookup{}}
	expired := false
	for name, at := range kept.Expires {
		if m.now.After(at) {
			expired = true
			m.found[name] = lookup{secret: vsecm.Secret{Name: name, ExpiresAfter: at}}
		} else {
			problem.By = sooner(problem.By, at.Add(time.Millisecond))
		}
	}
	if !expired || want.Keys == nil {
		return source.Content{}, problem
	}
	content := m.without()
	content.Unfetched = true
	content.Problem.Message += "; what is there now could not be fetched: " + problem.Message
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
