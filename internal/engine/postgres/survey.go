package postgres

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
	rolesNote   = "roles that it names"
	localesNote = "locales that it is created with"
	fromNote    = "dumped from database version "
	byNote      = "dumped by pg_dump version "
)

// roleOf gives the role that a statement gives something to, or takes it from:
// what a restore needs unless owners are left out. Empty: the statement names none.
func roleOf(head []byte) string {
	var before string // the word that the role follows
	switch {
	case bytes.HasPrefix(head, []byte("ALTER ")) && bytes.Contains(head, []byte(" OWNER TO ")):
		before = "TO"
	case bytes.HasPrefix(head, []byte("GRANT ")), bytes.HasPrefix(head, []byte("ALTER DEFAULT PRIVILEGES ")) && bytes.Contains(head, []byte(" GRANT ")):
		before = "TO"
	case bytes.HasPrefix(head, []byte("REVOKE ")), bytes.HasPrefix(head, []byte("ALTER DEFAULT PRIVILEGES ")):
		before = "FROM"
	case bytes.HasPrefix(head, []byte("SET SESSION AUTHORIZATION ")):
		before = "AUTHORIZATION"
	case bytes.HasPrefix(head, []byte("ALTER ROLE ")):
		before = "ROLE"
	default:
		return ""
	}
	ts := tokens(head)
	for n := len(ts) - 2; n >= 0; n-- {
		if ts[n].word == before {
			if role := ts[n+1]; role.word != "PUBLIC" && role.word != "DEFAULT" {
				return role.name
			}
			return ""
		}
	}
	return ""
}

// localesOf gives the C library's locales that CREATE DATABASE asks for.
func localesOf(head []byte) (locales []string) {
	w := words{head}
	for next := w.next(); next != ""; next = w.next() {
		if next != "LOCALE" && next != "LC_COLLATE" && next != "LC_CTYPE" {
			continue
		}
		if w.next() == "=" {
			if value := w.next(); value != "" && value[0] == '\'' {
				name, _ := unquote([]byte(value), '\'')
				locales = append(locales, name)
			}
		}
	}
	return locales
}

// provisions are what a server has that dumps may need.
type provisions struct {
	Roles, Extensions, Locales []string
	Data                       string // the folder of its data; empty: we may not know
}

const aboutProvisions = `SELECT json_build_object(
  'Roles', (SELECT json_agg(rolname) FROM pg_catalog.pg_roles),
  'Extensions', (SELECT json_agg(name) FROM pg_catalog.pg_available_extensions),
  'Locales', (SELECT json_agg(l) FROM (SELECT datcollate FROM pg_catalog.pg_database UNION SELECT collcollate FROM pg_catalog.pg_collation) AS all_of_them (l) WHERE l <> ''),
  'Data', (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'))`

// Survey implements engine.Surveyor.
func (s *session) Survey(ctx context.Context, dumps []engine.Dumped, o engine.RestoreOptions) (engine.Survey, error) {
	var have provisions
	if err := s.query(ctx, s.meeting, aboutProvisions, &have); err != nil {
		return engine.Survey{}, fmt.Errorf("look at what the server has: %w", err)
	}
	found := have.lacks(dumps, o)
	for _, d := range dumps {
		found.WarnOlder("PostgreSQL", s.server.Version, d.Contents.Noted(fromNote), majorParts(s.server.Number))
		if by := d.Contents.Noted(byNote); restricts(by) && !restricts(s.toolVersion) && len(engine.Version(s.toolVersion)) > 0 {
			found.Miss("psql %s of the target does not read what pg_dump %s has written into %s: it begins with a command that only later minor versions know. Update the target's image.", s.toolVersion, by, d.Name)
		}
		if d.Kind == kindDatabase {
			there, err := s.exists(ctx, target(d.Stream, o))
			if err != nil {
				return found, err
			}
			if lacking := unknownLocales(d.Contents.Named(localesNote), have.Locales); !there && len(lacking) > 0 {
				found.Warn("%s is created with the locale %s, which the target does not list: if it has none of that name, create the empty database yourself with another one, and restore again.", d.Name, engine.ListNames(lacking))
			}
		}
	}
	found.WarnRoom(ctx, s.inst, have.Data, dumps)
	return found, nil
}

// lacks compares roles and extensions.
func (have provisions) lacks(dumps []engine.Dumped, o engine.RestoreOptions) (found engine.Survey) {
	roles := slices.Clone(have.Roles)
	for _, d := range dumps {
		if d.Kind == kindGlobals {
			roles = append(roles, objectsOf(d, "role")...)
		}
	}
	for _, d := range dumps {
		if d.Kind != kindDatabase {
			continue
		}
		missing := engine.Without(d.Contents.Named(rolesNote), roles)
		switch {
		case len(missing) == 0 || o.NoOwner:
		case len(o.Only) > 0:
			found.Warn("The target lacks roles that the database has things of: %s. If %s is among these, create the role (CREATE ROLE), or leave owners and grants out (--no-owner).", engine.ListNames(missing), strings.Join(o.Only, ", "))
		default:
			found.Miss("%s needs the roles %s, which the target lacks: create them (CREATE ROLE), restore globals.sql with it if the snapshot has that, or leave owners and grants out (--no-owner).", d.Name, engine.ListNames(missing))
		}
		if lacking := engine.Without(objectsOf(d, "extension"), have.Extensions); len(lacking) > 0 && len(o.Only) == 0 {
			found.Miss("%s needs the extensions %s, which the target's image does not have: install them there, or restore into the image that the snapshot was taken from.", d.Name, engine.ListNames(lacking))
		}
	}
	return found
}

// objectsOf gives the names of objects of a kind, which notes keep as SQL has them.
func objectsOf(d engine.Dumped, kind string) (names []string) {
	for _, o := range d.Contents.Objects {
		if o.Kind == kind {
			if ts := tokens([]byte(o.Name)); len(ts) == 1 && ts[0].name != "" {
				names = append(names, ts[0].name)
			}
		}
	}
	return names
}

// unknownLocales gives those that none of the others is, however it is written.
func unknownLocales(names, have []string) []string {
	same := func(l string) string { return strings.ToLower(strings.ReplaceAll(l, "-", "")) }
	known := []string{"c", "posix", "c.utf8"}
	for _, h := range have {
		known = append(known, same(h))
	}
	return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(known, same(n)) })
}

// majorParts is of how many numbers a major version consists: of one since 10.
func majorParts(number int) int {
	if number < 10_00_00 {
		return 2
	}
	return 1
}

// restricts says whether tools of a version know \restrict, which came with minor
// versions of August 2025.
func restricts(version string) bool {
	v := engine.Version(version)
	first := map[int]int{13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
	switch {
	case len(v) == 0 || v[0] < 13:
		return false
	case v[0] > 17:
		return true
	}
	return len(v) > 1 && v[1] >= first[v[0]]
}
