package v1alpha1

// Condition types of a FleetHandshake. Reconciling and Stalled are present only while they are true, as kstatus and
// Rancher's state badges read them.
const (
	// ConditionReady is true when the Secret is there and every matched cluster has the current revision.
	ConditionReady = "Ready"
	// ConditionReconciling is true while the operator and Fleet are still on their way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when only a person can mend what is wrong.
	ConditionStalled = "Stalled"
	// ConditionSourceAvailable is true when the Secret exists and may be sent.
	ConditionSourceAvailable = "SourceAvailable"
	// ConditionDelivered is true when what was sent last has arrived everywhere, also when the Secret is missing now.
	ConditionDelivered = "Delivered"
)

// Reasons of the conditions. The events of a FleetHandshake have the same ones.
const (
	// ReasonSynced: every matched cluster has the current revision.
	ReasonSynced = "Synced"
	// ReasonDelivering: some clusters do not have the current revision yet.
	ReasonDelivering = "Delivering"
	// ReasonClusterOffline: all clusters that report have the current revision, and at least one does not report.
	ReasonClusterOffline = "ClusterOffline"
	// ReasonClusterStuck: at least one cluster does not apply the current revision, though its agent reports.
	ReasonClusterStuck = "ClusterStuck"
	// ReasonPaused: spec.paused holds the current revision back from some clusters.
	ReasonPaused = "Paused"
	// ReasonNoTargets: no Fleet Cluster matches spec.targets.
	ReasonNoTargets = "NoTargets"
	// ReasonClusterFailed: at least one cluster could not apply the current revision.
	ReasonClusterFailed = "ClusterFailed"
	// ReasonConflict: in at least one cluster a Secret of that name is in the way.
	ReasonConflict = "Conflict"
	// ReasonInvalidTarget: a selector in spec.targets is not valid.
	ReasonInvalidTarget = "InvalidTarget"
	// ReasonInvalidRolloutStrategy: Fleet could not work with spec.rolloutStrategy.
	ReasonInvalidRolloutStrategy = "InvalidRolloutStrategy"
	// ReasonSecretFound: the Secret exists and may be sent.
	ReasonSecretFound = "SecretFound"
	// ReasonSecretNotFound: the Secret does not exist on the hub.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonNotGranted: the Secret is in another namespace, and no SecretGrant there lets it travel to these clusters.
	ReasonNotGranted = "NotGranted"
	// ReasonNeverSend: the owner of the Secret has marked it with fleethandshake.io/never-send.
	ReasonNeverSend = "NeverSend"
	// ReasonNotAWorkspace: the FleetHandshake is in a namespace that the operator does not write to.
	ReasonNotAWorkspace = "NotAWorkspace"
	// ReasonSourceNotServed: the Secret is in a namespace that the operator does not read Secrets of.
	ReasonSourceNotServed = "SourceNotServed"
	// ReasonUnsupportedType: Secrets of this type are never sent.
	ReasonUnsupportedType = "UnsupportedType"
	// ReasonUnsupportedMetadata: a label or an annotation of the Secret has a character that Helm cannot carry.
	ReasonUnsupportedMetadata = "UnsupportedMetadata"
	// ReasonTooLarge: the Secret is too large for a Bundle.
	ReasonTooLarge = "TooLarge"
	// ReasonImmutable: the copies are immutable, and spec.replacePolicy does not allow to recreate them.
	ReasonImmutable = "Immutable"
	// ReasonTypeChanged: the Secret has another type than the copies, and spec.replacePolicy does not allow to recreate
	// them.
	ReasonTypeChanged = "TypeChanged"
	// ReasonWithdrawalHeld: the targets no longer match many of the clusters; the operator waits for a confirmation
	// before it takes the Secret from them.
	ReasonWithdrawalHeld = "WithdrawalHeld"
	// ReasonRemoving: the FleetHandshake is being deleted, and some clusters have not confirmed the removal yet.
	ReasonRemoving = "Removing"
	// ReasonWriteFailed: the API server refuses what the operator has to write.
	ReasonWriteFailed = "WriteFailed"
	// ReasonNameTaken: a Bundle or Secret that is not ours has the name that we need.
	ReasonNameTaken = "NameTaken"
)

