package store

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxProblems is how many problems are told; more are counted.
const MaxProblems = 100

// maxShown is the longest name in a path, in bytes.
const maxShown = 63

// Problem is what is wrong at one point of the tree. It has names, and never a part of a value.
type Problem struct {
	// Path is the point in the tree, such as tenants/acme/clusters/paris/global_secrets/ca/type.
	Path string `json:"path"`
	// Reason says what is wrong, and Instead what to write.
	Reason  string `json:"reason"`
	Instead string `json:"instead"`
}

func (p Problem) String() string { return fmt.Sprintf("%s %s: %s", p.Path, p.Reason, p.Instead) }

// Problems are an error with all that is wrong.
type Problems struct {
	// List has the first MaxProblems, in the order of the document.
	List []Problem `json:"problems"`
	// More is how many others there are.
	More int `json:"more,omitempty"`
}

func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List)+1)
	for _, problem := range p.List {
		lines = append(lines, problem.String())
	}
	if p.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", p.More))
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) add(at *path, reason, instead string) {
	if len(p.List) >= MaxProblems {
		p.More++
		return
	}
	p.List = append(p.List, Problem{Path: at.String(), Reason: reason, Instead: instead})
}

func (p *Problems) count() int { return len(p.List) + p.More }

// err is nil without problems.
func (p *Problems) err() error {
	if len(p.List) == 0 {
		return nil
	}
	return p
}

// path is a point of the tree. nil is its root.
type path struct {
	up   *path
	name string
}

func (p *path) at(name string) *path { return &path{up: p, name: name} }

func (p *path) String() string {
	if p == nil {
		return "the document"
	}
	var names []string
	for ; p != nil; p = p.up {
		names = append([]string{shown(p.name)}, names...)
	}
	return strings.Join(names, "/")
}

// shown is a name in an error: as it is when it can be taken for nothing else, otherwise in quotes and ASCII, and cut.
func shown(name string) string {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/"\%`, r) }
	if name != "" && len(name) <= maxShown && !strings.ContainsFunc(name, odd) {
		return name
	}
	if len(name) > maxShown {
		return strconv.QuoteToASCII(strings.ToValidUTF8(name[:maxShown], "")) + "..."
	}
	return strconv.QuoteToASCII(name)
}
