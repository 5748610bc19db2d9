package repo

import (
	"context"
)

// SparsePack is one of which a snapshot uses little.
type SparsePack struct {
	ID string
	// Size is that of the object; Live and Raw are bytes of its chunks: of those that
	// the snapshot uses, and of all.
	Size, Live, Raw int64
}

// Sparse lists the packs of a snapshot of which it uses less than so many
// hundredths, and that are worth a thought. When a backup does not build on them
// (see LoadBase) it stores anew what is used of them, and they can be deleted once
// the snapshots are that list them: that is how packs are compacted, since a
// manifest pins them by their hashes and nothing is ever rewritten in place. One
// that holds dictionaries for others is in the list only when all of those are.
func Sparse(ctx context.Context, objects ObjectReader, key SourceKey, ref Ref, percent int) ([]SparsePack, error) {
	s, err := OpenSnapshot(ctx, objects, key, ref)
	if err != nil {
		return nil, err
	}
	type found struct {
		SparsePack
		sparse bool
		leans  []packID
	}
	packs := map[packID]*found{}
	var order []packID
	for _, p := range s.header.Packs {
		x, err := readTail(ctx, objects, key, s.header.Cipher, s.header.Source, p)
		if err != nil {
			return nil, err
		}
		f := &found{SparsePack: SparsePack{ID: p.ID, Size: p.Size, Live: p.Live}}
		for _, frame := range x.frames {
			f.Raw += int64(frame.raw)
			f.leans = append(f.leans, frame.packs...)
		}
		f.sparse = p.Size >= omitSlack && p.Live*100 < f.Raw*int64(percent)
		packs[x.id] = f
		order = append(order, x.id)
	}
	for changed := true; changed; { // what a pack leans on stays with it
		changed = false
		for _, id := range order {
			if packs[id].sparse {
				continue
			}
			for _, on := range packs[id].leans {
				if p := packs[on]; p != nil && p.sparse {
					p.sparse, changed = false, true
				}
			}
		}
	}
	var list []SparsePack
	for _, id := range order {
		if packs[id].sparse {
			list = append(list, packs[id].SparsePack)
		}
	}
	return list, nil
}
