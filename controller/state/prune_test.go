package state_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// then clips, so that each case may append to the same beginning.
func then(before []*pb.Command, more ...*pb.Command) []*pb.Command {
	return append(slices.Clip(before), more...)
}

func TestForgettingAndPruning(t *testing.T) {
	three := made("shop", 3)
	gone := then(three, forget(1))
	pruning := then(gone, beginPrune("shop", 9, 3, 1))
	pruned := then(pruning, endPrune("shop", 9))
	for _, tc := range []struct {
		name   string
		before []*pb.Command
		cmd    *pb.Command
		want   problem.Reason // "" when it is accepted
	}{
		{"forget", three, forget(1), ""},
		{"forget several", three, forget(1, 2), ""},
		{"forget the same twice over", three, forget(1, 1), ""},
		{"forget again", gone, forget(1), ""},
		{"forget what is pruned", pruned, forget(1), ""},
		{"forget nothing", three, forget(7), state.ReasonNoSnapshot},
		{"forget the newest", three, forget(3), state.ReasonNewest},
		{"forget all", three, forget(1, 2, 3), state.ReasonNewest},
		{"forget the newest that is left", then(made("shop", 1), forget()), forget(1), state.ReasonNewest},
		{"forget the last verified", then(three, verified(1, 50)), forget(1), state.ReasonLastVerified},
		{"forget all that are verified", then(three, verified(1, 50), verified(2, 50)), forget(1, 2), state.ReasonLastVerified},
		{"forget one of the verified", then(three, verified(1, 50), verified(2, 50)), forget(2), ""},
		{"forget what was verified before the newest was", then(three, verified(1, 50), verified(3, 50)), forget(1, 2), ""},
		{"forget the last good one beside one that was damaged", then(three, verified(1, 50), verified(2, 50), damage(2)), forget(1), state.ReasonLastVerified},
		{"forget one that was damaged", then(three, verified(1, 50), damage(1)), forget(1), ""},
		{"unforget", gone, unforget(1), ""},
		{"unforget what is not forgotten", three, unforget(1), ""},
		{"unforget nothing", three, unforget(8), state.ReasonNoSnapshot},
		{"unforget while it is pruned", pruning, unforget(1), state.ReasonPruned},
		{"unforget what was pruned", pruned, unforget(1), state.ReasonPruned},
		{"prune", gone, beginPrune("shop", 9, 3, 1), ""},
		{"prune left-overs only", three, beginPrune("shop", 9, 3), ""},
		{"prune a source without snapshots", three, beginPrune("blog", 9, 0), ""},
		{"prune twice", pruning, beginPrune("shop", 9, 3, 1), ""},
		{"prune again after its end", pruned, beginPrune("shop", 9, 3, 1), ""},
		{"prune by another plan meanwhile", pruning, beginPrune("shop", 8, 3), state.ReasonSourceBusy},
		{"prune by another plan afterwards", pruned, beginPrune("shop", 8, 3), ""},
		{"prune what is not forgotten", gone, beginPrune("shop", 9, 3, 2), state.ReasonPlanStale},
		{"prune what was taken back", then(gone, unforget(1)), beginPrune("shop", 9, 3, 1), state.ReasonPlanStale},
		{"prune the rest of what was pruned", pruned, beginPrune("shop", 8, 3, 1), ""},
		{"prune another source's", then(gone, queue("b", "blog", 1), grant("b", 5), commit("b", 1, "blog", 5)), beginPrune("blog", 9, 4, 1), state.ReasonPlanStale},
		{"prune after a newer snapshot", then(gone, queue("n", "shop", 9), grant("n", 4), commit("n", 1, "shop", 4)), beginPrune("shop", 9, 3, 1), state.ReasonPlanStale},
		{"prune after another source's", then(gone, queue("b", "blog", 1), grant("b", 5), commit("b", 1, "blog", 5)), beginPrune("shop", 9, 3, 1), ""},
		{"prune during a backup", then(gone, queue("n", "shop", 9), grant("n", 4)), beginPrune("shop", 9, 3, 1), state.ReasonSourceBusy},
		{"prune after a backup lost its lease", then(gone, queue("n", "shop", 9), grant("n", 4), release("n", 1, nil)), beginPrune("shop", 9, 3, 1), ""},
		{"prune during a restore of it", then(gone, queueRestore("n", "shop", ""), grant("n", 0)), beginPrune("shop", 9, 3), state.ReasonSourceBusy},
		{"prune during a restore into it", then(gone, queueRestore("n", "blog", "shop"), grant("n", 0)), beginPrune("shop", 9, 3, 1), state.ReasonSourceBusy},
		{"prune during a backup of another", then(gone, queue("n", "blog", 9), grant("n", 4)), beginPrune("shop", 9, 3, 1), ""},
		{"prune by no plan", gone, &pb.Command{Command: &pb.Command_BeginPrune{BeginPrune: &pb.BeginPrune{Source: "shop"}}}, state.ReasonBadCommand},
		{"prune the last good one", then(three, verified(1, 50), verified(2, 50), forget(1), damage(2)), beginPrune("shop", 9, 3, 1), state.ReasonLastVerified},
		{"prune a good one beside another", then(three, verified(1, 50), verified(2, 50), forget(1)), beginPrune("shop", 9, 3, 1), ""},
		{"prune one that was damaged", then(three, verified(1, 50), verified(2, 50), forget(1), damage(1)), beginPrune("shop", 9, 3, 1), ""},
		{"queue during a prune", pruning, queue("n", "shop", 9), ""},
		{"grant during a prune", then(pruning, queue("n", "shop", 9)), grant("n", 4), state.ReasonSourceBusy},
		{"grant another source during a prune", then(pruning, queue("n", "blog", 9)), grant("n", 4), ""},
		{"grant a restore during a prune", then(pruning, queueRestore("n", "shop", "blog")), grant("n", 0), state.ReasonSourceBusy},
		{"grant a restore into it during a prune", then(pruning, queueRestore("n", "blog", "shop")), grant("n", 0), state.ReasonSourceBusy},
		{"grant after a prune", then(pruned, queue("n", "shop", 9)), grant("n", 4), ""},
		{"grant a restore of what was pruned", then(pruned, queueRestore("n", "shop", "")), grant("n", 0), state.ReasonPruned},
		{"end", pruning, endPrune("shop", 9), ""},
		{"end twice", pruned, endPrune("shop", 9), ""},
		{"end another plan's", pruning, endPrune("shop", 8), state.ReasonPlanStale},
		{"end nothing", three, endPrune("shop", 8), state.ReasonPlanStale},
		{"damage", three, damage(1, 3), ""},
		{"damage nothing", three, damage(1, 8), state.ReasonNoSnapshot},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(t)
			for _, c := range tc.before {
				l.must(proto.CloneOf(c))
			}
			before := after(t, l.state)
			err := l.apply(tc.cmd)
			if got := problem.ReasonOf(err); got != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v (%s), want %q", err, got, tc.want)
			}
			if err != nil && string(before) != string(after(t, l.state)) {
				t.Error("a refused command changed the state")
			}
			invariants(t, l.state)
		})
	}
}

