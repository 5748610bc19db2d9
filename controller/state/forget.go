package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// counts says whether a snapshot is offered and built upon.
func counts(s *pb.Snapshot) bool { return s.GetForgottenAt() == nil }

// forgotten says whether a snapshot is marked and still there.
func forgotten(s *pb.Snapshot) bool { return s.GetForgottenAt() != nil && s.GetPrunedAt() == nil }

// proven says whether a snapshot was found right, and not damaged since.
func proven(s *pb.Snapshot) bool { return s.GetVerifiedAt() != nil && s.GetDamagedAt() == nil }

// CheckForget says why the snapshots, by whole ids, may not be forgotten
// together; each reason is a problem of its own.
func (v *View) CheckForget(ids []string) []error {
	_, wrong := v.forgettable(ids)
	return wrong
}

// forgettable gives those of the snapshots that are not forgotten yet, and says
// of which that may not be: the newest of each source, and the last one that is
// known to be good.
func (t table) forgettable(ids []string) (chosen []*pb.Snapshot, wrong []error) {
	leave := map[string]bool{} // ids of the snapshots that are to be forgotten
	var sources []string
	for _, id := range ids {
		s, ok := first[*pb.Snapshot](t, tableSnapshots, indexID, id)
		switch {
		case !ok:
			wrong = append(wrong, noSnapshot(id))
		case counts(s) && !leave[id]:
			if !slices.Contains(sources, s.GetSource()) {
				sources = append(sources, s.GetSource())
			}
			leave[id] = true
			chosen = append(chosen, s)
		}
	}
	for _, source := range sources {
		wrong = append(wrong, t.protected(source, leave)...)
	}
	return chosen, wrong
}

// protected refuses to let a source's snapshots go that it must not lose.
func (t table) protected(source string, leave map[string]bool) (wrong []error) {
	newest, last := true, (*pb.Snapshot)(nil) // last is the newest one known to be good that would go
	for s := range rows[*pb.Snapshot](t, tableSnapshots, indexCounted, sourceKey(source), true) {
		goes := leave[s.GetId()]
		if newest && goes {
			wrong = append(wrong, refuse(ReasonNewest, "snapshot %s is the newest of its source", s.GetId()).WithSource(source).
				WithHint("Back the source up first."))
		}
		switch {
		case proven(s) && !goes:
			return wrong
		case proven(s) && last == nil && !newest:
			last = s
		}
		newest = false
	}
	if last != nil {
		wrong = append(wrong, refuse(ReasonLastVerified, "snapshot %s is the last one of its source that was verified", last.GetId()).WithSource(source).
			WithHint("Verify a newer one first: `baktainer snapshot verify %s@latest`.", source))
	}
	return wrong
}

func noSnapshot(id string) *problem.Problem {
	return problem.New(problem.NotFound, "there is no snapshot %.40q", id).WithReason(ReasonNoSnapshot)
}

func (w *writer) forgetSnapshots(c *pb.ForgetSnapshots) error {
	chosen, wrong := w.forgettable(c.GetSnapshots())
	if err := together(wrong); err != nil {
		return err
	}
	for _, s := range chosen {
		marked := proto.CloneOf(s)
		marked.ForgottenAt = w.at
		w.put(tableSnapshots, marked)
		w.add(countForgotten, 1)
	}
	return nil
}

func (w *writer) unforgetSnapshots(c *pb.UnforgetSnapshots) error {
	var wrong []error
	for _, id := range c.GetSnapshots() {
		s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, id)
		switch {
		case !ok:
			wrong = append(wrong, noSnapshot(id))
		case s.GetPrunedAt() != nil:
			wrong = append(wrong, Pruned(s))
		case forgotten(s):
			kept := proto.CloneOf(s)
			kept.ForgottenAt = nil
			w.put(tableSnapshots, kept)
			w.add(countForgotten, -1)
		}
	}
	return together(wrong)
}

// Pruned is the problem of whoever wants what has been deleted.
func Pruned(s *pb.Snapshot) *problem.Problem {
	return refuse(ReasonPruned, "snapshot %s was forgotten and pruned: its data is gone", s.GetId()).WithSource(s.GetSource()).
		WithHint("`baktainer snapshot ls %s` lists what there is.", s.GetSource())
}

func (w *writer) recordDamage(c *pb.RecordDamage) error {
	for _, id := range c.GetSnapshots() {
		s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, id)
		if !ok {
			return noSnapshot(id)
		}
		if s.GetDamagedAt() == nil {
			damaged := proto.CloneOf(s)
			damaged.DamagedAt = w.at
			w.put(tableSnapshots, damaged)
		}
	}
	return nil
}
