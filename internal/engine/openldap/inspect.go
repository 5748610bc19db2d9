package openldap

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// inspector checks that a dump is whole, and counts the entries of a database: its
// own, and those at and below each of the first level.
type inspector struct {
	parser *ldif.Parser
	stream engine.Stream
	depth  int   // of the suffix
	parts  []int // of a DN, for use again
	names  []string
	rows   [maxBelow + 1]int64 // of each name
	below  map[string]*int64   // the same
	all    int64
}

// maxBelow bounds what is counted apart. A directory that has more on its first
// level is flat: there it is counted as a whole.
const maxBelow = 500

func (s *session) Inspect(stream engine.Stream) engine.Inspector { return newInspector(stream) }

func newInspector(stream engine.Stream) *inspector {
	i := &inspector{stream: stream, depth: ldif.Depth([]byte(stream.Database)), below: map[string]*int64{}}
	i.parser = ldif.New(ldif.Handler{Entry: i.entry})
	return i
}

func (i *inspector) entry(dn []byte) {
	i.all++
	if len(i.names) > maxBelow || i.stream.Kind != kindDatabase {
		return
	}
	i.parts = ldif.Parts(i.parts[:0], dn)
	name := ldif.First(dn[i.parts[max(0, len(i.parts)-i.depth-1)]:])
	n := i.below[string(name)]
	if n == nil {
		n = &i.rows[len(i.names)]
		i.names = append(i.names, string(bytes.ToValidUTF8(name, []byte("?"))))
		i.below[string(name)] = n
	}
	*n++
}

// Write implements engine.Inspector.
func (i *inspector) Write(p []byte) (int, error) { return i.parser.Write(p) }

// Finish implements engine.Inspector.
func (i *inspector) Finish() (engine.Contents, error) {
	entries, err := i.parser.Finish()
	if err != nil {
		return engine.Contents{}, explainDump(err)
	}
	var c engine.Contents
	switch {
	case i.stream.Kind != kindDatabase:
		c.Notes = append(c.Notes, fmt.Sprintf("%d entries of the configuration", entries))
	case len(i.names) > maxBelow:
		c.Objects = append(c.Objects, engine.Object{Kind: "subtree", Name: i.stream.Database, Rows: i.all})
	default:
		for n, name := range i.names {
			c.Objects = append(c.Objects, engine.Object{Kind: "subtree", Name: name, Rows: i.rows[n]})
		}
	}
	return c, nil
}

// explainDump makes a problem of what the parser finds wrong.
func explainDump(err error) *problem.Problem {
	p := problem.Wrap(problem.Failed, err, "check the dump").WithReason(engine.ReasonMalformed)
	switch {
	case errors.Is(err, ldif.ErrEmpty):
		p.WithReason(engine.ReasonEmpty).WithHint("slapcat found no entry. Is the database's folder the one that its olcDbDirectory names? A database that is meant to be empty can be left out: name the others with %s.", labelName)
	case errors.Is(err, ldif.ErrTruncated):
		p.WithReason(engine.ReasonTruncated)
	}
	return p
}
