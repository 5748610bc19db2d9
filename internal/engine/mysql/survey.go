package mysql

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
)

// How notes of a database's dump begin.
const (
	serverNote   = "server version "
	definersNote = "accounts that it runs things as"
	enginesNote  = "storage engines"
	itselfNote   = "names its own database in"
)

// definerOf gives the account that a view, routine, trigger or event is run as, as
// statements name it; empty for what is none of these.
func definerOf(head []byte) string {
	if !bytes.HasPrefix(head, []byte("/*!")) && !bytes.HasPrefix(head, []byte("CREATE DEFINER=")) {
		return ""
	}
	_, rest, found := bytes.Cut(head, []byte("DEFINER=`"))
	if !found {
		return ""
	}
	const ticks = 2
	quoted := append([]byte{'`'}, rest...)
	name := identAt(quoted)
	if name == "" {
		return ""
	}
	quoted = quoted[min(len(quoted), len(name)+strings.Count(name, "`")+ticks):]
	if !bytes.HasPrefix(quoted, []byte("@`")) {
		return account{Name: name, Role: true}.sql() // a role of MariaDB's
	}
	return account{Name: name, Host: identAt(quoted[1:])}.sql()
}

// storageOf gives the storage engine of CREATE TABLE: it comes first of what
// follows the columns.
func storageOf(head []byte) string {
	at := bytes.LastIndex(head, []byte("\n) ENGINE="))
	if at < 0 {
		return ""
	}
	name := head[at+len("\n) ENGINE="):]
	n := 0
	for n < len(name) && (name[n] == '_' || name[n] >= '0' && name[n] <= '9' || name[n]|0x20 >= 'a' && name[n]|0x20 <= 'z') {
		n++
	}
	return string(name[:n])
}

// provisions are what a server has that dumps may need.
type provisions struct {
	engines  []string
	accounts []string
	known    bool // whether the accounts are known
	lower    bool // names of tables become lower case
	data     string
}

func (s *session) provisions(ctx context.Context) (p provisions, err error) {
	rows, err := s.query(ctx, "SELECT CONCAT('e ', ENGINE) FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT');\nSELECT CONCAT('l ', @@lower_case_table_names);\nSELECT CONCAT('d ', @@datadir);\n")
	if err != nil {
		return p, fmt.Errorf("look at what the server has: %w", err)
	}
	for _, row := range rows {
		switch kind, value, _ := strings.Cut(row, " "); kind {
		case "e":
			p.engines = append(p.engines, strings.ToLower(value))
		case "l":
			p.lower = value == "1"
		case "d":
			p.data = value
		}
	}
	all, err := s.accounts(ctx)
	if ctx.Err() != nil {
		return p, ctx.Err()
	}
	p.known = err == nil // else we may not read them
	for _, a := range all {
		p.accounts = append(p.accounts, a.sql())
	}
	for _, name := range systemAccounts {
		p.accounts = append(p.accounts, account{Name: name, Host: "localhost"}.sql())
	}
	return p, nil
}

// Survey implements engine.Surveyor.
func (s *session) Survey(ctx context.Context, dumps []engine.Dumped, o engine.RestoreOptions) (engine.Survey, error) {
	have, err := s.provisions(ctx)
	if err != nil {
		return engine.Survey{}, err
	}
	found := have.lacks(dumps, o.Only)
	for _, d := range dumps {
		if itself := d.Contents.Named(itselfNote); o.As != "" && len(o.Only) == 0 && len(itself) > 0 {
			found.Miss("%s names its own database in definitions: %s. %s", d.Name, engine.ListNames(itself), renameHint)
		}
		from := d.Contents.Noted(serverNote)
		switch dumped := isMariaDB(d.Contents); {
		case d.Kind != kindDatabase || from == "":
		case dumped && !s.isMariaDB:
			found.Warn("The snapshot is of MariaDB %s, and the target runs %s: collations, types and sequences that only MariaDB has fail, and accounts are made otherwise. Try it into an empty server first.", from, s.Server())
		case !dumped && s.isMariaDB:
			found.Warn("The snapshot is of MySQL %s, and the target runs %s: collations, types and options that only MySQL has fail, and accounts are made otherwise. Try it into an empty server first.", from, s.Server())
		default:
			name, version, _ := strings.Cut(s.Server(), " ")
			const parts = 2
			found.WarnOlder(name, version, from, parts)
		}
	}
	found.WarnRoom(ctx, s.inst, have.data, dumps)
	return found, nil
}

// isMariaDB says whether a dump is of a MariaDB server: its version says so, of
// servers that came after 5.5 at least.
func isMariaDB(c engine.Contents) bool {
	return strings.Contains(strings.ToLower(c.Noted(serverNote)), "mariadb")
}

func (have provisions) lacks(dumps []engine.Dumped, only []string) (found engine.Survey) {
	accounts := slices.Clone(have.accounts)
	for _, d := range dumps {
		for _, o := range d.Contents.Objects {
			if o.Kind == "account" {
				accounts = append(accounts, o.Name)
			}
		}
	}
	for _, d := range dumps {
		if d.Kind != kindDatabase {
			continue
		}
		if lacking := engine.Without(d.Contents.Named(definersNote), accounts); have.known && len(lacking) > 0 {
			found.Warn("Views, routines, triggers or events of %s are run as %s, who are no accounts of the target: they come back and fail when they are used, until these are created.", d.Name, engine.ListNames(lacking))
		}
		lacking := slices.DeleteFunc(d.Contents.Named(enginesNote), func(e string) bool { return slices.Contains(have.engines, strings.ToLower(e)) })
		if len(lacking) > 0 {
			found.Warn("Tables of %s use the storage engines %s, which the target does not have: they get its default one, or are refused. Restore into an image that has them if that matters.", d.Name, engine.ListNames(lacking))
		}
		if have.lower {
			lowers(d, only, &found)
		}
	}
	return found
}

// lowers tells what becomes of names of tables that have capitals; of some tables only
// where these alone are restored.
func lowers(d engine.Dumped, only []string, found *engine.Survey) {
	var capitals, same []string
	seen := map[string]bool{}
	for _, o := range d.Contents.Objects {
		if engine.IsLeftOut(o.Kind) || len(only) > 0 && !slices.Contains(only, o.Name) {
			continue
		}
		lower := strings.ToLower(o.Name)
		if seen[lower] {
			same = append(same, o.Name)
		}
		if seen[lower] = true; lower != o.Name {
			capitals = append(capitals, o.Name)
		}
	}
	switch {
	case len(same) > 0:
		found.Miss("The target keeps names of tables in lower case (lower_case_table_names=1), and %s has several that are one then: %s. Restore into a server that is set up with 0.", d.Name, engine.ListNames(same))
	case len(capitals) > 0:
		found.Warn("The target keeps names of tables in lower case (lower_case_table_names=1): so it will those of %s that have capitals: %s.", d.Name, engine.ListNames(capitals))
	}
}
