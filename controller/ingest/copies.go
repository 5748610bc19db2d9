package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// copies remembers up to where ledger copies are known to be in the store.
type copies struct {
	turn chan struct{} // holds one while somebody writes them
	// next is the index of the first entry whose copy is not known to be there, last
	// the hash of the one before.
	next uint64
	last []byte
}

// relistGap is how many entries behind the store is asked what it has, rather
// than being offered each of them: others have written theirs meanwhile.
const relistGap = 100

// copyLimit is how long a commit waits for the copy of its entry; the leader
// tries again afterwards.
const copyLimit = 30 * time.Second

// copyEntry writes the copy of an entry that was just committed. The leader
// writes all that are missing; another controller leaves those to it. It is
// written also when whoever asked for the commit is not there any more: the
// snapshot exists all the same, and a rescue has to find it.
func (i *Ingest) copyEntry(ctx context.Context, entry *pb.Snapshot) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyLimit)
	defer cancel()
	if i.leads() {
		return i.WriteLedgerCopies(ctx)
	}
	return i.writeCopy(ctx, entry)
}

// ReasonOtherEntry says that the copy in the store is not of the entry that the
// ledger has: the state was replaced by an older one, and its ledger went on from there.
const ReasonOtherEntry problem.Reason = "other-ledger-entry"

// WriteLedgerCopies writes a sealed copy of every ledger entry that the store
// has none of: from these alone a rescue knows which snapshots were committed.
// The first call after a start looks at all of them. A copy that is of another
// entry it leaves, and says so once: nothing else knows of what it names.
func (i *Ingest) WriteLedgerCopies(ctx context.Context) error {
	select {
	case i.copies.turn <- struct{}{}:
		defer func() { <-i.copies.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	view := i.Log.View()
	have := map[string]bool{}
	if last, ok := view.LedgerEntry(i.copies.next - 1); i.copies.next > 1 && (!ok || !bytes.Equal(last.GetHash(), i.copies.last)) {
		// The state was replaced, by an older one perhaps: its newest entry shows whether
		// the copies are of another ledger.
		i.copies.next = max(1, min(i.copies.next-1, view.LedgerHead().GetLedgerIndex()))
	}
	if i.copies.next == 0 || view.LedgerHead().GetLedgerIndex() > i.copies.next+relistGap {
		err := i.Store.List(ctx, repo.LedgerPrefix, func(o store.Info) error {
			have[o.Name] = true
			return nil
		})
		if err != nil {
			return fmt.Errorf("list ledger copies: %w", err)
		}
		i.copies.next = max(i.copies.next, 1)
	}
	for {
		s, ok := view.LedgerEntry(i.copies.next)
		if !ok {
			return nil
		}
		if !have[repo.LedgerName(i.copies.next)] {
			err := i.writeCopy(ctx, s)
			switch {
			case problem.ReasonOf(err) == ReasonOtherEntry:
				i.Logger.Error("a rescue would not know this snapshot", "source", s.GetSource(), "snapshot", s.GetId(), "error", err)
			case err != nil:
				return err
			}
		}
		i.copies.next, i.copies.last = i.copies.next+1, s.GetHash()
	}
}

func (i *Ingest) writeCopy(ctx context.Context, s *pb.Snapshot) error {
	index := s.GetLedgerIndex()
	entry, err := state.EntryOf(s)
	if err != nil {
		return problem.Wrap(problem.Internal, err, "read ledger entry %d", index)
	}
	text, err := json.Marshal(entry)
	if err != nil {
		return problem.Wrap(problem.Internal, err, "encode ledger entry %d", index)
	}
	sealed, err := i.Repo.SealLedger(index, text)
	if err != nil {
		return fmt.Errorf("seal ledger entry %d: %w", index, err)
	}
	_, err = i.Store.Put(ctx, repo.LedgerName(index), bytes.NewReader(sealed))
	if errors.Is(err, store.ErrExists) {
		return i.sameCopy(ctx, index, text)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", repo.LedgerName(index), err)
	}
	return nil
}

// sameCopy says whether the copy that is there is that of the entry.
func (i *Ingest) sameCopy(ctx context.Context, index uint64, text []byte) error {
	object, err := repo.ReadLedger(ctx, i.Store, index)
	if err != nil {
		return err
	}
	plain, err := i.Repo.OpenLedger(index, object)
	if err == nil && bytes.Equal(plain, text) {
		return nil
	}
	return problem.New(problem.Conflict, "%s is not the copy of the entry that the ledger has", repo.LedgerName(index)).WithReason(ReasonOtherEntry).
		WithHint("Is the state of the controllers older than the store? `baktainer store check` tells more.")
}
