package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (s *story) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: workspace, Name: name}
}

// sendOn sends the Secret of a source to the clusters.
func (s *story) sendOn(name string) error {
	_, err := s.hub.Handshakes.Create(s.ctx, &v1alpha1.FleetHandshake{ObjectMeta: s.meta(name), Spec: v1alpha1.FleetHandshakeSpec{
		SecretName: name, TargetNamespace: targetNamespace, Targets: []v1alpha1.ClusterTarget{{ClusterGroup: lab.Production}},
	}})
	return err
}

// inParis waits until paris has a copy whose data are fit.
func (s *story) inParis(name string, fit func(map[string][]byte) error) (map[string][]byte, error) {
	copied, err := s.copyOf("paris", name, func(copied *corev1.Secret) error { return fit(copied.Data) })
	if err != nil {
		return nil, err
	}
	return copied.Data, nil
}

// copyOf waits until a cluster has a copy that is fit.
func (s *story) copyOf(cluster, name string, fit func(*corev1.Secret) error) (copied *corev1.Secret, err error) {
	err = clients.Until(s.ctx, patience, func(ctx context.Context) error {
		if copied, err = s.downstream[cluster].CoreV1().Secrets(targetNamespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return fit(copied)
	})
	if err != nil {
		return nil, fmt.Errorf("the copy of %s in %s: %w", name, cluster, err)
	}
	return copied, nil
}

// reach waits until paris and tokyo have a copy that is fit.
func (s *story) reach(began time.Time, name string, fit func(*corev1.Secret) error) error {
	var line []string
	for _, cluster := range []string{"paris", "tokyo"} {
		if _, err := s.copyOf(cluster, name, fit); err != nil {
			return err
		}
		line = append(line, fmt.Sprintf("%s after %.1f s", cluster, time.Since(began).Seconds()))
	}
	fmt.Printf("   %s/%s: %s\n", targetNamespace, name, strings.Join(line, ", "))
	return nil
}

// says waits until a condition of a source has a reason.
func says[T any, P interface {
	*T
	v1alpha1.Source
}](ctx context.Context, kind clients.Kind[T], name, condition, reason string) error {
	return clients.Until(ctx, 2*patience, func(ctx context.Context) error {
		src, err := kind.Get(ctx, workspace, name)
		if err != nil {
			return err
		}
		if c := meta.FindStatusCondition(P(src).Made().Conditions, condition); c == nil || c.Reason != reason {
			return fmt.Errorf("%s does not say %s", name, reason)
		}
		return nil
	})
}

// printReady prints what sources say of themselves.
func printReady(rows map[string]v1alpha1.SourceStatus) {
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if ready := meta.FindStatusCondition(rows[name].Conditions, v1alpha1.ConditionReady); ready != nil {
			fmt.Printf("   %s: Ready=%s %s\n", name, ready.Status, ready.Reason)
		}
	}
}
