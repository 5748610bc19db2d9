package mysql

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// table is a table or a view of a database.
type table struct{ database, name string }

func (t table) sql() string { return quoteIdent(t.database) + "." + quoteIdent(t.name) }

// sorted is what there is on a server, by what becomes of it.
type sorted struct {
	taken   []string       // databases
	kept    map[string]int // tables that are dumped, by database
	out     map[table]bool // left out
	noRows  map[table]bool
	outside map[string]bool // databases that are left out
}

// listTables gives the tables and views of all databases that the user sees.
// Sequences are none of them: they stay, since tables may use them.
const listTables = `SELECT CONCAT_WS(' ', HEX(TABLE_SCHEMA), HEX(TABLE_NAME), TABLE_TYPE = 'VIEW') FROM information_schema.TABLES
WHERE TABLE_TYPE <> 'SEQUENCE' AND TABLE_TYPE NOT LIKE 'SYSTEM VIEW' ORDER BY 1;
`

// choose finds out what the labels mean on this server, and gives the databases
// that are dumped.
func (s *session) choose(ctx context.Context, databases []string) ([]string, error) {
	c := engine.NewChooser(s.options)
	o := sorted{kept: map[string]int{}, out: map[table]bool{}, noRows: map[table]bool{}, outside: map[string]bool{}}
	for _, database := range databases {
		if c.Database(database) {
			o.taken = append(o.taken, database)
		} else {
			o.outside[database] = true
		}
	}
	rows, err := s.words(ctx, listTables, 3)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	of := map[string][]table{}
	for _, row := range rows {
		t := table{row[0], row[1]}
		if !slices.Contains(o.taken, t.database) {
			continue
		}
		of[t.database] = append(of[t.database], t)
		name := []string{t.database, t.name}
		takes, takesRows := c.Table(name), row[2] == "1" || c.Rows(name) // views have none of their own
		switch {
		case !takes:
			o.out[t] = true
		case !takesRows:
			o.noRows[t] = true
			fallthrough
		default:
			o.kept[t.database]++
		}
	}
	for _, database := range slices.Clone(o.taken) {
		switch {
		case o.kept[database] > 0 || len(of[database]) == 0 && !c.OnlySome():
		case s.all && c.OnlySome():
			o.outside[database] = true
			o.taken = slices.DeleteFunc(o.taken, func(d string) bool { return d == database })
		default:
			return nil, engine.NothingLeft(database)
		}
	}
	if s.chosen.Warnings, err = c.Settle(); err == nil && len(o.taken) == 0 {
		err = engine.NoDatabaseLeft()
	}
	if err != nil {
		return nil, err
	}
	if err := s.mayBeLeftOut(ctx, o); err != nil {
		return nil, err
	}
	s.sorted = o
	s.chosen.Of = map[string]engine.Choice{}
	for _, database := range databases {
		if o.outside[database] {
			s.chosen.Databases.Add(engine.KindDatabaseLeftOut, database)
			continue
		}
		choice, err := s.choice(o, of[database])
		if err != nil {
			return nil, err
		}
		s.chosen.Of[database] = choice
	}
	return o.taken, nil
}

// maxArgs bounds what the tool is told, in bytes: systems bound all arguments.
const maxArgs = 512 << 10

// choice is what the tool is told of the tables of one database.
func (s *session) choice(o sorted, tables []table) (c engine.Choice, err error) {
	size := 0
	for _, t := range tables {
		arg := ""
		switch {
		case o.out[t]:
			arg = "--ignore-table=" + t.database + "." + t.name
			c.Omission.Add(engine.KindLeftOut, t.name)
		case o.noRows[t]:
			c.Omission.Add(engine.KindRowsLeftOut, t.name)
			if s.mariadbTools {
				arg = "--ignore-table-data=" + t.database + "." + t.name
			}
		}
		if arg != "" {
			c.Args = append(c.Args, arg)
			size += len(arg) + 1
		}
	}
	if size > maxArgs {
		return c, problem.New(problem.InvalidInput, "the labels leave %d tables out of database %q, more than %s can be told", len(c.Args), tables[0].database, s.dump).
			WithReason(engine.ReasonSelection).WithHint("Keep more of them.")
	}
	return c, nil
}

