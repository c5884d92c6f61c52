// Package bundle turns a FleetHandshake and a Secret into the two objects that carry the Secret through Fleet: a values
// Secret, which holds everything, and a Bundle, which holds no secret byte. Fleet moves the values from Secret to Secret
// (its own mechanism for Helm values, from Fleet 0.12.1). The package is pure: no client, no clock, no randomness.
package bundle
