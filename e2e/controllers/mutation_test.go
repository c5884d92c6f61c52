package controllers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const (
	// stormObjects is how many objects are sent, unless $FLEET_HANDSHAKE_OBJECTS says another number.
	stormObjects = 2000
	stormSenders = 12
)

// storm sends objects that a mutator makes, and counts what the API server says to them.
type storm struct {
	seed    uint64
	objects int
	client  rest.Interface

	mu sync.Mutex
	// sent are the FleetHandshakes that were taken, by namespace and name.
	sent map[types.NamespacedName]sentHandshake
	// deployments are the names of the BundleDeployments that were made.
	deployments map[string]bool
	accepted    map[string]int
	refused     map[string]int
	raced       map[string]int
	// deleted counts the deletions in between.
	deleted int
	failed  []string
}

type sentHandshake struct {
	UID    string
	bundle string
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{seed: rand.Uint64(), objects: stormObjects, sent: map[types.NamespacedName]sentHandshake{}, deployments: map[string]bool{}, accepted: map[string]int{}, refused: map[string]int{}, raced: map[string]int{}}
	if given := os.Getenv("FLEET_HANDSHAKE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err, "FLEET_HANDSHAKE_SEED is a number")
		s.seed = seed
	}
	if given := os.Getenv("FLEET_HANDSHAKE_OBJECTS"); given != "" {
		objects, err := strconv.Atoi(given)
		require.NoError(t, err, "FLEET_HANDSHAKE_OBJECTS is a number")
		s.objects = objects
	}
	cfg := rest.CopyConfig(world.Hub.Config)
	cfg.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	s.client = client.CoreV1().RESTClient()
	return s
}

// run sends all objects, several at a time.
func (s *storm) run(ctx context.Context) {
	var next atomic.Int64
	var senders sync.WaitGroup
	for range stormSenders {
		senders.Go(func() {
			for number := int(next.Add(1)); number <= s.objects; number = int(next.Add(1)) {
				m := newMutator(s.seed, number)
				kind, err := s.mutate(ctx, m)
				s.count(kind, err)
				if m.chance(5) {
					s.remove(ctx, m)
				}
			}
		})
	}
	senders.Wait()
}

func (s *storm) count(kind string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.accepted[kind]++
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		s.raced[kind]++
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsRequestEntityTooLargeError(err), strings.Contains(err.Error(), "request is too large"):
		s.refused[kind]++
	default:
		s.failed = append(s.failed, kind+": "+err.Error())
	}
}

