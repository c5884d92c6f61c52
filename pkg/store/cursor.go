package store

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// cursor goes through JSON that json.Valid has accepted.
//
// encoding/json would lose what has to be told: it takes the last of two equal keys, matches fields in any case, and makes
// half of a surrogate pair a replacement character, which changes the secret in silence.
type cursor struct {
	data []byte
	at   int
}

// next goes to the next byte that is no white space.
func (c *cursor) next() byte {
	for {
		switch b := c.data[c.at]; b {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return b
		}
	}
}

// kind says what the next value is.
func (c *cursor) kind() string {
	switch c.next() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// skip goes past one value.
func (c *cursor) skip() {
	switch c.next() {
	case '"':
		c.literal()
	case '{', '[':
		c.skipNested()
	default:
		for c.at < len(c.data) && !bytes.ContainsRune([]byte(" \t\r\n,]}"), rune(c.data[c.at])) {
			c.at++
		}
	}
}

func (c *cursor) skipNested() {
	for depth := 0; ; {
		switch c.data[c.at] {
		case '"':
			c.literal()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		c.at++
		if depth == 0 {
			return
		}
	}
}

// literal goes past a string and gives what is between its quotes.
func (c *cursor) literal() []byte {
	start := c.at + 1
	for c.at = start; c.data[c.at] != '"'; c.at++ {
		if c.data[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
	return c.data[start : c.at-1]
}

// text reads a string. It is false when the string has half of a surrogate pair, which is no character.
func (c *cursor) text() (string, bool) {
	c.next()
	start := c.at
	inside := c.literal()
	if !bytes.ContainsRune(inside, '\\') {
		return string(inside), true
	}
	var text string
	if json.Unmarshal(c.data[start:c.at], &text) != nil || strings.ContainsRune(text, utf8.RuneError) && halved(inside) {
		return "", false
	}
	return text, true
}

// halved says whether there is half of a surrogate pair among the escapes.
func halved(inside []byte) bool {
	for i := 0; i < len(inside); i++ {
		if inside[i] != '\\' {
			continue
		}
		i++
		if inside[i] != 'u' {
			continue
		}
		first := escaped(inside[i-1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if utf16.DecodeRune(first, escaped(inside[i+1:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escaped is what \uXXXX at the start of text stands for; 0 when there is none.
func escaped(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(unit)
}

// fields calls f for each field of an object. f goes past the value. named is false when the name is no text.
func (c *cursor) fields(f func(name string, named bool)) {
	c.next()
	c.at++
	for c.next() != '}' {
		if c.data[c.at] == ',' {
			c.at++
		}
		name, named := c.text()
		c.next()
		c.at++
		f(name, named)
	}
	c.at++
}
