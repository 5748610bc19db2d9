package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// invariants are the laws that hold after any commands.
func invariants(t testing.TB, s *state.Tables) {
	t.Helper()
	v := s.View()
	leased := map[string]string{}
	for _, r := range v.ActiveRuns() {
		if r.GetState() != pb.RunState_RUN_STATE_RUNNING {
			continue
		}
		for _, source := range state.Touches(r) {
			if other := leased[source]; other != "" {
				t.Errorf("runs %s and %s are both leased for %s", r.GetId(), other, source)
			}
			leased[source] = r.GetId()
		}
	}
	pruning := map[string]bool{}
	for _, p := range v.ActivePrunes() {
		pruning[p.GetSource()] = true
		if leased[p.GetSource()] != "" {
			t.Errorf("%s is pruned while run %s is leased for it", p.GetSource(), leased[p.GetSource()])
		}
	}
	newest, counted, forgotten := map[string]*pb.Snapshot{}, 0, 0
	fires := map[string]bool{}
	var previous *ledger.Entry
	for i := uint64(1); i <= v.LedgerHead().GetLedgerIndex(); i++ {
		snap, ok := v.LedgerEntry(i)
		if !ok {
			t.Fatalf("the ledger lacks entry %d", i)
		}
		key := snap.GetSource() + " " + snap.GetFireTime().String()
		if fires[key] {
			t.Errorf("two snapshots of %s", key)
		}
		fires[key] = true
		newest[snap.GetSource()] = snap
		if snap.GetForgottenAt() == nil {
			counted++
		} else if snap.GetPrunedAt() == nil {
			forgotten++
		}
		if snap.GetPrunedAt() != nil && snap.GetForgottenAt() == nil {
			t.Errorf("snapshot %s was pruned without being forgotten", snap.GetId())
		}
		entry, err := state.EntryOf(snap)
		if err != nil {
			t.Fatal(err)
		}
		if err := entry.Follows(previous); err != nil {
			t.Error(err)
		}
		previous = &entry
	}
	for source, s := range newest {
		if s.GetForgottenAt() != nil {
			t.Errorf("the newest snapshot of %s is forgotten", source)
		}
	}
	if got := len(v.Snapshots("", 0)); got != counted || v.Counts().Snapshots != counted || len(v.Forgotten("", 0)) != forgotten {
		t.Errorf("%d snapshots are listed, %d counted, %d forgotten; there are %d and %d", got, v.Counts().Snapshots, len(v.Forgotten("", 0)), counted, forgotten)
	}
}

