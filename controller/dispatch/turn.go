package dispatch

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reasons for which a run that a schedule made ends without having begun.
const (
	ReasonDeadline problem.Reason = "starting-deadline" // it was not given to an agent in time
	ReasonUpstream problem.Reason = "upstream-failed"   // what it depends on did not succeed
)

// byPriority orders runs that wait, those of one priority as they were.
func byPriority(queued []*pb.Run) {
	slices.SortStableFunc(queued, func(a, b *pb.Run) int { return cmp.Compare(rank(b), rank(a)) })
}

// rank is a run's priority. Somebody waits for a restore, so that it goes before
// backups that nothing is said of.
func rank(r *pb.Run) pb.Priority {
	switch {
	case r.GetPriority() != pb.Priority_PRIORITY_UNSPECIFIED:
		return r.GetPriority()
	case r.GetKind() == pb.RunKind_RUN_KIND_RESTORE:
		return pb.Priority_PRIORITY_HIGH
	case r.GetKind() == pb.RunKind_RUN_KIND_DRILL && r.GetSchedule() != "":
		return pb.Priority_PRIORITY_LOW
	}
	return pb.Priority_PRIORITY_NORMAL
}

// outOfTurn says whether it is not a run's turn: it is too early for it, or too
// late, or something else comes first.
func (h *hall) outOfTurn(r *pb.Run) (placement, bool) {
	if by := r.GetStartBy(); by != nil && r.GetEpoch() == 0 && h.now.After(by.AsTime()) {
		return placement{fail: problem.New(problem.Failed, "it was to begin by %s, and there was no room for it until then", by.AsTime().Format("2006-01-02 15:04:05 MST")).
			WithReason(ReasonDeadline).WithSource(r.GetSource()).WithHint("Give the schedule a later starting deadline, or let more runs be carried out at once.")}, true
	}
	if from := r.GetNotBefore(); from != nil && h.now.Before(from.AsTime()) {
		return placement{wait: fmt.Sprintf("it begins at %s", from.AsTime().Format("2006-01-02 15:04:05 MST"))}, true
	}
	return h.upstream(r)
}

// upstream looks at the runs of the same fire time that a run depends on. What
// is refused for a cycle is not among them, so that somebody always has a turn.
func (h *hall) upstream(r *pb.Run) (placement, bool) {
	if r.GetSchedule() == "" || r.GetKind() != pb.RunKind_RUN_KIND_BACKUP || r.GetEpoch() > 0 {
		return placement{}, false
	}
	src, _ := h.view.Source(r.GetSource())
	if len(src.GetDependsOn()) == 0 {
		return placement{}, false
	}
	failed := ""
	for _, name := range schedule.Above(r.GetSource(), h.view.DependsOn) {
		for _, first := range h.view.RunsAt(name, r.GetFireTime()) {
			switch {
			case !state.Ended(first):
				return placement{wait: fmt.Sprintf("the backup of %s comes first (run %s)", name, first.GetId())}, true
			case first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED:
				failed = fmt.Sprintf("the backup of %s, which comes first, did not succeed (run %s)", name, first.GetId())
			}
		}
	}
	if failed == "" || src.GetOnUpstreamFailure() != source.UpstreamSkip {
		return placement{}, false
	}
	return placement{skip: problem.New(problem.Cancelled, "%s", failed).WithReason(ReasonUpstream).WithSource(r.GetSource()).
		WithHint("Without the label baktainer.depends_on.on_failure=skip it is backed up all the same.")}, true
}
