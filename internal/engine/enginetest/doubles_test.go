package enginetest_test

import (
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestRecorderFindsLeaks(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{}).On("tool", func(enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Stderr: "using s3cret"}
	})
	for name, tc := range map[string]struct {
		cmd  engine.Command
		want int
	}{
		"clean":               {engine.Command{Argv: []string{"tool"}, Env: []string{"PW=s3cret"}, Secrets: []string{"s3cret"}}, 0},
		"in argv":             {engine.Command{Argv: []string{"tool", "-ps3cret"}, Secrets: []string{"s3cret"}}, 1},
		"not told, in stderr": {engine.Command{Argv: []string{"tool"}}, 1},
		"not told, in both":   {engine.Command{Argv: []string{"tool"}, Env: []string{"PW=s3cret"}}, 2},
	} {
		recorder := enginetest.Record(inst, "", "s3cret")
		p, err := recorder.Exec(t.Context(), tc.cmd)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = p.Wait()
		if leaks := recorder.Leaks(); len(leaks) != tc.want {
			t.Errorf("%s: %q, want %d", name, leaks, tc.want)
		}
	}
}

func TestScript(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{}).File("/f", "text").On("tool", func(c enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Stdout: "got " + c.Input, Status: 3}
	})
	if _, err := inst.Exec(t.Context(), engine.Command{Argv: []string{"other"}}); problem.ReasonOf(err) != engine.ReasonToolMissing {
		t.Errorf("a tool that is not there: %v", err)
	}
	p, err := inst.Exec(t.Context(), engine.Command{Argv: []string{"tool"}, Stdin: iotest.OneByteReader(io.LimitReader(zeros{}, 3))})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(p)
	exit, err := p.Wait()
	if string(out) != "got 000" || exit.Status != 3 || err != nil {
		t.Errorf("%q, %+v, %v", out, exit, err)
	}
	boom := errors.New("boom")
	if p, err = inst.Exec(t.Context(), engine.Command{Argv: []string{"tool"}, Stdin: iotest.ErrReader(boom)}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); !errors.Is(err, boom) {
		t.Errorf("a failing stdin: %v", err)
	}
	if _, err := inst.ReadFile(t.Context(), "/nowhere", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := inst.ReadFile(t.Context(), "/f", 3); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a large file: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
