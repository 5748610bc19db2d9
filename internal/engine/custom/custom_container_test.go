package custom

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// The shared suite asks for detection and for dumps cut short, which this engine
// cannot have: it knows nothing of the content. The rest is here.
func TestContainer(t *testing.T) {
	dockercli.Need(t)
	inst := dockercli.Start(t, "custom", "sqlite", nil)
	const text = "line\r\n\x00\xff$(touch /tmp/evil)\n"
	inst.Run(t, text, nil, "tee", "/tmp/in")
	s := open(t, inst, source.Spec{Command: []string{"cat", "/tmp/in"}, RestoreCommand: []string{"tee", "/tmp/out; touch /tmp/evil"}})
	dump := func(s engine.Session) ([]byte, error) {
		p, err := s.Dump(t.Context(), stream)
		if err != nil {
			return nil, err
		}
		var data bytes.Buffer
		i := s.Inspect(stream)
		_, err = io.Copy(io.MultiWriter(&data, i), p)
		exit, waitErr := p.Wait()
		if err := errors.Join(err, waitErr); err != nil {
			return nil, err
		}
		if exit.Status != 0 {
			return nil, s.Explain(exit)
		}
		_, err = i.Finish()
		return data.Bytes(), err
	}
	data, err := dump(s)
	if string(data) != text || err != nil {
		t.Fatalf("%q %v", data, err)
	}
	if err := s.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); err == nil {
		t.Error("the odd name has a folder that does not exist, tee must fail")
	}
	s = open(t, inst, source.Spec{Command: []string{"cat", "/tmp/in"}, RestoreCommand: []string{"tee", "/tmp/out $(touch evil)"}})
	if err := s.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{}); err != nil {
		t.Error(problem.Text(err))
	}
	if got := inst.Run(t, "", nil, "cat", "/tmp/out $(touch evil)"); got != text {
		t.Errorf("%q", got)
	}
	if files := inst.Run(t, "", nil, "find", "/", "-xdev", "-name", "evil"); files != "" {
		t.Errorf("a label was run by a shell: %s", files)
	}
	for want, argv := range map[problem.Reason][]string{
		engine.ReasonToolMissing: {"no-such-program"},
		engine.ReasonToolFailed:  {"cat", "/none"},
		engine.ReasonEmpty:       {"true"},
	} {
		_, err := dump(open(t, inst, source.Spec{Command: argv}))
		if problem.ReasonOf(err) != want {
			t.Errorf("%q: %v", argv, err)
		} else {
			t.Log(strings.TrimSpace(problem.Text(err)))
		}
	}
}
