package mongodb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const password = `s3cret "p'w$ %x:@/`

// server is a container that speaks MongoDB's protocol.
type server struct{ *dockercli.Instance }

func startServer(t testing.TB, name string, env ...string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "mongo", env)}
	// Without a password on stdin the tool would wait for one.
	for s.try(t, "", "mongoexport", "--quiet", "-d", "admin", "-c", "none") != nil {
		if t.Context().Err() != nil {
			t.Fatal("the server never became ready")
		}
	}
	return s
}

func withPassword() []string {
	return []string{"MONGO_INITDB_ROOT_USERNAME=root", "MONGO_INITDB_ROOT_PASSWORD=" + password}
}

// try runs one of the tools, logged in if the server asks for it.
func (s server) try(t testing.TB, input string, argv ...string) error {
	_, err := s.tool(t, input, argv...)
	return err
}

func (s server) tool(t testing.TB, input string, argv ...string) (string, error) {
	t.Helper()
	if s.Facts().Env["MONGO_INITDB_ROOT_USERNAME"] != "" {
		input = password + "\n" + input
		argv = append(argv, "--username=root", "--authenticationDatabase=admin")
	}
	out, exit, err := engine.Output(t.Context(), s, engine.Command{Argv: argv, Stdin: strings.NewReader(input)}, 256<<20)
	if err == nil && exit.Status != 0 {
		err = errors.New(exit.Stderr)
	}
	return string(out), err
}

func (s server) load(t testing.TB, db, collection string, documents string) {
	t.Helper()
	if err := s.try(t, documents, "mongoimport", "--quiet", "--db="+db, "--collection="+collection, "--drop"); err != nil {
		t.Fatal(err)
	}
}

var collections = []string{"shop.items", "shop.we ird-näme", "other.things", "bulk.blobs"}

func (s server) fingerprint(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, ns := range collections {
		db, name, _ := strings.Cut(ns, ".")
		out, err := s.tool(t, "", "mongoexport", "--quiet", "--db="+db, "--collection="+name, "--sort={_id:1}", "--jsonFormat=canonical")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %d documents, %x\n", ns, strings.Count(out, "\n"), sha256.Sum256([]byte(out)))
	}
	return b.String()
}

