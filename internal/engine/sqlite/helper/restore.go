package helper

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// restore replaces the content of the database with the image that r holds, in
// one transaction: whoever has the database open sees the old content or the
// new one. The image is received and checked before that, in a temporary file on
// the same volume, so that a broken stream changes nothing.
func restore(ctx context.Context, path string, r io.Reader) error {
	real, err := target(path)
	if err != nil {
		return noDirectory(err, path)
	}
	if readOnlyFileSystem(real.dir) {
		return problem.New(problem.Conflict, "%s is on a volume that is mounted read-only", path).
			WithReason(engine.ReasonUnsupported).
			WithHint("Restore through a container that has the volume mounted for writing.")
	}
	staged, err := receive(real.dir, r)
	if err != nil {
		return fmt.Errorf("receive the image for %s: %w", path, err)
	}
	defer staged.discard()

	source, done, err := connect(ctx, staged.path, immutable)
	if err != nil {
		return explain(err, "the image")
	}
	defer done()
	// SQLite has the file open from here on: its name is not needed any more.
	staged.discard()
	if err := check(ctx, source); err != nil {
		return err
	}
	created, err := real.ensureFile()
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := real.replace(ctx, source, staged.header); err != nil {
		if created {
			_ = os.Remove(real.path) // the error below tells more
		}
		return err
	}
	return nil
}

func noDirectory(err error, path string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return problem.New(problem.NotFound, "the directory of %s does not exist on the container's volumes", path).
		WithReason(engine.ReasonNoDatabase).
		WithHint("Set baktainer.db.name to a path on a volume of the container.")
}

// destination is the database file that a path leads to, through symbolic links.
type destination struct{ path, dir string }

// target finds the file behind path. The file need not exist, its directory must.
func target(path string) (destination, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return destination{}, problem.New(problem.Conflict, "%s is a symbolic link that leads off the container's volumes", path).
				WithReason(engine.ReasonNoDatabase).
				WithHint("Set baktainer.db.name to the file that the link leads to.")
		}
		var dir string
		if dir, err = filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			return destination{path: filepath.Join(dir, filepath.Base(path)), dir: dir}, nil
		}
	}
	if err != nil {
		return destination{}, fmt.Errorf("find %s: %w", path, err)
	}
	return destination{path: real, dir: filepath.Dir(real)}, nil
}

// ensureFile makes an empty file that belongs to the owner of its directory, if
// there is none: the application must be able to write to it.
func (d destination) ensureFile() (created bool, err error) {
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // the application may run as another user
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := os.Stat(d.dir)
	if err != nil {
		return true, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return true, err
		}
	}
	return true, nil
}

// replace copies the image over the database. The files that SQLite makes beside
// it get the database's owner and mode, by SQLite itself.
func (d destination) replace(ctx context.Context, source *sql.Conn, h image.Header) error {
	if err := d.adopt(ctx, h); err != nil {
		return err
	}
	err := source.Raw(func(driver any) error {
		from, ok := driver.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the SQLite driver cannot copy databases")
		}
		backup, err := from.NewBackup(dsn(d.path, readWrite))
		if err != nil {
			return err
		}
		// All pages in one step are one transaction.
		more, err := backup.Step(-1)
		if err == nil && more {
			err = errors.New("the copy stopped before its end")
		}
		return errors.Join(err, backup.Finish())
	})
	if err != nil {
		return explain(err, d.path)
	}
	if !h.WAL {
		return nil
	}
	// The image itself says rollback mode, see receive.
	conn, done, err := connect(ctx, d.path, readWrite)
	if err != nil {
		return explain(err, d.path)
	}
	defer done()
	if _, err := conn.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil && codeOf(err) != sqlite3.SQLITE_BUSY {
		return explain(err, d.path)
	}
	return nil
}

// adopt takes the database out of write-ahead-log mode when the image has another
// page size: SQLite cannot change that under a log.
func (d destination) adopt(ctx context.Context, h image.Header) error {
	conn, done, err := connect(ctx, d.path, readWrite)
	if err != nil {
		if codeOf(err) == sqlite3.SQLITE_NOTADB {
			return problem.New(problem.Conflict, "%s exists and is not a SQLite database", d.path).
				WithReason(engine.ReasonTargetNotEmpty).
				WithHint("Stop the application, move the file away, and restore again.")
		}
		return explain(err, d.path)
	}
	defer done()
	var journal string
	var pageSize int64
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return explain(err, d.path)
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA page_size").Scan(&pageSize); err != nil {
		return explain(err, d.path)
	}
	if journal != "wal" || pageSize == h.PageSize {
		return nil
	}
	var now string
	err = conn.QueryRowContext(ctx, "PRAGMA journal_mode=DELETE").Scan(&now)
	if err == nil && now == "delete" {
		return nil
	}
	return problem.Wrap(problem.Conflict, err, "%s is in use and has pages of %d bytes, the snapshot of %d", d.path, pageSize, h.PageSize).
		WithReason(engine.ReasonTargetNotEmpty).
		WithHint("Stop the application that has the database open, or move the file away, and restore again.")
}

// check looks at the structure of the image. Rows that break a constraint are
// the application's own affair: they were there when the snapshot was taken.
func check(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "PRAGMA quick_check")
	if err != nil {
		return explain(err, "the image")
	}
	defer rows.Close()
	for rows.Next() {
		var finding string
		if err := rows.Scan(&finding); err != nil {
			return explain(err, "the image")
		}
		if finding == "ok" || strings.HasPrefix(finding, "NULL value in ") || strings.HasPrefix(finding, "CHECK constraint failed in ") {
			continue
		}
		return problem.New(problem.Failed, "the image is damaged: %s", finding).
			WithReason(engine.ReasonMalformed).
			WithHint("The database was damaged when the snapshot was taken. Take an older snapshot, or write this one to a file with `baktainer dump` and repair it there.")
	}
	if err := rows.Err(); err != nil {
		return explain(err, "the image")
	}
	return nil
}
