package repo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sort"
)

// packIndex says where the chunks of a pack are. Chunks are numbered in pack order.
type packIndex struct {
	id     packID
	seal   seal
	frames []packFrame
	ids    []chunkID
	ends   []uint32 // where each chunk ends within its frame
}

type packFrame struct {
	offset      int64
	size        uint32 // of the whole frame
	raw         uint32
	depth       uint8    // 0: no dictionary
	packs       []packID // that the dictionary lies in
	first, next uint32   // chunks of the frame: first ≤ n < next
}

// frameOf gives the frame that holds a chunk.
func (x *packIndex) frameOf(chunk uint32) int {
	return sort.Search(len(x.frames), func(i int) bool { return x.frames[i].next > chunk })
}

// bounds gives where a chunk lies in its frame.
func (x *packIndex) bounds(chunk uint32) (from, to uint32) {
	if f := x.frames[x.frameOf(chunk)]; chunk > f.first {
		from = x.ends[chunk-1]
	}
	return from, x.ends[chunk]
}

// openTail checks and opens the end of a pack, ref.Tail bytes: index and trailer.
func openTail(key SourceKey, c Cipher, ref PackRef, tail []byte) (*packIndex, error) {
	id, err := parsePackID(ref.ID)
	if err != nil {
		return nil, err
	}
	offset, frames, err := parseTrailer(ref, tail)
	if err != nil {
		return nil, err
	}
	seal, err := newSeal(c, key.packKey(id))
	if err != nil {
		return nil, err
	}
	trailer := tail[len(tail)-packTrailerSize:]
	aad := append(appendPackHeader(nil, c, key.generation, id), trailer[:trailerClear]...)
	index, err := seal.open(nil, indexNumber, tail[:len(tail)-packTrailerSize], aad)
	if err != nil {
		return nil, fmt.Errorf("open pack index: %w", err)
	}
	x, err := parseIndex(index, offset, frames)
	if err != nil {
		return nil, err
	}
	x.id, x.seal = id, seal
	return x, nil
}

// parseTrailer holds the trailer at the end of tail against ref.
func parseTrailer(ref PackRef, tail []byte) (offset int64, frames int, err error) {
	if ref.Tail < packTrailerSize+sealOverhead || ref.Tail > maxTail || ref.Size > maxPack ||
		ref.Size-ref.Tail < packHeaderSize || int64(len(tail)) != ref.Tail {
		return 0, 0, malformed("the pack's lengths cannot be")
	}
	d := decoder{b: tail[len(tail)-packTrailerSize:]}
	at, length, n := d.uint64(), d.uint32(), d.uint32()
	version := d.take(1)[0]
	d.zero(7)
	d.take(sha256.Size)
	switch {
	case !bytes.Equal(d.take(8), []byte(trailerMagic)):
		return 0, 0, malformed("the pack has no trailer")
	case version != packVersion:
		return 0, 0, malformed("pack version %d", version)
	case d.err != nil:
		return 0, 0, d.err
	case at != uint64(ref.Size-ref.Tail) || int64(length) != ref.Tail-packTrailerSize:
		return 0, 0, malformed("the pack's trailer does not fit its size")
	}
	return int64(at), int(n), nil
}

// parseIndex reads an opened index of a pack whose frames end at offset.
func parseIndex(b []byte, offset int64, frames int) (*packIndex, error) {
	d := decoder{b: b}
	if frames > len(b)/3 {
		return nil, malformed("%d frames in an index of %d bytes", frames, len(b))
	}
	room := len(b) / (chunkIDSize + 1)
	x := &packIndex{frames: make([]packFrame, 0, frames), ids: make([]chunkID, 0, room), ends: make([]uint32, 0, room)}
	at := int64(packHeaderSize)
	for range frames {
		size, raw := d.uvarint(maxFrameRaw+maxDictionaryList+frameHeaderSize+sealOverhead), d.uvarint(maxFrameRaw)
		depth := d.uvarint(maxDepth)
		var packs []packID
		if depth > 0 {
			packs = d.packIDs()
		}
		chunks := d.count(chunkIDSize + 1)
		f := packFrame{offset: at, size: uint32(size), raw: uint32(raw), depth: uint8(depth), packs: packs, first: uint32(len(x.ids))}
		end := uint64(0)
		for range chunks {
			var id chunkID
			copy(id[:], d.take(chunkIDSize))
			n := d.uvarint(maxChunk)
			end += n
			if d.err != nil || n == 0 || end > raw {
				return nil, malformed("the chunks of a frame do not fit it")
			}
			x.ids = append(x.ids, id)
			x.ends = append(x.ends, uint32(end))
		}
		f.next = uint32(len(x.ids))
		if d.err != nil || end != raw || chunks == 0 {
			return nil, malformed("the chunks of a frame do not fill it")
		}
		at += int64(size)
		x.frames = append(x.frames, f)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if at != offset {
		return nil, malformed("the pack's frames do not fill it")
	}
	return x, nil
}
