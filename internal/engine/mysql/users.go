package mysql

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// The stream of accounts is SQL, one statement a line, all that create before
// all that grant. A comment before each says whose it is, in hexadecimal since
// names may hold anything: kind (user or role), name, host.
const (
	usersTitle = "-- Baktainer accounts, format 1"
	usersEnd   = "-- Accounts complete"
	createMark = "-- Create "
	grantMark  = "-- Grant "
	unseenMark = "-- Left out, the server does not show it: "
)

// account is a user, or a role of MariaDB's, which has no host.
type account struct {
	Name, Host string
	Role       bool
}

func (a account) mark() string {
	kind := "user"
	if a.Role {
		kind = "role"
	}
	return fmt.Sprintf("%s %x@%x", kind, a.Name, a.Host)
}

// sql gives the account as statements name it. sql_mode is empty when it is used.
func (a account) sql() string {
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'" }
	if a.Role {
		return quote(a.Name)
	}
	return quote(a.Name) + "@" + quote(a.Host)
}

// systemAccounts come with the server.
var systemAccounts = []string{"mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys"}

func (s *session) accounts(ctx context.Context) ([]account, error) {
	role := "'N'"
	if s.isMariaDB {
		role = "is_role"
	}
	rows, err := s.query(ctx, "SELECT CONCAT(HEX(User), ' ', HEX(Host), ' ', "+role+") FROM mysql.user ORDER BY 1;\n")
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	var all []account
	for _, row := range rows {
		part := strings.Split(row, " ")
		if len(part) != 3 {
			return nil, problem.New(problem.Failed, "list accounts: an answer of %d columns", len(part)).WithReason(engine.ReasonMalformed)
		}
		name, err1 := hex.DecodeString(part[0])
		host, err2 := hex.DecodeString(part[1])
		if err1 != nil || err2 != nil {
			return nil, problem.New(problem.Failed, "list accounts: the answer is not hexadecimal").WithReason(engine.ReasonMalformed)
		}
		a := account{string(name), string(host), part[2] == "Y"}
		if !slices.Contains(systemAccounts, a.Name) && a.Name != "PUBLIC" {
			all = append(all, a)
		}
	}
	return all, nil
}

