// Package lease says whether an agent may act under its lease, on whichever
// controller it asks: one that does not lead may not have heard of the lease yet.
package lease

import (
	"context"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// LagLimit is how long a controller waits to hear of a lease that it is shown.
const LagLimit = 5 * time.Second

// ReasonBehind says that this controller has not heard of the lease; another may have.
const ReasonBehind problem.Reason = "behind"

// Check looks at leases. All of it but View is optional.
type Check struct {
	View func() *state.View
	// Leads says whether this controller leads, so that its view does not lag.
	// nil: it always does.
	Leads func() bool
	// Caller says whether who calls may act for the agent. nil: anybody may.
	Caller func(ctx context.Context, agent string) error
}

// Held gives the run that a lease is for, if the lease is good and the caller's.
// Only who has heard of the lease, or leads, refuses it: a controller that lags
// behind is a problem Unavailable with ReasonBehind, as if it had not answered.
func (c Check) Held(ctx context.Context, l *pb.Lease) (*pb.Run, error) {
	if !c.catchUp(ctx, l) {
		return nil, problem.New(problem.Unavailable, "this controller has not heard of epoch %d of run %.40q", l.GetEpoch(), l.GetRun()).WithReason(ReasonBehind).
			WithHint("It may lag behind the others: ask another one.")
	}
	view := c.View()
	// Whose run it is comes first: what became of another's run is nobody's business.
	if r, ok := view.Run(l.GetRun()); ok && r.GetAgent() != "" {
		if err := c.mayAct(ctx, r); err != nil {
			return nil, err
		}
	}
	return state.HeldRun(view, l)
}

// Still says whether a lease that was good is so still.
func (c Check) Still(l *pb.Lease) error {
	_, err := state.HeldRun(c.View(), l)
	return err
}

// Ended gives the run of a lease under which something was done for good, to the
// one who held it; false when there is none.
func (c Check) Ended(ctx context.Context, l *pb.Lease) (*pb.Run, bool) {
	r, ok := c.View().Run(l.GetRun())
	if !ok || !state.Ended(r) || r.GetEpoch() != l.GetEpoch() || c.mayAct(ctx, r) != nil {
		return nil, false
	}
	return r, true
}

func (c Check) mayAct(ctx context.Context, r *pb.Run) error {
	if c.Caller == nil {
		return nil
	}
	return c.Caller(ctx, r.GetAgent())
}

// catchUp waits while the lease is newer than anything this controller knows of
// its run, for LagLimit at most, and says whether it has caught up. The leader
// knows all there is.
func (c Check) catchUp(ctx context.Context, l *pb.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, LagLimit)
	defer cancel()
	for {
		view := c.View()
		if r, ok := view.Run(l.GetRun()); ok && r.GetEpoch() >= l.GetEpoch() || c.Leads == nil || c.Leads() {
			return true
		}
		select {
		case <-view.Changed():
		case <-ctx.Done():
			return false
		}
	}
}
