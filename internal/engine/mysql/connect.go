package mysql

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// queryLimit bounds the answer of a query, in bytes.
const queryLimit = 16 << 20

// systemDatabases belong to the server. Accounts are dumped as statements.
var systemDatabases = []string{"information_schema", "performance_schema", "mysql", "sys", "ndbinfo"}

func quoteIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// quoteString makes a string literal, whatever the SQL mode, from any text.
func quoteString(s string) string {
	if s == "" {
		return "''"
	}
	return fmt.Sprintf("_utf8mb4 0x%x", s)
}

// command prepares a tool with the password in its environment.
func (s *session) command(tool string, options ...string) engine.Command {
	argv := []string{tool, "--user=" + s.creds.User, "--default-character-set=utf8mb4"}
	if s.host != "" {
		argv = append(argv, "--host="+s.host)
	}
	return engine.Command{
		Argv:    append(argv, options...),
		Env:     []string{"MYSQL_PWD=" + s.creds.Password.Reveal()},
		Secrets: []string{s.creds.Password.Reveal()},
	}
}

// run carries SQL out and gives the rows of the answer, columns parted by tabs.
func (s *session) run(ctx context.Context, sql string, options ...string) ([]string, engine.Exit, error) {
	cmd := s.command(s.client, append([]string{"--batch", "--skip-column-names", "--binary-mode"}, options...)...)
	cmd.Stdin = strings.NewReader("SET SESSION sql_mode = '';\n" + sql)
	out, exit, err := engine.Output(ctx, s.inst, cmd, queryLimit)
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), exit, err
}

// query is run where any failure counts.
func (s *session) query(ctx context.Context, sql string) ([]string, error) {
	rows, exit, err := s.run(ctx, sql)
	if err != nil {
		return nil, err
	}
	if exit.Status != 0 {
		return nil, engine.Explain(s.client, exit, patterns)
	}
	if len(rows) == 1 && rows[0] == "" {
		return nil, nil
	}
	return rows, nil
}

// connect finds a way in, by the first of hosts: the local socket (empty), or the
// loopback.
func (s *session) connect(ctx context.Context, hosts []string) error {
	var first error
	for _, s.host = range hosts {
		rows, err := s.query(ctx, "SELECT VERSION();\nSELECT @@version_comment;\n")
		if err == nil && len(rows) > 0 {
			s.version = rows[0]
			s.isMariaDB = strings.Contains(strings.ToLower(strings.Join(rows, " ")), "mariadb")
			return s.listDatabases(ctx)
		}
		if first == nil {
			first = err
		}
		if problem.ReasonOf(err) != engine.ReasonNoConnection {
			break
		}
	}
	p := problem.Wrap(problem.CodeOf(first), first, "connect as %q", s.creds.User)
	if problem.ReasonOf(first) == engine.ReasonWrongPassword {
		p.WithDetails("the password came from the " + s.creds.From)
	}
	return p
}

func (s *session) listDatabases(ctx context.Context) error {
	rows, err := s.query(ctx, "SELECT HEX(SCHEMA_NAME) FROM information_schema.SCHEMATA;\n")
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	s.databases = nil
	for _, row := range rows {
		name, err := hex.DecodeString(row)
		if err != nil {
			return problem.Wrap(problem.Failed, err, "list databases").WithReason(engine.ReasonMalformed)
		}
		if d := string(name); !slices.Contains(systemDatabases, strings.ToLower(d)) && !strings.HasPrefix(d, "#mysql50#") {
			s.databases = append(s.databases, d)
		}
	}
	slices.Sort(s.databases)
	return nil
}
