package retain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A prune to which the store did not answer rests for tryAgainAfter. When an
// object could not be deleted maxAttempts times, it is given up, so that backups
// go on.
const (
	tryAgainAfter = 10 * time.Second
	maxAttempts   = 5
)

// Run carries out the prunes that are recorded, those that were interrupted
// first, until ctx ends, which it does when leadership is lost.
func (r *Retain) Run(ctx context.Context) {
	r.tidy(ctx)
	attempts := map[string]int{} // by plan
	for ctx.Err() == nil {
		view := r.Node.View()
		again := false
		for _, p := range view.ActivePrunes() {
			attempts[p.GetPlan()]++
			if err := r.carryOut(ctx, p, attempts[p.GetPlan()] >= maxAttempts); err != nil && ctx.Err() == nil {
				r.Logger.Warn("prune not finished yet", "source", p.GetSource(), "plan", p.GetPlan(), "error", err)
				again = true
			}
		}
		if again {
			_ = clock.Sleep(ctx, tryAgainAfter) // its only error ends the loop
			continue
		}
		select {
		case <-ctx.Done():
		case <-view.Changed():
		}
	}
}

// tidy removes plans that were saved and never recorded, or not removed after
// their prune had ended.
func (r *Retain) tidy(ctx context.Context) {
	r.saving.Lock()
	defer r.saving.Unlock()
	recorded := map[string]bool{}
	for _, p := range r.Node.View().ActivePrunes() {
		recorded[repo.PlanName(p.GetPlan())] = true
	}
	var idle []string
	err := r.Store.List(ctx, repo.PlansPrefix, func(i store.Info) error {
		if o, err := repo.ParseName(i.Name); err == nil && o.Kind == repo.KindPlan && !recorded[i.Name] {
			idle = append(idle, i.Name)
		}
		return nil
	})
	for _, name := range idle {
		err = errors.Join(err, r.Store.Delete(ctx, name))
	}
	if err != nil && ctx.Err() == nil {
		r.Logger.Warn("plans that are over are still in the store", "error", err)
	}
}

// carryOut deletes what a recorded plan names. Whatever was deleted before is
// passed over, so that it may be called again after any crash. An error means
// that it is to be tried again; what cannot succeed, and what fails the last time,
// ends the prune as failed.
func (r *Retain) carryOut(ctx context.Context, p *pb.Prune, last bool) error {
	defer r.forgetProgress(p.GetPlan())
	plan, err := r.readPlan(ctx, p)
	if problem.ReasonOf(err) == ReasonPlanLost {
		return r.end(ctx, p, Progress{}, err)
	}
	if err != nil {
		return err
	}
	r.Logger.Info("prune", "source", p.GetSource(), "plan", p.GetPlan(), "objects", len(plan.Delete), "bytes", plan.Freed())
	var done Progress
	for _, o := range plan.Delete {
		if ctx.Err() != nil { // not every store looks
			return ctx.Err()
		}
		if err := r.Store.Delete(ctx, o.Name); err != nil {
			if !last || ctx.Err() != nil {
				return fmt.Errorf("delete %s: %w", o.Name, err)
			}
			// Packs must not go while a manifest that lists them stays.
			return r.end(ctx, p, done, problem.Wrap(problem.Failed, err, "delete %s", o.Name).WithReason(ReasonNotDeleted).WithSource(p.GetSource()).
				WithHint("Look at the store, then prune again: what was deleted stays so, and the rest is planned anew."))
		}
		done.Objects++
		done.Bytes += o.Size
		if done.Objects%100 == 0 {
			r.tell(p.GetPlan(), done)
		}
	}
	return r.end(ctx, p, done, nil)
}

// readPlan reads the plan that was recorded, and holds it against the state.
func (r *Retain) readPlan(ctx context.Context, p *pb.Prune) (*repo.Plan, error) {
	name := repo.PlanName(p.GetPlan())
	lost := func(err error) (*repo.Plan, error) {
		return nil, problem.Wrap(problem.Failed, err, "read the plan of the prune").WithReason(ReasonPlanLost).WithSource(p.GetSource()).
			WithHint("Nothing more is deleted. Prune again.")
	}
	rc, err := r.Store.Get(ctx, name, 0, -1)
	if errors.Is(err, store.ErrNotExist) {
		return lost(err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer rc.Close()
	object, err := io.ReadAll(io.LimitReader(rc, repo.MaxPlan+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	plan, err := repo.DecodePlan(object, ledger.Hash(p.GetPlanSha256()))
	switch newest := r.Node.View().NewestEntry(p.GetSource()); {
	case err != nil:
		return lost(err)
	case plan.Source != p.GetSource() || plan.Basis != newest:
		return lost(fmt.Errorf("it is of %s at entry %d, and the newest entry is %d", plan.Source, plan.Basis, newest))
	}
	return plan, nil
}

// end records how a prune ended, and removes its plan.
func (r *Retain) end(ctx context.Context, p *pb.Prune, done Progress, failure error) error {
	c := &pb.EndPrune{Source: p.GetSource(), Plan: p.GetPlan(), Objects: done.Objects, Bytes: done.Bytes}
	if failure != nil {
		c.Failure = transport.ToFailure(failure)
		r.Logger.Error("prune failed", "source", p.GetSource(), "plan", p.GetPlan(), "error", failure)
	}
	err := r.Node.Propose(ctx, &pb.Command{Actor: "retain", Command: &pb.Command_EndPrune{EndPrune: c}})
	if err != nil {
		return fmt.Errorf("record the end of the prune: %w", err)
	}
	if failure == nil {
		r.Logger.Info("pruned", "source", p.GetSource(), "plan", p.GetPlan(), "objects", done.Objects, "bytes", done.Bytes)
	}
	if err := r.Store.Delete(ctx, repo.PlanName(p.GetPlan())); err != nil { // tidy finds it
		r.Logger.Warn("plan not removed yet", "plan", p.GetPlan(), "error", err)
	}
	return nil
}
