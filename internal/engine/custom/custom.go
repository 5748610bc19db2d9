// Package custom is the engine for what no other engine knows: the label
// baktainer.command names the program whose stdout is the stream, and its twin
// baktainer.restore_command the one that is given the stream on stdin. Both run
// inside the container, without a shell.
//
// Of the content nothing is known, so only an empty stream is refused: a program
// must tell by its exit status that it failed.
package custom

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	labelCommand = "baktainer.command"
	labelRestore = "baktainer.restore_command"
	kind         = "output"
	format       = "custom"
)

type customEngine struct{}

// New returns the engine.
func New() engine.Engine { return customEngine{} }

func (customEngine) Name() string      { return "custom" }
func (customEngine) Aliases() []string { return []string{"command"} }

// Detect never recognises anything: the engine must be asked for.
func (customEngine) Detect(engine.Facts) bool { return false }

func (customEngine) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	var list []engine.Complaint
	if len(s.Command) == 0 {
		list = append(list, engine.Complaint{
			Label: labelCommand, Reason: "the custom engine needs the command that writes the dump to its stdout",
			Suggestion: `give a program with its arguments, for example "slapcat -n 1"; for pipes and variables give "sh -c '…'"`,
		})
	}
	list = append(list, checkArgv(labelCommand, s.Command)...)
	return append(list, checkArgv(labelRestore, s.RestoreCommand)...)
}

func checkArgv(label string, argv []string) []engine.Complaint {
	switch {
	case len(argv) > 0 && argv[0] == "":
		return []engine.Complaint{{Label: label, Reason: "the name of the program is empty", Suggestion: "begin with the program's name"}}
	case strings.ContainsRune(strings.Join(argv, " "), 0):
		return []engine.Complaint{{Label: label, Reason: "a word holds a zero byte", Suggestion: "leave it out"}}
	}
	return nil
}

func (customEngine) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	return engine.Like(f, spec, engine.Variables{}, secret)
}

func (e customEngine) Open(_ context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	if list := e.Check(spec, inst.Facts()); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonUnsupported).WithHint("%s", list[0].Suggestion)
	}
	return &session{inst: inst, command: spec.Command, restore: spec.RestoreCommand}, nil
}

type session struct {
	inst             engine.Instance
	command, restore []string
}

func (s *session) Server() string { return "the command " + s.command[0] }

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	return []engine.Stream{{Name: "output.bin", Kind: kind, Format: format}}, nil
}

func (s *session) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	p, err := s.inst.Exec(ctx, engine.Command{Argv: s.command})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.command[0], err)
	}
	return p, nil
}

// Ask implements engine.Asker: the query is a program with its arguments, parted
// at blanks.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	argv := strings.Fields(query)
	if database != "" || len(argv) == 0 {
		return "", problem.New(problem.InvalidInput, "the custom engine is asked by a program with its arguments, and knows no databases")
	}
	out, exit, err := engine.Output(ctx, s.inst, engine.Command{Argv: argv}, engine.AnswerLimit)
	if err != nil {
		return "", err
	}
	if exit.Status != 0 {
		return "", engine.ToolFailure(argv[0], exit)
	}
	return string(out), nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem {
	return engine.ToolFailure(s.command[0], e)
}

func (s *session) Inspect(engine.Stream) engine.Inspector { return &inspector{} }

// Prepare cannot know what is there: it always asks for the permission to overwrite.
func (s *session) Prepare(_ context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	if len(streams) != 1 {
		return engine.RestorePlan{}, problem.New(problem.InvalidInput, "the custom engine restores exactly one stream").WithReason(engine.ReasonUnsupported)
	}
	if err := s.restorable(); err != nil {
		return engine.RestorePlan{}, err
	}
	plan := engine.RestorePlan{
		Steps:    []string{fmt.Sprintf("run %q in the container with the snapshot on its stdin", s.restore)},
		Replaces: []string{"whatever the restore command replaces: this cannot be told beforehand"},
	}
	if !o.Overwrite {
		return plan, problem.New(problem.Conflict, "it cannot be told whether the target is empty").
			WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Look at what %s would replace, and then permit overwriting (--overwrite).", labelRestore)
	}
	return plan, nil
}

func (s *session) restorable() error {
	if len(s.restore) > 0 {
		return nil
	}
	return problem.New(problem.InvalidInput, "the container has no label %s", labelRestore).
		WithReason(engine.ReasonUnsupported).
		WithHint("Set %s to a program that reads the dump from its stdin, or write the snapshot to a file with `baktainer dump`.", labelRestore)
}

func (s *session) Restore(ctx context.Context, _ engine.Stream, r io.Reader, _ engine.RestoreOptions) error {
	if err := s.restorable(); err != nil {
		return err
	}
	exit, err := engine.Feed(ctx, s.inst, engine.Command{Argv: s.restore, Stdin: r})
	if err != nil {
		return fmt.Errorf("restore with %s; a part may be there already: %w", s.restore[0], err)
	}
	if exit.Status != 0 {
		return fmt.Errorf("restore with %s; a part may be there already: %w", s.restore[0], engine.ToolFailure(s.restore[0], exit))
	}
	return nil
}

// inspector refuses nothing but emptiness.
type inspector struct{ size int64 }

func (i *inspector) Write(p []byte) (int, error) {
	i.size += int64(len(p))
	return len(p), nil
}

func (i *inspector) Finish() (engine.Contents, error) {
	if i.size == 0 {
		return engine.Contents{}, problem.New(problem.Failed, "the command wrote nothing to its stdout").
			WithReason(engine.ReasonEmpty).WithHint("See the label %s.", labelCommand)
	}
	return engine.Contents{
		Objects: []engine.Object{{Kind: "bytes", Name: "output", Rows: -1}},
		Notes:   []string{"not checked to an end mark: only the command knows the format"},
	}, nil
}
