package state_test

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestADrillMarksItsSnapshot(t *testing.T) {
	l := newLog(t).must(made("shop", 2)...)
	find := func(ref string) string {
		s, err := l.state.View().FindSnapshot(ref)
		if err != nil {
			return string(problem.ReasonOf(err))
		}
		return s.GetId()
	}
	snapshot := func(n int) *pb.Snapshot { s, _ := l.state.View().Snapshot(ulid(n)); return s }
	if got := find("shop@latest-drilled"); got != string(state.ReasonNoSnapshot) {
		t.Errorf("before any drill: %s", got)
	}
	// What came to no verdict says nothing of the snapshot.
	l.must(queueDrill("d1", "shop", 1), grant("d1", 0), endDrill("d1", 1, false, false))
	if s := snapshot(1); s.GetDrilledAt() != nil || s.GetDrillFailedAt() != nil || l.run("d1").GetDrillResult() != nil || l.run("d1").GetSnapshot() != ulid(1) {
		t.Errorf("without a verdict: %v", s)
	}
	l.must(queueDrill("d2", "shop", 1), grant("d2", 0), endDrill("d2", 1, true, true))
	if s := snapshot(1); s.GetDrilledAt() == nil || s.GetRecovery().AsDuration() != 5*time.Second || l.run("d2").GetDrillResult().GetRows() != 7 {
		t.Errorf("passed: %v", s)
	}
	if got := find("shop@latest-drilled"); got != ulid(1) {
		t.Errorf("the newest drilled one is %s", got)
	}
	l.must(queueDrill("d3", "shop", 1), grant("d3", 0), endDrill("d3", 1, true, false))
	if s := snapshot(1); s.GetDrillFailedAt() == nil || s.GetDrilledAt() == nil || find("shop@latest-drilled") != string(state.ReasonNoSnapshot) {
		t.Errorf("failed since: %v", s)
	}
	l.must(queueDrill("d4", "shop", 1), grant("d4", 0), endDrill("d4", 1, true, true))
	if s := snapshot(1); s.GetDrillFailedAt() != nil || find("shop@latest-drilled") != ulid(1) {
		t.Errorf("passed again: %v", s)
	}
	l.must(damage(1))
	if got := find("shop@latest-drilled"); got != string(state.ReasonNoSnapshot) {
		t.Errorf("damaged since: %s", got)
	}
	l.must(verified(2, 500))
	if find("shop@latest-verified") != ulid(2) || find("shop@latest") != ulid(2) {
		t.Error("the newest and the newest verified one are not found")
	}
	if _, err := l.state.View().FindSnapshot("shop@yesterday"); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("%v", err)
	}
	// One that is cancelled says nothing, whatever is told with it.
	c := endDrill("d5", 1, true, true)
	c.GetEndRun().State = pb.RunState_RUN_STATE_CANCELLED
	l.must(queueDrill("d5", "shop", 2), grant("d5", 0), c)
	if s := snapshot(2); s.GetDrilledAt() != nil {
		t.Errorf("cancelled: %v", s)
	}
	invariants(t, l.state)
}
