package retain

import (
	"context"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
)

// Packs are compacted by the next backup: it is told not to build on those of
// which little is used, stores that little anew, and they go with the snapshots
// that list them. So nothing that exists is touched, a crash at any point leaves
// nothing half done, and the source alone is concerned.

// compact finds the packs that the next backup of a source is not to build on. What
// is found is kept in memory only: another leader finds it again.
func (r *Retain) compact(ctx context.Context, view *state.View, source string) error {
	if r.CompactBelow <= 0 {
		return nil
	}
	var ids []string
	var size, live int64
	for _, s := range view.Snapshots(source, 1) {
		if s.GetDamagedAt() != nil || s.GetKeyGeneration() != r.Repo.Generation {
			break
		}
		key, err := r.Repo.SourceKey(source, s.GetKeyGeneration())
		if err != nil {
			return fmt.Errorf("find packs to compact: %w", err)
		}
		packs, err := repo.Sparse(ctx, r.Store, key, repo.Ref{
			Source: source, Snapshot: s.GetId(), Manifest: ledger.Hash(s.GetManifestSha256()), Size: s.GetManifestSize(),
		}, r.CompactBelow)
		if err != nil {
			return fmt.Errorf("find packs to compact: %w", err)
		}
		for _, p := range packs {
			ids, size, live = append(ids, p.ID), size+p.Size, live+p.Live
		}
	}
	r.mu.Lock()
	r.sparse[source] = ids
	r.mu.Unlock()
	if len(ids) > 0 {
		r.Logger.Info("packs are to be compacted by the next backup", "source", source, "packs", len(ids), "bytes", size, "used", live)
	}
	return nil
}

// Avoid lists the packs of a source that a backup is not to build on: those that
// are marked as damaged, and those that are to be compacted.
func (r *Retain) Avoid(ctx context.Context, source string) ([]string, error) {
	ids, err := r.Damaged(ctx, source)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.sparse[source] {
		if len(ids) < maxAvoided && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
