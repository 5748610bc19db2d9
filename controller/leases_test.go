package controller_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// An agent that stops answering loses its lease; what it still sends is refused.
func TestALostLease(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	first := a.assigned()
	req, err := a.write(first, dump)
	if err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(50 * time.Second)
	if resp := a.beat(&pb.RunProgress{Lease: first.GetLease()}); len(resp.GetRenewed()) != 1 {
		t.Fatalf("in time: %v", resp)
	}
	c.clock.Advance(50 * time.Second) // beyond the first end, within the renewed one
	if resp := a.beat(&pb.RunProgress{Lease: first.GetLease()}); len(resp.GetRenewed()) != 1 {
		t.Fatalf("in time: %v", resp)
	}
	c.clock.Advance(61 * time.Second)
	if _, err := a.stream.Recv(); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("the session of a silent agent ended with %v", err)
	}
	if r := c.awaitRun(run, pb.RunState_RUN_STATE_QUEUED); r.GetEpoch() != 1 {
		t.Errorf("while its agent is silent: %v", r)
	}
	a = c.connect("a1", 2, []*pb.Lease{first.GetLease()}, ready("shop"))
	second := a.assigned()
	if second.GetLease().GetEpoch() != 2 || second.GetBackup().GetSnapshot() == first.GetBackup().GetSnapshot() {
		t.Fatalf("second attempt: %v", second)
	}
	if resp := a.beat(&pb.RunProgress{Lease: first.GetLease()}); len(resp.GetLost()) != 1 {
		t.Errorf("too late: %v", resp)
	}
	if _, err := c.agent.CommitSnapshot(t.Context(), req); problem.ReasonOf(err) != state.ReasonStaleEpoch {
		t.Errorf("commit under the old epoch: %v", err)
	}
	if err := (sink{a, first.GetLease()}).Put(t.Context(), repo.PackName("shop", strings.Repeat("ab", 16)), []byte("x"), [32]byte{}); problem.ReasonOf(err) != state.ReasonStaleEpoch {
		t.Errorf("upload under the old epoch: %v", err)
	}
	if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: first.GetLease(), Failure: &pb.Failure{Message: "x"}}); problem.ReasonOf(err) != state.ReasonStaleEpoch {
		t.Errorf("end under the old epoch: %v", err)
	}
	a.carryOut(second, dump)
	if r := c.awaitRun(run, pb.RunState_RUN_STATE_SUCCEEDED); r.GetEpoch() != 2 {
		t.Errorf("run: %v", r)
	}
	if n := len(c.node.View().Snapshots("shop", 0)); n != 1 {
		t.Errorf("%d snapshots", n)
	}
}

func TestARunIsGivenUpAfterThreeLostAgents(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	for epoch := uint64(1); epoch <= dispatch.MaxAttempts; epoch++ {
		if as := a.assigned(); as.GetLease().GetEpoch() != epoch {
			t.Fatalf("epoch %d, want %d", as.GetLease().GetEpoch(), epoch)
		}
		c.clock.Advance(2 * time.Minute)
		if epoch < dispatch.MaxAttempts {
			a = c.connect("a1", 2, nil, ready("shop"))
		}
	}
	r := c.awaitRun(run, pb.RunState_RUN_STATE_FAILED)
	if r.GetFailure().GetReason() != string(dispatch.ReasonAgentLost) || r.GetFailure().GetHint() == "" {
		t.Errorf("failure: %v", r.GetFailure())
	}
}

func TestAnAgentThatCrashedGetsItsRunAnewAtOnce(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	a.assigned()
	a.hangUp()
	back := c.connect("a1", 2, nil, ready("shop"))
	if n := len(back.complete.GetAssign()); n != 0 {
		t.Errorf("%d assignments under the old epoch", n)
	}
	as := back.assigned()
	if as.GetLease().GetRun() != run || as.GetLease().GetEpoch() != 2 {
		t.Fatalf("assignment: %v", as)
	}
	back.carryOut(as, dump)
	c.awaitRun(run, pb.RunState_RUN_STATE_SUCCEEDED)
}

func TestASessionThatBrokeGoesOnWithItsRuns(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	as := a.assigned()
	back := c.connect("a1", 2, []*pb.Lease{as.GetLease(), {Run: "unheard-of", Epoch: 3}}, ready("shop")) // ends the older session
	if got := back.complete.GetAssign(); len(got) != 1 || !proto.Equal(got[0].GetLease(), as.GetLease()) {
		t.Fatalf("the new session begins with %v", got)
	}
	if _, err := a.stream.Recv(); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("the older session ended with %v", err)
	}
	_, err := c.agent.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "a1", Session: a.session})
	if problem.CodeOf(err) != problem.NotFound {
		t.Errorf("a heartbeat of the older session: %v", err)
	}
	back.carryOut(as, dump)
	if r := c.awaitRun(run, pb.RunState_RUN_STATE_SUCCEEDED); r.GetEpoch() != 1 {
		t.Errorf("run: %v", r)
	}
}

