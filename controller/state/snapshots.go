package state

import (
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// minAbbreviation is the shortest beginning of an id that FindSnapshot takes.
const minAbbreviation = 4

// Snapshot returns one snapshot by its whole id.
func (v *View) Snapshot(id string) (*pb.Snapshot, bool) {
	return first[*pb.Snapshot](v.table, tableSnapshots, indexID, id)
}

// Snapshots lists snapshots, newest first, at most limit of them when it is
// positive; of one source unless that is empty.
func (v *View) Snapshots(source string, limit int) []*pb.Snapshot {
	if source == "" {
		return collect(rows[*pb.Snapshot](v.table, tableSnapshots, indexTime, "", true), limit)
	}
	return collect(rows[*pb.Snapshot](v.table, tableSnapshots, indexSource, sourceKey(source), true), limit)
}

// CountSnapshots counts the snapshots of a source.
func (v *View) CountSnapshots(source string) int {
	n := 0
	for range rows[*pb.Snapshot](v.table, tableSnapshots, indexSource, sourceKey(source), false) {
		n++
	}
	return n
}

// LedgerHead returns the newest entry of the ledger, nil when it is empty.
func (v *View) LedgerHead() *pb.Snapshot {
	for s := range rows[*pb.Snapshot](v.table, tableSnapshots, indexTime, "", true) {
		return s
	}
	return nil
}

// LedgerEntry returns the entry with that index, counting from 1.
func (v *View) LedgerEntry(index uint64) (*pb.Snapshot, bool) {
	return first[*pb.Snapshot](v.table, tableSnapshots, indexTime, numberKey(index))
}

// FindSnapshot finds a snapshot by its id, a unique beginning of it (at least
// four characters), or SOURCE@latest.
func (v *View) FindSnapshot(ref string) (*pb.Snapshot, error) {
	if source, ok := strings.CutSuffix(ref, "@latest"); ok {
		for _, s := range v.Snapshots(source, 1) {
			return s, nil
		}
		return nil, problem.New(problem.NotFound, "the source %q has no snapshot", source).WithReason(ReasonNoSnapshot)
	}
	id := strings.ToUpper(ref) // ULIDs are written in capitals
	if s, ok := v.Snapshot(id); ok {
		return s, nil
	}
	if len(id) < minAbbreviation {
		return nil, problem.New(problem.NotFound, "there is no snapshot %q", ref).WithReason(ReasonNoSnapshot).
			WithHint("Give its id, at least %d characters of its beginning, or SOURCE@latest.", minAbbreviation)
	}
	found := collect(rows[*pb.Snapshot](v.table, tableSnapshots, indexID, id, false), 2)
	switch len(found) {
	case 0:
		return nil, problem.New(problem.NotFound, "there is no snapshot %q", ref).WithReason(ReasonNoSnapshot).
			WithHint("`baktainer snapshot ls` lists them; SOURCE@latest is the newest of a source.")
	case 1:
		return found[0], nil
	}
	return nil, problem.New(problem.InvalidInput, "more than one snapshot begins with %q", ref).WithReason(ReasonAmbiguous).
		WithHint("Give more characters of its id: %s or %s, for example.", found[0].GetId(), found[1].GetId())
}
