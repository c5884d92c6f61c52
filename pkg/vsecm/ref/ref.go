// Package ref takes single values out of the secrets of VMware Secrets Manager.
//
// A ref is what a VSecMSecret has in its field ref, such as databaseCredentials.cocaCola.data.username: the name of a
// secret, and the way to a value in its JSON, with dots between. A backslash before a dot makes it part of a name, and so
// does one before a backslash: tls\.crt is one name.
package ref

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxNames and maxName bound the names that an error shows.
const (
	maxNames = 10
	maxName  = 63
)

// Ref is one value of one secret.
type Ref struct {
	// Name is that of the secret, without raw:.
	Name string
	// Path has the names on the way to the value; without any, it is the whole secret.
	Path []string

	text string
}

// String is the ref as it was written.
func (r Ref) String() string { return r.text }

// Child is the ref of a value in the object that this one leads to.
func (r Ref) Child(name string) string {
	return r.text + "." + strings.NewReplacer(`\`, `\\`, ".", `\.`).Replace(name)
}

// Parse reads a ref. The error says what to write instead.
func Parse(text string) (Ref, error) {
	parts := []string{""}
	for rest := text; rest != ""; {
		last := &parts[len(parts)-1]
		switch {
		case strings.HasPrefix(rest, `\.`), strings.HasPrefix(rest, `\\`):
			*last += rest[1:2]
			rest = rest[2:]
		case rest[0] == '\\':
			return Ref{}, fmt.Errorf(`ref %q has a backslash that is not before a dot or another backslash: write \\ for a backslash`, text)
		case rest[0] == '.':
			parts = append(parts, "")
			rest = rest[1:]
		default:
			*last += rest[:1]
			rest = rest[1:]
		}
	}
	if slices.Contains(parts, "") {
		return Ref{}, fmt.Errorf("ref %q has an empty name: write the name of the secret, and the names on the way to the value, with one dot between", text)
	}
	return Ref{Name: parts[0], Path: parts[1:], text: text}, nil
}

// Error is a ref that leads to no value. It names what is there instead, and never a value.
type Error struct {
	Ref string
	// Missing says that there is nothing at the end of the way. Without it, the way itself is not possible.
	Missing bool
	Reason  string
}

func (e *Error) Error() string { return fmt.Sprintf("ref %s: %s", e.Ref, e.Reason) }

// Value takes the value out of that of the secret. A text is given without quotes, a number with the digits that it has
// in the secret, an object or a list as compact JSON, and the whole secret as it is. The error is an *Error.
func (r Ref) Value(secret string) (string, error) {
	if len(r.Path) == 0 {
		return secret, nil
	}
	value, err := r.find(secret)
	if err != nil {
		return "", err
	}
	return text(value), nil
}

// All takes each value of the object that the ref leads to, as Value does with single ones. The error is an *Error.
func (r Ref) All(secret string) (map[string]string, error) {
	value, err := r.find(secret)
	if err != nil {
		return nil, err
	}
	object, err := objectOf(value)
	if err != nil {
		return nil, &Error{Ref: r.text, Reason: r.notAnObject(len(r.Path), value)}
	}
	out := make(map[string]string, len(object))
	for name, value := range object {
		out[name] = text(value)
	}
	return out, nil
}

// find goes the way.
func (r Ref) find(secret string) (json.RawMessage, error) {
	at := json.RawMessage(secret)
	for i, name := range r.Path {
		object, err := objectOf(at)
		if err != nil {
			return nil, &Error{Ref: r.text, Reason: r.notAnObject(i, at)}
		}
		next, ok := object[name]
		if !ok {
			return nil, &Error{Ref: r.text, Missing: true, Reason: fmt.Sprintf("%s has no %s: it %s", r.place(i), short(name), names(object))}
		}
		at = next
	}
	return at, nil
}

// errNoObject has no words of the library: they would have bytes of the value.
var errNoObject = errors.New("no JSON object")

// objectOf decodes one object, and nothing after it.
func objectOf(value json.RawMessage) (map[string]json.RawMessage, error) {
	var object map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(value))
	if err := decoder.Decode(&object); err != nil || object == nil {
		return nil, errNoObject
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	return object, nil
}

// place says where the way has led to after so many names.
func (r Ref) place(after int) string {
	if after == 0 {
		return "secret " + short(r.Name)
	}
	return strings.Join(append([]string{short(r.Name)}, mapped(r.Path[:after], short)...), ".")
}

// notAnObject says why the way ends there.
func (r Ref) notAnObject(after int, value json.RawMessage) string {
	if after == 0 && !json.Valid(value) {
		return fmt.Sprintf("the value of secret %s is no JSON: only its name alone can be a ref", short(r.Name))
	}
	return fmt.Sprintf("%s is %s, and a ref leads through objects only", r.place(after), kindOf(value))
}

func kindOf(value json.RawMessage) string {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return "empty"
	}
	switch value[0] {
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// names lists the first names of an object.
func names(object map[string]json.RawMessage) string {
	sorted := slices.Sorted(maps.Keys(object))
	if len(sorted) == 0 {
		return "is empty"
	}
	more := ""
	if len(sorted) > maxNames {
		more = fmt.Sprintf(" and %d more", len(sorted)-maxNames)
		sorted = sorted[:maxNames]
	}
	return "has " + strings.Join(mapped(sorted, short), ", ") + more
}

func mapped(in []string, f func(string) string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = f(s)
	}
	return out
}

func short(name string) string {
	if len(name) > maxName {
		return strings.ToValidUTF8(name[:maxName], "") + "…"
	}
	return name
}

// text is a JSON value as a key of a Secret has it.
func text(value json.RawMessage) string {
	var s string
	if bytes.HasPrefix(value, []byte(`"`)) && json.Unmarshal(value, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return string(value)
	}
	return compact.String()
}
