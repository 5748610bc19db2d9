package redis

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sort"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

//go:embed testdata/seed.txt
var seed string

const password = "correct horse 'battery' $taple"

// server is a container with a redis server and how to talk to it.
type server struct {
	*dockercli.Instance
	env []string
}

func startServer(t testing.TB, name string, args ...string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "redis", nil, append([]string{"--requirepass", password}, args...)...), []string{"REDISCLI_AUTH=" + password}}
	s.Ready(t, s.env, "redis-cli", "ping")
	return s
}

func (s server) cli(t testing.TB, input string, args ...string) string {
	t.Helper()
	return s.Run(t, input, s.env, append([]string{"redis-cli"}, args...)...)
}

// fingerprint is the digest of everything, the dump of every key with the time
// when it ends, and the function libraries.
func (s server) fingerprint(t testing.TB) string {
	const lua = `local out = {}
		for _, k in ipairs(redis.call('KEYS', '*')) do
			local at = redis.call('PEXPIRETIME', k)
			out[#out+1] = redis.sha1hex(k) .. ' ' .. redis.call('TYPE', k).ok .. ' ' .. at
			local t = redis.call('TYPE', k).ok
			if t == 'stream' then
				out[#out] = out[#out] .. ' ' .. redis.sha1hex(cjson.encode({redis.call('XRANGE', k, '-', '+'), redis.call('XINFO', 'STREAM', k)}))
			end
		end
		table.sort(out) return out`
	var b strings.Builder
	b.WriteString(s.cli(t, "", "DEBUG", "DIGEST"))
	for _, db := range []string{"0", "9", "15"} {
		fmt.Fprintf(&b, "db%s\n%s", db, s.cli(t, "", "-n", db, "EVAL", lua, "0"))
	}
	libraries := strings.Split(s.cli(t, "", "FUNCTION", "LIST", "WITHCODE"), "\n")
	sort.Strings(libraries)
	b.WriteString(strings.Join(libraries, "\n"))
	return b.String()
}

func (s server) wreck(t testing.TB) {
	s.cli(t, "FLUSHALL\nFUNCTION FLUSH\n")
}

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "redis", "--appendonly", "yes", "--enable-debug-command", "yes")
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: s.Instance, Secrets: []string{password}, KeepsHalf: true,
		Seed: func(t testing.TB) {
			s.cli(t, seed)
			s.cli(t, "", "-n", "15", "EVAL", `math.randomseed(7) for i=1,20000 do redis.call('SET', 'k'..i, math.random()..string.rep('x', math.random(90))) end`, "0")
		},
		Bulk: func(t testing.TB) {
			s.cli(t, "", "-n", "15", "EVAL", `for i=1,70 do local v = {} for j=1,65536 do v[j] = struct.pack('>I8d', j*i*2654435761 % 4294967296, math.random()) end redis.call('SET', 'bulk'..i, table.concat(v)) end`, "0")
		},
		Fingerprint: s.fingerprint,
		Wreck:       s.wreck,
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return s.Instance, source.Spec{Password: "wrong-guess"}
		},
	})
}

