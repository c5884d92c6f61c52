package store

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxTags bounds the entity tags of one precondition.
const maxTags = 32

var (
	// ErrBadETag says that a precondition cannot be read: answer 400.
	ErrBadETag = errors.New("no entity tag")
	// ErrPrecondition says that a precondition does not hold: answer 412.
	ErrPrecondition = errors.New("precondition failed")
)

// ETag is the entity tag of a Secret, with its quotes; empty when the API server has not written the Secret. It is
// another one whenever the Secret was changed. It is a hash of UID and resource version: the latter alone tells how much
// others write on this hub, and the former is random, so that nobody can try versions.
func ETag(secret metav1.Object) string {
	if secret.GetUID() == "" || secret.GetResourceVersion() == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(string(secret.GetUID()) + "/" + secret.GetResourceVersion()))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// tags are the entity tags of an If-Match or If-None-Match.
type tags struct {
	// any is "*".
	any bool
	// list has the others, with quotes, and W/ before weak ones.
	list []string
}

// parseTags reads all lines of If-Match or If-None-Match (RFC 9110, 8.8.3 and 13.1); there is at least one.
func parseTags(lines []string) (*tags, error) {
	rest := strings.Trim(strings.Join(lines, ","), " \t")
	if rest == "*" {
		return &tags{any: true}, nil
	}
	var t tags
	for rest != "" {
		// A list can have empty elements.
		if rest = strings.TrimLeft(rest, " \t,"); rest == "" {
			break
		}
		opaque, weak := strings.CutPrefix(rest, "W/")
		end := -1
		if strings.HasPrefix(opaque, `"`) {
			end = strings.IndexByte(opaque[1:], '"') + 1
		}
		if end < 1 || strings.ContainsFunc(opaque[1:end], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return nil, fmt.Errorf(`%w: write *, or one or more tags in quotes with commas between, such as "abc"`, ErrBadETag)
		}
		tag := opaque[:end+1]
		if weak {
			tag = "W/" + tag
		}
		if t.list = append(t.list, tag); len(t.list) > maxTags {
			return nil, fmt.Errorf("%w: write at most %d", ErrBadETag, maxTags)
		}
		rest = strings.TrimLeft(opaque[end+1:], " \t")
		if rest != "" && rest[0] != ',' {
			return nil, fmt.Errorf("%w: a comma is missing after one", ErrBadETag)
		}
	}
	if len(t.list) == 0 {
		return nil, fmt.Errorf("%w: the header is empty: leave it out, or write * or a tag", ErrBadETag)
	}
	return &t, nil
}

// Precondition is what a request asks for. The zero one asks for nothing.
type Precondition struct {
	ifMatch, ifNoneMatch *tags
}

// ParsePrecondition reads all lines of the headers If-Match and If-None-Match. The error wraps ErrBadETag.
func ParsePrecondition(ifMatch, ifNoneMatch []string) (p Precondition, err error) {
	if len(ifMatch) > 0 {
		if p.ifMatch, err = parseTags(ifMatch); err != nil {
			return Precondition{}, fmt.Errorf("header If-Match: %w", err)
		}
	}
	if len(ifNoneMatch) > 0 {
		if p.ifNoneMatch, err = parseTags(ifNoneMatch); err != nil {
			return Precondition{}, fmt.Errorf("header If-None-Match: %w", err)
		}
	}
	return p, nil
}

// Check says whether a write may go on over the Secret with this entity tag; empty for none. If-Match compares strongly, so
// that a weak tag never matches, and If-None-Match weakly (RFC 9110, 13.1). The error wraps ErrPrecondition.
func (p Precondition) Check(current string) error {
	switch {
	case p.ifMatch != nil && current == "":
		return fmt.Errorf("%w: there is no entry, and If-Match asks for one: leave If-Match out to make it", ErrPrecondition)
	case p.ifMatch != nil && !p.ifMatch.any && !slices.Contains(p.ifMatch.list, current):
		return fmt.Errorf("%w: the entry was changed since it was read: read it again, and write with the new ETag", ErrPrecondition)
	case p.ifNoneMatch != nil && current != "" && (p.ifNoneMatch.any || slices.ContainsFunc(p.ifNoneMatch.list, func(tag string) bool { return strings.TrimPrefix(tag, "W/") == current })):
		return fmt.Errorf("%w: there is such an entry already: write with If-Match and its ETag to change it", ErrPrecondition)
	}
	return nil
}
