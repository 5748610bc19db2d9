package retain

import (
	"context"
	"crypto/rand"
	"fmt"

	"bytes"

	"github.com/oklog/ulid/v2"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// maxSnapshots is how many snapshots one prune deletes at most: they are named in
// a command. What is left goes with the next.
const maxSnapshots = 10_000

// Plan makes the plan of a prune of a source as things are now, and its hash.
// Nothing is changed.
func (r *Retain) Plan(ctx context.Context, source string) (*repo.Plan, ledger.Hash, error) {
	plan, object, err := r.plan(ctx, source, false)
	if err != nil {
		return nil, ledger.Hash{}, err
	}
	return plan, object.sum, nil
}

// encoded is a plan as the store keeps it.
type encoded struct {
	bytes []byte
	sum   ledger.Hash
}

// plan makes a plan. A person who asks for one hears what must not go; spare leaves
// it out instead.
func (r *Retain) plan(ctx context.Context, source string, spare bool) (*repo.Plan, encoded, error) {
	// The view comes first: what is committed after it makes the basis stale.
	view := r.Node.View()
	if err := free(view, source); err != nil {
		return nil, encoded{}, err
	}
	held, err := repo.InventorySource(ctx, r.Store, source)
	if err != nil {
		return nil, encoded{}, err
	}
	counted, err := r.unknown(ctx, view, held)
	if err != nil {
		return nil, encoded{}, err
	}
	gone := []string{}
	for _, s := range view.Snapshots(source, 0) {
		counted[s.GetId()] = ledger.Hash(s.GetManifestSha256())
	}
	deletable := r.deletable(view, source) // newest first
	if spare {
		deletable = r.spared(view, source, deletable)
	}
	gone = append(gone, deletable[max(0, len(deletable)-maxSnapshots):]...)
	leave := map[string]bool{}
	for _, id := range gone {
		leave[id] = true
	}
	for _, s := range view.Forgotten(source, 0) { // what can still be taken back stays whole
		if !leave[s.GetId()] {
			counted[s.GetId()] = ledger.Hash(s.GetManifestSha256())
		}
	}
	for _, m := range held.Manifests { // left by a prune that failed
		if s, ok := view.Snapshot(m.Header.Snapshot); ok && s.GetPrunedAt() != nil && s.GetSource() == source && len(gone) < maxSnapshots {
			gone = append(gone, s.GetId())
		}
	}
	if err := view.CheckPrune(source, gone, r.atLeast(view, source)); err != nil {
		return nil, encoded{}, err
	}
	plan, err := repo.PlanPrune(held, view.NewestEntry(source), counted, gone)
	if err != nil {
		return nil, encoded{}, err
	}
	object, sum, err := plan.Encode()
	return plan, encoded{object, sum}, err
}

// free says who is at work on a source, if anybody is.
func free(view *state.View, source string) error {
	busy := func(format string, args ...any) *problem.Problem {
		return problem.New(problem.Conflict, format, args...).WithReason(state.ReasonSourceBusy).WithSource(source)
	}
	if p, ok := view.Prune(source); ok && p.GetEndedAt() == nil {
		return busy("the source is being pruned already").WithHint("Wait for its end.")
	}
	for _, run := range view.ActiveRuns() {
		if run.GetState() != pb.RunState_RUN_STATE_RUNNING {
			continue
		}
		for _, touched := range state.Touches(run) {
			if touched == source {
				return busy("run %s is at work on the source", run.GetId()).WithHint("Wait for its end: `baktainer run show %s`.", run.GetId())
			}
		}
	}
	return nil
}

// Begin saves and records a plan of the source, which Run then carries out. want
// is the hash of the plan that was agreed to: any other is refused, unless it is
// zero. The record is nil when there is nothing to delete.
func (r *Retain) Begin(ctx context.Context, actor, source string, want ledger.Hash) (*pb.Prune, error) {
	if err := r.mustLead(ctx); err != nil {
		return nil, err
	}
	plan, object, err := r.plan(ctx, source, actor == Actor)
	switch {
	case err != nil:
		return nil, err
	case want != (ledger.Hash{}) && want != object.sum:
		return nil, problem.New(problem.Conflict, "what a prune would delete has changed since it was looked at").WithReason(ReasonPlanChanged).
			WithSource(source).WithHint("Look at it again: `baktainer prune %s --dry-run`.", source)
	case len(plan.Delete) == 0 && len(plan.Snapshots) == 0:
		return nil, nil
	}
	id, err := ulid.New(ulid.Timestamp(r.Clock.Now()), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an id for the plan: %w", err)
	}
	if err := r.record(ctx, actor, id.String(), plan, object); err != nil {
		return nil, fmt.Errorf("begin to prune %s: %w", source, err)
	}
	p, ok := r.Node.View().Prune(source)
	if !ok || p.GetPlan() != id.String() {
		return nil, problem.New(problem.Internal, "the prune was recorded and is not listed").WithSource(source)
	}
	return p, nil
}

// record saves a plan and then has it recorded: what the state knows of is there.
func (r *Retain) record(ctx context.Context, actor, id string, plan *repo.Plan, object encoded) error {
	r.saving.RLock()
	defer r.saving.RUnlock()
	if _, err := r.Store.Put(ctx, repo.PlanName(id), bytes.NewReader(object.bytes)); err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	return r.Node.Propose(ctx, &pb.Command{Actor: actor, Command: &pb.Command_BeginPrune{BeginPrune: &pb.BeginPrune{
		Source: plan.Source, Plan: id, PlanSha256: object.sum[:], Basis: plan.Basis, Snapshots: plan.Snapshots,
		Objects: int64(len(plan.Delete)), Bytes: plan.Freed(), AtLeast: int32(r.atLeast(r.Node.View(), plan.Source)),
	}}})
}
