package state

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// pruning says whether a prune of the source is under way.
func (t table) pruning(source string) bool {
	p, ok := first[*pb.Prune](t, tablePrunes, indexID, source)
	return ok && p.GetEndedAt() == nil
}

// beginPrune records a prune and what it destroys. From here to its end nothing
// of the source is leased, so that what the plan found is so until it is done.
func (w *writer) beginPrune(c *pb.BeginPrune) error {
	if before, ok := first[*pb.Prune](w.table, tablePrunes, indexID, c.GetSource()); ok {
		switch {
		case before.GetPlan() == c.GetPlan():
			return nil // begun before
		case before.GetEndedAt() == nil:
			return refuse(ReasonSourceBusy, "the source is being pruned already").WithSource(c.GetSource())
		}
	}
	switch {
	case source.CheckName(c.GetSource()) != nil:
		return bad("prune: %.40q is no name of a source", c.GetSource())
	case !snapshotPattern.MatchString(c.GetPlan()) || len(c.GetPlanSha256()) != len(ledger.Hash{}):
		return bad("prune of %s: the plan has no id or no hash", c.GetSource())
	}
	for r := range rows[*pb.Run](w.table, tableRuns, indexLeased, "", false) {
		if slices.Contains(Touches(r), c.GetSource()) {
			return refuse(ReasonSourceBusy, "run %s is at work on the source", r.GetId()).WithSource(c.GetSource()).
				WithHint("Wait for its end: `baktainer run show %s`.", r.GetId())
		}
	}
	if newest := w.newestEntry(c.GetSource()); newest != c.GetBasis() {
		return stale(c.GetSource(), "there is a newer snapshot")
	}
	if err := w.losesProof(c.GetSource(), c.GetSnapshots(), max(1, int(c.GetAtLeast()))); err != nil {
		return err
	}
	for _, id := range c.GetSnapshots() {
		s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, id)
		if !ok || s.GetSource() != c.GetSource() || counts(s) {
			return stale(c.GetSource(), "snapshot "+cut(id, 40)+" is not forgotten any more")
		}
		if s.GetPrunedAt() != nil {
			continue // by a prune that failed, and left some of it
		}
		switch {
		case OnHold(s, w.at):
			return onHold(s)
		case Undoable(s, w.at):
			return undoable(s)
		}
		pruned := proto.CloneOf(s)
		pruned.PrunedAt = w.at
		w.put(tableSnapshots, pruned)
	}
	w.put(tablePrunes, &pb.Prune{
		Source: c.GetSource(), Plan: c.GetPlan(), PlanSha256: c.GetPlanSha256(), Basis: c.GetBasis(), BeganAt: w.at,
		PlannedObjects: c.GetObjects(), PlannedBytes: c.GetBytes(),
	})
	return nil
}

// CheckPrune says why the forgotten snapshots, by whole ids, may not be pruned, so
// that at least so many of the source are left that are known to be good.
func (v *View) CheckPrune(source string, ids []string, atLeast int) error {
	return v.losesProof(source, ids, max(1, atLeast))
}

// losesProof refuses to destroy the last snapshots that are known to be good: the
// others may have been damaged since they were forgotten.
func (t table) losesProof(source string, ids []string, atLeast int) error {
	var last *pb.Snapshot
	stay, leave := 0, make(map[string]bool, len(ids))
	for _, id := range ids {
		leave[id] = true
	}
	for s := range rows[*pb.Snapshot](t, tableSnapshots, indexSource, sourceKey(source), true) {
		switch {
		case !Proven(s) || s.GetPrunedAt() != nil:
		case counts(s) || !leave[s.GetId()]:
			if stay++; stay >= atLeast {
				return nil
			}
		case last == nil:
			last = s
		}
	}
	if last == nil {
		return nil
	}
	which := "the last one of its source that is known to be good"
	if atLeast > 1 {
		which = fmt.Sprintf("one of the last %d of its source that are known to be good", atLeast)
	}
	return refuse(ReasonLastVerified, "snapshot %s is forgotten, and %s", last.GetId(), which).WithSource(source).
		WithHint("Take it back with `baktainer snapshot undelete`, or verify a newer one: `baktainer snapshot verify %s@latest`.", source)
}

func stale(source, why string) *problem.Problem {
	return refuse(ReasonPlanStale, "the plan of the prune does not hold any more: %s", why).WithSource(source).WithHint("Plan it anew.")
}

func (w *writer) endPrune(c *pb.EndPrune) error {
	p, ok := first[*pb.Prune](w.table, tablePrunes, indexID, c.GetSource())
	switch {
	case !ok || p.GetPlan() != c.GetPlan():
		return refuse(ReasonPlanStale, "no prune by that plan is under way").WithSource(c.GetSource())
	case p.GetEndedAt() != nil:
		return nil // ended before
	}
	ended := proto.CloneOf(p)
	ended.EndedAt, ended.DeletedObjects, ended.DeletedBytes, ended.Failure = w.at, c.GetObjects(), c.GetBytes(), c.GetFailure()
	w.put(tablePrunes, ended)
	return nil
}
