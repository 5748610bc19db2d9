package controller_test

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A container that is moved to another host, and is left stopped on the old one,
// stays the source that it was: its next backup builds on the ones before.
func TestASourceThatMovesKeepsItsHistory(t *testing.T) {
	c := newCluster(t, nil)
	old := c.connect("a1", 2, nil, ready("shop"), ready("other"))
	c.backup("shop")
	first := old.carryOut(old.assigned(), dump).GetSnapshot().GetId()

	moved := c.connect("a2", 2, nil, ready("shop"))
	stopped := ready("shop")
	stopped.State = pb.SourceState_SOURCE_STATE_STOPPED
	if _, err := c.agent.ReportInventory(t.Context(), &pb.ReportInventoryRequest{Agent: "a1", Session: old.session, Sources: []*pb.Source{stopped}, Partial: true}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(45 * time.Second)
	c.await("the source to move", func() bool {
		s, _ := c.node.View().Source("shop")
		return s.GetAgent() == "a2" && s.GetState() == pb.SourceState_SOURCE_STATE_READY
	})
	run := c.backup("shop")
	as := moved.assigned()
	if base := as.GetBackup().GetBase(); as.GetLease().GetRun() != run || len(base) != 1 || base[0].GetSnapshot() != first {
		t.Fatalf("assignment: %v", as)
	}
	key, err := c.repo.SourceKey("shop", 0)
	if err != nil || string(as.GetSourceKey()) != string(key.Secret()) {
		t.Errorf("the key is not the source's: %v", err)
	}
	moved.carryOut(as, dump)
	list, err := c.admin.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{Source: "shop"})
	if err != nil || len(list.GetSnapshots()) != 2 || list.GetSnapshots()[1].GetId() != first {
		t.Errorf("history: %v, %v", list, err)
	}
	if s, _ := c.node.View().Source("other"); s.GetAgent() != "a1" || s.GetState() != pb.SourceState_SOURCE_STATE_READY {
		t.Errorf("what did not move: %v", s)
	}
}

func TestADrainedAgentWaitsUntilItIsNot(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	set := func(drained bool) {
		t.Helper()
		err := c.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetAgent{SetAgent: &pb.SetAgentRecord{Agent: &pb.AgentRecord{Id: "a1", Drained: drained}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(true)
	run := c.backup("shop")
	c.await("the agent to have a run waiting", func() bool {
		st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		return err == nil && st.GetAgents()[0].GetQueued() == 1 && st.GetAgents()[0].GetDrained()
	})
	if r, _ := c.node.View().Run(run); r.GetState() != pb.RunState_RUN_STATE_QUEUED {
		t.Errorf("run: %v", r)
	}
	set(false)
	if as := a.assigned(); as.GetLease().GetRun() != run {
		t.Errorf("assignment: %v", as)
	}
}

func TestALogThatNobodyAskedFor(t *testing.T) {
	c := newCluster(t, nil)
	c.connect("a1", 1, nil)
	_, err := c.agent.SendLogs(t.Context(), &pb.SendLogsRequest{Agent: "a1", Id: "x", Logs: []*pb.LogLine{{Message: "hello"}}})
	if problem.CodeOf(err) != problem.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestTheStoreIsKnownByItsRepository(t *testing.T) {
	c := newCluster(t, nil)
	c.await("the store to be registered", func() bool {
		all := c.node.View().Stores()
		return len(all) == 1 && all[0].GetRepository() == c.repo.ID && len(all[0].GetControllers()) == 1 && all[0].GetControllers()[0] == c.node.ID()
	})
}
