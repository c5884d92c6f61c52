package v1alpha1

// Condition types of the sources: VaultSecret, VaultDynamicSecret, VaultPKISecret and VSecMSecret. Beside them a source has
// Ready, and Reconciling and Stalled while they are true.
const (
	// ConditionFetched is true when the last request for what the Secret is to hold has worked.
	ConditionFetched = "Fetched"
	// ConditionStale is true when what the Secret holds is too old, or no longer valid. It is present only while true.
	ConditionStale = "Stale"
	// ConditionKeysLeftOut is true when there are keys that a Secret cannot have. It is present only while true.
	ConditionKeysLeftOut = "KeysLeftOut"
)

// Reasons of the conditions of sources. Their events have the same ones.
const (
	// ReasonUpToDate: the Secret holds what was fetched last.
	ReasonUpToDate = "UpToDate"
	// ReasonUnavailable: the server does not answer, or cannot answer now. The Secret keeps what it has.
	ReasonUnavailable = "Unavailable"
	// ReasonDenied: the server does not let the login in, or does not let it read there.
	ReasonDenied = "Denied"
	// ReasonPathMissing: there is nothing at a path or ref.
	ReasonPathMissing = "PathMissing"
	// ReasonInvalidValue: what was fetched cannot be used as the spec says.
	ReasonInvalidValue = "InvalidValue"
	// ReasonNotYetValid: a secret may not be used before a date.
	ReasonNotYetValid = "NotYetValid"
	// ReasonExpired: a secret may not be used any more.
	ReasonExpired = "Expired"
	// ReasonRefused: the server refuses the request as it is.
	ReasonRefused = "Refused"
	// ReasonKeyCollision: two values would have the same key.
	ReasonKeyCollision = "KeyCollision"
	// ReasonInvalidSpec: the spec cannot be worked with.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonConnectionNotFound: the VaultConnection does not exist.
	ReasonConnectionNotFound = "ConnectionNotFound"
	// ReasonConnectionNotShared: the VaultConnection of another namespace does not name ours.
	ReasonConnectionNotShared = "ConnectionNotShared"
	// ReasonCredentialsMissing: what the login needs is not there, or may not be read or made.
	ReasonCredentialsMissing = "CredentialsMissing"
	// ReasonSecretConflict: a Secret of that name, or a key in it, is there that is not ours.
	ReasonSecretConflict = "SecretConflict"
	// ReasonNotAllowed: the operator may not write Secrets in this namespace, or may not read for it what it asks for.
	ReasonNotAllowed = "NotAllowed"
	// ReasonStale: what the Secret holds is too old, or no longer valid.
	ReasonStale = "Stale"
	// ReasonInvalidKeys: there are keys that a Secret cannot have.
	ReasonInvalidKeys = "InvalidKeys"
	// ReasonRevoking: the object is being deleted, and what it has had made is not given back yet.
	ReasonRevoking = "Revoking"
)

// Reasons of events of sources that are no reasons of conditions.
const (
	// EventWritten: the Secret has new content.
	EventWritten = "Written"
	// EventRepaired: the Secret was edited or deleted, and is as it should be again.
	EventRepaired = "Repaired"
	// EventNotRevoked: what the object has had made could not be given back.
	EventNotRevoked = "NotRevoked"
)
