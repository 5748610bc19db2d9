package rescue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
)

// Depth says how closely a check looks.
type Depth int

// The depths.
const (
	Quick  Depth = iota // manifests are opened; of packs, the sizes are compared
	Hashes              // and every pack is read and its hash compared; the default
	Full                // and every stream of every snapshot is read to its end
)

// Check is what was found out about a store.
type Check struct {
	Repository string
	// Entries are the copies of ledger entries that are intact.
	Entries int
	// Ledger tells what is wrong with the ledger, one line each.
	Ledger []string
	// Gone counts ledger entries whose manifests are not there: forgotten or lost.
	Gone int
	// Snapshots are those whose manifests are there, sorted by source, then oldest first.
	Snapshots []CheckedSnapshot
	// Damaged are the objects that something is wrong with, sorted.
	Damaged []DamagedObject
	// Packs were looked at, of so many bytes; LeftOver are those of them that no manifest needs.
	Packs, LeftOver repo.Tally
	// Unknown are objects of no kind.
	Unknown repo.Tally
}

// Condition is how much of a snapshot can be had.
type Condition string

// The conditions.
const (
	Fine   Condition = "fine"
	Partly Condition = "partly"
	Lost   Condition = "lost"
)

// CheckedSnapshot is a snapshot that was looked at.
type CheckedSnapshot struct {
	Source, Snapshot string
	// Confirmed says that a ledger entry records it.
	Confirmed bool
	Condition Condition
	// Why says why nothing of it can be had, when that is so.
	Why string
	// Needs are damaged packs that it needs.
	Needs []string
	// Streams were read: all of them in a full check, otherwise those of snapshots
	// that need damaged packs, unless the check was quick.
	Streams []repo.SalvageReport
}

// DamagedObject is an object that something is wrong with. Snapshots is empty for
// those that all need and that have a copy or a slot besides.
type DamagedObject struct {
	Object, Reason string
	// Snapshots need it.
	Snapshots []string
}

// Err is nil when all is well; a problem PartlyFailed when something is damaged,
// and Corrupt when nothing can be restored at all.
func (c *Check) Err() error {
	fine := len(c.Damaged) == 0 && len(c.Ledger) == 0
	readable := len(c.Snapshots) == 0 && c.Gone == 0
	for _, s := range c.Snapshots {
		fine = fine && (s.Condition == Fine || !s.Confirmed)
		readable = readable || s.Condition != Lost
	}
	switch {
	case !readable:
		return problem.New(problem.Corrupt, "nothing in the store can be restored").WithHint("Look for another copy of the store.")
	case !fine:
		return problem.New(problem.PartlyFailed, "the store is damaged").
			WithHint("What is not named here is intact. What is left of a damaged dump can be had with: baktainer rescue dump --salvage")
	}
	return nil
}

// Check looks at everything that the store holds. progress, unless nil, is told
// what is being read. An error means that the store did not answer.
func (r *Rescue) Check(ctx context.Context, depth Depth, progress func(object string)) (*Check, error) {
	if progress == nil {
		progress = func(string) {}
	}
	k := checker{r: r, ctx: ctx, depth: depth, progress: progress, c: &Check{Repository: r.repo.ID}}
	if err := k.run(); err != nil {
		return nil, fmt.Errorf("check the store: %w", err)
	}
	return k.c, nil
}

type checker struct {
	r        *Rescue
	ctx      context.Context // of the one check that it is made for
	depth    Depth
	progress func(string)
	c        *Check
}

func (k *checker) run() error {
	whole, err := repo.Inventory(k.ctx, k.r.store)
	if err != nil {
		return err
	}
	k.c.Unknown = whole.Unknown
	entries, misfits, err := k.r.entries(k.ctx)
	if err != nil {
		return err
	}
	k.c.Entries, k.c.Ledger = len(entries), damaged(misfits)
	if len(entries) == 0 && whole.Kinds[repo.KindManifest].Objects > 0 {
		k.c.Ledger = append(k.c.Ledger, "no copy of a ledger entry can be read: which snapshots were confirmed is not known")
	}
	for _, m := range misfits {
		if m.Missing > 0 {
			k.c.Ledger = append(k.c.Ledger, fmt.Sprintf("%s: %d copies are missing before it", repo.LedgerName(m.Index+m.Missing), m.Missing))
		}
	}
	recorded := map[string]*ledger.Entry{} // by name of the manifest
	for _, e := range entries {
		recorded[repo.ManifestName(e.Source, e.Snapshot)] = e
	}
	k.c.Gone = len(recorded)
	for _, source := range whole.Sources {
		if err := k.source(source, recorded); err != nil {
			return err
		}
	}
	flaws, _, err := k.r.repo.CheckCopies(k.ctx, k.r.store)
	if err != nil {
		return err
	}
	for _, f := range flaws {
		k.c.Damaged = append(k.c.Damaged, DamagedObject{Object: f.Object, Reason: f.Problem})
	}
	slices.SortFunc(k.c.Damaged, func(a, b DamagedObject) int { return strings.Compare(a.Object, b.Object) })
	slices.SortFunc(k.c.Snapshots, func(a, b CheckedSnapshot) int {
		return strings.Compare(a.Source+"\x00"+a.Snapshot, b.Source+"\x00"+b.Snapshot)
	})
	return nil
}

