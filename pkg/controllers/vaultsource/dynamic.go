package vaultsource

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

const (
	defaultRenewalPercent = 67
	// afterRotation is how long after Vault has rotated a static credential it is read, and staleRotation from when on
	// the one before counts as no longer valid.
	afterRotation, staleRotation = 500 * time.Millisecond, 30 * time.Second
)

// dynamic fetches for VaultDynamicSecrets.
type dynamic struct {
	*access
	*holders
	clock clock.PassiveClock
}

// leaseState is what a Secret with a credential remembers.
type leaseState struct {
	// Request is a fingerprint of what was asked for.
	Request string `json:"request"`
	Lease   string `json:"lease,omitempty"`
	// Holder is the accessor of the token that the lease hangs on.
	Holder string `json:"holder,omitempty"`
	// Seconds is how long the lease lived when it was made, and MadeAt when that was.
	Seconds int64     `json:"seconds,omitempty"`
	MadeAt  time.Time `json:"madeAt,omitzero"`
}

func (f dynamic) request(vds *v1alpha1.VaultDynamicSecret, session *vault.Session) string {
	var params []string
	for _, name := range slices.Sorted(maps.Keys(vds.Spec.Params)) {
		params = append(params, name, vds.Spec.Params[name])
	}
	return fingerprint(session.ID(), vds.Spec.Mount, vds.Spec.Path, methodOf(vds), params)
}

func methodOf(vds *v1alpha1.VaultDynamicSecret) string {
	if vds.Spec.Method == "" {
		return "GET"
	}
	return vds.Spec.Method
}

// Fetch renews the lease of the credential that the Secret holds, or has a new one made.
func (f dynamic) Fetch(ctx context.Context, src v1alpha1.Source, want source.Want) (source.Content, error) {
	vds := src.(*v1alpha1.VaultDynamicSecret) //nolint:forcetypeassert // it is registered for this kind
	retry := source.DurationOr(vds.Spec.ReconcilePeriod, defaultPeriod)
	server, err := f.of(ctx, vds.Namespace, vds.Spec.VaultAccess)
	if err != nil {
		return source.Content{}, problemOf(err, retry)
	}
	if !vds.Spec.StaticCredentials {
		f.attach(f.holder(vds), server.Session)
	}
	state := whole[leaseState](want.State)
	if want.Intact && !want.Fresh && state.Lease != "" && state.Request == f.request(vds, server.Session) {
		content, ok, err := f.renew(ctx, vds, server.Session, want.State, state)
		if ok || err != nil {
			return content, problemOf(err, retry)
		}
	}
	content, err := f.make(ctx, vds, server.Session)
	return content, problemOf(err, retry)
}

// renew keeps the credential as long as its lease can be renewed. false wants a new one.
func (f dynamic) renew(ctx context.Context, vds *v1alpha1.VaultDynamicSecret, session *vault.Session, raw json.RawMessage, state leaseState) (source.Content, bool, error) {
	if held, err := f.holds(ctx, f.holder(vds), session, state.Holder); err != nil || !held {
		return source.Content{}, false, err
	}
	now := f.clock.Now()
	given := time.Duration(state.Seconds) * time.Second
	lease := v1alpha1.Lease{Duration: metav1.Duration{Duration: given}, ExpiresAt: metav1.NewTime(state.MadeAt.Add(given)), Renewable: true}
	if vds.Status.Lease != nil && vds.Status.LastFetchedAt != nil && vds.Status.LastFetchedAt.Unix() == state.MadeAt.Unix() {
		lease = *vds.Status.Lease
	}
	if !now.Before(lease.ExpiresAt.Time) {
		return source.Content{}, false, nil
	}
	content := source.Content{Same: true, State: raw, FetchedAt: state.MadeAt}
	life := lease.Duration.Duration
	if next := lease.ExpiresAt.Add(horizon(life, percentOf(vds), luckOf(state.Lease)) - life); now.Before(next) {
		content.Next, content.StaleAt = next, lease.ExpiresAt.Time
		content.Report = reportLease(lease)
		return content, true, nil
	}
	if !lease.Renewable {
		return content, false, nil
	}
	renewed, err := session.RenewLease(ctx, state.Lease, given)
	switch {
	case upstream.IsKind(err, upstream.Missing), upstream.IsKind(err, upstream.Invalid):
		return content, false, nil // it has ended, or cannot be renewed
	case err != nil:
		return content, false, err
	case renewed.Duration < given*9/10:
		return content, false, nil // its greatest age is near
	}
	leased(&content, vds, state.Lease, renewed, now)
	return content, true, nil
}

