package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// table is what a server has of a table that is to be restored by itself.
type table struct {
	Name string // as in the dump
	Rows int64  // about; -1: was never counted
	// Children would go with it, and are not restored: partitions, and what inherits.
	Children []string
	// Views use it, and keep it from being dropped.
	Views []string
	// References are the foreign keys of other tables to it.
	References []reference
	// Publications of logical replication have it, and lose it with the table.
	Publications []string
}

type reference struct{ Table, Name, Definition, Comment string }

// aboutTables looks at those of the named tables that are there. The search path is
// empty so that every name in the answer has its schema.
const aboutTables = `SET search_path = '';
WITH t AS (
  SELECT n AS name, c.oid, c.reltuples FROM unnest(ARRAY[%s]::text[]) n JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n))
SELECT json_agg(json_build_object(
  'Name', t.name, 'Rows', t.reltuples::bigint,
  'Children', (SELECT json_agg(i.inhrelid::regclass::text) FROM pg_catalog.pg_inherits i WHERE i.inhparent = t.oid AND i.inhrelid NOT IN (SELECT oid FROM t)),
  'Views', (SELECT json_agg(DISTINCT r.ev_class::regclass::text) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.oid AND r.ev_class <> t.oid),
  'References', (SELECT json_agg(json_build_object('Table', f.conrelid::regclass::text, 'Name', pg_catalog.quote_ident(f.conname), 'Definition', pg_catalog.pg_get_constraintdef(f.oid),
      'Comment', pg_catalog.obj_description(f.oid, 'pg_constraint')))
    FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.confrelid = t.oid AND f.conrelid NOT IN (SELECT oid FROM t)%s),
  'Publications', %s))
FROM t`

// What servers have from their versions 11 and 10 on: keys that partitions have from
// the table that they are a part of, and publications.
const (
	notOfParent    = " AND f.conparentid = 0"
	inPublications = "(SELECT json_agg(pubname) FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE r.prrelid = t.oid)"
)

func (s *session) lookAtTables(ctx context.Context, database string, names []string) ([]table, error) {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteString(n)
	}
	own, publications := "", "NULL"
	if s.server.Number >= 11_00_00 {
		own = notOfParent
	}
	if s.server.Number >= 10_00_00 {
		publications = inPublications
	}
	var found []table
	if err := s.query(ctx, database, fmt.Sprintf(aboutTables, strings.Join(quoted, ", "), own, publications), &found); err != nil {
		return nil, fmt.Errorf("look at %s in database %q: %w", strings.Join(names, ", "), database, err)
	}
	return found, nil
}

func quoteString(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }

// prepareTables is Prepare for single tables. Nothing is dropped by it: that is a
// part of the transaction that restores.
func (s *session) prepareTables(ctx context.Context, database string, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	names := strings.Join(o.Only, ", ")
	there, err := s.exists(ctx, database)
	switch {
	case err != nil:
		return plan, err
	case !there:
		plan.Steps = append(plan.Steps, fmt.Sprintf("create database %q and, in it, %s", database, names))
		return plan, nil
	}
	found, err := s.lookAtTables(ctx, database, o.Only)
	if err != nil {
		return plan, err
	}
	if err := mayReplace(found, database, o.Overwrite); err != nil {
		return plan, err
	}
	for _, t := range found {
		what := "table " + t.Name
		if t.Rows >= 0 {
			what += fmt.Sprintf(" with about %d rows", t.Rows)
		}
		plan.Replaces = append(plan.Replaces, what)
		for _, r := range t.References {
			plan.Steps = append(plan.Steps, fmt.Sprintf("take the foreign key %s off %s, and put it back when %s is there again: its rows have to fit then", r.Name, r.Table, t.Name))
		}
		if len(t.Publications) > 0 {
			plan.Steps = append(plan.Steps, fmt.Sprintf("take %s out of the publication %s: add it again yourself afterwards", t.Name, strings.Join(t.Publications, ", ")))
		}
	}
	step := fmt.Sprintf("create %s in database %q and fill it, in one transaction; everything else stays as it is", names, database)
	if len(found) > 0 {
		step = fmt.Sprintf("drop %s in database %q, create it anew and fill it, in one transaction; everything else stays as it is", names, database)
	}
	plan.Steps = append(plan.Steps, step)
	return plan, nil
}

