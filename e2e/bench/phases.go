package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bringUp makes the handshakes, and measures until all are Synced in all clusters.
func (f *fleetBench) bringUp(ctx context.Context, r *report) error {
	before, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	position, err := f.lab.Hub.AuditEnd()
	if err != nil {
		return err
	}
	f.say("making %d handshakes", handshakeCount)
	made := time.Now()
	if err := parallel(ctx, handshakeCount, func(i int) error { return f.makeHandshake(ctx, handshakeName(i)) }); err != nil {
		return fmt.Errorf("making handshakes: %w", err)
	}
	err = f.until(ctx, "sent", func(hs *v1alpha1.FleetHandshake, b *fleet.Bundle) bool {
		return len(b.Spec.Targets) == clusterCount && hs.Status.Summary.Pending == clusterCount && len(hs.Status.Clusters) == syncstatus.MaxRows
	})
	if err != nil {
		return err
	}
	sent := time.Since(made)
	f.say("all Bundles are written, and no cluster is synced")
	if r.sizeUnsynced, err = f.largestNow(ctx); err != nil {
		return err
	}
	began := time.Now()
	f.simulation.goOn(speed{direct: true})
	f.startSimulation()
	err = f.until(ctx, "bring-up", synced)
	if err != nil {
		return err
	}
	done := time.Now()
	last, err := f.settled(ctx)
	if err != nil {
		return err
	}
	f.say("all %d handshakes are Synced in all %d clusters", handshakeCount, clusterCount)
	if r.sizeSynced, err = f.largestNow(ctx); err != nil {
		return err
	}
	if err := f.quiet(ctx); err != nil {
		return err
	}
	after, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	writes, _, err := f.lab.Hub.AuditSince(position, lab.ByOperator)
	if err != nil {
		return err
	}
	put := f.simulation.written()
	r.section("bring-up: %d FleetHandshakes x %d clusters, from nothing", handshakeCount, clusterCount)
	r.row("from nothing to all Synced", "%.1f s", (sent + done.Sub(began)).Seconds())
	r.row("  until all Bundles and statuses are written", "%.1f s", sent.Seconds())
	r.row("  then, while the simulation writes", "%.1f s (%d writes, %.0f per second)", last.Sub(began).Seconds(), put, float64(put)/last.Sub(began).Seconds())
	r.row("  then, until all are Synced", "%.1f s", done.Sub(last).Seconds())
	r.row("writes of the operator", "%s", byKind(writes))
	r.work(before, after)
	return nil
}

func (f *fleetBench) makeHandshake(ctx context.Context, name string) error {
	_, err := f.hub.CoreV1().Secrets(workspace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte("first")},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = f.hub.Handshakes.Create(ctx, &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec: v1alpha1.FleetHandshakeSpec{SecretName: name, TargetNamespace: "apps", Targets: []v1alpha1.ClusterTarget{
			{ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "production"}}},
		}},
	})
	return err
}

// rotate changes one Secret, and measures until all clusters have it and it is scrubbed.
func (f *fleetBench) rotate(ctx context.Context, r *report) error {
	before, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	position, err := f.lab.Hub.AuditEnd()
	if err != nil {
		return err
	}
	name := handshakeName(0)
	f.mu.Lock()
	former := f.handshakes[name].Status.Revision
	f.mu.Unlock()
	f.say("rotating one Secret; the clusters answer over %s", rolloutTime)
	f.simulation.goOn(spreadOver(clusterCount, rolloutTime))
	secret, err := f.hub.CoreV1().Secrets(workspace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	secret.Data = map[string][]byte{"password": []byte("second")}
	if _, err := f.hub.CoreV1().Secrets(workspace).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("rotating a Secret: %w", err)
	}
	err = f.until(ctx, "rollout", func(hs *v1alpha1.FleetHandshake, b *fleet.Bundle) bool {
		return synced(hs, b) && (hs.Name != name || hs.Status.Revision != former)
	})
	if err != nil {
		return err
	}
	f.say("all clusters have it; waiting for the scrub")
	f.simulation.goOn(speed{})
	err = f.until(ctx, "scrub", func(_ *v1alpha1.FleetHandshake, b *fleet.Bundle) bool { return !bundle.DeliveryOf(b).Unscrubbed })
	if err != nil {
		return err
	}
	if _, err := f.settled(ctx); err != nil {
		return err
	}
	if err := f.quiet(ctx); err != nil {
		return err
	}
	after, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	writes, _, err := f.lab.Hub.AuditSince(position, func(e lab.AuditEvent) bool {
		return lab.ByOperator(e) || e.Writes() && e.ObjectRef.Resource == "secrets"
	})
	if err != nil {
		return err
	}
	return r.rollout(name, writes, before, after)
}

