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
		entry, err := state.EntryOf(snap)
		if err != nil {
			t.Fatal(err)
		}
		if err := entry.Follows(previous); err != nil {
			t.Error(err)
		}
		previous = &entry
	}
}

func TestRandomCommandsKeepTheLawsAndAreDeterministic(t *testing.T) {
	committed := uint64(0)
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
		committed += one.state.View().LedgerHead().GetLedgerIndex()
	}
	if committed < 40 {
		t.Errorf("only %d snapshots were committed: the commands are too wild to show anything", committed)
	}
}

func TestADamagedRaftSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	l := newLog(t).must(queue("r1", "shop", 0), grant("r1", 1), commit("r1", 1, "shop", 1), report("a1", nil, ready("shop")))
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
	for _, c := range []*pb.Command{queue("r1", "shop", 0), grant("r1", 1), commit("r1", 1, "shop", 1), report("a1", nil, ready("x")), fire(1, 2, "a"), {}} {
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
