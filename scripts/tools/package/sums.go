package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
)

// sumsFile is the name of the file with the checksums, as sha256sum reads it.
const sumsFile = "SHA256SUMS"

// writeSums writes the checksums of all files in a folder, sorted by name, and returns them. What a run that was broken
// off has left is not among them.
func writeSums(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", folder, err)
	}
	var lines []string
	for _, entry := range entries {
		if !entry.Type().IsRegular() || entry.Name() == sumsFile || strings.HasSuffix(entry.Name(), file.Unfinished) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return "", fmt.Errorf("computing a checksum: %w", err)
		}
		sum := sha256.Sum256(content)
		lines = append(lines, hex.EncodeToString(sum[:])+"  "+entry.Name())
	}
	sums := strings.Join(lines, "\n")
	if err := file.Replace(filepath.Join(folder, sumsFile), []byte(sums+"\n")); err != nil {
		return "", err
	}
	return sums, nil
}
