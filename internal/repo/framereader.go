package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/problem"
)

// readMemory is what a frameReader keeps, in bytes.
type readMemory struct {
	frames  int64 // opened
	indexes int64 // chunk lists of packs
	ahead   int64 // sealed frames that were fetched before they were asked for; 0: none are
}

// restoreMemory is for restores. Dictionaries lie within a few megabytes of what
// replaces them, so that much room for frames lets nearly every frame be opened once.
var restoreMemory = readMemory{frames: 48 << 20, indexes: 12 << 20, ahead: 12 << 20}

// maxWork bounds how many bytes of frames are opened for one frame, in case
// somebody wrote dictionaries of dictionaries to keep readers busy for ever.
const maxWork = 1 << 30

var errTooMuchWork = errors.New("its dictionaries lie in too many frames")

// frameReader reads chunks of packs of one source, with the dictionaries that
// their frames need. It is safe for concurrent use.
type frameReader struct {
	ctx     context.Context // of all that is read
	objects ObjectReader
	key     SourceKey
	cipher  Cipher
	source  string
	packs   map[packID]PackRef
	indexes *shared[packID, *packIndex]
	frames  *shared[frameKey, *unsealed]
	spare   buffers

	guesses bool // frames are fetched because those before them were asked for
	mu      sync.Mutex
	ahead   *cache[frameKey, *arrival]
	tracks  map[packID]track
}

type frameKey struct {
	pack  packID
	frame int
}

// unsealed is the content of a frame.
type unsealed struct {
	raw   []byte
	packs []packID        // that its dictionary lies in, and the dictionaries of that
	right []atomic.Uint64 // a bit for each chunk that was found to have its id
}

// newFrameReader makes a reader of packs, which may be all that it touches.
func newFrameReader(ctx context.Context, objects ObjectReader, key SourceKey, c Cipher, src string, packs []PackRef, m readMemory) *frameReader {
	r := &frameReader{ctx: ctx, objects: objects, key: key, cipher: c, source: src, packs: make(map[packID]PackRef, len(packs)),
		guesses: m.ahead > 0, ahead: newCache[frameKey, *arrival](m.ahead), tracks: map[packID]track{}}
	for _, p := range packs {
		if id, err := parsePackID(p.ID); err == nil {
			r.packs[id] = p
		}
	}
	keep := func(err error) bool { return problem.CodeOf(err) == problem.Corrupt && !errors.Is(err, errTooMuchWork) }
	r.indexes = newShared[packID, *packIndex](m.indexes, keep, nil)
	r.frames = newShared[frameKey](m.frames, keep, func(f *unsealed) { r.spare.give(f.raw) })
	return r
}

// packError says which pack, and where in it, something could not be read.
type packError struct {
	pack  packID
	frame int // -1: the index
	err   error
}

func (e *packError) Error() string { return e.err.Error() }
func (e *packError) Unwrap() error { return e.err }

// failed blames a frame of a pack, unless err blames another that it needs.
func (r *frameReader) failed(pack packID, frame int, err error) error {
	e, ok := errors.AsType[*packError](err)
	switch {
	case !ok:
		return &packError{pack, frame, corrupt(r.source, PackName(r.source, pack.String()), err)}
	case e.pack != pack:
		return fmt.Errorf("pack %s needs pack %s: %w", pack, e.pack, err)
	}
	return err
}

// chunks appends the bytes of chunks of a pack. When it fails, what it has
// appended are the first of them, each whole.
func (r *frameReader) chunks(pack packID, first, count uint32, dst []byte) ([]byte, error) {
	work := int64(maxWork)
	return r.chunksWithin(pack, first, count, dst, &work)
}

// chunksWithin is chunks for whoever bounds the bytes of frames to be opened
// himself: work goes down by them, and below 0 it is errTooMuchWork.
func (r *frameReader) chunksWithin(pack packID, first, count uint32, dst []byte, work *int64) ([]byte, error) {
	x, err := r.index(pack)
	if err != nil {
		return dst, err
	}
	return r.read(x, first, count, dst, work, nil)
}

// read is chunksWithin for whoever has the index. packs, if not nil, gets those
// that dictionaries lie in.
func (r *frameReader) read(x *packIndex, first, count uint32, dst []byte, work *int64, packs *[]packID) ([]byte, error) {
	end := uint64(first) + uint64(count)
	for n := first; uint64(n) < end; {
		if int64(n) >= int64(len(x.ids)) {
			return dst, r.failed(x.id, -1, malformed("it has no chunk %d", n))
		}
		f := x.frameOf(n)
		h, err := r.frame(x, f, work)
		if err != nil {
			return dst, err
		}
		last := uint32(min(end, uint64(x.frames[f].next)) - 1)
		from, _ := x.bounds(n)
		dst = append(dst, h.value.raw[from:x.ends[last]]...)
		if packs != nil {
			*packs = appendNew(*packs, h.value.packs)
		}
		r.frames.release(h)
		n = last + 1
	}
	return dst, nil
}

// appendNew appends those of more that are not there yet.
func appendNew(packs, more []packID) []packID {
	for _, id := range more {
		if !slices.Contains(packs, id) {
			packs = append(packs, id)
		}
	}
	return packs
}

