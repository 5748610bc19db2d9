package postgres

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// countObjects counts what people made in a database: what is neither the
// system's nor part of an extension. A fresh database counts 0.
const countObjects = `WITH own AS (
  SELECT oid FROM pg_catalog.pg_namespace WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'),
made AS (
  SELECT 'pg_catalog.pg_class'::regclass AS class, oid FROM pg_catalog.pg_class WHERE relkind IN ('r','p','v','m','S','f') AND relnamespace IN (SELECT oid FROM own)
  UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM own)
  UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type WHERE typtype IN ('d','e','r') AND typnamespace IN (SELECT oid FROM own)
  UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid FROM pg_catalog.pg_namespace WHERE nspname <> 'public' AND oid IN (SELECT oid FROM own)
  UNION ALL SELECT 'pg_catalog.pg_largeobject'::regclass, oid FROM pg_catalog.pg_largeobject_metadata)
SELECT count(*) FROM made m WHERE NOT EXISTS (
  SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = m.class AND d.objid = m.oid AND d.deptype = 'e')`

const listExisting = `SELECT json_build_object(
  'Roles', (SELECT json_agg(rolname) FROM pg_catalog.pg_roles),
  'Tablespaces', (SELECT json_agg(spcname) FROM pg_catalog.pg_tablespace))`

// exists and objects look at the server anew: a restore changes it.
func (s *session) exists(ctx context.Context, database string) (bool, error) {
	if err := s.query(ctx, s.meeting, aboutServer, &s.server); err != nil {
		return false, fmt.Errorf("list databases: %w", err)
	}
	if slices.Contains(s.server.Closed, database) {
		return false, problem.New(problem.Conflict, "database %q is there, and takes no connections or is a template: what it holds cannot be told", database).
			WithReason(engine.ReasonTargetUnfit).WithHint("Let it take connections (ALTER DATABASE … ALLOW_CONNECTIONS true IS_TEMPLATE false), rename it, or drop it yourself.")
	}
	return slices.Contains(s.server.Databases, database), nil
}

func (s *session) objects(ctx context.Context, database string) (int, error) {
	var n int
	if err := s.query(ctx, database, countObjects, &n); err != nil {
		return 0, fmt.Errorf("look into database %q: %w", database, err)
	}
	return n, nil
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if len(o.Only) > 0 {
		return s.prepareTables(ctx, target(streams[0], o), o)
	}
	var drop, full []string
	for _, stream := range streams {
		if stream.Kind == kindGlobals {
			step := "add the roles and tablespaces that are missing; those that are there stay as they are"
			if o.Overwrite {
				step = fmt.Sprintf("add the roles and tablespaces that are missing; give the others attributes and passwords of the backup, save %q", s.creds.User)
			}
			plan.Steps = append(plan.Steps, step)
			continue
		}
		database := target(stream, o)
		there, err := s.exists(ctx, database)
		if err != nil {
			return plan, err
		}
		if !there {
			plan.Steps = append(plan.Steps, fmt.Sprintf("create database %q and fill it", database))
			continue
		}
		n, err := s.objects(ctx, database)
		switch {
		case err != nil:
			return plan, err
		case n == 0:
			plan.Steps = append(plan.Steps, fmt.Sprintf("fill database %q, which is there and empty", database))
			continue
		case !o.Overwrite:
			full = append(full, fmt.Sprintf("%q has %d objects (tables, functions, types …)", database, n))
			continue
		}
		drop = append(drop, database)
		plan.Steps = append(plan.Steps, fmt.Sprintf("end all connections to database %q, drop it, create it anew and fill it", database))
		plan.Replaces = append(plan.Replaces, fmt.Sprintf("database %q with %d objects (tables, functions, types …)", database, n))
		plan.Replaces = append(plan.Replaces, o.Lost(stream)...)
	}
	if len(full) > 0 {
		return plan, problem.New(problem.Conflict, "the target is not empty: %s", strings.Join(full, "; ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite) to drop and replace it, or drop the database yourself.")
	}
	if o.DryRun {
		return plan, nil
	}
	for _, database := range drop {
		if err := s.drop(ctx, database); err != nil {
			return plan, fmt.Errorf("drop database %q: %w", database, err)
		}
	}
	return plan, nil
}

// drop removes a database with all connections to it.
func (s *session) drop(ctx context.Context, database string) error {
	sql := fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE);\n", quoteIdent(database))
	if s.server.Number < 13_00_00 {
		sql = fmt.Sprintf("SET standard_conforming_strings = on;\nSELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '%s' AND pid <> pg_backend_pid();\nDROP DATABASE IF EXISTS %s;\n",
			strings.ReplaceAll(database, "'", "''"), quoteIdent(database))
	}
	s.meeting = s.awayFrom(database) // what is dropped is no place to ask questions in
	_, err := s.run(ctx, s.meeting, sql)
	return err
}

