package redis

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	kindServer = "server"
	format     = "rdb"
)

type session struct {
	inst      engine.Instance
	tool      string
	port      string // empty: the tool's own
	user      string
	password  source.Secret
	server    string
	functions bool // the server knows function libraries
}

func (s *session) Server() string { return s.server }

// command is the client with arguments. The password goes by the environment.
func (s *session) command(stdin io.Reader, args ...string) engine.Command {
	argv := []string{s.tool}
	if s.port != "" {
		argv = append(argv, "-p", s.port)
	}
	cmd := engine.Command{Stdin: stdin, Secrets: s.secrets()}
	if s.password != "" {
		cmd.Env = []string{"REDISCLI_AUTH=" + s.password.Reveal()}
		if s.user != "" {
			argv = append(argv, "--user", s.user)
		}
	}
	cmd.Argv = append(argv, args...)
	return cmd
}

func (s *session) secrets() []string {
	if s.password == "" {
		return nil
	}
	return []string{s.password.Reveal()}
}

// ask runs one command of the server and returns the answer as text.
func (s *session) ask(ctx context.Context, args ...string) (string, engine.Exit, error) {
	const limit = 4 << 20
	out, exit, err := engine.Output(ctx, s.inst, s.command(nil, args...), limit)
	if err != nil {
		return "", exit, fmt.Errorf("ask the server for %s: %w", args[0], err)
	}
	return string(out), exit, nil
}

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	return []engine.Stream{{Name: "dump.rdb", Kind: kindServer, Format: format}}, nil
}

func (s *session) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	p, err := s.inst.Exec(ctx, s.command(nil, "--rdb", "-"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.tool, err)
	}
	return &dump{Process: p}, nil
}

// Ask implements engine.Asker: the query is a command of the server, its words
// parted as in redis-cli; the database is a number.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	var args []string
	if database != "" {
		args = append(args, "-n", database)
	}
	args = append(args, "--raw", "-e")
	words := split(query, nil)
	if len(words) == 0 {
		return "", problem.New(problem.InvalidInput, "the query is empty")
	}
	out, exit, err := s.ask(ctx, append(args, words...)...)
	if err != nil {
		return "", err
	}
	if exit.Status != 0 {
		return "", s.refused(out, exit)
	}
	return out, nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem {
	return engine.Explain(s.tool, e, patterns)
}

func (s *session) Inspect(engine.Stream) engine.Inspector { return newInspector() }

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if len(streams) != 1 || streams[0].Format != format {
		return plan, problem.New(problem.InvalidInput, "a redis server is restored from exactly one stream of the format %q", format).
			WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
	}
	held, err := s.holds(ctx)
	if err != nil {
		return plan, err
	}
	plan.Replaces = held
	if len(held) > 0 {
		plan.Steps = append(plan.Steps, "delete all keys of all databases (FLUSHALL) and all function libraries")
	}
	plan.Steps = append(plan.Steps,
		"add every key of the snapshot to the running server (RESTORE); those whose time is over are left out",
		"add the function libraries of the snapshot")
	if len(held) > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "the server is not empty: it has %s", strings.Join(held, ", ")).
			WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Permit overwriting (--overwrite): then everything in the server is deleted before the snapshot's keys are added.")
	}
	return plan, nil
}

// holds lists what is in the server.
func (s *session) holds(ctx context.Context) ([]string, error) {
	out, exit, err := s.ask(ctx, "INFO", "keyspace")
	if err != nil {
		return nil, err
	}
	if exit.Status != 0 || !strings.Contains(out, "# Keyspace") {
		return nil, s.refused(out, exit)
	}
	var held []string
	for name, value := range parseInfo(out) {
		var keys int64
		if _, err := fmt.Sscanf(value, "keys=%d,", &keys); err != nil || !strings.HasPrefix(name, "db") {
			continue
		}
		held = append(held, fmt.Sprintf("%s with %d keys", name, keys))
	}
	slices.Sort(held)
	if !s.functions {
		return held, nil
	}
	out, exit, err = s.ask(ctx, "FUNCTION", "STATS")
	if err != nil {
		return nil, err
	}
	// One line says "libraries_count", the next one the number.
	if exit.Status != 0 || !strings.Contains(out, "libraries_count") {
		return nil, s.refused(out, exit)
	}
	lines := strings.Fields(out)
	for i, line := range lines[:len(lines)-1] {
		if line == "libraries_count" && lines[i+1] != "0" {
			held = append(held, "function libraries")
			break
		}
	}
	return held, nil
}

// Restore sends the keys one after the other: should r fail, those sent so far
// stay in the server, and the error says so.
func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Format != format {
		return problem.New(problem.InvalidInput, "the stream %s is not a redis dump", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	const limit = 1 << 20
	replay := newReplay(r, replayOptions{flush: o.Overwrite, functions: s.functions})
	// After the last key the server may be busy with it for long.
	out, exit, err := engine.Output(ctx, s.inst, s.command(replay, "--pipe", "--pipe-timeout", "600"), limit)
	if err != nil {
		if replay.sent == 0 {
			return fmt.Errorf("restore the keys: %w", err)
		}
		return problem.Wrap(problem.CodeOf(err), err, "the restore broke off after %d keys; the server holds only a part of the snapshot", replay.sent).
			WithReason(problem.ReasonOf(err)).
			WithHint("Restore again, with overwriting permitted.")
	}
	if exit.Status != 0 || !strings.Contains(string(out), "errors: 0,") {
		return fmt.Errorf("restore the keys, of which the server may hold a part: %w", s.refused(string(out), exit))
	}
	return nil
}

// Survey implements engine.Surveyor.
func (s *session) Survey(_ context.Context, dumps []engine.Dumped, _ engine.RestoreOptions) (found engine.Survey, err error) {
	const parts = 2 // the format of values changes from one to the next of these
	name, version, _ := strings.Cut(s.server, " ")
	for _, d := range dumps {
		found.WarnOlder(name, version, d.Contents.Noted(byNote), parts)
		if kind := d.Contents.Noted(unknownNote); kind != "" {
			found.Miss("%s holds values of the kind %s, which cannot be sent to a running server. Write it to a file with `baktainer dump` and let the server load that at its start as dump.rdb.", d.Name, strings.SplitN(kind, ",", 2)[0])
		}
	}
	return found, nil
}
