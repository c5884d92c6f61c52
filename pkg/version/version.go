// Package version says what was built. The linker fills it in.
package version

import "fmt"

var (
	// Version is the released version, or "dev".
	Version = "dev"
	// Commit is the short Git commit.
	Commit = "unknown"
)

// String is the version as people read it.
func String() string {
	return fmt.Sprintf("%s (%s)", Version, Commit)
}
