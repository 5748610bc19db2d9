package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// instance answers by the last words of a command.
type instance struct {
	engine.Instance
	facts   engine.Facts
	files   map[string]string
	answers map[string]string
	stderr  string
	ran     []engine.Command
	fed     []byte
}

func (i *instance) Facts() engine.Facts { return i.facts }

func (i *instance) Exec(_ context.Context, cmd engine.Command) (engine.Process, error) {
	i.ran = append(i.ran, cmd)
	if !strings.HasPrefix(cmd.Argv[0], "redis-cli") {
		return nil, problem.New(problem.Failed, "no program").WithReason(engine.ReasonToolMissing)
	}
	if cmd.Stdin != nil {
		var err error
		if i.fed, err = io.ReadAll(cmd.Stdin); err != nil {
			return process{Reader: strings.NewReader(""), err: err}, nil
		}
	}
	said := strings.Join(cmd.Argv, " ")
	for suffix, answer := range i.answers {
		if strings.HasSuffix(said, suffix) {
			return process{Reader: strings.NewReader(answer), exit: engine.Exit{Stderr: i.stderr}}, nil
		}
	}
	return process{Reader: strings.NewReader("x"), exit: engine.Exit{Stderr: i.stderr}}, nil
}

func (i *instance) Helper(context.Context, engine.Command) (engine.Process, error) {
	return nil, errors.New("not expected")
}

