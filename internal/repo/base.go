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
	streams []StreamInfo            // of that
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

// Streams lists those of the newest snapshot that could be read.
func (b *Base) Streams() []StreamInfo { return b.streams }

// Omitted tells which objects were left out although they are good, and why. What
// is still used of them is stored anew, so that they can go some day.
func (b *Base) Omitted() []string { return b.omitted }

// LoadBase reads the chunk lists of the packs that the first of the given
// snapshots reads from which can be built upon: they are all of one source, and
// newest first. It reads manifests and the ends of packs only. Packs that are
// missing or damaged, that are to be avoided (ids), or that are not worth keeping
// (see omit) are left out. An error means that the store did not answer or that
// ctx ended.
func LoadBase(ctx context.Context, objects ObjectReader, key SourceKey, refs []Ref, avoid ...string) (*Base, error) {
	l := baseLoader{b: &Base{}, objects: objects, key: key, avoid: avoid, places: map[packID]int{}}
	for _, ref := range refs {
		if err := l.snapshot(ctx, ref); err != nil {
			return nil, fmt.Errorf("load base: %w", err)
		}
		if l.b.orders != nil {
			break
		}
	}
	return l.b, nil
}

// baseLoader puts a base together.
type baseLoader struct {
	b       *Base
	objects ObjectReader
	key     SourceKey
	avoid   []string
	places  map[packID]int // in b.packs

	plain, plainRaw int64 // bytes of frames without a dictionary, stored and raw
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
	}
	l.b.cipher = s.header.Cipher
	for _, p := range s.header.Packs {
		if err := l.pack(ctx, s, p); err != nil {
			return err
		}
	}
	l.order(s)
	l.settle()
	return nil
}

// pack loads one pack, unless it is to be left out.
func (l *baseLoader) pack(ctx context.Context, s *Snapshot, ref PackRef) error {
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
		if f.depth == 0 {
			l.plain, l.plainRaw = l.plain+int64(f.size), l.plainRaw+int64(f.raw)
		}
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
	l.places[x.id] = len(b.packs)
	b.packs = append(b.packs, p)
	return nil
}

// order keeps the order of the streams of the newest snapshot.
func (l *baseLoader) order(s *Snapshot) {
	numbers := make([]int, len(s.header.Packs)) // in b.packs
	for i, p := range s.header.Packs {
		numbers[i] = -1
		if id, err := parsePackID(p.ID); err == nil {
			if n, ok := l.places[id]; ok {
				numbers[i] = n
			}
		}
	}
	l.b.streams = s.Streams()
	l.b.orders = make(map[string]*streamOrder, len(s.body.streams))
	for _, stream := range s.body.streams {
		runs := make([]entryRun, 0, len(stream.runs))
		for _, r := range stream.runs {
			if i := numbers[r.pack]; i >= 0 {
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
	uses, sum := make([]packUse, len(l.b.packs)), packUse{}
	var tails int64
	for i, p := range l.b.packs {
		uses[i] = packUse{size: p.Size, raw: p.raw, live: p.Live}
		for _, id := range p.leans {
			if j, ok := l.places[id]; ok {
				uses[i].leans = append(uses[i].leans, j)
			} else {
				uses[i].lost = true
			}
		}
		sum.raw += p.raw
		tails += p.Tail
	}
	ratio := float64(l.plain)/float64(max(l.plainRaw, 1)) + float64(tails)/float64(max(sum.raw, 1))
	for i, why := range omit(uses, ratio) {
		if why != "" {
			l.b.packs[i].out, l.b.partial = true, true
			l.omit("pack %s: %s", l.b.packs[i].ID, why)
		}
	}
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
