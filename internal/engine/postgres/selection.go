package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// relation is a table, or what else pg_dump treats as one.
type relation struct {
	ID           int64
	Schema, Name string
	Written      string // as in a dump
	Kind         string
	Of           int64 // what it goes with: a partition's table, a sequence's
}

// inventory is what a database has to choose from. What belongs to an extension
// comes and goes with that.
type inventory struct {
	Encoding  string
	Schemas   []struct{ Name, Written string }
	Relations []relation
}

const aboutContents = `SELECT json_build_object(
  'Encoding', (SELECT pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
  'Schemas', (SELECT json_agg(json_build_object('Name', nspname, 'Written', pg_catalog.quote_ident(nspname)) ORDER BY nspname) FROM pg_catalog.pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'),
  'Relations', (SELECT json_agg(json_build_object('ID', c.oid::bigint, 'Schema', n.nspname, 'Name', c.relname,
      'Written', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), 'Kind', c.relkind, 'Of', CASE c.relkind
        WHEN 'S' THEN (SELECT d.refobjid::bigint FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1)%s END) ORDER BY n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')))`

// ofPartitions is of servers from version 10 on.
const ofPartitions = ` ELSE CASE WHEN c.relispartition THEN (SELECT i.inhparent::bigint FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) END`

// choose finds out what the labels mean on this server, and gives the databases
// that are dumped.
func (s *session) choose(ctx context.Context, databases []string) ([]string, error) {
	c := engine.NewChooser(s.dump)
	s.chosen.Of = map[string]engine.Choice{}
	var taken []string
	for _, database := range databases {
		if !c.Database(database) {
			s.chosen.Databases.Add(engine.KindDatabaseLeftOut, database)
			continue
		}
		made, err := s.chooseIn(ctx, c, database)
		switch {
		case err != nil:
			return nil, err
		case made == nil:
			s.chosen.Databases.Add(engine.KindDatabaseLeftOut, database)
			continue
		}
		s.chosen.Of[database] = *made
		taken = append(taken, database)
	}
	var err error
	if s.chosen.Warnings, err = c.Settle(); err == nil && len(taken) == 0 {
		err = engine.NoDatabaseLeft()
	}
	return taken, err
}

// chooseIn is choose for one database; nil: nothing of it is taken.
func (s *session) chooseIn(ctx context.Context, c *engine.Chooser, database string) (*engine.Choice, error) {
	of := ""
	if s.server.Number >= 10_00_00 {
		of = ofPartitions
	}
	var have inventory
	if err := s.query(ctx, database, fmt.Sprintf(aboutContents, of), &have); err != nil {
		return nil, fmt.Errorf("list what is in database %q: %w", database, err)
	}
	sorted := sortOut(c, database, have)
	switch {
	case sorted.kept == 0 && s.all && c.OnlySome():
		return nil, nil
	case sorted.kept == 0 && len(sorted.out) > 0:
		return nil, engine.NothingLeft(database)
	}
	if err := s.mayBeLeftOut(ctx, database, sorted); err != nil {
		return nil, err
	}
	return sorted.choice(database, have.Encoding)
}

// sorted is what is in a database, by what becomes of it.
type sorted struct {
	kept    int // tables and the like that are dumped
	schemas []struct{ Name, Written string }
	out     []relation // left out, with those of the schemas
	noRows  []relation
	broken  []string // partitions that stay though their table does not
}

// sortOut decides for everything in a database. Sequences that are no table's stay,
// as functions and types do: others may use them.
func sortOut(c *engine.Chooser, database string, have inventory) (s sorted) {
	gone := map[string]bool{}
	for _, schema := range have.Schemas {
		if !c.Schema(database, schema.Name) {
			gone[schema.Name] = true
			s.schemas = append(s.schemas, schema)
		}
	}
	var kept []relation
	out := map[int64]string{}
	byID := map[int64]relation{}
	for _, r := range have.Relations {
		byID[r.ID] = r
	}
	for _, r := range have.Relations {
		var names [][]string
		away := false
		for at, ok := r, true; ok && len(names) < 100; at, ok = byID[at.Of] {
			away = away || gone[at.Schema]
			if at.Kind != "S" {
				names = append(names, []string{database, at.Schema, at.Name})
			}
		}
		takes := len(names) == 0 || c.Table(names...)
		rows := r.Kind != "r" && r.Kind != "p" || c.Rows(names...) // a materialized view has those that it is made of
		switch {
		case away || !takes:
			s.out, out[r.ID] = append(s.out, r), r.Written
		case r.Kind == "S":
		default:
			if !rows {
				s.noRows = append(s.noRows, r)
			}
			kept = append(kept, r)
		}
	}
	for _, r := range kept {
		if table, is := out[r.Of]; is {
			s.broken = append(s.broken, fmt.Sprintf("table %s needs table %s, which it is a part of", r.Written, table))
		}
	}
	s.kept = len(kept)
	return s
}

