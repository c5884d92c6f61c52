// Package vaultsource fetches what VaultSecrets, VaultDynamicSecrets and VaultPKISecrets ask Vault for.
package vaultsource

// Defaults are what the operator was started with. They hold where an object and its VaultConnection say nothing else.
type Defaults struct {
	// Addr is the URL of the server of objects that name neither an address nor a VaultConnection; empty: they have to
	// name one.
	Addr string
	// CAFile is a PEM file with the certificates that the certificates of servers are checked with, where no
	// VaultConnection has its own; empty: those that browsers trust.
	CAFile string
	// AuthPath is where the method kubernetes is mounted in Vault.
	AuthPath string
	// Role in Vault; empty: the namespace of the service account.
	Role string
	// ServiceAccount is the name of the account whose token is shown, in the namespace of the object that logs in.
	ServiceAccount string
	// RequestsPerSecond bounds what each server gets, where no VaultConnection says otherwise.
	RequestsPerSecond int
}