// total adds up counts.
func total(counts map[string]int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// urlOf is where the objects of a kind are.
func urlOf(kind, namespace string) string {
	group := "/apis/fleet.cattle.io/v1alpha1"
	switch kind {
	case "secrets":
		group = "/api/v1"
	case "fleethandshakes", "secretgrants":
		group = "/apis/fleethandshake.io/v1alpha1"
	}
	return group + "/namespaces/" + namespace + "/" + kind
}

// mutate makes one object, or changes it when it is there.
func (s *storm) mutate(ctx context.Context, m mutator) (kind string, err error) {
	if key, of := s.any(m); of.UID != "" {
		m.uid = of.UID
		kind, err = "", apierrors.NewNotFound(corev1.Resource("bundles"), of.bundle)
		switch n := m.IntN(100); {
		case n < 8:
			kind, err = "tampered bundles", s.patch(ctx, "bundles", key.Namespace, of.bundle, m.bundle())
		case n < 14:
			kind, err = "tampered values", s.patch(ctx, "secrets", key.Namespace, of.bundle, m.values())
		case n < 20:
			kind, err = "bundledeployments", s.answer(ctx, m, key, of)
		}
		if !apierrors.IsNotFound(err) {
			return kind, err
		}
	}
	switch n := m.IntN(1000); {
	case n < 15:
		return "clusters", s.cluster(ctx, m, stormName("c", m.IntN(stormClusters)))
	case n < 500:
		namespace, name := stormWorkspace, stormName("h", m.IntN(100))
		if m.chance(10) {
			namespace, name = stormForeign, stormName("h", m.IntN(10))
		}
		return "fleethandshakes", s.put(ctx, m, "fleethandshakes", namespace, name, m.handshake(namespace, name))
	case n < 880:
		namespace, name := m.word(stormWorkspace, stormWorkspace, stormGranting, stormClosed), stormName("s", m.IntN(40))
		return "secrets", s.put(ctx, m, "secrets", namespace, name, m.secret(namespace, name))
	}
	namespace, name := m.word(stormGranting, stormGranting, stormWorkspace), stormName("g", m.IntN(12))
	return "secretgrants", s.put(ctx, m, "secretgrants", namespace, name, m.grant(namespace, name))
}

// any is a FleetHandshake that was taken before.
func (s *storm) any(m mutator) (types.NamespacedName, sentHandshake) {
	key := types.NamespacedName{Namespace: stormWorkspace, Name: stormName("h", m.IntN(100))}
	s.mu.Lock()
	defer s.mu.Unlock()
	return key, s.sent[key]
}

func (s *storm) create(ctx context.Context, kind, namespace string, object fields) ([]byte, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return s.client.Post().AbsPath(urlOf(kind, namespace)).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
}

func (s *storm) send(ctx context.Context, kind, namespace, name, contentType string, patch any) ([]byte, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return s.client.Patch(types.PatchType(contentType)).AbsPath(urlOf(kind, namespace), name).Body(body).Do(ctx).Raw()
}

func (s *storm) patch(ctx context.Context, kind, namespace, name string, operations []operation) error {
	_, err := s.send(ctx, kind, namespace, name, string(types.JSONPatchType), operations)
	return err
}

// put changes all of an object, or makes it. A Secret that cannot be changed in place is sometimes made anew.
func (s *storm) put(ctx context.Context, m mutator, kind, namespace, name string, object fields) error {
	var operations []operation
	for _, field := range []string{"spec", "type", "data", "immutable"} {
		if value, ok := object[field]; ok {
			operations = append(operations, operation{"add", "/" + field, value})
		}
	}
	metadata, _ := object["metadata"].(fields)
	for field, value := range metadata {
		if field != "name" && field != "namespace" {
			operations = append(operations, operation{"add", "/metadata/" + field, value})
		}
	}
	var answer []byte
	err := error(apierrors.NewNotFound(corev1.Resource(kind), name))
	if s.known(kind, namespace, name) {
		answer, err = s.send(ctx, kind, namespace, name, string(types.JSONPatchType), operations)
	}
	if kind == "secrets" && apierrors.IsInvalid(err) && !m.reckless {
		_ = s.delete(ctx, kind, namespace, name)
		err = apierrors.NewNotFound(corev1.Resource(kind), name)
	}
	if apierrors.IsNotFound(err) {
		answer, err = s.create(ctx, kind, namespace, object)
	}
	if err == nil && kind == "fleethandshakes" {
		s.took(answer)
	}
	return err
}

// known says whether an object may be there already. Only of BundleDeployments are there more names than objects.
func (s *storm) known(kind, namespace, name string) bool {
	if kind != "bundledeployments" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.deployments[name]
	s.deployments[name] = true
	return before
}

// took notes a FleetHandshake as the API server has it.
func (s *storm) took(answer []byte) {
	var hs v1alpha1.FleetHandshake
	if json.Unmarshal(answer, &hs) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[types.NamespacedName{Namespace: hs.Namespace, Name: hs.Name}] = sentHandshake{string(hs.UID), bundle.NameFor(&hs)}
}

func (s *storm) delete(ctx context.Context, kind, namespace, name string) error {
	_, err := s.client.Delete().AbsPath(urlOf(kind, namespace), name).Do(ctx).Raw()
	return err
}

// remove deletes something.
func (s *storm) remove(ctx context.Context, m mutator) {
	var err error
	switch m.IntN(6) {
	case 0, 1:
		err = s.delete(ctx, "fleethandshakes", stormWorkspace, stormName("h", m.IntN(100)))
	case 2, 3:
		err = s.delete(ctx, "secrets", m.word(stormWorkspace, stormGranting), stormName("s", m.IntN(40)))
	case 4:
		err = s.delete(ctx, "secretgrants", stormGranting, stormName("g", m.IntN(12)))
	default:
		if key, of := s.any(m); of.UID != "" {
			err = s.delete(ctx, m.word("bundles", "secrets"), key.Namespace, of.bundle)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.deleted++
	}
}

// cluster changes labels and the last report of a Fleet Cluster, or makes it.
func (s *storm) cluster(ctx context.Context, m mutator, name string) error {
	labels := fields{"env": m.word("a", "b", "production"), "management.cattle.io/cluster-display-name": m.word("Paris-One", name[:min(63, len(name))], stormName("c", m.IntN(7)))}
	m.sometimes(labels, 30, "app", m.label)
	object := fields{"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Cluster", "metadata": fields{"namespace": stormWorkspace, "name": name, "labels": labels}, "spec": fields{"paused": m.chance(10)}}
	err := s.put(ctx, m, "clusters", stormWorkspace, name, object)
	if err != nil {
		return err
	}
	status := fields{"status": fields{
		"namespace":  m.word(stormAgents, stormAgents, ""),
		"agent":      fields{"namespace": "cattle-fleet-system", "lastSeen": m.word(time.Now().Format(time.RFC3339), time.Now().Format(time.RFC3339), "2020-01-02T03:04:05Z")},
		"conditions": []any{fields{"type": "Ready", "status": "False", "message": fleetMarker + m.text()}},
	}}
	_, err = s.send(ctx, "clusters", stormWorkspace, name+"/status", string(types.MergePatchType), status)
	return err
}

// answer makes or changes the BundleDeployment of a FleetHandshake in one cluster, with a random status.
func (s *storm) answer(ctx context.Context, m mutator, key types.NamespacedName, of sentHandshake) error {
	number := m.IntN(stormClusters)
	name := fmt.Sprintf("%s-%d", of.bundle, number)
	labels := fields{
		v1alpha1.LabelHandshake: of.UID, v1alpha1.LabelName: bundle.LabelValue(key.Name), fleet.BundleNamespaceLabel: key.Namespace, fleet.BundleLabel: of.bundle,
		fleet.ClusterNamespaceLabel: key.Namespace, fleet.ClusterLabel: stormName("c", number),
	}
	for _, label := range []string{fleet.ClusterLabel, fleet.ClusterNamespaceLabel} {
		m.sometimes(labels, 3, label, func() any { return "forged" })
	}
	if len(labels[fleet.ClusterLabel].(string)) > 63 {
		return s.cluster(ctx, m, stormName("c", number))
	}
	spec := fields{"deploymentID": "applied", "valuesHash": "hash", "waitingForValues": m.chance(15), "paused": m.chance(10), "options": fields{"forceSyncGeneration": m.IntN(6)}}
	err := s.put(ctx, m, "bundledeployments", stormAgents, name, fields{
		"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "BundleDeployment", "metadata": fields{"namespace": stormAgents, "name": name, "labels": labels}, "spec": spec,
	})
	if err != nil {
		return err
	}
	_, err = s.send(ctx, "bundledeployments", stormAgents, name+"/status", string(types.MergePatchType), fields{"status": m.answer()})
	return err
}

// forms are the ways in which a text may stand in a store: plain, and in base64, also twice, at each of the three
// offsets.
func forms(text string) [][]byte {
	once := [][]byte{[]byte(text)}
	for offset := range 3 {
		once = append(once, inBase64(text, offset))
	}
	all := slices.Clone(once)
	for _, form := range once[1:] {
		for offset := range 3 {
			all = append(all, inBase64(string(form), offset))
		}
	}
	return all
}

// inBase64 is without the characters at both ends that depend on their neighbours.
func inBase64(text string, offset int) []byte {
	encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
	return []byte(encoded[4 : len(encoded)-4])
}

func holdsOne(value []byte, forms [][]byte) bool {
	return slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(value, form) })
}

