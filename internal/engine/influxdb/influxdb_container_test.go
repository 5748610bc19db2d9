package influxdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const password = `correct:horse 'battery' $ta"p\le%41`

// server is a container with InfluxDB and how to talk to it.
type server struct {
	*dockercli.Instance
	env []string
}

func startServer(t testing.TB, name string, env ...string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "influxdb", env), nil}
	if len(env) > 0 {
		s.env = []string{"INFLUX_USERNAME=admin", "INFLUX_PASSWORD=" + password}
	}
	s.Ready(t, s.env, tool, "-execute", "SHOW DATABASES")
	return s
}

func (s server) query(t testing.TB, statements ...string) string {
	t.Helper()
	return s.Run(t, strings.Join(statements, "\n;"), s.env, tool, "-format=json", "-precision=ns")
}

// put writes lines of line protocol, each as it is.
func (s server) put(t testing.TB, database, policy, lines string) {
	t.Helper()
	to := "http://127.0.0.1:8086/write?" + url.Values{"db": {database}, "rp": {policy}}.Encode()
	argv := []string{"curl", "-sS", "-w", "%{http_code}", "--data-binary", "@-", to}
	if s.env != nil {
		argv = append(argv, "-u", "admin:"+password)
	}
	if got := s.Run(t, lines, nil, argv...); got != "204" {
		t.Fatalf("write %.300q: %s", lines, got)
	}
}

const weird = `we"ird: db; DROP 'größe' %s $HOME -`

// hostile are lines that something might take for something else.
const hostile = `plain value=1
types i=9223372036854775807i,j=-9223372036854775808i,z=0i,f=1,g=0.1,h=-1.7976931348623157e308,k=5e-324,b=true,c=false,s="" 1000
types i=1i 9223372036854775806
types i=1i -9223372036854775806
types f=123456789012345680 1001
a\ b\,c\=d"e'f\g,ta\=g\ \,k"e\y=va\=l\,u\ e"'\x\\,h,größe=東京🦆 fi\=e\,l\ d"'\k="v\"\\ ', =\x \\n #",ü=1i 1600000000000000001
same,same=tag same=1,time_=2 5
same same=3 5
"quoted",'t'="v" "f"="g" 1
-v,--flag=--x -precision="-x" 1
%25,%0A=%25 %0A="%0A %25%" 1
text s="tab	cr` + "\r" + `nul` + "\x00" + `bell` + "\x07" + ` end" 1
text s="two
lines

# end of 1 points
# DML
CREATE DATABASE stray
% %25 %0A %250A \\" 2
text,host=a\ b s="line
",n=1i 2
text s="# DML" 3
select,from=where,group=by and="or",::=1,/.*/=2 1
`

func (s server) seed(t testing.TB) {
	for _, db := range []string{"shop", weird} {
		q := ident(db)
		s.query(t, "CREATE DATABASE "+q+" WITH DURATION 8736h SHARD DURATION 72h NAME "+ident("auto gen"),
			"CREATE RETENTION POLICY autogen ON "+q+" DURATION INF REPLICATION 1",
			"CREATE CONTINUOUS QUERY "+ident(`c"q`)+" ON "+q+` RESAMPLE EVERY 1h FOR 2h BEGIN SELECT mean("v") AS "m", max("a b") INTO `+q+`."autogen"."down\"sampled" FROM "cpu" WHERE host =~ /a\/b/ AND x = 'it\'s' GROUP BY time(30m), * END`)
	}
	s.query(t, "CREATE RETENTION POLICY "+ident(`hour's "rp": x`)+" ON shop DURATION 1h REPLICATION 1 SHARD DURATION 1h")
	s.put(t, "shop", "autogen", hostile)
	s.put(t, weird, "autogen", "plain value=1\ntext s=\"\t\r\x07\n\\\\n\\\"@\"\n@file,t=\"v\" i=1i,s=\"#\" 5\n")
	s.put(t, weird, "auto gen", "plain value=1i\n")
	s.query(t, "CREATE DATABASE empty")
	var lines strings.Builder
	for i := range 3000 { // several have the same time
		fmt.Fprintf(&lines, "cpu,host=h%d,zone=z%d usage=%d.5,n=%di %d\n", i%7, i%3, i, i*i, 1_700_000_000_000_000_000+int64(i/21)*60_000_000_000_000)
	}
	for i := range 2500 { // more than a page has the same time
		fmt.Fprintf(&lines, "wide,host=h%04d v=%d 1700000000000000000\n", i, i)
	}
	fmt.Fprintf(&lines, "wide v=1 1700000000000000001\nlong s=\"%s\" 1\n", strings.Repeat("x", 1_000_000))
	s.put(t, "shop", "autogen", lines.String())
	s.put(t, "shop", `hour's "rp": x`, "recent v=1\nrecent,t=u v=2\n")
}

