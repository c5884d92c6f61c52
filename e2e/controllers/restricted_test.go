package controllers

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestThePodIsTakenInARestrictedNamespace makes the Pod of each set of values of the chart, without keeping it, where the
// Pod Security Standard restricted is enforced. One of them mounts the socket of the SPIRE agent.
func TestThePodIsTakenInARestrictedNamespace(t *testing.T) {
	const namespace = "restricted"
	ctx := context.Background()
	_, err := hub.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = hub.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "fleet-handshake"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	create := func(pod *corev1.Pod) error {
		_, err := hub.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	root, err := lab.Root()
	require.NoError(t, err)
	sets, err := filepath.Glob(filepath.Join(root, "charts", install.Chart, "ci", "*-values.yaml"))
	require.NoError(t, err)
	version, err := hub.Discovery().ServerVersion()
	require.NoError(t, err)
	drivers := map[string]bool{}
	for _, set := range sets {
		t.Run(filepath.Base(set), func(t *testing.T) {
			rendered, err := install.Template(ctx, install.Chart, version.GitVersion, "--values="+set, "--show-only=templates/deployment.yaml")
			require.NoError(t, err)
			deployment := appsv1.Deployment{}
			require.NoError(t, yaml.UnmarshalStrict(rendered, &deployment))
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "operator-"}, Spec: deployment.Spec.Template.Spec}
			// The API server knows the classes of a cluster only.
			pod.Spec.PriorityClassName = ""
			require.NoError(t, create(pod))
			for _, volume := range pod.Spec.Volumes {
				if volume.CSI != nil {
					drivers[volume.CSI.Driver] = true
				}
			}
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run"}}})
			err = create(pod)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, "restricted volume types")
		})
	}
	assert.Equal(t, map[string]bool{"csi.spire.example.org": true}, drivers)
}
