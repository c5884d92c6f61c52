package vaultkv

import (
	"errors"
	"fmt"
	"strings"
)

// Path is one entry of spec.paths: a path of a KV mount without data/, and what is put before its keys.
type Path struct {
	// Path ends with /* when everything below it is meant.
	Path   string
	Prefix string
}

// Read is what has to be asked of Vault for a Path.
type Read struct {
	// Base is the secret to read, or with Recursive the folder to list, with a slash at its end.
	Base      string
	Recursive bool
}

// Read says what has to be asked of Vault. The error says what to write instead.
func (p Path) Read(mode Mode) (Read, error) {
	base := p.Path
	if mode == Kiwi {
		// One slash goes, and no more.
		base = strings.TrimPrefix(base, "/")
	} else {
		base = strings.TrimLeft(base, "/")
	}
	if base == "" {
		return Read{}, errors.New("path is empty: write mount and path, for example secret/team/app")
	}
	folder, recursive := strings.CutSuffix(base, "*")
	if !recursive {
		return Read{Base: base}, nil
	}
	if mode == Exact && !strings.HasSuffix(folder, "/") {
		return Read{}, fmt.Errorf("path %q has a * that is not a whole name: write %s/* for everything below it", p.Path, folder)
	}
	if strings.Contains(folder, "*") {
		return Read{}, fmt.Errorf("path %q has a * in the middle: only /* at the end is possible", p.Path)
	}
	return Read{Base: folder, Recursive: true}, nil
}

// place is where the data of a leaf goes: the names of the nodes, and what is put before each key.
func (p Path) place(mode Mode, read Read, leaf string) (nodes []string, keyPrefix string) {
	relative := strings.TrimPrefix(leaf, read.Base)
	if mode == Kiwi {
		// It takes the base away wherever it occurs.
		relative = strings.ReplaceAll(leaf, read.Base, "")
	}
	full := p.Prefix + relative
	if full == "" {
		return nil, ""
	}
	nodes = strings.Split(full, "/")
	if relative == "" {
		// A single secret: what comes after the last slash of the prefix is glued to the key.
		last := len(nodes) - 1
		nodes, keyPrefix = nodes[:last], nodes[last]
	}
	return nodes, keyPrefix
}