// leased says of content how long it lives from now on.
func leased(content *source.Content, vds *v1alpha1.VaultDynamicSecret, id string, lease vault.Lease, now time.Time) {
	content.Next, content.StaleAt = now.Add(horizon(lease.Duration, percentOf(vds), luckOf(id))), now.Add(lease.Duration)
	content.Report = reportLease(v1alpha1.Lease{
		Duration: metav1.Duration{Duration: lease.Duration}, ExpiresAt: metav1.NewTime(content.StaleAt.Truncate(time.Second)), Renewable: lease.Renewable,
	})
}

func percentOf(vds *v1alpha1.VaultDynamicSecret) int32 {
	return cmp.Or(vds.Spec.RenewalPercent, defaultRenewalPercent)
}

func reportLease(lease v1alpha1.Lease) func(v1alpha1.Source) {
	return func(src v1alpha1.Source) {
		src.(*v1alpha1.VaultDynamicSecret).Status.Lease = &lease //nolint:forcetypeassert // it is the source of the Fetch
	}
}

// make has a credential made. The one before is left to end by itself: somebody may still use it.
func (f dynamic) make(ctx context.Context, vds *v1alpha1.VaultDynamicSecret, session *vault.Session) (source.Content, error) {
	params := map[string]any{}
	for name, value := range vds.Spec.Params {
		params[name] = value
	}
	at := join(vds.Spec.Mount, strings.Trim(vds.Spec.Path, "/"))
	answer, err := session.Request(ctx, methodOf(vds), at, params)
	if err != nil {
		return source.Content{}, err
	}
	if len(answer.Data) == 0 {
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonRefused, Message: fmt.Sprintf("the answer at %s has no data: is this the path of credentials?", at)}
	}
	tree := vaultkv.New(vaultkv.Exact)
	if err := tree.Add(vaultkv.Path{Path: at}, vaultkv.Leaf{Path: at, Data: answer.Data}); err != nil {
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonKeyCollision, Message: err.Error()}
	}
	rendered, err := tree.Env("_")
	if err != nil {
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonKeyCollision, Message: err.Error()}
	}
	now := f.clock.Now()
	content := source.Content{Type: corev1.SecretType(cmp.Or(vds.Spec.Type, string(corev1.SecretTypeOpaque))), Data: rendered.Data, LeftOut: rendered.Invalid, Keys: map[string]source.Origin{}, FetchedAt: now}
	for key, origin := range rendered.Origins {
		content.Keys[key] = source.Origin{Path: origin.Path}
	}
	state := leaseState{Request: f.request(vds, session), MadeAt: now}
	content.Report = func(src v1alpha1.Source) { src.(*v1alpha1.VaultDynamicSecret).Status.Lease = nil } //nolint:forcetypeassert // it is the source of the Fetch
	switch life := answer.Lease.Duration; {
	case vds.Spec.StaticCredentials:
		ttl, err := secondsOf(answer.Data["ttl"])
		if err != nil {
			return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonRefused, Message: fmt.Sprintf("the answer at %s has no ttl: is this the path of static credentials, such as database/static-creds/x?", at)}
		}
		content.Next, content.StaleAt = now.Add(ttl+afterRotation+source.Between(time.Second, 0, 1)), now.Add(ttl+staleRotation)
		// How long it lives is another thing with each answer, and is no part of the credential.
		delete(content.Data, "ttl")
		delete(content.Keys, "ttl")
	case answer.Lease.ID != "" && life > 0:
		state.Lease, state.Holder, state.Seconds = answer.Lease.ID, answer.Lease.Holder, int64(life.Seconds())
		leased(&content, vds, state.Lease, answer.Lease, now)
	case vds.Spec.ReconcilePeriod != nil:
		source.PeriodOf(vds.Spec.ReconcilePeriod, defaultPeriod).Plan(&content, nil)
	default:
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: fmt.Sprintf("the answer at %s has no lease, so nothing says how long it is valid: add reconcilePeriod, or staticCredentials: true when Vault rotates it", at)}
	}
	content.State, err = written(state)
	return content, err
}

