package repo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/source"
)

// WriterOptions say how to write a snapshot. Zero values of the last seven mean the defaults.
type WriterOptions struct {
	Source, Snapshot string
	Key              SourceKey
	Base             *Base // nil: nothing is known
	Compress         source.Compression
	// Workers is how many goroutines compress, default 2. InFlight is how many
	// packs may be on their way to the sink while the next is built, default 1.
	Workers, InFlight int
	// Cipher seals packs and manifest, default that of the base, else PreferredCipher.
	// A base of another cipher is not used.
	Cipher Cipher
	// Near has packs of the base that can be read at once. New chunks are compressed
	// against what they replace, as far as that is there. Default: they are not.
	Near ObjectReader
	// PackSize is the most that a pack has, in bytes, default 16 MiB. A single
	// frame (about 1 MiB) may exceed a smaller size.
	PackSize int
	// Manifest is the version of the manifest, default the newest.
	Manifest byte
}

const defaultPackSize = 16 << 20

var (
	errAborted  = errors.New("the snapshot was aborted")
	errFinished = errors.New("the snapshot is finished")
)

// Writer writes one snapshot. Its methods are for one goroutine at a time, except
// Progress and Abort. After the first error every method fails with it; then, and
// also when the snapshot is not wanted any more, call Abort.
//
// Memory: (InFlight+1) × PackSize, and Workers+2 frames, and the chunk ids of
// what is new (24 bytes each, see maxKnown); with Near, a cache of frames too (see
// deltaMemory) and a gap.
type Writer struct {
	options WriterOptions
	pipe    *pipeline
	random  io.Reader

	base    *Base
	fresh   chunkSet // new chunks, while they are fewer than maxKnown
	freshN  uint32   // new chunks in all
	used    []uint64 // bit set over the base's entries
	live    []int64  // bytes used of each pack of the base
	current int      // the pack of the base that was used last

	hasher  *hasher
	chunker *chunker
	merkle  merkle
	frame   *frame
	gap     gap
	buf     []byte

	open     *StreamWriter
	streams  []writtenStream
	raw      atomic.Int64
	finished bool
}

// writtenStream is a stream in terms of entries: those of the base come first,
// then the new ones, so that a run may cross packs.
type writtenStream struct {
	StreamInfo
	chunks int64
	runs   []entryRun
	groups []uint32  // lengths of groups of chunks; the last may be incomplete
	follow *follower // nil: there is nothing to follow
}

type entryRun struct{ first, count uint32 }

// NewWriter begins a snapshot. ctx governs all of it.
func NewWriter(ctx context.Context, options WriterOptions, sink Sink) (*Writer, error) {
	return newWriter(ctx, options, sink, rand.Reader)
}

func newWriter(ctx context.Context, o WriterOptions, sink Sink, random io.Reader) (*Writer, error) {
	if err := source.CheckName(o.Source); err != nil {
		return nil, fmt.Errorf("write snapshot of %q: %w", o.Source, err)
	}
	if !isSnapshotID(o.Snapshot) {
		return nil, fmt.Errorf("write snapshot: %q is not a ULID", o.Snapshot)
	}
	if compressors[o.Compress] == nil {
		return nil, fmt.Errorf("write snapshot: unknown compression %q", o.Compress)
	}
	o.Workers, o.InFlight, o.PackSize = cmp.Or(o.Workers, 2), cmp.Or(o.InFlight, 1), cmp.Or(o.PackSize, defaultPackSize)
	base := o.Base
	if base != nil && o.Cipher != 0 && base.cipher != 0 && base.cipher != o.Cipher {
		base = nil
	}
	if base == nil {
		base = &Base{}
	}
	o.Cipher, o.Manifest = cmp.Or(o.Cipher, base.cipher, PreferredCipher()), cmp.Or(o.Manifest, NewestManifest)
	if o.Workers < 1 || o.InFlight < 1 || o.PackSize < 1 || o.PackSize > maxPack-2*frameSize {
		return nil, fmt.Errorf("write snapshot: %d workers, %d packs in flight, packs of %d bytes", o.Workers, o.InFlight, o.PackSize)
	}
	if !o.Cipher.known() || o.Key.generation == 0 || o.Manifest > NewestManifest {
		return nil, fmt.Errorf("write snapshot: cipher %d, key of generation %d, manifest of version %d", o.Cipher, o.Key.generation, o.Manifest)
	}
	chunker, err := newChunker(o.Key, defaultChunking)
	if err != nil {
		return nil, err
	}
	w := &Writer{options: o, random: random, base: base, hasher: newHasher(o.Key), chunker: chunker, buf: make([]byte, streamBuffer)}
	w.used, w.live = make([]uint64, (w.base.set.n+63)/64), make([]int64, len(w.base.packs))
	var near func(context.Context) *dictionaries
	if o.Near != nil && compressors[o.Compress].delta != 0 && len(base.orders) > 0 {
		near = func(ctx context.Context) *dictionaries { return newDictionaries(ctx, o, base) }
	}
	w.pipe = startPipeline(ctx, o, sink, random, near)
	return w, nil
}

