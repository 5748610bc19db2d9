package postgres

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
	inst        engine.Instance
	tool        string
	toolVersion string
	creds       engine.Credentials
	host        string // empty: the local socket
	meeting     string // a database for asking questions in
	server      server
	database    string // empty: all
	all, asked  bool   // all databases; by a label

	dump   source.Dump   // what is to be dumped
	chosen engine.Chosen // what that means here, known after Streams
}

func (s *session) Server() string {
	version, _, _ := strings.Cut(s.server.Version, " ")
	if s.toolVersion == version || s.toolVersion == "" {
		return "PostgreSQL " + version
	}
	return fmt.Sprintf("PostgreSQL %s, pg_dump %s", version, s.toolVersion)
}

func (s *session) Streams(ctx context.Context) ([]engine.Stream, error) {
	streams, err := s.streams(ctx)
	s.chosen.Begins(streams)
	return streams, err
}

func (s *session) streams(ctx context.Context) ([]engine.Stream, error) {
	databases := s.server.Databases
	if !s.all {
		if !slices.Contains(databases, s.database) {
			return nil, s.missing(s.database)
		}
		databases = []string{s.database}
	}
	if s.dump.Selects() {
		var err error
		if databases, err = s.choose(ctx, databases); err != nil {
			return nil, err
		}
	}
	if !s.all {
		return []engine.Stream{databaseStream(s.database)}, nil
	}
	var streams []engine.Stream
	switch {
	case s.server.Super:
		streams = append(streams, engine.Stream{Name: globalsName + ending, Kind: kindGlobals, Format: formatGlobals})
	case s.asked:
		return nil, problem.New(problem.Denied, "read the roles of the server as %q, who is no superuser", s.creds.User).
			WithReason(engine.ReasonToolFailed).
			WithHint("All databases include the roles, and only a superuser may read their passwords. Name a superuser in baktainer.db.user, or one database in baktainer.db.name.")
	}
	for _, database := range databases {
		streams = append(streams, databaseStream(database))
	}
	if len(streams) == 0 {
		return nil, problem.New(problem.NotFound, "the server has no database that takes connections").WithReason(engine.ReasonNoDatabase)
	}
	return streams, nil
}

func databaseStream(database string) engine.Stream {
	return engine.Stream{
		Name: engine.FileName(database, globalsName) + ending, Kind: kindDatabase, Database: database, Format: formatDatabase,
	}
}

func (s *session) Dump(ctx context.Context, stream engine.Stream) (engine.Process, error) {
	if stream.Kind == kindGlobals {
		return s.inst.Exec(ctx, s.command("pg_dumpall", "--globals-only", "--no-password", "--dbname="+s.conninfo(s.meeting)))
	}
	argv := append([]string{s.tool, "--format=plain", "--create", "--no-password", "--dbname=" + s.conninfo(stream.Database)}, s.dump.Args...)
	return s.inst.Exec(ctx, s.command(append(argv, s.chosen.Of[stream.Database].Args...)...))
}

// Ask implements engine.Asker.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	if database == "" {
		if database = s.database; database == "" {
			database = s.meeting
		}
	}
	cmd := s.psql(database, "--no-align", "--tuples-only", "--field-separator=\t")
	cmd.Env = append(cmd.Env, "PGCLIENTENCODING=UTF8")
	cmd.Stdin = strings.NewReader(query)
	out, exit, err := engine.Output(ctx, s.inst, cmd, engine.AnswerLimit)
	if err != nil {
		return "", err
	}
	if exit.Status != 0 {
		return "", engine.Explain("psql", exit, patterns)
	}
	return string(out), nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return engine.Explain(s.tool, e, patterns) }

func (s *session) Inspect(stream engine.Stream) engine.Inspector {
	if stream.Kind == kindGlobals {
		i := newInspector(globalsMarks)
		s.chosen.WriteDown(stream, nil, nil, &i.contents)
		return i
	}
	i := newInspector(databaseMarks)
	s.chosen.WriteDown(stream, dumpArgs, s.dump.Args, &i.contents)
	if !s.all {
		var others []string
		for _, database := range s.server.Databases {
			if database != stream.Database && database != "postgres" && len(others) < 20 {
				others = append(others, database)
			}
		}
		if len(others) > 0 {
			i.contents.Notes = append(i.contents.Notes, fmt.Sprintf("not in this backup: databases %q (baktainer.db.all=true takes all)", others))
		}
	}
	return i
}