func (i *instance) ReadFile(_ context.Context, path string, _ int64) ([]byte, error) {
	text, ok := i.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

type process struct {
	io.Reader
	exit engine.Exit
	err  error
}

func (p process) Wait() (engine.Exit, error) { return p.exit, p.err }
func (p process) Kill()                      {}

const (
	info7    = "# Server\r\nredis_version:7.0.15\r\n"
	noLibs   = "running_script\n\nengines\nLUA\nlibraries_count\n0\nfunctions_count\n0\n"
	someLibs = "running_script\n\nengines\nLUA\nlibraries_count\n2\nfunctions_count\n0\n"
)

func open(t *testing.T, i *instance, spec source.Spec) *session {
	t.Helper()
	if i.answers == nil {
		i.answers = map[string]string{}
	}
	if i.answers["INFO server"] == "" {
		i.answers["INFO server"] = info7
	}
	s, err := New().Open(t.Context(), i, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s.(*session)
}

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"redis": true, "redis:7-alpine": true, "docker.io/library/redis@sha256:00": true, "bitnami/redis:7": true,
		"host:5000/valkey/valkey:8": true, "eqalpha/keydb": true, "redis/redis-stack-server:7": true,
		"redis-exporter": false, "oliver006/redis_exporter": false, "postgres": false, "": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestPasswordAndPort(t *testing.T) {
	files := map[string]string{"/etc/redis/redis.conf": "# requirepass no\nport 6380\n requirepass \"from file\" \n", "/run/pw": "from secret\n"}
	tests := []struct {
		name           string
		args           []string
		env            map[string]string
		spec           source.Spec
		password, port string
	}{
		{"none", []string{"redis-server"}, nil, source.Spec{}, "", ""},
		{"argument", []string{"redis-server", "--requirepass", "a b", "--port", "7000"}, nil, source.Spec{}, "a b", "7000"},
		{"argument without value", []string{"redis-server", "--requirepass"}, nil, source.Spec{}, "", ""},
		{"shell", []string{"sh", "-c", `exec redis-server --requirepass "$PASS" --save ''`}, map[string]string{"PASS": "pw"}, source.Spec{}, "pw", ""},
		{"shell, braces", []string{"sh", "-ec", `redis-server --requirepass ${PASS}`}, map[string]string{"PASS": "pw"}, source.Spec{}, "pw", ""},
		{"file", []string{"redis-server", "/etc/redis/redis.conf"}, nil, source.Spec{}, "from file", "6380"},
		{"argument over file", []string{"redis-server", "/etc/redis/redis.conf", "--requirepass", "x"}, nil, source.Spec{}, "x", "6380"},
		{"missing file", []string{"redis-server", "/none.conf"}, nil, source.Spec{}, "", ""},
		{"variable", nil, map[string]string{"REDIS_PASSWORD": "v"}, source.Spec{}, "v", ""},
		{"variable's file", nil, map[string]string{"REDIS_PASSWORD_FILE": "/run/pw"}, source.Spec{}, "from secret", ""},
		{"argument over variable", []string{"--requirepass", "x"}, map[string]string{"REDIS_PASSWORD": "v"}, source.Spec{}, "x", ""},
		{"label over all", []string{"--requirepass", "x"}, map[string]string{"REDIS_PASSWORD": "v"}, source.Spec{Password: "label"}, "label", ""},
		{"bad port", []string{"--port", "-c evil"}, nil, source.Spec{}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inst := &instance{facts: engine.Facts{Args: tt.args, Env: tt.env}, files: files}
			s := open(t, inst, tt.spec)
			if s.password.Reveal() != tt.password || s.port != tt.port {
				t.Errorf("password %q, port %q", s.password.Reveal(), s.port)
			}
			if _, err := s.Dump(t.Context(), engine.Stream{}); err != nil {
				t.Fatal(err)
			}
			last := inst.ran[len(inst.ran)-1]
			if tt.password != "" && (!slices.Contains(last.Env, "REDISCLI_AUTH="+tt.password) || !slices.Contains(last.Secrets, tt.password)) {
				t.Errorf("%+v", last)
			}
			for _, cmd := range inst.ran {
				if tt.password != "" && slices.Contains(cmd.Argv, tt.password) {
					t.Errorf("the password is in %q", cmd.Argv)
				}
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	tests := []struct {
		answer, stderr string
		want           problem.Reason
	}{
		{"NOAUTH Authentication required.\n", "", engine.ReasonWrongPassword},
		{"NOAUTH Authentication required.\n", "AUTH failed: WRONGPASS invalid username-password pair", engine.ReasonWrongPassword},
		{"", "Could not connect to Redis at 127.0.0.1:6379: Connection refused", engine.ReasonNoConnection},
		{"LOADING Redis is loading the dataset in memory\n", "", engine.ReasonNoConnection},
		{"NOPERM this user has no permissions\n", "", engine.ReasonToolFailed},
	}
	for _, tt := range tests {
		inst := &instance{answers: map[string]string{"INFO server": tt.answer}, stderr: tt.stderr}
		_, err := New().Open(t.Context(), inst, source.Spec{})
		if problem.ReasonOf(err) != tt.want {
			t.Errorf("%q %q: %v", tt.answer, tt.stderr, err)
		}
	}
}

func TestPrepare(t *testing.T) {
	streams := []engine.Stream{{Name: "dump.rdb", Kind: kindServer, Format: format}}
	tests := []struct {
		name, keyspace, libs string
		overwrite            bool
		want                 problem.Reason
		replaces             string
	}{
		{"empty", "# Keyspace\r\n", noLibs, false, "", ""},
		{"keys", "# Keyspace\r\ndb9:keys=3,expires=0\r\ndb0:keys=1,expires=0\r\n", noLibs, false, engine.ReasonTargetNotEmpty, "db0 with 1 keys;db9 with 3 keys"},
		{"keys, overwrite", "# Keyspace\r\ndb0:keys=1,expires=0\r\n", noLibs, true, "", "db0 with 1 keys"},
		{"libraries", "# Keyspace\r\n", someLibs, false, engine.ReasonTargetNotEmpty, "function libraries"},
		{"no answer", "NOPERM\n", noLibs, false, engine.ReasonToolFailed, ""},
		{"no libraries told", "# Keyspace\r\n", "NOPERM\n", false, engine.ReasonToolFailed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, &instance{answers: map[string]string{"INFO keyspace": tt.keyspace, "FUNCTION STATS": tt.libs}}, source.Spec{})
			plan, err := s.Prepare(t.Context(), streams, engine.RestoreOptions{Overwrite: tt.overwrite})
			if problem.ReasonOf(err) != tt.want || strings.Join(plan.Replaces, ";") != tt.replaces {
				t.Errorf("%+v %v", plan, err)
			}
			if flushes := strings.Contains(strings.Join(plan.Steps, " "), "FLUSHALL"); flushes != (tt.replaces != "") {
				t.Errorf("steps %q", plan.Steps)
			}
		})
	}
}

func sample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("rdb/testdata/redis-7.0.rdb")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRestore(t *testing.T) {
	data := sample(t)
	inst := &instance{answers: map[string]string{"--pipe --pipe-timeout 600": "errors: 0, replies: 26\n"}}
	s := open(t, inst, source.Spec{})
	stream := engine.Stream{Format: format}
	if err := s.Restore(t.Context(), stream, iotest.OneByteReader(bytes.NewReader(data)), engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	sent := string(inst.fed)
	if !strings.HasPrefix(sent, "*1\r\n$8\r\nFLUSHALL\r\n*2\r\n$8\r\nFUNCTION\r\n$5\r\nFLUSH\r\n") || strings.Count(sent, "$7\r\nRESTORE\r\n") != 22 ||
		!strings.Contains(sent, "*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n") || !strings.Contains(sent, "$4\r\nLOAD\r\n$7\r\nREPLACE\r\n") {
		t.Errorf("sent %q", sent)
	}
	if err := s.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); err != nil || bytes.Contains(inst.fed, []byte("FLUSH")) {
		t.Error("flushes without being told to:", err)
	}
	inst.answers["--pipe --pipe-timeout 600"] = "errors: 2, replies: 26\n"
	if err := s.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(err.Error(), "may hold a part") {
		t.Error("errors of the server:", err)
	}
	broken := errors.New("the store went away")
	half := io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(broken))
	err := s.Restore(t.Context(), stream, half, engine.RestoreOptions{})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "only a part") {
		t.Error(err)
	}
	for n, want := range map[int]problem.Reason{0: engine.ReasonEmpty, 5: engine.ReasonTruncated, len(data) - 1: engine.ReasonTruncated} {
		if err := s.Restore(t.Context(), stream, bytes.NewReader(data[:n]), engine.RestoreOptions{}); problem.ReasonOf(err) != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestMarkIsTakenOff(t *testing.T) {
	data := sample(t)
	mark := []byte(strings.Repeat("0123456789abcdef", 3)[:markSize])
	for _, in := range [][]byte{data, append(bytes.Clone(data), mark...)} {
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), iotest.DataErrReader(bytes.NewReader(in))} {
			got, err := io.ReadAll(iotest.OneByteReader(&dump{Process: process{Reader: r}}))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
			}
		}
	}
	lost := errors.New("lost")
	got, err := io.ReadAll(&dump{Process: process{Reader: io.MultiReader(bytes.NewReader(data), iotest.ErrReader(lost))}})
	if !errors.Is(err, lost) || len(got) > len(data) {
		t.Error(len(got), err)
	}
	for _, short := range []string{"", "abc", string(mark[1:])} {
		got, err := io.ReadAll(&dump{Process: process{Reader: strings.NewReader(short)}})
		if err != nil || string(got) != short {
			t.Errorf("%q became %q, %v", short, got, err)
		}
	}
}

