package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// backedUp gives a source a snapshot.
func (s *scene) backedUp(source string, n int) string {
	s.t.Helper()
	run, id, sum := fmt.Sprintf("b-%s-%d", source, n), fmt.Sprintf("01J%023d", n), make([]byte, 32)
	fire := timestamppb.New(s.clock.Now().Add(time.Duration(n) * time.Second))
	for _, c := range []*pb.Command{
		{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, FireTime: fire}}}}},
		{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: run, Agent: "a1", ExpiresAt: fire, Snapshot: id}}},
		{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: run, Epoch: 1, Snapshot: &pb.Snapshot{
			Id: id, Source: source, ManifestSha256: sum, ManifestSize: 1, Root: sum, StartedAt: fire,
		}}}},
	} {
		s.propose(c)
	}
	return id
}

// drills are those there are, by their sources.
func (s *scene) drills() map[string]*pb.Run {
	all := map[string]*pb.Run{}
	for _, r := range s.node.View().RunsOf(pb.RunKind_RUN_KIND_DRILL, "", 0) {
		if all[r.GetSource()] == nil {
			all[r.GetSource()] = r
		}
	}
	return all
}

func TestDrillsAreOwedByTheirOwnSchedules(t *testing.T) {
	own := with(src("b", "drill=0 14 * * *", "main=@yearly"), func(o *pb.ScheduleSpec) {
		if o.GetName() == schedule.Drill {
			o.Kind, o.Priority = pb.RunKind_RUN_KIND_DRILL, schedule.DrillPriority
		}
	})
	s := newScene(t, Options{Default: "@yearly", Drills: "0 13 * * *"}, src("a"), own, src("c"))
	a, b := s.backedUp("a", 1), s.backedUp("b", 2)
	s.after(time.Hour) // for a and c, which has nothing that could be drilled
	got := s.drills()
	if len(got) != 1 || got["a"].GetDrill().GetSnapshot() != a || got["a"].GetSnapshot() != a || got["a"].GetSchedule() != DefaultDrills {
		t.Fatalf("%v", got)
	}
	if d := got["a"].GetNotBefore().AsTime().Sub(noon.Add(time.Hour)); d <= 0 || d > 24*time.Hour || got["a"].GetPriority() != pb.Priority_PRIORITY_LOW {
		t.Errorf("it begins %s later, with priority %s", d, got["a"].GetPriority())
	}
	s.skipped(DefaultDrills, "it has no snapshot")
	s.after(time.Hour)
	if got = s.drills(); len(got) != 2 || got["b"].GetDrill().GetSnapshot() != b || got["b"].GetSchedule() != "b:drill" || got["b"].GetNotBefore() != nil {
		t.Fatalf("%v", got)
	}
	// A day later the one before waits still; a backup of its source does not.
	s.propose(&pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: got["b"].GetId(), State: failed}}})
	newer := s.backedUp("b", 3)
	first := got["a"].GetId()
	s.after(24 * time.Hour)
	if all := fmt.Sprint(s.schedule(DefaultDrills).GetSkipped()); !strings.Contains(all, "the drill before has not ended (run "+first) {
		t.Errorf("passed over: %s", all)
	}
	if got = s.drills(); got["a"].GetId() != first || got["b"].GetDrill().GetSnapshot() != newer {
		t.Errorf("%v", got)
	}
	if h := Hold(s.node.View(), false); len(h.For("b")) != 1 || h.For("b")[0].GetId() != "b:main" || len(h.For("a")) != 1 || h.For("a")[0].GetId() != Default {
		t.Errorf("backups: %v, %v", h.For("a"), h.For("b"))
	}
	if h := Hold(s.node.View(), true); len(h.For("b")) != 1 || h.For("b")[0].GetId() != "b:drill" || !h.Covers(s.schedule(DefaultDrills), "a") || h.Covers(s.schedule(DefaultDrills), "b") {
		t.Errorf("drills: %v, %v", h.For("a"), h.For("b"))
	}
}

func TestADrillDoesNotKeepABackupFromBeingMade(t *testing.T) {
	s := newScene(t, Options{Default: "@hourly", Drills: "@hourly"}, src("a"))
	s.backedUp("a", 1)
	s.after(time.Hour)
	if all := s.node.View().RunsOf(pb.RunKind_RUN_KIND_BACKUP, "a", 0); len(all) != 2 || all[0].GetSchedule() != Default {
		t.Errorf("%v", all)
	}
	if len(s.drills()) != 1 {
		t.Error("there is no drill")
	}
}
