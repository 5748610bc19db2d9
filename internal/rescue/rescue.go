// Package rescue lists and opens snapshots from a store and the key file alone,
// when no controller is left. It trusts the copies of ledger entries in the store
// as far as their seals go: a snapshot that one of them records is as good as it
// was for the controller; a manifest without one belongs to a run that failed,
// was never confirmed, or whose ledger copy is lost.
package rescue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
)

// Rescue is a repository opened without a controller.
type Rescue struct {
	store store.Store
	repo  *repo.Repository
}

// Found is a snapshot found in the store.
type Found struct {
	// Entry is the ledger's record, nil for a manifest that no intact copy of a
	// ledger entry confirms.
	Entry            *ledger.Entry
	Source, Snapshot string
	// ManifestSize is the size of the manifest object in bytes, 0 when it is missing.
	ManifestSize int64
	// Note says what is to be known before it is used, empty when nothing is.
	Note string

	there bool // the manifest, be it empty
}

// Confirmed says whether a ledger entry records the snapshot and its manifest is there.
func (f Found) Confirmed() bool { return f.Entry != nil && f.there }

// Listing is what a store holds.
type Listing struct {
	// Snapshots are sorted by source, then oldest first.
	Snapshots []Found
	// Damaged tells which copies of ledger entries are unusable, one line each.
	Damaged []string
}

// Open opens the repository in a store. Its problems are those of repo.Open.
func Open(ctx context.Context, st store.Store, key repo.Key) (*Rescue, error) {
	r, err := repo.Open(ctx, st, key)
	if err != nil {
		return nil, err
	}
	return &Rescue{store: st, repo: r}, nil
}

// Repository tells the id of the repository.
func (r *Rescue) Repository() string { return r.repo.ID }

// Snapshots lists what the store holds, sorted by source, then oldest first.
func (r *Rescue) Snapshots(ctx context.Context) ([]Found, error) {
	l, err := r.List(ctx)
	return l.Snapshots, err
}

// List is Snapshots with what is damaged besides.
func (r *Rescue) List(ctx context.Context) (Listing, error) {
	entries, misfits, err := r.entries(ctx)
	if err != nil {
		return Listing{}, fmt.Errorf("list the store: %w", err)
	}
	found := map[string]*Found{} // by name of the manifest
	for _, e := range entries {
		found[repo.ManifestName(e.Source, e.Snapshot)] = &Found{Entry: e, Source: e.Source, Snapshot: e.Snapshot, Note: "its manifest is gone: it was forgotten, or is lost"}
	}
	err = r.store.List(ctx, repo.SourcesPrefix, func(i store.Info) error {
		o, err := repo.ParseName(i.Name)
		if err != nil || o.Kind != repo.KindManifest {
			return nil
		}
		f := found[i.Name]
		if f == nil {
			f = &Found{Source: o.Source, Snapshot: o.ID, Note: "no ledger entry confirms it: its run may have failed"}
			found[i.Name] = f
		} else {
			f.Note = ""
		}
		f.there, f.ManifestSize = true, i.Size
		if f.Entry != nil && f.Entry.ManifestSize != i.Size {
			f.Note = fmt.Sprintf("its manifest is damaged: %d bytes, the ledger says %d", i.Size, f.Entry.ManifestSize)
		}
		return nil
	})
	if err != nil {
		return Listing{}, fmt.Errorf("list the store: %w", err)
	}
	l := Listing{Damaged: damaged(misfits)}
	for _, f := range found {
		l.Snapshots = append(l.Snapshots, *f)
	}
	slices.SortFunc(l.Snapshots, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Snapshot, b.Snapshot))
	})
	return l, nil
}

// Misfit is a place in the ledger that does not fit: a copy of an entry that is
// damaged, or does not follow from the one before it, or is not there.
type Misfit struct {
	Index uint64
	Err   error
	// Missing is how many copies from Index on are not there; 0: the one at Index is
	// there, and is wrong.
	Missing uint64
}

