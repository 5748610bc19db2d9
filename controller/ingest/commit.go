package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonIncomplete says that a snapshot was not committed because objects that
// it needs are missing from the store, or differ.
const ReasonIncomplete problem.Reason = "snapshot-incomplete"

// CommitSnapshot makes a snapshot exist, once all that it consists of is there.
func (i *Ingest) CommitSnapshot(ctx context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	s := req.GetSnapshot()
	run, err := i.leases.Held(ctx, req.GetLease())
	if err != nil {
		if index, ok := i.done(ctx, req); ok {
			return &pb.CommitSnapshotResponse{LedgerIndex: index}, nil // asked again
		}
		return nil, err
	}
	if s.GetId() != run.GetSnapshot() || s.GetSource() != run.GetSource() {
		return nil, refuse("run %s was granted snapshot %s of %s, not %.40q of %.40q", run.GetId(), run.GetSnapshot(), run.GetSource(), s.GetId(), s.GetSource())
	}
	i.Logger.Debug("commit asked", "run", run.GetId(), "epoch", run.GetEpoch(), "snapshot", s.GetId())
	if err := i.complete(ctx, req); err != nil {
		return nil, fmt.Errorf("check snapshot %s before its commit: %w", s.GetId(), err)
	}
	committed := proto.CloneOf(s)
	committed.Stores, committed.KeyGeneration = []string{i.StoreName}, i.Repo.Generation // as complete has found it
	err = i.Log.Propose(ctx, &pb.Command{
		Actor: "agent/" + run.GetAgent(),
		// The same id for every attempt: a commit whose answer got lost is found again.
		RequestId: fmt.Sprintf("commit-%s-%d", run.GetId(), req.GetLease().GetEpoch()),
		Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{
			Run: run.GetId(), Epoch: req.GetLease().GetEpoch(), Snapshot: committed, Logs: state.BoundedLogs(req.GetLogs()),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("commit snapshot %s: %w", s.GetId(), err)
	}
	i.Logger.Debug("snapshot committed", "run", run.GetId(), "epoch", run.GetEpoch(), "snapshot", s.GetId())
	entry, ok := i.Log.View().Snapshot(s.GetId())
	if !ok {
		return nil, problem.New(problem.Unavailable, "snapshot %s was committed, and this controller has not heard of it yet", s.GetId()).WithReason(lease.ReasonBehind).
			WithHint("It lags behind the others: ask another one.")
	}
	if err := i.copyEntry(ctx, entry); err != nil {
		// The snapshot exists; its copy for rescue is tried again until the store takes it.
		i.Logger.Warn("ledger copy not written yet", "snapshot", s.GetId(), "error", err)
	}
	return &pb.CommitSnapshotResponse{LedgerIndex: entry.GetLedgerIndex()}, nil
}

// done says whether the snapshot was committed before, under the same lease.
func (i *Ingest) done(ctx context.Context, req *pb.CommitSnapshotRequest) (index uint64, ok bool) {
	run, ok := i.leases.Ended(ctx, req.GetLease())
	if !ok {
		return 0, false
	}
	s, ok := i.Log.View().Snapshot(req.GetSnapshot().GetId())
	return s.GetLedgerIndex(), ok && s.GetRun() == run.GetId()
}

// complete says what is missing from the store for the snapshot to be whole:
// the manifest with its hash under the newest key, and every pack that it names
// with its size and hash.
func (i *Ingest) complete(ctx context.Context, req *pb.CommitSnapshotRequest) error {
	l, s, sent := req.GetLease(), req.GetSnapshot(), byName(req.GetReceipts())
	header, sum, size, err := i.manifest(ctx, s.GetSource(), s.GetId())
	if err != nil {
		return err
	}
	switch {
	case size != s.GetManifestSize() || !bytes.Equal(sum[:], s.GetManifestSha256()):
		return incomplete("the manifest in the store is not the one to be committed")
	case header.Source != s.GetSource() || header.Snapshot != s.GetId():
		return incomplete("the manifest is of another snapshot")
	case header.Generation != i.Repo.Generation:
		return incomplete("the manifest lies under a key of generation %d, and snapshots are made under generation %d", header.Generation, i.Repo.Generation)
	}
	var earlier map[string]repo.PackRef // read when first needed
	for _, p := range header.Packs {
		name := repo.PackName(s.GetSource(), p.ID)
		info, err := i.Store.Stat(ctx, name)
		switch {
		case errors.Is(err, store.ErrNotExist):
			return lost("pack %s is not in the store", p.ID)
		case err != nil:
			return fmt.Errorf("look at %s: %w", name, err)
		case info.Size != p.Size:
			return lost("pack %s has %d bytes in the store and %d in the manifest", p.ID, info.Size, p.Size)
		}
		if got, ok := i.noted(l, name); ok {
			if got != p.SHA256 {
				return incomplete("pack %s was sent with another hash than the manifest has", p.ID)
			}
			continue
		}
		if i.vouches(l, sent[name], name, p) {
			continue
		}
		if earlier == nil {
			earlier = i.committedPacks(ctx, s.GetSource())
		}
		if e, ok := earlier[p.ID]; ok && e.SHA256 == p.SHA256 && e.Size == p.Size {
			continue
		}
		got, _, err := i.hashObject(ctx, name)
		if err != nil {
			return err
		}
		if got != p.SHA256 {
			return lost("pack %s in the store has another hash than the manifest has", p.ID)
		}
	}
	return nil
}

// committedPacks are the packs of the source's newest committed snapshots,
// whose hashes were checked when these were committed.
func (i *Ingest) committedPacks(ctx context.Context, source string) map[string]repo.PackRef {
	packs := map[string]repo.PackRef{}
	for _, s := range i.Log.View().Snapshots(source, state.BaseSnapshots) {
		header, sum, _, err := i.manifest(ctx, source, s.GetId())
		if err != nil || !bytes.Equal(sum[:], s.GetManifestSha256()) {
			i.Logger.Warn("the manifest of an earlier snapshot cannot be used", "snapshot", s.GetId(), "error", err)
			continue // its packs are hashed again instead
		}
		for _, p := range header.Packs {
			packs[p.ID] = p
		}
	}
	return packs
}

// manifest reads a manifest's clear header, and hashes all of the object.
func (i *Ingest) manifest(ctx context.Context, source, snapshot string) (h repo.ManifestHeader, sum ledger.Hash, size int64, err error) {
	name := repo.ManifestName(source, snapshot)
	rc, err := i.Store.Get(ctx, name, 0, -1)
	if errors.Is(err, store.ErrNotExist) {
		return h, sum, 0, incomplete("its manifest is not in the store")
	}
	if err != nil {
		return h, sum, 0, fmt.Errorf("read %s: %w", name, err)
	}
	defer rc.Close()
	digest := sha256.New()
	counted := &counter{}
	tee := io.TeeReader(rc, io.MultiWriter(digest, counted))
	h, err = repo.ReadManifestHeader(tee)
	if err != nil {
		return h, sum, 0, fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return h, sum, 0, fmt.Errorf("read %s: %w", name, err)
	}
	return h, ledger.Hash(digest.Sum(nil)), counted.n, nil
}

func incomplete(format string, args ...any) *problem.Problem {
	return problem.New(problem.Failed, format, args...).WithReason(ReasonIncomplete)
}

// lost says so of a pack, which may be an earlier one that the snapshot builds on.
func lost(format string, args ...any) error {
	return incomplete(format, args...).
		WithHint("`baktainer store check` tells what the store has lost. Once `baktainer store repair` has marked it, the next backup stores it anew.")
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
