package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// queryLimit bounds the text of a query, in bytes.
const queryLimit = 1 << 20

// query answers the query on stdin, with rows parted by line ends and columns by
// tabs. It changes nothing.
func query(ctx context.Context, path string, stdin io.Reader, w io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(stdin, queryLimit))
	if err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	real, err := target(path)
	if err != nil {
		return err
	}
	conn, unchanged, done, err := openForReading(ctx, real.path)
	if err != nil {
		return err
	}
	defer done()
	rows, err := conn.QueryContext(ctx, string(text))
	if err != nil {
		return problem.Wrap(problem.InvalidInput, err, "run the query").WithReason(engine.ReasonToolFailed)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	values, cells := make([]any, len(columns)), make([]string, len(columns))
	for rows.Next() {
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		for i, v := range values {
			cells[i] = cell(*v.(*any))
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	if err := errors.Join(rows.Err(), unchanged()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// cell is one value as SQLite's own tool shows it.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
