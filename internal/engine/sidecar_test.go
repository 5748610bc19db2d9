package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestEquip(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{Image: "db"}).File("/secret", "x").On("dump", says("1.0"))
	for image, want := range map[string]string{"": "", "tools:1": "tools:1"} {
		spec := source.Spec{Tools: source.Tools{Image: image}}
		tooled, release, err := engine.Equip(t.Context(), inst, spec)
		if err != nil {
			t.Fatal(err)
		}
		again, nothing, err := engine.Equip(t.Context(), tooled, spec)
		if err != nil || again != tooled {
			t.Errorf("equipped twice: %v", err)
		}
		nothing()
		if _, _, err := engine.FirstTool(t.Context(), tooled, "dump"); err != nil {
			t.Error(err)
		}
		calls := inst.Calls()
		if got := calls[len(calls)-1].Sidecar; got != want {
			t.Errorf("it was run in a side-car of %q, want %q", got, want)
		}
		if _, err := tooled.ReadFile(t.Context(), "/secret", 10); err != nil || tooled.Facts().Image != "db" {
			t.Errorf("files and facts are not the instance's: %v", err)
		}
		_, _, err = engine.FirstTool(t.Context(), tooled, "other")
		if problem.ReasonOf(err) != engine.ReasonToolMissing || !strings.Contains(problem.Text(err), image) {
			t.Errorf("a tool that is not there: %v", err)
		}
		release()
	}
}

// beside notes what is asked of it.
type beside struct {
	engine.Instance
	memory int64
	closed int
	err    error
}

func (b *beside) Sidecar(_ context.Context, _ string, memory int64) (engine.Sidecar, error) {
	b.memory = memory
	return b, b.err
}

func (b *beside) Close() { b.closed++ }

func TestASidecarIsBoundedAndClosed(t *testing.T) {
	for given, want := range map[int64]int64{0: source.DefaultToolsMemory, 5: 5} {
		b := &beside{}
		_, release, err := engine.Equip(t.Context(), b, source.Spec{Tools: source.Tools{Image: "tools", Memory: given}})
		if err != nil {
			t.Fatal(err)
		}
		if release(); b.memory != want || b.closed != 1 {
			t.Errorf("%d bytes, want %d; closed %d times", b.memory, want, b.closed)
		}
	}
	b := &beside{err: errors.New("no")}
	if _, _, err := engine.Equip(t.Context(), b, source.Spec{Tools: source.Tools{Image: "tools"}}); !errors.Is(err, b.err) || b.closed != 0 {
		t.Errorf("there is none: %v, closed %d times", err, b.closed)
	}
}

func TestWithoutFilesThereIsNoSidecar(t *testing.T) {
	if list := engine.NoSidecar(source.Spec{}, "so"); list != nil {
		t.Errorf("not asked for: %v", list)
	}
	spec := source.Spec{Tools: source.Tools{Image: "tools"}}
	if list := engine.NoSidecar(spec, "so"); len(list) != 1 || !strings.HasSuffix(list[0].Reason, ": so") || list[0].Label != "baktainer.tools.image" {
		t.Errorf("%+v", list)
	}
	if got := engine.LocalHosts(spec); !slices.Equal(got, []string{"127.0.0.1"}) {
		t.Errorf("with a side-car: %q", got)
	}
}
