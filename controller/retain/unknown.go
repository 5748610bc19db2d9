package retain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// clocksApart is how far the clocks of controllers may differ for what is told from them here.
const clocksApart = 24 * time.Hour

// unknown finds the manifests of which the state knows nothing and a copy of a
// ledger entry does, with their hashes. The state is older than the store then: one
// that was saved earlier was restored. They were acknowledged, and nobody has
// forgotten them. Most often there is no manifest that the state does not know,
// and no copy is read.
func (r *Retain) unknown(ctx context.Context, view *state.View, held *repo.SourceInventory) (map[string]ledger.Hash, error) {
	var since time.Time // when the oldest of them was begun
	sums, found := map[string]ledger.Hash{}, map[string]ledger.Hash{}
	for _, m := range held.Manifests { // oldest first
		id := m.Header.Snapshot
		if _, ok := view.Snapshot(id); ok || m.Damaged != "" {
			continue
		}
		if begun, err := ulid.Parse(id); err == nil && len(sums) == 0 {
			since = begun.Timestamp().Add(-clocksApart)
		}
		sums[id] = m.SHA256
	}
	if len(sums) == 0 {
		return found, nil
	}
	var copies []uint64
	err := r.Store.List(ctx, repo.LedgerPrefix, func(i store.Info) error {
		o, err := repo.ParseName(i.Name)
		if err != nil || o.Kind != repo.KindLedger {
			return nil
		}
		// What was committed here before they were begun is in their ledger too.
		if s, ok := view.LedgerEntry(o.Index); !ok || !s.GetCommittedAt().AsTime().Before(since) {
			copies = append(copies, o.Index)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the copies of the ledger: %w", err)
	}
	for _, index := range copies {
		e, err := r.readCopy(ctx, index)
		if err != nil {
			return nil, err
		}
		if sum, ok := sums[e.Snapshot]; ok && e.Source == held.Source && e.Manifest == sum {
			found[e.Snapshot] = sum
		}
	}
	if len(found) > 0 {
		r.Logger.Warn("snapshots are kept that are in the store's copies of the ledger alone: the state of the controllers is older than the store",
			"source", held.Source, "snapshots", len(found))
	}
	return found, nil
}

// readCopy reads the copy of a ledger entry. One that is gone, or damaged, names
// nothing: it is the zero entry.
func (r *Retain) readCopy(ctx context.Context, index uint64) (e ledger.Entry, err error) {
	object, err := repo.ReadLedger(ctx, r.Store, index)
	if errors.Is(err, store.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	plain, err := r.Repo.OpenLedger(index, object)
	if problem.CodeOf(err) == problem.Corrupt && problem.CodeOf(errors.Unwrap(err)) != problem.Denied { // for want of a newer key
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(plain, &e)
	}
	if err != nil {
		return e, fmt.Errorf("open %s: %w", repo.LedgerName(index), err)
	}
	return e, nil
}
