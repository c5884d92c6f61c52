// Package folder makes the folders of servers.
package folder

import (
	"fmt"
	"os"
)

// Empty makes a folder that only its owner reads. One that is there must be
// empty.
func Empty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the folder: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty; choose another folder", dir)
	}
	return nil
}
