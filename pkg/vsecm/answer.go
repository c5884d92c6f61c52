package vsecm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// rawPrefix is before the names of raw secrets in Safe.
const rawPrefix = "raw:"

// body is what Safe answers. The dates have quotes in them, and are empty in the answer with raw secrets.
type body struct {
	Data    *string `json:"data"`
	Created string  `json:"created"`
	Updated string  `json:"updated"`
	Err     string  `json:"err"`
}

// element is one of a list of raw secrets.
type element struct {
	Name             *string `json:"name"`
	Value            string  `json:"value"`
	ValueTransformed string  `json:"valueTransformed"`
	Created          string  `json:"created"`
	Updated          string  `json:"updated"`
	NotBefore        string  `json:"notBefore"`
	ExpiresAfter     string  `json:"expiresAfter"`
}

// What is wrong with an answer. None has words of the library, which have bytes of the answer.
var (
	errNoJSON  = errors.New("the answer is no whole JSON object: is this Safe?")
	errShape   = errors.New("the answer is JSON, but not that of Safe: see whether the operator knows this version of VMware Secrets Manager")
	errFailed  = errors.New("Safe says that it has failed: see its log") //nolint:staticcheck // a name
	errNoData  = errors.New("the answer has no data: see the log of Safe")
	errSimilar = errors.New("the answer looks like a list of raw secrets and is none: when there is a single raw secret with such a value, keep a second one in Safe, such as raw:marker")
)

func parseBody(content []byte) (body, error) {
	var b body
	if !json.Valid(content) {
		return b, errNoJSON
	}
	switch err := json.Unmarshal(content, &b); {
	case err != nil:
		return body{}, errShape
	case b.Err != "":
		return body{}, errFailed
	case b.Data == nil:
		return body{}, errShape
	case *b.Data == "":
		return body{}, errNoData
	}
	return b, nil
}

// parseRaw reads data in the answer for all raw secrets. It is a list of two or more, or the value of a single one without
// its name. What only looks like a list is refused: taken for a value, it could give one the secrets of all.
func parseRaw(data string) (secrets map[string]stored, alone *string, err error) {
	elements, isList, err := elementsOf(data)
	switch {
	case err != nil:
		return nil, nil, err
	case !isList:
		return nil, &data, nil
	}
	secrets = make(map[string]stored, len(elements))
	for _, e := range elements {
		name := strings.TrimPrefix(*e.Name, rawPrefix)
		s := e.stored(name)
		if _, twice := secrets[name]; twice {
			s = stored{problem: "is there twice"}
		}
		secrets[name] = s
	}
	return secrets, nil, nil
}

// elementsOf says whether data is a list of raw secrets. The error is errSimilar.
func elementsOf(data string) ([]element, bool, error) {
	if !strings.HasPrefix(strings.TrimSpace(data), "[") {
		return nil, false, nil
	}
	if !json.Valid([]byte(data)) {
		if strings.Contains(data, `"valueTransformed"`) {
			return nil, false, errSimilar
		}
		return nil, false, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(data), &parts); err != nil {
		return nil, false, errSimilar
	}
	similar := false
	for _, part := range parts {
		similar = similar || isSimilar(part)
	}
	if !similar {
		return nil, false, nil
	}
	elements := make([]element, len(parts))
	for i, part := range parts {
		e := &elements[i]
		if err := json.Unmarshal(part, e); err != nil || e.Name == nil || !strings.HasPrefix(*e.Name, rawPrefix) || *e.Name == rawPrefix {
			return nil, false, errSimilar
		}
	}
	if len(elements) < 2 {
		return nil, false, errSimilar
	}
	return elements, true, nil
}

// isSimilar says whether a part of a list could be a raw secret.
func isSimilar(part json.RawMessage) bool {
	var object map[string]json.RawMessage
	if json.Unmarshal(part, &object) != nil {
		return false
	}
	named, more := false, false
	for key, value := range object {
		switch strings.ToLower(key) {
		case "name":
			named = true
			more = more || strings.HasPrefix(string(value), `"`+rawPrefix)
		case "valuetransformed", "meta":
			more = true
		}
	}
	return named && more
}

func (e element) stored(name string) stored {
	s := Secret{Name: name, Value: e.ValueTransformed, Created: told(e.Created), Updated: told(e.Updated), Dated: true}
	if s.Value == "" {
		s.Value = e.Value
	}
	if s.Value == "" {
		return stored{problem: "has no value"}
	}
	var err error
	if s.NotBefore, err = bound(e.NotBefore, "now"); err != nil {
		return stored{problem: "has a notBefore that is no date"}
	}
	if s.ExpiresAfter, err = bound(e.ExpiresAfter, "never"); err != nil {
		return stored{problem: "has an expiresAfter that is no date"}
	}
	return stored{secret: s}
}

// bound reads a date that has to be kept to. Nothing, Go's zero time and the word for it are no bound.
func bound(text, none string) (time.Time, error) {
	text = unquote(text)
	if text == "" || strings.EqualFold(text, none) {
		return time.Time{}, nil
	}
	date, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("no date: %w", err)
	}
	return date, nil
}

// told reads a date that is only shown.
func told(text string) time.Time {
	date, err := time.Parse(time.RFC3339, unquote(text))
	if err != nil {
		return time.Time{}
	}
	return date
}

// unquote takes away the quotes that Safe has inside of dates.
func unquote(text string) string {
	return strings.TrimSpace(strings.Trim(strings.TrimSpace(text), `"`))
}
