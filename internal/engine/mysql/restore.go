package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// state is what a server has of a database.
type state struct {
	there              bool
	charset, collation string
	objects            int
}

func (s *session) look(ctx context.Context, database string) (state, error) {
	name := quoteString(database)
	rows, err := s.query(ctx, fmt.Sprintf(`SELECT CONCAT_WS(' ', DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME,
  (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %[1]s) +
  (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %[1]s) +
  (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %[1]s))
FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %[1]s;
`, name))
	if err != nil {
		return state{}, fmt.Errorf("look into database %q: %w", database, err)
	}
	if len(rows) == 0 {
		return state{}, nil
	}
	part := strings.Fields(rows[0])
	if len(part) != 3 {
		return state{}, problem.New(problem.Failed, "look into database %q: an answer of %d columns", database, len(part)).WithReason(engine.ReasonMalformed)
	}
	n, err := strconv.Atoi(part[2])
	if err != nil {
		return state{}, problem.Wrap(problem.Failed, err, "look into database %q", database).WithReason(engine.ReasonMalformed)
	}
	return state{true, part[0], part[1], n}, nil
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if slices.Contains(systemDatabases, strings.ToLower(o.As)) {
		return plan, problem.New(problem.InvalidInput, "%q is a database of the server's own", o.As).WithReason(engine.ReasonUnsupported).
			WithHint("Give another name: nothing is restored into that one.")
	}
	if len(o.Only) > 0 {
		return s.prepareTables(ctx, target(streams[0], o), o)
	}
	var drop, full []string
	for _, stream := range streams {
		if stream.Kind == kindUsers {
			step := "add the accounts that are missing; those that are there stay as they are"
			if o.Overwrite {
				step = fmt.Sprintf("add the accounts that are missing; give the others passwords and grants of the backup, save those named %q", s.creds.User)
			}
			plan.Steps = append(plan.Steps, step)
			continue
		}
		database := target(stream, o)
		now, err := s.look(ctx, database)
		switch {
		case err != nil:
			return plan, err
		case !now.there:
			plan.Steps = append(plan.Steps, fmt.Sprintf("create database %q and fill it", database))
		case now.objects == 0:
			plan.Steps = append(plan.Steps, fmt.Sprintf("fill database %q, which is there and empty", database))
		case !o.Overwrite:
			full = append(full, fmt.Sprintf("%q has %d tables and other objects", database, now.objects))
		default:
			drop = append(drop, database)
			plan.Steps = append(plan.Steps, fmt.Sprintf("drop database %q, create it anew and fill it", database))
			plan.Replaces = append(plan.Replaces, fmt.Sprintf("database %q with %d tables and other objects", database, now.objects))
			plan.Replaces = append(plan.Replaces, o.Lost(stream)...)
		}
	}
	if len(full) > 0 {
		return plan, problem.New(problem.Conflict, "the target is not empty: %s", strings.Join(full, "; ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite) to drop and replace it, or drop the database yourself.")
	}
	if o.DryRun {
		return plan, nil
	}
	for _, database := range drop {
		if _, err := s.query(ctx, "DROP DATABASE "+quoteIdent(database)+";\n"); err != nil {
			return plan, fmt.Errorf("drop database %q: %w", database, err)
		}
	}
	return plan, nil
}

func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Kind == kindUsers {
		have, err := s.accounts(ctx)
		if err != nil {
			return err
		}
		sql, err := restoreUsers(r, have, o.Overwrite, s.creds.User)
		if err != nil {
			return fmt.Errorf("read the accounts: %w", err)
		}
		if err := s.feed(ctx, strings.NewReader("SET NAMES utf8mb4;\nSET SESSION sql_mode = '';\n"+sql)); err != nil {
			return fmt.Errorf("restore the accounts, some of which may be there now without all of their grants: %w", err)
		}
		return nil
	}
	if len(o.Only) > 0 {
		return s.restoreTables(ctx, stream, r, o)
	}
	database := target(stream, o)
	before, err := s.look(ctx, database)
	if err != nil {
		return err
	}
	if before.objects > 0 {
		// Prepare has seen to it; something may have filled it since.
		return problem.New(problem.Conflict, "database %q is not empty any more", database).WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Stop the applications that use it and restore again.")
	}
	if err := s.feed(ctx, dumpFor(stream, r, o)); err != nil {
		if undone := s.undo(context.WithoutCancel(ctx), database, before); undone != nil {
			return fmt.Errorf("restore database %q: %w (and half of it is there still: %w)", database, err, undone)
		}
		return fmt.Errorf("restore database %q: %w", database, err)
	}
	return nil
}

// undo makes a database what it was before a restore that failed: missing or empty.
func (s *session) undo(ctx context.Context, database string, before state) error {
	sql := "DROP DATABASE IF EXISTS " + quoteIdent(database) + ";\n"
	if before.there {
		sql += fmt.Sprintf("CREATE DATABASE %s CHARACTER SET %s COLLATE %s;\n", quoteIdent(database), before.charset, before.collation)
	}
	_, err := s.query(ctx, sql)
	return err
}

// feed has the client carry out a dump. In binary mode it takes no commands of
// its own from it, save DELIMITER and the character set.
func (s *session) feed(ctx context.Context, r io.Reader) error {
	cmd := s.command(s.client, "--batch", "--binary-mode", "--comments", "--max-allowed-packet=1G")
	cmd.Stdin = r
	exit, err := engine.Feed(ctx, s.inst, cmd)
	if err != nil {
		return err
	}
	if exit.Status != 0 {
		return engine.Explain(s.client, exit, patterns)
	}
	return nil
}

// whole passes a dump on, without the sandbox line that only some clients know,
// and fails instead of ending when the dump is not whole.
type whole struct {
	src       io.Reader
	inspector *inspector
	begin     []byte // the first line, until it is known whether it passes
	begun     bool
	err       error
}

func newWhole(src io.Reader) *whole { return &whole{src: src, inspector: newInspector()} }

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for !w.begun && w.err == nil {
		w.readBegin()
	}
	if len(w.begin) > 0 {
		n := copy(p, w.begin)
		w.begin = w.begin[n:]
		return n, nil
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.src.Read(p)
	w.see(p[:n], err)
	if w.err != nil && !errors.Is(w.err, io.EOF) {
		return 0, w.err
	}
	return n, nil
}

func (w *whole) see(p []byte, err error) {
	_, _ = w.inspector.Write(p)
	w.err = err
	if errors.Is(err, io.EOF) {
		if _, err := w.inspector.Finish(); err != nil {
			w.err = err
		}
	}
}

func (w *whole) readBegin() {
	const lineLimit = 4 << 10
	b := make([]byte, lineLimit)
	n, err := w.src.Read(b)
	w.begin = append(w.begin, b[:n]...)
	w.see(b[:n], err)
	line := bytes.IndexByte(w.begin, '\n')
	if line < 0 && len(w.begin) < lineLimit {
		return
	}
	w.begun = true
	sandbox := slices.ContainsFunc(starts[:2], func(s string) bool { return bytes.HasPrefix(w.begin, []byte(s)) })
	if line >= 0 && sandbox {
		w.begin = w.begin[line+1:]
	}
}
