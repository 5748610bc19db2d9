package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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
		{"prune what can be taken back", then(three, forgetFor(60, 0, 1)), beginPrune("shop", 9, 3, 1), state.ReasonUndoWindow},
		{"prune what could be taken back", then(three, forgetFor(1, 0, 1), verified(3, 50)), beginPrune("shop", 9, 3, 1), ""},
		{"forget what is on hold", then(three, hold(60, 1)), forget(1), state.ReasonOnHold},
		{"forget what was on hold", then(three, hold(10, 1)), forget(1), ""},
		{"forget after the hold was ended", then(three, hold(60, 1), hold(0, 1)), forget(1), ""},
		{"hold what is forgotten", gone, hold(60, 1), state.ReasonForgotten},
		{"end the hold of what is forgotten", gone, hold(0, 1), ""},
		{"hold what is pruned", pruned, hold(60, 1), state.ReasonPruned},
		{"hold nothing", three, hold(60, 8), state.ReasonNoSnapshot},
		{"hold for ever", three, &pb.Command{Command: &pb.Command_SetHold{SetHold: &pb.SetHold{Snapshots: ulids(1), Until: &timestamppb.Timestamp{Seconds: 1 << 50}}}}, state.ReasonBadCommand},
		{"tag", three, tag("golden b", "b c", 1, 2), ""},
		{"tag what is forgotten", gone, tag("golden", "", 1), ""},
		{"tag what is pruned", pruned, tag("golden", "", 1), state.ReasonPruned},
		{"tag with what is no tag", three, tag("a,b", "", 1), state.ReasonBadCommand},
		{"tag too much", three, tag("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33", "", 1), state.ReasonBadCommand},
		{"forget and leave two", then(three, verified(1, 50), verified(2, 50), verified(3, 50)), forgetFor(0, 2, 1), ""},
		{"forget and leave one of two", then(three, verified(1, 50), verified(3, 50)), forgetFor(0, 2, 1), state.ReasonLastVerified},
		{"forget what is not verified beside few", then(three, verified(3, 50)), forgetFor(0, 2, 1), ""},
		{"forget with too few reasons", three, &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: ulids(1, 2), Reasons: []string{"x"}}}}, state.ReasonBadCommand},
		{"forget with an undo of the past", three, forgetFor(-1, 0, 1), state.ReasonBadCommand},
		{"forget with an undo without end", three, forgetFor(1<<33, 0, 1), state.ReasonBadCommand},
		{"forget and leave less than none", three, forgetFor(0, -1, 1), state.ReasonBadCommand},
		{"prune and leave one of two", then(three, verified(1, 50), verified(2, 50), forget(1)), leaving(2, beginPrune("shop", 9, 3, 1)), state.ReasonLastVerified},
		{"prune and leave two", then(three, verified(1, 50), verified(2, 50), verified(3, 50), forget(1)), leaving(2, beginPrune("shop", 9, 3, 1)), ""},
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

func leaving(atLeast int32, prune *pb.Command) *pb.Command {
	prune.GetBeginPrune().AtLeast = atLeast
	return prune
}

// What is noted with a snapshot is there, and goes with a hold's end or the taking back.
func TestWhatIsNotedWithASnapshot(t *testing.T) {
	l := newLog(t).must(append(made("shop", 3), hold(500, 1), tag("golden b", "", 1), tag("a", "b", 1), forgetFor(60, 1, 2))...)
	one, _ := l.state.View().Snapshot(ulid(1))
	if !proto.Equal(one.GetHoldUntil(), at(500)) || one.GetHoldReason() != "audit" || one.GetHoldBy() != "admin/alice" || !slices.Equal(one.GetTags(), []string{"a", "golden"}) {
		t.Errorf("held: %v", one)
	}
	two, _ := l.state.View().Snapshot(ulid(2))
	if two.GetForgetReason() != "reason 0" || two.GetUndoUntil().GetSeconds() != two.GetForgottenAt().GetSeconds()+60 || !state.Undoable(two, at(20)) || state.Undoable(two, at(500)) {
		t.Errorf("forgotten: %v", two)
	}
	l.must(hold(0, 1), unforget(2))
	one, _ = l.state.View().Snapshot(ulid(1))
	two, _ = l.state.View().Snapshot(ulid(2))
	if one.GetHoldUntil() != nil || one.GetHoldReason() != "" || two.GetForgetReason() != "" || two.GetUndoUntil() != nil {
		t.Errorf("after that: %v, %v", one, two)
	}
}

