package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// commitRun makes a snapshot exist and ends the run that made it, together.
func (w *writer) commitRun(c *pb.CommitRun) error {
	r, err := held(w.table, c.GetRun(), c.GetEpoch())
	if err != nil {
		return err
	}
	s := c.GetSnapshot()
	if r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED && r.GetSnapshot() == s.GetId() {
		return nil // committed before
	}
	ended, err := turn(r, pb.RunState_RUN_STATE_SUCCEEDED)
	if err != nil {
		return err
	}
	switch {
	case !leased(r) || r.GetKind() != pb.RunKind_RUN_KIND_BACKUP:
		return bad("run %s: it is no backup at work", r.GetId())
	case s.GetId() != r.GetSnapshot() || s.GetSource() != r.GetSource():
		return bad("run %s: it was granted snapshot %s of %s, not %.40q of %.40q", r.GetId(), r.GetSnapshot(), r.GetSource(), s.GetId(), s.GetSource())
	case len(s.GetManifestSha256()) != len(ledger.Hash{}) || len(s.GetRoot()) != len(ledger.Hash{}) || s.GetManifestSize() <= 0:
		return bad("run %s: the snapshot lacks its manifest's hash or size, or its root", r.GetId())
	}
	for _, stream := range s.GetStreams() {
		if len(stream.GetSha256()) != len(ledger.Hash{}) {
			return bad("run %s: stream %.40q has no hash", r.GetId(), stream.GetName())
		}
	}
	if _, taken := first[*pb.Snapshot](w.table, tableSnapshots, indexID, s.GetId()); taken {
		return refuse(ReasonDuplicate, "there is a snapshot %s already", s.GetId()).WithSource(r.GetSource())
	}
	entry, err := EntryOf(s)
	if err != nil {
		return bad("run %s: %v", r.GetId(), err)
	}
	entry.Run, entry.Epoch = r.GetId(), r.GetEpoch()
	entry.FireTime, entry.CommitTime = timeOf(r.GetFireTime()), timeOf(w.at)
	var previous *ledger.Entry
	for head := range rows[*pb.Snapshot](w.table, tableSnapshots, indexTime, "", true) {
		e, err := EntryOf(head)
		if err != nil {
			return problem.Wrap(problem.Internal, err, "read the ledger's newest entry")
		}
		previous = &e
		break
	}
	if err := entry.Seal(previous); err != nil {
		return bad("run %s: %v", r.GetId(), err)
	}
	sealed := SnapshotOf(entry)
	sealed.Schedule, sealed.ImageDigest = r.GetSchedule(), cut(s.GetImageDigest(), maxDigest)
	for _, what := range s.GetStrange()[:min(len(s.GetStrange()), maxStrange)] {
		sealed.Strange = append(sealed.Strange, cut(what, maxStrangeText))
	}
	if _, taken := first[*pb.Snapshot](w.table, tableSnapshots, indexFire, sourceKey(s.GetSource())+timeKey(sealed.GetFireTime())); taken {
		return refuse(ReasonDuplicate, "the source has a snapshot of that fire time").WithSource(r.GetSource())
	}
	w.put(tableSnapshots, sealed)
	w.end(ended, nil, c.GetLogs())
	w.count(ended, sealed)
	return nil
}

// maxDigest bounds the digest of an image, in bytes.
const maxDigest = 128

// Bounds of the strange things of a snapshot that are kept: how many, and bytes of each.
const (
	maxStrange     = 20
	maxStrangeText = 512
)

func (w *writer) recordVerification(c *pb.RecordVerification) error {
	s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, c.GetSnapshot())
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no snapshot %q", c.GetSnapshot()).WithReason(ReasonNoSnapshot)
	case !valid(c.GetVerifiedAt()):
		return bad("snapshot %s: the time of its verification is missing", s.GetId())
	case s.GetDamagedAt() == nil && s.GetVerifiedAt() != nil && timeKey(c.GetVerifiedAt()) <= timeKey(s.GetVerifiedAt()):
		return nil
	}
	verified := proto.CloneOf(s)
	verified.VerifiedAt, verified.DamagedAt = c.GetVerifiedAt(), nil
	w.put(tableSnapshots, verified)
	return nil
}
