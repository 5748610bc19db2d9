package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/internal/problem"
)

// Base is what a source has stored already: chunks that need not be stored
// again. It does not change once loaded, and may serve several Writers.
type Base struct {
	packs   []basePack
	set     chunkSet
	orders  map[string]*streamOrder // of the newest snapshot, by name of stream
	cipher  Cipher
	damaged []string
	omitted []string
	partial bool // some pack is out
}

type basePack struct {
	PackRef
	id          packID
	first, next uint32 // entries of the set: first ≤ n < next
	raw         int64
	frames      []baseFrame
	leans       []packID // packs that its dictionaries lie in
	out         bool     // is not to be built upon
}

type baseFrame struct {
	next  uint32 // chunk of the pack after its last
	depth uint8
}

// Chunks tells how many chunks the base knows.
func (b *Base) Chunks() int { return int(b.set.n) }

// Damaged tells which objects were left out, and why. What they held is stored
// anew, so the next snapshot does not lean on them.
func (b *Base) Damaged() []string { return b.damaged }

// Omitted tells which objects were left out although they are good, and why. What
// is still used of them is stored anew, so that they can go some day.
func (b *Base) Omitted() []string { return b.omitted }

// LoadBase reads the chunk lists of the packs that the given snapshots, all of
// one source and newest first, read from. It reads manifests and the ends of
// packs only. Objects that are missing or damaged are left out, and so are packs
// to avoid (ids), snapshots that the next one cannot share packs with, and packs
// of which little is used any more. An error means that the store did not answer
// or that ctx ended.
func LoadBase(ctx context.Context, objects ObjectReader, key SourceKey, refs []Ref, avoid ...string) (*Base, error) {
	l := baseLoader{b: &Base{}, objects: objects, key: key, avoid: avoid, places: map[string]int{}}
	for _, ref := range refs {
		if err := l.snapshot(ctx, ref); err != nil {
			return nil, fmt.Errorf("load base: %w", err)
		}
	}
	l.settle()
	return l.b, nil
}

// baseLoader puts a base together.
type baseLoader struct {
	b       *Base
	objects ObjectReader
	key     SourceKey
	avoid   []string
	places  map[string]int // of packs in b.packs, by id; -1: left out
}

func (l *baseLoader) snapshot(ctx context.Context, ref Ref) error {
	s, err := OpenSnapshot(ctx, l.objects, l.key, ref)
	switch {
	case errors.Is(err, errOtherGeneration):
		l.omit("snapshot %s lies under a key of another generation", ref.Snapshot)
		return nil
	case err != nil:
		return l.leaveOut(ctx, err)
	case s.header.Chunking != defaultChunking:
		l.omit("snapshot %s is cut into chunks in another way", ref.Snapshot)
		return nil
	case l.b.cipher != 0 && s.header.Cipher != l.b.cipher:
		l.omit("snapshot %s has another cipher", ref.Snapshot)
		return nil
	}
	for _, p := range s.header.Packs {
		if _, ok := l.places[p.ID]; ok {
			continue
		}
		if err := l.pack(ctx, s, p); err != nil {
			return err
		}
	}
	if l.b.orders == nil {
		l.b.cipher = s.header.Cipher
		l.order(s)
	}
	return nil
}

// pack loads one pack, unless it is to be left out.
func (l *baseLoader) pack(ctx context.Context, s *Snapshot, ref PackRef) error {
	l.places[ref.ID] = -1
	if slices.Contains(l.avoid, ref.ID) {
		l.omit("pack %s is to be avoided", ref.ID)
		return nil
	}
	x, err := readTail(ctx, l.objects, l.key, s.header.Cipher, s.header.Source, ref)
	if err != nil {
		return l.leaveOut(ctx, err)
	}
	b := l.b
	p := basePack{PackRef: ref, id: x.id, first: b.set.n}
	for _, f := range x.frames {
		p.raw += int64(f.raw)
		p.frames = append(p.frames, baseFrame{f.next, f.depth})
		for _, id := range f.packs {
			if !slices.Contains(p.leans, id) {
				p.leans = append(p.leans, id)
			}
		}
	}
	// A pack that is needed for dictionaries alone, or for which there is no
	// memory, is only known to be there.
	if ref.Live > 0 && b.set.n+uint32(len(x.ids)) <= maxKnown {
		for i := range x.ids {
			b.set.add(&x.ids[i])
		}
	}
	p.next = b.set.n
	l.places[ref.ID] = len(b.packs)
	b.packs = append(b.packs, p)
	return nil
}

// order keeps the order of the streams of the newest snapshot.
func (l *baseLoader) order(s *Snapshot) {
	l.b.orders = make(map[string]*streamOrder, len(s.body.streams))
	for _, stream := range s.body.streams {
		runs := make([]entryRun, 0, len(stream.runs))
		for _, r := range stream.runs {
			if i := l.places[s.header.Packs[r.pack].ID]; i >= 0 {
				if p := &l.b.packs[i]; uint64(r.first)+uint64(r.count) <= uint64(p.next-p.first) {
					runs = append(runs, entryRun{p.first + r.first, r.count})
				}
			}
		}
		l.b.orders[stream.Name] = newStreamOrder(runs, stream.Size/max(stream.chunks, 1))
	}
}

// settle decides which of the packs are not to be built upon.
func (l *baseLoader) settle() {
	b := l.b
	for again := true; again; {
		again = false
		for i := range b.packs {
			if p := &b.packs[i]; !p.out && slices.ContainsFunc(p.leans, l.lost) {
				p.out, b.partial, again = true, true, true
				l.places[p.ID] = -1
				l.omit("pack %s has dictionaries in a pack that was left out", p.ID)
			}
		}
	}
}

// lost says whether a pack cannot be had.
func (l *baseLoader) lost(id packID) bool {
	i, ok := l.places[id.String()]
	return !ok || i < 0
}

func (l *baseLoader) omit(format string, args ...any) {
	l.b.omitted = append(l.b.omitted, fmt.Sprintf(format, args...))
}

// leaveOut notes an object that is damaged or missing; other errors it returns.
func (l *baseLoader) leaveOut(ctx context.Context, err error) error {
	if ctx.Err() != nil || problem.CodeOf(err) != problem.Corrupt {
		return err
	}
	l.b.damaged = append(l.b.damaged, err.Error())
	return nil
}
