package plugin

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	// maxRounds is how often a plugin is asked the same, each time with the output
	// of what it wanted to look at.
	maxRounds = 8
	// maxLook bounds such an output, in bytes.
	maxLook = 1 << 20
)

// session is a plugin at work on one instance.
type session struct {
	ctx         context.Context //nolint:containedctx // inspectors are processes, and end with it
	engine      *pluginEngine
	inst        engine.Instance
	spec        source.Spec
	credentials engine.Credentials
	server      string
	// dumps are the commands of the streams, and restores the answers of Prepare, by
	// the names of the streams.
	dumps    map[string]command
	restores map[string]answer
	// tool is the program that was started last.
	tool string
}

func (s *session) Server() string { return s.server }

func (s *session) Streams(ctx context.Context) ([]engine.Stream, error) {
	a, err := s.ask(ctx, "streams")
	if err != nil {
		return nil, err
	}
	if a.Server != "" {
		s.server = a.Server
	}
	clear(s.dumps)
	var list []engine.Stream
	for _, st := range a.Streams {
		list = append(list, engine.Stream{Name: st.Name, Kind: st.Kind, Database: st.Database, Format: st.Format})
		s.dumps[st.Name] = st.Dump
	}
	return list, nil
}

func (s *session) Dump(ctx context.Context, st engine.Stream) (engine.Process, error) {
	cmd, known := s.dumps[st.Name]
	if !known {
		return nil, problem.New(problem.Internal, "the plugin %s has named no stream %s", s.engine.name, st.Name)
	}
	c, err := s.command(cmd)
	if err != nil {
		return nil, err
	}
	s.tool = c.Argv[0]
	p, err := s.inst.Exec(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.tool, err)
	}
	return p, nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return s.explain(s.tool, e) }

func (s *session) explain(tool string, e engine.Exit) *problem.Problem {
	return engine.Explain(tool, e, s.engine.says.patterns())
}

func (s *session) Inspect(st engine.Stream) engine.Inspector {
	return &inspector{session: s, stream: st}
}

// Prepare asks about each stream. What a plugin cannot tell is taken for data that
// would be overwritten, as with custom commands.
func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	if !s.engine.says.answers("restore") {
		return engine.RestorePlan{}, problem.New(problem.InvalidInput, "the plugin %s restores nothing", s.engine.name).
			WithReason(engine.ReasonUnsupported).WithHint("Write the snapshot to a file with `baktainer dump`.")
	}
	var plan engine.RestorePlan
	var ready []command
	for _, st := range streams {
		a, err := s.ask(ctx, "restore", restoring(st, o)...)
		if err != nil {
			return engine.RestorePlan{}, fmt.Errorf("ask how to restore %s: %w", st.Name, err)
		}
		s.restores[st.Name] = a
		ready = append(ready, a.Ready...)
		if len(a.Steps) == 0 {
			a.Steps = []string{fmt.Sprintf("run %q in the container with %s on its stdin", a.Run.Argv, st.Name)}
		}
		if a.Replaces == nil {
			a.Replaces = []string{fmt.Sprintf("whatever the restore of %s replaces: this cannot be told beforehand", st.Name)}
		}
		plan.Steps, plan.Replaces = append(plan.Steps, a.Steps...), append(plan.Replaces, a.Replaces...)
	}
	if len(plan.Replaces) > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "the restore would replace what is there").WithReason(engine.ReasonTargetNotEmpty).
			WithDetails(plan.Replaces...).WithHint("Permit it with --overwrite, or restore into another container.")
	}
	if o.DryRun {
		return plan, nil
	}
	for _, cmd := range ready {
		if err := s.feed(ctx, cmd, nil); err != nil {
			return plan, fmt.Errorf("make the target ready: %w", err)
		}
	}
	return plan, nil
}

func (s *session) Restore(ctx context.Context, st engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	a, asked := s.restores[st.Name]
	if !asked {
		var err error
		if a, err = s.ask(ctx, "restore", restoring(st, o)...); err != nil {
			return err
		}
	}
	if err := s.feed(ctx, *a.Run, r); err != nil {
		return fmt.Errorf("a part may be there already: %w", err)
	}
	return nil
}

