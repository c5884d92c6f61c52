package vaultkv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The keys of the two formats that have one.
const (
	JSONKey = "secrets.json"
	YAMLKey = "secrets.yaml"
)

// Rendered is the data of a Secret.
type Rendered struct {
	Data map[string][]byte
	// Origins says for each key of Data where it came from. A key that has the whole tree has none.
	Origins map[string]Origin
	// Invalid are the keys that a Secret cannot have, in order. They were left out.
	Invalid []string
}

// Env gives each value a key of its own: the names on the way to it, with a separator between them. Lists count from 0.
// The error names a key that two values would have.
func (t *Tree) Env(separator string) (Rendered, error) {
	r := Rendered{Data: map[string][]byte{}, Origins: map[string]Origin{}}
	var errs []error
	t.root.flatten("", "", separator, func(key string, value any, origin Origin) {
		if !t.isKey(key) {
			if !slices.Contains(r.Invalid, key) {
				r.Invalid = append(r.Invalid, key)
			}
			return
		}
		if old, taken := r.Origins[key]; taken {
			if t.mode == Exact {
				errs = append(errs, fmt.Errorf("two values get the key %q, from %s and from %s: use another separator, or give one of the paths a prefix", key, old.Path, origin.Path))
			}
			return
		}
		r.Data[key], r.Origins[key] = []byte(t.text(value)), origin
	})
	slices.Sort(r.Invalid)
	return r, errors.Join(errs...)
}

// flatten calls f for each value: those of a level before those below it, in the order of the names.
func (n *node) flatten(key, before, separator string, f func(key string, value any, origin Origin)) {
	if n.children == nil {
		flattenValue(key, n.value, separator, n.origin, f)
		return
	}
	names := slices.Sorted(maps.Keys(n.children))
	// Flat keys first: in Kiwi the first one stays.
	slices.SortStableFunc(names, func(a, b string) int { return n.children[a].depth() - n.children[b].depth() })
	for _, name := range names {
		n.children[name].flatten(before+name, before+name+separator, separator, f)
	}
}

// depth is 0 for a single value.
func (n *node) depth() int {
	if n.children != nil {
		return 1
	}
	switch n.value.(type) {
	case map[string]any, []any:
		return 1
	}
	return 0
}

func flattenValue(key string, value any, separator string, origin Origin, f func(string, any, Origin)) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			flattenValue(key+separator+name, value[name], separator, origin, f)
		}
	case []any:
		for i, item := range value {
			flattenValue(key+separator+strconv.Itoa(i), item, separator, origin, f)
		}
	default:
		f(key, value, origin)
	}
}

// isKey says whether a Secret can have the key.
func (t *Tree) isKey(key string) bool {
	if t.mode == Exact {
		return len(validation.IsConfigMapKey(key)) == 0
	}
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	})
}

// text is a value as an environment variable has it.
func (t *Tree) text(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		if t.mode == Exact {
			return value.String()
		}
		number, err := value.Float64()
		if err != nil {
			return value.String()
		}
		return fmt.Sprint(number)
	case nil:
		if t.mode == Exact {
			return "null"
		}
		return "<nil>"
	}
	return fmt.Sprint(value) // bool
}

// JSON gives one key with all data, in the way of encoding/json with two spaces.
func (t *Tree) JSON() (Rendered, error) {
	content, err := json.MarshalIndent(t.root.plain(), "", "  ")
	if err != nil {
		return Rendered{}, fmt.Errorf("writing JSON: %w", err)
	}
	return Rendered{Data: map[string][]byte{JSONKey: content}}, nil
}

// YAML gives one key with all data.
func (t *Tree) YAML() (Rendered, error) {
	plain := t.root.plain()
	if t.mode == Exact {
		plain = numbers(plain)
	}
	var content bytes.Buffer
	encoder := yaml.NewEncoder(&content)
	if t.mode == Exact {
		encoder.SetIndent(2)
	}
	if err := encoder.Encode(plain); err != nil {
		return Rendered{}, fmt.Errorf("writing YAML: %w", err)
	}
	return Rendered{Data: map[string][]byte{YAMLKey: content.Bytes()}}, nil
}

// numbers replaces json.Number, which YAML takes for a text, by a number with the same digits.
func numbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, item := range value {
			out[key] = numbers(item)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, item := range value {
			out[i] = numbers(item)
		}
		return out
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: value.String()}
	}
	return value
}
