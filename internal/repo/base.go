package repo

import (
	"context"
	"fmt"

	"github.com/baktainer/baktainer/internal/problem"
)

// Base is what a source has stored already: chunks that need not be stored
// again. It does not change once loaded, and may serve several Writers.
type Base struct {
	packs   []basePack
	set     chunkSet
	damaged []string
}

type basePack struct {
	PackRef
	first, next uint32 // entries of the set: first ≤ n < next
}

// Chunks tells how many chunks the base knows.
func (b *Base) Chunks() int { return int(b.set.n) }

// Damaged tells which objects were left out, and why. What they held is stored
// anew, so the next snapshot does not lean on them.
func (b *Base) Damaged() []string { return b.damaged }

// LoadBase reads the chunk lists of the packs that the given snapshots, all of
// one source and newest first, read from. It reads manifests and the ends of
// packs only. Objects that are missing or damaged are left out; an error means
// that the store did not answer or that ctx ended.
func LoadBase(ctx context.Context, objects ObjectReader, key SourceKey, refs []Ref) (*Base, error) {
	b := &Base{}
	seen := map[string]bool{}
	for _, ref := range refs {
		s, err := OpenSnapshot(ctx, objects, key, ref)
		if err != nil {
			if err = b.leaveOut(ctx, err); err != nil {
				return nil, fmt.Errorf("load base: %w", err)
			}
			continue
		}
		for _, p := range s.header.Packs {
			if seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			if b.set.n >= maxKnown {
				return b, nil
			}
			x, err := readTail(ctx, objects, key, s.header.Cipher, ref.Source, p)
			if err != nil {
				if err = b.leaveOut(ctx, err); err != nil {
					return nil, fmt.Errorf("load base: %w", err)
				}
				continue
			}
			first := b.set.n
			for i := range x.ids {
				b.set.add(&x.ids[i])
			}
			b.packs = append(b.packs, basePack{p, first, b.set.n})
		}
	}
	return b, nil
}

// leaveOut notes an object that is damaged or missing; other errors it returns.
func (b *Base) leaveOut(ctx context.Context, err error) error {
	if ctx.Err() != nil || problem.CodeOf(err) != problem.Corrupt {
		return err
	}
	b.damaged = append(b.damaged, err.Error())
	return nil
}
