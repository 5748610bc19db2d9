// Package coverage judges which databases could be brought back, and from when.
// It is pure: the same facts always give the same answer, with reasons.
package coverage

import (
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
}

// Judge says what a source could be brought back to, and what is amiss. A source
// whose container is gone for good has no gaps: nobody waits for its backups.
func Judge(f Facts) *pb.SourceCoverage {
	c := &pb.SourceCoverage{Source: f.Source.GetName(), State: f.Source.GetState()}
	for _, s := range f.Snapshots {
		if s.GetVerifiedAt() != nil && s.GetDamagedAt() == nil {
			// What a dump has is what there was when it began.
			c.Restorable, c.RestorableAt = s.GetId(), s.GetStartedAt()
			break
		}
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

// wrong is the first thing that is wrong with a source's labels.
func wrong(s *pb.Source) (message, hint string) {
	for _, p := range s.GetProblems() {
		if !p.GetWarning() {
			return p.GetLabel() + ": " + p.GetReason(), p.GetSuggestion()
		}
	}
	return "its labels are wrong", ""
}
