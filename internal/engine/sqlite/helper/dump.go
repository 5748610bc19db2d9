package helper

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// dump writes the database, page by page, as it is at one moment: all pages are
// read inside one read transaction, through SQLite's cache and log. With a
// write-ahead log writers go on meanwhile; with a rollback journal they wait.
func dump(ctx context.Context, path string, w io.Writer) error {
	conn, unchanged, done, err := openForReading(ctx, path)
	if err != nil {
		return err
	}
	defer done()
	if err := copyPages(ctx, conn, path, w); err != nil {
		return err
	}
	return unchanged()
}

func copyPages(ctx context.Context, conn *sql.Conn, path string, w io.Writer) error {
	// The read lock is taken by the first statement and kept to the end.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return explain(err, path)
	}
	var pages int64
	if err := conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return explain(err, path)
	}
	if pages == 0 {
		return problem.New(problem.Failed, "%s is empty: nothing was ever written to the database", path).
			WithReason(engine.ReasonEmpty)
	}
	rows, err := conn.QueryContext(ctx, "SELECT data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return explain(err, path)
	}
	defer rows.Close()

	out := bufio.NewWriterSize(w, 256<<10)
	var page sql.RawBytes
	var seen, size int64
	for rows.Next() {
		if err := rows.Scan(&page); err != nil {
			return explain(err, path)
		}
		if seen++; seen == 1 {
			size = int64(len(page))
			page = append(sql.RawBytes(nil), page...)
			if err := image.SetPages(page, pages); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		if int64(len(page)) != size {
			return fmt.Errorf("page %d of %s has %d bytes instead of %d", seen, path, len(page), size)
		}
		if _, err := out.Write(page); err != nil {
			return fmt.Errorf("write page %d of %s: %w", seen, path, err)
		}
	}
	if err := rows.Err(); err != nil {
		return explain(err, path)
	}
	if seen != pages {
		return fmt.Errorf("%s has %d pages, of which %d could be read", path, pages, seen)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the end of %s: %w", path, err)
	}
	return nil
}
