// Package contents compares what two snapshots hold, as it was seen while they
// were dumped.
package contents

import "fmt"

// Object is one thing in a stream of a snapshot: a table, a collection, a role.
// Rows is -1 when it is not known how many it has, Bytes 0 when it is not known how
// many of the dump are its own.
type Object struct {
	Stream, Kind, Name string
	Rows, Bytes        int64
}

// Kind says how an object changed.
type Kind string

// The kinds of changes.
const (
	Gone  Kind = "gone"  // only the earlier one has it
	New   Kind = "new"   // only the later one has it
	Fewer Kind = "fewer" // it has fewer rows
	More  Kind = "more"  // it has more rows
)

// Change is how one object differs. Before and After are its rows, -1 where they
// are not known; an object that is not there has 0.
type Change struct {
	Stream, Object, Name string
	Kind                 Kind
	Before, After        int64
}

// Percent is by how much the rows changed, in per cent of what was there; ok is
// false where that says nothing: for what is new or gone, and where nothing was.
func (c Change) Percent() (percent float64, ok bool) {
	if c.Kind == Gone || c.Kind == New || c.Before <= 0 {
		return 0, false
	}
	return float64(c.After-c.Before) * 100 / float64(c.Before), true
}

type key struct{ stream, kind, name string }

// Compare lists what differs, first in the order of the earlier one, then what is
// new, and how many objects have not changed. Rows that one of the two does not
// know are no change. Of a stream that has most objects or more, what follows was
// left out when it was dumped, and may be there all the same: nothing is called
// gone when the later one is so long, nor new when the earlier one is.
func Compare(before, after []Object, most int) (changes []Change, same int) {
	was, is := index(before), index(after)
	full := func(x indexed, k key) bool { return x.streams[k.stream] >= most }
	for _, k := range was.order {
		a := was.rows[k]
		b, there := is.rows[k]
		c := Change{Stream: k.stream, Object: k.kind, Name: k.name, Before: a, After: b}
		switch {
		case !there && full(is, k):
			continue
		case !there:
			c.Kind = Gone
		case a < 0 || b < 0 || a == b:
			same++
			continue
		case b < a:
			c.Kind = Fewer
		default:
			c.Kind = More
		}
		changes = append(changes, c)
	}
	for _, k := range is.order {
		if _, there := was.rows[k]; !there && !full(was, k) {
			changes = append(changes, Change{Stream: k.stream, Object: k.kind, Name: k.name, Kind: New, After: is.rows[k]})
		}
	}
	return changes, same
}

// indexed is a list of objects by their names.
type indexed struct {
	order   []key
	rows    map[key]int64
	streams map[string]int
}

// index adds up what comes in several parts.
func index(list []Object) indexed {
	x := indexed{rows: map[key]int64{}, streams: map[string]int{}}
	for _, o := range list {
		k := key{o.Stream, o.Kind, o.Name}
		rows, there := x.rows[k]
		switch {
		case !there:
			x.order = append(x.order, k)
			x.rows[k] = o.Rows
		case rows < 0 || o.Rows < 0:
			x.rows[k] = -1
		default:
			x.rows[k] = rows + o.Rows
		}
		x.streams[o.Stream]++
	}
	return x
}

// What makes a change strange, when nobody has said that it would come: an object
// of so many rows is gone, or one of so many has lost nine tenths of them.
const (
	strangeGone  = 1
	strangeFewer = 20
	strangeShare = 10 // what is left is at most one in so many
)

// Strange picks those among the changes from one backup to the next that look like
// an accident, in their order.
func Strange(changes []Change) (list []Change) {
	for _, c := range changes {
		switch {
		case c.Kind == Gone && c.Before >= strangeGone, c.Kind == Fewer && c.Before >= strangeFewer && c.After <= c.Before/strangeShare:
			list = append(list, c)
		}
	}
	return list
}

// String is a change in a sentence, without its stream.
func (c Change) String() string {
	switch c.Kind {
	case Gone:
		if c.Before > 0 {
			return fmt.Sprintf("%s %s is gone, and had %d rows", c.Object, c.Name, c.Before)
		}
		return fmt.Sprintf("%s %s is gone", c.Object, c.Name)
	case New:
		return fmt.Sprintf("%s %s is new", c.Object, c.Name)
	}
	return fmt.Sprintf("%s %s has %d rows, and had %d", c.Object, c.Name, c.After, c.Before)
}