// maxArgs bounds what pg_dump is told, in bytes: systems bound all arguments.
const maxArgs = 512 << 10

// choice is what pg_dump is told of it.
func (s sorted) choice(database, encoding string) (*engine.Choice, error) {
	made := &engine.Choice{}
	add := func(kind, written, option string, name ...string) {
		for i := range name {
			name[i] = quoteIdent(name[i])
		}
		made.Args = append(made.Args, option+"="+strings.Join(name, "."))
		if kind != "" {
			made.Omission.Add(kind, written)
		}
	}
	gone := map[string]bool{}
	for _, schema := range s.schemas {
		gone[schema.Name] = true
		add(engine.KindSchemaLeftOut, schema.Written, "--exclude-schema", schema.Name)
	}
	for _, r := range s.out {
		kind := engine.KindLeftOut
		if r.Kind == "S" {
			kind = ""
		}
		switch {
		case !gone[r.Schema]:
			add(kind, r.Written, "--exclude-table", r.Schema, r.Name)
		case kind != "":
			made.Omission.Add(kind, r.Written)
		}
	}
	for _, r := range s.noRows {
		add(engine.KindRowsLeftOut, r.Written, "--exclude-table-data", r.Schema, r.Name)
	}
	size := 0
	for _, arg := range made.Args {
		size += len(arg) + 1
		if encoding != "UTF8" && strings.ContainsFunc(arg, func(r rune) bool { return r > '~' }) {
			return nil, problem.New(problem.InvalidInput, "%.100s is to be left out of database %q, which is in %s", arg, database, encoding).WithReason(engine.ReasonUnsupported).
				WithHint("pg_dump takes names of other letters than ASCII for such a database in ways that depend on its container. Leave its schema out, or rename it.")
		}
	}
	if size > maxArgs {
		return nil, problem.New(problem.InvalidInput, "the labels leave %d things out of database %q, more than pg_dump can be told", len(made.Args), database).WithReason(engine.ReasonSelection).
			WithHint("Leave whole schemas out (baktainer.dump.exclude_schemas), or keep more tables.")
	}
	return made, nil
}

// needs lists what stays and depends on what is left out: a dump without it could
// not be restored. What goes with something ('a' and 'i' in the catalogue) is left
// out with it: its indexes, its constraints, its row type.
const needs = `SET search_path = '';
WITH RECURSIVE schemas AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY (ARRAY[%[1]s]::text[])),
out(class, id) AS (
  SELECT 'pg_catalog.pg_class'::regclass::oid, pg_catalog.unnest(ARRAY[%[2]s]::oid[])
  UNION SELECT 'pg_catalog.pg_namespace'::regclass, oid FROM schemas
  UNION SELECT 'pg_catalog.pg_class'::regclass, oid FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator WHERE oprnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass WHERE opcnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily WHERE opfnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_collation'::regclass, oid FROM pg_catalog.pg_collation WHERE collnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_conversion'::regclass, oid FROM pg_catalog.pg_conversion WHERE connamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_ts_config'::regclass, oid FROM pg_catalog.pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_ts_dict'::regclass, oid FROM pg_catalog.pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_ts_parser'::regclass, oid FROM pg_catalog.pg_ts_parser WHERE prsnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_catalog.pg_ts_template'::regclass, oid FROM pg_catalog.pg_ts_template WHERE tmplnamespace IN (SELECT oid FROM schemas)),
gone(class, id) AS (
  SELECT class, id FROM out
  UNION SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN gone g ON d.refclassid = g.class AND d.refobjid = g.id WHERE d.deptype NOT IN ('n', 'e', 'x')),
norows(id) AS (SELECT pg_catalog.unnest(ARRAY[%[3]s]::oid[])),
found(who, what) AS (
  SELECT CASE WHEN d.classid = 'pg_catalog.pg_rewrite'::regclass
      THEN (SELECT pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, r.ev_class, 0) FROM pg_catalog.pg_rewrite r WHERE r.oid = d.objid)
      ELSE pg_catalog.pg_describe_object(d.classid, d.objid, 0) END,
    pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0)
  FROM pg_catalog.pg_depend d JOIN gone g ON d.refclassid = g.class AND d.refobjid = g.id
  WHERE d.deptype = 'n' AND NOT EXISTS (SELECT 1 FROM gone k WHERE k.class = d.classid AND k.id = d.objid)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class i WHERE g.class = 'pg_catalog.pg_class'::regclass AND i.oid = g.id AND i.relkind IN ('i', 'I'))
  UNION
  SELECT pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::regclass, f.oid, 0), 'the rows of ' || pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, f.confrelid, 0)
  FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.confrelid IN (SELECT id FROM norows)
    AND f.conrelid NOT IN (SELECT id FROM norows) AND f.conrelid NOT IN (SELECT id FROM gone WHERE class = 'pg_catalog.pg_class'::regclass))
SELECT json_agg(said) FROM (SELECT DISTINCT who || ' needs ' || what AS said FROM found ORDER BY 1 LIMIT 20) s`

