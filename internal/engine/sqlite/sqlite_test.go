package sqlite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/helper"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// instance answers every program with what the test says, and remembers it.
type instance struct {
	engine.Instance
	facts  engine.Facts
	answer func(cmd engine.Command, stdin []byte) (stdout string, exit engine.Exit, err error)
	ran    []engine.Command
	helped int
}

func (i *instance) Facts() engine.Facts { return i.facts }

func (i *instance) Exec(_ context.Context, cmd engine.Command) (engine.Process, error) {
	i.ran = append(i.ran, cmd)
	var stdin []byte
	if cmd.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(cmd.Stdin); err != nil {
			return &process{Reader: strings.NewReader(""), err: err}, nil
		}
	}
	out, exit, err := i.answer(cmd, stdin)
	return &process{Reader: strings.NewReader(out), exit: exit}, err
}

func (i *instance) Helper(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	i.helped++
	return i.Exec(ctx, cmd)
}

func (i *instance) ReadFile(context.Context, string, int64) ([]byte, error) {
	return nil, errors.New("not expected")
}

type process struct {
	io.Reader
	exit engine.Exit
	err  error
}

func (p *process) Wait() (engine.Exit, error) { return p.exit, p.err }
func (p *process) Kill()                      {}

func TestCheck(t *testing.T) {
	tests := []struct {
		spec   source.Spec
		labels string
	}{
		{source.Spec{Database: "/data/app.db"}, ""},
		{source.Spec{}, "baktainer.db.name"},
		{source.Spec{Database: "app.db"}, "baktainer.db.name"},
		{source.Spec{Database: "/data/"}, "baktainer.db.name"},
		{source.Spec{Database: "/data/a\x00b"}, "baktainer.db.name"},
		{source.Spec{Database: "-readonly"}, "baktainer.db.name"},
		{source.Spec{AllDatabases: true}, "baktainer.db.name baktainer.db.all"},
		{source.Spec{Database: "/data/app.db", Tools: source.Tools{Image: "keinos/sqlite3"}}, "baktainer.tools.image"},
	}
	for _, tt := range tests {
		var labels []string
		for _, c := range New().Check(tt.spec, engine.Facts{}) {
			labels = append(labels, c.Label)
			if c.Reason == "" || c.Suggestion == "" {
				t.Errorf("%+v: incomplete complaint %+v", tt.spec, c)
			}
		}
		if got := strings.Join(labels, " "); got != tt.labels {
			t.Errorf("%+v: complaints about %q, want %q", tt.spec, got, tt.labels)
		}
		if _, err := New().Open(t.Context(), &instance{}, tt.spec); (err != nil) != (tt.labels != "") {
			t.Errorf("%+v: Open says %v", tt.spec, err)
		}
	}
}

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"sqlite": true, "keinos/sqlite3:latest": true, "reg:5000/x/sqlite@sha256:aa": true,
		"postgres": false, "sqlite/postgres": false, "": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestOnVolume(t *testing.T) {
	tests := []struct {
		file   string
		mounts []string
		want   bool
	}{
		{"/data/app.db", []string{"/data"}, true},
		{"/data/app.db", []string{"/data/"}, true},
		{"/data/x/app.db", []string{"/data"}, true},
		{"/data/app.db", []string{"/"}, true},
		{"/database/app.db", []string{"/data"}, false},
		{"/data/app.db", []string{"/data/app.db"}, false},
		{"/data/app.db", nil, false},
	}
	for _, tt := range tests {
		if got := onVolume(tt.file, tt.mounts); got != tt.want {
			t.Errorf("onVolume(%q, %q) = %v", tt.file, tt.mounts, got)
		}
	}
}

