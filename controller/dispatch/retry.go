package dispatch

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/run"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The pauses before a failed backup is tried again: the first one, doubled from
// one attempt to the next, up to the longest.
const (
	firstPause = 30 * time.Second
	mostPause  = 15 * time.Minute
)

// lasting are failures that another attempt meets again: somebody has to mend
// something first.
var lasting = struct {
	codes   []problem.Code
	reasons []problem.Reason
}{
	codes: []problem.Code{problem.InvalidInput, problem.NotFound, problem.Conflict, problem.Denied, problem.Corrupt, problem.Cancelled},
	reasons: []problem.Reason{
		engine.ReasonToolMissing, engine.ReasonWrongPassword, engine.ReasonNoDatabase, engine.ReasonNoCredentials, engine.ReasonUnsupported, engine.ReasonSelection, run.ReasonTimeLimit,
	},
}

// transient says whether a failure may pass by itself.
func transient(f *pb.Failure) bool {
	return !slices.Contains(lasting.codes, problem.Code(f.GetCode())) && !slices.Contains(lasting.reasons, problem.Reason(f.GetReason()))
}

// pauseBefore is how long to wait after so many failed attempts of a run. It is
// up to a quarter longer by the run's id, so that what failed together is not
// tried again together.
func pauseBefore(id string, failed int) time.Duration {
	pause := mostPause
	if failed < 10 {
		pause = min(firstPause<<max(failed-1, 0), mostPause)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id + "/" + strconv.Itoa(failed))) // it never fails
	return pause + time.Duration(int64(pause/4)*int64(h.Sum32()%1024)/1024)
}

// attempts is how often a backup is tried in all. Who asked for one by hand
// waits for it, and decides for themselves.
func (d *Dispatcher) attempts(view *state.View, r *pb.Run) int {
	if r.GetKind() != pb.RunKind_RUN_KIND_BACKUP || r.GetTrigger() == "manual" {
		return 1
	}
	if s, _ := view.Source(r.GetSource()); s.GetRules().GetAttempts() > 0 {
		return int(s.GetRules().GetAttempts())
	}
	return max(d.Attempts, 1)
}

// timeLimit is how long one attempt of a backup or a drill may take; 0: as long as
// it wants.
func (d *Dispatcher) timeLimit(view *state.View, r *pb.Run) time.Duration {
	if r.GetKind() == pb.RunKind_RUN_KIND_RESTORE {
		return 0
	}
	if s, _ := view.Source(r.GetSource()); s.GetRules().GetTimeLimit() != nil {
		return s.GetRules().GetTimeLimit().AsDuration()
	}
	return d.TimeLimit
}

// retry has a run tried again whose attempt has failed, and says whether it will
// be.
func (d *Dispatcher) retry(ctx context.Context, r *pb.Run, c *pb.EndRun) (bool, error) {
	failed, attempts := int(r.GetFailedAttempts())+1, d.attempts(d.Node.View(), r)
	if c.GetState() != pb.RunState_RUN_STATE_FAILED || r.GetCancelRequested() || failed >= attempts || !transient(c.GetFailure()) {
		return false, nil
	}
	pause := pauseBefore(r.GetId(), failed)
	err := d.propose(ctx, &pb.Command{Command: &pb.Command_RetryRun{RetryRun: &pb.RetryRun{
		Run: c.GetRun(), Epoch: c.GetEpoch(), Agent: c.GetAgent(), Failure: c.GetFailure(), Logs: c.GetLogs(),
		NotBefore: timestamppb.New(d.Clock.Now().Add(pause)),
	}}})
	if problem.ReasonOf(err) == state.ReasonMixed {
		return false, nil // a member does not know of it yet: the run ends as it did before
	}
	if err != nil {
		return false, err
	}
	d.Logger.Warn("backup failed; it is tried again", "run", r.GetId(), "source", r.GetSource(), "attempt", failed, "of", attempts, "in", pause.Round(time.Second), "failure", c.GetFailure().GetMessage())
	return true, nil
}