// mayBeLeftOut fails when what stays needs what is left out.
func (s *session) mayBeLeftOut(ctx context.Context, database string, o sorted) error {
	if len(o.broken) > 0 {
		return engine.Needed(database, o.broken)
	}
	if len(o.schemas)+len(o.out)+len(o.noRows) == 0 {
		return nil
	}
	ids := func(list []relation) string {
		all := make([]string, len(list))
		for i, r := range list {
			all[i] = strconv.FormatInt(r.ID, 10)
		}
		return strings.Join(all, ",")
	}
	var schemas []string
	for _, schema := range o.schemas {
		schemas = append(schemas, quoteString(schema.Name))
	}
	var found []string
	if err := s.query(ctx, database, fmt.Sprintf(needs, strings.Join(schemas, ", "), ids(o.out), ids(o.noRows)), &found); err != nil {
		return fmt.Errorf("look at what depends on what is left out of database %q: %w", database, err)
	}
	if len(found) > 0 {
		return engine.Needed(database, found)
	}
	return nil
}

// dumpArgs are arguments of pg_dump's that change neither where from, as whom, and
// where to it dumps, nor the format, nor whether the dump is of one moment.
var dumpArgs = []engine.Arg{
	{Name: "--no-owner", Example: "--no-owner", LeavesOut: "owners"},
	{Name: "--no-privileges", Example: "--no-privileges", LeavesOut: "rights"},
	{Name: "--no-comments", Example: "--no-comments", LeavesOut: "comments"},
	{Name: "--no-tablespaces", Example: "--no-tablespaces"},
	{Name: "--no-table-access-method", Example: "--no-table-access-method"},
	{Name: "--no-toast-compression", Example: "--no-toast-compression"},
	{Name: "--no-publications", Example: "--no-publications", LeavesOut: "publications"},
	{Name: "--no-subscriptions", Example: "--no-subscriptions", LeavesOut: "subscriptions"},
	{Name: "--no-security-labels", Example: "--no-security-labels", LeavesOut: "security labels"},
	{Name: "--no-blobs", Example: "--no-blobs", LeavesOut: "pg_largeobject"},
	{Name: "--no-unlogged-table-data", Example: "--no-unlogged-table-data", LeavesOut: "rows of unlogged tables"},
	{Name: "--lock-wait-timeout", Value: regexp.MustCompile(`^[1-9][0-9]{0,8}(ms|s|min|h)?$`), Example: "--lock-wait-timeout=60s"},
	{Name: "--extra-float-digits", Value: regexp.MustCompile(`^[0-3]$`), Example: "--extra-float-digits=0"},
}

// DumpOptions implements engine.Selector.
func (postgres) DumpOptions() engine.DumpOptions {
	return engine.DumpOptions{Databases: true, Schemas: 2, Tables: 3, Data: true, Args: dumpArgs}
}

// Warnings implements engine.Warner.
func (s *session) Warnings() []string { return s.chosen.Warnings }
