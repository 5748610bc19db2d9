package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/helper"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kindFile    = "file"
	formatImage = "sqlite3"
	formatSQL   = "sqlite3-sql"
)

type session struct {
	inst     engine.Instance
	file     string
	onVolume bool
}

// Streams is one stream, named after the file.
func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	stream := engine.Stream{Name: engine.FileName(path.Base(s.file)), Kind: kindFile, Database: s.file, Format: formatImage}
	if !s.onVolume {
		stream.Name += ".sql"
		stream.Format = formatSQL
	}
	return []engine.Stream{stream}, nil
}

func (s *session) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	if s.onVolume {
		p, err := s.inst.Helper(ctx, engine.Command{Argv: []string{"helper", helper.DumpCommand, s.file}})
		if err != nil {
			return nil, fmt.Errorf("start the dump of %s: %w", s.file, err)
		}
		return p, nil
	}
	return dumpByTool(ctx, s.inst, s.file)
}

// Ask implements engine.Asker.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	if database != "" && database != s.file {
		return "", problem.New(problem.InvalidInput, "a SQLite source is one file: %q is no database of it", database)
	}
	p, err := s.inst.Helper(ctx, engine.Command{Argv: []string{"helper", helper.QueryCommand, s.file}, Stdin: strings.NewReader(query)})
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", s.file, err)
	}
	out, readErr := io.ReadAll(io.LimitReader(p, engine.AnswerLimit))
	if err := ended(p.Wait()); err != nil {
		return "", fmt.Errorf("ask %s: %w", s.file, err)
	}
	return string(out), readErr
}

func (s *session) Explain(e engine.Exit) *problem.Problem {
	if s.onVolume {
		return engine.HelperFailure(e)
	}
	p := engine.Explain("sqlite3", e, toolPatterns)
	if p.Reason == engine.ReasonToolMissing {
		return offVolume(p, s.file)
	}
	return p
}

func (s *session) Inspect(stream engine.Stream) engine.Inspector {
	if stream.Format == formatSQL {
		return &sqlInspector{}
	}
	return &inspector{}
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if err := s.restorable(streams); err != nil {
		return plan, err
	}
	state, err := s.probe(ctx)
	if err != nil {
		return plan, err
	}
	switch {
	case !state.Directory:
		return plan, problem.New(problem.NotFound, "the directory %s does not exist on the container's volumes", path.Dir(s.file)).
			WithReason(engine.ReasonNoDatabase).WithHint("Set %s to a path on a volume of the container.", labelName)
	case !state.Writable:
		return plan, problem.New(problem.Conflict, "%s is on a volume that is mounted read-only", s.file).
			WithReason(engine.ReasonUnsupported).WithHint("Restore through a container that has the volume mounted for writing.")
	case state.Exists && !state.Database:
		return plan, problem.New(problem.Conflict, "%s exists and is not a SQLite database", s.file).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Stop the application, move the file away, and restore again.")
	case state.Tables > 0:
		plan.Replaces = append(plan.Replaces, fmt.Sprintf("%s with %d tables (%s)", s.file, state.Tables, list(state)))
	}
	plan.Steps = append(plan.Steps, "receive the image beside the file and check it")
	if state.Exists {
		plan.Steps = append(plan.Steps, fmt.Sprintf("replace the content of %s in one transaction; programs that have it open go on with the new content", s.file))
	} else {
		plan.Steps = append(plan.Steps, fmt.Sprintf("create %s for the owner of its directory", s.file))
	}
	if state.Tables > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "%s is not empty: it has %d tables (%s)", s.file, state.Tables, list(state)).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite) if its content is to be replaced.")
	}
	return plan, nil
}

func list(s helper.State) string {
	text := strings.Join(s.Names, ", ")
	if s.Tables > len(s.Names) {
		text += ", …"
	}
	return text
}

// restorable says whether these streams can be put into this file.
func (s *session) restorable(streams []engine.Stream) error {
	if len(streams) == 1 && streams[0].Format == formatSQL {
		return problem.New(problem.Failed, "the snapshot holds SQL, taken from a file that was not on a volume").
			WithReason(engine.ReasonUnsupported).
			WithHint("Make a database of it with `baktainer dump SNAPSHOT | sqlite3 new.db`.")
	}
	if len(streams) != 1 || streams[0].Kind != kindFile || streams[0].Format != formatImage {
		return problem.New(problem.InvalidInput, "a SQLite database is restored from exactly one stream of kind %q", kindFile).
			WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
	}
	if !s.onVolume {
		return problem.New(problem.Failed, "%s is not on a volume of the container", s.file).
			WithReason(engine.ReasonUnsupported).
			WithHint("Put the file's directory on a volume, or write the snapshot to a file with `baktainer dump` and copy that into the stopped container.")
	}
	return nil
}

func (s *session) probe(ctx context.Context) (helper.State, error) {
	const limit = 64 << 10
	var state helper.State
	p, err := s.inst.Helper(ctx, engine.Command{Argv: []string{"helper", helper.ProbeCommand, s.file}})
	if err != nil {
		return state, fmt.Errorf("look at %s: %w", s.file, err)
	}
	out, readErr := io.ReadAll(io.LimitReader(p, limit))
	if err := ended(p.Wait()); err != nil {
		return state, fmt.Errorf("look at %s: %w", s.file, err)
	}
	if err := errors.Join(readErr, json.Unmarshal(out, &state)); err != nil {
		return state, problem.Wrap(problem.Internal, err, "understand what is at %s", s.file).WithReason(engine.ReasonMalformed)
	}
	return state, nil
}

func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, _ engine.RestoreOptions) error {
	if err := s.restorable([]engine.Stream{stream}); err != nil {
		return err
	}
	p, err := s.inst.Helper(ctx, engine.Command{Argv: []string{"helper", helper.RestoreCommand, s.file}, Stdin: r})
	if err != nil {
		return fmt.Errorf("start the restore of %s: %w", s.file, err)
	}
	if err := ended(p.Wait()); err != nil {
		return fmt.Errorf("restore %s: %w", s.file, err)
	}
	return nil
}

func ended(exit engine.Exit, err error) error {
	if err == nil && exit.Status != 0 {
		return engine.HelperFailure(exit)
	}
	return err
}

func invalid(list []engine.Complaint) error {
	p := problem.New(problem.InvalidInput, "the labels of the container are not right for sqlite").WithReason(engine.ReasonNoDatabase)
	for _, c := range list {
		p.WithDetails(fmt.Sprintf("%s: %s: %s", c.Label, c.Reason, c.Suggestion))
	}
	return p
}