func TestInspector(t *testing.T) {
	i := newInspector()
	_, _ = i.Write(sample(t))
	c, err := i.Finish()
	want := "[{database db0 21 []} {expiring db0 1 []} {database db9 1 []} {functions libraries 1 []}] [RDB version 10 dumped by server version 7.0.15]"
	if got := fmt.Sprint(c.Objects, " ", c.Notes); err != nil || got != want {
		t.Errorf("%s %v", got, err)
	}
}

func TestSurvey(t *testing.T) {
	for name, tt := range map[string]struct {
		notes             []string
		missing, warnings string
	}{
		"the same":   {notes: []string{byNote + "7.0.15"}},
		"newer":      {notes: []string{byNote + "99.0.1"}, warnings: "the snapshot is of 99.0.1"},
		"not to cut": {notes: []string{"RDB version 80", unknownNote + "22, keys are counted up to the first"}, missing: "dump.rdb holds values of the kind 22, which"},
	} {
		dumped := engine.Dumped{Stream: engine.Stream{Name: "dump.rdb"}, Contents: engine.Contents{Notes: tt.notes}}
		found, err := open(t, &instance{}, source.Spec{}).Survey(t.Context(), []engine.Dumped{dumped}, engine.RestoreOptions{})
		for _, pair := range [][2]string{{tt.missing, strings.Join(found.Missing, "\n")}, {tt.warnings, strings.Join(found.Warnings, "\n")}} {
			if want, got := pair[0], pair[1]; err != nil || !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: %+v, %v", name, found, err)
			}
		}
	}
}

func TestSecretsStayHidden(t *testing.T) {
	inst := &instance{answers: map[string]string{"INFO server": "ERR password hunter2 is wrong, NOAUTH"}, stderr: "hunter2"}
	_, err := New().Open(t.Context(), inst, source.Spec{Password: "hunter2"})
	if err == nil || strings.Contains(problem.Text(err), "hunter2") {
		t.Error(problem.Text(err))
	}
}
