package v1alpha1

// Condition types of a FleetHandshake. Reconciling and Stalled are present only while they are true, as kstatus and
// Rancher's state badges read them.
const (
	// ConditionReady is true when every matched cluster has the current revision.
	ConditionReady = "Ready"
	// ConditionReconciling is true while the operator and Fleet are still on their way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when only a person can mend what is wrong.
	ConditionStalled = "Stalled"
	// ConditionSourceAvailable is true when the Secret exists and may be sent.
	ConditionSourceAvailable = "SourceAvailable"
)

// Reasons of the conditions.
const (
	// ReasonSynced: every matched cluster has the current revision.
	ReasonSynced = "Synced"
	// ReasonDelivering: some clusters do not have the current revision yet.
	ReasonDelivering = "Delivering"
	// ReasonPaused: spec.paused holds the current revision back from some clusters.
	ReasonPaused = "Paused"
	// ReasonNoTargets: no Fleet Cluster matches spec.targets.
	ReasonNoTargets = "NoTargets"
	// ReasonClusterFailed: at least one cluster could not apply the current revision.
	ReasonClusterFailed = "ClusterFailed"
	// ReasonInvalidTarget: a selector in spec.targets is not valid.
	ReasonInvalidTarget = "InvalidTarget"
	// ReasonSecretFound: the Secret exists and may be sent.
	ReasonSecretFound = "SecretFound"
	// ReasonSecretNotFound: the Secret does not exist on the hub.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonNotGranted: the Secret is in another namespace, and that is not allowed.
	ReasonNotGranted = "NotGranted"
	// ReasonUnsupportedType: Secrets of this type are never sent.
	ReasonUnsupportedType = "UnsupportedType"
	// ReasonTooLarge: the Secret is too large for a Bundle.
	ReasonTooLarge = "TooLarge"
	// ReasonWriteFailed: the API server refuses what the operator has to write.
	ReasonWriteFailed = "WriteFailed"
	// ReasonNameTaken: a Bundle or Secret that is not ours has the name that we need.
	ReasonNameTaken = "NameTaken"
)
