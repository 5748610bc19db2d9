package etcd

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
	tool   = "etcdctl"
	kind   = "keys"
	format = "etcdctl-txn"
)

type session struct {
	inst     engine.Instance
	env      []string // for etcdctl
	password source.Secret
	tool     string // its version
	batch    bounds
}

func (s *session) Server() string { return "etcdctl " + s.tool }

// command is etcdctl with arguments. All that its global flags could say is said
// by variables: it refuses a flag that contradicts a variable of the container.
func (s *session) command(env []string, stdin io.Reader, args ...string) engine.Command {
	cmd := engine.Command{Argv: append([]string{tool}, args...), Env: append(s.env[:len(s.env):len(s.env)], env...), Stdin: stdin}
	if s.password != "" {
		cmd.Secrets = []string{s.password.Reveal()}
	}
	return cmd
}

// run runs etcdctl for a short answer.
func (s *session) run(ctx context.Context, env []string, args ...string) (string, engine.Exit, error) {
	const limit = 4 << 20 // a key in base64, at most
	out, exit, err := engine.Output(ctx, s.inst, s.command(env, nil, args...), limit)
	if err != nil {
		return "", exit, fmt.Errorf("run etcdctl %s: %w", args[0], err)
	}
	return string(out), exit, nil
}

// ended makes a failure of a status other than 0.
func (s *session) ended(exit engine.Exit, err error) error {
	if err == nil && exit.Status != 0 {
		return s.Explain(exit)
	}
	return err
}

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	return []engine.Stream{{Name: "keys.txn", Kind: kind, Format: format}}, nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return engine.Explain(tool, e, patterns) }

func (s *session) Inspect(engine.Stream) engine.Inspector { return &inspector{} }

// Ask implements engine.Asker: the query is arguments for etcdctl, parted at blanks.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	words := strings.Fields(query)
	if database != "" || len(words) == 0 {
		return "", problem.New(problem.InvalidInput, "etcd is asked by arguments for etcdctl, such as get --print-value-only KEY, and knows no databases")
	}
	out, exit, err := s.run(ctx, nil, words...)
	return out, s.ended(exit, err)
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if len(streams) != 1 || streams[0].Format != format {
		return plan, problem.New(problem.InvalidInput, "etcd is restored from exactly one stream of the format %q", format).
			WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
	}
	held, err := s.held(ctx)
	if err != nil {
		return plan, err
	}
	if held > 0 {
		plan.Replaces = []string{fmt.Sprintf("%d keys", held)}
		plan.Steps = append(plan.Steps, "delete all keys, in one transaction")
	}
	plan.Steps = append(plan.Steps,
		fmt.Sprintf("put every key of the snapshot, up to %d in one transaction; their revisions are new", s.batch.lines),
		"give those that had a lease a new one of the same time to live, at least a minute")
	if held > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "the etcd is not empty: it has %d keys", held).
			WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Permit overwriting (--overwrite): then all keys are deleted before those of the snapshot are put. Users and roles stay.")
	}
	return plan, nil
}

// Survey implements engine.Surveyor.
func (s *session) Survey(_ context.Context, dumps []engine.Dumped, _ engine.RestoreOptions) (found engine.Survey, err error) {
	const parts = 2
	for _, d := range dumps {
		found.WarnOlder("etcdctl", s.tool, d.Contents.Noted("dumped by etcdctl "), parts)
	}
	return found, nil
}
