package docker

import (
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

func TestWhatWouldBeRemovedIsNotStopped(t *testing.T) {
	for _, rm := range []bool{false, true} {
		f := &fake{rm: rm}
		err := newFake(t, f).Stop(t.Context(), "c")
		if refused := problem.CodeOf(err) == problem.Conflict; refused != rm || (err != nil) != rm || f.stopped.Load() > 0 == rm {
			t.Errorf("--rm %v: %v, stopped %d times", rm, err, f.stopped.Load())
		}
	}
}