func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Kind == kindGlobals {
		return s.restoreGlobals(ctx, r, o)
	}
	database := target(stream, o)
	there, err := s.exists(ctx, database)
	if err != nil {
		return err
	}
	if there && len(o.Only) == 0 {
		// Prepare has seen to it; something may have filled it since.
		if n, err := s.objects(ctx, database); err != nil {
			return err
		} else if n > 0 {
			return problem.New(problem.Conflict, "database %q is not empty any more", database).WithReason(engine.ReasonTargetNotEmpty).
				WithHint("Stop the applications that use it and restore again.")
		}
	}
	f := newFilter(r, databaseMarks, true, keepForDatabase(o.NoOwner))
	f.as = o.As
	var round around
	if len(o.Only) > 0 {
		f.last = isAttachment
		if there {
			if round, f.after, err = s.roundTables(ctx, database, o); err != nil {
				return err
			}
		}
	}
	head, err := f.readHead()
	if err != nil {
		return fmt.Errorf("read the dump: %w", err)
	}
	if !there || len(o.Only) == 0 {
		if err := s.create(ctx, database, head, there, o); err != nil {
			return err
		}
	}
	if !there && len(o.Only) > 0 {
		round.before = createSchemas(schemasOf(o.Only))
	}
	if err := s.feed(ctx, database, round, f); err != nil {
		if !there {
			// An empty database that was not there is no help to anybody.
			_ = s.drop(context.WithoutCancel(ctx), database)
		}
		return err
	}
	return nil
}

// target is the name that a stream's database gets.
func target(stream engine.Stream, o engine.RestoreOptions) string {
	return cmp.Or(o.As, stream.Database)
}

// MayRename implements engine.Renamer.
func (s *session) MayRename(stream engine.Stream) error {
	if stream.Database == "" {
		return problem.New(problem.InvalidInput, "%s is of no database, and has no other name", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	return nil
}

// renamed gives a statement that is about the dump's database for one of another name.
// One that names the database in another way, as that of a template, is left out.
func renamed(stmt, name string) string {
	w := words{[]byte(stmt)}
	if aboutDatabase(&w) {
		at := len(stmt) - len(w.rest)
		w.next()
		return stmt[:at] + " " + quoteIdent(name) + string(w.rest)
	}
	if strings.HasPrefix(stmt, ofTemplate) {
		return ""
	}
	return stmt
}

// ofTemplate begins the statement that makes a template of a database.
const ofTemplate = "UPDATE pg_catalog.pg_database "

// aboutDatabase reads up to the name of the database that a statement is about, and
// says whether it is about one.
func aboutDatabase(w *words) bool {
	switch w.next() {
	case "CREATE":
	case "ALTER":
		before := w.rest
		if w.next() != "ROLE" {
			w.rest = before
			break
		}
		if w.next(); w.next() != "IN" { // the role's name is between
			return false
		}
	case "COMMENT", "GRANT", "REVOKE", "SECURITY":
		w.until("ON")
	default:
		return false
	}
	return w.next() == "DATABASE"
}

// create carries out the head of a dump: it makes the database unless it is
// there, and gives it its owner.
func (s *session) create(ctx context.Context, database string, head []string, there bool, o engine.RestoreOptions) error {
	var first, rest strings.Builder // up to what creates it, and all else
	for _, stmt := range head {
		ts := tokens([]byte(stmt))
		creates := begins(ts, "CREATE", "DATABASE")
		if o.NoOwner && isOwnership(ts) {
			continue
		}
		if o.As != "" {
			stmt = renamed(stmt, database)
		}
		if !creates {
			rest.WriteString(stmt + "\n")
			continue
		}
		if !there {
			first.WriteString(rest.String() + stmt + "\n")
		}
	}
	// By itself: what is not created here is not dropped either.
	if err := s.carryOut(ctx, database, first.String()); err != nil {
		return err
	}
	if err := s.carryOut(ctx, database, rest.String()); err != nil {
		if !there {
			_ = s.drop(context.WithoutCancel(ctx), database)
		}
		return err
	}
	return nil
}

// carryOut has psql carry out statements that create a database, if there are any.
func (s *session) carryOut(ctx context.Context, database, sql string) error {
	if sql == "" {
		return nil
	}
	cmd := s.psql(s.awayFrom(database))
	cmd.Stdin = strings.NewReader(sql)
	exit, err := engine.Feed(ctx, s.inst, cmd)
	if err == nil && exit.Status != 0 {
		err = engine.Explain("psql", exit, restorePatterns)
	}
	if err != nil {
		return fmt.Errorf("create database %q: %w", database, err)
	}
	return nil
}

func (s *session) restoreGlobals(ctx context.Context, r io.Reader, o engine.RestoreOptions) error {
	var have existing
	if err := s.query(ctx, s.meeting, listExisting, &have); err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	return s.feed(ctx, s.meeting, around{}, newFilter(r, globalsMarks, false, keepForGlobals(have, o.Overwrite, s.creds.User)))
}

// around is SQL that is carried out before and after a dump, in its transaction.
type around struct{ before, after string }

// feed runs a dump in one transaction. The transaction's end is part of the
// input, not an option of psql: when this process dies, psql sees its input end
// like any other, and with --single-transaction it would keep half a dump.
func (s *session) feed(ctx context.Context, database string, round around, r io.Reader) error {
	cmd := s.psql(database, "--output=/dev/null")
	cmd.Stdin = io.MultiReader(strings.NewReader("BEGIN;\n"+round.before), r, strings.NewReader("\n"+round.after+"COMMIT;\n"))
	exit, err := engine.Feed(ctx, s.inst, cmd)
	if err != nil {
		return fmt.Errorf("restore into database %q: %w", database, err)
	}
	if exit.Status != 0 {
		return fmt.Errorf("restore into database %q: %w", database, engine.Explain("psql", exit, restorePatterns))
	}
	return nil
}
