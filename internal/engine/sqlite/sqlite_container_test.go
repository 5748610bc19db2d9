package sqlite

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const file = "/data/app.db"

// buildHelper makes a static binary that can be used as HelperBinary.
func buildHelper(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the helper: %v\n%s", err, out)
	}
	return path
}

// app is a container whose program keeps a database open.
type app struct {
	*dockercli.Instance
	image string
}

func startApp(t testing.TB, name, image, writeEvery string) app {
	t.Helper()
	a := app{dockercli.Start(t, name, image, []string{"SQLITE_WRITE_EVERY=" + writeEvery}), image}
	a.HelperBinary = buildHelper(t)
	a.Ready(t, nil, a.argv("SELECT count(*) FROM events")...)
	return a
}

func (a app) argv(statement string) []string {
	if a.image == "sqlite-bare" {
		return []string{"/app", "sql", statement}
	}
	return []string{"sqlite3", "-bail", "-cmd", ".timeout 20000", file, statement}
}

func (a app) sql(t testing.TB, statement string) string {
	t.Helper()
	return strings.TrimSpace(a.Run(t, "", nil, a.argv(statement)...))
}

// fingerprint is a hash of the database as SQL, with what that leaves out.
func (a app) fingerprint(t testing.TB) string {
	t.Helper()
	dump := a.sql(t, ".dump")
	return fmt.Sprintf("%s; %d bytes of SQL, %x", a.sql(t, "SELECT * FROM pragma_user_version, pragma_application_id, pragma_journal_mode, pragma_integrity_check"),
		len(dump), sha256.Sum256([]byte(dump)))
}

func (a app) wreck(t testing.TB) {
	t.Helper()
	for _, kind := range []string{"table", "view"} {
		drop := a.sql(t, fmt.Sprintf(`SELECT 'DROP %[1]s IF EXISTS "' || replace(name, '"', '""') || '";' FROM sqlite_schema
			WHERE type = '%[1]s' AND name NOT LIKE 'sqlite_%%' AND name NOT LIKE 'words_%%'`, kind))
		a.Run(t, drop, nil, "sqlite3", "-bail", "-cmd", ".timeout 20000", file)
	}
	a.sql(t, "PRAGMA user_version=0; PRAGMA application_id=0; VACUUM")
}

const seed = `PRAGMA user_version=42; PRAGMA application_id=4711;
CREATE TABLE "we'ird ""name; --"("co'l" TEXT COLLATE NOCASE, b BLOB, UNIQUE("co'l"));
INSERT INTO "we'ird ""name; --" SELECT value || char(0) || 'ü\n' || char(10), randomblob(value * 40) FROM generate_series(1, 200);
CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, at TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE audit(id INTEGER, what TEXT) STRICT;
CREATE TRIGGER watch AFTER INSERT ON events BEGIN INSERT INTO audit VALUES(new.id, 'added'); END;
CREATE INDEX by_time ON events(at DESC) WHERE id > 3;
CREATE VIEW newest AS SELECT max(id) FROM events;
CREATE VIRTUAL TABLE words USING fts5(word);
INSERT INTO words VALUES('lorem ipsum'), ('dolor');
INSERT INTO events(at, body) SELECT datetime('now'), randomblob(700) FROM generate_series(1, 3000);`

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	a := startApp(t, "sqlite", "sqlite", "0")
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: a.Instance, Spec: source.Spec{Database: file},
		Seed: func(t testing.TB) { a.sql(t, seed) },
		Bulk: func(t testing.TB) {
			a.sql(t, "CREATE TABLE bulk AS SELECT randomblob(1000000) FROM generate_series(1, 80)")
		},
		Fingerprint: a.fingerprint,
		Wreck:       a.wreck,
	})
	// Also a restore that was killed leaves nothing beside the database.
	if names := a.Run(t, "", nil, "find", "/data", "-type", "f", "-not", "-name", "app.db", "-not", "-name", "app.db-*"); names != "" {
		t.Errorf("left behind: %s", names)
	}
}

// dumpOf is one whole dump, checked, or the first failure.
func dumpOf(t *testing.T, inst engine.Instance, path string) ([]byte, engine.Stream, error) {
	t.Helper()
	session, err := New().Open(t.Context(), inst, source.Spec{Database: path})
	if err != nil {
		return nil, engine.Stream{}, err
	}
	streams, err := session.Streams(t.Context())
	if err != nil {
		return nil, engine.Stream{}, err
	}
	p, err := session.Dump(t.Context(), streams[0])
	if err != nil {
		return nil, streams[0], err
	}
	var data bytes.Buffer
	inspector := session.Inspect(streams[0])
	_, err = io.Copy(io.MultiWriter(&data, inspector), p)
	exit, waitErr := p.Wait()
	if err := errors.Join(err, waitErr); err != nil {
		return nil, streams[0], err
	}
	if exit.Status != 0 {
		return nil, streams[0], session.Explain(exit)
	}
	_, err = inspector.Finish()
	return data.Bytes(), streams[0], err
}

// events opens a dump as a file and returns the newest event's number, which
// must be how many there are.
func events(t *testing.T, dump []byte) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dump.db")
	if err := os.WriteFile(path, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	var newest, count int
	if err := db.QueryRow("SELECT max(id), count(*), (SELECT * FROM pragma_integrity_check) FROM events").Scan(&newest, &count, &verdict); err != nil {
		t.Fatal(err)
	}
	if newest != count || verdict != "ok" {
		t.Errorf("newest %d, count %d, integrity %s", newest, count, verdict)
	}
	return count
}

