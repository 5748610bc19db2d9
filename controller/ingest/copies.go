package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// copies remembers up to where ledger copies are known to be in the store.
type copies struct {
	mu sync.Mutex
	// next is the index of the first entry whose copy is not known to be there.
	next uint64
}

// WriteLedgerCopies writes a sealed copy of every ledger entry that the store
// has none of: from these alone a rescue knows which snapshots were committed.
// The first call after a start looks at all of them.
func (i *Ingest) WriteLedgerCopies(ctx context.Context) error {
	i.copies.mu.Lock()
	defer i.copies.mu.Unlock()
	view := i.Log.View()
	have := map[string]bool{}
	if i.copies.next == 0 {
		err := i.Store.List(ctx, repo.LedgerPrefix, func(o store.Info) error {
			have[o.Name] = true
			return nil
		})
		if err != nil {
			return fmt.Errorf("list ledger copies: %w", err)
		}
		i.copies.next = 1
	}
	for ; ; i.copies.next++ {
		s, ok := view.LedgerEntry(i.copies.next)
		if !ok {
			return nil
		}
		name := repo.LedgerName(i.copies.next)
		if have[name] {
			continue
		}
		entry, err := state.EntryOf(s)
		if err != nil {
			return problem.Wrap(problem.Internal, err, "read ledger entry %d", i.copies.next)
		}
		text, err := json.Marshal(entry)
		if err != nil {
			return problem.Wrap(problem.Internal, err, "encode ledger entry %d", i.copies.next)
		}
		sealed, err := i.Repo.SealLedger(i.copies.next, text)
		if err != nil {
			return fmt.Errorf("seal ledger entry %d: %w", i.copies.next, err)
		}
		if _, err := i.Store.Put(ctx, name, bytes.NewReader(sealed)); err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
}
