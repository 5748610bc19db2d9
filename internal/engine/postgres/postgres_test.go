package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestDetect(t *testing.T) {
	official := []string{"docker-entrypoint.sh", "postgres"}
	for _, tc := range []struct {
		facts engine.Facts
		want  bool
	}{
		{engine.Facts{Image: "postgres"}, true},
		{engine.Facts{Image: "postgres:16-alpine@sha256:00"}, true},
		{engine.Facts{Image: "registry.example:5000/mirror/postgres:16"}, true},
		{engine.Facts{Image: "postgis/postgis:16-3.4"}, true},
		{engine.Facts{Image: "timescale/timescaledb:latest-pg16"}, true},
		{engine.Facts{Image: "timescale/timescaledb-ha:pg16"}, true},
		{engine.Facts{Image: "bitnami/postgresql:16"}, true},
		{engine.Facts{Image: "supabase/postgres:15"}, true},
		{engine.Facts{Image: "pgvector/pgvector:pg16"}, true},
		{engine.Facts{Image: "acme/our-postgres"}, true},
		{engine.Facts{Image: "acme/db", Env: map[string]string{"PG_MAJOR": "16"}, Args: official}, true},
		{engine.Facts{Image: "acme/db", Env: map[string]string{"PGDATA": "/x"}, Args: []string{"/usr/lib/postgresql/16/bin/postgres", "-D", "/x"}}, true},
		{engine.Facts{Image: "prodrigestivill/postgres-backup-local:16", Env: map[string]string{"PG_MAJOR": "16", "PGDATA": "/x"}, Args: []string{"/init.sh"}}, false},
		{engine.Facts{Image: "prometheuscommunity/postgres-exporter"}, false},
		{engine.Facts{Image: "quay.io/acme/postgres_exporter:1"}, false},
		{engine.Facts{Image: "dpage/pgadmin4"}, false},
		{engine.Facts{Image: "postgrest/postgrest"}, false},
		{engine.Facts{Image: "bitnami/pgbouncer"}, false},
		{engine.Facts{Image: "acme/app", Env: map[string]string{"POSTGRES_PASSWORD": "x", "POSTGRES_HOST": "db"}}, false},
		{engine.Facts{Image: "acme/psql-job", Env: map[string]string{"PG_MAJOR": "16"}, Args: []string{"psql", "-c", "SELECT 1"}}, false},
		{engine.Facts{Image: "mysql:8"}, false},
		{engine.Facts{}, false},
	} {
		if got := New().Detect(tc.facts); got != tc.want {
			t.Errorf("%+v: %v", tc.facts, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		spec source.Spec
		want string // labels
	}{
		"nothing":      {source.Spec{}, "[]"},
		"all and one":  {source.Spec{AllDatabases: true, Database: "x"}, "[baktainer.db.name]"},
		"long names":   {source.Spec{Database: strings.Repeat("x", 64), User: strings.Repeat("x", 64)}, "[baktainer.db.name baktainer.db.user]"},
		"a line end":   {source.Spec{Database: "a\nb"}, "[baktainer.db.name]"},
		"odd and fine": {source.Spec{Database: `a b;$(x)'"-- `, User: "-x"}, "[]"},
	} {
		labels := []string{}
		for _, c := range New().Check(tc.spec, engine.Facts{}) {
			labels = append(labels, c.Label)
		}
		if got := fmt.Sprint(labels); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// scripted is a server that answers what Open asks.
func scripted(env map[string]string, super bool, databases ...string) *enginetest.Script {
	return enginetest.NewScript(engine.Facts{Image: "postgres", Env: env}).
		On("pg_dump", func(c enginetest.Call) enginetest.Answer {
			if c.Argv[1] == "--version" {
				return enginetest.Answer{Stdout: "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"}
			}
			return enginetest.Answer{Stdout: whole("")}
		}).
		On("psql", func(enginetest.Call) enginetest.Answer {
			about, err := json.Marshal(server{"15.20 (Debian)", 150020, super, databases, nil})
			return enginetest.Answer{Stdout: string(about), Err: err}
		})
}

// With the tools of another image there is no socket, and what a failed attempt at
// it says would hide the cause.
func TestASidecarKnowsTheLoopbackAlone(t *testing.T) {
	inst := scripted(map[string]string{"POSTGRES_PASSWORD": "x"}, true, "shop").On("psql", func(c enginetest.Call) enginetest.Answer {
		if !strings.Contains(c.Args(), "host='127.0.0.1'") {
			return enginetest.Answer{Status: 2, Stderr: "No such file or directory. Is the server running locally"}
		}
		return enginetest.Answer{Status: 2, Stderr: `FATAL:  password authentication failed for user "postgres"`}
	})
	for image, want := range map[string]problem.Reason{"": engine.ReasonNoConnection, "postgres:16": engine.ReasonWrongPassword} {
		spec := source.Spec{Tools: source.Tools{Image: image}}
		tooled, release, err := engine.Equip(t.Context(), inst, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New().Open(t.Context(), tooled, spec); problem.ReasonOf(err) != want {
			t.Errorf("tools of %q: %v", image, err)
		}
		release()
	}
	for _, c := range inst.Calls() {
		if c.Sidecar != "" && c.Argv[0] == "psql" && !strings.Contains(c.Args(), "host='127.0.0.1'") {
			t.Errorf("in the side-car: %s", c.Args())
		}
	}
}

func streamNames(t *testing.T, inst engine.Instance, spec source.Spec) ([]string, error) {
	t.Helper()
	session, err := New().Open(t.Context(), inst, spec)
	if err != nil {
		return nil, err
	}
	streams, err := session.Streams(t.Context())
	var names []string
	for _, s := range streams {
		names = append(names, s.Name)
	}
	return names, err
}

func TestStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		env    map[string]string
		super  bool
		spec   source.Spec
		want   []string
		reason problem.Reason
	}{
		"by variable":           {map[string]string{"POSTGRES_DB": "shop"}, true, source.Spec{}, []string{"shop.sql"}, ""},
		"by label":              {map[string]string{"POSTGRES_DB": "shop"}, true, source.Spec{Database: "globals"}, []string{"%67lobals.sql"}, ""},
		"all by label":          {map[string]string{"POSTGRES_DB": "shop"}, true, source.Spec{AllDatabases: true}, []string{"globals.sql", "%67lobals.sql", "postgres.sql", "shop.sql"}, ""},
		"nothing named":         {nil, true, source.Spec{}, []string{"globals.sql", "%67lobals.sql", "postgres.sql", "shop.sql"}, ""},
		"nothing named, no su":  {nil, false, source.Spec{}, []string{"%67lobals.sql", "postgres.sql", "shop.sql"}, ""},
		"all by label, no su":   {nil, false, source.Spec{AllDatabases: true}, nil, engine.ReasonToolFailed},
		"one that is not there": {nil, true, source.Spec{Database: "x"}, nil, engine.ReasonNoDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			names, err := streamNames(t, scripted(tc.env, tc.super, "globals", "postgres", "shop"), tc.spec)
			if problem.ReasonOf(err) != tc.reason || !slices.Equal(names, tc.want) {
				t.Errorf("%q, %v, want %q, reason %q", names, err, tc.want, tc.reason)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	inst := scripted(map[string]string{"POSTGRES_USER": "o'd user", "POSTGRES_PASSWORD": "s3cret"}, true, `d"b'\ =x`)
	recorder := enginetest.Record(inst, "s3cret")
	session, err := New().Open(t.Context(), recorder, source.Spec{Database: `d"b'\ =x`})
	if err != nil {
		t.Fatal(err)
	}
	if got := session.Server(); got != "PostgreSQL 15.20, pg_dump 15.18" {
		t.Errorf("server %q", got)
	}
	streams, err := session.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := session.Dump(t.Context(), streams[0])
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait()
	calls := inst.Calls()
	dump := calls[len(calls)-1]
	if want := `--dbname=dbname='d"b\'\\ =x' user='o\'d user'`; dump.Argv[len(dump.Argv)-1] != want {
		t.Errorf("argv %q, want the last to be %q", dump.Argv, want)
	}
	if !slices.Contains(dump.Env, "PGPASSWORD=s3cret") || len(recorder.Leaks()) > 0 {
		t.Errorf("environment %q, leaks %q", dump.Env, recorder.Leaks())
	}
	note := session.Inspect(streams[0]).(*inspector).contents.Notes
	if len(note) != 0 {
		t.Errorf("notes %q on other databases, and there are none", note)
	}
}

func TestNotesNameWhatIsLeftOut(t *testing.T) {
	session, err := New().Open(t.Context(), scripted(nil, true, "postgres", "shop", "stock"), source.Spec{Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	i := session.Inspect(databaseStream("shop"))
	_, _ = i.Write([]byte(whole("")))
	contents, err := i.Finish()
	if err != nil || !strings.Contains(fmt.Sprint(contents.Notes), `["stock"]`) {
		t.Errorf("notes %q, %v", contents.Notes, err)
	}
}

// What a restore did not create it does not drop, whoever did: not a database that takes
// no connections at present, and not one that comes to be in that moment.
func TestRestoreDropsOnlyWhatItCreated(t *testing.T) {
	dump := whole("SET client_encoding = 'UTF8';\nCREATE DATABASE shop;\nALTER DATABASE shop OWNER TO app;\n\\connect shop\nCREATE TABLE t (a int);\n")
	for name, tc := range map[string]struct {
		closed []string
		fails  string // at what psql fails
		reason problem.Reason
		drops  bool
	}{
		"takes no connections": {closed: []string{"shop"}, reason: engine.ReasonTargetUnfit},
		"has just come":        {fails: "CREATE DATABASE", reason: engine.ReasonToolFailed},
		"its owner is missing": {fails: "OWNER TO", reason: engine.ReasonToolFailed, drops: true},
		"its rows do not fit":  {fails: "CREATE TABLE", reason: engine.ReasonToolFailed, drops: true},
	} {
		t.Run(name, func(t *testing.T) {
			dropped := false
			inst := scripted(nil, true).On("psql", func(c enginetest.Call) enginetest.Answer {
				dropped = dropped || strings.Contains(c.Input, "DROP DATABASE")
				if tc.fails != "" && strings.Contains(c.Input, tc.fails) {
					return enginetest.Answer{Status: 3, Stderr: "ERROR:  something"}
				}
				about, err := json.Marshal(server{"15.20", 150020, true, []string{"postgres"}, tc.closed})
				return enginetest.Answer{Stdout: string(about), Err: err}
			})
			session, err := New().Open(t.Context(), inst, source.Spec{Database: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			streams := []engine.Stream{databaseStream("shop")}
			if _, err := session.Prepare(t.Context(), streams, engine.RestoreOptions{}); (err != nil) != (tc.closed != nil) || err != nil && problem.ReasonOf(err) != tc.reason {
				t.Errorf("prepare: %v", err)
			}
			err = session.Restore(t.Context(), streams[0], strings.NewReader(dump), engine.RestoreOptions{})
			if problem.ReasonOf(err) != tc.reason || dropped != tc.drops {
				t.Errorf("dropped %v, want %v: %v", dropped, tc.drops, err)
			}
		})
	}
}

// said are what tools really wrote, some of it with a password masked.
var said = map[string]problem.Reason{
	`psql: error: connection to server on socket "/var/run/postgresql/.s.PGSQL.5432" failed: FATAL:  password authentication failed for user "postgres"`: engine.ReasonWrongPassword,
	`psql: error: connection to server on socket "/x" failed: FATAL:  [hidden] authentication failed for user "x"`:                                       engine.ReasonWrongPassword,
	`psql: error: connection to server at "localhost" (127.0.0.1), port 5432 failed: fe_sendauth: no password supplied`:                                  engine.ReasonWrongPassword,
	`psql: error: connection to server on socket "/x" failed: FATAL:  Peer authentication failed for user "postgres"`:                                    engine.ReasonWrongPassword,
	`FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "x", database "y", no encryption`:                                                           engine.ReasonWrongPassword,
	`pg_dump: error: connection to server on socket "/x" failed: FATAL:  role "nobody" does not exist`:                                                   engine.ReasonWrongPassword,
	`pg_dump: error: connection to server on socket "/x" failed: FATAL:  database "shop" does not exist`:                                                 engine.ReasonNoDatabase,
	"psql: error: connection to server on socket \"/x\" failed: No such file or directory\n\tIs the server running locally and accepting connections":    engine.ReasonNoConnection,
	`psql: error: connection to server at "127.0.0.1", port 5432 failed: Connection refused`:                                                             engine.ReasonNoConnection,
	`FATAL:  the database system is starting up`:                              engine.ReasonNoConnection,
	`FATAL:  sorry, too many clients already`:                                 engine.ReasonNoConnection,
	`pg_dump: error: aborting because of server version mismatch`:             engine.ReasonToolFailed,
	`pg_dump: error: query failed: ERROR:  permission denied for table items`: engine.ReasonToolFailed,
	`something new`: engine.ReasonToolFailed,
}

func TestExplain(t *testing.T) {
	for stderr, want := range said {
		p := (&session{tool: "pg_dump"}).Explain(engine.Exit{Status: 1, Stderr: stderr})
		if p.Reason != want {
			t.Errorf("%s: %s, want %s", stderr, p.Reason, want)
		}
		if p.Hint == "" && stderr != "something new" {
			t.Errorf("%s: no hint", stderr)
		}
	}
}

func FuzzExplain(f *testing.F) {
	for stderr := range said {
		f.Add(1, stderr)
	}
	f.Fuzz(func(t *testing.T, status int, stderr string) {
		p := (&session{tool: "pg_dump"}).Explain(engine.Exit{Status: status, Stderr: stderr})
		if p.Reason == "" || p.What == "" || p.Code == "" {
			t.Fatalf("%+v", p)
		}
	})
}
