package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	tool   = "influx"
	kind   = "database"
	format = "influx-import"
)

type session struct {
	inst      engine.Instance
	argv      []string // of influx, with where the server listens
	secure    bool
	user      string // empty: without a password
	password  source.Secret
	version   string
	database  string // empty: all
	databases []string
}

func (s *session) Server() string { return "InfluxDB " + s.version }

// command is influx with arguments.
func (s *session) command(stdin io.Reader, args ...string) engine.Command {
	cmd := engine.Command{Argv: append(slices.Clone(s.argv), args...), Stdin: stdin}
	if s.user != "" {
		cmd.Env = []string{"INFLUX_USERNAME=" + s.user, "INFLUX_PASSWORD=" + s.password.Reveal()}
		cmd.Secrets = []string{s.password.Reveal()}
	}
	return cmd
}

// points asks for points, with their times in nanoseconds. Of these there may be any
// number: each of them may be as long as another answer.
func (s *session) points(ctx context.Context, statements string, each func(*series, []any) error) error {
	return s.answer(ctx, statements, func(of *series, row []any, a *allowance) error {
		a.left = maxAnswer
		return each(of, row)
	}, "-precision=ns")
}

// ask has statements answered, a call of each for each row.
func (s *session) ask(ctx context.Context, statements string, each func(*series, []any) error, args ...string) error {
	return s.answer(ctx, statements, func(of *series, row []any, _ *allowance) error { return each(of, row) }, args...)
}

func (s *session) answer(ctx context.Context, statements string, each func(*series, []any, *allowance) error, args ...string) error {
	p, err := s.inst.Exec(ctx, s.command(strings.NewReader(statements), append([]string{"-format=json"}, args...)...))
	if err != nil {
		return fmt.Errorf("start influx: %w", err)
	}
	from := &allowance{p, maxAnswer}
	bad := readAnswer(from, func(of *series, row []any) error { return each(of, row, from) })
	if bad != nil {
		// It may go on with what it says of an error, rather than JSON; or for ever.
		const enough = 1 << 20
		if n, _ := io.CopyN(io.Discard, p, enough); n == enough {
			p.Kill()
			_, _ = p.Wait() // it was ended for a reason that is known
			return bad
		}
	}
	exit, err := p.Wait()
	switch {
	case err != nil:
		return err
	case exit.Status != 0: // says more than an answer that is not whole
		return s.Explain(exit)
	}
	return bad
}

// maxAnswer bounds an answer, in bytes: no more of it is held.
const maxAnswer = maxLine

// allowance is a reader that gives so many bytes and no more.
type allowance struct {
	io.Reader
	left int64
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, problem.New(problem.Failed, "influx answered with more than %d MiB at once", maxAnswer>>20).WithReason(engine.ReasonMalformed)
	}
	n, err := a.Reader.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	return n, err
}

// list is the first column of an answer.
func (s *session) list(ctx context.Context, statement string) ([]string, error) {
	var names []string
	err := s.ask(ctx, statement, func(_ *series, row []any) error {
		name, err := text(row, 0)
		names = append(names, name)
		return err
	})
	return names, err
}

// text is a value that has to be a string.
func text(row []any, n int) (string, error) {
	if n < len(row) {
		if s, is := row[n].(string); is {
			return s, nil
		}
	}
	return "", errAnswer
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return engine.Explain(tool, e, patterns) }

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	names := s.databases
	if s.database != "" {
		if !slices.Contains(names, s.database) {
			return nil, problem.New(problem.NotFound, "the server has no database %q", s.database).WithReason(engine.ReasonNoDatabase).
				WithHint("Its databases are: %s. Name one with %s, or back up all with baktainer.db.all.", strings.Join(names, ", "), labelName)
		}
		names = []string{s.database}
	}
	if len(names) == 0 {
		return nil, problem.New(problem.NotFound, "the server has no databases (_internal does not count)").WithReason(engine.ReasonNoDatabase)
	}
	var streams []engine.Stream
	for _, name := range names {
		streams = append(streams, engine.Stream{Name: engine.FileName(name) + ".influx", Kind: kind, Database: name, Format: format})
	}
	return streams, nil
}

