package mysql

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// tablesThere lists those of the named tables that a database has, and views of
// these names, in hexadecimal so that every name comes as one word.
const tablesThere = `SELECT CONCAT_WS(' ', HEX(TABLE_NAME), TABLE_TYPE = 'VIEW', COALESCE(TABLE_ROWS, -1))
FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME IN (%s);
`

// there gives, in sentences, the tables that would be replaced.
func (s *session) there(ctx context.Context, database string, names []string) (tables []string, err error) {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteString(n)
	}
	rows, err := s.query(ctx, fmt.Sprintf(tablesThere, quoteString(database), strings.Join(quoted, ", ")))
	if err != nil {
		return nil, fmt.Errorf("look at the tables of database %q: %w", database, err)
	}
	for _, row := range rows {
		var hex []byte
		var view, count int64
		if _, err := fmt.Sscanf(row, "%x %d %d", &hex, &view, &count); err != nil {
			return nil, problem.Wrap(problem.Failed, err, "look at the tables of database %q", database).WithReason(engine.ReasonMalformed)
		}
		if view != 0 {
			return nil, problem.New(problem.Conflict, "%q in database %q is a view now, and was a table", hex, database).WithReason(engine.ReasonTargetNotEmpty).
				WithHint("Rename or drop the view, or restore into another source and copy from there what you need.")
		}
		what := fmt.Sprintf("table %s", hex)
		if count >= 0 {
			what += fmt.Sprintf(" with about %d rows", count)
		}
		tables = append(tables, what)
	}
	slices.Sort(tables)
	return tables, nil
}

// prepareTables is Prepare for single tables. Nothing is dropped by it: the dump
// of a table begins with that.
func (s *session) prepareTables(ctx context.Context, database string, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	there, err := s.there(ctx, database, o.Only)
	if err != nil {
		return plan, err
	}
	names := strings.Join(o.Only, ", ")
	switch {
	case len(there) > 0 && !o.Overwrite:
		return plan, problem.New(problem.Conflict, "the target is not empty: database %q has %s", database, strings.Join(there, "; ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite) to drop and replace it, or restore into another source and copy from there what you need.")
	case len(there) > 0:
		plan.Steps = append(plan.Steps, fmt.Sprintf("drop what there is in database %q of %s, create it anew and fill it; everything else stays as it is", database, names))
	default:
		plan.Steps = append(plan.Steps, fmt.Sprintf("create %s in database %q and fill it; everything else stays as it is", names, database))
	}
	plan.Replaces = there
	return plan, nil
}

// restoreTables carries out the dump of single tables.
func (s *session) restoreTables(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	database := target(stream, o)
	if _, err := s.prepareTables(ctx, database, o); err != nil { // one may have come since
		return err
	}
	if err := s.feed(ctx, dumpFor(stream, r, o)); err != nil {
		return fmt.Errorf("restore %s of database %q, of which there may be a part now: %w", strings.Join(o.Only, ", "), database, err)
	}
	return nil
}
