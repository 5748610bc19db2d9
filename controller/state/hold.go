package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/retention"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// MaxTags is how many tags a snapshot has at most.
const MaxTags = 32

// OnHold says whether somebody keeps the snapshot at a time.
func OnHold(s *pb.Snapshot, at *timestamp) bool {
	return s.GetHoldUntil() != nil && timeKey(at) < timeKey(s.GetHoldUntil())
}

// Undoable says whether a forgotten snapshot is sure to be there at a time, so
// that it can be taken back.
func Undoable(s *pb.Snapshot, at *timestamp) bool {
	return s.GetUndoUntil() != nil && timeKey(at) < timeKey(s.GetUndoUntil())
}

func onHold(s *pb.Snapshot) *problem.Problem {
	why := ""
	if s.GetHoldReason() != "" {
		why = ": " + s.GetHoldReason()
	}
	return refuse(ReasonOnHold, "snapshot %s is on hold until %s%s", s.GetId(), timeOf(s.GetHoldUntil()).Format("2006-01-02 15:04 MST"), why).
		WithSource(s.GetSource()).WithHint("`baktainer snapshot unhold %s` ends the hold.", s.GetId())
}

func undoable(s *pb.Snapshot) *problem.Problem {
	return refuse(ReasonUndoWindow, "snapshot %s can be taken back until %s", s.GetId(), timeOf(s.GetUndoUntil()).Format("2006-01-02 15:04 MST")).
		WithSource(s.GetSource()).WithHint("Prune after that.")
}

// these finds the snapshots, by whole ids, that something is to be noted with.
func (t table) these(ids []string) (list []*pb.Snapshot, wrong []error) {
	for _, id := range ids {
		s, ok := first[*pb.Snapshot](t, tableSnapshots, indexID, id)
		switch {
		case !ok:
			wrong = append(wrong, noSnapshot(id))
		case s.GetPrunedAt() != nil:
			wrong = append(wrong, Pruned(s))
		default:
			list = append(list, s)
		}
	}
	return list, wrong
}

// setHold puts a hold on snapshots. One that is forgotten has to be taken back
// first, so that nobody relies on a hold of what is about to go.
func (w *writer) setHold(c *pb.SetHold) error {
	if c.GetUntil() != nil && !valid(c.GetUntil()) {
		return bad("hold: the time of its end is out of range")
	}
	list, wrong := w.these(c.GetSnapshots())
	for _, s := range list {
		if c.GetUntil() != nil && !counts(s) {
			wrong = append(wrong, refuse(ReasonForgotten, "snapshot %s is forgotten", s.GetId()).WithSource(s.GetSource()).
				WithHint("Take it back first: `baktainer snapshot undelete %s`.", s.GetId()))
		}
	}
	if err := together(wrong); err != nil {
		return err
	}
	for _, s := range list {
		held := proto.CloneOf(s)
		if held.HoldUntil = c.GetUntil(); held.HoldUntil == nil {
			held.HoldReason, held.HoldBy = "", ""
		} else {
			held.HoldReason, held.HoldBy = cut(c.GetReason(), maxReason), cut(c.GetBy(), maxWho)
		}
		w.put(tableSnapshots, held)
	}
	return nil
}

func (w *writer) setTags(c *pb.SetTags) error {
	for _, tag := range append(slices.Clone(c.GetAdd()), c.GetRemove()...) {
		if err := retention.CheckTag(tag); err != nil {
			return bad("tag: %v", err)
		}
	}
	list, wrong := w.these(c.GetSnapshots())
	if err := together(wrong); err != nil {
		return err
	}
	for _, s := range list {
		tagged := proto.CloneOf(s)
		tagged.Tags = slices.DeleteFunc(append(tagged.Tags, c.GetAdd()...), func(tag string) bool { return slices.Contains(c.GetRemove(), tag) })
		slices.Sort(tagged.Tags)
		if tagged.Tags = slices.Compact(tagged.Tags); len(tagged.Tags) > MaxTags {
			return bad("tag: snapshot %s would have %d tags, at most %d can be kept", s.GetId(), len(tagged.Tags), MaxTags)
		}
		w.put(tableSnapshots, tagged)
	}
	return nil
}