// words is query for rows of so many words, all but the last of them hexadecimal.
func (s *session) words(ctx context.Context, sql string, n int) ([][]string, error) {
	rows, err := s.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	all := make([][]string, len(rows))
	for i, row := range rows {
		parts := strings.Split(row, " ")
		for k := range min(n-1, len(parts)) {
			text, err := hex.DecodeString(parts[k])
			if err != nil {
				return nil, problem.Wrap(problem.Failed, err, "understand an answer").WithReason(engine.ReasonMalformed)
			}
			parts[k] = string(text)
		}
		if len(parts) != n {
			return nil, problem.New(problem.Failed, "an answer of %d columns, not %d", len(parts), n).WithReason(engine.ReasonMalformed)
		}
		all[i] = parts
	}
	return all, nil
}

const (
	listKeys = `SELECT CONCAT_WS(' ', HEX(CONSTRAINT_SCHEMA), HEX(TABLE_NAME), HEX(UNIQUE_CONSTRAINT_SCHEMA), HEX(REFERENCED_TABLE_NAME), '.')
FROM information_schema.REFERENTIAL_CONSTRAINTS ORDER BY 1;
`
	listViews = `SELECT CONCAT_WS(' ', HEX(TABLE_SCHEMA), HEX(TABLE_NAME), HEX(VIEW_DEFINITION), '.') FROM information_schema.VIEWS ORDER BY 1;
`
)

// mayBeLeftOut fails when what stays needs what is left out: a view could not be
// made again, and the rows of a table would refer to none.
func (s *session) mayBeLeftOut(ctx context.Context, o sorted) error {
	gone := func(t table) bool { return o.out[t] || o.outside[t.database] }
	stays := func(t table) bool { return slices.Contains(o.taken, t.database) && !gone(t) }
	keys, err := s.words(ctx, listKeys, 5)
	if err != nil {
		return fmt.Errorf("list the foreign keys: %w", err)
	}
	var needs []string
	var database string
	note := func(user table, format string, args ...any) {
		needs = append(needs, fmt.Sprintf(format, args...))
		database = user.database
	}
	for _, k := range keys {
		user, used := table{k[0], k[1]}, table{k[2], k[3]}
		switch {
		case !stays(user) || o.noRows[user] && !gone(used):
		case gone(used):
			note(user, "a foreign key of table %s needs table %s", user.sql(), used.sql())
		case o.noRows[used]:
			note(user, "a foreign key of table %s needs the rows of table %s", user.sql(), used.sql())
		}
	}
	views, err := s.words(ctx, listViews, 4)
	if err != nil {
		return fmt.Errorf("list the views: %w", err)
	}
	for _, v := range views {
		view, definition := table{v[0], v[1]}, v[2]
		if !stays(view) {
			continue
		}
		for t := range o.out {
			if strings.Contains(definition, t.sql()) {
				note(view, "view %s needs table %s", view.sql(), t.sql())
			}
		}
		for d := range o.outside {
			if strings.Contains(definition, quoteIdent(d)+".`") {
				note(view, "view %s needs database %s", view.sql(), quoteIdent(d))
			}
		}
	}
	if len(needs) > 0 {
		slices.Sort(needs)
		return engine.Needed(database, needs)
	}
	return nil
}

// mayGrant says whether a grant is about something that is dumped: one on a table
// that is not there would be refused.
func (o sorted) mayGrant(grant string) bool {
	_, on, _ := strings.Cut(grant, " ON ")
	for _, kind := range []string{"PROCEDURE ", "FUNCTION ", "PACKAGE BODY ", "PACKAGE ", "TABLE "} {
		on = strings.TrimPrefix(on, kind)
	}
	if !strings.HasPrefix(on, "`") {
		return true
	}
	database := identAt([]byte(on))
	rest := on[min(len(quoteIdent(database)), len(on)):]
	if !strings.HasPrefix(rest, ".`") {
		return true // on all of a database
	}
	return !o.outside[database] && !o.out[table{database, identAt([]byte(rest[1:]))}]
}

