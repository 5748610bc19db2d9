package mysql

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// starts are how dumps begin: with the client's sandbox mode or with a title.
var starts = []string{`/*M!999999\-`, `/*!999999\-`, "-- MariaDB dump ", "-- MySQL dump "}

// footers are in the statement that comes last in a dump: MariaDB's newer tools keep the
// server's notes away by another variable.
var footers = []string{"SET SQL_NOTES=@OLD_SQL_NOTES", "SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY"}

var endMark = regexp.MustCompile(`^-- Dump completed( on +[0-9]{4}-[0-9]{2}-[0-9]{2} +[0-9]{1,2}:[0-9]{2}:[0-9]{2})?$`)

// inspector checks that a dump is whole: it begins with its title, every string,
// comment and statement in it is closed, and it ends with the statement that
// sets back what the first ones set, then the end mark, on lines of their own. A
// table's name with line ends in it can make a line like the end mark, but not
// that statement.
type inspector struct {
	lexer    *lexer
	contents engine.Contents
	sections sections
	seen     int64
	first    []byte
	titled   bool
	footer   bool // the last statement was the one that ends a dump
	ended    bool
	after    bool // something follows the end
	lastByte byte
	noted    int // facts that the dump says of itself
	definers engine.Names
	engines  engine.Names
	database string
	itself   engine.Names // what it names with its own name before it
}

func newInspector() *inspector {
	i := &inspector{}
	i.lexer = &lexer{onComment: i.comment, onStatement: i.statement, onBegin: i.sections.next}
	return i
}

// Write implements engine.Inspector.
func (i *inspector) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	const enough = 16
	if missing := enough - len(i.first); missing > 0 {
		i.first = append(i.first, p[:min(missing, len(p))]...)
	}
	i.seen += int64(len(p))
	i.lastByte = p[len(p)-1]
	i.lexer.write(p)
	return len(p), nil
}

func (i *inspector) comment(line []byte) {
	i.after = i.after || i.ended
	i.sections.comment(line)
	switch {
	case !i.titled:
		if title := string(line); strings.HasPrefix(title, starts[2]) || strings.HasPrefix(title, starts[3]) {
			i.titled = true
			i.note(title[len("-- "):])
		}
	case bytes.HasPrefix(line, []byte("-- Server version")):
		i.note(serverNote + strings.TrimSpace(string(line[len("-- Server version"):])))
	case i.footer && endMark.Match(line):
		i.ended = true
	}
}

func (i *inspector) note(s string) {
	const limit = 10
	if i.noted++; i.noted <= limit {
		i.contents.Notes = append(i.contents.Notes, s)
	}
}

func (i *inspector) statement(head []byte, rows int64) {
	i.after = i.after || i.ended
	i.sections.statement(head)
	i.footer = slices.ContainsFunc(footers, func(f string) bool { return bytes.Contains(head, []byte(f)) })
	i.definers.Add(definerOf(head))
	if i.database == "" && bytes.HasPrefix(head, []byte(ofDatabase[0])) {
		i.database, _, _ = databaseOf(head)
	}
	i.itself.Add(qualified(head, i.database))
	switch {
	case bytes.HasPrefix(head, []byte("CREATE TABLE `")):
		i.engines.Add(storageOf(head))
		if len(i.contents.Objects) < engine.MaxObjects {
			table := identAt(head[len("CREATE TABLE "):])
			i.contents.Objects = append(i.contents.Objects, engine.Object{Kind: "table", Name: table})
		}
	case bytes.HasPrefix(head, []byte("INSERT INTO `")):
		i.insert(identAt(head[len("INSERT INTO "):]), rows)
	}
}

// insert counts rows of the table created last.
func (i *inspector) insert(table string, rows int64) {
	last := len(i.contents.Objects) - 1
	if last < 0 || i.contents.Objects[last].Name != table {
		return
	}
	if o := &i.contents.Objects[last]; rows < 0 || o.Rows < 0 {
		o.Rows = -1
	} else {
		o.Rows += rows
	}
}

// Finish implements engine.Inspector.
func (i *inspector) Finish() (engine.Contents, error) {
	fail := func(reason problem.Reason, what string) (engine.Contents, error) {
		return engine.Contents{}, problem.New(problem.Failed, "%s: %d bytes, %d tables", what, i.seen, len(i.contents.Objects)).WithReason(reason)
	}
	begins := slices.ContainsFunc(starts, func(s string) bool {
		n := min(len(s), len(i.first))
		return string(i.first[:n]) == s[:n]
	})
	switch {
	case i.seen == 0:
		return fail(engine.ReasonEmpty, "the dump tool wrote nothing")
	case !begins:
		return fail(engine.ReasonMalformed, "this is no dump of mysqldump's or mariadb-dump's: its first line is another")
	case i.after:
		return fail(engine.ReasonMalformed, "this is no dump of mysqldump's or mariadb-dump's: something follows its end mark")
	case !i.ended || !i.titled || i.lastByte != '\n' || i.lexer.mode != between || i.lexer.double:
		return fail(engine.ReasonTruncated, "the dump is cut short, its end mark is missing")
	}
	i.definers.Note(&i.contents, definersNote)
	i.engines.Note(&i.contents, enginesNote)
	i.itself.Note(&i.contents, itselfNote)
	i.sections.finish(&i.contents, i.seen)
	return i.contents, nil
}

// identAt reads a name in backticks.
func identAt(b []byte) string {
	var text []byte
	for n := 1; n < len(b); n++ {
		if b[n] == '`' {
			if n+1 == len(b) || b[n+1] != '`' {
				break
			}
			n++
		}
		text = append(text, b[n])
	}
	return string(text)
}
