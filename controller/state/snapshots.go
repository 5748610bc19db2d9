package state

import (
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// minAbbreviation is the shortest beginning of an id that FindSnapshot takes.
const minAbbreviation = 4

// Snapshot returns one snapshot by its whole id.
func (v *View) Snapshot(id string) (*pb.Snapshot, bool) {
	return first[*pb.Snapshot](v.table, tableSnapshots, indexID, id)
}

// Snapshots lists snapshots that are not forgotten, newest first, at most limit
// of them when it is positive; of one source unless that is empty.
func (v *View) Snapshots(source string, limit int) []*pb.Snapshot {
	if source == "" {
		return collect(only(rows[*pb.Snapshot](v.table, tableSnapshots, indexTime, "", true), counts), limit)
	}
	return collect(rows[*pb.Snapshot](v.table, tableSnapshots, indexCounted, sourceKey(source), true), limit)
}

// Forgotten lists snapshots that are forgotten and not pruned yet, like
// Snapshots; of all sources they come source by source.
func (v *View) Forgotten(source string, limit int) []*pb.Snapshot {
	key := ""
	if source != "" {
		key = sourceKey(source)
	}
	return collect(rows[*pb.Snapshot](v.table, tableSnapshots, indexForgotten, key, true), limit)
}

// NewestEntry is the place in the ledger of a source's newest entry, forgotten or
// not; 0 when it has none.
func (v *View) NewestEntry(source string) uint64 { return v.newestEntry(source) }

func (t table) newestEntry(source string) uint64 {
	for s := range rows[*pb.Snapshot](t, tableSnapshots, indexSource, sourceKey(source), true) {
		return s.GetLedgerIndex()
	}
	return 0
}

// CountSnapshots counts the snapshots of a source that are not forgotten.
func (v *View) CountSnapshots(source string) int {
	n := 0
	for range rows[*pb.Snapshot](v.table, tableSnapshots, indexCounted, sourceKey(source), false) {
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
// four characters), or of a source: SOURCE@latest, SOURCE@latest-verified,
// SOURCE@latest-drilled, or SOURCE@TIME (RFC 3339) for the newest whose dump had
// begun by then. One that is forgotten is found by its whole id alone, and
// one that was pruned is refused.
func (v *View) FindSnapshot(ref string) (*pb.Snapshot, error) {
	if source, which, ok := strings.Cut(ref, "@"); ok {
		return v.newest(source, which)
	}
	id := strings.ToUpper(ref) // ULIDs are written in capitals
	if s, ok := v.Snapshot(id); ok {
		if s.GetPrunedAt() != nil {
			return nil, Pruned(s)
		}
		return s, nil
	}
	if len(id) < minAbbreviation {
		return nil, problem.New(problem.NotFound, "there is no snapshot %q", ref).WithReason(ReasonNoSnapshot).
			WithHint("Give its id, at least %d characters of its beginning, or SOURCE@latest.", minAbbreviation)
	}
	found := collect(only(rows[*pb.Snapshot](v.table, tableSnapshots, indexID, id, false), counts), 2)
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

// Newest gives the newest snapshot of a source of which something is so.
func (v *View) Newest(source string, so func(*pb.Snapshot) bool) (*pb.Snapshot, bool) {
	for s := range rows[*pb.Snapshot](v.table, tableSnapshots, indexCounted, sourceKey(source), true) {
		if so(s) {
			return s, true
		}
	}
	return nil, false
}

// newest finds the snapshot that SOURCE@which means.
func (v *View) newest(source, which string) (*pb.Snapshot, error) {
	wanted := map[string]struct {
		so   func(*pb.Snapshot) bool
		none string
	}{
		"latest":          {func(*pb.Snapshot) bool { return true }, "has no snapshot"},
		"latest-verified": {Proven, "has no snapshot that was verified"},
		"latest-drilled":  {Drilled, "has no snapshot that a drill has restored"},
	}
	w, ok := wanted[which]
	if at, err := time.Parse(time.RFC3339, which); err == nil {
		w.so, ok = func(s *pb.Snapshot) bool { return !s.GetStartedAt().AsTime().After(at) }, true
		w.none = "has no snapshot of " + at.Format(time.RFC3339) + " or before"
	}
	if !ok {
		return nil, problem.New(problem.InvalidInput, "%.200q is no snapshot", source+"@"+which).
			WithHint("After the @ comes latest, latest-verified, latest-drilled, or a time such as 2026-03-01T15:04:05Z.")
	}
	if s, ok := v.Newest(source, w.so); ok {
		return s, nil
	}
	return nil, problem.New(problem.NotFound, "the source %q %s", source, w.none).WithReason(ReasonNoSnapshot)
}

// Drilled says whether the last drill of a snapshot restored it, and no byte of it
// was found damaged since.
func Drilled(s *pb.Snapshot) bool {
	return s.GetDrilledAt() != nil && s.GetDrillFailedAt() == nil && s.GetDamagedAt() == nil
}
