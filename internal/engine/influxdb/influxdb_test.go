package influxdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// point is one of the measurement cpu: with an integer n, and a tag host.
type point struct {
	at   int64
	host string
	n    int
}

func (p point) line() string {
	if p.host == "" {
		return fmt.Sprintf("cpu n=%di %d", p.n, p.at)
	}
	return fmt.Sprintf("cpu,host=%s n=%di %d", p.host, p.n, p.at)
}

// fake is an InfluxDB with a database shop, of a few lines behind a scripted influx.
type fake struct {
	*enginetest.Script
	points    []point
	databases []string
	queries   string // the rows of its continuous queries
	schema    string // the answer to SHOW FIELD KEYS, if not the usual one
	shards    string
	columns   string // further ones of retention policies
	values    string
	// spoil changes the answer to a question for points, which is told by its number.
	spoil    func(question int, a enginetest.Answer) enginetest.Answer
	asked    int
	said     []string // statements that change something
	imported []string // lines
	refuse   string   // a line that is not taken
}

func newFake(facts engine.Facts) *fake {
	f := &fake{Script: enginetest.NewScript(facts), databases: []string{"_internal", "shop"}}
	f.On("influx", f.answer)
	return f
}

func good(name, columns, rows string) enginetest.Answer {
	if rows == "" {
		return enginetest.Answer{Stdout: "{\"results\":[{}]}\n"}
	}
	return enginetest.Answer{Stdout: fmt.Sprintf("{\"results\":[{\"series\":[{\"name\":%q,\"columns\":[%s],\"values\":[%s]}]}]}\n", name, columns, rows)}
}

func bad(said string) enginetest.Answer {
	return enginetest.Answer{Stdout: fmt.Sprintf("{\"results\":[{\"error\":%q}]}\nERR: %s\n", said, said), Stderr: said + "\n", Status: 1}
}

func (f *fake) answer(call enginetest.Call) enginetest.Answer {
	asked := call.Input
	switch {
	case slices.Contains(call.Argv, "--version"):
		return enginetest.Answer{Stdout: "InfluxDB shell version: 1.8.10\n"}
	case slices.Contains(call.Argv, "-import"):
		return f.take(call.Input)
	case asked == "SHOW DATABASES":
		return good("databases", `"name"`, `["`+strings.Join(f.databases, `"],["`)+`"]`)
	case strings.HasPrefix(asked, "SHOW MEASUREMENTS"):
		if len(f.points) == 0 {
			return good("", "", "")
		}
		return good("measurements", `"name"`, `["cpu"]`)
	case strings.HasPrefix(asked, "SHOW RETENTION"):
		return enginetest.Answer{Stdout: `{"results":[{"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"` + f.columns + `],"values":[["short","2h0m0s","1h0m0s",1,false` + f.values + `],["autogen","0s","168h0m0s",1,true` + f.values + `]]}]},` +
			`{"series":[{"name":"another","columns":["name","query"],"values":[["no","no"]]},{"name":"shop","columns":["name","query"],"values":[` + f.queries + `]}]}]}`}
	case asked == "SHOW USERS":
		return good("", "\"user\",\"admin\"", "[\"ann\",true],[\"bob\",false]")
	case strings.HasPrefix(asked, "SHOW GRANTS FOR \"bob\""):
		return good("", "\"database\",\"privilege\"", "[\"shop\",\"ALL PRIVILEGES\"],[\"another\",\"READ\"]")
	case strings.HasPrefix(asked, "SHOW GRANTS"):
		return good("", "", "")
	case asked == `SHOW SERIES EXACT CARDINALITY ON "shop" FROM "autogen"."cpu"`:
		return good("cpu", `"count"`, fmt.Sprintf("[%d]", len(f.hosts())))
	case asked == "SHOW SHARDS":
		return good("shop", `"id","database","retention_policy","shard_group","start_time","end_time","expiry_time","owners"`, f.shards)
	case asked == `SHOW FIELD KEYS ON "shop" FROM "autogen"./.*/` && len(f.points) > 0:
		return good("cpu", `"fieldKey","fieldType"`, `["m","float"],["n","integer"]`)
	case strings.HasPrefix(asked, `SHOW FIELD KEYS ON "shop" FROM "autogen"`) && strings.Contains(asked, "TAG"):
		if f.schema != "" {
			return enginetest.Answer{Stdout: f.schema}
		}
		return enginetest.Answer{Stdout: `{"results":[{"series":[{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}]},{"series":[{"name":"cpu","columns":["tagKey"],"values":[["host"]]},{"name":"gone","columns":["tagKey"],"values":[["host"]]}]}]}`}
	case strings.HasPrefix(asked, "SHOW FIELD KEYS"):
		return good("", "", "")
	case strings.HasPrefix(asked, "SELECT"):
		a := f.find(asked)
		f.asked++
		if f.spoil != nil {
			a = f.spoil(f.asked, a)
		}
		return a
	}
	f.said = append(f.said, asked)
	if strings.HasPrefix(asked, "DROP DATABASE") {
		f.points = nil
	}
	return good("", "", "")
}

var asksFor = regexp.MustCompile(`^SELECT "n"::integer,"host"::tag FROM "shop"."autogen"."cpu" WHERE time >= (-?\d+) AND time <= (-?\d+) (ORDER BY time LIMIT|GROUP BY \* SLIMIT) (\d+)(?: SOFFSET (\d+))?$`)

// find answers a question for points. The order of those of the same time is
// another one each time, unless it is asked for series.
func (f *fake) find(asked string) enginetest.Answer {
	if strings.HasPrefix(asked, `SELECT "n"::integer FROM "shop"."autogen"."cpu" ORDER BY time ASC LIMIT 1;`) {
		if len(f.points) == 0 {
			return good("", "", "")
		}
		first, last := f.points[0].at, f.points[0].at
		for _, p := range f.points {
			first, last = min(first, p.at), max(last, p.at)
		}
		return good("cpu", `"time","n"`, fmt.Sprintf("[%d,1],[%d,2]", last, first))
	}
	found := asksFor.FindStringSubmatch(asked)
	if found == nil {
		return bad("error parsing query: " + asked)
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(found[i], 10, 64); return n }
	var some []point
	for _, p := range f.points {
		if p.at >= number(1) && p.at <= number(2) {
			some = append(some, p)
		}
	}
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	slices.SortStableFunc(some, func(a, b point) int { return int(a.at - b.at) })
	if strings.HasPrefix(found[3], "GROUP") { // a page is one of series, whether they have such points or not
		hosts := f.hosts()
		hosts = hosts[min(len(hosts), int(number(5))):]
		hosts = hosts[:min(len(hosts), int(number(4)))]
		some = slices.DeleteFunc(some, func(p point) bool { _, is := slices.BinarySearch(hosts, p.host); return !is })
	} else {
		some = some[:min(len(some), int(number(4)))]
	}
	var rows []string
	for _, p := range some {
		host, _ := json.Marshal(p.host)
		if p.host == "" {
			host = []byte("null")
		}
		rows = append(rows, fmt.Sprintf("[%d,%d,%s]", p.at, p.n, host))
	}
	return good("cpu", `"time","n","host"`, strings.Join(rows, ","))
}

