package store

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// The document as Export writes it. encoding/json sorts maps.
type (
	document struct {
		Tenants map[string]*tenant `json:"tenants"`
	}
	tenant struct {
		Clusters map[string]*cluster `json:"clusters"`
	}
	cluster struct {
		Namespaces map[string]*namespace `json:"namespaces"`
		Global     map[string]entry      `json:"global_secrets"`
	}
	namespace struct {
		Secrets map[string]entry `json:"secrets"`
	}
	entry struct {
		Type           Type     `json:"type"`
		Value          any      `json:"value"`
		Metadata       metadata `json:"metadata"`
		SPIFFEID       string   `json:"spiffeId,omitempty"`
		NotBefore      string   `json:"notBefore,omitempty"`
		ExpirationDate string   `json:"expirationDate,omitempty"`
	}
	metadata struct {
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
		Created     string            `json:"creationTimestamp,omitempty"`
		Updated     string            `json:"lastUpdated,omitempty"`
	}
)

// Export writes a part of a tree, with all values. Parse reads it back, and equal trees give equal bytes. The error is
// *Problems, for entries that cannot be.
func Export(tree Tree, scope Scope) ([]byte, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	doc := document{Tenants: map[string]*tenant{}}
	for _, p := range slices.SortedFunc(maps.Keys(tree), Place.Compare) {
		if !scope.Has(p) {
			continue
		}
		e := tree[p]
		if err := e.Check(p); err != nil {
			return nil, err
		}
		doc.add(p, e.document())
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	// What Check has accepted can be encoded.
	_ = encoder.Encode(doc)
	return out.Bytes(), nil
}

func (d document) add(p Place, e entry) {
	t := d.Tenants[p.Tenant]
	if t == nil {
		t = &tenant{Clusters: map[string]*cluster{}}
		d.Tenants[p.Tenant] = t
	}
	c := t.Clusters[p.Cluster]
	if c == nil {
		c = &cluster{Namespaces: map[string]*namespace{}, Global: map[string]entry{}}
		t.Clusters[p.Cluster] = c
	}
	if p.Global() {
		c.Global[p.Name] = e
		return
	}
	n := c.Namespaces[p.Namespace]
	if n == nil {
		n = &namespace{Secrets: map[string]entry{}}
		c.Namespaces[p.Namespace] = n
	}
	n.Secrets[p.Name] = e
}

func (e Entry) document() entry {
	return entry{
		Type:  e.Type,
		Value: e.Value.plain(),
		Metadata: metadata{
			Labels:      e.Metadata.Labels,
			Annotations: e.Metadata.Annotations,
			Created:     formatDate(e.Metadata.Created),
			Updated:     formatDate(e.Metadata.Updated),
		},
		SPIFFEID:       e.SPIFFEID,
		NotBefore:      formatDate(e.NotBefore),
		ExpirationDate: formatDate(e.ExpirationDate),
	}
}
