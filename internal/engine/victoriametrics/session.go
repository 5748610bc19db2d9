package victoriametrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/helper"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kind   = "series"
	format = "victoriametrics-jsonl"
)

type session struct {
	inst    engine.Instance
	access  helper.Access
	version string
}

// command is our own program beside the server. How to log in, and input, go by
// stdin: whoever may inspect containers reads their variables.
func (s *session) command(name string, input io.Reader) (engine.Command, error) {
	how, err := json.Marshal(s.access)
	if err != nil {
		return engine.Command{}, problem.Wrap(problem.Internal, err, "say how to reach the server")
	}
	cmd := engine.Command{Argv: []string{"helper", name}, Network: true}
	for _, secret := range []string{s.access.Password, s.access.DeleteKey} {
		if secret != "" {
			cmd.Secrets = append(cmd.Secrets, secret)
		}
	}
	cmd.Stdin = strings.NewReader(string(how) + "\n")
	if input != nil {
		cmd.Stdin = io.MultiReader(cmd.Stdin, input)
	}
	return cmd, nil
}

func (s *session) start(ctx context.Context, name string, input io.Reader) (engine.Process, error) {
	cmd, err := s.command(name, input)
	if err != nil {
		return nil, err
	}
	return s.inst.Helper(ctx, cmd)
}

// run runs it to its end, for a short answer.
func (s *session) run(ctx context.Context, name string, input io.Reader) ([]byte, error) {
	p, err := s.start(ctx, name, input)
	if err != nil {
		return nil, err
	}
	out, readErr := io.ReadAll(io.LimitReader(p, engine.AnswerLimit+1))
	exit, err := p.Wait()
	switch {
	case err != nil:
		return nil, err
	case exit.Status != 0:
		return nil, s.Explain(exit)
	case len(out) > engine.AnswerLimit:
		return nil, problem.New(problem.Failed, "the answer has more than %d bytes", engine.AnswerLimit).WithReason(engine.ReasonMalformed)
	case readErr != nil:
		return nil, problem.Wrap(problem.Unavailable, readErr, "read the answer of the helper").WithReason(engine.ReasonStreamLost)
	}
	return out, nil
}

// look says what there is.
func (s *session) look(ctx context.Context) (state helper.State, err error) {
	out, err := s.run(ctx, helper.LookCommand, nil)
	if err != nil {
		return state, fmt.Errorf("look at the server: %w", err)
	}
	if err := json.Unmarshal(out, &state); err != nil {
		return state, problem.Wrap(problem.Internal, err, "understand what is there").WithReason(engine.ReasonMalformed)
	}
	return state, nil
}

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	return []engine.Stream{{Name: "series.jsonl", Kind: kind, Format: format}}, nil
}

func (s *session) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	p, err := s.start(ctx, helper.DumpCommand, nil)
	if err != nil {
		return nil, fmt.Errorf("start the export: %w", err)
	}
	return p, nil
}

// Ask implements engine.Asker: an instant query in MetricsQL.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	if database != "" {
		return "", problem.New(problem.InvalidInput, "a VictoriaMetrics server has no databases: %q is none", database)
	}
	out, err := s.run(ctx, helper.QueryCommand, strings.NewReader(query))
	return string(out), err
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return engine.HelperFailure(e) }

func (s *session) Inspect(engine.Stream) engine.Inspector { return newInspector() }

func restorable(streams []engine.Stream) error {
	if len(streams) != 1 || streams[0].Format != format {
		return problem.New(problem.InvalidInput, "a VictoriaMetrics server is restored from exactly one stream of the format %q", format).
			WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
	}
	return nil
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if err := restorable(streams); err != nil {
		return plan, err
	}
	state, err := s.look(ctx)
	if err != nil {
		return plan, err
	}
	held := "metrics: " + strings.Join(state.Metrics, ", ")
	if state.More {
		held += ", …"
	}
	if len(state.Metrics) > 0 {
		plan.Replaces = append(plan.Replaces, held)
		plan.Steps = append(plan.Steps, "delete all series that are there")
	}
	plan.Steps = append(plan.Steps, "write all samples of the snapshot, then count what the server has")
	if kept := s.access.Retention; kept < 50*365*24*time.Hour {
		plan.Steps = append(plan.Steps, fmt.Sprintf("samples that are older than %g days are left out by the server (-retentionPeriod)", kept.Hours()/24))
	}
	switch {
	case len(state.Metrics) > 0 && !o.Overwrite:
		return plan, problem.New(problem.Conflict, "the target is not empty: it has %s", held).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite): then all series that are there are deleted first.")
	case o.DryRun || len(state.Metrics) == 0:
		return plan, nil
	}
	_, err = s.run(ctx, helper.ClearCommand, nil)
	return plan, err
}

func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, _ engine.RestoreOptions) error {
	if err := restorable([]engine.Stream{stream}); err != nil {
		return err
	}
	if _, err := s.run(ctx, helper.RestoreCommand, r); err != nil {
		return fmt.Errorf("write the samples; the target may hold a part of the snapshot: %w", err)
	}
	return nil
}
