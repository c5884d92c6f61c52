package store

import (
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"
)

// TextKey is the key that a value without keys has where keys are needed: in a Kubernetes Secret.
const TextKey = "value"

// Value is a text, or a map of texts. It never changes, and cannot be printed: fmt shows "(value)".
type Value struct {
	text string
	// keys is nil for a text.
	keys map[string]string
}

// TextValue makes a value of one text.
func TextValue(text string) Value { return Value{text: text} }

// KeysValue makes a value of several texts. A nil map has no keys.
func KeysValue(keys map[string]string) Value {
	out := make(map[string]string, len(keys))
	maps.Copy(out, keys)
	return Value{keys: out}
}

// Text is the value when it is one text.
func (v Value) Text() (string, bool) { return v.text, v.keys == nil }

// Keys are a copy of the texts by their keys; a value of one text has it as TextKey.
func (v Value) Keys() map[string]string {
	if v.keys == nil {
		return map[string]string{TextKey: v.text}
	}
	return maps.Clone(v.keys)
}

// Data is the value as a Kubernetes Secret has it.
func (v Value) Data() map[string][]byte {
	out := map[string][]byte{}
	for key, text := range v.Keys() {
		out[key] = []byte(text)
	}
	return out
}

// Equal says whether two values are the same. A text is not the same as a map with one key.
func (v Value) Equal(o Value) bool {
	return v.text == o.text && (v.keys == nil) == (o.keys == nil) && maps.Equal(v.keys, o.keys)
}

func (v Value) empty() bool { return v.text == "" && len(v.keys) == 0 }

func (v Value) valid() bool {
	for _, text := range v.keys {
		if !utf8.ValidString(text) {
			return false
		}
	}
	return utf8.ValidString(v.text)
}

// Format keeps the value out of logs and errors.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(value)")) }

// MarshalJSON fails, so that no log and no answer has a value by accident. Export writes values.
func (Value) MarshalJSON() ([]byte, error) {
	return nil, errors.New("values are written with Export only")
}

// plain is the value for encoding/json.
func (v Value) plain() any {
	if v.keys == nil {
		return v.text
	}
	return v.keys
}
