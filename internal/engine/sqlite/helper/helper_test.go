package helper

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// create makes a database at path with the pragmas given and keeps it open.
func create(t *testing.T, path string, pragmas ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_busy_timeout=20000&_synchronous=OFF")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	for _, statement := range append(pragmas,
		`CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB)`,
		`CREATE INDEX item_name ON item(name)`,
		`CREATE TABLE log(n INTEGER)`,
		`CREATE TRIGGER item_added AFTER INSERT ON item BEGIN INSERT INTO log VALUES(new.id); END`,
	) {
		exec(t, db, statement)
	}
	fill(t, db, 150)
	return db
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func fill(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	exec(t, db, fmt.Sprintf(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < %d)
		INSERT INTO item(name, body) SELECT 'item ' || n, randomblob(n * 61 %% 9000) FROM c`, n))
}

// content is everything that is in the database, as text.
func content(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query(`SELECT 'schema', name, coalesce(sql, '') FROM sqlite_schema
		UNION ALL SELECT 'item', id || name, hex(body) FROM item
		UNION ALL SELECT 'log', '', n FROM log ORDER BY 1, 2, 3`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var x, y, z string
		if err := rows.Scan(&x, &y, &z); err != nil {
			t.Fatal(err)
		}
		b.WriteString(x + "|" + y + "|" + z + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func run(t *testing.T, stdin []byte, args ...string) (stdout []byte, f *problem.Problem) {
	t.Helper()
	var out, errs bytes.Buffer
	status := Main(t.Context(), args, bytes.NewReader(stdin), &out, &errs)
	if status == 0 {
		return out.Bytes(), nil
	}
	f = engine.HelperFailure(engine.Exit{Status: status, Stderr: errs.String()})
	if len(f.Details) > 0 {
		t.Fatalf("status %d without a failure: %q", status, errs.String())
	}
	return out.Bytes(), f
}

func mustRun(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	out, f := run(t, stdin, args...)
	if f != nil {
		t.Fatalf("%v: %+v", args, *f)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	journals := map[string]string{"wal": "PRAGMA journal_mode=WAL", "delete": "PRAGMA journal_mode=DELETE"}
	for name, journal := range journals {
		for targetName, targetJournal := range map[string]string{"new": "", "wal": journals["wal"], "delete": journals["delete"]} {
			sizes := []int{4096}
			if name == "wal" && targetName == "wal" {
				sizes = []int{512, 4096, 65536}
			}
			for _, pageSize := range sizes {
				t.Run(fmt.Sprintf("%s into %s, pages of %d", name, targetName, pageSize), func(t *testing.T) {
					dir := t.TempDir()
					from, to := filepath.Join(dir, "a b?#%41.db"), filepath.Join(dir, "to.db")
					escaped := strings.NewReplacer("?", "%3f", "#", "%23", "%", "%25").Replace(from)
					source := create(t, escaped, fmt.Sprintf("PRAGMA page_size=%d", pageSize), journal)
					dump := mustRun(t, nil, DumpCommand, from)
					h, err := image.Parse(dump)
					if err != nil || h.Size() != int64(len(dump)) || h.PageSize != int64(pageSize) || h.WAL != (name == "wal") {
						t.Fatalf("header %+v, %v, dump of %d bytes", h, err, len(dump))
					}
					var app *sql.DB
					if targetJournal != "" {
						app = create(t, to, fmt.Sprintf("PRAGMA page_size=%d", pageSize), targetJournal)
						fill(t, app, 90)
					}
					mustRun(t, dump, RestoreCommand, to)
					if app == nil {
						app, err = sql.Open("sqlite", "file:"+to)
						if err != nil {
							t.Fatal(err)
						}
						defer app.Close()
					}
					// The connection that was open all the time sees the new content.
					if content(t, app) != content(t, source) {
						t.Error("the content differs")
					}
					exec(t, app, `INSERT INTO item(name) VALUES('afterwards')`)
					var verdict, mode string
					if err := app.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
						t.Error(verdict, err)
					}
					if err := app.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil {
						t.Error(err)
					}
					if wal := h.WAL || targetName == "wal"; wal != (mode == "wal") {
						t.Errorf("the journal mode is %s", mode)
					}
					noLeftovers(t, dir)
				})
			}
		}
	}
}

func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

// Every dump taken while a writer is at work must be one moment: the writer
// keeps item and log equal within each transaction.
func TestDumpUnderWrites(t *testing.T) {
	for _, journal := range []string{"WAL", "DELETE"} {
		t.Run(journal, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.db")
			db := create(t, path, "PRAGMA journal_mode="+journal)
			ctx, stop := context.WithCancel(t.Context())
			wrote, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				defer close(wrote)
				for ctx.Err() == nil {
					_, err := db.Exec(`INSERT INTO item(name, body) SELECT 'w', randomblob(3000) FROM log LIMIT 20; DELETE FROM item WHERE id % 7 = 0; DELETE FROM log WHERE n % 7 = 0`)
					if err != nil {
						ended <- err
						return
					}
					select {
					case wrote <- struct{}{}:
					default:
					}
				}
			}()
			for range 5 {
				<-wrote
				dump := mustRun(t, nil, DumpCommand, path)
				<-wrote
				copied := filepath.Join(t.TempDir(), "copy.db")
				if err := os.WriteFile(copied, dump, 0o600); err != nil {
					t.Fatal(err)
				}
				back, err := sql.Open("sqlite", copied)
				if err != nil {
					t.Fatal(err)
				}
				var verdict string
				if err := back.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
					t.Error(verdict, err)
				}
				back.Close()
			}
			stop()
			for range wrote {
			}
			select {
			case err := <-ended:
				t.Error("the writer failed:", err)
			default:
			}
		})
	}
}

func TestRestoreKeepsOwnerAndMode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files to somebody else")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 1234, 2345); err != nil {
		t.Fatal(err)
	}
	create(t, filepath.Join(dir, "from.db"), "PRAGMA journal_mode=WAL")
	dump := mustRun(t, nil, DumpCommand, filepath.Join(dir, "from.db"))
	to := filepath.Join(dir, "to.db")
	mustRun(t, dump, RestoreCommand, to)
	owned(t, to, "1234:2345 0644")
	if err := os.Chown(to, 77, 88); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o640); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dump, RestoreCommand, to)
	owned(t, to, "77:88 0640")
	mustRun(t, nil, DumpCommand, to)
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(to + suffix); err == nil {
			owned(t, to+suffix, "77:88 0640")
		}
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	create(t, good).Close()
	dump := mustRun(t, nil, DumpCommand, good)
	text := filepath.Join(dir, "text")
	empty := filepath.Join(dir, "empty")
	link := filepath.Join(dir, "link")
	damaged := bytes.Clone(dump)
	copy(damaged[4096+8:], bytes.Repeat([]byte{0xff}, 4000))
	for path, data := range map[string]string{text: strings.Repeat("no database ", 500), empty: ""} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere/x.db", link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, command, path string
		stdin               []byte
		want                problem.Reason
	}{
		{"dump: missing", DumpCommand, filepath.Join(dir, "none"), nil, engine.ReasonNoDatabase},
		{"dump: directory", DumpCommand, dir, nil, engine.ReasonNoDatabase},
		{"dump: text", DumpCommand, text, nil, engine.ReasonNoDatabase},
		{"dump: empty", DumpCommand, empty, nil, engine.ReasonEmpty},
		{"dump: dangling link", DumpCommand, link, nil, engine.ReasonNoDatabase},
		{"restore: nothing", RestoreCommand, good, nil, engine.ReasonTruncated},
		{"restore: text", RestoreCommand, good, []byte(strings.Repeat("x", 1000)), engine.ReasonMalformed},
		{"restore: short", RestoreCommand, good, dump[:len(dump)-1], engine.ReasonTruncated},
		{"restore: header only", RestoreCommand, good, dump[:100], engine.ReasonTruncated},
		{"restore: long", RestoreCommand, good, append(bytes.Clone(dump), 0), engine.ReasonMalformed},
		{"restore: damaged", RestoreCommand, good, damaged, engine.ReasonMalformed},
		{"restore: no directory", RestoreCommand, filepath.Join(dir, "none", "x"), dump, engine.ReasonNoDatabase},
		{"restore: over text", RestoreCommand, text, dump, engine.ReasonTargetNotEmpty},
		{"restore: dangling link", RestoreCommand, link, dump, engine.ReasonNoDatabase},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, f := run(t, tt.stdin, tt.command, tt.path)
			if f == nil || f.Reason != tt.want {
				t.Errorf("got %+v, want reason %s", f, tt.want)
			}
			noLeftovers(t, dir)
		})
	}
	if !bytes.Equal(mustRun(t, nil, DumpCommand, good), dump) {
		t.Error("a failed restore changed the database")
	}
}

func TestLocked(t *testing.T) {
	before := busyTimeout
	busyTimeout = 50 * time.Millisecond
	defer func() { busyTimeout = before }()
	path := filepath.Join(t.TempDir(), "a.db")
	db := create(t, path, "PRAGMA journal_mode=DELETE")
	dump := mustRun(t, nil, DumpCommand, path)
	exec(t, db, "BEGIN EXCLUSIVE")
	for command, stdin := range map[string][]byte{DumpCommand: nil, RestoreCommand: dump, ProbeCommand: nil} {
		if _, f := run(t, stdin, command, path); f == nil || f.Reason != engine.ReasonNoConnection || f.Hint == "" {
			t.Errorf("%s: %+v", command, f)
		}
	}
	exec(t, db, "ROLLBACK")
	mustRun(t, nil, DumpCommand, path)
}

// A program that has the database open keeps it from getting another page size
// under a write-ahead log.
func TestOtherPageSize(t *testing.T) {
	before := busyTimeout
	busyTimeout = 50 * time.Millisecond
	defer func() { busyTimeout = before }()
	dir := t.TempDir()
	create(t, filepath.Join(dir, "small.db"), "PRAGMA page_size=1024", "PRAGMA journal_mode=WAL")
	dump := mustRun(t, nil, DumpCommand, filepath.Join(dir, "small.db"))
	large := filepath.Join(dir, "large.db")
	db := create(t, large, "PRAGMA page_size=8192", "PRAGMA journal_mode=WAL")
	if _, f := run(t, dump, RestoreCommand, large); f == nil || f.Reason != engine.ReasonTargetNotEmpty || f.Hint == "" {
		t.Errorf("while it is open: %+v", f)
	}
	db.Close()
	mustRun(t, dump, RestoreCommand, large)
	if got := mustRun(t, nil, DumpCommand, large); len(got) != len(dump) {
		t.Errorf("%d bytes, want %d", len(got), len(dump))
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	create(t, filepath.Join(dir, "full.db"), "PRAGMA journal_mode=WAL")
	for name, data := range map[string]string{"empty": "", "text": strings.Repeat("text ", 500)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]State{
		"full.db": {Exists: true, Database: true, Tables: 2, Names: []string{"item", "log"}, Directory: true, Writable: true},
		"empty":   {Exists: true, Database: true, Directory: true, Writable: true},
		"text":    {Exists: true, Directory: true, Writable: true},
		"none":    {Directory: true, Writable: true},
		"no/file": {},
	}
	for name, want := range tests {
		var got State
		if err := json.Unmarshal(mustRun(t, nil, ProbeCommand, filepath.Join(dir, name)), &got); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestCalledWrongly(t *testing.T) {
	for _, args := range [][]string{nil, {DumpCommand}, {"rm", "/"}, {DumpCommand, "a", "b"}} {
		var errs bytes.Buffer
		if status := Main(t.Context(), args, nil, nil, &errs); status != 2 || errs.Len() == 0 {
			t.Errorf("%v: status %d, %q", args, status, errs.String())
		}
	}
}
