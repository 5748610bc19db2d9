package etcd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/etcd/answer"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// cluster is an etcd of a few lines behind a scripted etcdctl.
type cluster struct {
	*enginetest.Script
	keys   map[string]string
	leases map[string]int64 // of keys: the lease
	times  map[int64]int64  // of leases: their time to live, 0 when it is over
	// spoil changes the answer to a get of a page, which is told by its number.
	spoil func(page int, a enginetest.Answer) enginetest.Answer
	pages int
}

func newCluster(facts engine.Facts) *cluster {
	c := &cluster{Script: enginetest.NewScript(facts), keys: map[string]string{}, leases: map[string]int64{}, times: map[int64]int64{}}
	c.On("etcdctl", c.answer)
	return c
}

func (c *cluster) answer(call enginetest.Call) enginetest.Answer {
	switch args := call.Argv[1:]; strings.Join(args[:min(len(args), 2)], " ") {
	case "version":
		return enginetest.Answer{Stdout: "etcdctl version: 3.4.23\nAPI version: 3.4\n"}
	case "get --prefix":
		return enginetest.Answer{Stdout: fmt.Sprintf(`{"header":{"revision":7},"count":%d}`, len(c.keys))}
	case "del --prefix":
		clear(c.keys)
		clear(c.leases)
		return enginetest.Answer{Stdout: "1\n"}
	case "lease list":
		ids := slices.Sorted(maps.Keys(c.times))
		var said strings.Builder
		fmt.Fprintf(&said, "found %d leases\n", len(ids))
		for _, id := range ids {
			fmt.Fprintf(&said, "%016x\n", id)
		}
		return enginetest.Answer{Stdout: said.String()}
	case "lease timetolive":
		id, _ := strconv.ParseInt(args[2], 16, 64)
		if c.times[id] == 0 {
			return enginetest.Answer{Stdout: fmt.Sprintf("lease %016x already expired\n", id)}
		}
		return enginetest.Answer{Stdout: fmt.Sprintf("lease %016x granted with TTL(%ds), remaining(1s)\n", id, c.times[id])}
	case "lease grant":
		id := int64(0x694d + len(c.times))
		c.times[id], _ = strconv.ParseInt(args[2], 10, 64)
		return enginetest.Answer{Stdout: fmt.Sprintf("lease %016x granted with TTL(%ds)\n", id, c.times[id])}
	case "txn":
		return c.transact(call.Input)
	}
	return enginetest.Answer{Status: 128, Stderr: "Error: unknown command\n"}
}

// transact takes `txn` as etcdctl does: no conditions, operations, and none for the other case.
func (c *cluster) transact(input string) enginetest.Answer {
	body, ok := strings.CutSuffix(strings.TrimPrefix(input, "\n"), "\n\n\n")
	if !ok || !strings.HasPrefix(input, "\n") {
		return enginetest.Answer{Status: 128, Stderr: "Error: EOF\n"}
	}
	var limit, revision int
	if n, _ := fmt.Sscanf(body, "get --from-key --limit=%d --rev=%d -- ", &limit, &revision); n == 2 {
		_, quoted, _ := strings.Cut(body, " -- ")
		from, err := strconv.Unquote(quoted)
		if err != nil || (c.pages == 0) != (revision == 0) {
			return enginetest.Answer{Status: 128, Stderr: "Error: bad get\n"}
		}
		a := enginetest.Answer{Stdout: c.page(from, limit)}
		if c.spoil != nil {
			a = c.spoil(c.pages, a)
		}
		c.pages++
		return a
	}
	said := "SUCCESS\n"
	for line := range strings.SplitSeq(body, "\n") {
		rest, lease := strings.TrimPrefix(line, "put "), int64(0)
		if after, leased := strings.CutPrefix(rest, "--lease="); leased {
			id, pair, _ := strings.Cut(after, " ")
			lease, _ = strconv.ParseInt(id, 16, 64)
			rest = pair
		}
		if _, err := parsePut("put " + rest); err != nil || lease != 0 && c.times[lease] == 0 {
			return enginetest.Answer{Status: 128, Stderr: "Error: invalid txn request: " + line}
		}
		quoted, _ := strconv.QuotedPrefix(rest[3:])
		key, _ := strconv.Unquote(quoted)
		c.keys[key], _ = strconv.Unquote(rest[3+len(quoted)+1:])
		if lease != 0 {
			c.leases[key] = lease
		}
		said += "\nOK\n"
	}
	return enginetest.Answer{Stdout: said}
}

