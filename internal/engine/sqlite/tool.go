package sqlite

import (
	"bytes"
	"context"
	"fmt"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// dumpByTool lets the container's sqlite3 write the database as SQL. It does so
// inside one read transaction and without a temporary file; its other ways
// (VACUUM INTO, .backup) need a file to write to.
func dumpByTool(ctx context.Context, inst engine.Instance, file string) (engine.Process, error) {
	p, err := inst.Exec(ctx, engine.Command{Argv: []string{
		"sqlite3", "-init", "/dev/null", "-batch", "-bail", "-readonly",
		"-cmd", ".timeout 30000", file,
		// What .dump leaves out, and applications use to know their schema.
		"SELECT 'PRAGMA application_id=' || application_id || ';' FROM pragma_application_id",
		"SELECT 'PRAGMA user_version=' || user_version || ';' FROM pragma_user_version",
		".dump",
	}})
	if problem.ReasonOf(err) == engine.ReasonToolMissing {
		return nil, offVolume(problem.Wrap(problem.Failed, err, "start sqlite3"), file)
	}
	if err != nil {
		return nil, fmt.Errorf("start the dump of %s: %w", file, err)
	}
	return p, nil
}

// offVolume tells the way out where the container has no tool.
func offVolume(p *problem.Problem, file string) *problem.Problem {
	p.What = fmt.Sprintf("%s is not on a volume, and the container has no sqlite3 to read it with", file)
	return p.WithReason(engine.ReasonToolMissing).
		WithHint("Put the directory of the file on a volume; a mount of the file alone is not enough.")
}

var toolPatterns = []engine.Pattern{
	{Any: []string{"unable to open database"}, Reason: engine.ReasonNoDatabase, Code: problem.NotFound,
		Hint: "Set baktainer.db.name to the path of the database file inside the container."},
	{Any: []string{"not a database"}, Reason: engine.ReasonNoDatabase, Code: problem.Failed,
		Hint: "The file is not a SQLite 3 database, or it is encrypted."},
	{Any: []string{"is locked"}, Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "Somebody holds a lock on the database. Look for a transaction that stays open, or use PRAGMA journal_mode=WAL."},
}

// tailSize is enough for the last line of a dump.
const tailSize = 256

var (
	sqlBegin = []byte("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")
	sqlEnd   = []byte("\nCOMMIT;\n")
)

// sqlInspector checks that a dump in SQL has its first lines and its last.
// sqlite3 ends with status 0 even when it could not read everything, but then
// it writes ROLLBACK instead of COMMIT.
type sqlInspector struct {
	head, tail []byte // at most tailSize bytes each
	size       int64
}

func (i *sqlInspector) Write(p []byte) (int, error) {
	if missing := tailSize - len(i.head); missing > 0 {
		i.head = append(i.head, p[:min(missing, len(p))]...)
	}
	i.size += int64(len(p))
	i.tail = append(i.tail, p[max(0, len(p)-tailSize):]...)
	if extra := len(i.tail) - tailSize; extra > 0 {
		i.tail = append(i.tail[:0], i.tail[extra:]...)
	}
	return len(p), nil
}

func (i *sqlInspector) Finish() (engine.Contents, error) {
	p := problem.New(problem.Failed, "")
	switch {
	case i.size == 0:
		p.Reason, p.What = engine.ReasonEmpty, "the dump is empty"
	case bytes.Contains(i.tail, []byte("ROLLBACK; -- due to errors")):
		p.Reason, p.What = engine.ReasonMalformed, "sqlite3 could not read the whole database"
		p.Hint = "Look at it with PRAGMA integrity_check."
	case bytes.HasSuffix(i.tail, sqlEnd) && !bytes.Contains(i.head, sqlBegin):
		p.Reason, p.What = engine.ReasonMalformed, "the dump does not begin as one of sqlite3 does"
	case !bytes.HasSuffix(i.tail, sqlEnd):
		p.Reason, p.What = engine.ReasonTruncated, "the dump ends before its COMMIT"
	default:
		return engine.Contents{
			Objects: []engine.Object{{Kind: "database", Name: "main", Rows: -1}},
			Notes:   []string{"SQL, written by the container's own sqlite3"},
		}, nil
	}
	return engine.Contents{}, p
}
