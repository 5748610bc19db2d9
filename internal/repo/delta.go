package repo

import (
	"context"
	"errors"
	"sort"
)

// A delta frame is one whose chunks are compressed against those that they
// replace. It is small: the encoder finds what is near, and whoever reads one
// chunk of it has little else to read.
const (
	deltaFrameSize = 128 << 10
	// deltaDictionary is how many bytes of chunks are a frame's dictionary at most.
	deltaDictionary = 192 << 10
	// deltaSpan is how far apart in the base the chunks of a dictionary lie at
	// most, so that whoever reads in order needs each frame of the base once.
	deltaSpan = 8 << 20
	// deltaDepth is how deep frames of a writer are at most.
	deltaDepth = 7
	// deltaEffort is how many bytes of frames are decoded for the dictionary of one,
	// on the average: over streams that were changed all over again and again it
	// could be any number. deltaEffortAhead is how many may be spent at once.
	deltaEffort, deltaEffortAhead = 4 << 20, 64 << 20
)

// deltaMemory is for the frames that dictionaries are taken from. The packs are
// at hand: nothing is gained by reading ahead.
var deltaMemory = readMemory{frames: 16 << 20, indexes: 4 << 20}

// neighbour is what a frame may be compressed against: positions of an order.
type neighbour struct {
	order *streamOrder
	span
}

// lean notes that positions of an order are near to what is in the frame.
func (f *frame) lean(o *streamOrder, s span) {
	if s.from >= s.to {
		return
	}
	for i := max(0, len(f.near)-2); i < len(f.near); i++ { // counted from the front and from the back
		if n := &f.near[i]; n.order == o && n.from <= s.from && s.from <= n.to {
			n.to = max(n.to, s.to)
			return
		}
	}
	f.near = append(f.near, neighbour{o, s})
}

// far says whether positions of an order lie too far from those that the frame
// leans on, or would be too many.
func (f *frame) far(o *streamOrder, s span) bool {
	sum := uint32(0)
	for _, n := range f.near {
		if n.order == o && s.from < s.to && max(s.to, n.to)-min(s.from, n.from) > o.reach {
			return true
		}
		sum += n.to - n.from
	}
	return uint64(sum)*deltaSpan/uint64(max(o.reach, 1)) > deltaDictionary
}

// dictionaries reads what frames are compressed against. It is for one goroutine.
type dictionaries struct {
	base  *Base
	read  *frameReader
	work  int64                 // bytes of frames that may be opened
	lost  map[baseFrameKey]bool // cannot be read: not asked for again
	packs map[int]uint32        // places of packs of the base in the list of the frame at hand
}

type baseFrameKey struct{ pack, frame int }

// newDictionaries makes what looks up dictionaries in the packs of base.
func newDictionaries(ctx context.Context, o WriterOptions, base *Base) *dictionaries {
	packs := make([]PackRef, len(base.packs))
	for i, p := range base.packs {
		packs[i] = p.PackRef
	}
	return &dictionaries{
		base: base, read: newFrameReader(ctx, o.Near, o.Key, base.cipher, o.Source, packs, deltaMemory),
		lost: map[baseFrameKey]bool{}, packs: map[int]uint32{},
	}
}

// fill sets what f is compressed against. What cannot be read is left out: it
// costs room in the store, never the backup.
func (d *dictionaries) fill(f *frame) {
	clear(d.packs)
	d.work = min(d.work+deltaEffort, deltaEffortAhead)
	for _, n := range f.near {
		n.order.entries(n.from, n.to, func(r entryRun) bool { return d.add(f, r) })
	}
}

// add puts a run of entries behind what f is compressed against, frame by frame,
// while there is room.
func (d *dictionaries) add(f *frame, r entryRun) (room bool) {
	for r.count > 0 {
		i := packOf(d.base.packs, r.first)
		p := &d.base.packs[i]
		chunk := r.first - p.first
		n := p.frameOf(chunk)
		count := min(r.count, p.frames[n].next-chunk)
		if key := (baseFrameKey{i, n}); !p.out && p.frames[n].depth < deltaDepth && !d.lost[key] {
			before := len(f.dict)
			dict, err := d.read.chunksWithin(p.id, chunk, count, f.dict, &d.work)
			if err != nil {
				d.lost[key] = d.lost[key] || !errors.Is(err, errTooMuchWork)
			} else if f.dict = dict; len(dict) > deltaDictionary && before > 0 {
				f.dict = dict[:before]
				return false
			} else {
				d.list(f, i, packRun{first: chunk, count: count})
				f.depth = max(f.depth, 1+int(p.frames[n].depth))
			}
		}
		r.first, r.count = r.first+count, r.count-count
	}
	return true
}

// list writes a run of chunks of a pack of the base into f's list.
func (d *dictionaries) list(f *frame, pack int, r packRun) {
	at, ok := d.packs[pack]
	if !ok {
		at = uint32(len(f.list.packs))
		d.packs[pack] = at
		f.list.packs = append(f.list.packs, d.base.packs[pack].id)
	}
	r.pack = at
	if n := len(f.list.runs); n > 0 {
		if last := &f.list.runs[n-1]; last.pack == at && last.first+last.count == r.first {
			last.count += r.count
			return
		}
	}
	f.list.runs = append(f.list.runs, r)
}

// frameOf gives the frame that holds a chunk of the pack.
func (p *basePack) frameOf(chunk uint32) int {
	return sort.Search(len(p.frames), func(i int) bool { return p.frames[i].next > chunk })
}

// pack compresses what is in the frame as it should be stored.
func (f *frame) pack(c *compressor) (err error) {
	if len(f.dict) > 0 {
		if f.scratch, err = c.compressDelta(f.list.append(f.scratch[:0]), f.raw, f.dict); err != nil {
			return err
		}
		f.codec, f.stored = codecDictionary, f.scratch
		if len(f.stored) < len(f.raw)/16 {
			return nil // hardly anything compresses so far by itself
		}
	}
	codec, stored, scratch, err := c.compress(f.plain, f.raw)
	f.plain = scratch
	if err != nil || f.stored != nil && len(f.stored) < len(stored)-len(stored)/8 {
		return err
	}
	f.codec, f.stored, f.depth = codec, stored, 0
	return nil
}