// dumpOf is one whole dump, checked.
func dumpOf(t *testing.T, s server) ([]byte, engine.Contents) {
	t.Helper()
	session, err := New().Open(t.Context(), s.Instance, source.Spec{})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	p, err := session.Dump(t.Context(), engine.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	inspector := session.Inspect(engine.Stream{})
	_, err = io.Copy(io.MultiWriter(&data, inspector), p)
	exit, waitErr := p.Wait()
	contents, badContent := inspector.Finish()
	if err := errors.Join(err, waitErr, badContent); err != nil || exit.Status != 0 {
		t.Fatal(err, exit)
	}
	return data.Bytes(), contents
}

func restoreInto(t *testing.T, s server, data []byte, o engine.RestoreOptions) error {
	t.Helper()
	session, err := New().Open(t.Context(), s.Instance, source.Spec{})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	stream := engine.Stream{Name: "dump.rdb", Kind: kindServer, Format: format}
	if _, err := session.Prepare(t.Context(), []engine.Stream{stream}, o); err != nil {
		return err
	}
	return session.Restore(t.Context(), stream, bytes.NewReader(data), o)
}

// While a client writes pairs of keys in transactions, every dump must hold both
// keys of each pair or none.
func TestContainerDumpUnderWrites(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "redis-writes", "--save", "")
	const script = `local n = redis.call('INCR', 'n') redis.call('SET', 'a'..n, n) redis.call('SET', 'b'..n, n)`
	writer := exec.CommandContext(t.Context(), "docker", "exec", "-e", "REDISCLI_AUTH", s.ID(),
		"redis-benchmark", "-a", password, "-q", "-n", "100000000", "-c", "2", "EVAL", script, "0")
	writer.Env = append(writer.Environ(), s.env...)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	s.Ready(t, s.env, "redis-cli", "-e", "DECRBY", "n", "0")
	var before int64
	for range 2 {
		_, contents := dumpOf(t, s)
		if len(contents.Objects) == 0 {
			continue // the writer has not begun
		}
		keys := contents.Objects[0].Rows
		if keys%2 != 1 || keys < before {
			t.Errorf("%d keys, %d before", keys, before)
		}
		before = keys
	}
	if before < 3 {
		t.Error("the writer wrote nothing while the server was dumped")
	}
	s.cli(t, "", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	_ = writer.Wait()
}

func TestContainerRestartKeepsTheRestored(t *testing.T) {
	dockercli.Need(t)
	from := startServer(t, "redis-from", "--enable-debug-command", "yes")
	from.cli(t, seed)
	data, _ := dumpOf(t, from)
	to := startServer(t, "redis-to", "--appendonly", "yes", "--enable-debug-command", "yes")
	if err := restoreInto(t, to, data, engine.RestoreOptions{}); err != nil {
		t.Fatal(problem.Text(err))
	}
	want := from.fingerprint(t)
	if got := to.fingerprint(t); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if out, err := exec.Command("docker", "restart", to.ID()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	to.Ready(t, to.env, "redis-cli", "-e", "DBSIZE")
	if got := to.fingerprint(t); got != want {
		t.Fatalf("after a restart\n%s\nwant\n%s", got, want)
	}
	// The dump is also a file that a server loads by itself.
	loaded := startServer(t, "redis-file", "--enable-debug-command", "yes", "--save", "")
	loaded.Run(t, string(data), nil, "tee", "/data/dump.rdb")
	if out, err := exec.Command("docker", "restart", loaded.ID()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	loaded.Ready(t, loaded.env, "redis-cli", "-e", "DBSIZE")
	if got := loaded.fingerprint(t); got != want {
		t.Fatalf("loaded as a file\n%s\nwant\n%s", got, want)
	}
}

func TestContainerNewerDump(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "redis-older", "--save", "")
	s.cli(t, "", "SET", "a", "1")
	data, _ := dumpOf(t, s)
	newer := append([]byte("REDIS0042"), data[9:]...)
	clear(newer[len(newer)-8:]) // no checksum
	err := restoreInto(t, s, newer, engine.RestoreOptions{Overwrite: true})
	if problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Errorf("%v, reason %q", err, problem.ReasonOf(err))
	}
	t.Log(problem.Text(err))
}

// A server without a password must not be offered one that only happens to be
// in the environment.
func TestContainerPasswordNotUsed(t *testing.T) {
	dockercli.Need(t)
	s := server{dockercli.Start(t, "redis-open", "redis", []string{"REDIS_PASSWORD=unused"}), nil}
	s.Ready(t, nil, "redis-cli", "ping")
	s.cli(t, "", "SET", "a", "1")
	if _, c := dumpOf(t, s); len(c.Objects) != 1 {
		t.Errorf("%+v", c)
	}
}