// mayReplace says why the tables that are there cannot be replaced, if so.
func mayReplace(found []table, database string, overwrite bool) error {
	var there, held []string
	for _, t := range found {
		there = append(there, t.Name)
		if len(t.Children) > 0 {
			held = append(held, fmt.Sprintf("%s would take with it what is a part of it or inherits from it: %s", t.Name, strings.Join(t.Children, ", ")))
		}
		if len(t.Views) > 0 {
			held = append(held, fmt.Sprintf("%s is used by %s", t.Name, strings.Join(t.Views, ", ")))
		}
	}
	switch {
	case len(there) > 0 && !overwrite:
		return problem.New(problem.Conflict, "the target is not empty: database %q has %s", database, strings.Join(there, ", ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite) to drop and replace it, or restore into another source and copy from there what you need.")
	case len(held) > 0:
		return problem.New(problem.Conflict, "%s", held[0]).WithReason(engine.ReasonUnsupported).WithDetails(held[1:]...).
			WithHint("Drop views yourself and make them again after the restore; name partitions with their parent; or restore into another source and copy from there what you need.")
	}
	return nil
}

// roundTables is what is done before and after single tables come back, in the same
// transaction, so that a restore that fails leaves them as they were; and what
// follows each of their statements.
func (s *session) roundTables(ctx context.Context, database string, o engine.RestoreOptions) (round around, follow func([]byte) string, err error) {
	found, err := s.lookAtTables(ctx, database, o.Only)
	if err == nil {
		err = mayReplace(found, database, o.Overwrite) // one may have come since Prepare
	}
	if err != nil {
		return round, nil, err
	}
	p, err := s.lookAtPlace(ctx, database, o.Only)
	if err != nil {
		return round, nil, err
	}
	var before, after strings.Builder
	for _, t := range found {
		for _, r := range t.References {
			fmt.Fprintf(&before, "ALTER TABLE %s DROP CONSTRAINT %s;\n", r.Table, r.Name)
			fmt.Fprintf(&after, "ALTER TABLE %s ADD CONSTRAINT %s %s;\n", r.Table, r.Name, r.Definition)
			if r.Comment != "" {
				fmt.Fprintf(&after, "COMMENT ON CONSTRAINT %s ON %s IS E%s;\n", r.Name, r.Table, quoteString(strings.ReplaceAll(r.Comment, `\`, `\\`)))
			}
		}
	}
	if len(found) > 0 {
		names := make([]string, len(found))
		for i, t := range found {
			names[i] = t.Name
		}
		fmt.Fprintf(&before, "DROP TABLE %s;\n", strings.Join(names, ", "))
	}
	before.WriteString(createSchemas(p.Missing))
	if len(p.Favoured) > 0 && !o.NoOwner {
		follow = p.onlyWhatIsGranted
	}
	return around{before.String(), after.String()}, follow, nil
}

// place is what matters of the database that single tables come back to.
type place struct {
	Missing  []string // schemas that are not there
	Favoured []string // roles that get rights on whatever is made
}

const aboutPlace = `WITH n AS (SELECT DISTINCT n, pg_catalog.to_regnamespace(n) AS oid FROM unnest(ARRAY[%s]::text[]) n)
SELECT json_build_object(
  'Missing', (SELECT json_agg(n) FROM n WHERE oid IS NULL),
  'Favoured', (SELECT json_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
    FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) a
    WHERE d.defaclobjtype IN ('r', 'S') AND a.grantee <> d.defaclrole AND (d.defaclnamespace = 0 OR d.defaclnamespace IN (SELECT oid FROM n))))`

func (s *session) lookAtPlace(ctx context.Context, database string, tables []string) (p place, err error) {
	schemas := schemasOf(tables)
	for i := range schemas {
		schemas[i] = quoteString(schemas[i])
	}
	if err := s.query(ctx, database, fmt.Sprintf(aboutPlace, strings.Join(schemas, ", ")), &p); err != nil {
		return p, fmt.Errorf("look at the schemas of database %q: %w", database, err)
	}
	return p, nil
}

// schemasOf gives the schemas of tables, as they are written in their names.
func schemasOf(tables []string) (schemas []string) {
	for _, name := range tables {
		w := words{[]byte(name)}
		if schema, _ := w.parts(1); !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
		}
	}
	return schemas
}

// createSchemas creates those that are not there.
func createSchemas(schemas []string) string {
	var sql strings.Builder
	for _, schema := range schemas {
		fmt.Fprintf(&sql, "CREATE SCHEMA IF NOT EXISTS %s;\n", schema)
	}
	return sql.String()
}

// onlyWhatIsGranted follows what is made, so that it has the rights that the dump
// grants and none by default: a whole dump sets the defaults when all is made.
func (p place) onlyWhatIsGranted(head []byte) string {
	w := words{head}
	if w.next() != "CREATE" {
		return ""
	}
	kind := w.next()
	if kind == "UNLOGGED" || kind == "FOREIGN" {
		kind = w.next()
	}
	if kind != "TABLE" && kind != "SEQUENCE" {
		return ""
	}
	return fmt.Sprintf("\nREVOKE ALL ON %s %s FROM %s;\n", kind, w.name(), strings.Join(p.Favoured, ", "))
}

// isAttachment tells what makes a table a partition of one that is there. It comes
// last: the table then has its indexes, and gets none of the other's besides.
func isAttachment(ts []token) bool {
	return begins(ts, "ALTER", "TABLE") && slices.ContainsFunc(ts, func(t token) bool { return t.word == "ATTACH" })
}