// damaged are the misfits of copies that are there, one line each.
func damaged(misfits []Misfit) (lines []string) {
	for _, m := range misfits {
		if m.Missing == 0 {
			lines = append(lines, fmt.Sprintf("%s: %v", repo.LedgerName(m.Index), m.Err))
		}
	}
	return lines
}

// History is what the copies of the ledger in a store tell.
type History struct {
	// Entries are those that are intact, Head is the newest of them, nil if there is none.
	Entries int
	Head    *ledger.Entry
	// Misfits are in the order of the ledger.
	Misfits []Misfit
}

// History reads the ledger, and says where it does not fit. What is missing at its
// end cannot be told from the store: that takes the index and the hash of an entry
// that somebody remembers, a head of before; index 0: nobody does.
func (r *Rescue) History(ctx context.Context, index uint64, hash ledger.Hash) (History, error) {
	entries, misfits, err := r.entries(ctx)
	if err != nil {
		return History{}, fmt.Errorf("read the ledger: %w", err)
	}
	h := History{Entries: len(entries), Misfits: misfits}
	last := uint64(0)
	if len(entries) > 0 {
		h.Head = entries[len(entries)-1]
		last = h.Head.Index
	}
	if len(misfits) > 0 {
		end := misfits[len(misfits)-1]
		last = max(last, end.Index+max(end.Missing, 1)-1)
	}
	at := slices.IndexFunc(entries, func(e *ledger.Entry) bool { return e.Index == index })
	switch {
	case index > last:
		h.Misfits = append(h.Misfits, Misfit{Index: last + 1, Missing: index - last, Err: errors.New("there is no copy of it, and it is remembered that there was")})
	case at >= 0 && entries[at].Hash != hash:
		h.Misfits = append(h.Misfits, Misfit{Index: index, Err: fmt.Errorf("its hash is %s, and is remembered as %s", entries[at].Hash, hash)})
		slices.SortStableFunc(h.Misfits, func(a, b Misfit) int { return cmp.Compare(a.Index, b.Index) })
	}
	return h, nil
}

// entries reads the copies of the ledger's entries, in order.
func (r *Rescue) entries(ctx context.Context) (entries []*ledger.Entry, misfits []Misfit, err error) {
	var previous *ledger.Entry
	next := uint64(1)
	err = r.store.List(ctx, repo.LedgerPrefix, func(i store.Info) error {
		o, err := repo.ParseName(i.Name)
		if err != nil || o.Kind != repo.KindLedger {
			return nil
		}
		if o.Index > next {
			misfits = append(misfits, Misfit{Index: next, Missing: o.Index - next, Err: errors.New("there is no copy of it")})
		}
		next = o.Index + 1
		e, err := r.entry(ctx, o.Index)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && previous != nil && previous.Index+1 == e.Index && e.Previous != previous.Hash {
			// Both are sealed with the key, so both are shown; but somebody should know.
			misfits = append(misfits, Misfit{Index: o.Index, Err: errNotNext})
		}
		if err != nil {
			misfits = append(misfits, Misfit{Index: o.Index, Err: err})
			return nil
		}
		entries, previous = append(entries, e), e
		return nil
	})
	return entries, misfits, err
}

func (r *Rescue) entry(ctx context.Context, index uint64) (*ledger.Entry, error) {
	object, err := repo.ReadLedger(ctx, r.store, index)
	if err != nil {
		return nil, err
	}
	plain, err := r.repo.OpenLedger(index, object)
	if err != nil {
		return nil, err
	}
	return ParseEntry(index, plain)
}

var errNotNext = errors.New("it does not follow the entry before it")