func parsePoint(line string) (p point, ok bool) {
	if _, err := fmt.Sscanf(line, "cpu,host=%s n=%di %d", &p.host, &p.n, &p.at); err != nil {
		p.host = ""
		if _, err := fmt.Sscanf(line, "cpu n=%di %d", &p.n, &p.at); err != nil {
			return p, false
		}
	}
	return p, true
}

// hosts tell the series, in their order.
func (f *fake) hosts() []string {
	var all []string
	for _, p := range f.points {
		all = append(all, p.host)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// take does what influx -import does.
func (f *fake) take(input string) enginetest.Answer {
	const head = "# DML\n# CONTEXT-DATABASE:shop\n# CONTEXT-RETENTION-POLICY:autogen\n"
	lines, ok := strings.CutPrefix(input, head)
	if !ok {
		return bad("an unexpected head")
	}
	taken := strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
	if slices.Contains(taken, f.refuse) {
		return enginetest.Answer{Status: 1, Stderr: fmt.Sprintf("2026/01/01 00:00:00 error writing batch: {\"error\":\"partial write: field type conflict\"}\n2026/01/01 00:00:00 %s\nERROR: %d points were not inserted\n", strings.Join(taken, "\n\n"), len(taken))}
	}
	taken = slices.DeleteFunc(taken, func(l string) bool { return l == "# CONTEXT-RETENTION-POLICY:autogen" })
	f.imported = append(f.imported, taken...)
	for _, line := range taken {
		if p, ok := parsePoint(line); ok {
			f.points = append(f.points, p)
		}
	}
	return enginetest.Answer{Stdout: fmt.Sprintf("2026/01/01 00:00:00 Processed 0 commands\n2026/01/01 00:00:00 Processed %d inserts\n2026/01/01 00:00:00 Failed 0 inserts\n", len(taken))}
}

func (f *fake) open(t testing.TB, spec source.Spec) *session {
	t.Helper()
	opened, err := New().Open(t.Context(), f, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return opened.(*session)
}

func (f *fake) dumped(t testing.TB) (string, error) {
	t.Helper()
	p, err := f.open(t, source.Spec{}).Dump(t.Context(), engine.Stream{Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Wait()
	return string(data), err
}

func inspect(text string) (engine.Contents, error) {
	i := &inspector{}
	_, _ = i.Write([]byte(text))
	return i.Finish()
}

// several is a fake with points of all kinds of times.
func several() *fake {
	f := newFake(engine.Facts{})
	f.points = []point{{-5, "", 1}, {1, "a", 2}, {1, "b", 3}, {7, "größe", 4}, {7_000_000_000, "a", 5}}
	return f
}

const severalLines = "cpu n=1i -5\ncpu,host=a n=2i 1\ncpu,host=b n=3i 1\ncpu,host=größe n=4i 7\ncpu,host=a n=5i 7000000000\n"

const head = `# dump of an InfluxDB database, influx 1.8.10
# DDL
CREATE DATABASE "shop" WITH DURATION INF REPLICATION 1 SHARD DURATION 604800s NAME "autogen"
CREATE RETENTION POLICY "short" ON "shop" DURATION INF REPLICATION 1 SHARD DURATION 3600s
# THEN ALTER RETENTION POLICY "short" ON "shop" DURATION 7200s SHARD DURATION 3600s
# THEN CREATE CONTINUOUS QUERY one ON shop BEGIN SELECT 1 END
# DML
# CONTEXT-DATABASE:shop
`

const whole1 = head + "# CONTEXT-RETENTION-POLICY:autogen\n" + severalLines + "# end of 5 points\n"

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"influxdb": true, "influxdb:1.8-alpine": true, "docker.io/library/influxdb:1.8": true, "bitnami/influxdb:1.8.5": true,
		"baktainer-sample/influxdb": true, "influxdb:2.7": true, "quay.io/influxdb/influxdb:2.0": true, "influxdb@sha256:abcd": true,
		"influxdb-exporter": false, "influxdb-relay": false, "telegraf": false, "chronograf": false, "influxdb-backup": false, "postgres": false, "": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("Detect(%q) = %v", image, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		spec  source.Spec
		facts engine.Facts
		want  string // labels that are complained of
	}{
		"plain":         {},
		"one":           {spec: source.Spec{Database: "shop größe"}},
		"all":           {spec: source.Spec{AllDatabases: true}},
		"one and all":   {source.Spec{AllDatabases: true, Database: "a"}, engine.Facts{}, "baktainer.db.name"},
		"no name":       {source.Spec{Database: "a/b"}, engine.Facts{}, "baktainer.db.name"},
		"1.8":           {facts: engine.Facts{Image: "influxdb:1.8-alpine"}},
		"a port":        {facts: engine.Facts{Image: "registry:2000/influxdb"}},
		"latest":        {facts: engine.Facts{Image: "influxdb:latest"}},
		"2":             {source.Spec{}, engine.Facts{Image: "influxdb:2"}, "baktainer.db.engine"},
		"2.7":           {source.Spec{Database: ".."}, engine.Facts{Image: "a.io:5/influxdb:2.7-alpine@sha256:abc"}, "baktainer.db.engine baktainer.db.name"},
		"3":             {source.Spec{}, engine.Facts{Image: "influxdb:3-core"}, "baktainer.db.engine"},
		"core":          {source.Spec{}, engine.Facts{Image: "influxdb:core"}, "baktainer.db.engine"},
		"a variable":    {source.Spec{}, engine.Facts{Image: "influxdb", Env: map[string]string{"DOCKER_INFLUXDB_INIT_MODE": "setup"}}, "baktainer.db.engine"},
		"another image": {source.Spec{}, engine.Facts{Image: "influxdb3:x"}, "baktainer.db.engine"},
	} {
		var got []string
		for _, c := range New().Check(test.spec, test.facts) {
			got = append(got, c.Label)
			if c.Reason == "" || c.Suggestion == "" {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

func TestHowItIsRun(t *testing.T) {
	for name, test := range map[string]struct {
		env        map[string]string
		spec       source.Spec
		argv, give string
		host       string
	}{
		"plain":     {nil, source.Spec{}, "influx -format=json", "", "localhost:8086"},
		"variables": {map[string]string{"INFLUXDB_ADMIN_USER": "keeper", "INFLUXDB_ADMIN_PASSWORD": "se cret", "INFLUXDB_HTTP_BIND_ADDRESS": ":9999"}, source.Spec{}, "influx -port=9999 -format=json", "INFLUX_USERNAME=keeper INFLUX_PASSWORD=se cret", "localhost:9999"},
		"label":     {map[string]string{"INFLUXDB_HTTP_BIND_ADDRESS": "0.0.0.0:8086"}, source.Spec{User: "x", Password: "y"}, "influx -port=8086 -format=json", "INFLUX_USERNAME=x INFLUX_PASSWORD=y", "localhost:8086"},
		"bitnami":   {map[string]string{"INFLUXDB_ADMIN_USER_PASSWORD": "z"}, source.Spec{}, "influx -format=json", "INFLUX_USERNAME=admin INFLUX_PASSWORD=z", "localhost:8086"},
		"tls":       {map[string]string{"INFLUXDB_HTTP_HTTPS_ENABLED": "true", "INFLUXDB_HTTP_BIND_ADDRESS": "127.0.0.2:1"}, source.Spec{}, "influx -host=127.0.0.2 -port=1 -ssl -unsafeSsl -format=json", "", "127.0.0.2:1"},
		"nonsense":  {map[string]string{"INFLUXDB_HTTP_BIND_ADDRESS": "host:po rt"}, source.Spec{}, "influx -format=json", "", "localhost:8086"},
	} {
		f := newFake(engine.Facts{Env: test.env})
		s := f.open(t, test.spec)
		calls := f.Calls()
		last := calls[len(calls)-1]
		if last.Args() != test.argv || strings.Join(last.Env, " ") != test.give || s.host() != test.host {
			t.Errorf("%s: %q with %q, %s", name, last.Args(), last.Env, s.host())
		}
	}
}

func TestOpenRefused(t *testing.T) {
	for name, test := range map[string]struct {
		facts  engine.Facts
		spec   source.Spec
		answer func(enginetest.Call) enginetest.Answer
		reason problem.Reason
	}{
		"2":        {engine.Facts{Image: "influxdb:2.7"}, source.Spec{}, nil, engine.ReasonUnsupported},
		"name":     {engine.Facts{}, source.Spec{Database: "/"}, nil, engine.ReasonNoDatabase},
		"password": {engine.Facts{}, source.Spec{PasswordEnv: "NONE"}, nil, engine.ReasonNoCredentials},
		"no tool":  {engine.Facts{}, source.Spec{}, nil, engine.ReasonToolMissing},
		"the tool of 2": {engine.Facts{}, source.Spec{}, func(enginetest.Call) enginetest.Answer {
			return enginetest.Answer{Stdout: "Incorrect Usage: flag provided but not defined: -version\n", Status: 1}
		}, engine.ReasonUnsupported},
		"wrong password": {engine.Facts{}, source.Spec{User: "a", Password: "b"}, func(c enginetest.Call) enginetest.Answer {
			if c.Input == "" {
				return enginetest.Answer{Stdout: "InfluxDB shell version: v1.6.7~rc0\n"}
			}
			return bad("authorization failed")
		}, engine.ReasonWrongPassword},
		"no password": {engine.Facts{}, source.Spec{}, func(c enginetest.Call) enginetest.Answer {
			if c.Input == "" {
				return enginetest.Answer{Stdout: "InfluxDB shell version: 1.6.7\n"}
			}
			return bad("unable to parse authentication credentials")
		}, engine.ReasonNoCredentials},
		"no answer": {engine.Facts{}, source.Spec{}, func(c enginetest.Call) enginetest.Answer {
			if c.Input == "" {
				return enginetest.Answer{Stdout: "InfluxDB shell version: 1.6.7\n"}
			}
			return enginetest.Answer{Status: 1, Stderr: "Failed to connect to http://localhost:8086: connection refused\n"}
		}, engine.ReasonNoConnection},
	} {
		s := enginetest.NewScript(test.facts)
		if test.answer != nil {
			s.On("influx", test.answer)
		}
		_, err := New().Open(t.Context(), s, test.spec)
		if problem.ReasonOf(err) != test.reason {
			t.Errorf("%s: %v, want %s", name, err, test.reason)
		}
	}
}

func TestBlank(t *testing.T) {
	b := New().Blank(engine.Facts{Env: map[string]string{"INFLUXDB_HTTP_AUTH_ENABLED": "true", "INFLUXDB_ADMIN_PASSWORD": "old", "INFLUXDB_DB": "shop"}, Args: []string{"influxd"}}, source.Spec{Database: "shop", Password: "old"}, "new")
	if b.Env["INFLUXDB_HTTP_AUTH_ENABLED"] != "false" || b.Env["INFLUXDB_ADMIN_PASSWORD"] != "new" || b.Spec.Password != "" || b.Spec.Database != "shop" || len(b.Notes) != 1 {
		t.Errorf("%+v", b)
	}
}

func TestStreams(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		spec source.Spec
		have string
		want string
	}{
		"all that there are": {nil, source.Spec{}, "_internal a b/c", "[{a.influx database a influx-import} {b%2Fc.influx database b/c influx-import}]"},
		"one":                {nil, source.Spec{Database: "b"}, "_internal a b", "[{b.influx database b influx-import}]"},
		"that of the image":  {map[string]string{"INFLUXDB_DB": "a"}, source.Spec{}, "a b", "[{a.influx database a influx-import}]"},
		"all nevertheless":   {map[string]string{"INFLUXDB_DB": "a"}, source.Spec{AllDatabases: true}, "a b", "[{a.influx database a influx-import} {b.influx database b influx-import}]"},
		"one that is none":   {nil, source.Spec{Database: "c"}, "a b", ""},
		"none":               {nil, source.Spec{}, "_internal", ""},
	} {
		f := newFake(engine.Facts{Env: test.env})
		f.databases = strings.Fields(test.have)
		got, err := f.open(t, test.spec).Streams(t.Context())
		if test.want == "" {
			if problem.ReasonOf(err) != engine.ReasonNoDatabase {
				t.Errorf("%s: %v", name, err)
			}
		} else if fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

func TestDump(t *testing.T) {
	f := several()
	f.queries = `["one","CREATE CONTINUOUS QUERY one ON shop BEGIN SELECT 1 END"]`
	got, err := f.dumped(t)
	if err != nil || got != whole1 {
		t.Errorf("%v: %s\nwant %s", err, got, whole1)
	}
	contents, err := inspect(got)
	if err != nil || fmt.Sprint(contents.Objects) != "[{measurement autogen.cpu 5 []}]" || len(contents.Notes) != 2 {
		t.Errorf("%+v %v", contents, err)
	}
	f.columns, f.values = ",\"futureWriteLimit\",\"pastWriteLimit\"", ",\"0s\",\"1h0m0s\""
	if got, err := f.dumped(t); err != nil || !strings.Contains(got, "\n# NOTE of the retention policy \"autogen\" this is not in the dump: [\"pastWriteLimit 1h0m0s\"]\n") {
		t.Errorf("a policy of a later version: %v: %s", err, got)
	}
	f.columns, f.values = "", ""
	f.points = nil
	if got, err := f.dumped(t); err != nil || got != head+"# CONTEXT-RETENTION-POLICY:autogen\n# end of 0 points\n" && got != head+"# end of 0 points\n" {
		t.Errorf("without points: %v: %s", err, got)
	}
}

// However the times of points lie, and whatever shards there are, every point is
// in a dump once.
func TestPages(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 60 {
		f := newFake(engine.Facts{})
		times := 1 + random.IntN([]int{1, 5, 100, 5000}[n%4])
		unique := map[string]bool{}
		for i := range random.IntN(6000) {
			p := point{int64(random.IntN(times)) * 3_600_000_000_000, fmt.Sprint("h", random.IntN(3000)), i}
			if key := fmt.Sprint(p.at, p.host); !unique[key] {
				unique[key] = true
				f.points = append(f.points, p)
			}
		}
		var shards []string
		if n%3 > 0 { // else there are none
			for day := range 30 {
				shards = append(shards, fmt.Sprintf(`[1,"shop","autogen",1,"1970-01-%02dT00:00:00Z","1970-01-%02dT00:00:00Z","",""]`, day+1, day+2))
			}
			f.shards = strings.Join(shards, ",")
		}
		got, err := f.dumped(t)
		if err != nil {
			t.Fatal(n, problem.Text(err))
		}
		var want, have []string
		for _, p := range f.points {
			want = append(want, p.line())
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "cpu") {
				have = append(have, strings.TrimSuffix(line, "\n"))
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Fatalf("%d: %d points of %d at %d times", n, len(have), len(want), times)
		}
		if _, err := inspect(got); err != nil {
			t.Fatal(err)
		}
	}
}

// More points have the same time than a page holds, and many series have none then.
func TestInstant(t *testing.T) {
	for _, limit := range []int{1, 7, 64, 1000} {
		f := newFake(engine.Facts{})
		var want []string
		for i := range 200 {
			p := point{5, fmt.Sprintf("h%03d", i), i}
			if i < 50 || i%4 > 0 || i > 190 {
				p.at = 6
			} else {
				want = append(want, p.line())
			}
			f.points = append(f.points, p)
		}
		var got bytes.Buffer
		out := bufio.NewWriter(&got)
		m := &measurement{policy: "autogen", name: "cpu", fields: map[string][]string{"n": {"integer"}}, tags: []string{"host"}}
		p := &pager{s: f.open(t, source.Spec{}), out: out, database: "shop", limit: limit, m: m, escaped: "cpu"}
		if err := p.instant(t.Context(), m.columns(nil), 5); err != nil {
			t.Fatal(problem.Text(err))
		}
		_ = out.Flush()
		if have := strings.Fields(strings.ReplaceAll(got.String(), " ", "_")); len(have) != len(want) || p.points != int64(len(want)) {
			t.Errorf("in pages of %d: %d points of %d", limit, len(have), len(want))
		}
	}
}

// The points of a measurement may be a thousand times as long as those of the one before.
func TestFirstPageIsSmall(t *testing.T) {
	f := several()
	m := &measurement{policy: "autogen", name: "cpu", fields: map[string][]string{"n": {"integer"}}, tags: []string{"host"}, first: -5, last: 7_000_000_000}
	p := &pager{s: f.open(t, source.Spec{}), out: bufio.NewWriter(io.Discard), database: "shop", limit: pageRows}
	if err := p.dump(t.Context(), m); err != nil {
		t.Fatal(problem.Text(err))
	}
	calls := f.Calls()
	if asked := calls[len(calls)-1].Input; !strings.HasSuffix(asked, " LIMIT 500") || p.points != 5 {
		t.Errorf("%d points by %s", p.points, asked)
	}
}

func TestSpoiledAnswers(t *testing.T) {
	cut := func(n int) func(enginetest.Answer) enginetest.Answer {
		return func(a enginetest.Answer) enginetest.Answer { a.Stdout = a.Stdout[:len(a.Stdout)-n]; return a }
	}
	say := func(text string) func(enginetest.Answer) enginetest.Answer {
		return func(enginetest.Answer) enginetest.Answer { return enginetest.Answer{Stdout: text} }
	}
	for name, test := range map[string]struct {
		spoil  func(enginetest.Answer) enginetest.Answer
		reason problem.Reason
	}{
		"cut":             {cut(2), engine.ReasonTruncated},
		"cut more":        {cut(30), engine.ReasonTruncated},
		"nothing":         {say(""), engine.ReasonEmpty},
		"a word":          {say("fine\n"), engine.ReasonMalformed},
		"a list":          {say("[]"), engine.ReasonMalformed},
		"no rows":         {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1]]}]}]}`), engine.ReasonMalformed},
		"other columns":   {say(`{"results":[{"series":[{"name":"cpu","columns":["time"],"values":[[1]]}]}]}`), engine.ReasonMalformed},
		"an odd time":     {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[9000000000,1,"a"]]}]}]}`), engine.ReasonMalformed},
		"no time":         {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[["x",1,"a"]]}]}]}`), engine.ReasonMalformed},
		"no field":        {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1,null,"a"]]}]}]}`), engine.ReasonMalformed},
		"another type":    {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1,true,"a"]]}]}]}`), engine.ReasonMalformed},
		"a tag's type":    {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1,1,5]]}]}]}`), engine.ReasonMalformed},
		"backwards":       {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[2,1,"a"],[1,1,"a"]]}]}]}`), engine.ReasonMalformed},
		"not UTF-8":       {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1,1,"a` + replacement + `"]]}]}]}`), engine.ReasonUnsupported},
		"a backslash":     {say(`{"results":[{"series":[{"name":"cpu","columns":["time","n","host"],"values":[[1,1,"a\\"]]}]}]}`), engine.ReasonUnsupported},
		"an error inside": {say(`{"results":[{"error":"out of luck"}]}`), engine.ReasonMalformed},
		"status 1":        {func(a enginetest.Answer) enginetest.Answer { a.Status = 1; return a }, engine.ReasonToolFailed},
		"interrupted":     {func(enginetest.Answer) enginetest.Answer { return bad("query-timeout limit exceeded") }, engine.ReasonToolFailed},
		"dropped":         {func(enginetest.Answer) enginetest.Answer { return bad("database not found: shop") }, engine.ReasonNoDatabase},
		"lost": {func(a enginetest.Answer) enginetest.Answer {
			a.WaitErr = problem.New(problem.Unavailable, "lost").WithReason(engine.ReasonStreamLost)
			return a
		}, engine.ReasonStreamLost},
	} {
		f := several()
		f.spoil = func(question int, a enginetest.Answer) enginetest.Answer {
			if question == 2 { // the first asks for the times
				return test.spoil(a)
			}
			return a
		}
		data, err := f.dumped(t)
		if problem.ReasonOf(err) != test.reason {
			t.Errorf("%s: %v, want %s", name, err, test.reason)
		}
		if _, err := inspect(data); err == nil {
			t.Errorf("%s: the dump passes for a whole one: %s", name, data)
		}
	}
}

