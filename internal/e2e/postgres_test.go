package e2e

import (
	"fmt"
	"strings"
	"testing"
)

var postgres = database{
	engine: "postgres",
	fresh: func() *container {
		return &container{
			image:  samplePrefix + "postgres",
			labels: labelsOf(),
			// Passwords are asked for inside of the container, too.
			env: map[string]string{"POSTGRES_PASSWORD": password(), "POSTGRES_DB": "shop", "POSTGRES_INITDB_ARGS": "--auth-local=scram-sha-256 --auth-host=scram-sha-256"},
		}
	},
	// Over TCP: the server that only sets up the database, and soon stops, listens on the socket alone.
	ready: func(t testing.TB, c *container) result { return psql(t, c, "host=127.0.0.1 dbname=shop", "SELECT 1") },
	seed: func(t testing.TB, c *container, bulk int) {
		query(t, c, "shop", postgresSeed)
		if bulk > 0 {
			query(t, c, "shop", fmt.Sprintf(postgresBulk, bulk*1000))
		}
	},
	fingerprint: func(t testing.TB, c *container) string { return postgresFingerprint(t, c, "shop") },
	wreck: func(t testing.TB, c *container) {
		query(t, c, "shop", `
			DROP TABLE orders CASCADE;
			UPDATE customers SET name = 'nobody' WHERE id % 3 = 0;
			DELETE FROM customers WHERE id % 7 = 0;
			DELETE FROM attachments;
			DROP FUNCTION total(integer);
			SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
			CREATE TABLE stray (x int);
			CREATE VIEW stray_view AS SELECT name FROM customers;`)
	},
	dumpers: []string{"pg_dump", "pg_dumpall"},
}

// psql runs statements as the superuser.
func psql(t testing.TB, c *container, db, statements string) result {
	t.Helper()
	return c.execute(t, []byte(statements), []string{"PGPASSWORD=" + c.env["POSTGRES_PASSWORD"]},
		"psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", db)
}

func query(t testing.TB, c *container, db, statements string) string {
	t.Helper()
	return must(t, psql(t, c, db, statements), "psql")
}

const postgresSeed = `
CREATE TYPE mood AS ENUM ('froh', 'müde');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, note text, feeling mood, seen timestamptz);
INSERT INTO customers (name, note, feeling, seen)
	SELECT 'Zoë Müller 東京 ' || i, CASE WHEN i % 5 = 0 THEN NULL WHEN i % 5 = 1 THEN '' ELSE E'tab\t\\backslash ''quote'' ' || i END,
	       CASE WHEN i % 2 = 0 THEN 'froh'::mood END, '2024-03-31 01:30:00+00'::timestamptz + i * interval '1 minute'
	FROM generate_series(1, 20000) i;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer integer NOT NULL REFERENCES customers, amount numeric(12, 4) NOT NULL,
	many positive, doc jsonb, tags text[], upper text GENERATED ALWAYS AS (upper('n' || many::text)) STORED);
INSERT INTO orders (customer, amount, many, doc, tags)
	SELECT 1 + i % 20000, i * 1.0001, 1 + i % 9, jsonb_build_object('n', i, 'ü', NULL), ARRAY['a', NULL, 'c"' || i]
	FROM generate_series(1, 50000) i;
CREATE INDEX orders_customer ON orders (customer) WHERE amount > 10;
CREATE TABLE attachments (id integer PRIMARY KEY, body bytea);
INSERT INTO attachments SELECT n, decode(string_agg(md5(n || '-' || i), ''), 'hex') FROM generate_series(1, 20) n, generate_series(1, 2000) i GROUP BY n;
INSERT INTO attachments VALUES (21, NULL), (22, ''), (23, '\x00ff000a0d5c');
CREATE SCHEMA "Größe";
CREATE TABLE "Größe"."weird ""table""; --" ("select" int, "Ümlaut" text);
INSERT INTO "Größe"."weird ""table""; --" VALUES (1, E'line\nbreak\r\n'), (2, NULL);
CREATE VIEW big_spenders AS SELECT customer, sum(amount) AS spent FROM orders GROUP BY customer HAVING sum(amount) > 100;
CREATE MATERIALIZED VIEW spent AS SELECT sum(amount) AS s FROM orders;
CREATE FUNCTION total(integer) RETURNS numeric LANGUAGE sql AS $$ SELECT sum(amount) FROM orders WHERE customer = $1 $$;
SELECT setval('customers_id_seq', 424242);
SELECT lo_from_bytea(0, decode(repeat('00ff', 5000), 'hex'));
COMMENT ON TABLE customers IS 'Kunden – ''quoted''';
`

// postgresBulk makes %d rows of about a kilobyte that hardly compress.
const postgresBulk = `
CREATE TABLE bulk (id integer PRIMARY KEY, body text);
INSERT INTO bulk SELECT n, (SELECT string_agg(md5(n || 'x' || i || random()), '') FROM generate_series(1, 31) i) FROM generate_series(1, %d) n;
`

// postgresFingerprint reads all of one database: rows of every table, all
// objects, definitions and sequences.
func postgresFingerprint(t testing.TB, c *container, db string) string {
	t.Helper()
	const tables = `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1;`
	var b strings.Builder
	b.WriteString(`SELECT format('%s %I.%I', c.relkind, n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1;
	SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2;
	SELECT proname, md5(pg_get_functiondef(p.oid)) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' ORDER BY 1;
	SELECT viewname, md5(definition) FROM pg_views WHERE schemaname = 'public' ORDER BY 1;
	SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
	SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1;
	SELECT 'comment', obj_description(oid) FROM pg_class WHERE obj_description(oid) IS NOT NULL AND relnamespace = 'public'::regnamespace;
	SELECT 'large objects', count(*), md5(string_agg(lo_get(oid), '' ORDER BY oid)) FROM pg_largeobject_metadata;
	`)
	for table := range strings.Lines(query(t, c, db, tables)) {
		table = strings.TrimSpace(table)
		fmt.Fprintf(&b, "SELECT %s, count(*), md5(string_agg(md5(r::text), '' ORDER BY md5(r::text))) FROM %s r;\n", "'"+strings.ReplaceAll(table, "'", "''")+"'", table)
	}
	return query(t, c, db, b.String())
}