func TestAnAgentsIDIsChecked(t *testing.T) {
	c := newCluster(t, nil)
	c.connect("host-1.example.com_a", 1, nil, ready("shop")).hangUp()
	for _, id := range []string{"", "a b", "../x", "-a", strings.Repeat("a", 65)} {
		stream, err := c.agent.Session(t.Context(), &pb.SessionRequest{Agent: id})
		if err == nil {
			_, err = stream.Recv()
		}
		if problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestCancel(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 1, nil, ready("shop"), ready("blog"))
	running := c.backup("shop")
	as := a.assigned()
	queued := c.backup("blog") // the agent takes one at a time
	for _, id := range []string{running, queued} {
		if _, err := c.admin.CancelRun(t.Context(), &pb.CancelRunRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.awaitRun(queued, pb.RunState_RUN_STATE_CANCELLED); r.GetEpoch() != 0 {
		t.Errorf("the queued run was leased: %v", r)
	}
	if m := a.next(); len(m.GetCancel()) != 1 || !proto.Equal(m.GetCancel()[0], as.GetLease()) {
		t.Fatalf("message: %v", m)
	}
	for range 2 { // telling it twice is fine
		if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease(), Cancelled: true}); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitRun(running, pb.RunState_RUN_STATE_CANCELLED)
	if _, err := c.admin.CancelRun(t.Context(), &pb.CancelRunRequest{Id: "none"}); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("cancel of nothing: %v", err)
	}
}

// A controller that restarts arms the leases it finds before it reassigns
// anything, however long it was away.
func TestARestartOfTheControllerMidRun(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	as := a.assigned()
	req, err := a.write(as, dump)
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.clock.Advance(10 * time.Minute)
	c.start()
	back := c.connect("a1", 2, []*pb.Lease{as.GetLease()}, ready("shop"))
	if got := back.complete.GetAssign(); len(got) != 1 || got[0].GetLease().GetEpoch() != 1 {
		t.Fatalf("the session begins with %v", got)
	}
	c.clock.Advance(50 * time.Second)
	if resp := back.beat(&pb.RunProgress{Lease: as.GetLease()}); len(resp.GetRenewed()) != 1 {
		t.Fatalf("heartbeat: %v", resp)
	}
	if _, err := c.agent.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	c.awaitRun(run, pb.RunState_RUN_STATE_SUCCEEDED)
	if got := c.dump("shop@latest", "shop"); got != dump {
		t.Errorf("dumped %q", got)
	}
	c.restart()
	if n := len(c.node.View().Snapshots("", 0)); n != 1 {
		t.Errorf("%d snapshots after another restart", n)
	}
}

func TestNobodyWhoWaitsHoldsUpTheEnd(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	a.assigned()
	watch, err := c.admin.WatchRun(t.Context(), &pb.WatchRunRequest{Id: run})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	c.stopRun()
	for err == nil {
		_, err = watch.Recv()
	}
	if problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("the watched run: %v", err)
	}
	if _, err := a.stream.Recv(); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("the session: %v", err)
	}
	c.server.GracefulStop() // hangs when a call is left
}

// A source moves with its container to another host, but never while the agent
// that has it is there, or may still come back.
func TestASourceMovesToAnotherAgentOnlyWhenItsOwnIsLost(t *testing.T) {
	c := newCluster(t, nil)
	owner := func() string {
		s, _ := c.node.View().Source("shop")
		return s.GetAgent()
	}
	one := c.connect("a1", 2, nil, ready("shop"))
	two := c.connect("a2", 2, nil, ready("shop"))
	two.beat()
	if owner() != "a1" {
		t.Fatal("a second agent took the source of one that is connected")
	}
	run := c.backup("shop")
	if as := one.assigned(); as.GetLease().GetRun() != run {
		t.Fatalf("assignment: %v", as)
	}
	one.hangUp()
	c.await("the agent to be gone", func() bool {
		st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		return err == nil && !st.GetAgents()[0].GetConnected()
	})
	if owner() != "a1" {
		t.Error("the source moved before its agent could come back")
	}
	c.clock.Advance(2 * time.Minute)
	c.await("the source to move", func() bool { return owner() == "a2" })
	if as := two.assigned(); as.GetLease().GetRun() != run || as.GetLease().GetEpoch() != 2 {
		t.Errorf("assignment: %v", as)
	}
	c.connect("a1", 2, nil, ready("shop"))
	if owner() != "a2" {
		t.Error("the source moved back although its new agent is connected")
	}
}
