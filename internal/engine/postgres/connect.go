package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// queryLimit bounds the answer of a query, in bytes: some 100,000 names.
const queryLimit = 16 << 20

// conninfo is how PostgreSQL's tools are told where to connect. Given as one
// quoted string, a name can be neither an option nor a connection string itself.
func (s *session) conninfo(database string) string {
	info := "dbname=" + conninfoValue(database) + " user=" + conninfoValue(s.creds.User)
	if s.host != "" {
		info += " host=" + conninfoValue(s.host)
	}
	return info
}

func conninfoValue(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// quoteIdent makes a name an SQL identifier.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// command prepares a tool of PostgreSQL's with the password in its environment.
func (s *session) command(argv ...string) engine.Command {
	cmd := engine.Command{Argv: argv, Env: []string{"LC_MESSAGES=C", "LANGUAGE=", "PGCONNECT_TIMEOUT=15"}}
	if s.creds.Found {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+s.creds.Password.Reveal())
		cmd.Secrets = []string{s.creds.Password.Reveal()}
	}
	return cmd
}

func (s *session) psql(database string, options ...string) engine.Command {
	argv := []string{"psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--dbname=" + s.conninfo(database)}
	return s.command(append(argv, options...)...)
}

// run has psql carry out SQL, each statement on its own, and returns its output.
func (s *session) run(ctx context.Context, database, sql string) ([]byte, error) {
	cmd := s.psql(database, "--no-align", "--tuples-only")
	cmd.Env = append(cmd.Env, "PGCLIENTENCODING=UTF8")
	cmd.Stdin = strings.NewReader(sql)
	out, exit, err := engine.Output(ctx, s.inst, cmd, queryLimit)
	if err != nil {
		return nil, err
	}
	if exit.Status != 0 {
		return nil, engine.Explain("psql", exit, patterns)
	}
	return out, nil
}

// query decodes the JSON that a query answers with. An empty answer leaves v alone.
func (s *session) query(ctx context.Context, database, sql string, v any) error {
	out, err := s.run(ctx, database, "SET standard_conforming_strings = on;\n"+sql+";\n")
	if err != nil {
		return err
	}
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil
	}
	if err := json.Unmarshal(out, v); err != nil {
		return problem.Wrap(problem.Failed, err, "understand the answer of psql").WithReason(engine.ReasonMalformed)
	}
	return nil
}

// server is what is asked of a server at first.
type server struct {
	Version   string
	Number    int
	Super     bool
	Databases []string
	Closed    []string // databases that are there, and that nobody can connect to, or templates
}

const aboutServer = `SELECT json_build_object(
  'Version', current_setting('server_version'),
  'Number', current_setting('server_version_num')::int,
  'Super', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
  'Databases', (SELECT json_agg(datname ORDER BY datname) FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate),
  'Closed', (SELECT json_agg(datname ORDER BY datname) FROM pg_catalog.pg_database WHERE NOT datallowconn OR datistemplate))`

// connect finds a way in, by the first of hosts: the local socket (empty), which the
// official images trust, or the loopback, with the password; and a database to ask
// questions in, which is not the one to be backed up since that may be lost.
func (s *session) connect(ctx context.Context, hosts []string) error {
	var first error
	for _, s.host = range hosts {
		for _, database := range s.meetingPlaces() {
			err := s.query(ctx, database, aboutServer, &s.server)
			if err == nil {
				s.meeting = database
				return nil
			}
			if first == nil || problem.ReasonOf(first) == engine.ReasonNoDatabase {
				first = err
			}
			if problem.ReasonOf(err) != engine.ReasonNoDatabase {
				break
			}
		}
		if r := problem.ReasonOf(first); r != engine.ReasonNoConnection && r != engine.ReasonWrongPassword {
			break
		}
	}
	p := problem.Wrap(problem.CodeOf(first), first, "connect as %q", s.creds.User)
	if problem.ReasonOf(first) == engine.ReasonWrongPassword {
		if !s.creds.Found {
			none := engine.NoCredentials(s.creds, variables)
			return p.WithDetails(none.Details...).WithHint("The server asks for a password and none was found. %s", none.Hint)
		}
		p.WithDetails("the password came from the " + s.creds.From)
	}
	return p
}

// meetingPlaces are databases that are there on most servers.
func (s *session) meetingPlaces() []string {
	places := []string{"postgres", "template1"}
	if s.database != "" && !slices.Contains(places, s.database) {
		places = append(places, s.database)
	}
	return places
}

// awayFrom gives a database to be connected to while another is dropped or created.
func (s *session) awayFrom(database string) string {
	if s.meeting != database {
		return s.meeting
	}
	return "template1"
}

func (s *session) missing(database string) *problem.Problem {
	names := s.server.Databases[:min(len(s.server.Databases), 20)]
	return problem.New(problem.NotFound, "the server has no database %q", database).WithReason(engine.ReasonNoDatabase).
		WithHint("It has %s. Name one in baktainer.db.name, or back up all with baktainer.db.all=true.", fmt.Sprintf("%q", names))
}
