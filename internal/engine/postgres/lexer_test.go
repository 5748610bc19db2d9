package postgres

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// whole makes a dump around a body.
func whole(body string) string {
	return "--\n-- PostgreSQL database dump\n--\n\n\\restrict key\n\n" + body +
		"\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict key\n\n"
}

// old makes a dump as by versions without restricted mode.
func old(body string) string {
	return "--\n-- PostgreSQL database dump\n--\n\n" + body + "\n--\n-- PostgreSQL database dump complete\n--\n\n"
}

// fake is an end of a dump inside of something.
const fake = "\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict key\n\n"

// tricky are bodies that hold, in a legal way, what could be taken for an end.
var tricky = map[string]string{
	"empty":            "",
	"string":           "COMMENT ON TABLE t IS 'it''s" + fake + "';\n",
	"escaped string":   `COMMENT ON TABLE t IS E'it\'s''x\'` + fake + "';\n",
	"identifier":       `ALTER TABLE "a""b` + fake + `" ADD x int;` + "\n",
	"dollar":           "CREATE FUNCTION f() AS $_$ $$ $x$ ' \" -- ; $" + fake + "$_$;\n",
	"empty dollar tag": "CREATE FUNCTION f() AS $$ $_$ ' " + fake + "$$;\n",
	"false dollar":     "CREATE VIEW v AS SELECT $1, a$b$c, '$$', $_$" + fake + "$_$;\n",
	"block comment":    "SELECT /* /* ' */ ' " + fake + " */ 1;\n",
	"comment within":   "SELECT 1 -- it's\n, 2;\n",
	"rows":             "COPY public.t (a) FROM stdin;\n-- PostgreSQL database dump complete\n\\\\.\n--\n\n\\.x\nx\\.\n\\.\n",
	"no rows":          "COPY public.t (a) FROM stdin;\n\\.\n",
	"rows of nothing":  "COPY public.t  FROM stdin;\n\n\n\n\\.\n",
	"atomic":           "CREATE FUNCTION g() BEGIN ATOMIC SELECT 1; SELECT 2; END;\n",
	"rule":             "CREATE RULE r AS DO (DELETE FROM a; DELETE FROM \"(\");\n",
}

func verdict(m marks, data string, sizes func() int) (engine.Contents, error) {
	i := newInspector(m)
	for b := []byte(data); len(b) > 0; {
		n := min(max(1, sizes()), len(b))
		if wrote, err := i.Write(b[:n]); wrote != n || err != nil {
			return engine.Contents{}, fmt.Errorf("Write: %d, %w", wrote, err)
		}
		b = b[n:]
	}
	return i.Finish()
}

func atOnce() int { return 1 << 30 }

func TestInspectorTricky(t *testing.T) {
	for name, body := range tricky {
		for kind, dump := range map[string]string{"whole": whole(body), "old": old(body)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				if _, err := verdict(databaseMarks, dump, atOnce); err != nil {
					t.Fatalf("a good dump: %v", err)
				}
				for n := range len(dump) {
					_, err := verdict(databaseMarks, dump[:n], atOnce)
					if r := problem.ReasonOf(err); r != engine.ReasonTruncated && (n > 0 || r != engine.ReasonEmpty) {
						t.Fatalf("cut at %d, %q: %v, want %s", n, dump[:n], err, engine.ReasonTruncated)
					}
				}
			})
		}
	}
}

func TestInspectorMalformed(t *testing.T) {
	for name, dump := range map[string]string{
		"garbage":         "garbage",
		"foreign line":    "warning\n" + whole(""),
		"two dumps":       whole("") + whole(""),
		"text after":      whole("") + "SELECT 1;\n\n",
		"rows after":      whole("") + "COPY t FROM stdin;\n1\n\\.\n\n\n",
		"command within":  whole("SELECT 1 \\! ls\n;"),
		"command after":   whole("") + "\\! ls\n\n",
		"dump of cluster": strings.Replace(whole(""), "database dump", "database cluster dump", 1),
	} {
		if _, err := verdict(databaseMarks, dump, atOnce); problem.ReasonOf(err) != engine.ReasonMalformed {
			t.Errorf("%s: %v, want %s", name, err, engine.ReasonMalformed)
		}
	}
}

