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
	// next is the index of the first entry whose copy is not known to be there.
	next uint64
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

// WriteLedgerCopies writes a sealed copy of every ledger entry that the store
// has none of: from these alone a rescue knows which snapshots were committed.
// The first call after a start looks at all of them.
func (i *Ingest) WriteLedgerCopies(ctx context.Context) error {
	select {
	case i.copies.turn <- struct{}{}:
		defer func() { <-i.copies.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	view := i.Log.View()
	have := map[string]bool{}
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
	for ; ; i.copies.next++ {
		s, ok := view.LedgerEntry(i.copies.next)
		if !ok {
			return nil
		}
		if have[repo.LedgerName(i.copies.next)] {
			continue
		}
		if err := i.writeCopy(ctx, s); err != nil {
			return err
		}
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
	if _, err := i.Store.Put(ctx, repo.LedgerName(index), bytes.NewReader(sealed)); err != nil && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("write %s: %w", repo.LedgerName(index), err)
	}
	return nil
}