func (s *session) Inspect(engine.Stream) engine.Inspector { return &inspector{} }

// Ask implements engine.Asker. The column of times, which every SELECT has, is not
// in the answer unless it is the only one.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	if database == "" {
		database = s.database
	}
	if database == "" && len(s.databases) == 1 {
		database = s.databases[0]
	}
	var args []string
	if database != "" {
		args = append(args, "-database="+database)
	}
	var answer strings.Builder
	err := s.ask(ctx, query, func(in *series, row []any) error {
		if len(in.columns) > 1 && in.columns[0] == "time" && len(row) > 0 {
			row = row[1:]
		}
		words := make([]string, len(row))
		for i, value := range row {
			if value != nil {
				words[i] = fmt.Sprint(value)
			}
		}
		fmt.Fprintln(&answer, strings.Join(words, "\t"))
		if answer.Len() > engine.AnswerLimit {
			return problem.New(problem.Failed, "influx wrote more than %d bytes", engine.AnswerLimit).WithReason(engine.ReasonMalformed)
		}
		return nil
	}, args...)
	return answer.String(), err
}

// held says what a database has that a restore would replace.
func (s *session) held(ctx context.Context, database string) ([]string, error) {
	if !slices.Contains(s.databases, database) {
		return nil, nil
	}
	now, err := s.made(ctx, database)
	if err != nil {
		return nil, err
	}
	const named = 20
	var held []string
	more := 0
	for _, in := range now.policies {
		last := ""
		err := s.ask(ctx, "SHOW FIELD KEYS ON "+ident(database)+" FROM "+ident(in.name)+everyMeasurement, func(of *series, _ []any) error {
			switch {
			case of.name == last: // another field of it
			case len(held) < named:
				held = append(held, database+"."+in.name+"."+of.name)
			default:
				more++
			}
			last = of.name
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if more > 0 {
		held = append(held, fmt.Sprintf("%d more measurements of %s", more, database))
	}
	if len(now.queries) > 0 {
		held = append(held, fmt.Sprintf("%d continuous queries of %s", len(now.queries), database))
	}
	return held, nil
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	for _, stream := range streams {
		if stream.Format != format || !mayBeNamed(stream.Database) {
			return plan, problem.New(problem.InvalidInput, "the stream %s is no dump of a database of InfluxDB", stream.Name).
				WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
		}
		held, err := s.held(ctx, stream.Database)
		if err != nil {
			return plan, fmt.Errorf("look into the database %s: %w", stream.Database, err)
		}
		if len(held) > 0 {
			plan.Steps = append(plan.Steps, fmt.Sprintf("drop the database %s, with its subscriptions; users keep their grants on it", stream.Database))
			plan.Replaces = append(plan.Replaces, held...)
		}
		plan.Steps = append(plan.Steps,
			fmt.Sprintf("make the database %s with its retention policies, which keep everything as long as the restore goes on", stream.Database),
			fmt.Sprintf("write the points of %s with influx -import, and count what is then there", stream.Database),
			fmt.Sprintf("have the retention policies of %s end when they should, and make its continuous queries", stream.Database))
	}
	if len(plan.Steps) > 0 {
		plan.Steps = append(plan.Steps, "leave users and their grants as they are in the target: the snapshot holds none, nor subscriptions")
	}
	if len(plan.Replaces) > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "the target is not empty: it has %s", strings.Join(plan.Replaces, ", ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite): then the databases in the snapshot are dropped first.")
	}
	return plan, nil
}

// whole is a number that has to be an integer.
func whole(v any) (int64, error) {
	n, is := v.(json.Number)
	if !is {
		return 0, errAnswer
	}
	i, err := n.Int64()
	if err != nil {
		return 0, errAnswer
	}
	return i, nil
}

// host is where the server listens, with its port.
func (s *session) host() string {
	host, port := "localhost", "8086"
	for _, arg := range s.argv {
		if value, is := strings.CutPrefix(arg, "-host="); is {
			host = value
		}
		if value, is := strings.CutPrefix(arg, "-port="); is {
			port = value
		}
	}
	return net.JoinHostPort(host, port)
}
