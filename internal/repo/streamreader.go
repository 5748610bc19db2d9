package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
	"sync"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	// maxReaders is how many goroutines open frames of one stream at most.
	maxReaders = 8
	// maxRequests is how many requests to the store are under way to read ahead.
	maxRequests = 2
)

// streamReader reads the chunks of one stream. One goroutine plans what comes
// next and has it fetched, some open frames and check chunks, and whoever reads
// gets what they made, in order.
type streamReader struct {
	s      *Snapshot
	frames *frameReader
	outer  context.Context // the caller's
	ctx    context.Context // of all goroutines
	cancel context.CancelFunc
	packs  []packID // of the manifest's list
	stream *bodyStream
	part   bool // the stream is a part of one, whose hash is not known

	running sync.WaitGroup
	order   chan *job // as they come in the stream; nil: not started
	work    chan *job // the same
	bufs    buffers

	sum   hash.Hash
	size  int64  // of what was taken so far
	whole []byte // the memory of rest
	rest  []byte // to be handed over
	err   error  // after that
}

// reader makes what reads the snapshot's packs.
func (s *Snapshot) reader(ctx context.Context) *frameReader {
	return newFrameReader(ctx, s.objects, s.key, s.header.Cipher, s.header.Source, s.header.Packs, restoreMemory)
}

// read makes a reader of a stream, which is to be closed. Without frames it has
// its own.
func (s *Snapshot) read(ctx context.Context, frames *frameReader, stream *bodyStream) *streamReader {
	inner, cancel := context.WithCancel(ctx)
	if frames == nil {
		frames = s.reader(inner)
	}
	return &streamReader{s: s, frames: frames, outer: ctx, ctx: inner, cancel: cancel, packs: s.packIDs(), stream: stream, sum: sha256.New()}
}

func (s *Snapshot) packIDs() []packID {
	ids := make([]packID, len(s.header.Packs))
	for i, ref := range s.header.Packs {
		ids[i], _ = parsePackID(ref.ID) // it was written from one
	}
	return ids
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (n int, err error) {
	for n < len(p) && r.more() {
		k := copy(p[n:], r.rest)
		r.rest = r.rest[k:]
		n += k
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, r.err
}

// WriteTo implements io.WriterTo.
func (r *streamReader) WriteTo(w io.Writer) (n int64, err error) {
	for r.more() {
		k, err := w.Write(r.rest)
		n += int64(k)
		r.rest = r.rest[k:]
		if err != nil {
			return n, err //nolint:wrapcheck // the writer's, and io.Copy gives it as it is
		}
	}
	if r.err == io.EOF { //nolint:errorlint // an error that wraps io.EOF is not the end
		return n, nil
	}
	return n, r.err
}

// Close implements io.Closer. When it returns no goroutine is left.
func (r *streamReader) Close() error {
	r.stop(errors.New("the stream is closed"))
	r.running.Wait()
	return nil
}

func (r *streamReader) stop(err error) {
	r.cancel()
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// more sees to it that there is a rest, unless r.err tells why there is none.
func (r *streamReader) more() bool {
	if r.outer.Err() != nil && (r.err == nil || len(r.rest) > 0) {
		r.err = nil
		r.stop(context.Cause(r.outer))
	}
	for len(r.rest) == 0 && r.err == nil {
		if r.whole != nil {
			r.bufs.give(r.whole)
			r.whole = nil
		}
		r.take()
	}
	return len(r.rest) > 0
}

// take gets the next part of the stream.
func (r *streamReader) take() {
	if r.order == nil {
		r.start()
	}
	var j *job
	select {
	case j = <-r.order:
	case <-r.ctx.Done():
		r.stop(context.Cause(r.ctx))
		return
	}
	select {
	case <-j.done:
	case <-r.ctx.Done():
		r.stop(context.Cause(r.ctx))
		return
	}
	r.whole, r.rest, r.err = j.buf, j.buf, j.err
	r.sum.Write(j.buf)
	r.size += int64(len(j.buf))
	switch {
	case r.err != nil:
		r.cancel() // what was read before is handed over
	case j.last && r.part:
		r.err = io.EOF
		r.cancel()
	case j.last:
		if r.err = r.s.matches(r.stream, r.size, r.sum); r.err != nil {
			r.rest = nil // held back
			return
		}
		r.err = io.EOF
		r.cancel()
	}
}

// matches holds all that was read of a stream against the manifest.
func (s *Snapshot) matches(stream *bodyStream, size int64, sum hash.Hash) error {
	if size != stream.Size || ledger.Hash(sum.Sum(nil)) != stream.SHA256 {
		return problem.New(problem.Corrupt, "stream %q of snapshot %s does not match its hash", stream.Name, s.header.Snapshot).
			WithReason(ReasonCorrupt).WithSource(s.header.Source).
			WithHint("Its last part was held back. Take another snapshot for the restore, and verify the store.")
	}
	return nil
}

func (r *streamReader) start() {
	readers := min(runtime.GOMAXPROCS(0), maxReaders, 1+int(min(r.stream.Size/jobSize, maxReaders)))
	r.order = make(chan *job, readers+1)
	r.work = make(chan *job, readers+1)
	r.running.Go(r.plan)
	for range readers {
		r.running.Go(func() {
			h := newHasher(r.s.key)
			for j := range r.work {
				r.fill(j, h)
				close(j.done)
			}
		})
	}
}

// plan hands out jobs until the stream or the reader's patience is at its end.
func (r *streamReader) plan() {
	defer close(r.work)
	p := plan{frames: r.frames, packs: r.packs, runs: r.stream.runs}
	requests := make(chan struct{}, maxRequests)
	for {
		jobs, fetches := p.window()
		for i, f := range fetches {
			select {
			case requests <- struct{}{}:
			case <-r.ctx.Done():
				abandon(fetches[i:], context.Cause(r.ctx))
				return
			}
			r.running.Go(func() {
				r.frames.request(f)
				<-requests
			})
		}
		for _, j := range jobs {
			select {
			case r.order <- j:
			case <-r.ctx.Done():
				return
			}
			if j.err != nil {
				return
			}
			select {
			case r.work <- j:
			case <-r.ctx.Done():
				return
			}
			if j.last {
				return
			}
		}
	}
}

// fill reads and checks what a job is for. What follows a chunk that is wrong is
// left out.
func (r *streamReader) fill(j *job, h *hasher) {
	j.buf = r.bufs.take(max(j.size, jobSize))[:0]
	for _, p := range j.pieces {
		x, err := r.frames.index(r.packs[p.pack])
		if err != nil {
			j.err = err
			return
		}
		f, b, err := r.frames.checked(x, p.first, p.count, h)
		j.buf = append(j.buf, b...)
		if f != nil {
			r.frames.frames.release(f)
		}
		if err != nil {
			j.err = err
			return
		}
	}
}
