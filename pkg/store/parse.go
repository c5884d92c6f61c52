package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxDocument is the largest document that Parse takes, in bytes.
const MaxDocument = 32 << 20

// The fields of the document.
const (
	tenantsField     = "tenants"
	clustersField    = "clusters"
	namespacesField  = "namespaces"
	secretsField     = "secrets"
	globalField      = "global_secrets"
	typeField        = "type"
	valueField       = "value"
	metadataField    = "metadata"
	spiffeIDField    = "spiffeId"
	notBeforeField   = "notBefore"
	expirationField  = "expirationDate"
	labelsField      = "labels"
	annotationsField = "annotations"
	createdField     = "creationTimestamp"
	updatedField     = "lastUpdated"
)

type parser struct {
	cursor
	scope    Scope
	tree     Tree
	problems Problems
}

// Parse reads a document, which may hold nothing outside of scope. The error is *Problems, and has everything that is
// wrong; then there is no Tree.
func Parse(document []byte, scope Scope) (Tree, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	p := parser{cursor: cursor{data: document}, scope: scope, tree: Tree{}}
	if p.isJSON() {
		p.fixed(nil, []string{tenantsField}, field{tenantsField, p.tenants})
	}
	if err := p.problems.err(); err != nil {
		return nil, err
	}
	return p.tree, nil
}

// isJSON reports the line of what is no JSON. The words of the library would have bytes of the document.
func (p *parser) isJSON() bool {
	switch {
	case len(p.data) > MaxDocument:
		p.problems.add(nil, fmt.Sprintf("has %d MiB", (len(p.data)+1<<20-1)>>20), fmt.Sprintf("split it into documents of at most %d MiB, for example one for each cluster", MaxDocument>>20))
		return false
	case !utf8.Valid(p.data):
		valid := 0
		for r, size := utf8.DecodeRune(p.data); r != utf8.RuneError || size > 1; r, size = utf8.DecodeRune(p.data[valid:]) {
			valid += size
		}
		p.problems.add(nil, "is no UTF-8 text "+position(p.data, valid), "save it as UTF-8, and encode bytes, for example as base64")
		return false
	case json.Valid(p.data):
		return true
	}
	var syntax *json.SyntaxError
	at := 0
	if errors.As(json.Unmarshal(p.data, &json.RawMessage{}), &syntax) {
		at = int(syntax.Offset) - 1
	}
	p.problems.add(nil, "is no JSON "+position(p.data, at), "look for a quote, comma or bracket that is missing or too much there or before")
	return false
}

// position says where a byte is. Columns count bytes, from 1.
func position(data []byte, at int) string {
	at = max(0, min(at, len(data)))
	before := data[:at]
	return fmt.Sprintf("at line %d, column %d", bytes.Count(before, []byte("\n"))+1, at-bytes.LastIndexByte(before, '\n'))
}

// object goes through the fields of an object; field goes past the value of each. What is no object is reported.
func (p *parser) object(at *path, instead func() string, field func(name string, at *path)) {
	if p.next() != '{' {
		p.wrong(at, instead())
		return
	}
	seen := map[string]bool{}
	p.fields(func(name string, named bool) {
		switch {
		case !named:
			p.problems.add(at, "has a name with half of a surrogate pair, which is no character", "write the other half of it too, or neither")
			p.skip()
		case seen[name]:
			p.problems.add(at.at(name), "is there twice", "leave one of the two out")
			p.skip()
		default:
			seen[name] = true
			field(name, at.at(name))
		}
	})
}

func says(instead string) func() string { return func() string { return instead } }

// wrong reports a value of another kind, and goes past it.
func (p *parser) wrong(at *path, instead string) {
	p.problems.add(at, "is "+p.kind(), instead)
	p.skip()
}

// field is one that an object may have; read goes past its value.
type field struct {
	name string
	read func(at *path)
}

// fixed reads an object that has these fields and no others.
func (p *parser) fixed(at *path, required []string, known ...field) {
	before := p.problems.count()
	fields := func() string {
		names := make([]string, 0, len(known))
		for _, f := range known {
			names = append(names, f.name)
		}
		return "the fields here are " + strings.Join(names, ", ")
	}
	missing := slices.Clone(required)
	p.object(at, func() string { return "write an object; " + fields() }, func(name string, at *path) {
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		if i < 0 {
			p.problems.add(at, "is no field that is known", fields())
			p.skip()
			return
		}
		known[i].read(at)
	})
	// When there are other problems, one of them can be that the field has another name.
	if len(missing) > 0 && before == p.problems.count() {
		p.problems.add(at, "has no "+missing[0], "write it, as {} when there is nothing in it")
	}
}

func (p *parser) tenants(at *path) {
	p.object(at, says("write an object with the tenants by their names"), func(tenant string, at *path) {
		if !p.named(at, isLabel(tenant), reasonTenant, insteadLabel) || !p.inside(at, tenant, p.scope.Tenant) {
			return
		}
		p.fixed(at, []string{clustersField}, field{clustersField, func(at *path) { p.clusters(at, tenant) }})
	})
}

func (p *parser) clusters(at *path, tenant string) {
	p.object(at, says("write an object with the clusters by their names"), func(cluster string, at *path) {
		if !p.named(at, isSubdomain(cluster), reasonCluster, insteadSubdomain) || !p.inside(at, cluster, p.scope.Cluster) {
			return
		}
		place := Place{Tenant: tenant, Cluster: cluster}
		p.fixed(at, nil, field{namespacesField, func(at *path) { p.namespaces(at, place) }}, field{globalField, func(at *path) { p.secrets(at, place) }})
	})
}

func (p *parser) namespaces(at *path, place Place) {
	p.object(at, says("write an object with the namespaces by their names"), func(namespace string, at *path) {
		if !p.named(at, isLabel(namespace), reasonNamespace, insteadLabel) || !p.inside(at, namespace, p.scope.Namespace) {
			return
		}
		place.Namespace = namespace
		p.fixed(at, []string{secretsField}, field{secretsField, func(at *path) { p.secrets(at, place) }})
	})
}

// named reports a bad name, and goes past what is below it.
func (p *parser) named(at *path, ok bool, reason, instead string) bool {
	if !ok {
		p.problems.add(at, reason, instead)
		p.skip()
	}
	return ok
}

// inside reports what is not in the part that may be there, and goes past it.
func (p *parser) inside(at *path, name, only string) bool {
	if only == "" || name == only {
		return true
	}
	p.problems.add(at, "is outside of the part of the tree that this is about", "leave it out: only "+shown(only)+" may be here")
	p.skip()
	return false
}
