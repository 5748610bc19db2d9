package openldap

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kindConfig   = "config"
	kindDatabase = "database"
	format       = "ldif"
	configName   = "config"
)

type session struct {
	inst        engine.Instance
	credentials engine.Credentials // User is a DN; empty: each database's own administrator
	url         string
	config      string // the folder
	blocks      bool   // slapcat can be kept from being asked to end
	server      string
	databases   []database
}

func (s *session) Server() string { return s.server }

// slapcat is the command with arguments.
func (s *session) slapcat(args ...string) engine.Command {
	argv := []string{"slapcat", "-F", s.config}
	if s.blocks {
		argv = append(slices.Clone(blocking), argv...)
	}
	return engine.Command{Argv: append(argv, args...)}
}

// client is one of the server's clients, bound as the administrator of a
// database. The password comes before what else is on stdin: the tools read it
// from there when they have no terminal.
func (s *session) client(d database, stdin io.Reader, tool string, args ...string) engine.Command {
	argv := []string{tool, "-H", s.url}
	cmd := engine.Command{Stdin: stdin}
	if s.credentials.Found && s.who(d) != "" {
		pw := s.credentials.Password.Reveal()
		cmd.Stdin = strings.NewReader(pw + "\n")
		if stdin != nil {
			cmd.Stdin = io.MultiReader(cmd.Stdin, stdin)
		}
		cmd.Secrets = []string{pw}
		argv = append(argv, "-x", "-D", s.who(d), "-W")
	} else {
		argv = append(argv, "-Q", "-Y", "EXTERNAL")
	}
	cmd.Argv = append(argv, args...)
	return cmd
}

// who is the DN to log in with.
func (s *session) who(d database) string {
	if s.credentials.User != "" {
		return s.credentials.User
	}
	return d.rootDN
}

// outputLimit bounds what tools say that say much.
const outputLimit = 64 << 20

// output runs a tool to its good end.
func (s *session) output(ctx context.Context, cmd engine.Command, limit int64) ([]byte, error) {
	out, exit, err := engine.Output(ctx, s.inst, cmd, limit)
	if err == nil && exit.Status != 0 {
		err = explain(tool(cmd), exit)
	}
	return out, err
}

func tool(cmd engine.Command) string {
	if cmd.Argv[0] == blocking[0] {
		return cmd.Argv[len(blocking)]
	}
	return cmd.Argv[0]
}

// login tries the password.
func (s *session) login(ctx context.Context, d database) error {
	_, err := s.output(ctx, s.client(d, nil, "ldapwhoami"), engine.AnswerLimit)
	return err
}

func (s *session) Streams(context.Context) ([]engine.Stream, error) {
	streams := []engine.Stream{{Name: configName + ".ldif", Kind: kindConfig, Format: format}}
	for _, d := range s.databases {
		streams = append(streams, engine.Stream{Name: fileName(d.suffix) + ".ldif", Kind: kindDatabase, Database: d.suffix, Format: format})
	}
	return streams, nil
}

// fileName is the domain that a suffix stands for, or the suffix itself.
func fileName(suffix string) string {
	if domain := ldif.Domain(suffix); domain != "" {
		return engine.FileName(strings.ToLower(domain), configName)
	}
	return engine.FileName(suffix, configName)
}

func (s *session) find(stream engine.Stream) (database, error) {
	i := slices.IndexFunc(s.databases, func(d database) bool { return same(d.suffix, stream.Database) })
	if i < 0 {
		return database{}, problem.New(problem.NotFound, "the server has no database with the suffix %s", stream.Database).
			WithReason(engine.ReasonNoDatabase).WithHint("Configure one in the target: databases are not created by a restore, since they belong to the server's configuration.")
	}
	return s.databases[i], nil
}

func (s *session) Dump(ctx context.Context, stream engine.Stream) (engine.Process, error) {
	if stream.Kind == kindConfig {
		return s.dump(ctx, "-n", "0")
	}
	d, err := s.find(stream)
	if err != nil {
		return nil, err
	}
	return s.dump(ctx, d.args()...)
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return explain("slapcat", e) }

// Ask implements engine.Asker: the query is a filter, with names of attributes
// behind it; the database is the DN to search below. The answer is how many
// entries there are, or the values of the attributes, a line for each entry.
func (s *session) Ask(ctx context.Context, base, query string) (string, error) {
	filter := strings.TrimSpace(query)
	end := strings.LastIndexByte(filter, ')') + 1
	attributes := strings.Fields(filter[end:])
	if !strings.HasPrefix(filter, "(") || slices.ContainsFunc(attributes, func(a string) bool { return a[0] == '-' }) {
		return "", problem.New(problem.InvalidInput, "the query is no filter with names of attributes behind it: %q", query).
			WithHint("Write, for example, (uid=zoe) mail")
	}
	d := s.databases[0]
	if found, err := s.find(engine.Stream{Database: base}); err == nil {
		d = found
	}
	args := []string{"-LLL", "-o", "ldif-wrap=no", "-b", cmp.Or(base, d.suffix), filter[:end]}
	if len(attributes) == 0 {
		out, err := s.output(ctx, s.client(d, nil, "ldapsearch", append(args, "1.1")...), outputLimit)
		var entries ldif.Counter
		_, _ = entries.Write(out) // never fails
		return strconv.FormatInt(entries.Entries, 10), err
	}
	out, err := s.output(ctx, s.client(d, nil, "ldapsearch", append(args, attributes...)...), engine.AnswerLimit)
	if err != nil {
		return "", err
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		switch {
		case name == "dn":
			rows = append(rows, nil)
		case name != "" && len(rows) > 0:
			rows[len(rows)-1] = append(rows[len(rows)-1], decode(value))
		}
	}
	var answer strings.Builder
	for _, row := range rows {
		fmt.Fprintln(&answer, strings.Join(row, "\t"))
	}
	return answer.String(), nil
}