// The server's own database comes and goes.
var withoutInternal = strings.NewReplacer(`"series":[`+internal+`]`, "", internal+",", "", ","+internal, "")

const internal = `{"name":"_internal","columns":["name","query"]}`

func (s server) fingerprint(t testing.TB) string {
	t.Helper()
	var all []string
	for _, db := range []string{"shop", weird, "empty"} {
		out, exit, err := engine.Output(t.Context(), s, engine.Command{
			Argv: []string{tool, "-format=json", "-precision=ns"}, Env: s.env, Stdin: strings.NewReader("SHOW RETENTION POLICIES ON " + ident(db)),
		}, 1<<20)
		if err != nil || exit.Status != 0 {
			all = append(all, db+" is not there")
			continue
		}
		all = append(all, string(out))
		for _, rp := range []string{"auto gen", "autogen", `hour's "rp": x`} {
			if strings.Contains(string(out), fmt.Sprintf("%q", rp)) {
				from := ident(db) + "." + ident(rp) + "./.*/"
				all = append(all, s.query(t, "SHOW FIELD KEYS ON "+ident(db)+" FROM "+ident(rp)+"./.*/", "SELECT * FROM "+from+" GROUP BY *"))
			}
		}
	}
	all = append(all, withoutInternal.Replace(s.query(t, "SHOW CONTINUOUS QUERIES")), s.query(t, "SHOW USERS"))
	return strings.Join(all, "")
}

func (s server) wreck(t testing.TB) {
	for _, db := range []string{"shop", weird, "empty", "stray"} {
		s.query(t, "DROP DATABASE "+ident(db))
	}
}

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	t.Parallel()
	s := startServer(t, "influxdb", "INFLUXDB_HTTP_AUTH_ENABLED=true", "INFLUXDB_ADMIN_USER=admin", "INFLUXDB_ADMIN_PASSWORD="+password)
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: s.Instance, Secrets: []string{password}, KeepsHalf: true,
		Seed: s.seed,
		Bulk: func(t testing.TB) {
			for i := range 4 {
				var lines strings.Builder
				for j := range 34 {
					fmt.Fprintf(&lines, "bulk s=\"%s\" %d\n", strings.Repeat("x", 500_000), i*34+j)
				}
				s.put(t, "shop", "autogen", lines.String())
			}
		},
		Fingerprint: s.fingerprint,
		Wreck:       s.wreck,
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return s.Instance, source.Spec{Password: "wrong-guess"}
		},
	})
}

