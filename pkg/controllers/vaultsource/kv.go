package vaultsource

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

const (
	// defaultPeriod holds for a VaultSecret that does not say otherwise.
	defaultPeriod = 10 * time.Minute
	// atOnce bounds the paths of one source that are read at a time.
	atOnce = 5
)

// kv fetches for VaultSecrets.
type kv struct {
	source.ReadOnly
	*access
	clock clock.PassiveClock
}

// Fetch reads all paths and merges them.
func (f kv) Fetch(ctx context.Context, src v1alpha1.Source, want source.Want) (source.Content, error) {
	vs := src.(*v1alpha1.VaultSecret) //nolint:forcetypeassert // it is registered for this kind
	every := source.PeriodOf(vs.Spec.ReconcilePeriod, defaultPeriod)
	period := time.Duration(every)
	server, err := f.of(ctx, vs.Namespace, vs.Spec.VaultAccess)
	if err != nil {
		return source.Content{}, problemOf(err, period)
	}
	mode := vaultkv.Exact
	if vs.Spec.Compat == v1alpha1.CompatKiwi {
		mode = vaultkv.Kiwi
	}
	found, err := readAll(ctx, server.Session, vs, mode, every.Age(vs, want))
	if err != nil {
		return source.Content{}, problemOf(err, period)
	}
	tree := vaultkv.New(mode)
	for i, p := range vs.Spec.Paths {
		if err := tree.Add(vaultkv.Path{Path: p.Path, Prefix: p.Prefix}, found[i].Leaves...); err != nil {
			return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonKeyCollision, Message: err.Error(), Retry: period}
		}
	}
	rendered, err := render(tree, vs)
	if err != nil {
		return source.Content{}, &source.Problem{Reason: v1alpha1.ReasonKeyCollision, Message: err.Error(), Retry: period}
	}
	content := source.Content{Type: corev1.SecretType(cmp.Or(vs.Spec.Type, string(corev1.SecretTypeOpaque))), Data: rendered.Data, Keys: origins(rendered, vs), LeftOut: rendered.Invalid}
	content.FetchedAt = f.clock.Now()
	for _, r := range found {
		if r.At.Before(content.FetchedAt) {
			content.FetchedAt = r.At
		}
	}
	every.Plan(&content, vs.Spec.MaxAge)
	return content, f.keepMissing(vs, mode, found, want, &content, period)
}

// read is one path of a VaultSecret as it was read.
type read struct {
	vault.KV
	vaultkv.Read
}

func readAll(ctx context.Context, session *vault.Session, vs *v1alpha1.VaultSecret, mode vaultkv.Mode, age time.Duration) ([]read, error) {
	out := make([]read, len(vs.Spec.Paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, p := range vs.Spec.Paths {
		r, err := vaultkv.Path{Path: p.Path, Prefix: p.Prefix}.Read(mode)
		if err != nil {
			return nil, &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: fmt.Sprintf("spec.paths[%d].path: %v", i, err)}
		}
		out[i].Read = r
		group.Go(func() (err error) {
			out[i].KV, err = session.ReadKV(ctx, r, p.Version, age)
			return err
		})
	}
	return out, group.Wait()
}

func render(tree *vaultkv.Tree, vs *v1alpha1.VaultSecret) (vaultkv.Rendered, error) {
	switch strings.ToLower(vs.Spec.TargetFormat) {
	case "json":
		return tree.JSON()
	case "yaml":
		return tree.YAML()
	}
	return tree.Env(cmp.Or(vs.Spec.Separator, "_"))
}

func origins(rendered vaultkv.Rendered, vs *v1alpha1.VaultSecret) map[string]source.Origin {
	out := map[string]source.Origin{}
	for key := range rendered.Data {
		origin, ok := rendered.Origins[key]
		if !ok { // it holds all
			var paths []string
			for _, p := range vs.Spec.Paths {
				paths = append(paths, p.Path)
			}
			origin.Path = strings.Join(paths, ", ")
		}
		out[key] = source.Origin{Path: origin.Path, Version: origin.Version}
	}
	return out
}

// keepMissing does what onMissing says where there is nothing at a path.
func (f kv) keepMissing(vs *v1alpha1.VaultSecret, mode vaultkv.Mode, found []read, want source.Want, content *source.Content, period time.Duration) error {
	kept := func(string) bool { return false }
	var names []string
	for i, p := range vs.Spec.Paths {
		gone := found[i].missing()
		if len(gone) == 0 {
			continue
		}
		policy := p.OnMissing
		if policy == "" {
			policy = v1alpha1.OnMissingKeep
			if mode == vaultkv.Kiwi {
				policy = v1alpha1.OnMissingRemove
			}
		}
		switch policy {
		case v1alpha1.OnMissingFail:
			return &source.Problem{Reason: v1alpha1.ReasonPathMissing, Retry: period, Message: fmt.Sprintf("there is nothing at %s, and the Secret is left as it is: write it in Vault, or take the path out of spec.paths", strings.Join(gone, ", "))}
		case v1alpha1.OnMissingKeep:
			names = append(names, gone...)
			before := kept
			kept = func(path string) bool { return before(path) || covers(gone, path) }
		}
	}
	if len(names) == 0 {
		return nil
	}
	problem := &source.Problem{Reason: v1alpha1.ReasonPathMissing, Retry: period, Message: fmt.Sprintf("there is nothing at %s, and the keys that came from there are left as they are: write it in Vault, say onMissing: Remove, or take the path out of spec.paths", strings.Join(names, ", "))}
	whole := strings.ToLower(vs.Spec.TargetFormat) == "json" || strings.ToLower(vs.Spec.TargetFormat) == "yaml"
	switch {
	case whole && len(want.Data) > 0:
		// One key holds all of it.
		*content = source.Content{Same: true, FetchedAt: content.FetchedAt, Next: content.Next, StaleAt: content.StaleAt}
	case whole:
		if nothing(found) {
			return problem
		}
	default:
		for key, origin := range want.Keys {
			value, there := want.Data[key] // somebody may have deleted it
			if _, taken := content.Data[key]; there && !taken && kept(origin.Path) {
				content.Data[key], content.Keys[key] = value, origin
			}
		}
		if len(content.Data) == 0 && want.Keys == nil {
			return problem // no Secret without keys where there was none
		}
	}
	content.Problem = problem
	return nil
}

// missing are the paths at which there is nothing. That of a folder has a slash at its end.
func (r read) missing() []string {
	if r.Recursive && len(r.Leaves) == 0 {
		return []string{r.Base}
	}
	var out []string
	for _, leaf := range r.Leaves {
		if leaf.Data == nil {
			out = append(out, leaf.Path)
		}
	}
	return out
}

func nothing(found []read) bool {
	for _, r := range found {
		for _, leaf := range r.Leaves {
			if leaf.Data != nil {
				return false
			}
		}
	}
	return true
}

func covers(gone []string, path string) bool {
	for _, g := range gone {
		if g == path || strings.HasSuffix(g, "/") && strings.HasPrefix(path, g) {
			return true
		}
	}
	return false
}
