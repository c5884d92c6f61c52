package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	workspace       = "fleet-default"
	name            = "registry-creds"
	targetNamespace = "apps"
	rotations       = 3
	patience        = 60 * time.Second
)

type story struct {
	ctx        context.Context
	hub        *clients.Hub
	downstream map[string]*clients.Hub
	value      []byte
}

// step is one thing that happens.
type step struct {
	title string
	do    func() error
}

func beginFleet(ctx context.Context, l *lab.Lab) (*demo, error) {
	s, err := newStory(ctx, l)
	if err != nil {
		return nil, err
	}
	return &demo{tell: s.tell, end: func() error { return nil }}, nil
}

func newStory(ctx context.Context, l *lab.Lab) (*story, error) {
	s := &story{ctx: ctx, downstream: map[string]*clients.Hub{}}
	var err error
	if s.hub, err = clients.New(l.Hub.Config); err != nil {
		return nil, err
	}
	for _, c := range l.Downstream {
		if s.downstream[c.Name], err = clients.New(c.Config); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *story) tell() error {
	return tellSteps(s.table, []step{
		{"A dockerconfigjson Secret and a FleetHandshake to cluster group production are applied", s.send},
		{fmt.Sprintf("The Secret is rotated %d times", rotations), s.rotate},
		{"Somebody deletes the copy in tokyo", s.deleteCopy},
		{"Somebody edits the data of the copy in paris, and a resync is asked for", s.editCopy},
		{"denver is labelled into the group", s.join},
		{"The FleetHandshake is deleted", s.withdraw},
		{"A FleetHandshake names a Secret of another namespace", s.consent},
	})
}

// tellSteps does the steps, with a table after each.
func tellSteps(table func() error, steps []step) error {
	for i, step := range steps {
		fmt.Printf("\n== %d. %s\n", i+1, step.title)
		if err := step.do(); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, step.title, err)
		}
		if err := table(); err != nil {
			return fmt.Errorf("after step %d, %q: %w", i+1, step.title, err)
		}
	}
	return nil
}

func (s *story) send() error {
	s.value = dockerConfig(0)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: s.value},
	}
	if _, err := s.hub.CoreV1().Secrets(workspace).Create(s.ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	began := time.Now()
	_, err := s.hub.Handshakes.Create(s.ctx, &v1alpha1.FleetHandshake{
		ObjectMeta: metav1.ObjectMeta{Namespace: workspace, Name: name},
		Spec: v1alpha1.FleetHandshakeSpec{
			SecretName: name, TargetNamespace: targetNamespace,
			Targets: []v1alpha1.ClusterTarget{{ClusterGroup: lab.Production}},
		},
	})
	if err != nil {
		return err
	}
	if _, err := s.arrives(began, "paris", "tokyo"); err != nil {
		return err
	}
	if err := s.absent("denver"); err != nil {
		return fmt.Errorf("denver is not in the group: %w", err)
	}
	fmt.Println("   denver: nothing, it is not in the group")
	return s.synced("2/2")
}

