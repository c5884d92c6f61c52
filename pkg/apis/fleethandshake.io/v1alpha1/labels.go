package v1alpha1

// Labels and annotations. The prefix is not under cattle.io, because Fleet does not copy such labels from a Bundle to
// its BundleDeployments.
const (
	// LabelHandshake is on every Bundle and values Secret of ours, and through Fleet on every BundleDeployment.
	// Its value is the UID of the FleetHandshake.
	LabelHandshake = "fleethandshake.io/handshake"
	// LabelName is beside it and holds the name of the FleetHandshake, shortened when it is longer than 63 characters.
	// Use it to let a bundle of yours depend on the Secret: dependsOn: [{selector: {matchLabels: {…}}}].
	LabelName = "fleethandshake.io/name"
	// AnnotationDelivery is on every Bundle of ours: what was sent under which forceSyncGeneration, as JSON.
	AnnotationDelivery = "fleethandshake.io/delivery"
	// AnnotationResyncRequestedAt on a FleetHandshake asks for a resync now. Each new value asks once; the time of
	// day is a good value.
	AnnotationResyncRequestedAt = "fleethandshake.io/resync-requested-at"
	// AnnotationForceDelete on a FleetHandshake that is being deleted ends the wait for clusters that have not
	// confirmed, and on a source the wait until what it has had made is given back. Its value must be "true".
	AnnotationForceDelete = "fleethandshake.io/force-delete"
	// AnnotationConfirmWithdrawal on a FleetHandshake lets a change go on that takes the Secret from many clusters at
	// once. Its value must be status.revision. The operator removes it when it was used.
	AnnotationConfirmWithdrawal = "fleethandshake.io/confirm-withdrawal"
	// NeverSend as a label or an annotation on a Secret says that it is not to be sent. Its value must be "true". Copies
	// that were sent before are withdrawn.
	NeverSend = "fleethandshake.io/never-send"
	// LabelWorkspace on a namespace, with the value "true", makes it a workspace of the operator, beside those of
	// --workspaces. The operator needs a RoleBinding there.
	LabelWorkspace = "fleethandshake.io/workspace"
	// AnnotationRefresh on a source, such as a VaultSecret, asks for a refresh now. Each new value asks once; the time of
	// day is a good value.
	AnnotationRefresh = "fleethandshake.io/refresh"
	// AnnotationSources is on every Secret that a source has made: which sources, and what each has put there. Of values it
	// has only those of labels and annotations.
	AnnotationSources = "fleethandshake.io/sources"
	// FinalizerRelease keeps a source that is being deleted until what it has had made is given back, and its keys are out
	// of a Secret that is not its own.
	FinalizerRelease = "fleethandshake.io/release"
	// Finalizer keeps a FleetHandshake that is being deleted until the clusters have confirmed.
	Finalizer = "fleethandshake.io/withdraw"
)
