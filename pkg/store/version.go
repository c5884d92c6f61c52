package store

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// DefaultKeep is how many former values an entry keeps unless it is told otherwise.
const DefaultKeep = 10

// maxVersion is the highest number of a version; JSON has larger ones, and many readers of it have not.
const maxVersion = 1<<53 - 1

var (
	// ErrTypeChanged says that the entry is of another type. A type says who may have the value and its former ones.
	ErrTypeChanged = errors.New("type changed")
	// ErrNoVersion says that a version is not kept.
	ErrNoVersion = errors.New("no such version")
)

// Record is an entry at its place, with its former values: what one Secret holds.
type Record struct {
	Place Place
	Entry Entry
	// Version is the number of the value, from 1, and VersionTime is when it was written.
	Version     int64
	VersionTime time.Time
	// Former are the values before, the newest first. They are never sent.
	Former []Version
}

// Version is a former value.
type Version struct {
	Number int64
	// Time is when the value was written, not when it was replaced.
	Time  time.Time
	Value Value
}

// New makes the first version of an entry. Times are kept in whole seconds. The entry keeps the time at which it says that
// it was made, so that a backup can be restored, unless that is after now. The error is *Problems.
func New(place Place, e Entry, now time.Time) (Record, error) {
	now = stamp(now)
	if err := e.Check(place); err != nil {
		return Record{}, err
	}
	if e.Metadata.Created.IsZero() || e.Metadata.Created.After(now) {
		e.Metadata.Created = now
	}
	e.Metadata.Updated = now
	return Record{Place: place, Entry: e, Version: 1, VersionTime: now}, nil
}

// Put writes an entry over the present one. changed is false when there is nothing to write. A new value makes a new
// version; labels, annotations, dates and the SPIFFE ID alone do not. At most keep former values stay, and fewer when
// they would not fit into the Secret: the oldest go first. The error is *Problems or wraps ErrTypeChanged.
func (r Record) Put(e Entry, now time.Time, keep int) (next Record, changed bool, err error) {
	if err := e.Check(r.Place); err != nil {
		return r, false, err
	}
	if e.Type != r.Entry.Type {
		return r, false, fmt.Errorf("%w: %s is of type %s and cannot become %s: delete it first, with its former values", ErrTypeChanged, r.Place, r.Entry.Type, e.Type)
	}
	if len(r.Entry.Changes(e)) == 0 {
		return r, false, nil
	}
	// The clock can have been put back.
	now = later(stamp(now), r.Entry.Metadata.Updated)
	next = r
	e.Metadata.Created, e.Metadata.Updated = r.Entry.Metadata.Created, now
	next.Entry = e
	if !e.Value.Equal(r.Entry.Value) {
		former := Version{Number: r.Version, Time: r.VersionTime, Value: r.Entry.Value}
		next.Version, next.VersionTime = r.Version+1, now
		next.Former = append([]Version{former}, r.Former...)
	}
	next.Former = next.fitting(keep)
	return next, true, nil
}

// Rollback makes a former value the newest version, with a new number. All else of the entry stays as it is. changed is
// false when that value is the newest already. The error wraps ErrNoVersion.
func (r Record) Rollback(number int64, now time.Time, keep int) (next Record, changed bool, err error) {
	if number == r.Version {
		return r, false, nil
	}
	for _, former := range r.Former {
		if former.Number == number {
			e := r.Entry
			e.Value = former.Value
			return r.Put(e, now, keep)
		}
	}
	return r, false, fmt.Errorf("%w: %s has no version %d: %s", ErrNoVersion, r.Place, number, r.versions())
}

func (r Record) versions() string {
	numbers := []string{strconv.FormatInt(r.Version, 10)}
	for _, former := range r.Former {
		numbers = append(numbers, strconv.FormatInt(former.Number, 10))
	}
	return "it has " + strings.Join(numbers, ", ")
}

// fitting are the newest former values that are to be kept and fit into the Secret.
func (r Record) fitting(keep int) []Version {
	size := sizeOf(encodeValue(r.Entry.Value))
	for i, former := range r.Former {
		key, content := former.encode()
		size += len(key) + len(content)
		if i >= keep || size > MaxSize {
			return r.Former[:i:i]
		}
	}
	return r.Former
}

// Changes are the names of the fields in which another entry differs, in the order of the document. The times at which
// the two were made and changed are no difference.
func (e Entry) Changes(o Entry) []string {
	var out []string
	note := func(field string, same bool) {
		if !same {
			out = append(out, field)
		}
	}
	note(typeField, e.Type == o.Type)
	note(valueField, e.Value.Equal(o.Value))
	note(metadataField, maps.Equal(e.Metadata.Labels, o.Metadata.Labels) && maps.Equal(e.Metadata.Annotations, o.Metadata.Annotations))
	note(spiffeIDField, e.SPIFFEID == o.SPIFFEID)
	note(notBeforeField, e.NotBefore.Equal(o.NotBefore))
	note(expirationField, e.ExpirationDate.Equal(o.ExpirationDate))
	return out
}

// stamp is a time as it is kept: not before 1970, where dates begin.
func stamp(now time.Time) time.Time {
	return later(now.UTC().Truncate(time.Second), time.Unix(0, 0).UTC())
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// storedVersion is a former value as the Secret has it.
type storedVersion struct {
	Number int64  `json:"number"`
	Time   string `json:"time"`
	Value  any    `json:"value"`
}

func (v Version) encode() (key string, content []byte) {
	return formerPrefix + strconv.FormatInt(v.Number, 10), marshal(storedVersion{v.Number, formatDate(v.Time), v.Value.plain()})
}
