package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/audit"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/handshake"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vaultsource"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/vsecmsource"
	"github.com/fleet-handshake/fleet-handshake/pkg/event"
	fleetctl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleet.cattle.io"
	handshakectl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io"
	handshakectlv1 "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	"github.com/fleet-handshake/fleet-handshake/pkg/workspace"
	"github.com/prometheus/client_golang/prometheus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/lasso/pkg/cache"
	"github.com/rancher/lasso/pkg/client"
	"github.com/rancher/lasso/pkg/controller"
	"github.com/rancher/wrangler/v3/pkg/generic"
	"github.com/rancher/wrangler/v3/pkg/ratelimit"
	"github.com/sirupsen/logrus"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// The rights that are needed in all namespaces, in the operator's own and in Fleet's.
// +kubebuilder:rbac:groups=fleethandshake.io,resources=fleethandshakes;secretgrants;vaultconnections;vaultsecrets;vaultdynamicsecrets;vaultpkisecrets;vsecmsecrets,verbs=list;watch
// +kubebuilder:rbac:groups=fleethandshake.io,resources=fleethandshakes/status;vaultsecrets/status;vaultdynamicsecrets/status;vaultpkisecrets/status;vsecmsecrets/status,verbs=update
// +kubebuilder:rbac:groups=fleet.cattle.io,resources=bundles;bundledeployments;clusters;clustergroups,verbs=list;watch
// +kubebuilder:rbac:groups=fleet.cattle.io,resources=bundledeployments,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=bundles.fleet.cattle.io;bundledeployments.fleet.cattle.io;clusters.fleet.cattle.io;clustergroups.fleet.cattle.io;fleethandshakes.fleethandshake.io;secretgrants.fleethandshake.io;vaultconnections.fleethandshake.io;vaultsecrets.fleethandshake.io;vaultdynamicsecrets.fleethandshake.io;vaultpkisecrets.fleethandshake.io;vsecmsecrets.fleethandshake.io,verbs=get
// +kubebuilder:rbac:namespace=fleet-handshake-system,groups=coordination.k8s.io,resources=leases,verbs=create
// +kubebuilder:rbac:namespace=fleet-handshake-system,groups=coordination.k8s.io,resources=leases,resourceNames=fleet-handshake,verbs=get;update
// +kubebuilder:rbac:namespace=fleet-handshake-system,groups="",resources=secrets,verbs=get;list;create;update;delete
// +kubebuilder:rbac:namespace=cattle-fleet-system,groups="",resources=configmaps,resourceNames=fleet-controller,verbs=get

