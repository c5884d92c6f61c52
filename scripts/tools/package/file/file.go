// Package file writes files in one step.
package file

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Unfinished is the end of the name that a file has while it is written. A run that was broken off leaves such a file.
const Unfinished = ".unfinished"

// Replace writes a file in one step: who reads it at the same time, or after a run that was broken off, gets the former
// content or the new one.
func Replace(path string, content []byte) error {
	return ReplaceWith(path, func(out io.Writer) error {
		_, err := out.Write(content)
		return err
	})
}

// ReplaceWith is Replace for a content that is too large for the memory. When write returns an error, the file stays as
// it is.
func ReplaceWith(path string, write func(io.Writer) error) error {
	out, err := os.OpenFile(path+Unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(write(out), out.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(out.Name())))
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