// ParseEntry reads the JSON in a copy of the ledger entry with an index. It
// checks all that can be checked without the other entries.
func ParseEntry(index uint64, plain []byte) (*ledger.Entry, error) {
	var e ledger.Entry
	if err := json.Unmarshal(plain, &e); err != nil {
		return nil, fmt.Errorf("read ledger entry: %w", err)
	}
	if e.Index != index {
		return nil, fmt.Errorf("it holds ledger entry %d", e.Index)
	}
	if o, err := repo.ParseName(repo.ManifestName(e.Source, e.Snapshot)); err != nil || o.Source != e.Source {
		return nil, fmt.Errorf("it records snapshot %.40q of source %.140q, which cannot be", e.Snapshot, e.Source)
	}
	switch {
	case !ledger.Intact(plain, e.Hash):
		return nil, errors.New("its content does not match its hash")
	case e.Index == 1 && e.Previous != ledger.Hash{}:
		return nil, errNotNext
	}
	return &e, nil
}

// OpenSnapshot opens the snapshot with an id, a unique prefix of one, or the
// newest of a source by SOURCE@latest. One that no ledger entry confirms must be
// named by its whole id.
func (r *Rescue) OpenSnapshot(ctx context.Context, ref string) (*repo.Snapshot, Found, error) {
	l, err := r.List(ctx)
	if err != nil {
		return nil, Found{}, err
	}
	f, err := pick(l.Snapshots, ref)
	if err != nil {
		return nil, Found{}, err
	}
	at := repo.Ref{Source: f.Source, Snapshot: f.Snapshot}
	if f.Entry != nil {
		at.Manifest, at.Size = f.Entry.Manifest, f.Entry.ManifestSize
	}
	s, err := r.repo.OpenSnapshot(ctx, r.store, at)
	return s, f, err
}

// pick finds the one snapshot that ref means.
func pick(snapshots []Found, ref string) (Found, error) {
	if name, ok := strings.CutSuffix(ref, "@latest"); ok {
		return latest(snapshots, name)
	}
	var matches []Found
	var exact *Found
	for i, f := range snapshots {
		switch {
		case strings.EqualFold(f.Snapshot, ref):
			// A manifest that lies in another place too is no reason to take that one.
			if exact == nil || exact.Entry == nil {
				exact = &snapshots[i]
			}
		case ref != "" && len(ref) < len(f.Snapshot) && strings.EqualFold(f.Snapshot[:len(ref)], ref):
			matches = append(matches, f)
		}
	}
	switch {
	case exact != nil:
		return *exact, nil
	case len(matches) > 1:
		p := problem.New(problem.InvalidInput, "%q is the beginning of %d snapshots", ref, len(matches)).WithHint("Give more of the id.")
		for _, f := range matches[:min(len(matches), 5)] {
			p = p.WithDetails(f.Snapshot + "  " + f.Source)
		}
		return Found{}, p
	case len(matches) == 1 && matches[0].Entry != nil:
		return matches[0], nil
	case len(matches) == 1:
		return Found{}, problem.New(problem.NotFound, "snapshot %s is not confirmed by the ledger: its run may have failed", matches[0].Snapshot).
			WithSource(matches[0].Source).WithHint("Give the whole id if you want it nevertheless.")
	}
	return Found{}, problem.New(problem.NotFound, "the store has no snapshot %.60q", ref).WithHint("List what there is with: baktainer rescue ls")
}

func latest(snapshots []Found, name string) (Found, error) {
	known, best, newest := false, Found{}, Found{}
	for _, f := range snapshots {
		if f.Source != name {
			continue
		}
		known, newest = true, f
		if f.Confirmed() && (best.Entry == nil || f.Entry.Index > best.Entry.Index) {
			best = f
		}
	}
	switch {
	case best.Entry != nil && !newest.Confirmed():
		best.Note = fmt.Sprintf("there is a newer one, %s: %s", newest.Snapshot, newest.Note)
		return best, nil
	case best.Entry != nil:
		return best, nil
	case known:
		return Found{}, problem.New(problem.NotFound, "no snapshot of it is confirmed by the ledger").WithSource(name).
			WithHint("List them with baktainer rescue ls; one that is not confirmed can be named by its whole id.")
	}
	err := problem.New(problem.NotFound, "the store has no snapshot of source %.140q", name)
	if source.CheckName(name) == nil {
		err = err.WithHint("List what there is with: baktainer rescue ls")
	}
	return Found{}, err
}