func (k *checker) source(name string, recorded map[string]*ledger.Entry) error {
	v, err := repo.InventorySource(k.ctx, k.r.store, name)
	if err != nil {
		return err
	}
	flaws := make([]string, len(v.Packs))
	for i, p := range v.Packs {
		if flaws[i], err = k.pack(name, p); err != nil {
			return err
		}
	}
	needed := map[int][]string{} // snapshots, by place of a damaged pack
	for i := range v.Manifests {
		m := &v.Manifests[i]
		object := repo.ManifestName(name, m.Header.Snapshot)
		e := recorded[object]
		if e != nil {
			k.c.Gone--
		}
		s := CheckedSnapshot{Source: name, Snapshot: m.Header.Snapshot, Confirmed: e != nil, Condition: Fine}
		for place := range v.Needs(m) {
			if flaws[place] != "" {
				s.Needs = append(s.Needs, repo.PackName(name, v.Packs[place].ID()))
				needed[place] = append(needed[place], s.Snapshot)
			}
		}
		if err := k.snapshot(&s, m, e); err != nil {
			return err
		}
		if s.Why != "" {
			k.c.Damaged = append(k.c.Damaged, DamagedObject{object, s.Why, []string{s.Snapshot}})
		}
		k.c.Snapshots = append(k.c.Snapshots, s)
	}
	for i, flaw := range flaws {
		if flaw != "" {
			k.c.Damaged = append(k.c.Damaged, DamagedObject{repo.PackName(name, v.Packs[i].ID()), flaw, needed[i]})
		}
	}
	return nil
}

// pack says what is wrong with a pack, empty when nothing is.
func (k *checker) pack(source string, p repo.HeldPack) (flaw string, err error) {
	if p.Size >= 0 {
		k.c.Packs = tally(k.c.Packs, p.Size)
	}
	if p.Needed == 0 {
		k.c.LeftOver = tally(k.c.LeftOver, p.Size)
		return "", nil
	}
	if flaw = p.Flaw(); flaw != "" || k.depth == Quick {
		return flaw, nil
	}
	k.progress(repo.PackName(source, p.ID()))
	_, sum, err := repo.PackHash(k.ctx, k.r.store, source, p.ID())
	switch {
	case err != nil && repo.Damaging(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	case sum != p.SHA256:
		return "its hash is not the one that the manifests record", nil
	}
	return "", nil
}

func tally(t repo.Tally, size int64) repo.Tally {
	return repo.Tally{Objects: t.Objects + 1, Bytes: t.Bytes + size}
}

// snapshot finds out how much of a snapshot can be had.
func (k *checker) snapshot(s *CheckedSnapshot, m *repo.HeldManifest, e *ledger.Entry) error {
	lost := func(why string) error {
		s.Condition, s.Why = Lost, why
		return nil
	}
	ref := repo.Ref{Source: s.Source, Snapshot: s.Snapshot}
	if e != nil {
		ref.Manifest, ref.Size = e.Manifest, e.ManifestSize
	}
	switch {
	case m.Damaged != "":
		return lost(m.Damaged)
	case e != nil && m.SHA256 != e.Manifest:
		return lost("it is not the manifest that the ledger records")
	}
	snap, err := k.r.repo.OpenSnapshot(k.ctx, k.r.store, ref)
	switch {
	case err != nil && (repo.Damaging(err) || problem.CodeOf(err) == problem.Denied):
		return lost(err.Error())
	case err != nil:
		return err
	}
	if len(s.Needs) > 0 {
		s.Condition = Partly
	}
	if k.depth == Quick || k.depth == Hashes && len(s.Needs) == 0 {
		return nil
	}
	k.progress(repo.ManifestName(s.Source, s.Snapshot))
	size, written := int64(0), int64(0)
	for _, info := range snap.Streams() {
		report, err := k.stream(snap, info)
		if err != nil {
			return err
		}
		if !report.Whole {
			s.Condition = Partly
		}
		size, written = size+info.Size, written+report.Written
		s.Streams = append(s.Streams, report)
	}
	if size > 0 && written == 0 {
		s.Condition = Lost
	}
	return nil
}

// stream reads a stream; only when that fails, chunk by chunk.
func (k *checker) stream(snap *repo.Snapshot, info repo.StreamInfo) (repo.SalvageReport, error) {
	rc, err := snap.Open(k.ctx, info.Name)
	if err == nil {
		_, err = io.Copy(io.Discard, rc)
		_ = rc.Close()
	}
	switch {
	case err == nil:
		return repo.SalvageReport{Stream: info.Name, Size: info.Size, Written: info.Size, Whole: true}, nil
	case !repo.Damaging(err):
		return repo.SalvageReport{}, err
	}
	return snap.Salvage(k.ctx, info.Name, io.Discard)
}