func (s *story) rotate() error {
	var all, own []time.Duration
	for i := 1; i <= rotations; i++ {
		s.value = dockerConfig(i)
		before, err := s.sentBundle(s.ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.writeSource(); err != nil {
			return err
		}
		err = clients.Until(s.ctx, patience, func(ctx context.Context) error {
			now, err := s.sentBundle(ctx)
			if err == nil && now.Spec.ValuesHash == before.Spec.ValuesHash {
				err = errors.New("the Bundle is not updated")
			}
			return err
		})
		if err != nil {
			return err
		}
		own = append(own, time.Since(began))
		took, err := s.arrives(began, "paris", "tokyo")
		if err != nil {
			return err
		}
		all = append(all, took)
		if err := s.synced("2/2"); err != nil {
			return err
		}
		if err := s.settled(began); err != nil {
			return err
		}
	}
	slices.Sort(all)
	slices.Sort(own)
	fmt.Printf("   median until the operator has updated the Bundle: %d ms; until both clusters have the new value: %.1f s\n",
		own[len(own)/2].Milliseconds(), all[len(all)/2].Seconds())
	return nil
}

// settled waits until the clusters have also applied the upgrade that pushes the former value out of Helm's history.
func (s *story) settled(began time.Time) error {
	err := clients.Until(s.ctx, patience, func(ctx context.Context) error {
		b, err := s.sentBundle(ctx)
		if err != nil {
			return err
		}
		deployments, err := s.hub.Deployments.List(ctx, "", v1alpha1.LabelHandshake+"="+b.Labels[v1alpha1.LabelHandshake])
		if err != nil {
			return err
		}
		for _, bd := range deployments {
			if bundle.DeliveryOf(b).Unscrubbed || bd.Status.SyncGeneration == nil || *bd.Status.SyncGeneration != b.Spec.ForceSyncGeneration {
				return errors.New("the former value may still be in Helm's history")
			}
		}
		return nil
	})
	if err == nil {
		fmt.Printf("   the former value is pushed out of Helm's history in both clusters: after %.1f s\n", time.Since(began).Seconds())
	}
	return err
}

// sentBundle is the Bundle that the handshake's status names.
func (s *story) sentBundle(ctx context.Context) (*fleet.Bundle, error) {
	hs, err := s.hub.Handshakes.Get(ctx, workspace, name)
	if err != nil {
		return nil, err
	}
	if len(hs.Status.Bundles) == 0 {
		return nil, errors.New("the handshake names no Bundle")
	}
	return s.hub.Bundles.Get(ctx, workspace, hs.Status.Bundles[0].Name)
}

func (s *story) deleteCopy() error {
	began := time.Now()
	if err := s.downstream["tokyo"].CoreV1().Secrets(targetNamespace).Delete(s.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, err := s.arrives(began, "tokyo"); err != nil {
		return err
	}
	return s.synced("2/2")
}

func (s *story) editCopy() error {
	patch := []byte(`{"data":{"` + corev1.DockerConfigJsonKey + `":"e30="}}`)
	_, err := s.downstream["paris"].CoreV1().Secrets(targetNamespace).Patch(s.ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		return err
	}
	began := time.Now()
	err = s.hub.Handshakes.Change(s.ctx, workspace, name, func(hs *v1alpha1.FleetHandshake) {
		hs.Annotations = map[string]string{v1alpha1.AnnotationResyncRequestedAt: began.Format(time.RFC3339Nano)}
	})
	if err != nil {
		return err
	}
	if _, err := s.arrives(began, "paris"); err != nil {
		return err
	}
	fmt.Println("   (without being asked, the operator does this every spec.resyncInterval)")
	return s.synced("2/2")
}

func (s *story) join() error {
	began := time.Now()
	err := s.hub.Clusters.Change(s.ctx, workspace, "denver", func(c *fleet.Cluster) { c.Labels[lab.EnvLabel] = lab.Production })
	if err != nil {
		return err
	}
	if _, err := s.arrives(began, "denver"); err != nil {
		return err
	}
	return s.synced("3/3")
}

func (s *story) withdraw() error {
	began := time.Now()
	if err := s.hub.Handshakes.Delete(s.ctx, workspace, name); err != nil {
		return err
	}
	if err := s.gone(began); err != nil {
		return err
	}
	if err := clients.Until(s.ctx, patience, s.released); err != nil {
		return err
	}
	fmt.Printf("   hub: the FleetHandshake is gone after %.1f s, because every cluster has confirmed\n", time.Since(began).Seconds())
	if _, err := s.hub.CoreV1().Secrets(workspace).Get(s.ctx, name, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("the Secret on the hub must stay: %w", err)
	}
	fmt.Println("   hub: the Secret itself is still there")
	return nil
}

// gone waits until no cluster has the copy.
func (s *story) gone(began time.Time) error {
	for _, cluster := range []string{"paris", "tokyo", "denver"} {
		if err := clients.Until(s.ctx, patience, func(context.Context) error { return s.absent(cluster) }); err != nil {
			return err
		}
		fmt.Printf("   %s: gone after %.1f s\n", cluster, time.Since(began).Seconds())
	}
	return nil
}

func (s *story) released(ctx context.Context) error {
	_, err := s.hub.Handshakes.Get(ctx, workspace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(err, errors.New("the FleetHandshake is still there"))
}

func (s *story) writeSource() error {
	secret, err := s.hub.CoreV1().Secrets(workspace).Get(s.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	secret.Data[corev1.DockerConfigJsonKey] = s.value
	_, err = s.hub.CoreV1().Secrets(workspace).Update(s.ctx, secret, metav1.UpdateOptions{})
	return err
}

// arrives waits until each cluster holds the value, and returns the longest time it took.
func (s *story) arrives(began time.Time, clusters ...string) (time.Duration, error) {
	var longest time.Duration
	var line []string
	for _, cluster := range clusters {
		err := clients.Until(s.ctx, patience, func(ctx context.Context) error {
			copied, err := s.downstream[cluster].CoreV1().Secrets(targetNamespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if copied.Type != corev1.SecretTypeDockerConfigJson || !bytes.Equal(copied.Data[corev1.DockerConfigJsonKey], s.value) {
				return errors.New(cluster + " does not have the current value")
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		longest = time.Since(began)
		line = append(line, fmt.Sprintf("%s after %.1f s", cluster, longest.Seconds()))
	}
	fmt.Printf("   %s/%s (%s): %s\n", targetNamespace, name, corev1.SecretTypeDockerConfigJson, strings.Join(line, ", "))
	return longest, nil
}

func (s *story) absent(cluster string) error {
	_, err := s.downstream[cluster].CoreV1().Secrets(targetNamespace).Get(s.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(err, errors.New(cluster+" has the Secret"))
}

// synced waits until the handshake says that it is Synced, on this many clusters.
func (s *story) synced(clusterCount string) error {
	var status v1alpha1.FleetHandshakeStatus
	err := clients.Until(s.ctx, patience, func(ctx context.Context) error {
		hs, err := s.hub.Handshakes.Get(ctx, workspace, name)
		if err != nil {
			return err
		}
		if status = hs.Status; status.Status != v1alpha1.StateSynced || status.Display.ReadyClusters != clusterCount {
			return fmt.Errorf("the handshake says %s %s, not Synced %s", status.Status, status.Display.ReadyClusters, clusterCount)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("   kubectl get fhs: %s  %s  %s  revision %s\n", name, status.Display.ReadyClusters, status.Status, status.Revision)
	return nil
}

// table prints what the handshake says of each cluster.
func (s *story) table() error {
	hs, err := s.hub.Handshakes.Get(s.ctx, workspace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(w, "   CLUSTER\tSTATE\tREVISION\tSINCE\tREASON")
	for _, c := range hs.Status.Clusters {
		_, _ = fmt.Fprintf(w, "   %s\t%s\t%s\t%s\t%s\n", c.Name, c.State, c.Revision, c.Since.UTC().Format(time.TimeOnly), c.Reason)
	}
	return w.Flush()
}

func dockerConfig(version int) []byte {
	return fmt.Appendf(nil, `{"auths":{"registry.example.com":{"username":"puller","password":"version-%d-of-the-password"}}}`, version)
}