// checked gives the frame that chunks of a pack lie in, to be released after use,
// and where in it they lie, once each of them has been held against its id: in
// that frame no chunk is checked twice. When one is wrong what lies before it is
// given, and an error.
func (r *frameReader) checked(x *packIndex, first, count uint32, h *hasher) (f *held[*unsealed], bytes []byte, err error) {
	n := x.frameOf(first)
	if uint64(first)+uint64(count) > uint64(len(x.ids)) || first+count > x.frames[n].next {
		return nil, nil, r.failed(x.id, -1, malformed("it has no chunk %d there", first+count-1))
	}
	work := int64(maxWork)
	if f, err = r.frame(x, n, &work); err != nil {
		return nil, nil, err
	}
	from, _ := x.bounds(first)
	at := from
	for c := first; c < first+count; c++ {
		bit := c - x.frames[n].first
		word, mask := &f.value.right[bit/64], uint64(1)<<(bit%64)
		if word.Load()&mask == 0 {
			if h.id(f.value.raw[at:x.ends[c]]) != x.ids[c] {
				return f, f.value.raw[from:at], r.failed(x.id, n, malformed("chunk %d does not have its id", c))
			}
			word.Or(mask)
		}
		at = x.ends[c]
	}
	return f, f.value.raw[from:at], nil
}

// index gives the chunk list of a pack.
func (r *frameReader) index(pack packID) (*packIndex, error) {
	ref, ok := r.packs[pack]
	if !ok {
		return nil, malformed("pack %s is not among those that the snapshot lists", pack)
	}
	h, err := r.indexes.get(pack, ref.Tail+ref.Tail/4, func() (*packIndex, error) {
		x, err := readTail(r.ctx, r.objects, r.key, r.cipher, r.source, ref)
		if err != nil {
			return nil, &packError{pack, -1, err}
		}
		return x, nil
	})
	if err != nil {
		return nil, err
	}
	r.indexes.release(h) // it is never reused
	return h.value, nil
}

// frame gives the content of a frame, to be released after use. work is how many
// bytes may be opened for it.
func (r *frameReader) frame(x *packIndex, n int, work *int64) (*held[*unsealed], error) {
	return r.frames.get(frameKey{x.id, n}, int64(room(int(x.frames[n].raw))), func() (*unsealed, error) {
		f, err := r.open(x, n, work)
		if err != nil {
			return nil, r.failed(x.id, n, err)
		}
		return f, nil
	})
}

// open fetches and opens a frame.
func (r *frameReader) open(x *packIndex, n int, work *int64) (*unsealed, error) {
	f := &x.frames[n]
	if *work -= int64(f.raw); *work < 0 {
		return nil, errTooMuchWork
	}
	sealed, err := r.fetch(x, n)
	if err != nil {
		return nil, err
	}
	defer r.spare.give(sealed)
	var dict []byte
	packs := slices.Clone(f.packs)
	raw, err := openFrame(sealed, x.seal, x.id, uint32(n), int(f.raw), r.spare.take(int(f.raw)), func(d dictionary) (_ []byte, err error) {
		dict, err = r.dictionary(f, d, work, &packs)
		return dict, err
	})
	if dict != nil {
		r.spare.give(dict)
	}
	switch {
	case err != nil:
		return nil, err
	case dict == nil && f.depth > 0:
		return nil, malformed("frame %d has no dictionary, and the index tells of one", n)
	}
	return &unsealed{raw, packs, make([]atomic.Uint64, (f.next-f.first+63)/64)}, nil
}

// dictionary reads the dictionary of f. What it lies in is less deep than f is,
// or it is refused: so there is an end to it, and nobody waits for himself. packs
// gets those that its own dictionaries lie in.
func (r *frameReader) dictionary(f *packFrame, d dictionary, work *int64, packs *[]packID) ([]byte, error) {
	if !slices.Equal(d.packs, f.packs) {
		return nil, malformed("the dictionary lies in other packs than the index lists")
	}
	size := 0
	for _, run := range d.runs {
		x, err := r.index(d.packs[run.pack])
		if err != nil {
			return nil, err
		}
		if int64(run.first)+int64(run.count) > int64(len(x.ids)) {
			return nil, malformed("the dictionary has chunk %d of pack %s, which has %d", run.first+run.count-1, x.id, len(x.ids))
		}
		for k := x.frameOf(run.first); k < len(x.frames) && x.frames[k].first < run.first+run.count; k++ {
			g := &x.frames[k]
			if g.depth >= f.depth {
				return nil, malformed("a frame of depth %d has a dictionary of depth %d", f.depth, g.depth)
			}
			from, _ := x.bounds(max(run.first, g.first))
			if size += int(x.ends[min(run.first+run.count, g.next)-1] - from); size > maxDictionary {
				return nil, malformed("a dictionary of more than %d bytes", maxDictionary)
			}
		}
	}
	dict := r.spare.take(size)[:0]
	for _, run := range d.runs {
		x, err := r.index(d.packs[run.pack])
		if err == nil {
			dict, err = r.read(x, run.first, run.count, dict, work, packs)
		}
		if err != nil {
			return nil, err
		}
	}
	return dict, nil
}

// fetch gives the sealed bytes of a frame.
func (r *frameReader) fetch(x *packIndex, n int) ([]byte, error) {
	f := &x.frames[n]
	name := PackName(r.source, x.id.String())
	if a := r.arriving(x, n); a != nil {
		if <-a.done; a.err == nil {
			return a.b, nil
		}
		if a.sole {
			return nil, &packError{x.id, n, readFailure(r.ctx, r.source, name, fmt.Errorf("frame %d: %w", n, a.err))}
		}
	}
	rc, err := r.objects.Get(r.ctx, name, f.offset, int64(f.size))
	if err != nil {
		return nil, &packError{x.id, n, readFailure(r.ctx, r.source, name, err)}
	}
	defer rc.Close()
	b := r.spare.take(int(f.size))
	if err := readFull(rc, b); err != nil {
		r.spare.give(b)
		return nil, &packError{x.id, n, readFailure(r.ctx, r.source, name, fmt.Errorf("frame %d: %w", n, err))}
	}
	return b, nil
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
