package postgres

import (
	"bytes"

	"github.com/baktainer/baktainer/internal/engine"
)

// sections notes which bytes of a dump belong to which table. The dump is taken
// for a row of pieces, each of which is comments, a statement or a command to
// psql, the rows that follow it, and blank lines. A piece is a table's, or common:
// settings, commands, what comes before the first \connect, the end mark. Others
// (functions, types, extensions) belong to no table.
type sections struct {
	engine.Sections
	at        int64 // bytes seen
	begin     int64 // of the piece
	owner     string
	known     bool // what the piece is of: owner, or all when that is empty
	other     bool // it belongs to neither
	connected bool
	tables    map[string]string // of sequences, indexes and constraints, by their names
}

// text counts bytes. A piece ends where something else than white space follows it.
func (s *sections) text(k kind, n int) {
	if k != blank && k != copyData && (s.known || s.other) {
		s.flush()
	}
	s.at += int64(n)
}

func (s *sections) flush() {
	switch {
	case s.other:
	case s.owner == "":
		s.Common(s.begin, s.at)
	default:
		s.Add(s.owner, s.begin, s.at)
	}
	s.begin, s.owner, s.known, s.other = s.at, "", false, false
}

// end says what the piece is of, once its statement or command is complete.
func (s *sections) end(k kind, head []byte) {
	switch {
	case k == comment: // goes with what follows it
	case k == meta:
		s.known = true
		s.connected = s.connected || bytes.HasPrefix(head, []byte(`\connect `))
	case !s.connected || isSetting(head):
		s.known = true
	default:
		if s.owner = s.subject(head); s.owner != "" {
			s.known = true
		} else {
			s.other = true
		}
	}
}

// finish ends the last piece: the end mark is a comment, which no statement follows.
func (s *sections) finish(c *engine.Contents) {
	s.flush()
	if s.connected { // else it is a dump of roles
		s.Settle(c)
	}
}

func isSetting(head []byte) bool {
	return bytes.HasPrefix(head, []byte("SET ")) || bytes.HasPrefix(head, []byte("SELECT pg_catalog.set_config("))
}

// maxBelongings bounds how many sequences and indexes are remembered.
const maxBelongings = 4 * engine.MaxObjects

// subject gives the table that a statement is about, as pg_dump writes its name
// with its schema; empty for what is about none.
func (s *sections) subject(head []byte) string {
	w := words{head}
	switch w.next() {
	case "COPY":
		return w.name()
	case "CREATE":
		return s.created(&w)
	case "ALTER":
		return s.altered(&w)
	case "SELECT":
		if rest, ok := bytes.CutPrefix(head, []byte("SELECT pg_catalog.setval('")); ok {
			literal, _, _ := bytes.Cut(bytes.ReplaceAll(rest, []byte("''"), []byte("\x00")), []byte("'"))
			return s.of(string(bytes.ReplaceAll(literal, []byte("\x00"), []byte("'"))))
		}
	case "GRANT", "REVOKE":
		w.until("ON")
		switch w.next() {
		case "TABLE":
			return s.of(w.name())
		case "SEQUENCE":
			return s.of(w.name())
		}
	case "COMMENT", "SECURITY":
		w.until("ON")
		return s.commented(&w)
	}
	return ""
}

func (s *sections) created(w *words) string {
	switch w.next() {
	case "UNLOGGED", "FOREIGN":
		if w.next() == "TABLE" {
			return w.name()
		}
	case "TABLE":
		return w.name()
	case "SEQUENCE":
		return s.of(w.name())
	case "UNIQUE", "INDEX":
		index := w.next()
		if index == "INDEX" {
			index = w.next()
		}
		w.until("ON")
		table := w.only()
		s.ownsIndex(table, index)
		return table
	case "TRIGGER", "CONSTRAINT", "POLICY":
		w.until("ON")
		return w.only()
	case "RULE":
		w.until("TO")
		return w.name()
	case "STATISTICS":
		statistics, table := ofStatistics+w.name(), ""
		for next := w.next(); next != ""; next = w.next() {
			if next == "FROM" { // the last one: there is another in EXTRACT(year FROM at)
				from := *w
				table = from.name()
			}
		}
		s.owns(table, statistics)
		return table
	}
	return ""
}

