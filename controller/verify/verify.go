// Package verify re-reads snapshots: every byte of the store against the ledger
// and the manifest, decrypted, decompressed, hashed.
package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Verifier checks snapshots.
type Verifier struct {
	View    func() *state.View
	Propose func(context.Context, *pb.Command) error
	Repo    *repo.Repository
	Store   store.Store
	Clock   clock.Clock
}

// As many snapshots as these are checked together, and as have so many bytes of
// manifests, which take three times that in memory.
const (
	maxTogether  = 8
	maxManifests = 3 << 20
)

// Snapshots checks snapshots and records of each what was found: that it is right,
// or that it is damaged. found gets a report of each, in order. What is wrong with
// one is in its report; an error means that the check itself could not be made to
// its end, or that what was found could not be recorded.
func (v *Verifier) Snapshots(ctx context.Context, list []*pb.Snapshot, progress func(done, total int64), found func(*pb.Snapshot, *pb.VerifyReport) error) error {
	var damaged []string
	var err error
	for err == nil && len(list) > 0 {
		n := together(list)
		err = v.check(ctx, list[:n], progress, func(s *pb.Snapshot, report *pb.VerifyReport) error {
			if lost(report) {
				damaged = append(damaged, s.GetId())
			}
			return found(s, report)
		})
		list = list[n:]
	}
	// What was found is recorded also when the rest could not be looked at, or nobody
	// waits for it any more.
	return errors.Join(err, v.recordDamage(ctx, damaged))
}

// lost says that a snapshot is damaged, rather than gone by now.
func lost(report *pb.VerifyReport) bool {
	return slices.ContainsFunc(report.GetProblems(), func(p *pb.Failure) bool { return p.GetReason() != string(state.ReasonPruned) })
}

// together says how many of the first snapshots are checked at once.
func together(list []*pb.Snapshot) int {
	size := int64(0)
	for i, s := range list {
		if size += s.GetManifestSize(); i > 0 && size > maxManifests || i == maxTogether {
			return i
		}
	}
	return len(list)
}

func (v *Verifier) check(ctx context.Context, list []*pb.Snapshot, progress func(done, total int64), found func(*pb.Snapshot, *pb.VerifyReport) error) error {
	results := make([]repo.Verified, len(list))
	var opened []*repo.Snapshot
	var places []int
	for i, s := range list {
		snapshot, err := v.open(ctx, s)
		if results[i].Err = err; err == nil {
			opened, places = append(opened, snapshot), append(places, i)
		}
	}
	for i, r := range repo.VerifyAll(ctx, opened, progress) {
		results[places[i]] = r
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, s := range list {
		report, err := v.conclude(ctx, s, results[i])
		if err == nil {
			err = found(s, report)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// conclude makes a report of what was found, and records that nothing was.
func (v *Verifier) conclude(ctx context.Context, s *pb.Snapshot, r repo.Verified) (*pb.VerifyReport, error) {
	report := &pb.VerifyReport{
		Packs: int64(r.Packs), StoredBytes: r.StoredBytes, Chunks: r.Chunks, RawBytes: r.RawBytes,
	}
	now, _ := v.View().Snapshot(s.GetId())
	switch {
	case r.Err != nil && now.GetPrunedAt() != nil: // it went while it was read
		report.Problems = []*pb.Failure{transport.ToFailure(state.Pruned(now))}
		return report, nil
	case isFinding(r.Err):
		report.Problems = []*pb.Failure{transport.ToFailure(r.Err)}
		return report, nil
	case r.Err != nil:
		return nil, fmt.Errorf("verify snapshot %s: %w", s.GetId(), r.Err)
	case now.GetDamagedAt() != nil && !proto.Equal(now.GetDamagedAt(), s.GetDamagedAt()):
		// What was read may have been so before that.
		again := problem.New(problem.Conflict, "snapshot %s was found damaged while it was verified", s.GetId()).WithSource(s.GetSource()).WithHint("Verify it again.")
		report.Problems = []*pb.Failure{transport.ToFailure(again)}
		return report, nil
	}
	err := v.Propose(ctx, &pb.Command{Actor: "verify", Command: &pb.Command_RecordVerification{
		RecordVerification: &pb.RecordVerification{Snapshot: s.GetId(), VerifiedAt: timestamppb.New(v.Clock.Now())},
	}})
	if err != nil {
		return nil, fmt.Errorf("record that snapshot %s was verified: %w", s.GetId(), err)
	}
	return report, nil
}

// open opens a snapshot that is what its ledger entry says.
func (v *Verifier) open(ctx context.Context, s *pb.Snapshot) (*repo.Snapshot, error) {
	entry, err := state.EntryOf(s)
	if err != nil {
		return nil, problem.Wrap(problem.Corrupt, err, "read the ledger entry")
	}
	if err := v.checkEntry(entry); err != nil {
		return nil, problem.Wrap(problem.Corrupt, err, "check the ledger")
	}
	snapshot, err := v.Repo.OpenSnapshot(ctx, v.Store, repo.Ref{
		Source: entry.Source, Snapshot: entry.Snapshot, Manifest: entry.Manifest, Size: entry.ManifestSize,
	})
	if err != nil {
		return nil, err
	}
	if err := sameFacts(entry, snapshot); err != nil {
		return nil, problem.Wrap(problem.Corrupt, err, "compare manifest and ledger")
	}
	return snapshot, nil
}

// checkEntry checks the entry's own hash and its place in the chain.
func (v *Verifier) checkEntry(e ledger.Entry) error {
	if e.Index <= 1 {
		return e.Follows(nil)
	}
	before, ok := v.View().LedgerEntry(e.Index - 1)
	if !ok {
		return fmt.Errorf("ledger entry %d is missing", e.Index-1)
	}
	previous, err := state.EntryOf(before)
	if err != nil {
		return err
	}
	return e.Follows(&previous)
}

// sameFacts compares what ledger and manifest say of the streams.
func sameFacts(e ledger.Entry, s *repo.Snapshot) error {
	if s.Root() != e.Root {
		return errors.New("the Merkle root differs")
	}
	streams := s.Streams()
	if len(streams) != len(e.Streams) {
		return fmt.Errorf("%d streams in the manifest, %d in the ledger", len(streams), len(e.Streams))
	}
	for i, m := range streams {
		l := e.Streams[i]
		if m.Name != l.Name || m.Size != l.Size || m.SHA256 != l.SHA256 || m.Database != l.Database || m.Kind != l.Kind || m.Format != l.Format {
			return fmt.Errorf("stream %s differs", l.Name)
		}
	}
	return nil
}

// isFinding says whether an error is about the stored bytes, rather than about
// the attempt to read them.
func isFinding(err error) bool {
	return problem.CodeOf(err) == problem.Corrupt || problem.ReasonOf(err) == repo.ReasonMissingObject
}