// Stream begins a stream. Only one may be open at a time. The name must be
// unique and do as the name of a file.
func (w *Writer) Stream(meta StreamMeta) (*StreamWriter, error) {
	if err := w.failed(); err != nil {
		return nil, err
	}
	if w.open != nil {
		return nil, fmt.Errorf("begin stream %q: stream %q is still open", meta.Name, w.open.info.Name)
	}
	if err := CheckStreamName(meta.Name); err != nil {
		return nil, fmt.Errorf("begin stream: %w", err)
	}
	if len(meta.Kind) > maxText || len(meta.Database) > maxText || len(meta.Format) > maxText {
		return nil, fmt.Errorf("begin stream %q: its description is too long", meta.Name)
	}
	for _, s := range w.streams {
		if s.Name == meta.Name {
			return nil, fmt.Errorf("begin stream %q: there is one of that name", meta.Name)
		}
	}
	w.open = newStreamWriter(w, meta)
	return w.open, nil
}

// failed tells why the writer cannot go on, if so.
func (w *Writer) failed() error {
	if err := w.pipe.err(); err != nil {
		return err
	}
	if w.finished {
		return errFinished
	}
	return nil
}

// add takes the next chunk of the open stream.
func (w *Writer) add(s *writtenStream, chunk []byte) (err error) {
	id := w.hasher.id(chunk)
	entry, known := w.lookup(s, &id)
	if !known {
		if entry, err = w.store(s, &id, chunk); err != nil {
			return err
		}
	} else if entry < w.base.set.n {
		w.use(entry, len(chunk))
		if s.follow != nil && len(w.gap.ids) > 0 {
			if err := w.resume(s.follow, entry); err != nil {
				return err
			}
		}
	}
	w.merkle.add(id, len(chunk))
	if s.chunks%groupChunks == 0 {
		s.groups = append(s.groups, 0)
	}
	s.groups[len(s.groups)-1] += uint32(len(chunk))
	s.chunks++
	if n := len(s.runs); n > 0 && s.runs[n-1].first+s.runs[n-1].count == entry {
		s.runs[n-1].count++
	} else {
		s.runs = append(s.runs, entryRun{entry, 1})
	}
	return nil
}

// lookup finds a chunk that is stored. Mostly it is the one after the last.
func (w *Writer) lookup(s *writtenStream, id *chunkID) (uint32, bool) {
	set := &w.base.set
	if n := len(s.runs); n > 0 {
		next := s.runs[n-1].first + s.runs[n-1].count
		if set.is(next, id) && w.usable(next) {
			return next, true
		}
		if next >= set.n && w.fresh.is(next-set.n, id) {
			return next, true
		}
	}
	if e, ok := set.find(id); ok && w.usable(e) {
		return e, true
	}
	e, ok := w.fresh.find(id)
	return set.n + e, ok
}