// withoutRows passes a dump on without the rows of some tables, for tools that know
// no option for that.
type withoutRows struct {
	engine.Process
	tables   map[string]bool
	lexer    *lexer
	buffer   []byte
	out      bytes.Buffer
	held     []byte // a statement that may be one of rows
	dropping bool
	decided  bool
	err      error
}

func newWithoutRows(p engine.Process, tables map[string]bool) *withoutRows {
	const readSize = 64 << 10
	return &withoutRows{Process: p, tables: tables, buffer: make([]byte, readSize), lexer: &lexer{
		onComment: func([]byte) {}, onStatement: func([]byte, int64) {}, onBegin: func(int64) {},
	}}
}

// Read implements engine.Process.
func (w *withoutRows) Read(p []byte) (int, error) {
	for w.out.Len() == 0 {
		if w.err != nil {
			return 0, w.err
		}
		n, err := w.Process.Read(w.buffer)
		w.see(w.buffer[:n])
		if w.err = err; errors.Is(err, io.EOF) {
			w.out.Write(w.held)
			w.held = nil
		}
	}
	return w.out.Read(p)
}

func (w *withoutRows) see(p []byte) {
	for len(p) > 0 {
		n := w.lexer.step(p)
		w.lexer.at += int64(n)
		w.piece(p[:n])
		p = p[n:]
	}
}

// piece takes bytes that are of one mode. That a statement is one of rows is known
// when they begin, or when it names more columns than anything else is long.
func (w *withoutRows) piece(p []byte) {
	l := w.lexer
	if !w.decided {
		w.held = append(w.held, p...)
		name, insert := bytes.CutPrefix(l.head, []byte("INSERT INTO "))
		switch {
		case l.mode == between:
		case (l.mode == values || len(w.held) > headLimit) && insert && len(name) > 0 && name[0] == '`' && w.tables[identAt(name)]:
			w.decided, w.dropping = true, true
		case l.mode == values, len(w.held) > headLimit, !insert && len(l.head) > len("INSERT INTO "):
			w.decided = true
		default:
			return
		}
		if !w.dropping {
			w.out.Write(w.held)
		}
		w.held = w.held[:0]
	} else if !w.dropping {
		w.out.Write(p)
	}
	if l.mode == between {
		w.decided, w.dropping = false, false
	}
}

var size = regexp.MustCompile(`^[1-9][0-9]{0,9}[KMG]?$`)

// dumpArgs are arguments that change neither where from, as whom, and where to the
// tools dump, nor what ends a dump, nor whether it is of one moment.
var dumpArgs = []engine.Arg{
	{Name: "--skip-triggers", Example: "--skip-triggers", LeavesOut: "triggers"},
	{Name: "--skip-routines", Example: "--skip-routines", LeavesOut: "routines"},
	{Name: "--skip-events", Example: "--skip-events", LeavesOut: "events"},
	{Name: "--order-by-primary", Example: "--order-by-primary"},
	{Name: "--max-allowed-packet", Value: size, Example: "--max-allowed-packet=512M"},
	{Name: "--net-buffer-length", Value: size, Example: "--net-buffer-length=1M"},
	{Name: "--column-statistics", Value: regexp.MustCompile(`^0$`), Example: "--column-statistics=0"},
}

// DumpOptions implements engine.Selector.
func (mysql) DumpOptions() engine.DumpOptions {
	return engine.DumpOptions{Databases: true, Tables: 2, Data: true, Args: dumpArgs}
}

// Warnings implements engine.Warner.
func (s *session) Warnings() []string { return s.chosen.Warnings }
