// Package coverage judges which databases could be brought back, and from when.
// It is pure: the same facts always give the same answer, with reasons.
package coverage

import (
	"slices"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/condition"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The kinds of gaps that are no conditions. Conditions have the names of their
// events: failure, missed, stale, damaged …
const (
	Invalid       = "invalid"         // wrong labels keep it from being backed up
	NeverBackedUp = "never-backed-up" // it has no snapshot at all
	NeverVerified = "never-verified"  // no snapshot of it was read again and found right
	Unscheduled   = "unscheduled"     // no schedule fires for it
	AgentAway     = "agent-away"      // the agent of its host is not connected
	NeverDrilled  = "never-drilled"   // no drill has restored it, though drills are held
	DrillOverdue  = "drill-overdue"   // the last drill that restored it was long ago
)

// Facts are what is known of one source.
type Facts struct {
	Source *pb.Source
	// Snapshots are newest first.
	Snapshots []*pb.Snapshot
	// Conditions are those of this source that hold now.
	Conditions []*pb.Condition
	// Scheduled says that a schedule fires for it, Connected that its agent is there.
	Scheduled, Connected bool
	// DrillEvery is the time between two drills of its schedule, 0 when it has none.
	DrillEvery time.Duration
	Now        time.Time
}

// drillPatience is for how many drills that were not held nobody is told, with a
// day to spread them.
const drillPatience = 2

// Judge says what a source could be brought back to, and what is amiss. A source
// whose container is gone for good has no gaps: nobody waits for its backups.
func Judge(f Facts) *pb.SourceCoverage {
	c := &pb.SourceCoverage{Source: f.Source.GetName(), State: f.Source.GetState()}
	if i := slices.IndexFunc(f.Snapshots, state.Proven); i >= 0 {
		// What a dump has is what there was when it began.
		c.Restorable, c.RestorableAt = f.Snapshots[i].GetId(), f.Snapshots[i].GetStartedAt()
	}
	if i := slices.IndexFunc(f.Snapshots, state.Drilled); i >= 0 {
		c.Drilled, c.DrilledFrom, c.Recovery = f.Snapshots[i].GetId(), f.Snapshots[i].GetStartedAt(), f.Snapshots[i].GetRecovery()
	}
	if f.Source.GetState() == pb.SourceState_SOURCE_STATE_GONE {
		return c
	}
	gap := func(kind, message, hint string) {
		c.Gaps = append(c.Gaps, &pb.CoverageGap{Kind: kind, Message: message, Hint: hint})
	}
	if f.Source.GetState() == pb.SourceState_SOURCE_STATE_INVALID {
		message, hint := wrong(f.Source)
		gap(Invalid, message, hint)
	}
	switch {
	case len(f.Snapshots) == 0:
		gap(NeverBackedUp, "there is no snapshot of it", "Back it up now: `baktainer backup "+c.GetSource()+"`.")
	case c.GetRestorable() == "":
		gap(NeverVerified, "no snapshot of it is known to be good", "Read them again: `baktainer snapshot verify --all`.")
	}
	f.drills(c, gap)
	if !f.Scheduled {
		gap(Unscheduled, "no schedule backs it up", "Give it one, or resume the one it has: `baktainer schedule ls`.")
	}
	if !f.Connected {
		gap(AgentAway, "the agent "+f.Source.GetAgent()+" is not connected", "See whether its host runs, and its log.")
	}
	for _, k := range f.Conditions {
		gap(string(condition.Of(k.GetKind()).Event), k.GetMessage(), k.GetHint())
	}
	return c
}

// drills says when drills are held by themselves and have not proved anything for
// long.
func (f Facts) drills(c *pb.SourceCoverage, gap func(kind, message, hint string)) {
	if f.DrillEvery == 0 || len(f.Snapshots) == 0 {
		return
	}
	limit := drillPatience*f.DrillEvery + 24*time.Hour
	last, oldest := time.Time{}, f.Snapshots[len(f.Snapshots)-1].GetCommittedAt().AsTime()
	for _, s := range f.Snapshots {
		if at := s.GetDrilledAt(); at != nil && at.AsTime().After(last) {
			last = at.AsTime()
		}
	}
	hint := "Hold one now: `baktainer drill run " + c.GetSource() + "`."
	switch {
	case last.IsZero() && f.Now.Sub(oldest) > limit:
		gap(NeverDrilled, "no drill has restored a snapshot of it", hint)
	case !last.IsZero() && f.Now.Sub(last) > limit:
		gap(DrillOverdue, "the last drill that restored it was "+last.UTC().Format("2006-01-02"), hint)
	}
}

// wrong is the first thing that is wrong with a source's labels.
func wrong(s *pb.Source) (message, hint string) {
	for _, p := range s.GetProblems() {
		if !p.GetWarning() {
			return p.GetLabel() + ": " + p.GetReason(), p.GetSuggestion()
		}
	}
	return "its labels are wrong", ""
}
