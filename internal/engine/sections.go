package engine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

// Section is a range of bytes of a stream.
type Section struct{ Offset, Length int64 }

// MaxSections bounds the sections of one stream, as MaxObjects does its objects.
const MaxSections = 1 << 16

// ReasonNoPart is the reason of problems of Contents.Part.
const ReasonNoPart problem.Reason = "no-such-part"

// Bytes is how many bytes of the stream are the object's, 0 where that is not known.
func (o Object) Bytes() (n int64) {
	for _, s := range o.Sections {
		n += s.Length
	}
	return n
}

// Part is what makes a dump of some objects alone.
type Part struct {
	// Objects are those of the part, in the order of the stream.
	Objects []Object
	// Sections are theirs and the common ones, in the order of the stream: one
	// behind the other, they are a dump of their own.
	Sections []Section
	// Bytes are those of all sections.
	Bytes int64
}

// Part picks the objects that the names mean: a whole name ("public.orders"), or
// what comes after its last point, where that is clear ("orders"). It fails, with
// ReasonNoPart, for a name that means none or several, and for a stream that
// cannot be taken apart.
func (c Contents) Part(names ...string) (Part, error) {
	if len(c.Common) == 0 {
		return Part{}, problem.New(problem.InvalidInput, "the dump cannot be taken apart: it was not noted where in it each table is").
			WithReason(ReasonNoPart).WithHint("Restore the whole database, into a throwaway container if need be. Dumps of PostgreSQL, MariaDB, MySQL and MongoDB can be taken apart if they were made by this version or a later one.")
	}
	chosen := make([]bool, len(c.Objects))
	for _, name := range names {
		found := c.find(name)
		if len(found) != 1 {
			return Part{}, c.noPart(name, found)
		}
		chosen[found[0]] = true
	}
	p := Part{Sections: slices.Clone(c.Common)}
	for i, o := range c.Objects {
		if chosen[i] {
			p.Objects = append(p.Objects, o)
			p.Sections = append(p.Sections, o.Sections...)
		}
	}
	slices.SortFunc(p.Sections, func(a, b Section) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, s := range p.Sections {
		p.Bytes += s.Length
	}
	return p, nil
}

// find gives the places of the objects that can be had alone and that a name means.
func (c Contents) find(name string) (found []int) {
	for i, o := range c.Objects {
		if o.Name == name && len(o.Sections) > 0 {
			return []int{i}
		}
	}
	for i, o := range c.Objects {
		if strings.HasSuffix(o.Name, "."+name) && len(o.Sections) > 0 {
			found = append(found, i)
		}
	}
	return found
}

func (c Contents) noPart(name string, found []int) error {
	const most = 20
	if len(found) > 1 {
		p := problem.New(problem.InvalidInput, "%.200q means %d tables", name, len(found)).WithReason(ReasonNoPart).WithHint("Give the whole name of one of these.")
		for _, i := range found[:min(len(found), most)] {
			p.WithDetails(c.Objects[i].Name)
		}
		return p
	}
	for _, o := range c.Objects {
		if (o.Name == name || strings.HasSuffix(o.Name, "."+name)) && (o.Kind == KindLeftOut || o.Kind == KindRowsLeftOut) {
			return problem.New(problem.NotFound, "%s is not in the backup: its labels left out %s", o.Name, LeftOut([]Object{o})[0]).WithReason(ReasonNoPart).
				WithHint("Look into an older snapshot, of before the labels were written. `baktainer snapshot show` lists what is in one.")
		}
	}
	p := problem.New(problem.NotFound, "the dump has no table %.200q that can be had alone", name).WithReason(ReasonNoPart).
		WithHint("`baktainer snapshot show` lists what is in a snapshot.")
	for _, o := range c.Objects {
		if len(p.Details) < most && len(o.Sections) > 0 {
			p.WithDetails(o.Name)
		}
	}
	return p
}

// Sections gathers, for an inspector, which bytes of a stream belong to what. The
// zero value is ready for use.
type Sections struct {
	common []Section
	of     map[string][]Section
	n      int
	over   bool // there are too many: nothing is known
}

// Common notes that the bytes from one offset up to another belong to every part.
func (s *Sections) Common(from, to int64) {
	if list, ok := s.extend(s.common, from, to); ok {
		s.common = list
	}
}

// Add notes that bytes belong to the object of a name.
func (s *Sections) Add(name string, from, to int64) {
	list, ok := s.extend(s.of[name], from, to)
	if !ok {
		return
	}
	if s.of == nil {
		s.of = map[string][]Section{}
	}
	s.of[name] = list
}

// Move gives what belongs to one object to another.
func (s *Sections) Move(from, to string) {
	for _, m := range s.of[from] {
		s.n--
		s.Add(to, m.Offset, m.Offset+m.Length)
	}
	delete(s.of, from)
}

// extend adds a range to a list, unless there are too many, or were.
func (s *Sections) extend(list []Section, from, to int64) (_ []Section, ok bool) {
	n := len(list)
	switch {
	case s.over || to <= from:
		return list, false
	case n > 0 && list[n-1].Offset+list[n-1].Length == from:
		list[n-1].Length += to - from
		return list, true
	case s.n == MaxSections:
		*s = Sections{over: true}
		return nil, false
	}
	s.n++
	return append(list, Section{from, to - from}), true
}

// Settle writes down in c what was gathered.
func (s *Sections) Settle(c *Contents) {
	if s.over {
		return
	}
	c.Common = s.common
	for i := range c.Objects {
		o := &c.Objects[i]
		if list := s.of[o.Name]; len(list) > 0 && !IsLeftOut(o.Kind) {
			slices.SortFunc(list, func(a, b Section) int { return cmp.Compare(a.Offset, b.Offset) })
			o.Sections = list
			delete(s.of, o.Name) // another object of that name has none
		}
	}
}