// Run checks what the operator needs, and works until ctx ends. It returns nil when ctx ended, and an error when the
// operator cannot work or has lost its Lease; the process must then end, so that it starts afresh.
func Run(ctx context.Context, cfg *rest.Config, opts Options) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	// Before any controller runs: lasso reads without a lock whether its metrics are registered.
	_ = registry()
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = "fleet-handshake"
	// The API server's priority and fairness decides; limits on our side would only make rotations slow.
	cfg.RateLimiter = ratelimit.None

	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	crds, err := apiextensionsclient.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := preflight(ctx, crds, kube.CoreV1(), opts); err != nil {
		return err
	}
	if opts.OfflineAfter == 0 {
		opts.OfflineAfter = offlineAfter(ctx, kube.CoreV1(), opts.FleetNamespace)
	}

	auditLog, err := audit.Open(opts.AuditLog)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var ready atomic.Bool
	if err := serve(ctx, stop, opts.ListenAddress, &ready); err != nil {
		return err
	}
	var made atomic.Pointer[[]makers]
	defer func() {
		if all := made.Load(); all != nil {
			for _, m := range *all {
				m.Close()
			}
		}
	}()
	work := func(ctx context.Context) {
		all, err := startControllers(ctx, cfg, kube, opts, auditLog)
		made.Store(&all)
		if err != nil {
			stop(err)
			return
		}
		logrus.Info("working")
		ready.Store(true)
	}
	if opts.LeaderElect {
		// A standby is ready: it can take over at any time. Its informers start when it does, because lasso
		// would queue every event until then.
		ready.Store(true)
		elect(ctx, stop, kube, opts.Namespace, work)
	} else {
		work(ctx)
		<-ctx.Done()
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func startControllers(ctx context.Context, cfg *rest.Config, kube kubernetes.Interface, opts Options, auditLog *audit.Log) ([]makers, error) {
	clients, err := client.NewSharedClientFactory(cfg, nil)
	if err != nil {
		return nil, fmt.Errorf("making the client factory: %w", err)
	}
	ours := func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.LabelHandshake }
	caches := cache.NewSharedCachedFactory(clients, &cache.SharedCacheFactoryOptions{
		KindTweakList: map[schema.GroupVersionKind]cache.TweakListOptionsFunc{
			fleet.SchemeGroupVersion.WithKind("Bundle"):           ours,
			fleet.SchemeGroupVersion.WithKind("BundleDeployment"): ours,
		},
	})
	shared := controller.NewSharedControllerFactory(caches, &controller.SharedControllerFactoryOptions{SyncOnlyChangedObjects: true})
	factoryOptions := &generic.FactoryOptions{SharedControllerFactory: shared}
	fleetFactory, err := fleetctl.NewFactoryFromConfigWithOptions(cfg, factoryOptions)
	if err != nil {
		return nil, fmt.Errorf("making the Fleet controllers: %w", err)
	}
	handshakeFactory, err := handshakectl.NewFactoryFromConfigWithOptions(cfg, factoryOptions)
	if err != nil {
		return nil, fmt.Errorf("making the FleetHandshake controllers: %w", err)
	}
	workspaces, err := workspace.New(cfg, opts.Workspaces)
	if err != nil {
		return nil, err
	}
	var namespaces []string
	if len(opts.SourceNamespaces) > 0 {
		namespaces = slices.Concat(opts.SourceNamespaces, opts.Workspaces)
	}
	store, err := secrets.New(cfg, kube.CoreV1(), namespaces...)
	if err != nil {
		return nil, err
	}
	fleetV1, handshakeV1 := fleetFactory.Fleet().V1alpha1(), handshakeFactory.Fleethandshake().V1alpha1()
	all, sources, err := registerSources(ctx, handshakeV1, kube.CoreV1(), store, opts)
	if err != nil {
		return nil, err
	}
	err = handshake.Register(ctx, handshake.Config{
		Handshakes:   handshakeV1.FleetHandshake(),
		Bundles:      fleetV1.Bundle(),
		Deployments:  fleetV1.BundleDeployment(),
		Clusters:     fleetV1.Cluster(),
		Groups:       fleetV1.ClusterGroup(),
		Grants:       handshakeV1.SecretGrant(),
		Secrets:      store,
		SecretClient: kube.CoreV1(),
		Events:       kube.CoreV1(),
		Workspaces:   workspaces,
		Audit:        auditLog,
		KeepRevoked:  opts.RevokedGrants == KeepRevoked,
		Limits: handshake.Limits{
			OfflineAfter: opts.OfflineAfter, StuckAfter: opts.StuckAfter,
			MissingGrace: opts.MissingGrace, WithdrawalThreshold: opts.WithdrawalThreshold,
		},
		Clock: opts.Clock,
	}, registry())
	if err != nil {
		return nil, err
	}
	for informer, transform := range map[toolscache.SharedIndexInformer]toolscache.TransformFunc{
		handshakeV1.FleetHandshake().Informer():     audit.KeepManager,
		handshakeV1.SecretGrant().Informer():        dropManagedFields,
		handshakeV1.VaultConnection().Informer():    dropManagedFields,
		handshakeV1.VaultSecret().Informer():        dropManagedFields,
		handshakeV1.VaultDynamicSecret().Informer(): dropManagedFields,
		handshakeV1.VaultPKISecret().Informer():     dropManagedFields,
		handshakeV1.VSecMSecret().Informer():        dropManagedFields,
		fleetV1.Bundle().Informer():                 dropStatus,
		fleetV1.BundleDeployment().Informer():       stripDeployment,
		fleetV1.Cluster().Informer():                dropStatus,
		fleetV1.ClusterGroup().Informer():           dropStatus,
	} {
		if err := informer.SetTransform(transform); err != nil {
			return nil, fmt.Errorf("preparing the informers: %w", err)
		}
	}
	if err := store.Start(ctx); err != nil {
		return nil, err
	}
	if err := workspaces.Start(ctx); err != nil {
		return nil, err
	}
	if err := shared.Start(ctx, opts.Workers); err != nil {
		return nil, fmt.Errorf("starting the controllers: %w", err)
	}
	for _, m := range all {
		go m.Run(ctx)
	}
	go sources.Run(ctx)
	return all, nil
}

// makers are the sources of one secret manager.
type makers interface {
	Register(ctx context.Context, registry prometheus.Registerer, wake func(kind, namespace, name string), retry func()) error
	Run(ctx context.Context)
	Close()
}

// registerSources prepares the controller of what makes Secrets.
func registerSources(ctx context.Context, controllers handshakectlv1.Interface, core corev1client.CoreV1Interface, store *secrets.Store, opts Options) ([]makers, *source.Controller, error) {
	fromVault, err := vaultsource.New(vaultsource.Config{Controllers: controllers, Core: core, Namespace: opts.Namespace, Defaults: opts.Vault})
	if err != nil {
		return nil, nil, err
	}
	fromVSecM, err := vsecmsource.New(controllers.VSecMSecret(), opts.VSecM)
	if err != nil {
		return nil, nil, err
	}
	all := []makers{fromVault, fromVSecM}
	sources, err := source.New(ctx, source.Config{
		Secrets: store, Writer: core, Events: event.NewRecorder(core), Workers: opts.SourceWorkers, Clock: opts.Clock,
	}, registry(), slices.Concat(fromVault.Kinds(), fromVSecM.Kinds())...)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range all {
		if err := m.Register(ctx, registry(), sources.Wake, sources.Retry); err != nil {
			return nil, nil, err
		}
	}
	return all, sources, nil
}

func dropManagedFields(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// dropStatus takes out of the status of Fleet's objects what nothing depends on: it is full of Fleet's messages.
func dropStatus(o any) (any, error) {
	switch o := o.(type) {
	case *fleet.Bundle:
		o.Status = fleet.BundleStatus{}
	case *fleet.Cluster:
		o.Status = fleet.ClusterStatus{Namespace: o.Status.Namespace, Agent: o.Status.Agent}
	case *fleet.ClusterGroup:
		o.Status = fleet.ClusterGroupStatus{}
	}
	return dropManagedFields(o)
}

func stripDeployment(o any) (any, error) {
	if bd, ok := o.(*fleet.BundleDeployment); ok {
		syncstatus.Strip(bd)
	}
	return o, nil
}
