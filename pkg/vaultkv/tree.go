// Package vaultkv merges secrets of Vault's KV engines into the data of one Secret.
//
// The rules are those of kiwicom/k8s-vault-operator, so that its manifests give the same keys. Where it loses or changes
// data, Exact does not; Kiwi does what it does.
package vaultkv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mode says which rules hold.
type Mode int

const (
	// Exact keeps numbers as they are in Vault, and refuses what is ambiguous.
	Exact Mode = iota
	// Kiwi does what k8s-vault-operator does: numbers go through float64, and an ambiguous key is taken from the flat one.
	Kiwi
)

// Leaf is one secret as Vault has it.
type Leaf struct {
	// Path is the whole path, without data/.
	Path string
	// Version is the one of KV version 2; 0 without.
	Version int64
	// Data has strings, json.Number, bool, nil, maps and lists. It is nil when there is nothing at Path.
	Data map[string]any
}

// Origin says where a key came from.
type Origin struct {
	Path    string
	Version int64
}

// Tree is the merged data.
type Tree struct {
	mode Mode
	root *node
}

// node has children, or a value that one secret gave it.
type node struct {
	children map[string]*node
	value    any
	origin   Origin
}

// New makes an empty Tree.
func New(mode Mode) *Tree {
	return &Tree{mode: mode, root: &node{children: map[string]*node{}}}
}

// Add merges the leaves of a path. The leaves are taken in the order of their paths. The error names the key and both
// secrets that have it, never a value.
func (t *Tree) Add(p Path, leaves ...Leaf) error {
	read, err := p.Read(t.mode)
	if err != nil {
		return err
	}
	leaves = slices.SortedFunc(slices.Values(leaves), func(a, b Leaf) int { return cmp.Compare(a.Path, b.Path) })
	for _, leaf := range leaves {
		nodes, keyPrefix := p.place(t.mode, read, leaf.Path)
		if err := t.put(nodes, keyPrefix, leaf); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) put(nodes []string, keyPrefix string, leaf Leaf) error {
	origin := Origin{Path: leaf.Path, Version: leaf.Version}
	at := t.root
	for i, name := range nodes {
		next := at.children[name]
		if next == nil {
			next = &node{children: map[string]*node{}, origin: origin}
			at.children[name] = next
		}
		if next.children == nil {
			return t.taken(strings.Join(nodes[:i+1], "/"), next, origin)
		}
		at = next
	}
	for _, key := range slices.Sorted(maps.Keys(leaf.Data)) {
		name := keyPrefix + key
		if old := at.children[name]; old != nil {
			return t.taken(strings.Join(append(slices.Clone(nodes), name), "/"), old, origin)
		}
		at.children[name] = &node{value: leaf.Data[key], origin: origin}
	}
	return nil
}

func (t *Tree) taken(key string, old *node, origin Origin) error {
	if t.mode == Kiwi {
		return fmt.Errorf("override detected: key %q is already used", key[strings.LastIndex(key, "/")+1:])
	}
	if old.origin.Path == origin.Path {
		return fmt.Errorf("key %q is twice in %s: take the path out of spec.paths once, or give it another prefix", key, origin.Path)
	}
	return fmt.Errorf("key %q is in %s and in %s: give one of the paths a prefix", key, old.origin.Path, origin.Path)
}

// plain is the tree as maps, lists and values.
func (n *node) plain() any {
	if n.children == nil {
		return n.value
	}
	out := make(map[string]any, len(n.children))
	for name, child := range n.children {
		out[name] = child.plain()
	}
	return out
}