func open(t *testing.T, inst *instance) engine.Session {
	t.Helper()
	s, err := New().Open(t.Context(), inst, source.Spec{Database: "/data/app.db"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhichTool(t *testing.T) {
	for _, mounts := range [][]string{{"/data"}, nil} {
		inst := &instance{facts: engine.Facts{Mounts: mounts}, answer: func(engine.Command, []byte) (string, engine.Exit, error) {
			return "x", engine.Exit{}, nil
		}}
		s := open(t, inst)
		streams, err := s.Streams(t.Context())
		if err != nil || len(streams) != 1 {
			t.Fatal(streams, err)
		}
		if _, err := s.Dump(t.Context(), streams[0]); err != nil {
			t.Fatal(err)
		}
		argv := inst.ran[0].Argv
		if mounts != nil && (inst.helped != 1 || argv[len(argv)-1] != "/data/app.db" || streams[0].Name != "app.db") {
			t.Errorf("on a volume: %v %v", argv, streams)
		}
		if mounts == nil && (inst.helped != 0 || argv[0] != "sqlite3" || streams[0].Name != "app.db.sql") {
			t.Errorf("off volumes: %v %v", argv, streams)
		}
	}
}

func TestExplain(t *testing.T) {
	on := open(t, &instance{facts: engine.Facts{Mounts: []string{"/data"}}})
	off := open(t, &instance{})
	tests := []struct {
		s    engine.Session
		exit engine.Exit
		want problem.Reason
	}{
		{on, engine.Exit{Status: 1, Stderr: `baktainer-helper: {"code":"not-found","reason":"no-database","what":"x"}`}, engine.ReasonNoDatabase},
		{on, engine.Exit{Status: 1, Stderr: `baktainer-helper: {`}, engine.ReasonToolFailed},
		{on, engine.Exit{Status: 137}, engine.ReasonToolFailed},
		{off, engine.Exit{Status: 1, Stderr: `Error: unable to open database "/x": unable to open database file`}, engine.ReasonNoDatabase},
		{off, engine.Exit{Status: 5, Stderr: `Error: database is locked`}, engine.ReasonNoConnection},
		{off, engine.Exit{Status: 127}, engine.ReasonToolMissing},
	}
	for _, tt := range tests {
		if got := tt.s.Explain(tt.exit); got.Reason != tt.want || got.What == "" {
			t.Errorf("%+v: %v, reason %s", tt.exit, got, got.Reason)
		}
	}
}

func TestPrepare(t *testing.T) {
	streams := []engine.Stream{{Name: "app.db", Kind: kindFile, Format: formatImage}}
	tests := []struct {
		name, state string
		options     engine.RestoreOptions
		want        problem.Reason
		replaces    int
	}{
		{"new", `{"directory":true,"writable":true}`, engine.RestoreOptions{}, "", 0},
		{"empty", `{"directory":true,"writable":true,"exists":true,"database":true}`, engine.RestoreOptions{}, "", 0},
		{"full", `{"directory":true,"writable":true,"exists":true,"database":true,"tables":2,"names":["a","b"]}`, engine.RestoreOptions{}, engine.ReasonTargetNotEmpty, 1},
		{"full, overwrite", `{"directory":true,"writable":true,"exists":true,"database":true,"tables":2,"names":["a"]}`, engine.RestoreOptions{Overwrite: true}, "", 1},
		{"other file", `{"directory":true,"writable":true,"exists":true}`, engine.RestoreOptions{Overwrite: true}, engine.ReasonTargetNotEmpty, 0},
		{"no directory", `{}`, engine.RestoreOptions{}, engine.ReasonNoDatabase, 0},
		{"read-only", `{"directory":true}`, engine.RestoreOptions{}, engine.ReasonUnsupported, 0},
		{"nonsense", `hello`, engine.RestoreOptions{}, engine.ReasonMalformed, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, &instance{facts: engine.Facts{Mounts: []string{"/data"}}, answer: func(engine.Command, []byte) (string, engine.Exit, error) {
				return tt.state, engine.Exit{}, nil
			}})
			plan, err := s.Prepare(t.Context(), streams, tt.options)
			if problem.ReasonOf(err) != tt.want || len(plan.Replaces) != tt.replaces {
				t.Errorf("plan %+v, error %v", plan, err)
			}
			if err == nil && len(plan.Steps) == 0 {
				t.Error("no steps")
			}
		})
	}
	s := open(t, &instance{})
	if _, err := s.Prepare(t.Context(), streams, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error("off volumes:", err)
	}
	on := open(t, &instance{facts: engine.Facts{Mounts: []string{"/data"}}})
	for _, other := range [][]engine.Stream{nil, {{Kind: "database"}}, {streams[0], streams[0]}, {{Kind: kindFile, Format: formatSQL}}} {
		if _, err := on.Prepare(t.Context(), other, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
			t.Error(other, err)
		}
	}
}

func TestRestoreGivesTheReadersError(t *testing.T) {
	broken := errors.New("the store went away")
	s := open(t, &instance{facts: engine.Facts{Mounts: []string{"/data"}}})
	r := io.MultiReader(strings.NewReader("SQLite format 3"), errReader{broken})
	err := s.Restore(t.Context(), engine.Stream{Kind: kindFile, Format: formatImage}, r, engine.RestoreOptions{})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestFailureTravels(t *testing.T) {
	var errs bytes.Buffer
	if helper.Main(t.Context(), []string{helper.DumpCommand, "/nowhere/at all"}, nil, io.Discard, &errs) != 1 {
		t.Fatal("no failure")
	}
	if p := engine.HelperFailure(engine.Exit{Status: 1, Stderr: errs.String()}); p.Reason != engine.ReasonNoDatabase || p.Hint == "" {
		t.Errorf("%+v", p)
	}
}
