package mongodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// archiveOf is an archive that announces collections and ends each at once.
func archiveOf(namespaces ...string) []byte {
	doc := func(pairs ...string) []byte {
		b := make([]byte, 4)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == "EOF" {
				b = append(b, "\x08EOF\x00\x01\x12CRC\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
				continue
			}
			b = append(append(append(b, 2), pairs[i]...), 0)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(pairs[i+1])+1))
			b = append(append(b, pairs[i+1]...), 0)
		}
		b = append(b, 0)
		binary.LittleEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	end := []byte{0xff, 0xff, 0xff, 0xff}
	out := append([]byte{0x6d, 0xe2, 0x99, 0x81}, doc("server_version", "7.0.5", "tool_version", "100.9")...)
	for _, ns := range namespaces {
		db, name, _ := strings.Cut(ns, ".")
		out = append(out, doc("db", db, "collection", name)...)
	}
	out = append(out, end...)
	for _, ns := range namespaces {
		db, name, _ := strings.Cut(ns, ".")
		out = append(append(out, doc("db", db, "collection", name, "EOF", "")...), end...)
	}
	return out
}

const version = "mongodump version: 100.9.5\ngit version: x\n"

// script answers --version, a dump of the target, and a restore.
func script(env map[string]string, target []byte, restored enginetest.Answer) *enginetest.Script {
	return enginetest.NewScript(engine.Facts{Env: env}).
		On("mongodump", func(c enginetest.Call) enginetest.Answer {
			if strings.Contains(c.Args(), "--version") {
				return enginetest.Answer{Stdout: version}
			}
			return enginetest.Answer{Stdout: string(target)}
		}).
		On("mongorestore", func(enginetest.Call) enginetest.Answer { return restored })
}

func open(t *testing.T, inst engine.Instance, spec source.Spec) *session {
	t.Helper()
	s, err := New().Open(t.Context(), inst, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s.(*session)
}

var rooted = map[string]string{"MONGO_INITDB_ROOT_USERNAME": "root", "MONGO_INITDB_ROOT_PASSWORD": "hunter2"}

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"mongo": true, "mongo:7": true, "docker.io/library/mongo@sha256:00": true, "bitnami/mongodb:7": true, "mongodb/mongodb-community-server:7": true,
		"mongo-express": false, "percona/mongodb_exporter": false, "postgres": false, "": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, want := range map[string]int{"": 0, "shop": 0, "a-b_c": 0, "a.b": 1, "a b": 1, "$x": 1, strings.Repeat("x", 64): 1, "a\x00": 1, "--help": 0} {
		list := New().Check(source.Spec{Database: name}, engine.Facts{})
		if len(list) != want {
			t.Errorf("%q: %+v", name, list)
		}
	}
	if len(New().Check(source.Spec{Database: "a", AllDatabases: true}, engine.Facts{})) != 1 {
		t.Error("both labels pass")
	}
}