// The application writes all the time, from another container than the helper.
func TestContainerUnderWrites(t *testing.T) {
	dockercli.Need(t)
	for _, image := range []string{"sqlite", "sqlite-bare"} {
		t.Run(image, func(t *testing.T) {
			a := startApp(t, image+"-writes", image, "0.01")
			var first []byte
			before := 0
			for range 5 {
				dump, _, err := dumpOf(t, a, file)
				if err != nil {
					t.Fatal(problem.Text(err))
				}
				n := events(t, dump)
				if n < before {
					t.Errorf("%d events after %d", n, before)
				}
				if before = n; first == nil {
					first = dump
				}
			}
			if before == events(t, first) {
				t.Error("nothing was written meanwhile")
			}
			session, err := New().Open(t.Context(), a, source.Spec{Database: file})
			if err != nil {
				t.Fatal(err)
			}
			a.sql(t, "CREATE TABLE mistake(x)")
			streams, _ := session.Streams(t.Context())
			if _, err := session.Prepare(t.Context(), streams, engine.RestoreOptions{Overwrite: true}); err != nil {
				t.Fatal(problem.Text(err))
			}
			if err := session.Restore(t.Context(), streams[0], bytes.NewReader(first), engine.RestoreOptions{Overwrite: true}); err != nil {
				t.Fatal(problem.Text(err))
			}
			if n := a.sql(t, "SELECT count(*) FROM sqlite_schema WHERE name = 'mistake'"); n != "0" {
				t.Error("the old content is still there")
			}
			// The application is still at work, on the restored content.
			a.Ready(t, nil, a.argv(fmt.Sprintf("SELECT 1 / (count(*) > %d) FROM events", events(t, first)+3))...)
			dump, _, err := dumpOf(t, a, file)
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			kept := events(t, dump)
			if out, err := exec.Command("docker", "restart", "-t", "1", a.ID()).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			a.Ready(t, nil, a.argv(fmt.Sprintf("SELECT 1 / (count(*) > %d) FROM events", kept))...)
			if verdict := a.sql(t, "PRAGMA integrity_check"); verdict != "ok" {
				t.Error(verdict)
			}
		})
	}
}

func TestContainerOffVolume(t *testing.T) {
	dockercli.Need(t)
	a := startApp(t, "sqlite-off", "sqlite", "0")
	a.Run(t, "", nil, "sqlite3", "/tmp/x.db", seed)
	dump, stream, err := dumpOf(t, a, "/tmp/x.db")
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	a.Run(t, string(dump), nil, "sqlite3", "/tmp/y.db")
	for _, look := range []string{".dump", "PRAGMA user_version", "PRAGMA application_id"} {
		if a.Run(t, "", nil, "sqlite3", "/tmp/x.db", look) != a.Run(t, "", nil, "sqlite3", "/tmp/y.db", look) {
			t.Errorf("%s differs", look)
		}
	}
	session, err := New().Open(t.Context(), a, source.Spec{Database: "/tmp/x.db"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
	a.Run(t, strings.Repeat("text ", 1000), nil, "tee", "/tmp/text")
	bare := startApp(t, "sqlite-bare-off", "sqlite-bare", "0")
	for _, tt := range []struct {
		inst engine.Instance
		path string
		want problem.Reason
	}{
		{a, "/tmp/none.db", engine.ReasonNoDatabase},
		{a, "/data/none.db", engine.ReasonNoDatabase},
		{a, "/tmp/text", engine.ReasonNoDatabase},
		{bare, "/tmp/x.db", engine.ReasonToolMissing},
	} {
		_, _, err := dumpOf(t, tt.inst, tt.path)
		if problem.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v, reason %q, want %q", tt.path, err, problem.ReasonOf(err), tt.want)
		} else {
			t.Log(problem.Text(err))
		}
	}
}

// A second container has the volume of the first, but may only read it.
func TestContainerReadOnlyVolume(t *testing.T) {
	dockercli.Need(t)
	a := startApp(t, "sqlite-rw", "sqlite", "0")
	a.sql(t, seed)
	name := fmt.Sprintf("bt-test-sqlite-ro-%d", os.Getpid())
	run := exec.Command("docker", "run", "-d", "--name="+name, "--label="+dockercli.Label, "--volumes-from="+a.ID()+":ro", "baktainer-sample/sqlite", "sleep", "infinity")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", name).Run() })
	reader, err := dockercli.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	reader.HelperBinary = a.HelperBinary
	want, _, err := dumpOf(t, a, file)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	// The application has the database open, with a log beside it.
	got, _, err := dumpOf(t, reader, file)
	if err != nil {
		t.Log("while it is open: ", problem.Text(err))
		if problem.ReasonOf(err) != engine.ReasonUnsupported {
			t.Errorf("reason %q", problem.ReasonOf(err))
		}
	} else if !bytes.Equal(got, want) {
		t.Error("while it is open: the dump differs")
	}
	if out, err := exec.Command("docker", "stop", "-t", "1", a.ID()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, _, err := dumpOf(t, a, file); err != nil { // the helper works beside a stopped container, too
		t.Error(err)
	}
	got, _, err = dumpOf(t, reader, file)
	if err != nil {
		t.Fatal("after its end: ", problem.Text(err))
	}
	events(t, got)
	session, err := New().Open(t.Context(), reader, source.Spec{Database: file})
	if err != nil {
		t.Fatal(err)
	}
	streams, _ := session.Streams(t.Context())
	if _, err := session.Prepare(t.Context(), streams, engine.RestoreOptions{Overwrite: true}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error("a restore onto a read-only volume:", err)
	}
}