// usable says whether an entry of the base lies in a pack that may be built upon.
func (w *Writer) usable(entry uint32) bool {
	return !w.base.partial || !w.base.packs[w.pack(entry)].out
}

// pack gives the pack of the base that an entry lies in. Mostly it is that of the last.
func (w *Writer) pack(entry uint32) int {
	if p := &w.base.packs[w.current]; entry < p.first || entry >= p.next {
		w.current = packOf(w.base.packs, entry)
	}
	return w.current
}

// use counts a chunk of the base as live, once.
func (w *Writer) use(entry uint32, length int) {
	word, bit := entry/64, uint64(1)<<(entry%64)
	if w.used[word]&bit != 0 {
		return
	}
	w.used[word] |= bit
	w.live[w.pack(entry)] += int64(length)
}

// store takes a new chunk, and gives its entry.
func (w *Writer) store(s *writtenStream, id *chunkID, chunk []byte) (entry uint32, err error) {
	if uint64(w.base.set.n)+uint64(w.freshN) >= 1<<32-2 {
		return 0, errors.New("the snapshot has too many chunks")
	}
	if s.follow != nil {
		err = w.differ(s, id, chunk)
	} else {
		err = w.gather(id, chunk, frameSize)
	}
	if err != nil {
		return 0, err
	}
	entry = w.base.set.n + w.freshN
	w.freshN++
	if w.fresh.n < maxKnown {
		w.fresh.add(id)
	}
	return entry, nil
}

// gather puts a new chunk in the frame that is being filled, or in the next when
// that would have more than limit bytes.
func (w *Writer) gather(id *chunkID, chunk []byte, limit int) (err error) {
	if w.frame != nil && len(w.frame.raw)+len(chunk) > limit {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.frame == nil {
		if w.frame, err = w.pipe.frame(); err != nil {
			return err
		}
	}
	w.frame.raw = append(w.frame.raw, chunk...)
	w.frame.ids = append(w.frame.ids, *id)
	w.frame.lengths = append(w.frame.lengths, uint32(len(chunk)))
	return nil
}

// flush sends the frame that is being filled on its way.
func (w *Writer) flush() error {
	if w.frame == nil {
		return nil
	}
	f := w.frame
	w.frame = nil
	return w.pipe.send(f)
}

// Finish puts what is left and, once all packs are durable, the manifest. When
// it returns an error there is no snapshot, whatever the store holds.
func (w *Writer) Finish(ctx context.Context) (Summary, error) {
	if err := w.failed(); err != nil {
		return Summary{}, err
	}
	if w.open != nil {
		return Summary{}, w.pipe.fail(fmt.Errorf("finish snapshot: stream %q is still open", w.open.info.Name))
	}
	stop := context.AfterFunc(ctx, func() { _ = w.pipe.fail(context.Cause(ctx)) })
	defer stop()
	if err := w.flush(); err != nil {
		return Summary{}, err
	}
	packs, err := w.pipe.drain()
	if err != nil {
		return Summary{}, err
	}
	summary, object, err := w.manifest(packs)
	if err == nil {
		err = w.pipe.put(ManifestName(w.options.Source, w.options.Snapshot), object, summary.Manifest)
	}
	if err != nil {
		return Summary{}, w.pipe.fail(err)
	}
	// A cancellation that came in after the manifest was durable changes nothing.
	w.finished = true
	w.pipe.stop()
	return summary, nil
}

// Abort ends a snapshot that is not to be, and returns when nothing more goes
// to the sink. It may be called more than once, and after Finish.
func (w *Writer) Abort() {
	_ = w.pipe.fail(errAborted)
	w.pipe.stop()
}

// Progress tells the bytes of dumps taken in and the bytes of objects put so far.
func (w *Writer) Progress() (raw, sent int64) { return w.raw.Load(), w.pipe.sent.Load() }