// Reasons of events that are no reasons of conditions.
const (
	// EventSent: a revision is on its way to the clusters.
	EventSent = "Sent"
	// EventDriftFound: copies were deleted or edited downstream.
	EventDriftFound = "DriftFound"
	// EventDriftRepaired: copies that were deleted or edited are as they should be again.
	EventDriftRepaired = "DriftRepaired"
	// EventClusterOnline: clusters that did not report are back.
	EventClusterOnline = "ClusterOnline"
	// EventWithdrawing: clusters are told to remove their copy.
	EventWithdrawing = "Withdrawing"
	// EventWithdrawn: clusters have confirmed that they have removed their copy.
	EventWithdrawn = "Withdrawn"
	// EventNotConfirmed: the wait for the confirmation of clusters has ended without it.
	EventNotConfirmed = "NotConfirmed"
)

// ClusterReason is why a cluster is in its state.
// +kubebuilder:validation:Enum=NotGranted;NotRegistered;NotInPartition;RolloutHeld;HandshakePaused;ClusterPaused;AgentSilent;NotApplying;SecretExists;TakenOver;InstallRefused;ApplyFailed;Immutable;TypeChanged;Recreating;CopyDeleted;CopyEdited
type ClusterReason string

const (
	// ClusterNotGranted says that no SecretGrant lets the Secret travel to the cluster.
	ClusterNotGranted ClusterReason = "NotGranted"
	// ClusterNotRegistered says that the agent of the cluster has never registered with Fleet.
	ClusterNotRegistered ClusterReason = "NotRegistered"
	// ClusterNotInPartition says that no partition of spec.rolloutStrategy matches the cluster.
	ClusterNotInPartition ClusterReason = "NotInPartition"
	// ClusterRolloutHeld says that the rollout waits for other clusters first.
	ClusterRolloutHeld ClusterReason = "RolloutHeld"
	// ClusterHandshakePaused says that spec.paused of the FleetHandshake holds the revision back.
	ClusterHandshakePaused ClusterReason = "HandshakePaused"
	// ClusterFleetPaused says that spec.paused of the Fleet Cluster holds the revision back.
	ClusterFleetPaused ClusterReason = "ClusterPaused"
	// ClusterAgentSilent says that the agent has not reported for three of its intervals.
	ClusterAgentSilent ClusterReason = "AgentSilent"
	// ClusterNotApplying says that the agent reports, and does not apply the revision.
	ClusterNotApplying ClusterReason = "NotApplying"
	// ClusterSecretExists says that a Secret of that name is there that is not ours.
	ClusterSecretExists ClusterReason = "SecretExists"
	// ClusterTakenOver says that the copy belongs to another Bundle or Helm release now.
	ClusterTakenOver ClusterReason = "TakenOver"
	// ClusterInstallRefused says that the cluster has refused the install for another reason.
	ClusterInstallRefused ClusterReason = "InstallRefused"
	// ClusterApplyFailed says that the agent could not apply it.
	ClusterApplyFailed ClusterReason = "ApplyFailed"
	// ClusterImmutable says that the copy is immutable.
	ClusterImmutable ClusterReason = "Immutable"
	// ClusterTypeChanged says that the copy has another type.
	ClusterTypeChanged ClusterReason = "TypeChanged"
	// ClusterRecreating says that the copy is being deleted, to be made anew.
	ClusterRecreating ClusterReason = "Recreating"
	// ClusterCopyDeleted says that the copy was deleted in the cluster.
	ClusterCopyDeleted ClusterReason = "CopyDeleted"
	// ClusterCopyEdited says that labels, annotations or type of the copy were edited in the cluster.
	ClusterCopyEdited ClusterReason = "CopyEdited"
)
