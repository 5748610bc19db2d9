package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Listing says what is wrong with a listing of all snapshots, forgotten ones
// too, by itself: the ledger's chain, things that are there twice, things that
// are not whole. After a prune the chain has gaps.
func Listing(listed []*pb.Snapshot, gaps bool) []string {
	var wrong []string
	byRun, byFire := map[string]string{}, map[string]string{}
	for _, s := range listed {
		if other, ok := byRun[s.GetRun()]; ok {
			wrong = append(wrong, fmt.Sprintf("two commits: run %s has the snapshots %s and %s", s.GetRun(), other, s.GetId()))
		}
		byRun[s.GetRun()] = s.GetId()
		fire := s.GetSource() + " " + s.GetFireTime().AsTime().String()
		if other, ok := byFire[fire]; ok {
			wrong = append(wrong, fmt.Sprintf("two snapshots of one fire time: %s has %s and %s", fire, other, s.GetId()))
		}
		byFire[fire] = s.GetId()
		wrong = append(wrong, partial(s)...)
	}
	return append(wrong, chain(listed, gaps)...)
}

// partial says what a snapshot lacks.
func partial(s *pb.Snapshot) []string {
	var lacks []string
	for what, missing := range map[string]bool{
		"a run": s.GetRun() == "", "a source": s.GetSource() == "", "a time of its commit": !s.GetCommittedAt().IsValid(),
		"a manifest": len(s.GetManifestSha256()) == 0 || s.GetManifestSize() <= 0, "streams": len(s.GetStreams()) == 0, "a store": len(s.GetStores()) == 0,
	} {
		if missing {
			lacks = append(lacks, fmt.Sprintf("partial: snapshot %s has not %s", s.GetId(), what))
		}
	}
	slices.Sort(lacks)
	return lacks
}

// chain says where the ledger's chain is broken. Each entry names the hash of
// the one before.
func chain(listed []*pb.Snapshot, gaps bool) []string {
	var wrong []string
	sorted := slices.SortedFunc(slices.Values(listed), func(a, b *pb.Snapshot) int { return cmp.Compare(a.GetLedgerIndex(), b.GetLedgerIndex()) })
	var previous *ledger.Entry
	for _, s := range sorted {
		e, err := state.EntryOf(s)
		if gaps && e.Index > 1 && (previous == nil || previous.Index+1 != e.Index) {
			previous = &ledger.Entry{Index: e.Index - 1, Hash: e.Previous} // whatever it was
		}
		if err == nil {
			err = e.Follows(previous)
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("ledger: snapshot %s: %v", s.GetId(), err))
		}
		previous = &e
	}
	return wrong
}

// Runs says what is wrong between runs and snapshots: a backup that succeeded
// has its snapshot, under the epoch that it had in the end, and no other has one.
func Runs(runs []*pb.Run, listed []*pb.Snapshot) []string {
	var wrong []string
	byRun := map[string]*pb.Snapshot{}
	for _, s := range listed {
		byRun[s.GetRun()] = s
	}
	for _, r := range runs {
		s := byRun[r.GetId()]
		made := r.GetKind() == pb.RunKind_RUN_KIND_BACKUP && r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED
		switch {
		case made && s == nil:
			wrong = append(wrong, fmt.Sprintf("lost: run %s succeeded as snapshot %s, which is not listed", r.GetId(), r.GetSnapshot()))
		case made && s.GetId() != r.GetSnapshot():
			wrong = append(wrong, fmt.Sprintf("run %s made snapshot %s, and %s is listed for it", r.GetId(), r.GetSnapshot(), s.GetId()))
		case made && s.GetEpoch() != r.GetEpoch():
			wrong = append(wrong, fmt.Sprintf("stale: snapshot %s was committed under epoch %d of run %s, whose last was %d", s.GetId(), s.GetEpoch(), r.GetId(), r.GetEpoch()))
		case !made && s != nil:
			wrong = append(wrong, fmt.Sprintf("partial: snapshot %s is listed, and its run %s is %s", s.GetId(), r.GetId(), r.GetState()))
		}
	}
	return wrong
}