var secretForms, fleetForms = forms(secretMarker), forms(fleetMarker)

// wire looks at everything of some kinds that the API server ever holds, also for a moment.
type wire struct {
	mu       sync.Mutex
	events   int
	leaks    []string
	bytes, n map[string]int
}

func (w *wire) watch(ctx context.Context, t *testing.T, client rest.Interface, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		stream, err := client.Get().AbsPath(kind).Param("watch", "true").Stream(ctx)
		require.NoError(t, err)
		go func() {
			defer stream.Close()
			lines := bufio.NewReaderSize(stream, 1<<20)
			for {
				line, err := lines.ReadBytes('\n')
				if err != nil {
					return
				}
				w.look(kind, line)
			}
		}()
	}
}

func (w *wire) look(kind string, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events++
	if w.bytes == nil {
		w.bytes, w.n = map[string]int{}, map[string]int{}
	}
	w.bytes[kind] += len(line)
	w.n[kind]++
	if len(line) > 50000 {
		w.bytes[kind+" large"] += len(line)
		w.n[kind+" large"]++
	}
	if holdsOne(line, secretForms) || holdsOne(line, fleetForms) {
		w.leaks = append(w.leaks, kind+": "+string(line[:min(len(line), 200)]))
	}
}

// captureLogs collects what klog and the standard logger say, and has the operator say all it can. It returns all that
// was said since.
func captureLogs(t *testing.T) func() string {
	t.Helper()
	var others clients.Buffer
	level, writer := logrus.GetLevel(), log.Writer()
	logrus.SetLevel(logrus.TraceLevel)
	log.SetOutput(&others)
	klog.LogToStderr(false)
	klog.SetOutput(&others)
	t.Cleanup(func() {
		logrus.SetLevel(level)
		log.SetOutput(writer)
		klog.LogToStderr(true)
	})
	file := filepath.Join(world.Dir, "operator.log")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	return func() string {
		now, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(now[len(before):]) + others.String()
	}
}