func TestAllRefusalsAreNamed(t *testing.T) {
	l := newLog(t).must(append(made("shop", 3), verified(2, 50))...)
	l.must(queue("b", "blog", 1), grant("b", 5), commit("b", 1, "blog", 5))
	err := l.apply(withID(forget(1, 2, 3, 5, 7), "q"))
	for _, again := range []error{err, l.apply(withID(forget(1, 2, 3, 5, 7), "q"))} {
		text := problem.Text(again)
		for _, id := range ulids(2, 3, 5, 7) {
			if !strings.Contains(text, id) {
				t.Errorf("%s is not named in:\n%s", id, text)
			}
		}
	}
	if got := len(l.state.View().CheckForget(ulids(1, 2, 3, 5, 7))); got != 4 {
		t.Errorf("%d refusals, want 4", got)
	}
	if got := l.state.View().CheckForget(ulids(1)); got != nil {
		t.Errorf("refused: %v", got)
	}
}

func TestForgottenSnapshotsAreNotOffered(t *testing.T) {
	l := newLog(t).must(append(made("shop", 4), forget(2, 3))...)
	v := l.state.View()
	if got := idsOf(v.Snapshots("shop", 0)); !slices.Equal(got, ulids(4, 1)) {
		t.Errorf("listed: %v", got)
	}
	if got := idsOf(v.Snapshots("", 1)); !slices.Equal(got, ulids(4)) || v.CountSnapshots("shop") != 2 || v.Counts().Snapshots != 2 {
		t.Errorf("newest of all: %v; %d of shop, %d in all", got, v.CountSnapshots("shop"), v.Counts().Snapshots)
	}
	if got := idsOf(v.Forgotten("shop", 0)); !slices.Equal(got, ulids(3, 2)) {
		t.Errorf("forgotten: %v", got)
	}
	if s, err := v.FindSnapshot(ulid(2)); err != nil || s.GetForgottenAt() == nil {
		t.Errorf("by its whole id: %v, %v", s, err)
	}
	l.must(beginPrune("shop", 9, 4, 2))
	v = l.state.View()
	if s, err := v.FindSnapshot(ulid(2)); problem.ReasonOf(err) != state.ReasonPruned {
		t.Errorf("what is pruned: %v, %v", s, err)
	}
	if got := idsOf(v.Forgotten("", 0)); !slices.Equal(got, ulids(3)) || len(v.ActivePrunes()) != 1 {
		t.Errorf("forgotten: %v, prunes: %v", got, v.ActivePrunes())
	}
	l.must(endPrune("shop", 9))
	p, ok := l.state.View().Prune("shop")
	if !ok || p.GetEndedAt() == nil || p.GetDeletedBytes() != 300 || p.GetPlannedObjects() != 3 || len(l.state.View().ActivePrunes()) != 0 {
		t.Errorf("the prune: %v", p)
	}
	if e, ok := l.state.View().LedgerEntry(2); !ok || e.GetPrunedAt() == nil {
		t.Errorf("its ledger entry: %v", e)
	}
}

func TestDamageStaysUntilVerified(t *testing.T) {
	l := newLog(t).must(append(made("shop", 1), verified(1, 50), damage(1))...)
	s := func() *pb.Snapshot { s, _ := l.state.View().Snapshot(ulid(1)); return s }
	if s().GetDamagedAt() == nil {
		t.Error("not damaged")
	}
	l.must(verified(1, 50)) // of the same time as before
	if s().GetDamagedAt() != nil || s().GetVerifiedAt() == nil {
		t.Errorf("after it was found right: %v", s())
	}
}

func idsOf(all []*pb.Snapshot) (ids []string) {
	for _, s := range all {
		ids = append(ids, s.GetId())
	}
	return ids
}
