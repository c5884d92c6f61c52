package store

import (
	"fmt"
	"maps"
	"slices"
)

// Plan is what an import would do, without values. Each list is in the order of the places.
type Plan struct {
	Create    []Place  `json:"create,omitempty"`
	Update    []Update `json:"update,omitempty"`
	Delete    []Place  `json:"delete,omitempty"`
	Unchanged []Place  `json:"unchanged,omitempty"`
	// Refused says what cannot be imported. When there is any, nothing is to be imported.
	Refused Problems `json:"refused,omitzero"`
	Counts  Counts   `json:"counts"`
}

// Update is an entry that would change.
type Update struct {
	Place Place `json:"place"`
	// Fields are the names of the fields that change, in the order of the document.
	Fields []string `json:"fields"`
}

// Counts are the lengths of the lists of a Plan.
type Counts struct {
	Create    int `json:"create"`
	Update    int `json:"update"`
	Delete    int `json:"delete"`
	Unchanged int `json:"unchanged"`
	Refused   int `json:"refused"`
}

// PlanImport says what has to be done so that the present part of the tree has all that wanted has. With prune, what
// wanted does not have is deleted; what is outside of scope is never touched. The error is one of Scope.Check.
func PlanImport(present, wanted Tree, scope Scope, prune bool) (Plan, error) {
	if err := scope.Check(); err != nil {
		return Plan{}, err
	}
	var plan Plan
	for _, p := range slices.SortedFunc(maps.Keys(wanted), Place.Compare) {
		plan.add(p, present, wanted[p], scope)
	}
	for _, p := range slices.SortedFunc(maps.Keys(present), Place.Compare) {
		if _, stays := wanted[p]; prune && !stays && scope.Has(p) {
			plan.Delete = append(plan.Delete, p)
		}
	}
	plan.Counts = Counts{len(plan.Create), len(plan.Update), len(plan.Delete), len(plan.Unchanged), plan.Refused.count()}
	return plan, nil
}

func (plan *Plan) add(p Place, present Tree, wanted Entry, scope Scope) {
	if !scope.Has(p) {
		plan.Refused.add(p.path(), "is outside of the part of the tree that this is about", "leave it out")
		return
	}
	old, there := present[p]
	if !there {
		plan.Create = append(plan.Create, p)
		return
	}
	fields := old.Changes(wanted)
	switch {
	case old.Type != wanted.Type:
		plan.Refused.add(p.path().at(typeField), fmt.Sprintf("is %s in the store", old.Type), fmt.Sprintf("write %s, or delete the entry with its former values first", old.Type))
	case len(fields) == 0:
		plan.Unchanged = append(plan.Unchanged, p)
	default:
		plan.Update = append(plan.Update, Update{Place: p, Fields: fields})
	}
}
