package tools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Module is the Go module of this project.
const Module = "github.com/fleet-handshake/fleet-handshake"

// fleetModule is the module Fleet's programs and charts come from.
const fleetModule = "github.com/rancher/fleet"

// Root returns the folder of this project's go.mod, found by walking up from
// the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository root: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && isOurs(string(content)) {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("finding the repository root: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errNoRoot
		}
		dir = parent
	}
}

// isOurs reports whether a go.mod is the one of this project's root.
func isOurs(gomod string) bool {
	for _, line := range strings.Split(gomod, "\n") {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "module" {
			return fields[1] == Module
		}
	}
	return false
}

// FleetFolder returns the folder of Fleet's own source, at the version the
// programs are built from, for the sake of its charts.
func FleetFolder(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	module := filepath.Join(root, "e2e", "lab", "tools", "fleet")
	list := []string{"list", "-m", "-f", "{{.Dir}}", fleetModule}
	dir, err := runGo(ctx, module, nil, list...)
	if err == nil && dir == "" {
		// Not downloaded yet: the programs came from the cache.
		if _, err = runGo(ctx, module, nil, "mod", "download", fleetModule); err == nil {
			dir, err = runGo(ctx, module, nil, list...)
		}
	}
	if err != nil {
		return "", fmt.Errorf("finding Fleet's source: %w", err)
	}
	return dir, nil
}
