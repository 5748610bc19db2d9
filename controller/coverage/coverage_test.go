package coverage_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/coverage"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-ago)) }

func snapshot(id string, age time.Duration, verified, damaged bool) *pb.Snapshot {
	s := &pb.Snapshot{Id: id, StartedAt: at(age), CommittedAt: at(age - time.Minute)}
	if verified {
		s.VerifiedAt = at(0)
	}
	if damaged {
		s.DamagedAt = at(0)
	}
	return s
}

func TestJudge(t *testing.T) {
	const ready, invalid, stopped, gone = pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_INVALID, pb.SourceState_SOURCE_STATE_STOPPED, pb.SourceState_SOURCE_STATE_GONE
	good := snapshot("s1", 3*time.Hour, true, false)
	drilled := func(s *pb.Snapshot, ago time.Duration, failed bool) *pb.Snapshot {
		if s = proto.CloneOf(s); failed {
			s.DrillFailedAt = at(ago)
			return s
		}
		s.DrilledAt = at(ago)
		return s
	}
	old := snapshot("s0", 30*24*time.Hour, true, false)
	for name, tc := range map[string]struct {
		state      pb.SourceState
		snapshots  []*pb.Snapshot
		conditions []*pb.Condition
		problems   []*pb.LabelProblem
		off, away  bool
		drills     time.Duration
		drilled    string
		restorable string
		gaps       []string
	}{
		"not drilled yet":      {state: ready, snapshots: []*pb.Snapshot{good}, restorable: "s1", drills: 24 * time.Hour},
		"never drilled":        {state: ready, snapshots: []*pb.Snapshot{good, old}, restorable: "s1", drills: 7 * 24 * time.Hour, gaps: []string{"never-drilled"}},
		"nobody wants drills":  {state: ready, snapshots: []*pb.Snapshot{good, old}, restorable: "s1"},
		"drilled":              {state: ready, snapshots: []*pb.Snapshot{good, drilled(old, 3*24*time.Hour, false)}, restorable: "s1", drills: 7 * 24 * time.Hour, drilled: "s0"},
		"drilled long ago":     {state: ready, snapshots: []*pb.Snapshot{good, drilled(old, 20*24*time.Hour, false)}, restorable: "s1", drills: 7 * 24 * time.Hour, drilled: "s0", gaps: []string{"drill-overdue"}},
		"a drill failed":       {state: ready, snapshots: []*pb.Snapshot{drilled(good, 0, true), drilled(old, 24*time.Hour, false)}, restorable: "s1", drilled: "s0", conditions: []*pb.Condition{{Kind: pb.ConditionKind_CONDITION_KIND_DRILL_FAILED}}, gaps: []string{"drill"}},
		"covered":              {state: ready, snapshots: []*pb.Snapshot{good}, restorable: "s1"},
		"stopped and covered":  {state: stopped, snapshots: []*pb.Snapshot{good}, restorable: "s1"},
		"newest not verified":  {state: ready, snapshots: []*pb.Snapshot{snapshot("s2", time.Hour, false, false), good}, restorable: "s1"},
		"newest damaged":       {state: ready, snapshots: []*pb.Snapshot{snapshot("s2", time.Hour, true, true), good}, restorable: "s1"},
		"never backed up":      {state: ready, gaps: []string{"never-backed-up"}},
		"never verified":       {state: ready, snapshots: []*pb.Snapshot{snapshot("s2", time.Hour, false, false)}, gaps: []string{"never-verified"}},
		"all damaged":          {state: ready, snapshots: []*pb.Snapshot{snapshot("s2", time.Hour, true, true)}, conditions: []*pb.Condition{{Kind: pb.ConditionKind_CONDITION_KIND_SNAPSHOT_DAMAGED}}, gaps: []string{"never-verified", "damaged"}},
		"wrong labels":         {state: invalid, snapshots: []*pb.Snapshot{good}, restorable: "s1", problems: []*pb.LabelProblem{{Label: "x", Warning: true}, {Label: "y", Reason: "bad"}}, gaps: []string{"invalid"}},
		"wrong from the start": {state: invalid, gaps: []string{"invalid", "never-backed-up"}},
		"no schedule":          {state: ready, snapshots: []*pb.Snapshot{good}, restorable: "s1", off: true, gaps: []string{"unscheduled"}},
		"agent away":           {state: ready, snapshots: []*pb.Snapshot{good}, restorable: "s1", away: true, gaps: []string{"agent-away"}},
		"backups fail":         {state: ready, snapshots: []*pb.Snapshot{good}, restorable: "s1", conditions: []*pb.Condition{{Kind: pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED, Message: "no room"}}, gaps: []string{"failure"}},
		"gone":                 {state: gone, snapshots: []*pb.Snapshot{good}, restorable: "s1", off: true, away: true},
		"gone without a trace": {state: gone, off: true, away: true},
	} {
		c := coverage.Judge(coverage.Facts{
			Source: &pb.Source{Name: "shop", State: tc.state, Agent: "a1", Problems: tc.problems}, Snapshots: tc.snapshots, Conditions: tc.conditions,
			Scheduled: !tc.off, Connected: !tc.away, DrillEvery: tc.drills, Now: noon,
		})
		var gaps []string
		for _, g := range c.GetGaps() {
			gaps = append(gaps, g.GetKind())
			if g.GetKind() == coverage.Invalid && tc.problems != nil && g.GetMessage() != "y: bad" {
				t.Errorf("%s: %v", name, g)
			}
		}
		if c.GetDrilled() != tc.drilled {
			t.Errorf("%s: drilled is %q, want %q", name, c.GetDrilled(), tc.drilled)
		}
		if c.GetRestorable() != tc.restorable || (tc.restorable == "") != (c.GetRestorableAt() == nil) || !slices.Equal(gaps, tc.gaps) {
			t.Errorf("%s: %v, want %q and %q", name, c, tc.restorable, tc.gaps)
		}
	}
}