func TestInspectorContents(t *testing.T) {
	body := "-- Dumped from database version 15.18\n-- Dumped by pg_dump version 15.18\n\n" +
		"CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;\n\n\nCOPY public.a (x, y) FROM stdin;\n1\t2\n3\t\\N\n\\.\n\n\nCOPY \"s \"\"x\".\"b c\" (x) FROM stdin;\n\\.\n\n" +
		"COPY public.nothing  FROM stdin;\n\n\n\\.\n\nSELECT pg_catalog.lo_open('1', 131072);\n"
	contents, err := verdict(databaseMarks, whole(body), atOnce)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{extension "uuid-ossp" -1 []} {table public.a 2 []} {table "s ""x"."b c" 0 []} {table public.nothing 2 []} {large objects pg_largeobject 1 []}]`
	if got := fmt.Sprint(contents.Objects); got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	if got := fmt.Sprint(contents.Notes); got != "[dumped from database version 15.18 dumped by pg_dump version 15.18]" {
		t.Errorf("notes %s", got)
	}
}

func TestInspectorBoundsObjects(t *testing.T) {
	body := strings.Repeat("COPY t (a) FROM stdin;\n\\.\n", engine.MaxObjects+5)
	contents, err := verdict(databaseMarks, whole(body), atOnce)
	if err != nil || len(contents.Objects) != engine.MaxObjects {
		t.Fatalf("%d objects, %v, want %d", len(contents.Objects), err, engine.MaxObjects)
	}
}

// passed runs a dump through a filter, read in pieces of the reader's making.
func passed(r io.Reader, hasHead bool, keep func([]token) bool) (head []string, out string, err error) {
	f := newFilter(r, databaseMarks, hasHead, keep)
	if hasHead {
		if head, err = f.readHead(); err != nil {
			return nil, "", err
		}
	}
	b, err := io.ReadAll(f)
	return head, string(b), err
}

func TestFilter(t *testing.T) {
	kept := `CREATE TABLE "x OWNER TO y" (a int);
ALTER TABLE "x OWNER TO y" ADD CONSTRAINT "GRANT" CHECK (a > 1);
ALTER TABLE t ADD CHECK (b <> 'x OWNER TO y');
COPY t (a) FROM stdin;
GRANT ALL ON t TO x;
ALTER TABLE t OWNER TO x;
COMMIT;
\.
CREATE FUNCTION f() AS $$
GRANT ALL ON t TO x;
ALTER TABLE t OWNER TO x;
COMMIT;
$$;
COMMENT ON TABLE t IS '
REVOKE ALL ON t FROM x;';
`
	gone := `ALTER TABLE public.t OWNER TO "al'ice; --";
ALTER FUNCTION f(a "OWNER", b text) OWNER TO bob;
GRANT SELECT ON TABLE t TO "a;b";
REVOKE ALL
  ON t FROM bob;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT ON TABLES  TO readers;
