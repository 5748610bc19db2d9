package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	frameCacheSize = 32 << 20
	indexCacheSize = 16 << 20
	// maxRange is the most that one request to the store asks for.
	maxRange = 8 << 20
)

// streamReader reads the chunks of one stream, one after the other.
type streamReader struct {
	s      *Snapshot
	ctx    context.Context // Read has no other way to it
	stream *bodyStream
	tree   *merkle // nil: not wanted
	hasher *hasher
	sum    hash.Hash

	run, nth uint32 // the next chunk is the nth of that run
	chunks   int64  // handed over
	size     int64
	rest     []byte // of the current chunk, in the memory of a cached frame
	err      error

	indexes *cache[uint32, *packIndex]
	frames  *cache[frameKey, []byte]
	fetch   fetcher
	spare   []byte
}

type frameKey struct {
	pack  uint32
	frame int
}

func (s *Snapshot) read(ctx context.Context, stream *bodyStream, tree *merkle) io.ReadCloser {
	r := &streamReader{
		s: s, ctx: ctx, stream: stream, tree: tree, hasher: newHasher(s.key), sum: sha256.New(),
		indexes: newCache[uint32, *packIndex](indexCacheSize), frames: newCache[frameKey, []byte](frameCacheSize),
	}
	r.fetch.s, r.fetch.ctx = s, ctx
	return r
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.rest) == 0 {
			if r.err == nil {
				r.rest, r.err = r.next()
			}
			if r.err != nil {
				break
			}
		}
		k := copy(p[n:], r.rest)
		r.rest = r.rest[k:]
		n += k
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// Close implements io.Closer.
func (r *streamReader) Close() error {
	r.fetch.close()
	if r.err == nil {
		r.err = errors.New("the stream is closed")
	}
	r.rest = nil
	return nil
}

// next gives the next chunk, checked; for the last one, the stream is too.
func (r *streamReader) next() ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, context.Cause(r.ctx)
	}
	if r.chunks == r.stream.chunks {
		if r.chunks == 0 {
			if err := r.whole(); err != nil {
				return nil, err
			}
		}
		return nil, io.EOF
	}
	run := r.stream.runs[r.run]
	number := run.first + r.nth
	x, err := r.index(run.pack)
	if err != nil {
		return nil, err
	}
	if int64(number) >= int64(len(x.ids)) {
		return nil, r.corrupt(x, malformed("it has no chunk %d", number))
	}
	raw, err := r.frame(x, run, number)
	if err != nil {
		return nil, err
	}
	from, to := x.bounds(number)
	chunk := raw[from:to]
	if r.hasher.id(chunk) != x.ids[number] {
		return nil, r.corrupt(x, malformed("chunk %d does not have its id", number))
	}
	if r.tree != nil {
		r.tree.add(x.ids[number], len(chunk))
	}
	r.sum.Write(chunk)
	r.size += int64(len(chunk))
	r.chunks++
	if r.nth++; r.nth == run.count {
		r.run, r.nth = r.run+1, 0
	}
	if r.chunks == r.stream.chunks {
		if err := r.whole(); err != nil {
			return nil, err
		}
	}
	return chunk, nil
}

func (r *streamReader) corrupt(x *packIndex, err error) error {
	return corrupt(r.s.header.Source, PackName(r.s.header.Source, x.id.String()), err)
}

// whole checks all that was read against the manifest.
func (r *streamReader) whole() error {
	if r.size != r.stream.Size || ledger.Hash(r.sum.Sum(nil)) != r.stream.SHA256 {
		return problem.New(problem.Corrupt, "stream %q of snapshot %s does not match its hash", r.stream.Name, r.s.header.Snapshot).
			WithReason(ReasonCorrupt).WithSource(r.s.header.Source).
			WithHint("Its last part was held back. Take another snapshot for the restore, and verify the store.")
	}
	return nil
}

func (r *streamReader) index(pack uint32) (*packIndex, error) {
	if x, ok := r.indexes.get(pack); ok {
		return x, nil
	}
	x, err := readTail(r.ctx, r.s.objects, r.s.key, r.s.header.Cipher, r.s.header.Source, r.s.header.Packs[pack])
	if err != nil {
		return nil, err
	}
	r.indexes.put(pack, x, x.memory())
	return x, nil
}

// frame gives the content of the frame that holds a chunk of run.
func (r *streamReader) frame(x *packIndex, run packRun, chunk uint32) ([]byte, error) {
	key := frameKey{run.pack, x.frameOf(chunk)}
	if raw, ok := r.frames.get(key); ok {
		return raw, nil
	}
	f := x.frames[key.frame]
	last := min(run.first+run.count-1, uint32(len(x.ids)-1))
	sealed, err := r.fetch.frame(run.pack, x, key.frame, x.frameOf(last))
	if err != nil {
		return nil, err
	}
	raw, err := openFrame(sealed, x.seal, x.id, uint32(key.frame), int(f.raw), r.spare, noDictionaries)
	if err != nil {
		return nil, r.corrupt(x, err)
	}
	r.spare = r.frames.put(key, raw, int64(cap(raw)))
	return raw, nil
}

// fetcher reads frames from packs. Neighbours that will be wanted come with one request.
type fetcher struct {
	s         *Snapshot
	ctx       context.Context // the stream's
	pack      uint32
	next, end int64 // what rc has left
	rc        io.ReadCloser
	buf       []byte
}

// frame gives the sealed bytes of frame n, in memory that the next call uses
// again; frames up to last are likely to follow.
func (f *fetcher) frame(pack uint32, x *packIndex, n, last int) ([]byte, error) {
	want := x.frames[n]
	failed := func(err error) ([]byte, error) {
		f.close()
		return nil, readFailure(f.ctx, f.s.header.Source, PackName(f.s.header.Source, x.id.String()), err)
	}
	if f.rc == nil || f.pack != pack || f.next != want.offset || f.next+int64(want.size) > f.end {
		f.close()
		end := want.offset + int64(want.size)
		for i := n + 1; i <= last && end+int64(x.frames[i].size)-want.offset <= maxRange; i++ {
			end += int64(x.frames[i].size)
		}
		rc, err := f.s.objects.Get(f.ctx, PackName(f.s.header.Source, x.id.String()), want.offset, end-want.offset)
		if err != nil {
			return failed(err)
		}
		f.rc, f.pack, f.next, f.end = rc, pack, want.offset, end
	}
	if cap(f.buf) < int(want.size) {
		f.buf = make([]byte, max(want.size, frameSize/4))
	}
	b := f.buf[:want.size]
	k, err := io.ReadFull(f.rc, b)
	f.next += int64(k)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return failed(fmt.Errorf("frame %d: %w", n, err))
	}
	if f.next == f.end {
		f.close()
	}
	return b, nil
}

func (f *fetcher) close() {
	if f.rc != nil {
		_ = f.rc.Close()
		f.rc = nil
	}
}