// quiet waits until the operator has written nothing for three seconds.
func (f *fleetBench) quiet(ctx context.Context) error {
	const still = 3 * time.Second
	position, err := f.lab.Hub.AuditEnd()
	if err != nil {
		return err
	}
	last := time.Now()
	return clients.Until(ctx, time.Minute, func(context.Context) error {
		writes, _, err := f.lab.Hub.AuditSince(position, lab.ByOperator)
		if err != nil {
			return err
		}
		if len(writes) > 0 {
			last = writes[len(writes)-1].Answered
		}
		if time.Since(last) < still {
			return errors.New("the operator still writes")
		}
		return nil
	})
}

// steady measures what the operator does when there is nothing to do but to see that the agents report.
func (f *fleetBench) steady(ctx context.Context, r *report) error {
	before, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	position, err := f.lab.Hub.AuditEnd()
	if err != nil {
		return err
	}
	f.say("all is synced and scrubbed: watching for %s", steadyTime)
	end := time.After(steadyTime)
	tick := time.NewTicker(checkinInterval / clusterCount)
	defer tick.Stop()
	reports := 0
	for steady := true; steady; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := f.checkIn(ctx, clusterName(reports)); err != nil {
				return fmt.Errorf("reporting for a cluster: %w", err)
			}
			reports++
		case <-end:
			steady = false
		}
	}
	writes, _, err := f.lab.Hub.AuditSince(position, lab.ByOperator)
	if err != nil {
		return err
	}
	after, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	r.section("steady state of %s, all synced and scrubbed, %d reports of agents", steadyTime, reports)
	r.limited(len(writes) == 0, "writes of the operator", "%d, must be 0", len(writes))
	for i, w := range writes {
		if i < 10 {
			r.row("  write", "%s", w)
		}
	}
	r.work(before, after)
	return nil
}

// footprint is what the operator has taken in all.
func (f *fleetBench) footprint(ctx context.Context, r *report) error {
	m, err := f.operator.metrics(ctx)
	if err != nil {
		return err
	}
	memory, err := f.operator.memory()
	if err != nil {
		return err
	}
	r.section("the operator at the end")
	r.row("resident memory now, at its peak", "%.1f MB, %.1f MB", memory.now, memory.peak)
	r.row("memory that its Go program uses", "%.1f MB", m.sum("go_memstats_heap_inuse_bytes", "")/1e6)
	r.row("CPU time since its start", "%.1f s", m.sum(cpuSeconds, ""))
	f.mu.Lock()
	defer f.mu.Unlock()
	r.section("size of objects, bytes of JSON")
	for _, s := range []struct {
		what string
		size int
	}{
		{"largest FleetHandshake, nothing synced", r.sizeUnsynced},
		{"largest FleetHandshake, all synced", r.sizeSynced},
		{"largest FleetHandshake at any time", f.largest},
	} {
		r.limited(s.size < sizeLimit, s.what, "%d, must be less than %d", s.size, sizeLimit)
	}
	r.row("largest Bundle at any time", "%d", f.largestBundle)
	return nil
}