// endless is an influx that never stops.
type endless struct {
	*enginetest.Script
	killed bool
}

func (e *endless) Exec(context.Context, engine.Command) (engine.Process, error) { return e, nil }
func (e *endless) Kill()                                                        { e.killed = true }
func (e *endless) Wait() (engine.Exit, error)                                   { return engine.Exit{Status: 137}, nil }
func (e *endless) Read(p []byte) (int, error) {
	if e.killed {
		return 0, io.EOF
	}
	return copy(p, strings.Repeat("nonsense", 1<<10)), nil
}

func TestAnswerWithoutEnd(t *testing.T) {
	e := &endless{}
	s := &session{inst: e, argv: []string{tool}}
	if _, err := s.list(t.Context(), "SHOW DATABASES"); problem.ReasonOf(err) != engine.ReasonMalformed || !e.killed {
		t.Errorf("%v, killed %v", err, e.killed)
	}
	const answer = `{"results":[{"series":[{"name":"databases","columns":["name"],"values":[["a"],["b"]]}]}]}`
	for left, whole := range map[int64]bool{20: false, int64(len(answer)) - 1: false, int64(len(answer)) + 1: true} {
		err := readAnswer(&allowance{strings.NewReader(answer), left}, func(*series, []any) error { return nil })
		if (err == nil) != whole || err != nil && problem.ReasonOf(err) != engine.ReasonMalformed {
			t.Errorf("with %d bytes: %v", left, err)
		}
	}
}

