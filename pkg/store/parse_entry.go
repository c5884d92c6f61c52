package store

import "time"

func (p *parser) secrets(at *path, place Place) {
	p.object(at, says("write an object with the entries by their names"), func(name string, at *path) {
		// A part that is one namespace has a cluster without global entries.
		if p.inside(at, place.Namespace, p.scope.Namespace) {
			place.Name = name
			p.entry(at, place)
		}
	})
}

// entry reads one entry. A field that could not be read is not checked any further.
func (p *parser) entry(at *path, place Place) {
	var e Entry
	unread := map[string]bool{}
	read := func(field string, ok bool) { unread[field] = !ok }
	if p.next() != '{' {
		p.wrong(at, "write an object with type and value")
		return
	}
	p.fixed(at, nil,
		field{typeField, func(at *path) {
			text, ok := p.text(at, "write workload, kubernetes or raw")
			e.Type = Type(text)
			read(typeField, ok)
		}},
		field{valueField, func(at *path) {
			var ok bool
			e.Value, ok = p.value(at)
			read(valueField, ok)
		}},
		field{metadataField, func(at *path) { e.Metadata = p.metadata(at) }},
		field{spiffeIDField, func(at *path) {
			text, ok := p.text(at, "write a SPIFFE ID, or leave it out")
			if ok && text == "" {
				p.problems.add(at, "is empty", "write a SPIFFE ID, or leave it out")
				ok = false
			}
			e.SPIFFEID = text
			read(spiffeIDField, ok)
		}},
		field{notBeforeField, func(at *path) { e.NotBefore = p.date(at) }},
		field{expirationField, func(at *path) { e.ExpirationDate = p.date(at) }},
	)
	e.check(place, func(reason, instead string, fields ...string) {
		if len(fields) > 0 && unread[fields[0]] {
			return
		}
		at := at
		for _, field := range fields {
			at = at.at(field)
		}
		p.problems.add(at, reason, instead)
	})
	p.tree[place] = e
}

// text reads a string; what is none is reported.
func (p *parser) text(at *path, instead string) (string, bool) {
	if p.next() != '"' {
		p.wrong(at, instead)
		return "", false
	}
	text, ok := p.cursor.text()
	if !ok {
		p.problems.add(at, "has half of a surrogate pair, which is no character", "write the other half of it too, or neither")
	}
	return text, ok
}

func (p *parser) value(at *path) (Value, bool) {
	const instead = "write a string, or an object of strings; a number goes in quotes"
	if p.next() == '"' {
		text, ok := p.text(at, instead)
		return TextValue(text), ok
	}
	keys, ok := p.texts(at, instead)
	return Value{keys: keys}, ok
}

// texts reads an object of strings. ok is false when something was reported.
func (p *parser) texts(at *path, instead string) (texts map[string]string, ok bool) {
	texts = map[string]string{}
	before := p.problems.count()
	p.object(at, says(instead), func(name string, at *path) {
		if text, ok := p.text(at, "write a string; a number goes in quotes"); ok {
			texts[name] = text
		}
	})
	return texts, before == len(p.problems.List)+p.problems.More
}

func (p *parser) metadata(at *path) Metadata {
	var m Metadata
	texts := func(into *map[string]string) func(*path) {
		return func(at *path) {
			if texts, _ := p.texts(at, "write an object of strings"); len(texts) > 0 {
				*into = texts
			}
		}
	}
	p.fixed(at, nil,
		field{labelsField, texts(&m.Labels)},
		field{annotationsField, texts(&m.Annotations)},
		field{createdField, func(at *path) { m.Created = p.date(at) }},
		field{updatedField, func(at *path) { m.Updated = p.date(at) }},
	)
	return m
}

func (p *parser) date(at *path) time.Time {
	text, ok := p.text(at, insteadDate)
	if !ok {
		return time.Time{}
	}
	date, ok := parseDate(text)
	if !ok {
		p.problems.add(at, "is no date", insteadDate)
	}
	return date
}
