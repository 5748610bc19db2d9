package helper

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Version is that of the embedded SQLite.
const Version = sqlite3.SQLITE_VERSION

// busyTimeout is how long a lock that somebody else holds is waited for.
// Only tests change it.
var busyTimeout = 30 * time.Second

// mode is how a database file is opened.
type mode string

const (
	readOnly  mode = "mode=ro"
	readWrite mode = "mode=rw"
	// immutable takes no locks and needs no files beside the database.
	immutable mode = "mode=ro&immutable=1"
)

// dsn is the URI of an existing file. SQLite undoes the escaping of the path.
func dsn(path string, m mode) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: string(m) + "&_busy_timeout=" + strconv.FormatInt(busyTimeout.Milliseconds(), 10)}
	return u.String()
}

// connect opens one connection to an existing database file and reads its first
// page, so that what is wrong with the file shows here. done closes it.
func connect(ctx context.Context, path string, m mode) (conn *sql.Conn, done func(), err error) {
	db, err := sql.Open("sqlite", dsn(path, m))
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	if conn, err = db.Conn(ctx); err == nil {
		var tables int
		if err = conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err == nil {
			return conn, func() { _ = errors.Join(conn.Close(), db.Close()) }, nil
		}
		err = errors.Join(err, conn.Close())
	}
	return nil, nil, errors.Join(err, db.Close())
}

// openForReading opens the database without ever changing it, with two
// exceptions that SQLite itself makes for every reader. A transaction that a
// crashed program left half done is rolled back, as that program would do at its
// next start. And on a read-only file system nobody can take locks: the file is
// read as it is, provided that there is no log that would have to be read with
// it, and unchanged reports afterwards whether somebody wrote meanwhile.
func openForReading(ctx context.Context, path string) (conn *sql.Conn, unchanged func() error, done func(), err error) {
	before, err := checkFile(path)
	if err != nil {
		return nil, nil, nil, err
	}
	unchanged = func() error { return nil }
	conn, done, err = connect(ctx, path, readOnly)
	if code := codeOf(err); code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_CANTOPEN {
		if !readOnlyFileSystem(filepath.Dir(path)) {
			conn, done, err = connect(ctx, path, readWrite)
		} else {
			if err := noLog(path); err != nil {
				return nil, nil, nil, err
			}
			unchanged = func() error { return sameFile(path, before) }
			conn, done, err = connect(ctx, path, immutable)
		}
	}
	if err != nil {
		return nil, nil, nil, explain(err, path)
	}
	return conn, unchanged, done, nil
}

// checkFile says what is wrong with the path, without opening the file: closing
// it would drop the locks that SQLite holds on it in this process.
func checkFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, problem.New(problem.NotFound, "there is no file %s on the container's volumes", path).
			WithReason(engine.ReasonNoDatabase).
			WithHint("Set baktainer.db.name to the path of the database file inside the container; a symbolic link must not lead off the volume.")
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, problem.New(problem.InvalidInput, "%s is not a regular file", path).
			WithReason(engine.ReasonNoDatabase).
			WithHint("Set baktainer.db.name to the path of the database file inside the container.")
	}
	return info, nil
}

func readOnlyFileSystem(dir string) bool {
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && st.Flags&syscall.MS_RDONLY != 0
}

func noLog(path string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
			return problem.New(problem.Failed, "%s has a log beside it (%s), which cannot be read on a read-only volume", path, suffix).
				WithReason(engine.ReasonUnsupported).
				WithHint("Put the label on the container that has the volume mounted for writing.")
		}
	}
	return nil
}

func sameFile(path string, before fs.FileInfo) error {
	after, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at %s again: %w", path, err)
	}
	if os.SameFile(before, after) && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()) {
		return noLog(path)
	}
	return problem.New(problem.Failed, "%s was written to while it was read from a read-only volume", path).
		WithReason(engine.ReasonUnsupported).
		WithHint("Put the label on the container that has the volume mounted for writing.")
}

// codeOf gives SQLite's primary result code in err's chain, 0 if there is none.
func codeOf(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// explain makes a problem of what SQLite says about a database file.
func explain(err error, path string) error {
	p := problem.Wrap(problem.Failed, err, "%s", path).WithReason(engine.ReasonToolFailed)
	switch codeOf(err) {
	case 0:
		return fmt.Errorf("%s: %w", path, err)
	case sqlite3.SQLITE_NOTADB:
		p.Reason = engine.ReasonNoDatabase
		p.Hint = "The file is not a SQLite 3 database, or it is encrypted. Set baktainer.db.name to the database file."
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		p.Code, p.Reason = problem.Unavailable, engine.ReasonNoConnection
		p.Hint = fmt.Sprintf("Somebody held a lock on the database for more than %s. Look for a transaction that stays open, or use PRAGMA journal_mode=WAL.", busyTimeout)
	case sqlite3.SQLITE_CORRUPT:
		p.Hint = "The database is damaged: look at it with PRAGMA integrity_check."
	case sqlite3.SQLITE_FULL:
		p.Hint = "There is not enough room on the volume: a restore needs the size of the database twice for a while."
	case sqlite3.SQLITE_READONLY:
		p.Hint = "The volume is mounted read-only, or the database cannot be written to."
	}
	return p
}
