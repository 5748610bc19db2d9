package state_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestFit(t *testing.T) {
	whole := endBy("a1", "r1", 1)
	if err := state.Fit(whole, state.CommandVersion); err != nil || whole.GetVersion() != state.CommandVersion || whole.GetEndRun().GetAgent() != "a1" {
		t.Errorf("at the present level: %v, %v", whole, err)
	}
	old := proto.CloneOf(whole)
	if err := state.Fit(old, 1); err != nil || old.GetVersion() != 1 || old.GetEndRun().GetAgent() != "" || old.GetEndRun().GetRun() != "r1" {
		t.Errorf("among old members: %v, %v", old, err)
	}
	if err := state.Fit(queueDrill("d1", "shop", 1), 1); problem.ReasonOf(err) != state.ReasonMixed {
		t.Errorf("a drill among old members: %v", err)
	}
	for _, request := range []*pb.RestoreRequest{{Tables: []string{"orders"}}, {As: "shop_before"}, {NewContainer: "shop-again"}} {
		restore := &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{
			{Kind: pb.RunKind_RUN_KIND_RESTORE, Restore: request},
		}}}}
		if err := state.Fit(restore, 1); problem.ReasonOf(err) != state.ReasonMixed {
			t.Errorf("%v among old members, who would restore everything over what is there: %v", request, err)
		}
	}
	// A field deep in a list, and a kind of command that is new: from the
	// descriptors, so that this holds for whatever comes.
	for kind := range newer(t) {
		c := &pb.Command{}
		if f := c.ProtoReflect().Descriptor().Fields().ByName(kind); f != nil {
			c.ProtoReflect().Mutable(f)
			if err := state.Fit(c, 1); problem.ReasonOf(err) != state.ReasonMixed {
				t.Errorf("%s among old members: %v", kind, err)
			}
		}
	}
}

// newer gives the names of the kinds of commands that came after the first version.
func newer(t *testing.T) map[protoreflect.Name]bool {
	t.Helper()
	found := map[protoreflect.Name]bool{}
	kinds := (&pb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("command").Fields()
	for i := range kinds.Len() {
		if v, _ := proto.GetExtension(kinds.Get(i).Options(), pb.E_Since).(uint32); v > 1 {
			found[kinds.Get(i).Name()] = true
		}
	}
	return found
}

// Every field of a command that is not of the first version says since when it
// is there: or an old member would keep another state than a new one. The list
// of the first version never grows.
func TestNewFieldsSayTheirVersion(t *testing.T) {
	text, err := os.ReadFile("testdata/first-version.txt")
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		first[strings.TrimSpace(line)] = true
	}
	seen, fields := map[protoreflect.FullName]bool{}, map[string]uint32{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || !strings.HasPrefix(string(m.FullName()), "baktainer.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			since, _ := proto.GetExtension(f.Options(), pb.E_Since).(uint32)
			fields[string(f.FullName())] = since
			if f.Message() != nil && since == 0 { // else all of it is as new
				walk(f.Message())
			}
		}
	}
	walk((&pb.Command{}).ProtoReflect().Descriptor())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch since := fields[name]; {
		case since > state.CommandVersion:
			t.Errorf("%s is since version %d, and the present one is %d", name, since, state.CommandVersion)
		case since == 0 && !first[name]:
			t.Errorf("%s is new: give it [(since) = %d]", name, state.CommandVersion)
		}
	}
}