func TestRandomCommandsKeepTheLawsAndAreDeterministic(t *testing.T) {
	committed, pruned := uint64(0), 0
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		one, two := newLog(t), newLog(t)
		for step := range 400 {
			id, source, snap := fmt.Sprintf("r%d", rnd.IntN(30)), fmt.Sprintf("s%d", rnd.IntN(4)), rnd.IntN(40)
			epoch := uint64(rnd.IntN(4))
			choices := []*pb.Command{
				queue(id, source, rnd.IntN(6)), grant(id, snap), grant(id, 100+step), commit(id, epoch, source, snap),
				release(id, epoch, nil), release(id, epoch, &pb.Failure{Code: "x"}), end(id, epoch, pb.RunState(rnd.IntN(6))),
				cancel(id), renew(id, epoch, rnd.IntN(9000)), queueRestore(id, source, fmt.Sprintf("s%d", rnd.IntN(4))),
				setSchedule(rnd.IntN(5)), fire(rnd.IntN(5), rnd.IntN(9), source), verified(snap, rnd.IntN(99)),
				report(fmt.Sprintf("a%d", rnd.IntN(2)), nil, ready(source)),
			}
			for _, known := range one.state.View().Snapshots(source, 0) {
				one := &pb.ForgetSnapshots{Snapshots: []string{known.GetId()}}
				choices = append(choices, &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: one}})
			}
			plan := beginPrune(source, rnd.IntN(3), one.state.View().NewestEntry(source))
			for _, gone := range one.state.View().Forgotten(source, 0) {
				plan.GetBeginPrune().Snapshots = append(plan.GetBeginPrune().Snapshots, gone.GetId())
				choices = append(choices, &pb.Command{Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: []string{gone.GetId()}}}})
			}
			choices = append(choices, plan, endPrune(source, rnd.IntN(3)), damage(snap))
			for _, p := range one.state.View().ActivePrunes() { // so that they end
				end := endPrune(p.GetSource(), 0)
				end.GetEndPrune().Plan = p.GetPlan()
				choices = append(choices, end, end, end)
			}
			for _, r := range one.state.View().ActiveRuns() { // so that commits happen
				if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
					c := commit(r.GetId(), r.GetEpoch(), r.GetSource(), 0)
					c.GetCommitRun().GetSnapshot().Id = r.GetSnapshot()
					choices = append(choices, c)
				}
			}
			cmd := choices[rnd.IntN(len(choices))]
			if rnd.IntN(2) == 0 {
				cmd.RequestId = fmt.Sprintf("q%d", rnd.IntN(300))
			}
			copied := proto.CloneOf(cmd)
			if a, b := one.apply(cmd), two.apply(copied); fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("seed %d: %v and %v", seed, a, b)
			}
		}
		invariants(t, one.state)
		bytes1 := snapshotBytes(t, one.state)
		if !bytes.Equal(bytes1, snapshotBytes(t, two.state)) {
			t.Fatalf("seed %d: the same commands gave different raft snapshots", seed)
		}
		restored := state.New()
		if _, err := restored.ReadFrom(bytes.NewReader(bytes1)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes1, snapshotBytes(t, restored)) {
			t.Fatalf("seed %d: restoring changed something", seed)
		}
		invariants(t, restored)
		for _, source := range []string{"s0", "s1", "s2", "s3"} {
			if _, ok := one.state.View().Prune(source); ok {
				pruned++
			}
		}
		committed += one.state.View().LedgerHead().GetLedgerIndex()
	}
	if committed < 40 || pruned < 20 {
		t.Errorf("only %d snapshots were committed, and %d sources pruned: the commands are too wild to show anything", committed, pruned)
	}
}

func TestADamagedRaftSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	l := newLog(t).must(append(made("shop", 2), forget(1), beginPrune("shop", 9, 2, 1), report("a1", nil, ready("shop")))...)
	good := snapshotBytes(t, l.state)
	into := newLog(t).must(queue("other", "x", 0)).state
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := into.ReadFrom(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
		if _, err := into.ReadFrom(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
	if _, ok := into.View().Run("other"); !ok {
		t.Error("a refused raft snapshot changed the state")
	}
}

func FuzzApply(f *testing.F) {
	for _, c := range []*pb.Command{queue("r1", "shop", 0), grant("r1", 1), commit("r1", 1, "shop", 1), report("a1", nil, ready("x")), fire(1, 2, "a"), forget(1), beginPrune("shop", 1, 1, 1), endPrune("shop", 1), {}} {
		c.ProposedAt = at(1)
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cmd := &pb.Command{}
		if proto.Unmarshal(data, cmd) != nil {
			return
		}
		l := newLog(t).must(queue("r1", "shop", 0), grant("r1", 1), setSchedule(1))
		_ = l.state.Apply(10, cmd)
		invariants(t, l.state)
		restored := state.New()
		raw := snapshotBytes(t, l.state)
		if _, err := restored.ReadFrom(bytes.NewReader(raw)); err != nil || !bytes.Equal(raw, snapshotBytes(t, restored)) {
			t.Fatalf("the state does not survive a raft snapshot: %v", err)
		}
	})
}

func FuzzReadFrom(f *testing.F) {
	l := newLog(f).must(queue("r1", "shop", 0), grant("r1", 1), commit("r1", 1, "shop", 1), report("a1", nil, ready("shop")), setSchedule(3))
	f.Add(snapshotBytes(f, l.state))
	f.Add([]byte("BKTSTATE"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := state.New()
		if _, err := s.ReadFrom(bytes.NewReader(data)); err != nil {
			return
		}
		s.View().Sources()
		s.View().ActiveRuns()
		s.View().LedgerHead()
		snapshotBytes(t, s)
	})
}