// list reads the metadata of all objects of a kind.
func (s *storm) list(ctx context.Context, kind, namespace string) ([]metav1.PartialObjectMetadata, error) {
	answer, err := s.client.Get().AbsPath(urlOf(kind, namespace)).SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var found metav1.PartialObjectMetadataList
	return found.Items, json.Unmarshal(answer, &found)
}

var (
	stormNamespaces = []string{stormWorkspace, stormGranting, stormClosed, stormForeign, stormAgents}
	stormKinds      = []string{"fleethandshakes", "secretgrants", "secrets", "bundles", "bundledeployments", "clusters"}
)

// place makes the namespaces and the clusters, and takes them away when the test ends.
func (s *storm) place(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	t.Cleanup(func() { s.clear(t) })
	for _, name := range stormNamespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if name == stormWorkspace {
			namespace.Labels = map[string]string{v1alpha1.LabelWorkspace: "true"}
		}
		_, err := hub.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	// As the chart does it for fleet-default.
	_, err := hub.RbacV1().RoleBindings(stormWorkspace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "fleet-handshake"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "fleet-handshake-workspace"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "fleet-handshake", Namespace: install.Namespace}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for i := range stormClusters {
		// What is made by chance can be refused: then the next attempt makes something else.
		attempt := 0
		eventually(t, func(ctx context.Context) error {
			attempt++
			return s.cluster(ctx, newMutator(s.seed, -i-stormClusters*attempt), stormName("c", i))
		})
	}
	for name, selector := range map[string]fields{"all": {}, "some": {"matchLabels": fields{"env": "a"}}} {
		_, err := s.create(ctx, "clustergroups", stormWorkspace, fields{
			"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "ClusterGroup", "metadata": fields{"name": name, "labels": fields{"env": "a"}}, "spec": fields{"selector": selector},
		})
		require.NoError(t, err)
	}
}

