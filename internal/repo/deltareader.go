package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// nearReader reads chunks of the packs of a base, for dictionaries. It is for one
// goroutine.
type nearReader struct {
	ctx     context.Context // the snapshot's
	objects ObjectReader
	key     SourceKey
	cipher  Cipher
	source  string
	packs   map[packID]PackRef
	indexes *cache[packID, *packIndex]
	frames  *cache[frameOfPack, []byte]
	spare   [2][]byte // of small and of large frames, to be used again
	allow   int64     // bytes of frames that may be decoded
	levels  [maxDepth + 1]struct{ sealed, dict []byte }
}

type frameOfPack struct {
	pack  packID
	frame int
}

var errEffort = errors.New("finding the dictionary takes too long")

// nearIndexes is the memory for the chunk lists of packs that dictionaries are taken from.
const nearIndexes = 4 << 20

// newDictionaries makes what looks up dictionaries in the packs of base.
func newDictionaries(ctx context.Context, o WriterOptions, base *Base) *dictionaries {
	r := &nearReader{
		ctx: ctx, objects: o.Near, key: o.Key, cipher: base.cipher, source: o.Source, packs: make(map[packID]PackRef, len(base.packs)),
		indexes: newCache[packID, *packIndex](nearIndexes), frames: newCache[frameOfPack, []byte](deltaCache),
	}
	for _, p := range base.packs {
		r.packs[p.id] = p.PackRef
	}
	return &dictionaries{base: base, read: r, lost: map[baseFrameKey]bool{}, packs: map[int]uint32{}}
}

func (r *nearReader) chunks(pack packID, first, count uint32, dst []byte) ([]byte, error) {
	return r.read(pack, first, count, dst, 0)
}

// read appends chunks to dst. level counts the frames that wait for them.
func (r *nearReader) read(pack packID, first, count uint32, dst []byte, level int) ([]byte, error) {
	x, err := r.index(pack)
	if err != nil {
		return dst, err
	}
	if uint64(first)+uint64(count) > uint64(len(x.ids)) {
		return dst, malformed("pack %s has no chunk %d", pack, first+count-1)
	}
	for end := first + count; first < end; {
		n := x.frameOf(first)
		raw, err := r.frame(x, n, level)
		if err != nil {
			return dst, err
		}
		last := min(end, x.frames[n].next) - 1
		from, _ := x.bounds(first)
		_, to := x.bounds(last)
		if len(dst)+int(to-from) > maxDictionary {
			return dst, malformed("a dictionary of more than %d bytes", maxDictionary)
		}
		dst = append(dst, raw[from:to]...)
		first = last + 1
	}
	return dst, nil
}

func (r *nearReader) index(pack packID) (*packIndex, error) {
	if x, ok := r.indexes.get(pack); ok {
		return x, nil
	}
	ref, ok := r.packs[pack]
	if !ok {
		return nil, malformed("pack %s is not in the base", pack)
	}
	x, err := readTail(r.ctx, r.objects, r.key, r.cipher, r.source, ref)
	if err != nil {
		return nil, err
	}
	r.indexes.put(pack, x, x.memory())
	return x, nil
}

// frame gives the content of a frame, valid until the next call.
func (r *nearReader) frame(x *packIndex, n, level int) ([]byte, error) {
	if level > maxDepth {
		return nil, malformed("a chain of more than %d dictionaries", maxDepth)
	}
	key, f, l := frameOfPack{x.id, n}, x.frames[n], &r.levels[level]
	if raw, ok := r.frames.get(key); ok {
		return raw, nil
	}
	if r.allow -= int64(f.raw); r.allow < 0 {
		return nil, errEffort
	}
	rc, err := r.objects.Get(r.ctx, PackName(r.source, x.id.String()), f.offset, int64(f.size))
	if err != nil {
		return nil, fmt.Errorf("read frame %d: %w", n, err)
	}
	defer rc.Close()
	if cap(l.sealed) < int(f.size) {
		l.sealed = make([]byte, (f.size+1<<16-1)>>16<<16)
	}
	sealed := l.sealed[:f.size]
	if _, err := io.ReadFull(rc, sealed); err != nil {
		return nil, fmt.Errorf("read frame %d: %w", n, err)
	}
	dict := func(d dictionary) (_ []byte, err error) {
		l.dict = l.dict[:0]
		for _, run := range d.runs {
			if l.dict, err = r.read(d.packs[run.pack], run.first, run.count, l.dict, level+1); err != nil {
				return nil, err
			}
		}
		return l.dict, nil
	}
	large := 0
	if f.raw > deltaDictionary {
		large = 1
	}
	spare := r.spare[large]
	r.spare[large] = nil
	raw, err := openFrame(sealed, x.seal, x.id, uint32(n), int(f.raw), spare, dict)
	if err != nil {
		return nil, err
	}
	if gone := r.frames.put(key, raw, int64(cap(raw))); cap(gone) > 2*deltaDictionary {
		r.spare[1] = gone
	} else if gone != nil {
		r.spare[0] = gone
	}
	return raw, nil
}