func TestUnspeakable(t *testing.T) {
	for name, schema := range map[string]string{
		"measurement":   `{"name":"#cpu","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}`,
		"not UTF-8":     `{"name":"cpu` + replacement + `","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}`,
		"a field":       `{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n\\","integer"]]}`,
		"a return":      `{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n\rm","integer"]]}`,
		"a tab":         `{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["\tn","integer"]]}`,
		"a tab before":  `{"name":"\tcpu","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}`,
		"a line end":    `{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n\nm","integer"]]}`,
		"a tag":         `{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n","integer"]]},{"name":"cpu","columns":["tagKey"],"values":[["` + replacement + `"]]}`,
		"without names": `{"name":"","columns":["fieldKey","fieldType"],"values":[["n","integer"]]}`,
	} {
		f := several()
		f.schema = `{"results":[{"series":[` + schema + `]}]}`
		_, err := f.dumped(t)
		if problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(problem.Text(err), "influxd backup") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A field that is a float in one shard and an integer in another is asked for as
// what it is.
func TestMixed(t *testing.T) {
	const broken = "the connection to the server broke"
	m := &measurement{name: "cpu", fields: map[string][]string{"n": {"float", "integer", "string"}, "m": {"boolean", "string"}}, tags: []string{"host"}}
	if got := fmt.Sprint(m.mixed()); got != "[n]" {
		t.Error(got)
	}
	if got := fmt.Sprint(m.columns(map[string]string{"n": "float"})); got != "[{m boolean m} {m string m} {n float n} {n string n} {host tag host}]" {
		t.Error(got)
	}
	for said, want := range map[string]string{
		"type error: n::float & 0: incompatible types: float and integer":   "float",
		"type error: n::string & 0: incompatible types: string and integer": "integer",
		"":               "integer",
		"something else": "",
		broken:           "",
	} {
		s := enginetest.NewScript(engine.Facts{}).On("influx", func(enginetest.Call) enginetest.Answer {
			switch said {
			case "":
				return good("", "", "")
			case broken:
				return enginetest.Answer{Stdout: "ERR: %!s(<nil>)\n"}
			}
			return bad(said)
		})
		p := &pager{s: &session{inst: s, argv: []string{tool}}, m: m}
		types, err := p.numbers(t.Context(), m.mixed(), 1, 2)
		if (err != nil) != (want == "") || types["n"] != want {
			t.Errorf("%q: %v %v", said, types, err)
		}
	}
}

func TestDumpEndsEarly(t *testing.T) {
	f := several()
	s := f.open(t, source.Spec{})
	p, err := s.Dump(t.Context(), engine.Stream{Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	data, _ := io.ReadAll(p)
	exit, err := p.Wait()
	if _, bad := inspect(string(data)); bad == nil || err != nil || exit.Status != 137 {
		t.Errorf("killed: status %d, %v", exit.Status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if p, err = s.Dump(ctx, engine.Stream{Database: "shop"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestPrepare(t *testing.T) {
	stream := engine.Stream{Name: "shop.influx", Kind: kind, Database: "shop", Format: format}
	f := several()
	s := f.open(t, source.Spec{})
	if _, err := s.Prepare(t.Context(), []engine.Stream{{Name: "x", Format: "pg_dump-plain"}}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Errorf("a stream of another engine: %v", err)
	}
	if _, err := s.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Errorf("over data: %v", err)
	}
	plan, err := s.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{Overwrite: true})
	if err != nil || fmt.Sprint(plan.Replaces) != "[shop.autogen.cpu]" || !strings.Contains(strings.Join(plan.Steps, "\n"), "users and their grants") {
		t.Errorf("%+v %v", plan, err)
	}
	f.points = nil
	if plan, err = s.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); err != nil || len(plan.Replaces) > 0 {
		t.Errorf("an empty database: %+v %v", plan, err)
	}
	stream.Database = "another"
	if plan, err = s.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); err != nil || len(plan.Replaces) > 0 {
		t.Errorf("no database: %+v %v", plan, err)
	}
	if len(f.said) > 0 {
		t.Errorf("Prepare changed something: %q", f.said)
	}
}

func TestRestore(t *testing.T) {
	f := several()
	f.queries = `["old","CREATE CONTINUOUS QUERY old ON shop …"]`
	posted := ""
	f.On("curl", func(c enginetest.Call) enginetest.Answer {
		posted += c.Input
		f.points = append(f.points, point{1, "a", 2})
		return enginetest.Answer{Stdout: "\n204"}
	})
	s := f.open(t, source.Spec{User: "ann", Password: "pass:word"})
	dump := strings.Replace(whole1, "cpu,host=a n=2i 1\n", "# POINT cpu,host=a text=\"two%0Alines %25 \\\"\" 1\n", 1)
	if err := s.Restore(t.Context(), engine.Stream{Database: "shop", Format: format}, iotest.OneByteReader(strings.NewReader(dump)), engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatal(problem.Text(err))
	}
	want := strings.Split(strings.Replace(strings.TrimSuffix(severalLines, "\n"), "cpu,host=a n=2i 1\n", "", 1), "\n")
	if !slices.Equal(f.imported, want) {
		t.Errorf("imported %q, want %q", f.imported, want)
	}
	lines := strings.Split(head, "\n")
	statements := []string{
		`DROP DATABASE "shop"`, lines[2], lines[3], `GRANT ALL PRIVILEGES ON "shop" TO "bob"`,
		strings.TrimPrefix(lines[4], lineThen), strings.TrimPrefix(lines[5], lineThen),
	}
	if !slices.Equal(f.said, statements) {
		t.Errorf("statements\n%s\nwant\n%s", strings.Join(f.said, "\n"), strings.Join(statements, "\n"))
	}
	for _, part := range []string{
		`url = "http://localhost:8086/write?db=shop&precision=ns&rp=autogen"`, `header = "Authorization: Basic YW5uOnBhc3M6d29yZA=="`,
		`data-raw = "cpu,host=a text=\"two\nlines % \\\"\" 1\n"`,
	} {
		if !strings.Contains(posted, part+"\n") {
			t.Errorf("curl was not given %s, but\n%s", part, posted)
		}
	}
	for _, c := range f.Calls() {
		if strings.Contains(c.Args(), "word") || strings.Contains(c.Args(), "YW5u") {
			t.Errorf("a secret is in %q", c.Argv)
		}
	}
}

// A version of curl takes no longer lines than 100 KiB, and puts an & between what
// several say: that has to be within a comment.
func TestCurlIsGivenShortLines(t *testing.T) {
	var points []string
	for i := range 300 {
		points = append(points, fmt.Sprintf("m s=\"%s\n&#\" %d", strings.Repeat("x\"\\", i*10), i))
	}
	var config strings.Builder
	addData(&config, points)
	var pieces []string
	for line := range strings.Lines(config.String()) {
		value, is := strings.CutPrefix(strings.TrimSuffix(line, "\"\n"), "data-raw = \"")
		if !is || len(line) > 80<<10 {
			t.Fatalf("%d bytes: %.80q", len(line), line)
		}
		pieces = append(pieces, strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(value))
	}
	if got, want := strings.ReplaceAll(strings.Join(pieces, "&"), "\n#&\n", "\n"), strings.Join(points, "\n")+"\n"; got != want || len(pieces) < 5 {
		t.Errorf("%d pieces: %.300q", len(pieces), got)
	}
}

// Points of several shards are not written at once, and what InfluxDB then does not
// find is told.
func TestShards(t *testing.T) {
	f := newFake(engine.Facts{})
	const hour = 3_600_000_000_000
	dump := strings.Replace(head, "604800s", "7200s", 1) + linePolicy + "autogen\n" +
		fmt.Sprintf("cpu n=1i %d\ncpu n=2i -1\ncpu n=3i 0\ncpu n=4i %d\ncpu n=5i %d\n# end of 5 points\n", -2*hour, 2*hour-1, 2*hour)
	overwrite := false
	restore := func() error {
		return f.open(t, source.Spec{}).Restore(t.Context(), engine.Stream{Database: "shop", Format: format}, strings.NewReader(dump), engine.RestoreOptions{Overwrite: overwrite})
	}
	if err := restore(); err != nil {
		t.Fatal(problem.Text(err))
	}
	// Somebody has filled it since Prepare looked.
	if err := restore(); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty || len(f.points) != 5 {
		t.Errorf("over %d points: %v", len(f.points), err)
	}
	overwrite = true
	for _, c := range f.Calls() {
		const context = linePolicy + "autogen\n"
		want := fmt.Sprintf("%scpu n=1i %d\ncpu n=2i -1\n%scpu n=3i 0\ncpu n=4i %d\n%scpu n=5i %d\n", context, -2*hour, context, 2*hour-1, context, 2*hour)
		if slices.Contains(c.Argv, "-import") && !strings.HasSuffix(c.Input, want) {
			t.Errorf("influx -import was given\n%s", c.Input)
		}
	}
	f.spoil = func(question int, a enginetest.Answer) enginetest.Answer {
		a.Stdout = regexp.MustCompile(`\[3600[0-9]*,[0-9]*,null\],?`).ReplaceAllString(a.Stdout, "")
		a.Stdout = strings.ReplaceAll(a.Stdout, ",[7199999999999,4,null]", "")
		return a
	}
	err := restore()
	if text := problem.Text(err); problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(text, "autogen.cpu: there are 4 points, and 5 were written") {
		t.Errorf("a point that is not found: %v", err)
	}
	alike := []engine.Object{{Name: "autogen.x", Rows: 5}, {Name: "autogen.x", Rows: 3}}
	if fewer := lacking(alike, alike); len(fewer) > 0 {
		t.Errorf("two measurements that are shown alike: %q", fewer)
	}
	for policy, want := range map[string]string{"autogen": "168h0m0s", "short": "1h0m0s", "none": "1h0m0s", "x\" NAME \"y": "1h0m0s"} {
		if got := spanOf(strings.Split(head, "\n")[2:4], policy).String(); got != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
}

func TestRestoreFails(t *testing.T) {
	restore := func(f *fake, dump io.Reader) error {
		return f.open(t, source.Spec{}).Restore(t.Context(), engine.Stream{Database: "shop", Format: format}, dump, engine.RestoreOptions{Overwrite: true})
	}
	for n := range len(whole1) {
		f := several()
		if err := restore(f, strings.NewReader(whole1[:n])); problem.ReasonOf(err) != engine.ReasonTruncated || len(f.imported)+len(f.said) > 0 {
			t.Fatalf("cut at %d: %v, %q, %q", n, err, f.imported, f.said)
		}
	}
	broken := errors.New("broken")
	if err := restore(several(), io.MultiReader(strings.NewReader(whole1[:500]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
	for name, test := range map[string]struct {
		old, text string
		change    func(*fake)
		reason    problem.Reason
		says      string
	}{
		"count":          {"of 5", "of 6", nil, engine.ReasonMalformed, "after 5 points"},
		"behind the end": {"5 points\n", "5 points\n\n", nil, engine.ReasonMalformed, ""},
		"first line":     {"# dump", "# a dump", nil, engine.ReasonMalformed, ""},
		"second line":    {"# DDL", "# DLL", nil, engine.ReasonMalformed, ""},
		"a definition":   {"CREATE RETENTION", "DROP RETENTION", nil, engine.ReasonMalformed, ""},
		"a comment":      {"cpu n=1i", "#cpu n=1i", nil, engine.ReasonMalformed, ""},
		"an empty line":  {"cpu n=1i", "\ncpu n=1i", nil, engine.ReasonMalformed, ""},
		"another name":   {"DATABASE:shop", "DATABASE:ship", nil, engine.ReasonMalformed, ""},
		"no policy":      {"# CONTEXT-RETENTION-POLICY:autogen\n", "", nil, engine.ReasonMalformed, ""},
		"refused":        {"", "", func(f *fake) { f.refuse = "cpu,host=b n=3i 1" }, engine.ReasonToolFailed, "field type conflict"},
		"fewer":          {"", "", func(f *fake) { f.On("influx", lessThan(f.answer)) }, engine.ReasonToolFailed, "does not say"},
		"no curl":        {"cpu n=1i", "# POINT cpu n=1i", nil, engine.ReasonUnsupported, "no curl"},
		"curl is refused": {"cpu n=1i", "# POINT cpu n=1i", func(f *fake) {
			f.On("curl", func(enginetest.Call) enginetest.Answer {
				return enginetest.Answer{Stdout: `{"error":"partial write: x"}` + "\n400"}
			})
		}, engine.ReasonToolFailed, "partial write: x"},
		"curl fails": {"cpu n=1i", "# POINT cpu n=1i", func(f *fake) {
			f.On("curl", func(enginetest.Call) enginetest.Answer {
				return enginetest.Answer{Status: 7, Stderr: "curl: (7) Failed to connect"}
			})
		}, engine.ReasonNoConnection, ""},
		"a zero byte": {"cpu n=1i", "# POINT cpu s=\"\x00\"", nil, engine.ReasonUnsupported, "zero byte"},
	} {
		f := several()
		if test.change != nil {
			test.change(f)
		}
		err := restore(f, strings.NewReader(strings.Replace(whole1, test.old, test.text, 1)))
		if problem.ReasonOf(err) != test.reason || !strings.Contains(problem.Text(err), test.says) {
			t.Errorf("%s: %v, want %s and %q", name, err, test.reason, test.says)
		}
		if strings.Contains(problem.Text(err), "host=") {
			t.Errorf("%s: the failure shows points: %s", name, problem.Text(err))
		}
		if slices.ContainsFunc(f.said, func(s string) bool { return strings.HasPrefix(s, "ALTER") }) {
			t.Errorf("%s: it went on", name)
		}
	}
}

// lessThan has influx -import say that it took one point less.
func lessThan(answer func(enginetest.Call) enginetest.Answer) func(enginetest.Call) enginetest.Answer {
	return func(c enginetest.Call) enginetest.Answer {
		a := answer(c)
		a.Stdout = strings.ReplaceAll(a.Stdout, "Processed 5 inserts", "Processed 4 inserts")
		return a
	}
}

func TestAsk(t *testing.T) {
	s := enginetest.NewScript(engine.Facts{}).On("influx", func(c enginetest.Call) enginetest.Answer {
		if c.Input != "SELECT x" {
			return bad("error parsing query")
		}
		return enginetest.Answer{Stdout: `{"results":[{"series":[{"name":"a","columns":["time","n","s"],"values":[[0,5,"x y"],[0,null,true]]},{"columns":["time"],"values":[[7]]}]}]}`}
	})
	asker := &session{inst: s, argv: []string{tool}, databases: []string{"shop"}}
	got, err := asker.Ask(t.Context(), "", "SELECT x")
	if err != nil || got != "5\tx y\n\ttrue\n7\n" {
		t.Errorf("%q %v", got, err)
	}
	if args := s.Calls()[0].Args(); args != "influx -format=json -database=shop" {
		t.Error(args)
	}
	if _, err := asker.Ask(t.Context(), "b", "nonsense"); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
}

func TestInspector(t *testing.T) {
	for name, test := range map[string]struct {
		old, text string
		reason    problem.Reason
	}{
		"whole":          {},
		"nothing":        {whole1, "", engine.ReasonEmpty},
		"count":          {"of 5", "of 4", engine.ReasonMalformed},
		"written oddly":  {"of 5", "of +5", engine.ReasonMalformed},
		"twice":          {whole1, whole1 + whole1, engine.ReasonMalformed},
		"first line":     {"# dump", "dump", engine.ReasonMalformed},
		"no definitions": {"# DDL\n", "", engine.ReasonMalformed},
		"half a point":   {"cpu n=1i -5\n", "cpu n=1i \n", engine.ReasonMalformed},
		"no policy":      {"# CONTEXT-RETENTION-POLICY:autogen\n", "", engine.ReasonMalformed},
		"no point":       {"cpu n=1i -5", "# POINT ", engine.ReasonMalformed},
		"no end":         {"# end of 5 points\n", "", engine.ReasonTruncated},
	} {
		_, err := inspect(strings.Replace(whole1, test.old, test.text, 1))
		if problem.ReasonOf(err) != test.reason || (err == nil) != (test.reason == "") {
			t.Errorf("%s: %v, want %s", name, err, test.reason)
		}
	}
	for n := range len(whole1) {
		if _, err := inspect(whole1[:n]); problem.ReasonOf(err) != engine.ReasonTruncated && n > 0 {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	noted := strings.Replace(whole1, "# THEN", "# NOTE that\n# THEN", 1)
	if contents, err := inspect(noted); err != nil || contents.Notes[2] != "that" {
		t.Errorf("%v %v", contents, err)
	}
	several := head + "# CONTEXT-RETENTION-POLICY:autogen\na\\ b\\,c,x=y n=1 1\na\\ b\\,c n=1 2\na n=1 2\nab n=1 2\n# CONTEXT-RETENTION-POLICY:the other\n# POINT a\\ %25,x=y s=\"%0A\" 1\na\\ % n=1 1\nb s=\"" + replacement + "\" 5\n# end of 7 points\n"
	contents, err := inspect(several)
	if got := fmt.Sprint(contents.Objects); err != nil || got != "[{measurement autogen.a b,c 2 []} {measurement autogen.a 1 []} {measurement autogen.ab 1 []} {measurement the other.a % 2 []} {measurement the other.b 1 []}]" {
		t.Errorf("%s %v", got, err)
	}
	if notes := strings.Join(contents.Notes, "\n"); !strings.Contains(notes, "1 points have line ends") || !strings.Contains(notes, "U+FFFD") {
		t.Error(notes)
	}
	var many strings.Builder
	many.WriteString(head + "# CONTEXT-RETENTION-POLICY:autogen\n")
	for i := range engine.MaxObjects + 5 {
		fmt.Fprintf(&many, "m%d n=1 1\n", i)
	}
	fmt.Fprintf(&many, "# end of %d points\n", engine.MaxObjects+5)
	contents, err = inspect(many.String())
	if last := len(contents.Objects) - 1; err != nil || last != engine.MaxObjects-1 || fmt.Sprint(contents.Objects[last]) != "{measurement (other measurements) 6 []}" {
		t.Errorf("%v %v", contents.Objects[last], err)
	}
}

// However a dump is cut into writes, the verdict is the same; and what the inspector
// takes for whole, a restore takes too.
func FuzzInspector(f *testing.F) {
	f.Add(whole1, 7)
	f.Add(head+"# end of 0 points\n", 1)
	f.Add(head+"# CONTEXT-RETENTION-POLICY:p\n# POINT a s=\"%0A\" 1\n# end of 1 points\n", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		want, wantErr := inspect(text)
		i := &inspector{}
		for part := range slices.Chunk([]byte(text), max(1, size)) {
			_, _ = i.Write(part)
		}
		got, err := i.Finish()
		if fmt.Sprint(got.Objects) != fmt.Sprint(want.Objects) || problem.ReasonOf(err) != problem.ReasonOf(wantErr) {
			t.Errorf("%v %v, in one piece %v %v", got, err, want, wantErr)
		}
	})
}

func FuzzReplay(f *testing.F) {
	f.Add(whole1)
	f.Add(strings.Replace(whole1, "cpu", "# POINT cpu", 1))
	f.Fuzz(func(t *testing.T, text string) {
		to := newFake(engine.Facts{})
		to.On("influx", func(c enginetest.Call) enginetest.Answer {
			if slices.Contains(c.Argv, "-import") {
				return enginetest.Answer{Stdout: fmt.Sprintf("Processed %d inserts\n", strings.Count(c.Input, "\n")-3)}
			}
			return to.answer(c)
		})
		to.On("curl", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: "204"} })
		s := &session{inst: to, argv: []string{tool}}
		err := s.Restore(t.Context(), engine.Stream{Database: "shop", Format: format}, strings.NewReader(text), engine.RestoreOptions{})
		if _, bad := inspect(text); err == nil && bad != nil && problem.ReasonOf(bad) != engine.ReasonMalformed {
			t.Errorf("restored, though %v", bad)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"results":[{"series":[{"name":"cpu","tags":{"a":"b"},"columns":["time","n"],"values":[[1,2],[3,null]]}],"partial":true},{"error":"x"}]}`))
	f.Add([]byte(`{"results":[{}]} ERR: x`))
	f.Fuzz(func(t *testing.T, said []byte) {
		err := readAnswer(bytes.NewReader(said), func(of *series, row []any) error {
			if len(row) != len(of.columns) {
				t.Error("a row of another length")
			}
			return nil
		})
		if err != nil && problem.ReasonOf(err) == "" {
			t.Errorf("without a reason: %v", err)
		}
	})
}

// signed is where InfluxDB finds a sign that is meant as such: without a backslash before it.
func signed(text string, sign byte) int {
	for n := range len(text) {
		if text[n] == sign && (n == 0 || text[n-1] != '\\') {
			return n
		}
	}
	return len(text)
}

var inTag = strings.NewReplacer(`\,`, ",", `\ `, " ", `\=`, "=")

// Whatever strings hold, a point is one line, of which the parts can be told.
func FuzzPoint(f *testing.F) {
	f.Add("a b", "k,=", "v \\,", "s\"\\\n#%0A")
	f.Fuzz(func(t *testing.T, name, key, value, content string) {
		if checkKey("measurement", name) != nil || checkKey("tag", key) != nil || checkKey("value", value) != nil {
			return
		}
		columns := []column{{"f", "string", "f"}, {key, kindTag, inKey.Replace(key)}}
		p := pager{escaped: inMeasurement.Replace(name)}
		at, err := p.point(columns, []any{json.Number("5"), content, value})
		if err != nil || at != 5 {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(string(p.line), "\n")
		if strings.Contains(line, "\n") {
			t.Fatalf("%q is more than a line", p.line)
		}
		if escaped, is := strings.CutPrefix(line, lineEscaped); is {
			line = outOfOneLine.Replace(escaped)
		}
		if got := outOfMeasurement.Replace(string(measurementOf([]byte(line)))); got != name {
			t.Errorf("%q: the measurement is %q, want %q", line, got, name)
		}
		tag := line[len(measurementOf([]byte(line))):]
		tag = tag[:signed(tag, ' ')]
		if value != "" {
			is := signed(tag, '=')
			if is == len(tag) || signed(tag[1:], ',') < len(tag)-1 || inTag.Replace(tag[1:is]) != key || inTag.Replace(tag[is+1:]) != value {
				t.Errorf("%q: the tag is %q, want %q and %q", line, tag, key, value)
			}
		} else if tag != "" {
			t.Errorf("%q has a tag", line)
		}
		if want := " f=\"" + inString.Replace(content) + "\" 5"; !strings.HasSuffix(line, want) {
			t.Errorf("%q, want %q at its end", line, want)
		}
	})
}