func secondsOf(value any) (time.Duration, error) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, errors.New("no number")
	}
	seconds, err := number.Int64()
	return time.Duration(seconds) * time.Second, err
}

// Resume takes over the token that the lease hangs on. Without it, a new credential is needed.
func (f dynamic) Resume(ctx context.Context, src v1alpha1.Source, state func() (json.RawMessage, error)) bool {
	vds := src.(*v1alpha1.VaultDynamicSecret) //nolint:forcetypeassert // it is registered for this kind
	if vds.Spec.StaticCredentials {
		return true
	}
	raw, err := state()
	if err != nil {
		return false
	}
	lease := whole[leaseState](raw)
	if lease.Lease == "" {
		return true
	}
	server, err := f.of(ctx, vds.Namespace, vds.Spec.VaultAccess)
	if err != nil {
		return false
	}
	held, _ := f.holds(ctx, f.holder(vds), server.Session, lease.Holder)
	return held && lease.Request == f.request(vds, server.Session)
}

// Discard revokes the lease of a credential that nobody can have used.
func (f dynamic) Discard(ctx context.Context, src v1alpha1.Source, state json.RawMessage) {
	if !f.Releases(src) {
		return
	}
	if err := f.Release(ctx, src, state); err != nil {
		logrus.WithField("source", "VaultDynamicSecret "+src.GetNamespace()+"/"+src.GetName()).WithError(err).Warn("the credential could not be written, and is not given back: it lives until its lease ends")
	}
}

// Settle has nothing to give back: a lease that was replaced ends by itself.
func (f dynamic) Settle(_ context.Context, _ v1alpha1.Source, state json.RawMessage) (json.RawMessage, error) {
	return state, nil
}

// Releases says whether the lease is revoked when the source goes.
func (f dynamic) Releases(src v1alpha1.Source) bool {
	revoke := src.(*v1alpha1.VaultDynamicSecret).Spec.Revoke //nolint:forcetypeassert // it is registered for this kind
	return revoke == nil || *revoke
}

// Release revokes the lease.
func (f dynamic) Release(ctx context.Context, src v1alpha1.Source, state json.RawMessage) error {
	vds := src.(*v1alpha1.VaultDynamicSecret) //nolint:forcetypeassert // it is registered for this kind
	lease := whole[leaseState](state).Lease
	if lease == "" {
		return nil
	}
	server, err := f.of(ctx, vds.Namespace, vds.Spec.VaultAccess)
	if err != nil {
		return problemOf(err, defaultPeriod)
	}
	server.Keep()
	if err := server.RevokeLease(ctx, lease); err != nil {
		return problemOf(err, defaultPeriod)
	}
	logrus.WithField("source", "VaultDynamicSecret "+vds.Namespace+"/"+vds.Name).Info("lease revoked")
	return nil
}

// Forget lets the token go that the lease hung on.
func (f dynamic) Forget(namespace, name string) { f.detach(holder{dynamicKind, namespace, name}) }

func (f dynamic) holder(vds *v1alpha1.VaultDynamicSecret) holder {
	return holder{dynamicKind, vds.Namespace, vds.Name}
}