// unescape undoes what the client's batch mode does to a value.
var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\0`, "\x00")

// defaultRole is left out of CREATE USER, since the role may not be there yet.
var defaultRole = regexp.MustCompile(" DEFAULT ROLE (`(``|[^`])*`@`(``|[^`])*`,?)+")

// dumpUsers asks for every account what would create it and what it may do. An
// account that the server does not show (for example one of another host name
// with skip-name-resolve) is noted and left out.
func (s *session) dumpUsers(ctx context.Context) (engine.Process, error) {
	accounts, err := s.accounts(ctx)
	if err != nil {
		return nil, err
	}
	const parting = "-- next account"
	var sql strings.Builder
	if !s.isMariaDB {
		sql.WriteString("SET SESSION print_identified_with_as_hex = 1;\n")
	}
	for _, a := range accounts {
		fmt.Fprintf(&sql, "SELECT '%s';\n", parting)
		if !a.Role {
			fmt.Fprintf(&sql, "SHOW CREATE USER %s;\n", a.sql())
		}
		fmt.Fprintf(&sql, "SHOW GRANTS FOR %s;\n", a.sql())
	}
	rows, exit, err := s.run(ctx, sql.String(), "--force")
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	var sections []string // of an account that is not shown at all an empty one
	for _, row := range rows {
		switch n := len(sections); {
		case row == parting:
			sections = append(sections, "")
		case n > 0:
			sections[n-1] += row + "\n"
		}
	}
	if len(sections) != len(accounts) {
		return nil, fmt.Errorf("read accounts: %w", engine.Explain(s.client, exit, patterns))
	}
	var creates, grants, notes strings.Builder
	for n, a := range accounts {
		create, grant, complete := a.statements(sections[n])
		if !complete {
			if p := engine.Explain(s.client, exit, patterns); p.Reason == engine.ReasonNoConnection {
				return nil, fmt.Errorf("read accounts: %w", p) // it was not shown for want of a server
			}
			fmt.Fprintf(&notes, "%s%s\n", unseenMark, a.mark())
			continue
		}
		fmt.Fprintf(&creates, "%s%s\n%s;\n", createMark, a.mark(), create)
		for _, g := range grant {
			if !s.sorted.mayGrant(g) {
				fmt.Fprintf(&notes, "-- Left out, what it may do with what is left out: %s\n", a.mark())
				continue
			}
			fmt.Fprintf(&grants, "%s%s\n%s;\n", grantMark, a.mark(), g)
		}
	}
	text := usersTitle + "\n-- " + s.Server() + "\n" + notes.String() + creates.String() + grants.String() + usersEnd + "\n"
	return &made{Reader: strings.NewReader(text)}, nil
}

// statements reads the answers on one account. complete is false when one is
// missing or would not fit on a line.
func (a account) statements(section string) (create string, grants []string, complete bool) {
	if a.Role {
		create = "CREATE ROLE " + a.sql()
	}
	for line := range strings.Lines(section) {
		line = unescape.Replace(strings.TrimSuffix(line, "\n"))
		switch {
		case line == "":
		case strings.ContainsAny(line, "\n\x00"):
			return "", nil, false
		case strings.HasPrefix(line, "CREATE USER "):
			create = defaultRole.ReplaceAllString(line, "")
			if role := defaultRole.FindString(line); role != "" {
				grants = append(grants, "ALTER USER "+a.sql()+role)
			}
		default:
			grants = append(grants, line)
		}
	}
	return create, grants, create != "" && len(grants) > 0
}

// made is a process that has ended well: the text is there.
type made struct{ io.Reader }

func (*made) Wait() (engine.Exit, error) { return engine.Exit{}, nil }
func (*made) Kill()                      {}

// usersInspector checks a stream of accounts.
type usersInspector struct {
	seen     int64
	begin    []byte
	line     []byte // the line so far
	contents engine.Contents
	unseen   engine.Names
	ended    bool
	after    bool
}

// unseenNote begins the note that names accounts which are not in a backup.
const unseenNote = "left out, since the server does not show them"

const lineLimit = 64 << 10

// Write implements engine.Inspector.
func (u *usersInspector) Write(p []byte) (int, error) {
	u.seen += int64(len(p))
	u.begin = append(u.begin, p[:min(len(p), len(usersTitle)+1-len(u.begin))]...)
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		piece := rest
		if n >= 0 {
			piece = rest[:n]
		}
		u.line = append(u.line, piece[:min(len(piece), lineLimit-len(u.line))]...)
		if n < 0 {
			break
		}
		u.after = u.after || u.ended
		u.ended = string(u.line) == usersEnd
		if a, ok := bytes.CutPrefix(u.line, []byte(createMark)); ok && len(u.contents.Objects) < engine.MaxObjects {
			if parsed, ok := parseMark(string(a)); ok {
				u.contents.Objects = append(u.contents.Objects, engine.Object{Kind: "account", Name: parsed.sql(), Rows: -1})
			}
		}
		if a, ok := bytes.CutPrefix(u.line, []byte(unseenMark)); ok {
			if parsed, ok := parseMark(string(a)); ok {
				u.unseen.Add(parsed.sql())
			}
		}
		u.line, rest = u.line[:0], rest[n+1:]
	}
	return len(p), nil
}

// Finish implements engine.Inspector.
func (u *usersInspector) Finish() (engine.Contents, error) {
	fail := func(reason problem.Reason, what string) (engine.Contents, error) {
		return engine.Contents{}, problem.New(problem.Failed, "%s: %d bytes", what, u.seen).WithReason(reason)
	}
	switch {
	case u.seen == 0:
		return fail(engine.ReasonEmpty, "the stream of accounts is empty")
	case !strings.HasPrefix(usersTitle+"\n", string(u.begin)), u.after:
		return fail(engine.ReasonMalformed, "this is no stream of accounts")
	case !u.ended || len(u.line) > 0:
		return fail(engine.ReasonTruncated, "the stream of accounts is cut short, its end mark is missing")
	}
	u.unseen.Note(&u.contents, unseenNote)
	return u.contents, nil
}

func parseMark(mark string) (account, bool) {
	kind, rest, _ := strings.Cut(mark, " ")
	hexName, hexHost, ok := strings.Cut(rest, "@")
	name, err1 := hex.DecodeString(hexName)
	host, err2 := hex.DecodeString(hexHost)
	return account{string(name), string(host), kind == "role"}, ok && err1 == nil && err2 == nil && (kind == "user" || kind == "role")
}

// usersLimit bounds the accounts that are restored, in bytes.
const usersLimit = 16 << 20

// restoreUsers gives the SQL that a stream of accounts comes to on a server that
// has some of them: nothing for those, or, with overwrite, an ALTER USER and
// grants, save for accounts named self.
func restoreUsers(r io.Reader, have []account, overwrite bool, self string) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, usersLimit+1))
	if err != nil {
		return "", err
	}
	if len(text) > usersLimit {
		return "", problem.New(problem.Failed, "the stream of accounts has more than %d bytes", usersLimit).WithReason(engine.ReasonUnsupported)
	}
	check := &usersInspector{}
	_, _ = check.Write(text)
	if _, err := check.Finish(); err != nil {
		return "", err
	}
	var sql strings.Builder
	var keep bool
	var mine account
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, usersLimit)
	for lines.Scan() {
		line := lines.Text()
		mark, isCreate := strings.CutPrefix(line, createMark)
		if !isCreate {
			mark, _ = strings.CutPrefix(line, grantMark)
		}
		if mark != line {
			var ok bool
			if mine, ok = parseMark(mark); !ok {
				return "", problem.New(problem.Corrupt, "the stream of accounts names one that cannot be read").WithReason(engine.ReasonMalformed)
			}
			keep = !slices.Contains(have, mine) || overwrite && mine.Name != self
			continue
		}
		if strings.HasPrefix(line, "--") || !keep {
			continue
		}
		if slices.Contains(have, mine) {
			if strings.HasPrefix(line, "CREATE ROLE ") {
				continue
			}
			if rest, ok := strings.CutPrefix(line, "CREATE USER "); ok {
				line = "ALTER USER " + rest
			}
		}
		sql.WriteString(line + "\n")
	}
	return sql.String(), lines.Err()
}