// proofs counts the snapshots of a source that are known to be good: those that
// are listed, and all whose data is there.
func proofs(v *state.View, source string) (listed, there int) {
	for _, s := range append(v.Snapshots(source, 0), v.Forgotten(source, 0)...) {
		if s.GetVerifiedAt() != nil && s.GetDamagedAt() == nil {
			there++
			if s.GetForgottenAt() == nil {
				listed++
			}
		}
	}
	return listed, there
}

// Whatever is asked for, in whatever order, by clocks that step, and with whatever
// is damaged meanwhile: what is known to be good does not fall below what was to
// be kept, but by damage.
func TestNoCommandsRemoveTheLastVerified(t *testing.T) {
	forgotten, pruned, refused := 0, 0, map[problem.Reason]int{}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		l := newLog(t).must(made("shop", 8)...)
		clock := 100
		for step := range 400 {
			clock += rnd.IntN(20)
			if rnd.IntN(30) == 0 { // the clock steps, as far as a lifetime
				clock += rnd.IntN(2_000_000_000) - 1_000_000_000
				clock = max(clock, -day0)
			}
			l.index = clock
			v := l.state.View()
			some := func() (list []int) {
				for range 1 + rnd.IntN(4) {
					list = append(list, 1+rnd.IntN(8))
				}
				return list
			}
			var plan []int
			for _, s := range v.Forgotten("shop", 0) {
				var n int
				if _, err := fmt.Sscanf(s.GetId(), "01J%d", &n); err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(3) > 0 {
					plan = append(plan, n)
				}
			}
			floor := rnd.IntN(4)
			cmds := []*pb.Command{
				verified(1+rnd.IntN(8), clock), verified(1+rnd.IntN(8), clock), damage(some()...), unforget(some()...), forget(some()...),
				forgetFor(rnd.IntN(100), floor, some()...), forgetFor(rnd.IntN(100), floor, some()...), forgetFor(0, floor, some()...),
				hold(max(1, clock+rnd.IntN(60)-10), some()...), hold(0, some()...), tag("a", "", some()...),
				leaving(int32(floor), beginPrune("shop", step+100, 8, plan...)), endPrune("shop", 0),
			}
			for _, p := range v.ActivePrunes() {
				done := endPrune("shop", 0)
				done.GetEndPrune().Plan = p.GetPlan()
				cmds = append(cmds, done, done, done)
			}
			cmd := cmds[rnd.IntN(len(cmds))]
			listed, there := proofs(v, "shop")
			err := l.apply(cmd)
			after := l.state.View()
			listedNow, thereNow := proofs(after, "shop")
			switch {
			case err != nil:
				refused[problem.ReasonOf(err)]++
			case cmd.GetForgetSnapshots() != nil && listedNow < listed:
				forgotten++
				if listedNow < max(1, floor) && cmd.GetForgetSnapshots().GetAtLeast() > 0 || listedNow < 1 {
					t.Fatalf("seed %d, step %d: %v leaves %d verified snapshots listed of %d", seed, step, cmd, listedNow, listed)
				}
			case cmd.GetBeginPrune() != nil && thereNow < there:
				pruned++
				if thereNow < max(1, floor) {
					t.Fatalf("seed %d, step %d: %v leaves %d verified snapshots of %d", seed, step, cmd, thereNow, there)
				}
			case cmd.GetRecordDamage() == nil && (thereNow < there || listedNow < listed):
				t.Fatalf("seed %d, step %d: %v leaves %d and %d verified snapshots of %d and %d", seed, step, cmd, listedNow, thereNow, listed, there)
			}
		}
		invariants(t, l.state)
	}
	for _, reason := range []problem.Reason{state.ReasonLastVerified, state.ReasonOnHold, state.ReasonUndoWindow, state.ReasonForgotten, state.ReasonNewest} {
		if refused[reason] < 20 {
			t.Errorf("%s: refused %d times: too seldom to show anything", reason, refused[reason])
		}
	}
	if forgotten < 100 || pruned < 20 {
		t.Errorf("%d verified ones were forgotten, %d pruned: too few to show anything", forgotten, pruned)
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
	if got := len(l.state.View().CheckForget(ulids(1, 2, 3, 5, 7), at(90))); got != 4 {
		t.Errorf("%d refusals, want 4", got)
	}
	if got := l.state.View().CheckForget(ulids(1), at(90)); got != nil {
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
