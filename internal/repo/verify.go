package repo

import (
	"context"
	"slices"
	"sync"
)

// Verified is what was found of one of several snapshots: a report, or what is
// wrong with it.
type Verified struct {
	Report
	Err error
}

// Verify re-reads everything: the hash of each pack, each stream to its end, the
// Merkle root. progress, if not nil, is told the bytes done and to do, packs and
// streams together; one call of it at a time.
func (s *Snapshot) Verify(ctx context.Context, progress func(done, total int64)) (Report, error) {
	v := VerifyAll(ctx, []*Snapshot{s}, progress)[0]
	return v.Report, v.Err
}

// VerifyAll verifies snapshots of one store, and finds of each what Verify would.
// What those of one source share is read, opened and held against its ids once,
// as far as it lies about as far from the beginning in one as in the others. It
// takes less memory than Open by 20 MiB, besides the manifests.
func VerifyAll(ctx context.Context, snapshots []*Snapshot, progress func(done, total int64)) []Verified {
	found := make([]Verified, len(snapshots))
	twins := map[int]int{} // those that say word for word what an earlier one does
	for i, s := range snapshots {
		if at := slices.IndexFunc(snapshots[:i], s.twin); at >= 0 {
			twins[i] = at
		}
	}
	verifyEach(ctx, snapshots, found, func(i int) bool { _, twin := twins[i]; return !twin }, progress)
	for i, at := range twins {
		found[i] = found[at]
	}
	// What is wrong names the snapshot, so each is looked at by itself.
	verifyEach(ctx, snapshots, found, func(i int) bool { at, twin := twins[i]; return twin && found[at].Err != nil }, nil)
	return found
}

// twin says whether two snapshots are made of the same chunks, and say the same
// of them: a source that was not changed in between.
func (s *Snapshot) twin(o *Snapshot) bool {
	return s.alike(o) && s.body.root == o.body.root && slices.Equal(s.header.Packs, o.header.Packs) &&
		slices.EqualFunc(s.body.streams, o.body.streams, func(a, b bodyStream) bool {
			return a.Size == b.Size && a.SHA256 == b.SHA256 && a.chunks == b.chunks && slices.Equal(a.runs, b.runs)
		})
}

// alike says whether packs of two snapshots can be read in the same way.
func (s *Snapshot) alike(o *Snapshot) bool {
	return s.key == o.key && s.header.Source == o.header.Source && s.header.Cipher == o.header.Cipher
}

// verifyEach verifies those of the snapshots that are wanted.
func verifyEach(ctx context.Context, snapshots []*Snapshot, found []Verified, wanted func(int) bool, progress func(done, total int64)) {
	t := tally{tell: progress}
	groups := verifiedTogether(snapshots, wanted)
	for _, g := range groups {
		for _, p := range g.packs {
			t.total += p.Size
		}
		for _, i := range g.members {
			for _, b := range snapshots[i].body.streams {
				t.total += b.Size
			}
		}
	}
	for _, g := range groups {
		members := make([]*Snapshot, len(g.members))
		for i, at := range g.members {
			members[i] = snapshots[at]
		}
		for i, err := range verifyGroup(ctx, members, g.packs, t.add) {
			found[g.members[i]] = Verified{Err: err}
			if err == nil {
				found[g.members[i]].Report = members[i].report()
			}
		}
	}
}

// report is that of a snapshot with which nothing is wrong.
func (s *Snapshot) report() Report {
	r := Report{Packs: len(s.header.Packs), Streams: len(s.body.streams)}
	for _, p := range s.header.Packs {
		r.StoredBytes += p.Size
	}
	for _, b := range s.body.streams {
		r.RawBytes += b.Size
		r.Chunks += b.chunks
	}
	return r
}

// verifyingGroup is snapshots, by their places, that have one key and agree on
// what their packs are. packs are those of all of them.
type verifyingGroup struct {
	members []int
	packs   []PackRef
	places  map[string]int
}

func verifiedTogether(snapshots []*Snapshot, wanted func(int) bool) (groups []*verifyingGroup) {
	for i, s := range snapshots {
		if !wanted(i) {
			continue
		}
		at := slices.IndexFunc(groups, func(g *verifyingGroup) bool { return snapshots[g.members[0]].alike(s) && g.agrees(s) })
		if at < 0 {
			at, groups = len(groups), append(groups, &verifyingGroup{places: map[string]int{}})
		}
		g := groups[at]
		g.members = append(g.members, i)
		for _, p := range s.header.Packs {
			if _, ok := g.places[p.ID]; !ok {
				g.places[p.ID] = len(g.packs)
				g.packs = append(g.packs, p)
			}
		}
	}
	return groups
}

// agrees says whether a snapshot takes no pack for another than the group does.
func (g *verifyingGroup) agrees(s *Snapshot) bool {
	for _, p := range s.header.Packs {
		if at, ok := g.places[p.ID]; ok {
			q := g.packs[at]
			if p.Live = q.Live; p != q {
				return false
			}
		}
	}
	return true
}

// tally counts bytes for whoever wants to know. It is for many goroutines.
type tally struct {
	mu          sync.Mutex
	done, total int64
	tell        func(done, total int64)
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = min(t.done+int64(n), t.total) // what is read again after a failure does not count
	if t.tell != nil && n > 0 {
		t.tell(t.done, t.total)
	}
}