// feed runs a command to its end.
func (s *session) feed(ctx context.Context, cmd command, stdin io.Reader) error {
	c, err := s.command(cmd)
	if err != nil {
		return err
	}
	c.Stdin = stdin
	exit, err := engine.Feed(ctx, s.inst, c)
	if err != nil {
		return fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	if exit.Status != 0 {
		return s.explain(c.Argv[0], exit)
	}
	return nil
}

// asking is a session whose plugin knows how a database is asked something.
type asking struct{ *session }

// Ask implements engine.Asker.
func (s asking) Ask(ctx context.Context, database, query string) (string, error) {
	vars := []string{"BAKTAINER_QUERY=" + query}
	if database != "" {
		vars = append(vars, "BAKTAINER_DATABASE="+database)
	}
	a, err := s.ask(ctx, "ask", vars...)
	if err != nil {
		return "", err
	}
	out, exit, err := s.output(ctx, *a.Run, engine.AnswerLimit)
	if err != nil {
		return "", err
	}
	if exit.Status != 0 {
		return "", s.explain(a.Run.Argv[0], exit)
	}
	return string(out), nil
}

// ask puts a question to the plugin, and shows it what it wants to look at, until
// it answers.
func (s *session) ask(ctx context.Context, verb string, vars ...string) (answer, error) {
	q := question{verb: verb, secrets: s.secrets()}
	said := []string{"BAKTAINER_ROUND=0"}
	for round := 1; round <= maxRounds; round++ {
		q.vars = slices.Concat(s.about(), vars, said)
		data, err := s.engine.program.ask(ctx, q)
		if err != nil {
			return answer{}, err
		}
		a, err := parseAnswer(verb, data)
		switch {
		case err != nil:
			return answer{}, s.engine.program.wrong(verb, err)
		case a.Problem != "":
			return answer{}, a.failure(engine.ReasonPluginFailed)
		case a.Look == nil:
			return a, nil
		}
		out, exit, err := s.output(ctx, *a.Look, maxLook)
		if err != nil {
			return answer{}, fmt.Errorf("look with %s: %w", a.Look.Argv[0], err)
		}
		if exit.Status != 0 && (!a.Look.MayFail || exit.Status == 126 || exit.Status == 127) {
			return answer{}, s.explain(a.Look.Argv[0], exit)
		}
		q.input = out
		said = []string{"BAKTAINER_ROUND=" + strconv.Itoa(round), "BAKTAINER_STATUS=" + strconv.Itoa(exit.Status), "BAKTAINER_KEPT=" + a.Keep}
	}
	return answer{}, s.engine.program.wrong(verb, complaints{fmt.Sprintf("look: it wants to look more than %d times", maxRounds-1)})
}

func (s *session) output(ctx context.Context, cmd command, limit int64) ([]byte, engine.Exit, error) {
	c, err := s.command(cmd)
	if err != nil {
		return nil, engine.Exit{}, err
	}
	return engine.Output(ctx, s.inst, c, limit)
}

// command is one of the plugin's, with the password where it wants that.
func (s *session) command(cmd command) (engine.Command, error) {
	c := engine.Command{Argv: cmd.Argv, User: cmd.User, Secrets: s.secrets()}
	for _, name := range slices.Sorted(maps.Keys(cmd.Env)) {
		c.Env = append(c.Env, name+"="+cmd.Env[name])
	}
	if cmd.PasswordEnv == "" {
		return c, nil
	}
	if !s.credentials.Found {
		return engine.Command{}, engine.NoCredentials(s.credentials, s.engine.says.variables())
	}
	c.Env = append(c.Env, cmd.PasswordEnv+"="+s.credentials.Password.Reveal())
	return c, nil
}

func (s *session) secrets() []string { return []string{s.credentials.Password.Reveal()} }

// about is what every question tells of the source, as variables.
func (s *session) about() []string {
	facts := s.inst.Facts()
	return []string{
		"BAKTAINER_SOURCE=" + s.spec.Name,
		"BAKTAINER_IMAGE=" + facts.Image,
		"BAKTAINER_MOUNTS=" + strings.Join(facts.Mounts, "\n"),
		"BAKTAINER_DATABASE=" + s.credentials.Database,
		"BAKTAINER_ALL_DATABASES=" + flag(s.spec.AllDatabases),
		"BAKTAINER_USER=" + s.credentials.User,
		"BAKTAINER_PASSWORD_FOUND=" + flag(s.credentials.Found),
	}
}

func aboutStream(st engine.Stream) []string {
	return []string{
		"BAKTAINER_STREAM=" + st.Name,
		"BAKTAINER_STREAM_KIND=" + st.Kind,
		"BAKTAINER_STREAM_DATABASE=" + st.Database,
		"BAKTAINER_STREAM_FORMAT=" + st.Format,
	}
}

func restoring(st engine.Stream, o engine.RestoreOptions) []string {
	return append(aboutStream(st), "BAKTAINER_NO_OWNER="+flag(o.NoOwner))
}

// flag is what a shell takes for true or false without a word about it.
func flag(is bool) string {
	if is {
		return "1"
	}
	return ""
}

// failure is the problem that an answer tells of.
func (a answer) failure(reason problem.Reason) *problem.Problem {
	if a.Reason != "" {
		reason = a.Reason
	}
	what := a.Problem
	if what == "" {
		what = "the plugin says that the dump is not whole"
	}
	return problem.New(reasons[reason], "%s", what).WithReason(reason).WithHint("%s", a.Hint)
}