// clear removes the namespaces. The operator does not run any more.
func (s *storm) clear(t *testing.T) {
	ctx := context.Background()
	for _, name := range stormNamespaces {
		_ = hub.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	}
	err := clients.Until(ctx, 2*time.Minute, func(ctx context.Context) error {
		for _, namespace := range stormNamespaces {
			if _, err := hub.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
				continue
			}
			for _, kind := range stormKinds {
				objects, err := s.list(ctx, kind, namespace)
				if err != nil {
					return err
				}
				for _, o := range objects {
					if len(o.Finalizers) > 0 {
						_ = s.patch(ctx, kind, namespace, o.Name, []operation{{"add", "/metadata/finalizers", []any{}}})
					}
				}
			}
			return fmt.Errorf("namespace %s is still there", namespace)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the other tests need a clean hub: %v", err)
	}
}

func TestMutatedObjects(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := newStorm(t)
	fmt.Printf("FLEET_HANDSHAKE_SEED=%d\n", s.seed)
	s.place(t)
	begin, err := world.Hub.AuditEnd()
	require.NoError(t, err)
	logs := captureLogs(t)
	address := freeAddress(t)
	stop := startOperator(t, hub.Operator, func(o *operator.Options) {
		o.ListenAddress, o.MissingGrace, o.OfflineAfter = address, 2*time.Second, 10*time.Minute
	})
	var wire wire
	wire.watch(ctx, t, s.client, "/apis/fleethandshake.io/v1alpha1/fleethandshakes", "/apis/fleet.cattle.io/v1alpha1/bundles", "/api/v1/events")

	started := time.Now()
	s.run(ctx)
	fmt.Printf("%d objects in %s: %d accepted %v, %d refused %v, %d gone in between %v; %d deleted\n", s.objects, time.Since(started).Round(time.Second),
		total(s.accepted), s.accepted, total(s.refused), s.refused, total(s.raced), s.raced, s.deleted)
	assert.Empty(t, s.failed, "the API server has failed")
	assert.Greater(t, total(s.accepted), s.objects*6/10, "the mutator is too wild")
	assert.Greater(t, total(s.refused), s.objects/100, "the mutator is too tame")

	s.checkFresh(t)
	s.checkSettled(t)
	s.checkQuiet(t)
	checkQueues(t, address)
	checkStore(t)
	metrics := get(t, "http://"+address+"/metrics")
	assert.False(t, holdsOne(metrics, secretForms) || holdsOne(metrics, fleetForms), "a metric holds secret data")
	s.checkRemoval(t)
	checkAudit(t, begin)

	require.NoError(t, stop(), "the operator")
	said := logs()
	assert.False(t, holdsOne([]byte(said), secretForms), "the log holds secret data")
	assert.False(t, holdsOne([]byte(said), fleetForms), "the log holds words of Fleet")
	for _, words := range []string{"panic", "Observed a panic", "runtime error"} {
		for line := range strings.Lines(said) {
			assert.NotContains(t, line, words, "the log")
		}
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	assert.Empty(t, wire.leaks, "these held secret data for a moment")
	assert.Greater(t, wire.events, 1000, "the watches must have seen something")
}

// checkFresh shows that an ordinary FleetHandshake is worked off as always.
func (s *storm) checkFresh(t *testing.T) {
	t.Helper()
	ctx, started := context.Background(), time.Now()
	_, err := s.create(ctx, "secrets", stormWorkspace, fields{"metadata": fields{"name": "fresh"}, "stringData": fields{"password": secretMarker}})
	require.NoError(t, err)
	_, err = s.create(ctx, "fleethandshakes", stormWorkspace, fields{
		"apiVersion": "fleethandshake.io/v1alpha1", "kind": "FleetHandshake", "metadata": fields{"name": "fresh"},
		"spec": fields{"secretName": "fresh", "targetNamespace": "apps", "targets": []any{fields{"clusterSelector": fields{}}}},
	})
	require.NoError(t, err)
	err = clients.Until(ctx, 20*time.Second, func(ctx context.Context) error {
		hs, err := hub.Handshakes.Get(ctx, stormWorkspace, "fresh")
		if err != nil {
			return err
		}
		if err := settled(hs); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(hs.Status.Conditions, v1alpha1.ConditionSourceAvailable) {
			return fmt.Errorf("its Secret is not available: %v", hs.Status.Conditions)
		}
		return inStep(ctx, hs)
	})
	if err != nil {
		t.Errorf("a fresh FleetHandshake is not worked off: %v", err)
	}
	fmt.Printf("a fresh FleetHandshake was worked off in %s\n", time.Since(started).Round(100*time.Millisecond))
}

// settled says what a FleetHandshake has not been told yet.
func settled(hs *v1alpha1.FleetHandshake) error {
	ready := meta.FindStatusCondition(hs.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != hs.Generation || hs.Status.ObservedGeneration != hs.Generation {
		return fmt.Errorf("%s/%s: generation %d, observed %d, Ready %v", hs.Namespace, hs.Name[:min(20, len(hs.Name))], hs.Generation, hs.Status.ObservedGeneration, ready)
	}
	return nil
}

// inStep says whether the Bundle and the values Secret of a FleetHandshake are as the operator makes them.
func inStep(ctx context.Context, hs *v1alpha1.FleetHandshake) error {
	name := bundle.NameFor(hs)
	values, err := hub.CoreV1().Secrets(hs.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	sealed, err := bundle.Open(values.Data)
	if err != nil {
		return err
	}
	b, err := hub.Bundles.Get(ctx, hs.Namespace, name)
	switch {
	case err != nil:
		return err
	case !b.DeletionTimestamp.IsZero():
		return nil
	case b.Spec.ValuesHash != sealed.Hash || bundle.DeliveryOf(b).Revision() != sealed.Revision:
		return fmt.Errorf("bundle %s does not send what its values Secret holds", name)
	case len(b.Spec.Resources) != 1 || b.Spec.Resources[0].Name != "templates/secrets.yaml" || b.Spec.Helm == nil || !b.Spec.Helm.DisablePreProcess || b.Spec.Helm.ReleaseName != name:
		return fmt.Errorf("bundle %s was not restored", name)
	case slices.ContainsFunc(b.Spec.Targets, func(t fleet.BundleTarget) bool { return t.ClusterName == "" }):
		return fmt.Errorf("bundle %s has a target that is not ours", name)
	}
	return nil
}

// checkSettled waits until every FleetHandshake that is left says where it stands, and what it has is as it should be.
func (s *storm) checkSettled(t *testing.T) {
	t.Helper()
	started, count, reasons := time.Now(), 0, map[string]int{}
	err := clients.Until(context.Background(), 100*time.Second, func(ctx context.Context) error {
		var errs []error
		count, reasons = 0, map[string]int{}
		for _, namespace := range []string{stormWorkspace, stormForeign} {
			found, err := hub.Handshakes.List(ctx, namespace, "")
			if err != nil {
				return err
			}
			for _, hs := range found {
				if !hs.DeletionTimestamp.IsZero() && !slices.Contains(hs.Finalizers, v1alpha1.Finalizer) {
					continue // released; somebody else's finalizer keeps it
				}
				count++
				if err := settled(&hs); err != nil {
					errs = append(errs, err)
					continue
				}
				reasons[meta.FindStatusCondition(hs.Status.Conditions, v1alpha1.ConditionReady).Reason]++
				if hs.DeletionTimestamp.IsZero() && meta.IsStatusConditionTrue(hs.Status.Conditions, v1alpha1.ConditionSourceAvailable) {
					if err := inStep(ctx, &hs); err != nil {
						errs = append(errs, fmt.Errorf("%s/%s: %w", hs.Namespace, hs.Name[:min(20, len(hs.Name))], err))
					}
				}
			}
		}
		if len(errs) > 0 {
			time.Sleep(time.Second)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Errorf("these are stuck: %v", err)
	}
	assert.Greater(t, count, 50, "too few are left to say anything")
	fmt.Printf("%d FleetHandshakes are left, all settled after %s: %v\n", count, time.Since(started).Round(100*time.Millisecond), reasons)
}

// checkQuiet waits until the operator has written nothing for a while: nothing changes any more.
func (s *storm) checkQuiet(t *testing.T) {
	t.Helper()
	started := time.Now()
	position, err := world.Hub.AuditEnd()
	require.NoError(t, err)
	const still = 5 * time.Second
	var last []lab.AuditEvent
	quietSince := time.Now()
	err = clients.Until(context.Background(), 2*time.Minute, func(context.Context) error {
		writes, end, err := world.Hub.AuditSince(position, lab.ByOperator)
		if err != nil {
			return err
		}
		if position = end; len(writes) > 0 {
			last, quietSince = writes, time.Now()
		}
		if time.Since(quietSince) < still {
			return fmt.Errorf("the operator still writes: %v", last)
		}
		return nil
	})
	require.NoError(t, err)
	fmt.Printf("nothing is written any more after %s\n", time.Since(started).Round(100*time.Millisecond))
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	return body
}

var queueDepth = regexp.MustCompile(`(?m)^workqueue_depth\{.*name="([^"]*)".*\} (\S+)$`)

// checkQueues waits until no object waits for a worker.
func checkQueues(t *testing.T, address string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		found := queueDepth.FindAllSubmatch(get(t, "http://"+address+"/metrics"), -1)
		if len(found) == 0 {
			return errors.New("there is no metric of the queues")
		}
		for _, queue := range found {
			if string(queue[2]) != "0" {
				return fmt.Errorf("%s objects wait in queue %s", queue[2], queue[1])
			}
		}
		return nil
	})
}

// checkStore looks for secret data in all of etcd, outside Secrets.
func checkStore(t *testing.T) {
	t.Helper()
	secrets, others := 0, 0
	var leaks []string
	err := world.Hub.RangeEtcd(context.Background(), "/", func(key string, value []byte) error {
		found := holdsOne(value, secretForms)
		switch {
		case strings.HasPrefix(key, "/registry/secrets/"):
			if found {
				secrets++
			}
			return nil
		case found:
			leaks = append(leaks, key)
		case !strings.HasPrefix(key, "/registry/fleet.cattle.io/bundledeployments/") && !strings.HasPrefix(key, "/registry/fleet.cattle.io/clusters/") && holdsOne(value, fleetForms):
			leaks = append(leaks, key+" (words of Fleet)")
		}
		others++
		return nil
	})
	require.NoError(t, err)
	assert.Empty(t, leaks, "these hold secret data")
	assert.Greater(t, secrets, 20, "the scan must find the Secrets themselves")
	assert.Greater(t, others, 500, "the scan must see the other objects")
	fmt.Printf("%d keys of etcd hold secret data and are Secrets; %d others do not\n", secrets, others)
}

// checkAudit shows that the operator has written where it may and nowhere else, and read nothing that no grant covers.
func checkAudit(t *testing.T, begin int64) {
	t.Helper()
	events, _, err := world.Hub.AuditSince(begin, func(e lab.AuditEvent) bool { return e.User.Username == lab.OperatorUser })
	require.NoError(t, err)
	codes, elsewhere, forbidden, read := map[int]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range events {
		codes[e.ResponseStatus.Code]++
		where := e.ObjectRef.Namespace
		ours := where == stormWorkspace || where == workspace
		switch {
		case e.ResponseStatus.Code == http.StatusForbidden:
			forbidden[e.String()]++
		case e.Writes() && !ours && !e.Of("fleethandshakes", "status", "") && (!e.Of("bundledeployments", "", "") || where != stormAgents):
			elsewhere[e.String()]++
		case e.Of("secrets", "", "") && e.Verb == "get" && where == stormClosed:
			read[e.String()]++
		}
	}
	assert.Empty(t, elsewhere, "the operator has written where it may not")
	assert.Empty(t, forbidden, "the operator was not allowed to do this")
	assert.Empty(t, read, "the operator has read Secrets that nobody has granted")
	fmt.Printf("%d requests of the operator by answer: %v\n", len(events), codes)
	assert.Greater(t, codes[http.StatusOK]+codes[http.StatusCreated], 1000, "the operator must have done something")
}

// checkRemoval deletes all FleetHandshakes, and waits until the operator has let them go.
func (s *storm) checkRemoval(t *testing.T) {
	t.Helper()
	started := time.Now()
	err := clients.Until(context.Background(), time.Minute, func(ctx context.Context) error {
		left := 0
		for _, namespace := range []string{stormWorkspace, stormForeign} {
			objects, err := s.list(ctx, "fleethandshakes", namespace)
			if err != nil {
				return err
			}
			for _, o := range objects {
				left++
				if o.DeletionTimestamp.IsZero() || o.Annotations[v1alpha1.AnnotationForceDelete] != "true" || slices.ContainsFunc(o.Finalizers, func(f string) bool { return f != v1alpha1.Finalizer }) {
					ours := slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f != v1alpha1.Finalizer })
					_ = s.patch(ctx, "fleethandshakes", namespace, o.Name, []operation{
						{"test", "/metadata/resourceVersion", o.ResourceVersion}, {"add", "/metadata/finalizers", ours}, {"add", "/metadata/annotations", fields{v1alpha1.AnnotationForceDelete: "true"}},
					})
					_ = s.delete(ctx, "fleethandshakes", namespace, o.Name)
				}
			}
		}
		if left > 0 {
			time.Sleep(500 * time.Millisecond)
			return fmt.Errorf("%d FleetHandshakes are still there", left)
		}
		return nil
	})
	if err != nil {
		t.Errorf("these are not let go: %v", err)
	}
	fmt.Printf("all FleetHandshakes were gone %s after their deletion\n", time.Since(started).Round(100*time.Millisecond))
}