// ofStatistics comes before the names of statistics, of which a table may have one, too.
const ofStatistics = "STATISTICS "

func (s *sections) altered(w *words) string {
	switch w.next() {
	case "TABLE":
		name := w.only()
		switch w.next() {
		case "ATTACH": // of what it is a part goes with the partition
			w.next()
			return w.name()
		case "ALTER":
			if w.until("SEQUENCE"); w.next() == "NAME" { // of an identity
				s.owns(name, w.name())
			}
		case "ADD":
			if w.next() == "CONSTRAINT" {
				constraint := w.next()
				switch w.next() { // others have no index, and may be called as a table is
				case "PRIMARY", "UNIQUE", "EXCLUDE":
					s.ownsIndex(name, constraint)
				}
			}
		}
		return s.of(name) // older tools alter sequences as tables
	case "FOREIGN":
		if w.next() == "TABLE" {
			return w.only()
		}
	case "SEQUENCE":
		name := w.name()
		if w.next() == "OWNED" && w.next() == "BY" {
			s.owns(w.table(), name)
		}
		return s.of(name)
	case "INDEX":
		if name := w.name(); w.next() == "ALTER" { // else it is made a part of another
			return s.of(name)
		}
	case "STATISTICS":
		return s.of(ofStatistics + w.name())
	}
	return ""
}

// owns notes that a sequence or an index belongs to a table, and goes with it.
func (s *sections) owns(table, thing string) {
	if table == "" || thing == "" || len(s.tables) == maxBelongings {
		return
	}
	if s.tables == nil {
		s.tables = map[string]string{}
	}
	s.tables[thing] = table
	s.Move(thing, table)
}

// ownsIndex is owns for an index, whose name is without the schema that it shares.
func (s *sections) ownsIndex(table, index string) {
	w := words{[]byte(table)}
	if schema, _ := w.parts(1); schema != "" && index != "" {
		s.owns(table, schema+"."+index)
	}
}

// commented gives the table of what comes after ON in a comment or a label.
func (s *sections) commented(w *words) string {
	switch w.next() {
	case "TABLE":
		return w.name()
	case "COLUMN":
		return w.table()
	case "SEQUENCE", "INDEX":
		return s.of(w.name())
	case "STATISTICS":
		return s.of(ofStatistics + w.name())
	case "CONSTRAINT", "TRIGGER", "POLICY", "RULE":
		w.until("ON")
		return w.name()
	}
	return ""
}

// of gives the table that a sequence or an index belongs to; the name itself when
// it belongs to none, or when that is not known yet.
func (s *sections) of(name string) string {
	if table, ok := s.tables[name]; ok {
		return table
	}
	return name
}

// words reads a statement word by word, as pg_dump writes them.
type words struct{ rest []byte }

// next gives the next word, a quoted name or any other byte; empty at the end.
func (w *words) next() string {
	w.rest = bytes.TrimLeft(w.rest, " \n\t")
	n := 0
	for n < len(w.rest) && identByte(w.rest[n]) {
		n++
	}
	if n == 0 && len(w.rest) > 0 {
		n = 1
		if c := w.rest[0]; c == '"' || c == '\'' {
			_, n = unquote(w.rest, c)
		}
	}
	word := string(w.rest[:n])
	w.rest = w.rest[n:]
	return word
}

// until reads on to a word and past it.
func (w *words) until(word string) {
	for next := w.next(); next != "" && next != word; {
		next = w.next()
	}
}

// name gives the next name, with its schema, as it is written.
func (w *words) name() string {
	name, _ := w.parts(2)
	return name
}

// only is name after an ONLY that may be there.
func (w *words) only() string {
	before := w.rest
	if w.next() != "ONLY" {
		w.rest = before
	}
	return w.name()
}

// table gives the table of a column with its schema and table.
func (w *words) table() string {
	if name, n := w.parts(2); n == 2 {
		return name
	}
	return ""
}

// parts gives up to so many parts of a name that points divide.
func (w *words) parts(most int) (name string, n int) {
	for n < most {
		part := w.next()
		if part == "" || part[0] != '"' && !identByte(part[0]) {
			return name, n
		}
		name, n = name+part, n+1
		if len(w.rest) == 0 || w.rest[0] != '.' {
			break
		}
		if n < most {
			name += w.next()
		}
	}
	return name, n
}