func documents(n, size int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"_id":%d,"name":"n'%d \" ü","at":{"$date":"2024-01-02T03:04:05Z"},"v":%g,"big":{"$numberLong":"%d"},"tags":["a",null,true],"sub":{"x":%d},"pad":"%s"}`+"\n",
			i, i, float64(i)*1.5, int64(i)<<40, i%7, strings.Repeat(string(rune('a'+i%26)), size))
	}
	return b.String()
}

func (s server) seed(t testing.TB) {
	s.load(t, "shop", "items", documents(3000, 100))
	s.load(t, "shop", "we ird-näme", documents(10, 5))
	s.load(t, "other", "things", documents(20, 5))
}

// wreck drops everything: the tools have no other way than to import nothing.
func (s server) wreck(t testing.TB) {
	for _, ns := range collections {
		db, name, _ := strings.Cut(ns, ".")
		s.load(t, db, name, "")
	}
}

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "mongo", withPassword()...)
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: s.Instance, KeepsHalf: true, KeepsHalfPart: true, Secrets: []string{password},
		Seed:        s.seed,
		Bulk:        func(t testing.TB) { s.load(t, "bulk", "blobs", documents(900, 90_000)) },
		Fingerprint: s.fingerprint, Wreck: s.wreck,
		Lose: func(t testing.TB) (stream, name string) {
			s.load(t, "shop", "items", "")
			return "all.archive", "shop.items"
		},
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return s.Instance, source.Spec{Password: "wrong-guess"}
		},
	})
}

func TestContainerWithoutPassword(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "mongo-open")
	s.seed(t)
	want := s.fingerprint(t)
	session, stream, data, _, err := dumpOf(t, s, source.Spec{})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	s.wreck(t)
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); err != nil {
		t.Fatal(problem.Text(err))
	}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); err != nil {
		t.Fatal(problem.Text(err))
	}
	if got := s.fingerprint(t); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	s.load(t, "asked", "we ird-näme", `{"_id": 1, "name": "Zoë, \"Z\"", "sub": {"n": 5}}`+"\n"+`{"_id": 2, "name": "Ann"}`+"\n")
	for query, want := range map[string]string{
		"count we ird-näme":                          "2",
		`count we ird-näme {"_id": {"$gt": 1}}`:      "1",
		"count nothing":                              "0",
		`exists we ird-näme {"name": "Ann"}`:         "true",
		`exists we ird-näme {"name": "Bob"}`:         "false",
		`find we ird-näme {"_id": 1} name sub.n _id`: "Zoë, \"Z\"\t5\t1\n",
	} {
		got, err := session.(engine.Asker).Ask(t.Context(), "asked", query)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
}

func dumpOf(t *testing.T, s server, spec source.Spec) (engine.Session, engine.Stream, []byte, engine.Contents, error) {
	t.Helper()
	session, err := New().Open(t.Context(), s.Instance, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	streams, err := session.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := session.Dump(t.Context(), streams[0])
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	inspector := session.Inspect(streams[0])
	_, err = io.Copy(io.MultiWriter(&data, inspector), p)
	exit, waitErr := p.Wait()
	if err := errors.Join(err, waitErr); err != nil || exit.Status != 0 {
		t.Fatal(err, exit)
	}
	contents, err := inspector.Finish()
	return session, streams[0], data.Bytes(), contents, err
}

func TestContainerOneDatabase(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "mongo-one", withPassword()...)
	s.seed(t)
	want := s.fingerprint(t)
	session, stream, data, contents, err := dumpOf(t, s, source.Spec{Database: "shop"})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	if len(contents.Objects) != 2 || contents.Objects[0].Rows+contents.Objects[1].Rows != 3010 {
		t.Errorf("%+v", contents)
	}
	s.load(t, "shop", "items", documents(1, 1))
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Error(err)
	}
	o := engine.RestoreOptions{Overwrite: true}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), o); err != nil {
		t.Fatal(problem.Text(err))
	}
	if got := s.fingerprint(t); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if out, err := exec.Command("docker", "restart", s.ID()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for s.try(t, "", "mongoexport", "--quiet", "-d", "admin", "-c", "none") != nil {
		if t.Context().Err() != nil {
			t.Fatal("the server never came back")
		}
	}
	if got := s.fingerprint(t); got != want {
		t.Fatalf("after a restart\n%s\nwant\n%s", got, want)
	}
	// The same beside it, under another name; all of it, and then one collection.
	renamed := engine.RestoreOptions{As: "shop_before"}
	if plan, err := session.Prepare(t.Context(), []engine.Stream{stream}, renamed); err != nil || len(plan.Replaces) > 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), renamed); err != nil {
		t.Fatal(problem.Text(err))
	}
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, renamed); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Errorf("it is there now: %v", err)
	}
	one := engine.RestoreOptions{As: "shop_before", Only: []string{"shop.items"}}
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, one); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty || !strings.Contains(err.Error(), "shop_before.items") {
		t.Errorf("the collection is there now: %v", err)
	}
	export := func(db string) string {
		out, err := s.tool(t, "", "mongoexport", "--quiet", "--db="+db, "--collection=items", "--sort={_id:1}")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if beside := export("shop_before"); beside != export("shop") || strings.Count(beside, "\n") != 3000 {
		t.Errorf("beside it are %d documents, which are others", strings.Count(beside, "\n"))
	}
	if got := s.fingerprint(t); got != want {
		t.Fatalf("a restore beside it changed it\n%s\nit was\n%s", got, want)
	}
	// One database out of a dump of all.
	_, all, data, _, err := dumpOf(t, s, source.Spec{})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	s.wreck(t)
	if err := session.Restore(t.Context(), all, bytes.NewReader(data), engine.RestoreOptions{}); err != nil {
		t.Fatal(problem.Text(err))
	}
	got := strings.Split(s.fingerprint(t), "\n")
	for i, line := range strings.Split(want, "\n") {
		if strings.HasPrefix(line, "shop.") != (got[i] == line) && line != "" && !strings.HasPrefix(line, "bulk.") {
			t.Errorf("%s, was %s", got[i], line)
		}
	}
	if _, _, _, _, err := dumpOf(t, s, source.Spec{Database: "nowhere"}); problem.ReasonOf(err) != engine.ReasonNoDatabase {
		t.Error("a database that does not exist:", err)
	}
	// Over data, mongorestore's own refusal must not pass for success.
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Error("over data:", err)
	}
	leavingOut(t, s)
}

// leavingOut makes dumps of a database with labels that leave collections out.
func leavingOut(t *testing.T, s server) {
	names := []string{"-d=x", "fs.chunks", "fs.files", "größe.東京", "items", "ses*sions; --'"}
	for _, name := range names {
		s.load(t, "picky", name, documents(3, 3))
	}
	for name, tc := range map[string]struct{ in, out, want, warns, fails string }{
		"some":                {out: `-d=x,picky.fs.*,*."größe.東京",ses"*"sions*,nothing*,fs.files`, want: `picky.items`, warns: "nothing matches nothing* of the label baktainer.dump.exclude_tables nothing matches fs.files of"},
		"only some":           {in: `*.fs.*,items`, out: "picky.fs.chunks", want: "picky.fs.files picky.items"},
		"nothing is so named": {in: `fs.files,items`, fails: "nothing matches fs.files of"},
		"nothing is left":     {out: "*", fails: "every table"},
	} {
		d := source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, tc.in), Exclude: enginetest.Patterns(t, tc.out)}}
		spec := source.Spec{Database: "picky", Dump: d}
		if tc.fails != "" {
			session, err := New().Open(t.Context(), s.Instance, spec)
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			if _, err := session.Streams(t.Context()); problem.ReasonOf(err) != engine.ReasonSelection || !strings.Contains(problem.Text(err), tc.fails) {
				t.Errorf("%s: %v, want reason %s and %q", name, err, engine.ReasonSelection, tc.fails)
			}
			continue
		}
		_, _, _, seen, err := dumpOf(t, s, spec)
		if err != nil {
			t.Fatal(problem.Text(err))
		}
		var got []string
		for _, o := range seen.Objects {
			if !engine.IsLeftOut(o.Kind) {
				got = append(got, o.Name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != tc.want || len(seen.Objects) != len(names) || !strings.Contains(strings.Join(seen.Notes, " "), tc.warns) {
			t.Errorf("%s: %+v, want %s", name, seen, tc.want)
		}
	}
	// Of all databases: what is left is an archive that the tools take.
	spec := source.Spec{AllDatabases: true, Dump: source.Dump{
		Databases: source.Selection{Exclude: enginetest.Patterns(t, "other,bulk,shop_before")}, Tables: source.Selection{Exclude: enginetest.Patterns(t, "shop.we*,picky.fs.*,*.größe.*")},
	}}
	session, stream, data, seen, err := dumpOf(t, s, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	var got []string
	for _, o := range seen.Objects {
		if db, name, _ := strings.Cut(o.Name, "."); o.Kind == "collection" && !ofServer(db, name) {
			got = append(got, o.Name)
		}
	}
	slices.Sort(got)
	if want := "picky.-d=x,picky.items,picky.ses*sions; --',shop.items"; strings.Join(got, ",") != want || bytes.Contains(data, []byte("größe")) {
		t.Errorf("in a dump of all are %q, want %s; left out are %q", got, want, engine.LeftOut(seen.Objects))
	}
	s.load(t, "picky", "items", documents(1, 1))
	o := engine.RestoreOptions{Overwrite: true, LeftOut: map[string][]string{stream.Name: engine.LeftOut(seen.Objects)}}
	plan, err := session.Prepare(t.Context(), []engine.Stream{stream}, o)
	if err != nil || slices.Contains(plan.Replaces, "other.things") || !slices.Contains(plan.Replaces, "picky.items") {
		t.Errorf("%+v, %v", plan, err)
	}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), o); err != nil {
		t.Fatal(problem.Text(err))
	}
	for name, want := range map[string]int{"items": 3, "fs.files": 3, "größe.東京": 3} {
		out, err := s.tool(t, "", "mongoexport", "--quiet", "--db=picky", "--collection="+name)
		if err != nil || strings.Count(out, "\n") != want {
			t.Errorf("%s: %d documents, want %d: %v", name, strings.Count(out, "\n"), want, err)
		}
	}
}

func TestContainerNoCredentials(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "mongo-nocred", withPassword()...)
	_, err := New().Open(t.Context(), s.Instance, source.Spec{User: "root", PasswordEnv: "NOT_THERE"})
	if problem.ReasonOf(err) != engine.ReasonNoCredentials {
		t.Error(err)
	}
}
