package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const owner = "platform"

// consent sends a Secret of another namespace: refused, granted, and taken back.
func (s *story) consent() error {
	s.value = dockerConfig(rotations + 1)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: owner}}
	if _, err := s.hub.CoreV1().Namespaces().Create(s.ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: owner, Name: name},
		Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: s.value},
	}
	if _, err := s.hub.CoreV1().Secrets(owner).Create(s.ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := s.hub.Handshakes.Create(s.ctx, &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec: v1alpha1.FleetHandshakeSpec{
			SecretName: name, SecretNamespace: owner, TargetNamespace: targetNamespace,
			Targets: []v1alpha1.ClusterTarget{{ClusterGroup: lab.Production}},
		},
	})
	if err != nil {
		return err
	}
	if err := s.notGranted(); err != nil {
		return err
	}

	fmt.Println("   the owner creates a SecretGrant:")
	began := time.Now()
	_, err = s.hub.Grants.Create(s.ctx, &v1alpha1.SecretGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: owner, Name: name},
		Spec: v1alpha1.SecretGrantSpec{
			From: []v1alpha1.GrantFrom{{Namespace: workspace, Handshakes: []string{name}}},
			To:   []v1alpha1.GrantTo{{Kind: v1alpha1.SourceSecret, Names: []string{name}}},
		},
	})
	if err != nil {
		return err
	}
	if _, err := s.arrives(began, "paris", "tokyo", "denver"); err != nil {
		return err
	}
	if err := s.synced("3/3"); err != nil {
		return err
	}

	fmt.Println("   the owner deletes the SecretGrant:")
	if err := s.hub.Grants.Delete(s.ctx, owner, name); err != nil {
		return err
	}
	if err := s.gone(time.Now()); err != nil {
		return err
	}
	return s.notGranted()
}

// notGranted waits until the handshake says so, and makes sure that no cluster has anything.
func (s *story) notGranted() error {
	var ready *metav1.Condition
	err := clients.Until(s.ctx, patience, func(ctx context.Context) error {
		hs, err := s.hub.Handshakes.Get(ctx, workspace, name)
		if err != nil {
			return err
		}
		ready = meta.FindStatusCondition(hs.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonNotGranted {
			return errors.New("the handshake does not say NotGranted")
		}
		return nil
	})
	if err != nil {
		return err
	}
	for cluster := range s.downstream {
		if err := s.absent(cluster); err != nil {
			return fmt.Errorf("without a grant: %w", err)
		}
	}
	fmt.Printf("   nothing is sent. %s: %s\n", ready.Reason, ready.Message)
	return nil
}
