package postgres

import (
	"bytes"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// marks are how a dump begins and ends.
type marks struct {
	tool  string
	start string // the first bytes
	end   string // the comment at the end
}

var (
	databaseMarks = marks{"pg_dump", "--\n-- PostgreSQL database dump\n--\n", "-- PostgreSQL database dump complete"}
	globalsMarks  = marks{"pg_dumpall", "--\n-- PostgreSQL database cluster dump\n--\n", "-- PostgreSQL database cluster dump complete"}
)

// inspector checks that a dump is whole: it begins with its start mark, every
// statement, string and COPY in it is closed, its end mark is a comment of its
// own, and after that come only what ends pg_dump's restricted mode and the blank
// line that each version of the tools writes last.
type inspector struct {
	marks      marks
	lexer      *lexer
	contents   engine.Contents
	seen       int64
	first      []byte // up to the length of the start mark
	lastBytes  [2]byte
	ended      bool
	afterEnd   bool // something other than comments follows the end mark
	strange    bool
	restricted bool
	sections   sections
	table      string // the table that rows are being read of
	large      int64  // large objects
	noted      int    // facts that the dump says of itself
	roles      engine.Names
	locales    engine.Names
}

func newInspector(m marks) *inspector {
	i := &inspector{marks: m}
	i.lexer = newLexer(i)
	return i
}

// Write implements engine.Inspector.
func (i *inspector) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	i.seen += int64(len(p))
	if missing := len(i.marks.start) - len(i.first); missing > 0 {
		i.first = append(i.first, p[:min(missing, len(p))]...)
	}
	if len(p) > 1 {
		copy(i.lastBytes[:], p[len(p)-2:])
	} else {
		i.lastBytes = [2]byte{i.lastBytes[1], p[0]}
	}
	i.lexer.write(p)
	return len(p), nil
}

func (i *inspector) text(k kind, b []byte) { i.sections.text(k, len(b)) }

func (i *inspector) stray() { i.strange = true }

func (i *inspector) end(k kind, head []byte) {
	i.sections.end(k, head)
	switch {
	case k == comment && string(head) == i.marks.end:
		i.ended = true
	case k == comment:
		for _, fact := range []string{"-- Dumped from database version ", "-- Dumped by pg_dump version "} {
			if bytes.HasPrefix(head, []byte(fact)) && i.noted < 10 {
				i.noted++
				i.contents.Notes = append(i.contents.Notes, lowerFirst(string(head[len("-- "):])))
			}
		}
	case k == meta && bytes.HasPrefix(head, []byte(`\restrict `)):
		i.restricted, i.afterEnd = true, i.afterEnd || i.ended
	case k == meta && bytes.HasPrefix(head, []byte(`\unrestrict `)):
		i.restricted = false
	default:
		i.afterEnd = i.afterEnd || i.ended
		i.statement(head)
	}
}

func (i *inspector) statement(head []byte) {
	switch {
	case bytes.HasPrefix(head, []byte("COPY ")):
		i.table = copiedTable(head)
	case bytes.HasPrefix(head, []byte("SELECT pg_catalog.lo_open(")):
		i.large++
	case bytes.HasPrefix(head, []byte("CREATE ROLE ")):
		i.add("role", strings.TrimSuffix(string(head[len("CREATE ROLE "):]), ";"), -1)
	case bytes.HasPrefix(head, []byte(createExtension)):
		w := words{head[len(createExtension):]}
		i.add("extension", w.next(), -1)
	case bytes.HasPrefix(head, []byte("CREATE DATABASE ")):
		for _, l := range localesOf(head) {
			i.locales.Add(l)
		}
	default:
		i.roles.Add(roleOf(head))
	}
}

const createExtension = "CREATE EXTENSION IF NOT EXISTS "

func (i *inspector) endCopy(rows int64) { i.add("table", i.table, rows) }

func (i *inspector) add(kind, name string, rows int64) {
	if len(i.contents.Objects) < engine.MaxObjects {
		i.contents.Objects = append(i.contents.Objects, engine.Object{Kind: kind, Name: name, Rows: rows})
	}
}

// Finish implements engine.Inspector.
func (i *inspector) Finish() (engine.Contents, error) {
	fail := func(reason problem.Reason, what string) (engine.Contents, error) {
		return engine.Contents{}, problem.New(problem.Failed, "%s: %d bytes, %d tables", what, i.seen, len(i.contents.Objects)).WithReason(reason)
	}
	closed := i.lexer.kind == blank && !i.lexer.pending
	switch {
	case i.seen == 0:
		return fail(engine.ReasonEmpty, i.marks.tool+" wrote nothing")
	case !strings.HasPrefix(i.marks.start, string(i.first)):
		return fail(engine.ReasonMalformed, "this is no dump of "+i.marks.tool+"'s: its first lines are others")
	case i.strange || i.afterEnd:
		return fail(engine.ReasonMalformed, "this is no dump of "+i.marks.tool+"'s: something stands where it writes nothing")
	case !i.ended || !closed || i.restricted || i.lastBytes != [2]byte{'\n', '\n'}:
		return fail(engine.ReasonTruncated, "the dump is cut short, its end mark is missing")
	}
	if i.large > 0 {
		i.add("large objects", "pg_largeobject", i.large)
	}
	if i.marks == databaseMarks {
		i.roles.Note(&i.contents, rolesNote)
		i.locales.Note(&i.contents, localesNote)
	}
	i.sections.finish(&i.contents)
	return i.contents, nil
}

// copiedTable is the table's name in COPY name (columns) FROM stdin, as pg_dump
// quotes it.
func copiedTable(head []byte) string {
	rest := head[len("COPY "):]
	in := false
	for n, c := range rest {
		switch {
		case c == '"':
			in = !in
		case !in && (c == ' ' || c == ';'):
			return string(rest[:n])
		}
	}
	return string(rest)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