func TestCommands(t *testing.T) {
	tests := []struct {
		name  string
		facts engine.Facts
		spec  source.Spec
		argv  string
		input string
	}{
		{"open", engine.Facts{}, source.Spec{}, "mongodump --archive --numParallelCollections=1", ""},
		{"root", engine.Facts{Env: rooted}, source.Spec{}, "mongodump --username=root --authenticationDatabase=admin --archive --numParallelCollections=1", "hunter2\n"},
		{"one", engine.Facts{}, source.Spec{Database: "--help"}, "mongodump --archive --numParallelCollections=1 --db=--help", ""},
		{"port", engine.Facts{Args: []string{"mongod", "--port", "27018"}}, source.Spec{}, "mongodump --port=27018 --archive --numParallelCollections=1", ""},
		{"odd port", engine.Facts{Args: []string{"mongod", "--port=1 --eval"}}, source.Spec{}, "mongodump --archive --numParallelCollections=1", ""},
		{"password alone", engine.Facts{}, source.Spec{Password: "pw"}, "mongodump --username=root --authenticationDatabase=admin --archive --numParallelCollections=1", "pw\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got enginetest.Call
			inst := enginetest.NewScript(tt.facts).On("mongodump", func(c enginetest.Call) enginetest.Answer {
				got = c
				return enginetest.Answer{Stdout: version}
			})
			s := open(t, inst, tt.spec)
			streams, err := s.Streams(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Dump(t.Context(), streams[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, p); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			if got.Args() != tt.argv || got.Input != tt.input {
				t.Errorf("%q, stdin %q", got.Args(), got.Input)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		spec source.Spec
		want problem.Reason
	}{
		"user alone":        {nil, source.Spec{User: "x"}, engine.ReasonNoCredentials},
		"line end":          {nil, source.Spec{Password: "a\nb"}, engine.ReasonNoCredentials},
		"control character": {nil, source.Spec{Password: "a\x04b"}, engine.ReasonNoCredentials},
		"bad name":          {nil, source.Spec{Database: "a b"}, engine.ReasonNoDatabase},
	} {
		_, err := New().Open(t.Context(), script(tt.env, nil, enginetest.Answer{}), tt.spec)
		if problem.ReasonOf(err) != tt.want || strings.Contains(problem.Text(err), string("a\nb")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New().Open(t.Context(), enginetest.NewScript(engine.Facts{}), source.Spec{}); problem.ReasonOf(err) != engine.ReasonToolMissing {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	all := []engine.Stream{{Name: "all.archive", Kind: kindServer, Format: format}}
	for name, tt := range map[string]struct {
		target    []byte
		overwrite bool
		want      problem.Reason
		replaces  string
	}{
		"empty":           {archiveOf(), false, "", ""},
		"only the system": {archiveOf("admin.system.users", "config.x", "local.y", "shop.system.views"), false, "", ""},
		"full":            {archiveOf("shop.b", "shop.a"), false, engine.ReasonTargetNotEmpty, "shop.a shop.b"},
		"overwrite":       {archiveOf("shop.b"), true, "", "shop.b"},
		"no list":         {[]byte("m"), false, engine.ReasonMalformed, ""},
	} {
		s := open(t, script(nil, tt.target, enginetest.Answer{}), source.Spec{})
		plan, err := s.Prepare(t.Context(), all, engine.RestoreOptions{Overwrite: tt.overwrite})
		if problem.ReasonOf(err) != tt.want || strings.Join(plan.Replaces, " ") != tt.replaces {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
	s := open(t, script(nil, archiveOf(), enginetest.Answer{}), source.Spec{})
	one := []engine.Stream{{Name: "shop.archive", Kind: kindDatabase, Database: "shop", Format: format}}
	for name, want := range map[string]problem.Reason{"shop2": "", "admin": engine.ReasonUnsupported, "local": engine.ReasonUnsupported} {
		if _, err := s.Prepare(t.Context(), one, engine.RestoreOptions{As: name, Overwrite: true}); problem.ReasonOf(err) != want {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if _, err := s.Prepare(t.Context(), []engine.Stream{{Format: "rdb"}}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
}

func TestRestore(t *testing.T) {
	users, none := archiveOf("admin.system.users", "admin.system.version", "shop.a"), archiveOf("admin.system.users", "shop.a")
	server := engine.Stream{Kind: kindServer, Format: format}
	tests := []struct {
		name    string
		spec    source.Spec
		stream  engine.Stream
		data    []byte
		options engine.RestoreOptions
		has     string
		hasNot  string
	}{
		{"with users", source.Spec{}, server, users, engine.RestoreOptions{}, "--stopOnError", "--nsExclude=admin.*"},
		{"users of another server", source.Spec{}, server, none, engine.RestoreOptions{}, "--nsExclude=admin.*", "--drop"},
		{"overwrite", source.Spec{}, server, users, engine.RestoreOptions{Overwrite: true}, "--drop", "--nsInclude"},
		{"one of all", source.Spec{Database: `a*b\c`}, server, users, engine.RestoreOptions{}, "", ""},
		{"one", source.Spec{}, engine.Stream{Database: "shop", Format: format}, none, engine.RestoreOptions{}, "--nsInclude=shop.*", "--nsExclude=admin.*"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inst := script(rooted, nil, enginetest.Answer{})
			s := &session{inst: inst, user: "root", password: "hunter2", database: tt.spec.Database}
			if err := s.Restore(t.Context(), tt.stream, iotest.HalfReader(bytes.NewReader(tt.data)), tt.options); err != nil {
				t.Fatal(err)
			}
			calls := inst.Calls()
			call := calls[len(calls)-1]
			if call.Input != "hunter2\n"+string(tt.data) {
				t.Errorf("stdin is %q", call.Input)
			}
			if tt.has != "" && !slices.Contains(call.Argv, tt.has) || tt.hasNot != "" && slices.Contains(call.Argv, tt.hasNot) {
				t.Errorf("argv %q", call.Argv)
			}
		})
	}
	if got := escapePattern(`a*b\c`); got != `a\*b\\c` {
		t.Error(got)
	}
}

func TestRestoreFails(t *testing.T) {
	stream := engine.Stream{Kind: kindServer, Format: format}
	data := archiveOf("shop.a")
	for stderr, want := range map[string]problem.Reason{
		"Failed: shop.a: E11000 duplicate key error": engine.ReasonTargetNotEmpty,
		"auth error: AuthenticationFailed":           engine.ReasonWrongPassword,
		"server selection error":                     engine.ReasonNoConnection,
		"something else":                             engine.ReasonToolFailed,
	} {
		s := open(t, script(rooted, nil, enginetest.Answer{Status: 1, Stderr: stderr}), source.Spec{})
		if err := s.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); problem.ReasonOf(err) != want || !strings.Contains(err.Error(), "may hold a part") {
			t.Errorf("%s: %v", stderr, err)
		}
	}
	broken := errors.New("the store went away")
	for _, n := range []int{3, len(data) - 3} {
		s := open(t, script(rooted, nil, enginetest.Answer{}), source.Spec{})
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		if err := s.Restore(t.Context(), stream, r, engine.RestoreOptions{}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	open := &session{}
	if got := open.Explain(engine.Exit{Status: 1, Stderr: "command requires authentication"}); got.Reason != engine.ReasonNoCredentials {
		t.Error(got)
	}
}

func TestInspector(t *testing.T) {
	for _, tt := range []struct {
		stream engine.Stream
		user   string
		data   []byte
		want   problem.Reason
	}{
		{engine.Stream{}, "", archiveOf("a.b"), ""},
		{engine.Stream{}, "", archiveOf(), ""},
		{engine.Stream{}, "root", archiveOf("a.b"), ""},
		{engine.Stream{}, "root", archiveOf(), engine.ReasonNoDatabase},
		{engine.Stream{Database: "a"}, "", archiveOf(), engine.ReasonNoDatabase},
		{engine.Stream{}, "", nil, engine.ReasonEmpty},
		{engine.Stream{}, "", archiveOf("a.b")[:40], engine.ReasonTruncated},
		{engine.Stream{}, "", []byte("garbage"), engine.ReasonMalformed},
	} {
		i := (&session{user: tt.user}).Inspect(tt.stream)
		_, _ = i.Write(tt.data)
		c, err := i.Finish()
		if problem.ReasonOf(err) != tt.want || err == nil && len(c.Notes) != 2 {
			t.Errorf("%q: %+v %v", tt.data, c, err)
		}
	}
}

func TestSurvey(t *testing.T) {
	older := archiveOf()
	for name, tt := range map[string]struct {
		dumped, df, want string
		args             []string
	}{
		"newer than the target": {dumped: "99.0.1", want: "the snapshot is of 99.0.1"},
		"older":                 {dumped: "3.0.1"},
		"not known":             {},
		"no room":               {df: "x\n/dev/sda1 10 9 1 90% /\n", want: "/elsewhere has only", args: []string{"mongod", "--dbpath", "/elsewhere"}},
	} {
		inst := enginetest.NewScript(engine.Facts{Args: tt.args}).
			On("mongodump", func(c enginetest.Call) enginetest.Answer {
				if strings.Contains(c.Args(), "--version") {
					return enginetest.Answer{Stdout: version}
				}
				return enginetest.Answer{Stdout: string(older)}
			}).
			On("df", func(c enginetest.Call) enginetest.Answer {
				return enginetest.Answer{Stdout: strings.ReplaceAll(tt.df, "/ ", c.Argv[2])}
			})
		d := engine.Dumped{Size: 4096}
		if tt.dumped != "" {
			d.Contents.Notes = []string{fromNote + tt.dumped}
		}
		found, err := open(t, inst, source.Spec{}).Survey(t.Context(), []engine.Dumped{d}, engine.RestoreOptions{})
		if got := strings.Join(found.Warnings, "\n"); err != nil || len(found.Missing) > 0 || !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	for want, args := range map[string][]string{"/data/db": {"mongod"}, "/x": {"mongod", "--dbpath=/x"}, "/y": {"mongod", "--dbpath", "/y"}} {
		if got := dataFolder(args); got != want {
			t.Errorf("%q: %s", args, got)
		}
	}
}