SET SESSION AUTHORIZATION bob;
RESET SESSION AUTHORIZATION;
ALTER ROLE bob IN DATABASE shop SET x TO 'y';
`
	transactions := "BEGIN;\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n"
	dump := whole("CREATE DATABASE shop;\nALTER DATABASE shop OWNER TO bob;\n\\unrestrict key\n\\connect shop\n\\restrict key\n" + kept + gone + transactions)
	for name, read := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
	} {
		t.Run(name, func(t *testing.T) {
			head, out, err := passed(read(strings.NewReader(dump)), true, keepForDatabase(true))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(head, ""); got != "CREATE DATABASE shop;ALTER DATABASE shop OWNER TO bob;" {
				t.Errorf("head %q", got)
			}
			if !strings.Contains(out, kept) {
				t.Errorf("something that is to stay is gone:\n%s", out)
			}
			rest := strings.Replace(out, kept, "", 1)
			for _, word := range []string{"bob", "OWNER", "GRANT", "REVOKE", "COMMIT", "BEGIN", "AUTHORIZATION", "connect", "CREATE DATABASE"} {
				if strings.Contains(rest, word) {
					t.Errorf("%s is still there:\n%s", word, rest)
				}
			}
			_, out, err = passed(read(strings.NewReader(dump)), true, keepForDatabase(false))
			if err != nil || !strings.Contains(out, kept+gone) || strings.Contains(out, "BEGIN;") {
				t.Errorf("with owners: %v\n%s", err, out)
			}
		})
	}
}

// Settings, comment and rights of the database come after the \connect, and are those of
// the database under its other name: never of the one that it was dumped from.
func TestFilterRenames(t *testing.T) {
	rows := "COPY public.t (a) FROM stdin;\nALTER DATABASE shop SET x TO 'y';\n\\.\nCREATE FUNCTION f() AS $$\nGRANT CONNECT ON DATABASE shop TO x;\n$$;\n"
	about := "COMMENT ON DATABASE shop IS 'of shop';\nALTER DATABASE shop SET work_mem TO '9MB';\nALTER ROLE app IN DATABASE shop SET x TO 'y';\n" +
		rows + "REVOKE CONNECT,TEMPORARY ON DATABASE shop FROM PUBLIC;\nGRANT CONNECT ON DATABASE shop TO readers;\n"
	dump := whole("CREATE DATABASE shop;\n\\connect shop\n" + about)
	f := newFilter(iotest.HalfReader(strings.NewReader(dump)), databaseMarks, true, keepForDatabase(false))
	f.as = "new"
	if _, err := f.readHead(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(f)
	want := strings.ReplaceAll(strings.ReplaceAll(about, "DATABASE shop", `DATABASE "new"`), strings.ReplaceAll(rows, "DATABASE shop", `DATABASE "new"`), rows)
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

func TestFilterRefuses(t *testing.T) {
	head := "CREATE DATABASE d;\n\\connect d\n"
	boom := fmt.Errorf("boom")
	for name, tc := range map[string]struct {
		src  io.Reader
		want problem.Reason
	}{
		"a command":          {strings.NewReader(whole(head + "\\! touch /tmp/x\n")), engine.ReasonMalformed},
		"a command within":   {strings.NewReader(whole(head + "SELECT 1 \\g /tmp/x\n;")), engine.ReasonMalformed},
		"no head":            {strings.NewReader(whole("SELECT 1;")), engine.ReasonMalformed},
		"an endless head":    {strings.NewReader(whole("SELECT '" + strings.Repeat("x", 2*headPartLimit) + "';" + head)), engine.ReasonMalformed},
		"half a dump":        {strings.NewReader(whole(head)[:120]), engine.ReasonTruncated},
		"nothing":            {strings.NewReader(""), engine.ReasonEmpty},
		"a reader that ends": {io.MultiReader(strings.NewReader(whole(head)[:120]), iotest.ErrReader(boom)), ""},
	} {
		_, _, err := passed(tc.src, true, keepForDatabase(false))
		if err == nil || problem.ReasonOf(err) != tc.want {
			t.Errorf("%s: %v, want reason %q", name, err, tc.want)
		}
	}
}

func TestKeepForGlobals(t *testing.T) {
	have := existing{Roles: []string{"postgres", "al'ice; --", "bob"}, Tablespaces: []string{"fast"}}
	for _, tc := range []struct {
		stmt            string
		keep, overwrite bool
	}{
		{`CREATE ROLE bob;`, false, false},
		{`CREATE ROLE "al'ice; --";`, false, false},
		{`CREATE ROLE "new""one";`, true, true},
		{`ALTER ROLE bob WITH LOGIN PASSWORD 'x';`, false, true},
		{`ALTER ROLE postgres WITH SUPERUSER PASSWORD 'x';`, false, false},
		{`ALTER ROLE "new""one" WITH LOGIN PASSWORD 'x';`, true, true},
		{`ALTER ROLE bob SET work_mem TO '1MB';`, false, true},
		{`GRANT readers TO bob;`, true, true},
		{`CREATE TABLESPACE fast OWNER bob LOCATION '/x';`, false, false},
		{`CREATE TABLESPACE slow OWNER bob LOCATION '/x';`, true, true},
		{`SET x = 1;`, true, true},
	} {
		ts := tokens([]byte(tc.stmt))
		if got := keepForGlobals(have, false, "postgres")(ts); got != tc.keep {
			t.Errorf("%s: keep %v", tc.stmt, got)
		}
		if got := keepForGlobals(have, true, "postgres")(ts); got != tc.overwrite {
			t.Errorf("%s: keep %v with overwrite", tc.stmt, got)
		}
	}
}

func FuzzInspector(f *testing.F) {
	for _, body := range tricky {
		f.Add(whole(body), uint64(1))
		f.Add(old(body), uint64(2))
	}
	f.Add("--\n-- PostgreSQL", uint64(3))
	f.Add(whole("COPY t FROM stdin;\n\\")+"\n\\.", uint64(4))
	f.Fuzz(func(t *testing.T, data string, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		wantContents, want := verdict(databaseMarks, data, atOnce)
		for _, sizes := range []func() int{func() int { return 1 }, func() int { return 1 + random.IntN(7) }} {
			contents, err := verdict(databaseMarks, data, sizes)
			if fmt.Sprint(err) != fmt.Sprint(want) || fmt.Sprint(contents) != fmt.Sprint(wantContents) {
				t.Fatalf("the verdict depends on the writes: %v %v, at once %v %v", err, contents, want, wantContents)
			}
		}
		if want != nil {
			return
		}
		// What a filter passes on of a whole dump is the same however it is read.
		_, out, err := passed(strings.NewReader(data), false, keepForDatabase(true))
		_, slow, slowErr := passed(iotest.OneByteReader(strings.NewReader(data)), false, keepForDatabase(true))
		if err == nil && out != slow || fmt.Sprint(err) != fmt.Sprint(slowErr) {
			t.Fatalf("the filter depends on the reads: %q %v, by bytes %q %v", out, err, slow, slowErr)
		}
	})
}

func benchmark(b *testing.B, body string) {
	dump := []byte(whole(body))
	b.SetBytes(int64(len(dump)))
	for b.Loop() {
		i := newInspector(databaseMarks)
		for p := dump; len(p) > 0; {
			n := min(len(p), 64<<10)
			_, _ = i.Write(p[:n])
			p = p[n:]
		}
		if _, err := i.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInspectorRows(b *testing.B) {
	var body bytes.Buffer
	body.WriteString("COPY public.t (a, b, c) FROM stdin;\n")
	for i := range 400_000 {
		fmt.Fprintf(&body, "%d\titem number %d\t\\N\t2024-01-01 00:00:00+00\t%x\n", i, i, i*7919)
	}
	body.WriteString("\\.\n")
	benchmark(b, body.String())
}

func BenchmarkInspectorSchema(b *testing.B) {
	benchmark(b, strings.Repeat("CREATE TABLE public.t (\n    id integer NOT NULL,\n    name text DEFAULT 'x'::text\n);\n\n\nALTER TABLE public.t OWNER TO postgres;\n\n", 100_000))
}

func BenchmarkInspectorLargeObjects(b *testing.B) {
	benchmark(b, strings.Repeat("SELECT pg_catalog.lowrite(0, '\\x"+strings.Repeat("00ff", 8192)+"');\n", 1000))
}
