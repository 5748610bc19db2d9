package dispatch

import (
	"context"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds on what an agent says of the end of a run, in bytes: it is kept with
// the run and must fit into one command together with the run's log.
const (
	maxMessage = 2 << 10
	maxDetails = 32 << 10
	maxReport  = 64 << 10
)

// FinishRun implements the agent's service.
func (d *Dispatcher) FinishRun(ctx context.Context, req *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	r, ok := d.Node.View().Run(req.GetLease().GetRun())
	if !ok {
		return nil, problem.New(problem.NotFound, "there is no run %q", req.GetLease().GetRun()).WithReason(state.ReasonNoRun)
	}
	// A run whose lease has passed is nobody's until it is leased again, and still
	// of the same epoch: nobody ends it.
	if r.GetAgent() == "" {
		if _, err := state.HeldRun(d.Node.View(), req.GetLease()); err != nil {
			return nil, err
		}
	}
	// What is of another epoch is refused below, whoever calls.
	if d.Caller != nil && r.GetEpoch() == req.GetLease().GetEpoch() {
		if err := d.Caller(ctx, r.GetAgent()); err != nil {
			return nil, err
		}
	}
	ctx, span := tracer.Start(queue.Join(ctx, r), "end run")
	defer span.End()
	if req.GetCancelled() && !r.GetCancelRequested() {
		// Nobody asked for it: the agent is being stopped. The run is tried again.
		if _, err := state.HeldRun(d.Node.View(), req.GetLease()); err != nil {
			return nil, err
		}
		return &pb.FinishRunResponse{}, d.release(ctx, r, "it was stopped")
	}
	c := &pb.EndRun{
		Run: r.GetId(), Epoch: req.GetLease().GetEpoch(), Agent: r.GetAgent(), State: pb.RunState_RUN_STATE_SUCCEEDED,
		Failure: bounded(req.GetFailure()), Report: cut(req.GetReport(), maxReport), Warnings: cut(req.GetWarnings(), maxReport), Logs: state.BoundedLogs(req.GetLogs()),
	}
	if len(c.Logs) == 0 {
		c.Logs = state.BoundedLogs(d.LogsOf(req.GetLease()))
	}
	if d := req.GetDrill(); d != nil && r.GetKind() == pb.RunKind_RUN_KIND_DRILL {
		c.Drill = &pb.DrillResult{
			Passed: d.GetPassed() && req.GetFailure() == nil, Ready: d.GetReady(), Restored: d.GetRestored(),
			Objects: d.GetObjects(), Rows: d.GetRows(), Assertions: d.GetAssertions(), Image: clip(d.GetImage()),
		}
	}
	switch {
	case req.GetCancelled():
		c.State = pb.RunState_RUN_STATE_CANCELLED
	case req.GetFailure() != nil:
		c.State = pb.RunState_RUN_STATE_FAILED
	}
	if again, err := d.retry(ctx, r, c); again || err != nil {
		queue.Fail(span, err)
		return &pb.FinishRunResponse{}, err
	}
	err := d.propose(ctx, &pb.Command{Command: &pb.Command_EndRun{EndRun: c}})
	queue.Fail(span, err)
	if err != nil {
		return nil, err
	}
	d.Logger.Info("run ended", "run", r.GetId(), "source", r.GetSource(), "state", strings.ToLower(strings.TrimPrefix(c.GetState().String(), "RUN_STATE_")), "failure", c.GetFailure().GetMessage())
	return &pb.FinishRunResponse{}, nil
}

// bounded keeps a failure small enough for the state.
func bounded(f *pb.Failure) *pb.Failure {
	if f == nil {
		return nil
	}
	return &pb.Failure{
		Code: clip(f.GetCode()), Reason: clip(f.GetReason()), Message: clip(f.GetMessage()), Hint: clip(f.GetHint()),
		Source: clip(f.GetSource()), Details: cut(f.GetDetails(), maxDetails),
	}
}

// cut keeps the last lines that are at most so many bytes together, each of a
// bounded length.
func cut(lines []string, most int) []string {
	var kept []string
	for _, l := range slices.Backward(lines) {
		l = clip(l)
		if most -= len(l) + 2; most < 0 {
			break
		}
		kept = append(kept, l)
	}
	slices.Reverse(kept)
	return kept
}

func clip(s string) string {
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage], "") + " …"
	}
	return s
}
