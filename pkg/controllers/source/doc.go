// Package source is the controller of all objects that make a Secret from what a secret manager holds.
package source

// The rights that are needed in each namespace with sources.
// +kubebuilder:rbac:groups=fleethandshake.io,resources=vaultsecrets;vaultdynamicsecrets;vaultpkisecrets,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,verbs=create
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
