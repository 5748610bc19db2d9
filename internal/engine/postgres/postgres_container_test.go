package postgres_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/engine/postgres"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	password = "s3cret pass'word$x"
	hostile  = `a b;$(x)'"-- `
)

// box is a PostgreSQL in a container, and how its tests talk to it.
type box struct{ *dockercli.Instance }

func start(t testing.TB, name string, env ...string) box {
	b := box{dockercli.Start(t, name, "postgres", append([]string{"POSTGRES_PASSWORD=" + password}, env...))}
	b.Ready(t, []string{"PGPASSWORD=" + password}, "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-c", "SELECT 1")
	return b
}

func info(database string) string {
	return "user=postgres dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database) + "'"
}

func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sql runs SQL, each statement on its own.
func (b box) sql(t testing.TB, database, sql string) string {
	t.Helper()
	return b.Run(t, sql, []string{"PGPASSWORD=" + password}, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", info(database))
}

// fingerprint tells properties, rows and definitions of a database.
func (b box) fingerprint(t testing.TB, database string) string {
	t.Helper()
	literal := "'" + strings.ReplaceAll(database, "'", "''") + "'"
	about := b.sql(t, "postgres", `SELECT pg_encoding_to_char(encoding), datcollate, pg_get_userbyid(datdba), datacl,
		(SELECT array_agg(setconfig ORDER BY setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid),
		shobj_description(d.oid, 'pg_database') FROM pg_database d WHERE datname = `+literal)
	if about == "" {
		return fmt.Sprintf("%q: none\n", database)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%q: %s", database, about)
	tables := b.sql(t, database, `SELECT format('%I.%I', n.nspname, relname) || E'\x01' FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r','m') AND nspname NOT IN ('pg_catalog','information_schema','pg_toast') ORDER BY 1`)
	var queries strings.Builder
	for _, table := range strings.Split(tables, "\x01\n") {
		if table != "" {
			queries.WriteString("SELECT E'\\x01' || $n$" + table + "$n$ || E'\\x01';\nCOPY (SELECT t::text FROM " + table + " t ORDER BY 1) TO STDOUT;\n")
		}
	}
	answers := strings.Split(b.sql(t, database, queries.String()), "\x01")[1:]
	for n := 0; n+1 < len(answers); n += 2 {
		rows := strings.TrimPrefix(answers[n+1], "\n")
		fmt.Fprintf(&out, "  %q: %d rows, %x\n", answers[n], strings.Count(rows, "\n"), sha256.Sum256([]byte(rows)))
	}
	// What a dump says of everything but rows: definitions, owners, rights, large objects.
	schema := b.Run(t, "", []string{"PGPASSWORD=" + password}, "pg_dump", "--schema-only", "--blobs", "-d", info(database))
	var lines []string
	for line := range strings.Lines(schema) {
		if !strings.HasPrefix(line, `\`) {
			lines = append(lines, line)
		}
	}
	large := b.sql(t, database, "SELECT md5(string_agg(encode(lo_get(oid), 'hex'), ',' ORDER BY oid)) FROM pg_largeobject_metadata")
	fmt.Fprintf(&out, "  schema %x, large objects %s", sha256.Sum256([]byte(strings.Join(lines, ""))), large)
	return out.String()
}

const seedRoles = `
DO $$ BEGIN CREATE ROLE "al'ice; --" LOGIN PASSWORD 'pw of alice'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE readers; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT readers TO "al'ice; --";
`

// seed has everything in it that could fool a reader of dumps.
const seed = `
CREATE EXTENSION hstore;
CREATE TABLE items (id int PRIMARY KEY, name text, tags hstore, raw bytea, at timestamptz DEFAULT '2020-01-01');
INSERT INTO items SELECT i, 'item ' || i, hstore('k', i::text), decode(md5(i::text), 'hex') FROM generate_series(1, 3000) i;
CREATE TABLE fools (line text);
INSERT INTO fools VALUES ('-- PostgreSQL database dump complete'), (E'\n-- PostgreSQL database dump complete\n--\n\n'), ('\.'), (E'x\n\\.\ny'),
  (E'\\.'), (''), (NULL), ('\unrestrict x'), ('\connect template1'), ('GRANT ALL ON items TO nobody;'), ('$$'), ($q$'$q$), ('\! touch /tmp/x');
CREATE TABLE nothing ();
CREATE TABLE "no rows" (a int);
CREATE SCHEMA "s""; DROP TABLE items; --";
CREATE TABLE "s""; DROP TABLE items; --"."t
\.
x OWNER TO nobody;" ("c
;" text);
INSERT INTO "s""; DROP TABLE items; --"."t
\.
x OWNER TO nobody;" VALUES ('v');
ALTER TABLE "s""; DROP TABLE items; --"."t
\.
x OWNER TO nobody;" OWNER TO "al'ice; --";
COMMENT ON TABLE items IS E'it''s\n\n-- PostgreSQL database dump complete\n--\n\n';
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
-- PostgreSQL database dump complete
--

  RETURN $$;
\.
GRANT ALL ON items TO nobody;
$$ || 'COPY items FROM stdin;';
END $body$;
CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
CREATE VIEW v AS SELECT E'\\'';\n-- PostgreSQL database dump complete\n' AS x, '/*' AS y;
CREATE RULE r AS ON INSERT TO "no rows" WHERE NEW.a = 1 DO ALSO (DELETE FROM fools WHERE line = ';'; DELETE FROM fools WHERE line = ');');
CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM items;
CREATE TABLE parts (a int, b text DEFAULT '-- PostgreSQL database dump complete') PARTITION BY RANGE (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
INSERT INTO parts SELECT i FROM generate_series(1, 50) i;
ALTER TABLE parts ADD PRIMARY KEY (a);
CREATE INDEX ON parts (b);
CREATE SEQUENCE sq START 42;
SELECT nextval('sq') \gset
CREATE TYPE mood AS ENUM ('sad', '''; --');
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON fools FOR EACH ROW EXECUTE FUNCTION trg();
SELECT lo_from_bytea(4711, decode(repeat('00ff5c27', 5000), 'hex')) \gset
GRANT SELECT ON items TO readers;
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO customers (name) SELECT 'customer ' || i FROM generate_series(1, 40) i;
CREATE TABLE orders (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, customer int REFERENCES customers, total numeric CHECK (total >= 0), at date DEFAULT '2020-01-01');
INSERT INTO orders (customer, total) SELECT 1 + i % 40, i FROM generate_series(1, 500) i;
CREATE TABLE lines (id serial PRIMARY KEY, "order" bigint NOT NULL REFERENCES orders ON DELETE CASCADE, item int REFERENCES items, note text DEFAULT $$;'$$);
INSERT INTO lines ("order", item) SELECT 1 + i % 500, 1 + i % 3000 FROM generate_series(1, 2000) i;
CREATE INDEX "by; date ON items" ON orders (at) WHERE total > 1;
CREATE UNIQUE INDEX ON lines ("order", item, id);
CREATE STATISTICS st ON customer, at FROM orders;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON orders USING (total > 0);
CREATE TRIGGER tr BEFORE UPDATE OF total ON orders FOR EACH ROW EXECUTE FUNCTION trg();
COMMENT ON COLUMN orders.total IS 'ON items; --';
COMMENT ON INDEX lines_pkey IS 'goes with its table';
GRANT SELECT (id) ON orders TO readers;
ALTER TABLE orders OWNER TO "al'ice; --";
SELECT nextval('lines_id_seq') FROM generate_series(1, 5) \g /dev/null
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO readers;
`

// create makes a database with properties of its own.
func (b box) create(t testing.TB, database string) {
	t.Helper()
	name := ident(database)
	b.sql(t, "template1", "CREATE DATABASE "+name+` OWNER "al'ice; --" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
ALTER DATABASE `+name+` SET work_mem = '9MB';
ALTER ROLE "al'ice; --" IN DATABASE `+name+` SET statement_timeout = '77s';
COMMENT ON DATABASE `+name+` IS 'it''s; a -- comment';
GRANT CONNECT ON DATABASE `+name+` TO readers;`)
}

func (b box) drop(t testing.TB, database string) {
	t.Helper()
	b.sql(t, "template1", "DROP DATABASE IF EXISTS "+ident(database)+" WITH (FORCE);")
}

const bulk = `CREATE TABLE bulk AS SELECT i, repeat(md5(i::text), 8) AS filler FROM generate_series(1, 270000) i;`

func (b box) fixture(database string, spec source.Spec) enginetest.Fixture {
	return enginetest.Fixture{
		Engine: postgres.New(), Instance: b.Instance, Spec: spec, Secrets: []string{password},
		Seed: func(t testing.TB) {
			b.sql(t, "template1", seedRoles)
			b.create(t, database)
			b.sql(t, database, seed)
		},
		Bulk:        func(t testing.TB) { b.sql(t, database, bulk) },
		Fingerprint: func(t testing.TB) string { return b.fingerprint(t, database) },
		Wreck:       func(t testing.TB) { b.drop(t, database) },
	}
}

func TestContainerOneDatabase(t *testing.T) {
	dockercli.Need(t)
	b := start(t, "postgres", "POSTGRES_DB=shop")
	strict := start(t, "postgres-strict", "POSTGRES_DB=shop", "POSTGRES_INITDB_ARGS=--auth=scram-sha-256")
	wrong := func(testing.TB) (engine.Instance, source.Spec) {
		return strict.Instance, source.Spec{Password: "this is not it"}
	}
	t.Run("from the environment", func(t *testing.T) {
		f := b.fixture("shop", source.Spec{})
		f.WrongPassword = wrong
		enginetest.Run(t, f)
	})
	t.Run("hostile name", func(t *testing.T) {
		f := b.fixture(hostile, source.Spec{Database: hostile})
		f.WrongPassword = wrong
		f.Lose = func(t testing.TB) (stream, name string) {
			b.sql(t, hostile, "DROP TABLE lines;")
			return engine.FileName(hostile) + ".sql", "public.lines"
		}
		enginetest.Run(t, f)
	})
	t.Run("password needed", func(t *testing.T) {
		f := strict.fixture("shop", source.Spec{})
		f.WrongPassword = wrong
		enginetest.Run(t, f)
	})
	t.Run("failures", func(t *testing.T) { failures(t, b, strict) })
	t.Run("no owner", func(t *testing.T) { noOwner(t, b) })
	t.Run("leaving out", func(t *testing.T) { leavingOut(t, b) })
}

func failures(t *testing.T, b, strict box) {
	for name, tc := range map[string]struct {
		box  box
		spec source.Spec
		want problem.Reason
	}{
		"no such database": {b, source.Spec{Database: "nowhere"}, engine.ReasonNoDatabase},
		"no such user":     {b, source.Spec{User: "nobody"}, engine.ReasonWrongPassword},
		"no such file":     {b, source.Spec{PasswordFile: "/nowhere"}, engine.ReasonNoCredentials},
		"file is a folder": {b, source.Spec{PasswordFile: "/etc"}, engine.ReasonNoCredentials},
		"no such variable": {b, source.Spec{PasswordEnv: "NOWHERE"}, engine.ReasonNoCredentials},
		"wrong variable":   {strict, source.Spec{PasswordEnv: "PATH"}, engine.ReasonWrongPassword},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := postgres.New().Open(t.Context(), tc.box.Instance, tc.spec)
			if err == nil {
				_, err = session.Streams(t.Context())
			}
			if problem.ReasonOf(err) != tc.want {
				t.Fatalf("%v, want reason %s", err, tc.want)
			}
			t.Logf("what the user reads:\n%s", problem.Text(err))
		})
	}
}

// noOwner restores into a server that lacks the roles of the dump.
func noOwner(t *testing.T, b box) {
	b.sql(t, "template1", seedRoles)
	b.drop(t, "shop")
	b.create(t, "shop")
	b.sql(t, "shop", seed)
	from, err := postgres.New().Open(t.Context(), b.Instance, source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	streams, err := from.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, "postgres-other", "POSTGRES_DB=shop")
	to, err := postgres.New().Open(t.Context(), other.Instance, source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	restore := func(o engine.RestoreOptions) error {
		if _, err := to.Prepare(t.Context(), streams, o); err != nil {
			t.Fatal(err)
		}
		p, err := from.Dump(t.Context(), streams[0])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { p.Kill(); _, _ = p.Wait() }()
		return to.Restore(t.Context(), streams[0], p, o)
	}
	empty := other.fingerprint(t, "shop")
	err = restore(engine.RestoreOptions{})
	if err == nil || problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Fatalf("restore without the roles: %v, want reason %s", err, engine.ReasonToolFailed)
	}
	t.Logf("what the user reads:\n%s", problem.Text(err))
	if got := other.fingerprint(t, "shop"); got != empty {
		t.Fatalf("a failed restore left:\n%s\nwant:\n%s", got, empty)
	}
	if err := restore(engine.RestoreOptions{NoOwner: true}); err != nil {
		t.Fatalf("restore without owners: %s", problem.Text(err))
	}
	rows := func(s string) string { // the lines on tables
		var lines []string
		for line := range strings.Lines(s) {
			if strings.Contains(line, " rows, ") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	if got, want := rows(other.fingerprint(t, "shop")), rows(b.fingerprint(t, "shop")); got != want || want == "" {
		t.Fatalf("rows:\n%s\nwant:\n%s", got, want)
	}
}

func TestContainerAllDatabases(t *testing.T) {
	dockercli.Need(t)
	b := start(t, "postgres-all")
	roles := func(t testing.TB) string {
		return b.sql(t, "postgres", "SELECT a.rolname, a.rolpassword, a.rolcanlogin, array(SELECT roleid::regrole::text FROM pg_auth_members m WHERE member = a.oid) FROM pg_authid a WHERE rolname !~ '^pg_' ORDER BY 1")
	}
	databases := []string{"first", "globals", hostile}
	f := b.fixture(hostile, source.Spec{})
	f.Seed = func(t testing.TB) {
		b.sql(t, "template1", seedRoles)
		for _, database := range databases {
			b.create(t, database)
			b.sql(t, database, seed)
		}
		b.sql(t, "postgres", "CREATE TABLE kept AS SELECT 1 AS a;") // the database that engines ask questions in
	}
	f.Wreck = func(t testing.TB) {
		b.sql(t, "postgres", "DROP TABLE IF EXISTS kept;")
		for _, database := range databases {
			b.drop(t, database)
		}
		b.sql(t, "template1", `DROP ROLE IF EXISTS "al'ice; --"; DROP ROLE IF EXISTS readers;`)
	}
	f.Fingerprint = func(t testing.TB) string {
		all := roles(t) + b.fingerprint(t, "postgres")
		for _, database := range databases {
			all += b.fingerprint(t, database)
		}
		return all
	}
	enginetest.Run(t, f)

	t.Run("some of the set", func(t *testing.T) {
		f.Wreck(t)
		f.Seed(t)
		session, err := postgres.New().Open(t.Context(), b.Instance, source.Spec{AllDatabases: true, Dump: source.Dump{
			Databases: source.Selection{Exclude: enginetest.Patterns(t, "fir*,none")}, Tables: source.Selection{Include: enginetest.Patterns(t, "postgres.public.kept")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		streams, err := session.Streams(t.Context())
		if err != nil {
			t.Fatal(problem.Text(err))
		}
		var names []string
		for _, s := range streams {
			names = append(names, s.Name)
		}
		p, err := session.Dump(t.Context(), streams[0])
		if err != nil {
			t.Fatal(err)
		}
		inspector := session.Inspect(streams[0])
		_, _ = io.Copy(inspector, p)
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		seen, err := inspector.Finish()
		if want := "the database " + hostile + ", the database first, the database globals"; err != nil || engine.Some(engine.LeftOut(seen.Objects)) != want ||
			strings.Join(names, " ") != "globals.sql postgres.sql" || len(seen.Notes) != 1 {
			t.Errorf("streams %q, left out %q, notes %q, %v; want %s", names, engine.LeftOut(seen.Objects), seen.Notes, err, want)
		}
	})
	t.Run("one of the set", func(t *testing.T) {
		f.Wreck(t)
		f.Seed(t)
		before := f.Fingerprint(t)
		session, err := postgres.New().Open(t.Context(), b.Instance, source.Spec{AllDatabases: true})
		if err != nil {
			t.Fatal(err)
		}
		streams, err := session.Streams(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range streams {
			if s.Database != "globals" {
				continue
			}
			p, err := session.Dump(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			dump, _ := io.ReadAll(p)
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			b.drop(t, s.Database)
			if _, err := session.Prepare(t.Context(), []engine.Stream{s}, engine.RestoreOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := session.Restore(t.Context(), s, strings.NewReader(string(dump)), engine.RestoreOptions{}); err != nil {
				t.Fatalf("restore: %s", problem.Text(err))
			}
		}
		if got := f.Fingerprint(t); got != before {
			t.Fatalf("fingerprint:\n%s\nwant:\n%s", got, before)
		}
	})
}

const pickySeed = `
CREATE TABLE customers (id serial PRIMARY KEY, name text);
INSERT INTO customers (name) SELECT 'c' || i FROM generate_series(1, 7) i;
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);
INSERT INTO orders SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE "Sess.ions; --""*" (id serial PRIMARY KEY, customer int REFERENCES customers, secret text);
INSERT INTO "Sess.ions; --""*" (customer, secret) VALUES (1, 'a secret');
CREATE TABLE log (at int, what text) PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10);
CREATE TABLE "part 2" PARTITION OF log FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (at);
CREATE TABLE "part 2.1" PARTITION OF "part 2" FOR VALUES FROM (10) TO (20);
INSERT INTO log VALUES (1, 'a secret'), (11, 'a secret');
CREATE VIEW names AS SELECT name FROM customers;
CREATE VIEW secrets AS SELECT secret FROM "Sess.ions; --""*";
CREATE SCHEMA "st.aging";
CREATE FUNCTION "st.aging".f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE "st.aging".raw (id int, secret text DEFAULT 'a secret');
CREATE SEQUENCE standing;
SELECT lo_from_bytea(0, 'x') \g /dev/null
COMMENT ON TABLE customers IS 'a comment';
`

// leavingOut makes dumps with labels that leave out, looks at what they say, and
// restores them.
func leavingOut(t *testing.T, b box) {
	const database = "pi\\ck'y \""
	b.sql(t, "template1", "CREATE DATABASE "+ident(database)+" ENCODING 'UTF8' TEMPLATE template0;")
	b.sql(t, database, pickySeed)
	defer b.drop(t, database)
	const sessions = `"Sess.ions; --""*"`
	for name, tc := range map[string]struct {
		in, out, noData, inSchemas, outSchemas string
		args                                   []string
		want                                   string // kinds, names and rows in the dump
		notes                                  string
		fails                                  string
	}{
		"tables": {out: sessions + `,secrets,public.log,"st.aging".raw,nothing*`,
			want:  `left out public."Sess.ions; --""*", left out public.log, left out public.log_1, left out public."part 2", left out public."part 2.1", left out public.secrets, left out "st.aging".raw, customers 7, orders 5`,
			notes: "nothing matches nothing* of the label baktainer.dump.exclude_tables"},
		"rows": {noData: sessions + ",log", out: "st*.raw",
			want: `left out "st.aging".raw, rows left out public."Sess.ions; --""*", rows left out public.log, rows left out public.log_1, rows left out public."part 2", rows left out public."part 2.1", customers 7, orders 5`},
		"only some": {in: "orders,public.customers,names", args: []string{"--no-comments", "--no-blobs", "--lock-wait-timeout=9s"},
			want:  `left out public."Sess.ions; --""*", left out public.log, left out public.log_1, left out public."part 2", left out public."part 2.1", left out public.secrets, left out "st.aging".raw, left out comments, left out pg_largeobject, customers 7, orders 5`,
			notes: "dumped with --no-comments --no-blobs --lock-wait-timeout=9s"},
		"only one schema":     {inSchemas: "public", noData: sessions, out: "log", want: `schema left out "st.aging", left out public.log, left out public.log_1, left out public."part 2", left out public."part 2.1", left out "st.aging".raw, rows left out public."Sess.ions; --""*", customers 7, orders 5`},
		"a view needs it":     {out: sessions, fails: `view public.secrets needs table public."Sess`},
		"a key needs it":      {out: "customers,names", fails: "constraint orders_customer_fkey on table public.orders needs"},
		"a key needs rows":    {noData: "customers", fails: "needs the rows of table public.customers"},
		"a part without all":  {in: "log_1", fails: "which it is a part of"},
		"nothing is so named": {in: "customers,orders,names,order", fails: "nothing matches order of"},
		"another database":    {in: "postgres.public.customers", fails: "every table"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := source.Spec{Database: database, Dump: source.Dump{
				Schemas: source.Selection{Include: enginetest.Patterns(t, tc.inSchemas), Exclude: enginetest.Patterns(t, tc.outSchemas)},
				Tables:  source.Selection{Include: enginetest.Patterns(t, tc.in), Exclude: enginetest.Patterns(t, tc.out)},
				NoData:  enginetest.Patterns(t, tc.noData), Args: tc.args,
			}}
			session, err := postgres.New().Open(t.Context(), b.Instance, spec)
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			streams, err := session.Streams(t.Context())
			if tc.fails != "" {
				if problem.ReasonOf(err) != engine.ReasonSelection || !strings.Contains(problem.Text(err), tc.fails) {
					t.Fatalf("%v, want reason %s and %q", err, engine.ReasonSelection, tc.fails)
				}
				t.Logf("what the user reads:\n%s", problem.Text(err))
				return
			}
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			p, err := session.Dump(t.Context(), streams[0])
			if err != nil {
				t.Fatal(err)
			}
			inspector := session.Inspect(streams[0])
			dump, _ := io.ReadAll(io.TeeReader(p, inspector))
			if exit, err := p.Wait(); err != nil || exit.Status != 0 {
				t.Fatalf("%v, %+v", err, exit)
			}
			seen, err := inspector.Finish()
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			var got []string
			for _, o := range seen.Objects {
				switch {
				case engine.IsLeftOut(o.Kind):
					got = append(got, o.Kind+" "+o.Name)
				case o.Kind == "table":
					got = append(got, strings.TrimPrefix(fmt.Sprint(o.Name, " ", o.Rows), "public."))
				}
			}
			if strings.Join(got, ", ") != tc.want || strings.Contains(string(dump), "a secret'") || strings.Contains(string(dump), "a secret\n") {
				t.Errorf("in the dump:\n%s\nwant\n%s", strings.Join(got, ", "), tc.want)
			}
			if !strings.Contains(strings.Join(seen.Notes, "\n"), tc.notes) || strings.Contains(string(dump), "a comment") != (tc.args == nil) {
				t.Errorf("notes %q, want %q", seen.Notes, tc.notes)
			}
			o := engine.RestoreOptions{Overwrite: true, DryRun: true, LeftOut: map[string][]string{streams[0].Name: engine.LeftOut(seen.Objects)}}
			plan, err := session.Prepare(t.Context(), streams, o)
			if err != nil || !strings.Contains(strings.Join(plan.Replaces, "\n"), "is lost with database") {
				t.Errorf("the plan %q does not tell of what will be lost: %v", plan, err)
			}
			if err := session.(engine.Renamer).MayRename(streams[0]); err != nil {
				t.Fatal(err)
			}
			if err := session.Restore(t.Context(), streams[0], strings.NewReader(string(dump)), engine.RestoreOptions{As: "picked"}); err != nil {
				t.Fatalf("restore: %s", problem.Text(err))
			}
			defer b.drop(t, "picked")
			if n := b.sql(t, "picked", "SELECT count(*) FROM orders JOIN customers ON customers.id = customer"); n != "5\n" {
				t.Errorf("restored are %s orders", n)
			}
		})
	}
}
