// Package verify re-reads snapshots: every byte of the store against the ledger
// and the manifest, decrypted, decompressed, hashed.
package verify

import (
	"context"
	"errors"
	"fmt"

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

// Snapshot checks one snapshot and records that it was found right. What is
// wrong with it is in the report; an error means that the check itself could
// not be made to its end.
func (v *Verifier) Snapshot(ctx context.Context, s *pb.Snapshot, progress func(done, total int64)) (*pb.VerifyReport, error) {
	r, err := v.check(ctx, s, progress)
	report := &pb.VerifyReport{
		Packs: int64(r.Packs), StoredBytes: r.StoredBytes, Chunks: r.Chunks, RawBytes: r.RawBytes,
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case isFinding(err):
		report.Problems = []*pb.Failure{transport.ToFailure(err)}
		return report, nil
	case err != nil:
		return nil, fmt.Errorf("verify snapshot %s: %w", s.GetId(), err)
	}
	err = v.Propose(ctx, &pb.Command{Actor: "verify", Command: &pb.Command_RecordVerification{
		RecordVerification: &pb.RecordVerification{Snapshot: s.GetId(), VerifiedAt: timestamppb.New(v.Clock.Now())},
	}})
	if err != nil {
		return nil, fmt.Errorf("record that snapshot %s was verified: %w", s.GetId(), err)
	}
	return report, nil
}

func (v *Verifier) check(ctx context.Context, s *pb.Snapshot, progress func(done, total int64)) (repo.Report, error) {
	entry, err := state.EntryOf(s)
	if err != nil {
		return repo.Report{}, problem.Wrap(problem.Corrupt, err, "read the ledger entry")
	}
	if err := v.checkEntry(entry); err != nil {
		return repo.Report{}, problem.Wrap(problem.Corrupt, err, "check the ledger")
	}
	snapshot, err := v.Repo.OpenSnapshot(ctx, v.Store, repo.Ref{
		Source: entry.Source, Snapshot: entry.Snapshot, Manifest: entry.Manifest, Size: entry.ManifestSize,
	})
	if err != nil {
		return repo.Report{}, err
	}
	if err := sameFacts(entry, snapshot); err != nil {
		return repo.Report{}, problem.Wrap(problem.Corrupt, err, "compare manifest and ledger")
	}
	return snapshot.Verify(ctx, progress)
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
