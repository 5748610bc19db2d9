package state

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds of what is noted with a snapshot: bytes of a reason, and for how long one
// can be taken back (ten years).
const (
	maxReason      = 200
	maxUndoSeconds = 10 * 366 * 24 * 3600
)

// counts says whether a snapshot is offered and built upon.
func counts(s *pb.Snapshot) bool { return s.GetForgottenAt() == nil }

// forgotten says whether a snapshot is marked and still there.
func forgotten(s *pb.Snapshot) bool { return s.GetForgottenAt() != nil && s.GetPrunedAt() == nil }

// Proven says whether a snapshot was found right, and not damaged since.
func Proven(s *pb.Snapshot) bool { return s.GetVerifiedAt() != nil && s.GetDamagedAt() == nil }

// CheckForget says why the snapshots, by whole ids, may not be forgotten
// together at a time; each reason is a problem of its own.
func (v *View) CheckForget(ids []string, at *timestamp) []error {
	_, wrong := v.forgettable(ids, 1, at)
	return wrong
}

// forgettable gives those of the snapshots that are not forgotten yet, and says
// of which that may not be: the newest of each source, what is on hold, and the
// last ones that are known to be good.
func (t table) forgettable(ids []string, atLeast int, at *timestamp) (chosen []*pb.Snapshot, wrong []error) {
	leave := map[string]bool{} // ids of the snapshots that are to be forgotten
	var sources []string
	for _, id := range ids {
		s, ok := first[*pb.Snapshot](t, tableSnapshots, indexID, id)
		switch {
		case !ok:
			wrong = append(wrong, noSnapshot(id))
		case counts(s) && !leave[id]:
			if OnHold(s, at) {
				wrong = append(wrong, onHold(s))
			}
			if !slices.Contains(sources, s.GetSource()) {
				sources = append(sources, s.GetSource())
			}
			leave[id] = true
			chosen = append(chosen, s)
		}
	}
	for _, source := range sources {
		wrong = append(wrong, t.protected(source, leave, atLeast)...)
	}
	return chosen, wrong
}

// protected refuses to let a source's snapshots go that it must not lose.
func (t table) protected(source string, leave map[string]bool, atLeast int) (wrong []error) {
	newest, stay, last := true, 0, (*pb.Snapshot)(nil) // last is the newest one known to be good that would go
	for s := range rows[*pb.Snapshot](t, tableSnapshots, indexCounted, sourceKey(source), true) {
		goes := leave[s.GetId()]
		if newest && goes {
			wrong = append(wrong, refuse(ReasonNewest, "snapshot %s is the newest of its source", s.GetId()).WithSource(source).
				WithHint("Back the source up first."))
		}
		switch {
		case Proven(s) && !goes:
			if stay++; stay >= atLeast {
				return wrong
			}
		case Proven(s) && last == nil && !newest:
			last = s
		}
		newest = false
	}
	if last != nil {
		which := "the last one of its source that was verified"
		if atLeast > 1 {
			which = fmt.Sprintf("one of the last %d of its source that were verified", atLeast)
		}
		wrong = append(wrong, refuse(ReasonLastVerified, "snapshot %s is %s", last.GetId(), which).WithSource(source).
			WithHint("Verify a newer one first: `baktainer snapshot verify %s@latest`.", source))
	}
	return wrong
}

func noSnapshot(id string) *problem.Problem {
	return problem.New(problem.NotFound, "there is no snapshot %.40q", id).WithReason(ReasonNoSnapshot)
}

func (w *writer) forgetSnapshots(c *pb.ForgetSnapshots) error {
	switch {
	case c.GetAtLeast() < 0 || len(c.GetReasons()) > 0 && len(c.GetReasons()) != len(c.GetSnapshots()):
		return bad("forget: at least %d, %d reasons for %d snapshots", c.GetAtLeast(), len(c.GetReasons()), len(c.GetSnapshots()))
	case c.GetUndo() != nil && (!c.GetUndo().IsValid() || c.GetUndo().GetSeconds() < 0 || c.GetUndo().GetSeconds() > maxUndoSeconds):
		return bad("forget: they cannot be taken back for %v", c.GetUndo())
	}
	chosen, wrong := w.forgettable(c.GetSnapshots(), max(1, int(c.GetAtLeast())), w.at)
	if err := together(wrong); err != nil {
		return err
	}
	for _, s := range chosen {
		marked := proto.CloneOf(s)
		marked.ForgottenAt = w.at
		if d := c.GetUndo(); d.GetSeconds() > 0 {
			marked.UndoUntil = &timestamp{Seconds: w.at.GetSeconds() + d.GetSeconds(), Nanos: w.at.GetNanos()}
			if !valid(marked.UndoUntil) {
				return bad("forget: until when they can be taken back is out of range")
			}
		}
		if len(c.GetReasons()) > 0 {
			marked.ForgetReason = cut(c.GetReasons()[slices.Index(c.GetSnapshots(), s.GetId())], maxReason)
		}
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
			kept.ForgottenAt, kept.UndoUntil, kept.ForgetReason = nil, nil, ""
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
