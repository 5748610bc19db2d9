package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type session struct {
	inst         engine.Instance
	dump, client string // the tools that are there
	mariadbTools bool
	creds        engine.Credentials
	host         string // empty: the local socket
	version      string
	isMariaDB    bool
	databases    []string // without the server's own
	database     string   // empty: all
	all, asked   bool     // all databases; by a label

	options source.Dump   // what is to be dumped
	chosen  engine.Chosen // what that means here, known after Streams
	sorted  sorted        // likewise
}

// Server tells MariaDB from MySQL.
func (s *session) Server() string {
	version, _, _ := strings.Cut(s.version, "-")
	if s.isMariaDB {
		return "MariaDB " + version
	}
	return "MySQL " + version
}

func (s *session) Streams(ctx context.Context) ([]engine.Stream, error) {
	streams, err := s.streams(ctx)
	s.chosen.Begins(streams)
	return streams, err
}

func (s *session) streams(ctx context.Context) ([]engine.Stream, error) {
	databases := s.databases
	if !s.all {
		if !slices.Contains(databases, s.database) {
			return nil, s.missing(s.database)
		}
		databases = []string{s.database}
	}
	if s.options.Selects() {
		var err error
		if databases, err = s.choose(ctx, databases); err != nil {
			return nil, err
		}
	}
	if !s.all {
		return []engine.Stream{databaseStream(s.database)}, nil
	}
	var streams []engine.Stream
	for _, database := range databases {
		streams = append(streams, databaseStream(database))
	}
	_, err := s.query(ctx, "SELECT COUNT(*) FROM mysql.user;\n")
	switch {
	case err == nil:
		streams = append(streams, engine.Stream{Name: usersName + ending, Kind: kindUsers, Format: formatUsers})
	case s.asked:
		return nil, problem.Wrap(problem.Denied, err, "read the accounts of the server as %q", s.creds.User).WithReason(engine.ReasonToolFailed).
			WithHint("All databases include the accounts. Name root in baktainer.db.user with its password, or one database in baktainer.db.name.")
	}
	if len(streams) == 0 {
		return nil, problem.New(problem.NotFound, "user %q sees no database", s.creds.User).WithReason(engine.ReasonNoDatabase).
			WithHint("Grant it the right to read the database, or name root in baktainer.db.user with its password.")
	}
	return streams, nil
}

func databaseStream(database string) engine.Stream {
	return engine.Stream{
		Name: engine.FileName(database, usersName) + ending, Kind: kindDatabase, Database: database, Format: formatDatabase,
	}
}

func (s *session) missing(database string) *problem.Problem {
	return problem.New(problem.NotFound, "user %q sees no database %q", s.creds.User, database).WithReason(engine.ReasonNoDatabase).
		WithHint("It sees %q. Name one in baktainer.db.name, or back up all with baktainer.db.all=true.", s.databases[:min(len(s.databases), 20)])
}

func (s *session) Dump(ctx context.Context, stream engine.Stream) (engine.Process, error) {
	if stream.Kind == kindUsers {
		return s.dumpUsers(ctx)
	}
	options := []string{
		"--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob", "--no-tablespaces", "--skip-dump-date",
	}
	if !s.mariadbTools {
		options = append(options, "--set-gtid-purged=OFF") // a restore is not a replica
	}
	options = slices.Concat(options, s.options.Args, s.chosen.Of[stream.Database].Args)
	p, err := s.inst.Exec(ctx, s.command(s.dump, append(options, "--databases", "--", stream.Database)...))
	if err != nil || s.mariadbTools {
		return p, err
	}
	tables := map[string]bool{}
	for t := range s.sorted.noRows {
		if t.database == stream.Database {
			tables[t.name] = true
		}
	}
	if len(tables) == 0 {
		return p, nil
	}
	return newWithoutRows(p, tables), nil
}

// Ask implements engine.Asker.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	if database == "" {
		database = s.database
	}
	if database == "" && len(s.databases) == 1 {
		database = s.databases[0]
	}
	options := []string{"--batch", "--raw", "--skip-column-names", "--binary-mode"}
	if database != "" {
		options = append(options, "--database="+database)
	}
	cmd := s.command(s.client, options...)
	cmd.Stdin = strings.NewReader(query)
	out, exit, err := engine.Output(ctx, s.inst, cmd, engine.AnswerLimit)
	if err != nil {
		return "", err
	}
	if exit.Status != 0 {
		return "", engine.Explain(s.client, exit, patterns)
	}
	return string(out), nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return engine.Explain(s.dump, e, patterns) }

func (s *session) Inspect(stream engine.Stream) engine.Inspector {
	if stream.Kind == kindUsers {
		return &usersInspector{}
	}
	i := newInspector()
	s.chosen.WriteDown(stream, dumpArgs, s.options.Args, &i.contents)
	if !s.all {
		var others []string
		for _, database := range s.databases {
			if database != stream.Database && len(others) < 20 {
				others = append(others, database)
			}
		}
		if len(others) > 0 {
			i.contents.Notes = append(i.contents.Notes, fmt.Sprintf("not in this backup: databases %q (baktainer.db.all=true takes all)", others))
		}
	}
	return i
}
