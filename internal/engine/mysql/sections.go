package mysql

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/baktainer/baktainer/internal/engine"
)

// sections notes which bytes of a dump belong to which table. What comes first is
// common: settings, CREATE DATABASE, USE. With a table's DROP TABLE its own
// begin: definition, rows, triggers, and the settings round them. They end where
// the next begins, or views, routines, events, or the settings at the dump's end.
type sections struct {
	engine.Sections
	begin int64  // of what belongs to owner
	owner string // empty: all tables
	other bool   // it belongs neither to one table nor to all
	group int64  // where the comments began that come before the next statement
	open  bool   // they have begun
}

// otherwise are the comments before what belongs to no table.
var otherwise = [][]byte{
	[]byte("-- Temporary table structure for view "), []byte("-- Temporary view structure for view "), []byte("-- Final view structure for view "),
	[]byte("-- Dumping events for "), []byte("-- Dumping routines for "),
}

// ofAll are the statements that a dump begins with.
var ofAll = regexp.MustCompile(`^(SET|/\*M?![0-9]+ SET|CREATE DATABASE|USE) `)

// setsBack is a statement at the end, which sets back what the first ones set.
var setsBack = regexp.MustCompile(`^/\*M?![0-9]+ SET [A-Z_]+=@OLD_[A-Z_]+ \*/`)

// next hears where a comment, a command or a statement begins.
func (s *sections) next(at int64) {
	if !s.open {
		s.group, s.open = at, true
	}
}

func (s *sections) comment(line []byte) {
	if slices.ContainsFunc(otherwise, func(b []byte) bool { return bytes.HasPrefix(line, b) }) {
		s.turn("", true)
	}
}

func (s *sections) statement(head []byte) {
	for _, begin := range []string{"DROP TABLE IF EXISTS ", "CREATE TABLE "} {
		if rest, ok := bytes.CutPrefix(head, []byte(begin)); ok && len(rest) > 0 && rest[0] == '`' {
			s.turn(identAt(rest), false)
		}
	}
	if setsBack.Match(head) {
		s.turn("", false)
	}
	if s.owner == "" && !s.other && !ofAll.Match(head) {
		s.turn("", true)
	}
	s.open = false
}

// turn ends what was gathered where the present comments and statement began.
func (s *sections) turn(owner string, other bool) {
	if owner != s.owner || other != s.other {
		s.flush(s.group)
	}
	s.owner, s.other = owner, other
}

func (s *sections) flush(to int64) {
	switch {
	case s.other:
	case s.owner == "":
		s.Common(s.begin, to)
	default:
		s.Add(s.owner, s.begin, to)
	}
	s.begin = to
}

// finish ends the last piece, in a dump of that size.
func (s *sections) finish(c *engine.Contents, size int64) {
	s.flush(size)
	s.Settle(c)
}
