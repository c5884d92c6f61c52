// Package harness lets tests with real servers run where they are wanted.
package harness

import (
	"fmt"
	"os"
	"testing"
)

// variable wants these tests when it is set.
const variable = "FLEET_HANDSHAKE_E2E"

// Main is a TestMain. run starts what the tests need, as in "a real Vault", runs them, and gives the exit code.
func Main(needs string, run func() (code int, err error)) {
	if os.Getenv(variable) == "" {
		fmt.Printf("skipped: these tests start %s; set %s=1, or run make test\n", needs, variable)
		return
	}
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Need skips a test that starts what it needs by itself.
func Need(t *testing.T, needs string) {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skipf("starts %s; set %s=1 to run it", needs, variable)
	}
}
