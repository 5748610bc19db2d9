package postgres

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/source"
)

func TestRoleOf(t *testing.T) {
	for stmt, want := range map[string]string{
		"ALTER TABLE public.orders OWNER TO app;":                                               "app",
		`ALTER FUNCTION public."OWNER TO x"(a text) OWNER TO "My App";`:                         "My App",
		"GRANT SELECT ON TABLE public.orders TO reader;":                                        "reader",
		`GRANT ALL ON TABLE public.orders TO "a ""b""" WITH GRANT OPTION;`:                      `a "b"`,
		"GRANT ALL ON SCHEMA public TO PUBLIC;":                                                 "",
		"REVOKE ALL ON FUNCTION public.f() FROM PUBLIC;":                                        "",
		"REVOKE ALL ON TABLE public.x FROM writer;":                                             "writer",
		"ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES TO bob;": "bob",
		"ALTER DEFAULT PRIVILEGES FOR ROLE app REVOKE ALL ON FUNCTIONS FROM bob;":               "bob",
		"SET SESSION AUTHORIZATION app;":                                                        "app",
		"SET SESSION AUTHORIZATION DEFAULT;":                                                    "",
		"ALTER ROLE app IN DATABASE shop SET work_mem TO '1MB';":                                "app",
		"ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;":                                  "",
		"COMMENT ON TABLE x IS ' OWNER TO y;';":                                                 "",
		"ALTER TABLE x OWNER TO":                                                                "",
		"GRANT TO":                                                                              "",
	} {
		if got := roleOf([]byte(stmt)); got != want {
			t.Errorf("%s: %q, want %q", stmt, got, want)
		}
	}
}

func TestLocalesOf(t *testing.T) {
	for stmt, want := range map[string][]string{
		"CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.utf8';": {"en_US.utf8"},
		"CREATE DATABASE shop WITH ENCODING = 'UTF8' LC_COLLATE = 'C' LC_CTYPE = 'de_DE.UTF-8';":                         {"C", "de_DE.UTF-8"},
		"CREATE DATABASE \"LOCALE\" WITH ENCODING = 'UTF8';":                                                             nil,
		"CREATE DATABASE x LOCALE =": nil,
	} {
		if got := localesOf([]byte(stmt)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", stmt, got, want)
		}
	}
}

// TestSurvey takes the notes from a dump, and compares them with servers.
func TestSurvey(t *testing.T) {
	dump := `--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'de_DE.utf8';

ALTER DATABASE shop OWNER TO "the owner";

\connect shop

CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;

GRANT ALL ON SCHEMA public TO reader;

--
-- PostgreSQL database dump complete
--

`
	i := newInspector(databaseMarks)
	_, _ = i.Write([]byte(dump))
	contents, err := i.Finish()
	if err != nil {
		t.Fatal(err)
	}
	shop := engine.Dumped{Stream: databaseStream("shop"), Size: 1, Contents: contents}
	globals := engine.Dumped{Stream: engine.Stream{Name: "globals.sql", Kind: kindGlobals}, Contents: engine.Contents{Objects: []engine.Object{
		{Kind: "role", Name: `"the owner"`}, {Kind: "role", Name: "reader"},
	}}}
	whole := provisions{Roles: []string{"postgres", "the owner", "reader"}, Extensions: []string{"uuid-ossp"}, Locales: []string{"de_DE.UTF-8"}, Data: "/data"}
	for name, tc := range map[string]struct {
		version  server
		tool     string
		have     func(*provisions)
		dumps    []engine.Dumped
		options  engine.RestoreOptions
		missing  string
		warnings string
	}{
		"all is there":           {},
		"no roles":               {have: func(p *provisions) { p.Roles = p.Roles[:1] }, missing: `roles "reader", "the owner"`},
		"no roles, without them": {have: func(p *provisions) { p.Roles = nil }, options: engine.RestoreOptions{NoOwner: true}},
		"roles come with it":     {have: func(p *provisions) { p.Roles = nil }, dumps: []engine.Dumped{globals, shop}},
		"no roles, one table":    {have: func(p *provisions) { p.Roles = nil }, options: engine.RestoreOptions{Only: []string{"public.x"}}, warnings: `"reader", "the owner"`},
		"no extension":           {have: func(p *provisions) { p.Extensions = nil }, missing: `extensions "uuid-ossp"`},
		"both":                   {have: func(p *provisions) { *p = provisions{Data: "/data", Locales: p.Locales} }, missing: "roles|extensions"},
		"no locale":              {have: func(p *provisions) { p.Locales = nil }, warnings: `locale "de_DE.utf8"`},
		"locale, database there": {have: func(p *provisions) { p.Locales = nil }, version: server{"15.1", 150001, true, []string{"shop"}, nil}},
		"an older server":        {version: server{"14.9", 140009, true, nil, nil}, warnings: "runs PostgreSQL 14.9"},
		"older tools":            {tool: "15.13", missing: "psql 15.13"},
		"tools of nobody knows":  {tool: "-"},
		"no room":                {dumps: []engine.Dumped{{Stream: shop.Stream, Contents: contents, Size: 1 << 40}}, warnings: "1.0 TiB"},
	} {
		t.Run(name, func(t *testing.T) {
			have, version, dumps := whole, tc.version, tc.dumps
			if tc.have != nil {
				tc.have(&have)
			}
			if version.Number == 0 {
				version = server{"15.18", 150018, true, nil, nil}
			}
			if dumps == nil {
				dumps = []engine.Dumped{shop}
			}
			inst := enginetest.NewScript(engine.Facts{}).
				On("psql", func(c enginetest.Call) enginetest.Answer {
					var answer any = version
					if strings.Contains(c.Input, "'Extensions'") {
						answer = have
					}
					text, err := json.Marshal(answer)
					return enginetest.Answer{Stdout: string(text), Err: err}
				}).
				On("pg_dump", func(enginetest.Call) enginetest.Answer {
					tool := tc.tool
					if tool == "" {
						tool = "15.18"
					}
					return enginetest.Answer{Stdout: "pg_dump (PostgreSQL) " + strings.Trim(tool, "-") + "\n"}
				}).
				On("df", func(enginetest.Call) enginetest.Answer {
					return enginetest.Answer{Stdout: "x\n/dev/sda1 1000 500 500 50% /\n"}
				})
			session, err := New().Open(t.Context(), inst, source.Spec{})
			if err != nil {
				t.Fatal(err)
			}
			found, err := session.(engine.Surveyor).Survey(t.Context(), dumps, tc.options)
			if err != nil {
				t.Fatal(err)
			}
			check := func(what, want string, lines []string) {
				text := strings.Join(lines, "\n")
				if (text == "") != (want == "") {
					t.Errorf("%s: %q, want %q", what, text, want)
				}
				for _, w := range strings.Split(want, "|") {
					if !strings.Contains(text, w) {
						t.Errorf("%s: %q lacks %q", what, text, w)
					}
				}
			}
			check("missing", tc.missing, found.Missing)
			check("warnings", tc.warnings, found.Warnings)
		})
	}
}