func number(message []byte, field, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(message, field<<3), n)
}

func content[T string | []byte](message []byte, field uint64, text T) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(message, field<<3|2), uint64(len(text))), text...)
}

// page is the answer to a get, as etcdctl writes it.
func (c *cluster) page(from string, limit int) string {
	all := slices.Sorted(maps.Keys(c.keys))
	i, _ := slices.BinarySearch(all, from)
	rest := all[i:]
	answer := content(nil, 1, number(nil, 2, 1))
	for _, key := range rest[:min(limit, len(rest))] {
		kv := content(number(content(nil, 1, key), 2, 3), 5, c.keys[key])
		if lease := c.leases[key]; lease != 0 {
			kv = number(kv, 6, uint64(lease))
		}
		answer = content(answer, 2, kv)
	}
	if len(rest) > limit {
		answer = number(answer, 3, 1)
	}
	answer = number(answer, 4, uint64(len(rest)))
	whole := number(content(nil, 1, number(nil, 3, 7)), 2, 1)
	return string(content(whole, 3, content(nil, 1, answer)))
}

func (c *cluster) open(t testing.TB, spec source.Spec) *session {
	t.Helper()
	s, err := New().Open(t.Context(), c, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s.(*session)
}

// dumped is the text of a dump, and how the process ended.
func (c *cluster) dumped(t testing.TB) (string, error) {
	t.Helper()
	c.pages = 0
	s := c.open(t, source.Spec{})
	p, err := s.Dump(t.Context(), engine.Stream{})
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := p.Wait()
	return string(text), s.ended(exit, err)
}

func inspect(text string) (engine.Contents, error) {
	i := &inspector{}
	_, _ = i.Write([]byte(text))
	return i.Finish()
}

// several is a cluster with a few keys of all kinds.
func several() *cluster {
	c := newCluster(engine.Facts{})
	c.keys = map[string]string{
		"/app/a": "1", "/app/b": "\x00\n\"", "/app/c": "", "/other/x": "y", "top": "3", "x/1": "", "x\"/\\/": "\xff", "\x00": "z",
	}
	c.leases = map[string]int64{"/app/c": 0x11, "/other/x": 0x22, "top": 0x11, "x/1": 0x33}
	c.times = map[int64]int64{0x11: 30, 0x22: 5000, 0x33: 0}
	return c
}

const severalDumped = `# etcd keys at revision 7, etcdctl 3.4.23
put -- "\x00" "z"
put -- "/app/a" "1"
put -- "/app/b" "\x00\n\""
put --lease=ttl:30 -- "/app/c" ""
put --lease=ttl:5000 -- "/other/x" "y"
put --lease=ttl:30 -- "top" "3"
put -- "x\"/\\/" "\xff"
put --lease=ttl:5000 -- "x/1" ""
# end of 8 keys
`

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"quay.io/coreos/etcd:v3.5.17": true, "bitnami/etcd": true, "gcr.io/etcd-development/etcd@sha256:00": true, "registry.k8s.io/etcd:3.5.15-0": true,
		"rancher/mirrored-coreos-etcd:v3.5.9": true, "quay.io/coreos/etcd:v3.5.9-arm64": true, "k8s.gcr.io/etcd-amd64:3.2": true,
		"etcd-operator": false, "ghcr.io/etcd-backup-restore": false, "evildecay/etcdkeeper": false, "etcd-exporter": false, "postgres": false, "": false,
		"backup-etcd": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestCheck(t *testing.T) {
	if list := New().Check(source.Spec{}, engine.Facts{}); len(list) != 0 {
		t.Error(list)
	}
	if list := New().Check(source.Spec{Database: "/app"}, engine.Facts{}); len(list) != 1 || list[0].Label != "baktainer.db.name" {
		t.Error(list)
	}
	if _, err := New().Open(t.Context(), newCluster(engine.Facts{}), source.Spec{Database: "/app"}); problem.ReasonOf(err) != engine.ReasonNoDatabase {
		t.Error(err)
	}
}

// env is how etcdctl is run: what it is told beside the container's own variables.
func TestHowItIsRun(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		env  map[string]string
		spec source.Spec
		want string
	}{
		"nothing":                {nil, nil, source.Spec{}, ""},
		"label":                  {nil, nil, source.Spec{Password: "a b:c"}, "ETCDCTL_USER=root ETCDCTL_PASSWORD=a b:c"},
		"label, user":            {nil, map[string]string{"ETCD_ROOT_PASSWORD": "x"}, source.Spec{User: "u", Password: "p4ss"}, "ETCDCTL_USER=u ETCDCTL_PASSWORD=p4ss"},
		"bitnami":                {nil, map[string]string{"ETCD_ROOT_PASSWORD": "p4ss"}, source.Spec{}, "ETCDCTL_USER=root ETCDCTL_PASSWORD=p4ss"},
		"client's":               {nil, map[string]string{"ETCDCTL_USER": "u:p:q", "ETCD_ROOT_PASSWORD": "x"}, source.Spec{}, "ETCDCTL_USER=u ETCDCTL_PASSWORD=p:q"},
		"client's, apart":        {nil, map[string]string{"ETCDCTL_USER": "u", "ETCDCTL_PASSWORD": "p4ss"}, source.Spec{}, "ETCDCTL_USER=u ETCDCTL_PASSWORD=p4ss"},
		"client's, and label":    {nil, map[string]string{"ETCDCTL_USER": "u:x"}, source.Spec{Password: "p4ss"}, "ETCDCTL_USER=u ETCDCTL_PASSWORD=p4ss"},
		"a user of certificates": {nil, map[string]string{"ETCDCTL_CERT": "/c"}, source.Spec{User: "u"}, ""},
		"port":                   {[]string{"etcd", "--listen-client-urls", "http://0.0.0.0:4001,http://10.0.0.1:2"}, nil, source.Spec{}, "ETCDCTL_ENDPOINTS=http://127.0.0.1:4001"},
		"port by variable":       {nil, map[string]string{"ETCD_LISTEN_CLIENT_URLS": "http://[::]:4001"}, source.Spec{}, "ETCDCTL_ENDPOINTS=http://127.0.0.1:4001"},
		"address in a shell":     {[]string{"sh", "-c", `exec etcd --listen-client-urls="http://10.0.0.1:2379" --name=x`}, nil, source.Spec{}, "ETCDCTL_ENDPOINTS=http://10.0.0.1:2379"},
		"nonsense":               {[]string{"etcd", "--listen-client-urls=unix://x,http://$IP:2379,http://evil:1,http://1.2.3.4,http://1.2.3.4:99999"}, nil, source.Spec{}, ""},
		"an endpoint given":      {[]string{"etcd", "--listen-client-urls=https://0.0.0.0:1"}, map[string]string{"ETCDCTL_ENDPOINTS": "https://etcd:1"}, source.Spec{}, ""},
		"TLS": {
			[]string{"etcd", "-listen-client-urls=https://0.0.0.0:1", "--cert-file=/c", "--key-file=/k"}, nil, source.Spec{},
			"ETCDCTL_ENDPOINTS=https://127.0.0.1:1 ETCDCTL_INSECURE_TRANSPORT=false ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true",
		},
		"TLS both ways": {
			[]string{"etcd", "--listen-client-urls=https://localhost:1", "--cert-file=/c", "--key-file=/k", "--client-cert-auth", "--trusted-ca-file=/a"}, nil, source.Spec{},
			"ETCDCTL_ENDPOINTS=https://localhost:1 ETCDCTL_INSECURE_TRANSPORT=false ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true ETCDCTL_CERT=/c ETCDCTL_KEY=/k",
		},
		"TLS, certificates given": {
			[]string{"etcd", "--listen-client-urls=https://0.0.0.0:1", "--cert-file=/c", "--key-file=/k"}, map[string]string{"ETCDCTL_CACERT": "/a"}, source.Spec{},
			"ETCDCTL_ENDPOINTS=https://127.0.0.1:1",
		},
	} {
		c := newCluster(engine.Facts{Args: tt.args, Env: tt.env})
		s := c.open(t, tt.spec)
		if got := strings.TrimSpace(strings.TrimPrefix(strings.Join(s.env, " "), "ETCDCTL_API=3 ETCDCTL_COMMAND_TIMEOUT=1m0s ETCDCTL_DIAL_TIMEOUT=30s")); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		for _, call := range c.Calls() {
			if call.Argv[0] != "etcdctl" || s.password != "" && (strings.Contains(call.Args(), s.password.Reveal()) || !slices.Contains(call.Secrets, s.password.Reveal())) {
				t.Errorf("%s: %q", name, call.Argv)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	for args, want := range map[string]bounds{
		"": {128, 1 << 20}, "--max-txn-ops=5 --max-request-bytes=1000": {5, 500}, "--max-txn-ops=0": {128, 1 << 20},
		"--max-txn-ops -1": {128, 1 << 20}, "--max-txn-ops 99999999 --max-request-bytes 99999999": {10_000, 1 << 20},
	} {
		if got := serverSettings(engine.Facts{Args: []string{"etcd", args}}).batch(); got != want {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestBlank(t *testing.T) {
	f := engine.Facts{
		Image: "bitnami/etcd", Args: []string{"/entrypoint.sh", "etcd", "--initial-cluster=a=http://a:2380,b=http://b:2380", "--quota-backend-bytes=8000000000"},
		Env: map[string]string{"ETCD_ROOT_PASSWORD": "p", "ETCD_MAX_REQUEST_BYTES": "2000000", "ETCD_CERT_FILE": "/c", "ETCDCTL_USER": "root:p"},
	}
	b := New().Blank(f, source.Spec{User: "u", Password: "p", PasswordEnv: "E"}, "secret")
	if !slices.Equal(b.Args, []string{"etcd"}) || b.Env["ETCD_MAX_REQUEST_BYTES"] != "2000000" || b.Env["ETCD_QUOTA_BACKEND_BYTES"] != "8000000000" ||
		b.Given("ETCD_ROOT_PASSWORD", "ETCD_CERT_FILE", "ETCDCTL_USER", "ETCD_MAX_TXN_OPS") || b.Spec.User+b.Spec.Password.Reveal()+b.Spec.PasswordEnv != "" {
		t.Errorf("%+v", b)
	}
	if s := newCluster(engine.Facts{Env: b.Env, Args: b.Args}).open(t, b.Spec); !slices.Contains(s.env, "ETCDCTL_ENDPOINTS=http://127.0.0.1:2379") {
		t.Errorf("%q", s.env)
	}
	New().Blank(engine.Facts{Image: "etcd"}, source.Spec{}, "secret") // of one that is gone
}

func TestOpenRefused(t *testing.T) {
	for said, want := range map[string]problem.Reason{
		"Error: etcdserver: authentication failed, invalid user ID or password": engine.ReasonWrongPassword,
		"Error: etcdserver: user name is empty":                                 engine.ReasonWrongPassword,
		"Error: etcdserver: permission denied":                                  engine.ReasonToolFailed,
		"Error: context deadline exceeded":                                      engine.ReasonNoConnection,
		"rpc error: code = Unavailable desc = connection refused":               engine.ReasonNoConnection,
	} {
		c := newCluster(engine.Facts{})
		c.On("etcdctl", func(call enginetest.Call) enginetest.Answer {
			if call.Argv[1] == "version" {
				return c.answer(call)
			}
			return enginetest.Answer{Status: 1, Stderr: said + " hunter2"}
		})
		_, err := New().Open(t.Context(), c, source.Spec{Password: "hunter2"})
		if problem.ReasonOf(err) != want || strings.Contains(problem.Text(err), "hunter2") {
			t.Errorf("%q: %s", said, problem.Text(err))
		}
	}
	for _, said := range []string{"", "fine", "{}", "[]"} {
		c := newCluster(engine.Facts{})
		c.On("etcdctl", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: said} })
		if _, err := New().Open(t.Context(), c, source.Spec{}); problem.ReasonOf(err) != engine.ReasonMalformed {
			t.Errorf("%q: %v", said, err)
		}
	}
	if _, err := New().Open(t.Context(), enginetest.NewScript(engine.Facts{}), source.Spec{}); problem.ReasonOf(err) != engine.ReasonToolMissing {
		t.Error(err)
	}
	if got := toolVersion("etcdctl version: 3.4\x1b[1m, # end of 1 keys" + strings.Repeat("x", 100)); strings.ContainsAny(got, "\x1b, \n") || len(got) > 40 {
		t.Errorf("%q", got)
	}
}

func TestDump(t *testing.T) {
	c := several()
	text, err := c.dumped(t)
	if err != nil || text != severalDumped {
		t.Errorf("%v\n%s", err, text)
	}
	contents, err := inspect(text)
	const want = "[{prefix /app/ 3 []} {expiring /app/ 1 []} {prefix /other/ 1 []} {expiring /other/ 1 []} {prefix x\\\"/ 1 []} {prefix x/ 1 []} {expiring x/ 1 []} {prefix (other keys) 2 []} {expiring (other keys) 1 []}] [8 keys at revision 7 dumped by etcdctl 3.4.23]"
	if got := fmt.Sprint(contents.Objects, " ", contents.Notes); err != nil || got != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
	text, err = newCluster(engine.Facts{}).dumped(t)
	if err != nil || text != "# etcd keys at revision 7, etcdctl 3.4.23\n# end of 0 keys\n" {
		t.Errorf("%q %v", text, err)
	}
}

// many is a cluster of which a dump takes several pages.
func many() *cluster {
	c := newCluster(engine.Facts{})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		key := make([]byte, 1+random.IntN(20))
		for j := range key {
			key[j] = byte(random.IntN(256))
		}
		c.keys[string(key)+"/"+strconv.Itoa(i)] = strings.Repeat(string(key), random.IntN(5))
	}
	return c
}

func TestPages(t *testing.T) {
	c := many()
	text, err := c.dumped(t)
	if err != nil || c.pages < 5 || strings.Count(text, "\n") != 3002 {
		t.Fatalf("%d pages, %v", c.pages, err)
	}
	to := newCluster(engine.Facts{})
	if err := to.open(t, source.Spec{}).Restore(t.Context(), engine.Stream{Format: format}, strings.NewReader(text), engine.RestoreOptions{}); err != nil || !maps.Equal(to.keys, c.keys) {
		t.Errorf("%d keys, %v", len(to.keys), err)
	}
	// Pages of long values have few keys.
	for key := range c.keys {
		c.keys[key] = strings.Repeat("x", 100_000)
		if len(key) < 20 {
			delete(c.keys, key)
		}
	}
	most := 0
	c.spoil = func(page int, a enginetest.Answer) enginetest.Answer {
		most = max(most, len(a.Stdout))
		return a
	}
	if _, err := c.dumped(t); err != nil || most > 8<<20 {
		t.Errorf("a page has %d bytes, %v", most, err)
	}
}

// Whatever befalls a page, no last line is written.
func TestSpoiledPages(t *testing.T) {
	failed := func(a enginetest.Answer) enginetest.Answer { a.Status, a.Stderr = 1, "no space"; return a }
	lost := errors.New("lost")
	for name, tt := range map[string]struct {
		spoil func(enginetest.Answer) enginetest.Answer
		want  problem.Reason
	}{
		"half of it":       {func(a enginetest.Answer) enginetest.Answer { a.Stdout = a.Stdout[:len(a.Stdout)/2]; return a }, engine.ReasonTruncated},
		"all but a byte":   {func(a enginetest.Answer) enginetest.Answer { a.Stdout = a.Stdout[:len(a.Stdout)-1]; return a }, engine.ReasonTruncated},
		"nothing":          {func(enginetest.Answer) enginetest.Answer { return enginetest.Answer{} }, engine.ReasonEmpty},
		"a word":           {func(enginetest.Answer) enginetest.Answer { return enginetest.Answer{Stdout: "fine\n"} }, engine.ReasonMalformed},
		"all, and failure": {failed, engine.ReasonToolFailed},
		"compacted": {func(enginetest.Answer) enginetest.Answer {
			return enginetest.Answer{Status: 1, Stderr: "Error: etcdserver: mvcc: required revision has been compacted"}
		}, engine.ReasonToolFailed},
		"lost": {func(a enginetest.Answer) enginetest.Answer { a.WaitErr = lost; return a }, ""},
		"no more": {func(a enginetest.Answer) enginetest.Answer {
			a.Stdout = newCluster(engine.Facts{}).page("", 1)
			return a
		}, engine.ReasonTruncated},
		"again": {func(a enginetest.Answer) enginetest.Answer { a.Stdout = several().page("", 2); return a }, engine.ReasonMalformed},
		"too long": {func(a enginetest.Answer) enginetest.Answer {
			c := newCluster(engine.Facts{})
			c.keys["\xff\xff\xff\xff"] = strings.Repeat("x", answer.MaxPair)
			a.Stdout = c.page("", 1)
			return a
		}, engine.ReasonUnsupported},
	} {
		for _, at := range []int{0, 2} {
			if at == 0 && (name == "no more" || name == "again") {
				continue
			}
			c := many()
			c.spoil = func(page int, a enginetest.Answer) enginetest.Answer {
				if page == at {
					return tt.spoil(a)
				}
				return a
			}
			text, err := c.dumped(t)
			if problem.ReasonOf(err) != tt.want || err == nil || strings.Contains(text, lastLine) {
				t.Errorf("%s, page %d: %v", name, at, err)
			}
			if _, err := inspect(text); err == nil {
				t.Errorf("%s, page %d: the inspector is content", name, at)
			}
		}
	}
}

func TestDumpEndsEarly(t *testing.T) {
	c := many()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.open(t, source.Spec{}).Dump(ctx, engine.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(io.Discard, p, 100)
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the context has ended: %v", err)
	}
	c.pages = 0
	if p, err = c.open(t, source.Spec{}).Dump(t.Context(), engine.Stream{}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(io.Discard, p, 100)
	p.Kill()
	if exit, err := p.Wait(); err != nil || exit.Status != 137 {
		t.Errorf("killed: %+v, %v", exit, err)
	}
	if _, err := c.open(t, source.Spec{}).Dump(ctx, engine.Stream{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLeases(t *testing.T) {
	for _, n := range []int{maxLeases - 1, maxLeases, maxLeases + 1, 5 * maxLeases, 100*maxLeases + 7} {
		c := newCluster(engine.Facts{})
		for i := range min(n, 5*maxLeases) {
			key := fmt.Sprintf("k%07d", i)
			c.keys[key], c.leases[key] = "", int64(i+1)
		}
		for i := range n {
			c.times[int64(i+1)] = int64(100 + i)
		}
		text, err := c.dumped(t)
		asked := -1 // the list
		for _, call := range c.Calls() {
			if call.Argv[1] == "lease" {
				asked++
			}
		}
		if err != nil || asked > maxLeases || asked < min(n, maxLeases/2) || n > maxLeases && !strings.Contains(text, fmt.Sprintf("--lease=ttl:%d ", 99+n)) {
			t.Errorf("%d leases, %d asked, %v", n, asked, err)
		}
	}
	for said, want := range map[enginetest.Answer]problem.Reason{
		{Stdout: "fine"}: engine.ReasonMalformed,
		{}:               engine.ReasonMalformed,
		{Status: 1, Stderr: "Error: etcdserver: permission denied"}: engine.ReasonToolFailed,
		{Stdout: "found 1 leases\n11\n"}:                            engine.ReasonToolFailed, // to both questions
	} {
		c := several()
		c.On("etcdctl", func(call enginetest.Call) enginetest.Answer {
			if call.Argv[1] == "lease" {
				return said
			}
			return c.answer(call)
		})
		if text, err := c.dumped(t); problem.ReasonOf(err) != want || text != "" {
			t.Errorf("%+v: %v", said, err)
		}
	}
}

func TestPrepare(t *testing.T) {
	streams := []engine.Stream{{Name: "keys.txn", Kind: kind, Format: format}}
	for name, tt := range map[string]struct {
		c         *cluster
		overwrite bool
		want      problem.Reason
		replaces  string
	}{
		"empty":           {newCluster(engine.Facts{}), false, "", ""},
		"keys":            {several(), false, engine.ReasonTargetNotEmpty, "8 keys"},
		"keys, overwrite": {several(), true, "", "8 keys"},
	} {
		plan, err := tt.c.open(t, source.Spec{}).Prepare(t.Context(), streams, engine.RestoreOptions{Overwrite: tt.overwrite})
		if problem.ReasonOf(err) != tt.want || strings.Join(plan.Replaces, ";") != tt.replaces || strings.Contains(strings.Join(plan.Steps, " "), "delete") != (tt.replaces != "") {
			t.Errorf("%s: %+v %v", name, plan, err)
		}
	}
	for _, list := range [][]engine.Stream{nil, {{Format: "rdb"}}, append(streams, streams...)} {
		if _, err := several().open(t, source.Spec{}).Prepare(t.Context(), list, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
			t.Error(list, err)
		}
	}
}

func TestRestore(t *testing.T) {
	stream := engine.Stream{Name: "keys.txn", Format: format}
	c, to := several(), newCluster(engine.Facts{Args: []string{"etcd", "--max-txn-ops=3"}})
	to.keys["stray"] = "x"
	if err := to.open(t, source.Spec{}).Restore(t.Context(), stream, iotest.OneByteReader(strings.NewReader(severalDumped)), engine.RestoreOptions{Overwrite: true}); err != nil || !maps.Equal(to.keys, c.keys) {
		t.Fatalf("%q, %v", to.keys, err)
	}
	got := map[string]int64{}
	for key, lease := range to.leases {
		got[key] = to.times[lease]
	}
	if want := map[string]int64{"/app/c": 60, "/other/x": 5000, "top": 60, "x/1": 5000}; !maps.Equal(got, want) {
		t.Errorf("times to live %v", got)
	}
	for _, call := range to.Calls() {
		if strings.Contains(call.Args(), "app") || strings.Count(call.Input, "\nput ") > 3 {
			t.Errorf("%q %q", call.Argv, call.Input)
		}
	}
	if err := to.open(t, source.Spec{}).Restore(t.Context(), stream, strings.NewReader("# etcd keys at revision 7\n# end of 0 keys\n"), engine.RestoreOptions{Overwrite: true}); err != nil || len(to.keys) != 0 {
		t.Errorf("of nothing: %q, %v", to.keys, err)
	}
	if err := to.open(t, source.Spec{}).Restore(t.Context(), engine.Stream{Format: "rdb"}, strings.NewReader(""), engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
}

// What is cut short is never restored in full, and what fails is told.
func TestRestoreFails(t *testing.T) {
	stream := engine.Stream{Name: "keys.txn", Format: format}
	restore := func(c *cluster, r io.Reader, overwrite bool) error {
		return c.open(t, source.Spec{}).Restore(t.Context(), stream, r, engine.RestoreOptions{Overwrite: overwrite})
	}
	facts := engine.Facts{Args: []string{"etcd", "--max-txn-ops=3"}}
	for n := range severalDumped {
		c := newCluster(facts)
		if err := restore(c, strings.NewReader(severalDumped[:n]), false); problem.ReasonOf(err) != engine.ReasonTruncated || len(c.keys) >= 8 {
			t.Errorf("cut at %d: %d keys, %v", n, len(c.keys), err)
		}
	}
	for name, text := range map[string]string{
		"something before":   "warning: old\n" + severalDumped,
		"something behind":   severalDumped + "x\n",
		"another operation":  strings.Replace(severalDumped, `put -- "/app/a"`, `del -- "/app/a"`, 1),
		"a third word":       strings.Replace(severalDumped, `"/app/a" "1"`, `"/app/a" "1" "2"`, 1),
		"an open quote":      strings.Replace(severalDumped, `"/app/a" "1"`, `"/app/a" "1`, 1),
		"single quotes":      strings.Replace(severalDumped, `"/app/a" "1"`, `'/app/a' "1"`, 1),
		"no key":             strings.Replace(severalDumped, `"/app/a"`, `""`, 1),
		"another flag":       strings.Replace(severalDumped, "--lease=ttl:30", "--prev-kv", 1),
		"a lease of no time": strings.Replace(severalDumped, "ttl:30", "ttl:0", 1),
		"another count":      strings.Replace(severalDumped, "8 keys", "9 keys", 1),
		"a key less":         strings.Replace(severalDumped, `put -- "/app/a" "1"`+"\n", "", 1),
		"an empty line":      strings.Replace(severalDumped, "\n", "\n\n", 1),
		"a line too long":    firstLine + "1\nput -- \"a\" \"" + strings.Repeat("x", maxLine) + "\"\n# end of 1 keys\n",
	} {
		err := restore(newCluster(engine.Facts{}), strings.NewReader(text), false)
		if problem.ReasonOf(err) != engine.ReasonMalformed {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a third word" || name == "an open quote" || name == "single quotes" || name == "a line too long" {
			continue // the inspector only looks at how a line begins and ends
		}
		if _, err := inspect(text); err == nil && name != "no key" && name != "a lease of no time" {
			t.Errorf("%s: the inspector is content", name)
		}
	}
	broken := errors.New("the store went away")
	c := newCluster(facts)
	c.keys["before"] = ""
	err := restore(c, io.MultiReader(strings.NewReader(severalDumped[:len(severalDumped)-30]), iotest.ErrReader(broken)), true)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "after 6 keys") || len(c.keys) != 6 {
		t.Errorf("%d keys, %v", len(c.keys), err)
	}
	c = newCluster(facts)
	c.keys["before"] = ""
	if err := restore(c, io.MultiReader(strings.NewReader(severalDumped[:60]), iotest.ErrReader(broken)), true); !errors.Is(err, broken) || strings.Contains(err.Error(), "only a part") || len(c.keys) != 1 {
		t.Errorf("before anything was changed: %v", err)
	}
	for what, said := range map[string]enginetest.Answer{
		"txn": {Status: 1, Stderr: "Error: etcdserver: request is too large"}, "lease": {Status: 1, Stderr: "Error: etcdserver: permission denied"}, "del": {Status: 1, Stderr: "x"},
	} {
		c := newCluster(facts)
		c.On("etcdctl", func(call enginetest.Call) enginetest.Answer {
			if call.Argv[1] == what {
				return said
			}
			return c.answer(call)
		})
		if err := restore(c, strings.NewReader(severalDumped), true); problem.ReasonOf(err) == "" || !strings.Contains(err.Error(), "only a part") {
			t.Errorf("%s fails: %v", what, err)
		}
	}
	c = newCluster(facts)
	c.On("etcdctl", func(call enginetest.Call) enginetest.Answer {
		if call.Argv[1] == "txn" {
			return enginetest.Answer{Stdout: "FAILURE\n"}
		}
		return c.answer(call)
	})
	if err := restore(c, strings.NewReader(severalDumped), false); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
}

func TestAsk(t *testing.T) {
	s := several().open(t, source.Spec{})
	if got, err := s.Ask(t.Context(), "", " version "); err != nil || !strings.Contains(got, "3.4.23") {
		t.Error(got, err)
	}
	if _, err := s.Ask(t.Context(), "", "nonsense"); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
	for _, q := range [][2]string{{"", " "}, {"db", "version"}} {
		if _, err := s.Ask(t.Context(), q[0], q[1]); problem.CodeOf(err) != problem.InvalidInput {
			t.Error(q, err)
		}
	}
}

func TestInspector(t *testing.T) {
	for n := range severalDumped {
		_, err := inspect(severalDumped[:n])
		if reason := problem.ReasonOf(err); reason != engine.ReasonTruncated && (n > 0 || reason != engine.ReasonEmpty) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	// The number of objects is bounded, and a long line does no harm.
	var b strings.Builder
	b.WriteString(firstLine + "1, x\n")
	for i := range 2 * engine.MaxObjects {
		fmt.Fprintf(&b, "put --lease=ttl:5 -- \"%05d/a\" \"\"\n", i)
	}
	fmt.Fprintf(&b, "put -- \"%s/\" \"%s\"\n# end of %d keys\n", strings.Repeat("x", 1000), strings.Repeat("y", 1000), 2*engine.MaxObjects+1)
	c, err := inspect(b.String())
	last := c.Objects[len(c.Objects)-2]
	var rows int64
	for _, o := range c.Objects {
		if o.Kind == kindPrefix {
			rows += o.Rows
		}
	}
	if err != nil || len(c.Objects) > engine.MaxObjects || last.Name != otherKeys || rows != 2*engine.MaxObjects+1 {
		t.Errorf("%d objects, %d rows, %+v, %v", len(c.Objects), rows, last, err)
	}
}

func FuzzInspector(f *testing.F) {
	f.Add([]byte(severalDumped), 7)
	f.Add([]byte("# etcd keys at revision \n# end of 0 keys\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		whole, err := inspect(string(data))
		i := &inspector{}
		for rest := data; len(rest) > 0; {
			n := min(max(1, size), len(rest))
			_, _ = i.Write(rest[:n])
			rest = rest[n:]
		}
		pieces, errPieces := i.Finish()
		if fmt.Sprint(whole, err) != fmt.Sprint(pieces, errPieces) {
			t.Errorf("%v, %v; in pieces %v, %v", whole, err, pieces, errPieces)
		}
		if err == nil {
			if _, err := inspect(string(data[:len(data)-1])); err == nil {
				t.Error("a byte less is whole, too")
			}
		}
	})
}

// FuzzReplay restores whatever it is given: what passes is what the inspector passes.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(severalDumped))
	f.Add([]byte("# etcd keys at revision 1\nput -- \"a\" \"\\u00e9\"\n# end of 1 keys\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newCluster(engine.Facts{})
		s := &session{inst: c, batch: bounds{2, 100}}
		err := s.Restore(t.Context(), engine.Stream{Format: format}, bytes.NewReader(data), engine.RestoreOptions{})
		if err != nil {
			return
		}
		if _, err := inspect(string(data)); err != nil {
			t.Errorf("it was restored, and the inspector says %v", err)
		}
	})
}

// FuzzPair writes any key and value and reads them again.
func FuzzPair(f *testing.F) {
	f.Add([]byte("a"), []byte("\x00\n\"\\é\u2028\xff"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		line := strings.TrimSuffix(string(appendPair([]byte(linePut), key, value)), "\n")
		p, err := parsePut(line)
		if (err == nil) != (len(key) > 0) || strings.Contains(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		if err != nil {
			return
		}
		quoted, _ := strconv.QuotedPrefix(p.pair[3:])
		gotKey, _ := strconv.Unquote(quoted)
		gotValue, _ := strconv.Unquote(p.pair[3+len(quoted)+1:])
		if gotKey != string(key) || gotValue != string(value) {
			t.Errorf("%q became %q %q", line, gotKey, gotValue)
		}
	})
}
