package custom

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

var stream = engine.Stream{Name: "output.bin", Kind: kind, Format: format}

func open(t *testing.T, inst engine.Instance, spec source.Spec) engine.Session {
	t.Helper()
	s, err := New().Open(t.Context(), inst, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		spec source.Spec
		want int
	}{
		"nothing":    {source.Spec{}, 1},
		"command":    {source.Spec{Command: []string{"slapcat", ""}}, 0},
		"both":       {source.Spec{Command: []string{"a"}, RestoreCommand: []string{"b"}}, 0},
		"empty name": {source.Spec{Command: []string{""}, RestoreCommand: []string{""}}, 2},
		"zero byte":  {source.Spec{Command: []string{"a", "b\x00", "c\x00"}}, 1},
	} {
		list := New().Check(tt.spec, engine.Facts{})
		if len(list) != tt.want {
			t.Errorf("%s: %+v", name, list)
		}
		if _, err := New().Open(t.Context(), enginetest.NewScript(engine.Facts{}), tt.spec); (err != nil) != (tt.want > 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if New().Detect(engine.Facts{Image: "custom"}) {
		t.Error("detected")
	}
}

func TestDump(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{}).On("slapcat", func(c enginetest.Call) enginetest.Answer {
		if c.Args() != "slapcat -n $(id); x" {
			t.Errorf("argv %q", c.Argv)
		}
		return enginetest.Answer{Stdout: "dn: x\n", Status: 3, Stderr: "cannot read"}
	})
	s := open(t, inst, source.Spec{Command: []string{"slapcat", "-n", "$(id); x"}})
	p, err := s.Dump(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p)
	exit, waitErr := p.Wait()
	if string(out) != "dn: x\n" || err != nil || waitErr != nil {
		t.Errorf("%q %v %v", out, err, waitErr)
	}
	if got := s.Explain(exit); got.Reason != engine.ReasonToolFailed || !strings.Contains(problem.Text(got), "cannot read") {
		t.Error(problem.Text(got))
	}
}

func TestInspector(t *testing.T) {
	i := (&session{}).Inspect(stream)
	if _, err := i.Finish(); problem.ReasonOf(err) != engine.ReasonEmpty {
		t.Error(err)
	}
	_, _ = i.Write([]byte{0})
	if _, err := i.Finish(); err != nil {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{})
	with := open(t, inst, source.Spec{Command: []string{"a"}, RestoreCommand: []string{"slapadd", "-q"}})
	without := open(t, inst, source.Spec{Command: []string{"a"}})
	one, overwrite := []engine.Stream{stream}, engine.RestoreOptions{Overwrite: true}
	for name, tt := range map[string]struct {
		s       engine.Session
		streams []engine.Stream
		o       engine.RestoreOptions
		want    problem.Reason
	}{
		"permitted":     {with, one, overwrite, ""},
		"not permitted": {with, one, engine.RestoreOptions{}, engine.ReasonTargetNotEmpty},
		"dry run":       {with, one, engine.RestoreOptions{DryRun: true}, engine.ReasonTargetNotEmpty},
		"no command":    {without, one, overwrite, engine.ReasonUnsupported},
		"no stream":     {with, nil, overwrite, engine.ReasonUnsupported},
	} {
		plan, err := tt.s.Prepare(t.Context(), tt.streams, tt.o)
		if problem.ReasonOf(err) != tt.want || err == nil && len(plan.Steps) != 1 {
			t.Errorf("%s: %+v %v", name, plan, err)
		}
	}
	if len(inst.Calls()) != 0 {
		t.Error("a plan ran something")
	}
	if err := without.Restore(t.Context(), stream, strings.NewReader("x"), overwrite); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
}

func TestRestore(t *testing.T) {
	status, input := 0, ""
	inst := enginetest.NewScript(engine.Facts{}).On("slapadd", func(c enginetest.Call) enginetest.Answer {
		input = c.Input
		return enginetest.Answer{Status: status}
	})
	s := open(t, inst, source.Spec{Command: []string{"a"}, RestoreCommand: []string{"slapadd"}})
	if err := s.Restore(t.Context(), stream, strings.NewReader("dn: x"), engine.RestoreOptions{}); err != nil || input != "dn: x" {
		t.Errorf("stdin %q, %v", input, err)
	}
	status = 1
	if err := s.Restore(t.Context(), stream, strings.NewReader("dn: x"), engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
	broken := errors.New("the store went away")
	r := io.MultiReader(strings.NewReader("dn"), iotest.ErrReader(broken))
	if err := s.Restore(t.Context(), stream, r, engine.RestoreOptions{}); !errors.Is(err, broken) {
		t.Error(err)
	}
}