func open(t testing.TB, s server, spec source.Spec) engine.Session {
	t.Helper()
	session, err := New().Open(t.Context(), s.Instance, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return session
}

// dumpOf is one whole dump, checked.
func dumpOf(t testing.TB, session engine.Session, database string) ([]byte, engine.Contents, error) {
	t.Helper()
	p, err := session.Dump(t.Context(), engine.Stream{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	inspector := session.Inspect(engine.Stream{})
	_, err = io.Copy(io.MultiWriter(&data, inspector), p)
	_, waitErr := p.Wait()
	contents, badContent := inspector.Finish()
	if waitErr != nil {
		return nil, contents, waitErr
	}
	return data.Bytes(), contents, errors.Join(err, badContent)
}

// A server without authentication at another port: a dump of what was restored is
// the same, byte for byte, and users keep their grants.
func TestContainerAgain(t *testing.T) {
	dockercli.Need(t)
	t.Parallel()
	s := startServer(t, "influxdb-again")
	s.query(t, "CREATE DATABASE shop WITH DURATION INF SHARD DURATION 1h NAME short", "CREATE USER reader WITH PASSWORD 'x'", "GRANT READ ON shop TO reader")
	var shards [4]strings.Builder // of an hour, written one by one: see replay.enter
	for i := range 1200 {         // pages of several shards, with the same times
		after := int64(i/21) * 200
		fmt.Fprintf(&shards[after/3600], "cpu,host=h%d n=%di %d\n", i%21, i, (1_699_999_200+after)*1_000_000_000)
	}
	for i := range shards {
		s.put(t, "shop", "short", shards[i].String())
	}
	for _, lines := range []string{"mixed f=1i 100\n", "mixed f=2 1600000000000000000\nmixed f=2.5 1600000000000000001\n", "mixed f=\"text\" 1500000000000000000\n", "mixed f=true,g=7i 1400000000000000000\n"} {
		s.put(t, "shop", "short", lines)
	}
	s.query(t, "ALTER RETENTION POLICY short ON shop DURATION 1h") // all is older
	session := open(t, s, source.Spec{Database: "shop", Password: "unused"})
	data, contents, err := dumpOf(t, session, "shop")
	if err != nil || fmt.Sprint(contents.Objects) != "[{measurement short.cpu 1200 []} {measurement short.mixed 5 []}]" {
		t.Fatal(contents, err)
	}
	for _, line := range []string{"mixed f=1i 100\n", "mixed f=2 1600000000000000000\n"} {
		if !bytes.Contains(data, []byte("\n"+line)) {
			t.Errorf("the dump lacks %q", line)
		}
	}
	s.query(t, "CREATE RETENTION POLICY stray ON shop DURATION INF REPLICATION 1 DEFAULT", "CREATE CONTINUOUS QUERY stray ON shop BEGIN SELECT mean(n) INTO stray FROM cpu GROUP BY time(1h) END")
	s.put(t, "shop", "stray", "stray v=1\n")
	stream := engine.Stream{Database: "shop", Format: format}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatal(problem.Text(err))
	}
	again, _, err := dumpOf(t, session, "shop")
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: %s\nwant\n%s", err, again, data)
	}
	if grants := s.query(t, "SHOW GRANTS FOR reader"); !strings.Contains(grants, `["shop","READ"]`) {
		t.Errorf("the grants of a user after a restore: %s", grants)
	}
	answer, err := session.(engine.Asker).Ask(t.Context(), "", "SELECT count(n), max(n) FROM short.cpu WHERE host = 'h1' OR host = 'h2' GROUP BY host")
	if err != nil || answer != "58\t1198\n58\t1199\n" {
		t.Errorf("%q %v", answer, err)
	}
	// What a server does not take, it is told why.
	bad := bytes.Replace(data, []byte("mixed f=2 16"), []byte("mixed f=2i 16"), 1)
	err = session.Restore(t.Context(), stream, bytes.NewReader(bad), engine.RestoreOptions{Overwrite: true})
	if err == nil {
		t.Fatal("a field of two types in one shard passes")
	}
	if text := problem.Text(err); problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(text, `input field \"f\" on measurement \"mixed\" is type float, already exists as type integer`) {
		t.Errorf("a field of two types in one shard: %s", text)
	}
}

// A dump under writes ends, and holds every point that was there when it began.
func TestContainerDumpUnderWrites(t *testing.T) {
	dockercli.Need(t)
	t.Parallel()
	s := startServer(t, "influxdb-writes")
	s.query(t, "CREATE DATABASE shop")
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "old,host=h%d n=%di %d\n", i%5, i, 1_000_000_000+i/5)
	}
	s.put(t, "shop", "autogen", lines.String()+"lost\\\\,name n=1 1\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			line := fmt.Sprintf("old,host=h9 n=1i %d\nold,host=h%d n=1i %d\n", 1_000_000_000+n%600, n, 2_000_000_000+n)
			_, _, _ = engine.Output(ctx, s, engine.Command{
				Argv: []string{"curl", "-s", "--data-binary", "@-", "http://127.0.0.1:8086/write?db=shop"}, Stdin: strings.NewReader(line),
			}, 1<<10)
		}
		done <- n
	}()
	for range 2 {
		data, contents, err := dumpOf(t, open(t, s, source.Spec{}), "shop")
		if err != nil {
			t.Fatal(problem.Text(err))
		}
		if notes := strings.Join(contents.Notes, "\n"); !strings.Contains(notes, "lost,name") {
			t.Errorf("of what InfluxDB itself has lost, nothing is said: %s", notes)
		}
		for line := range strings.Lines(lines.String()) {
			if strings.Count(string(data), "\n"+line) != 1 {
				t.Fatalf("%q is there %d times", line, strings.Count(string(data), "\n"+line))
			}
		}
	}
	cancel()
	if n := <-done; n < 3 {
		t.Errorf("the writer wrote %d times", n)
	}
}
