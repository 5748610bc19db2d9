package dispatch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Another controller takes over: what is leased stays so while its agent comes
// back, what is queued is leased once, and what a lost agent had is done anew.
func TestANewLeaderNeitherDoublesNorLoses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		one := n.leader(nil)
		a := one.connect(asks("a1", "h1", 1), many("a1", 3)...)
		b := one.connect(asks("a2", "h2", 1), many("a2", 1)...)
		one.queueAll(many("a1", 3)...)
		one.queueAll(many("a2", 1)...)
		heldByA, heldByB := a.assigned(), b.assigned()
		if len(heldByA) != 1 || len(heldByB) != 1 {
			t.Fatalf("leased: %v, %v", heldByA, heldByB)
		}
		// The leases are renewed in memory; the state does not know of the last time.
		one.pass(30*time.Second, func() { a.beat(heldByA...); b.beat(heldByB...) })
		one.stop()
		for _, e := range []*end{a, b} {
			if over, err := e.ended(); !over || problem.CodeOf(err) != problem.Unavailable {
				t.Errorf("a session of the old leader: over %t, %v", over, err)
			}
		}
		if _, err := one.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "a1", Session: a.session}); problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("a heartbeat at the old leader: %v", err)
		}

		two := n.leader(nil)
		two.pass(30 * time.Second)
		before := two.run(heldByA[0].GetRun())
		if before.GetEpoch() != 1 || before.GetState() != pb.RunState_RUN_STATE_RUNNING {
			t.Fatalf("before its agent has come: %v", before)
		}
		back := two.connect(asks("a1", "h1", 1, heldByA...), many("a1", 3)...)
		if got := back.assigned(); len(got) != 1 || !proto.Equal(got[0], heldByA[0]) {
			t.Fatalf("the agent is told of %v, it has %v", got, heldByA)
		}
		if n := len(two.fakeNode.View().LeasedRuns()); n != 2 {
			t.Errorf("%d runs are leased", n)
		}
		// The other agent never comes: its lease lasts for its whole time from the take-over.
		two.pass(20*time.Second, func() { back.beat(heldByA...) })
		if r := two.run(heldByB[0].GetRun()); r.GetEpoch() != 1 || r.GetState() != pb.RunState_RUN_STATE_RUNNING {
			t.Errorf("taken back within its time: %v", r)
		}
		two.pass(20*time.Second, func() { back.beat(heldByA...) })
		if r := two.run(heldByB[0].GetRun()); r.GetState() != pb.RunState_RUN_STATE_QUEUED {
			t.Errorf("not taken back after its time: %v", r)
		}
		// It is nobody's now, and the epoch is still the same: nobody ends it.
		_, late := two.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: heldByB[0], Failure: &pb.Failure{Code: "failed"}})
		if problem.ReasonOf(late) != state.ReasonStaleEpoch {
			t.Errorf("an end after the lease has passed: %v", late)
		}
		wantStale := two.Propose(t.Context(), &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: heldByB[0].GetRun(), Epoch: 0, State: pb.RunState_RUN_STATE_FAILED}}})
		if problem.ReasonOf(wantStale) != state.ReasonStaleEpoch {
			t.Errorf("an end under an old epoch: %v", wantStale)
		}
		third := two.connect(asks("a2", "h2", 1), many("a2", 1)...)
		if got := third.assigned(); len(got) != 1 || got[0].GetEpoch() != 2 {
			t.Errorf("the run of the lost agent: %v", got)
		}

		// All is done in the end, each run once.
		done := map[string]int{}
		for range 10 {
			for _, r := range two.fakeNode.View().LeasedRuns() {
				if _, err := two.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: &pb.Lease{Run: r.GetId(), Epoch: r.GetEpoch()}, Failure: &pb.Failure{Code: "failed"}}); err != nil {
					t.Error(err)
				}
				done[r.GetId()]++
			}
			synctest.Wait()
		}
		if want := "map[r-a1-s0:1 r-a1-s1:1 r-a1-s2:1 r-a2-s0:1]"; fmt.Sprint(done) != want {
			t.Errorf("done: %v, want %s", done, want)
		}
	})
}

// A controller that leads again gives agents the time to find it, though it has
// not seen them since it led before.
func TestALeaderAgainDoesNotTakeAgentsForLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		one := n.leader(nil)
		a := one.connect(asks("a1", "h1", 1), ready("shop"))
		n.must(queueOf(backupOf("r1", "shop")))
		held := a.assigned()
		one.stop()
		if over, _ := a.ended(); !over {
			t.Fatal("the session goes on")
		}
		two := n.leader(nil)
		b := two.connect(asks("a1", "h1", 1, held...), ready("shop"))
		two.pass(5*time.Minute, func() { b.beat(held...) })
		two.stop()

		again := &leader{fakeNode: n, Dispatcher: one.Dispatcher}
		again.Node.(*office).leads.Store(true)
		go again.Run(t.Context())
		synctest.Wait()
		other := again.connect(asks("a2", "h2", 1), ready("shop"))
		again.pass(30*time.Second, func() { other.beat() })
		if n.owner("shop") != "a1 READY" {
			t.Errorf("taken over before its agent could find the leader: %s", n.owner("shop"))
		}
		if r := n.run("r1"); r.GetState() != pb.RunState_RUN_STATE_RUNNING || r.GetEpoch() != 1 {
			t.Errorf("its run was taken back before it could: %v", r)
		}
		again.pass(time.Minute, func() { other.beat() })
		if n.owner("shop") != "a2 READY" {
			t.Errorf("not taken over from an agent that is lost: %s", n.owner("shop"))
		}
	})
}
