package repo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/ledger"
)

// pipeline takes frames of new chunks in order, compresses them on several
// goroutines, seals them in packs in the order in which they came, and puts the
// packs. Frames and packs are a fixed number of buffers that go round: when none
// is free, whoever wants one waits.
type pipeline struct {
	ctx    context.Context // governs the goroutines
	cancel context.CancelCauseFunc
	sink   Sink
	sent   atomic.Int64

	filled chan *frame // from the writer
	jobs   chan *frame // to the workers: filled, unless dictionaries are looked up in between
	order  chan *frame // the same, to the assembler
	idle   chan *frame
	made   int // frames made, at most cap(idle)

	idlePacks chan *packBuilder
	packsMade int

	options WriterOptions
	random  io.Reader
	packs   []builtPack // in order; the assembler's until it has ended

	work   sync.WaitGroup // workers and assembler
	puts   sync.WaitGroup
	closed bool
}

// What a pipeline leaves is used by the next one, if it comes before the garbage collector.
var (
	spareFrames sync.Pool // of *frame
	sparePacks  sync.Pool // of *packBuilder
)

// frame is a buffer for new chunks on their way into a pack.
type frame struct {
	raw     []byte
	ids     []chunkID
	lengths []uint32

	// near is what the chunks may be compressed against, dict what of it was found:
	// the chunks of list, which lie in frames less deep than depth.
	near  []neighbour
	dict  []byte
	list  dictionary
	depth int

	codec   byte
	stored  []byte
	scratch []byte        // for a frame with a dictionary
	plain   []byte        // for one without
	ready   chan struct{} // one token when stored is there
}

func (f *frame) clear() {
	f.raw, f.ids, f.lengths, f.near = f.raw[:0], f.ids[:0], f.lengths[:0], f.near[:0]
	f.dict, f.list.packs, f.list.runs, f.depth, f.stored = f.dict[:0], f.list.packs[:0], f.list.runs[:0], 0, nil
}

type builtPack struct {
	PackRef
	chunks uint32
	leans  []packID // packs that its dictionaries lie in
}

// startPipeline begins one. near, if not nil, makes what looks up dictionaries.
func startPipeline(ctx context.Context, o WriterOptions, sink Sink, random io.Reader, near func(context.Context) *dictionaries) *pipeline {
	frames := o.Workers + 2
	p := &pipeline{
		sink: sink, options: o, random: random,
		filled: make(chan *frame, frames), order: make(chan *frame, frames), idle: make(chan *frame, frames),
		idlePacks: make(chan *packBuilder, o.InFlight+1),
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.jobs = p.filled
	if near != nil {
		p.jobs = make(chan *frame, frames)
		p.work.Go(func() { p.lookUp(near(p.ctx)) })
	}
	for range o.Workers {
		p.work.Go(p.compress)
	}
	p.work.Go(p.assemble)
	return p
}

// err is the first failure, nil while there is none.
func (p *pipeline) err() error {
	if p.ctx.Err() == nil {
		return nil
	}
	return context.Cause(p.ctx)
}

// fail ends everything because of err, unless it has failed before, and returns
// the first failure.
func (p *pipeline) fail(err error) error {
	p.cancel(err)
	return context.Cause(p.ctx)
}

// frame gives an empty frame, waiting for one if need be.
func (p *pipeline) frame() (*frame, error) {
	select {
	case f := <-p.idle:
		return f, nil
	default:
	}
	if p.made < cap(p.idle) {
		p.made++
		if f, ok := spareFrames.Get().(*frame); ok {
			return f, nil
		}
		return &frame{raw: make([]byte, 0, frameSize), ready: make(chan struct{}, 1)}, nil
	}
	select {
	case f := <-p.idle:
		return f, nil
	case <-p.ctx.Done():
		return nil, p.err()
	}
}

// send hands a filled frame over. The channels have room for all frames there are.
func (p *pipeline) send(f *frame) error {
	if err := p.err(); err != nil {
		return err
	}
	p.order <- f
	p.filled <- f
	return nil
}

// lookUp finds the dictionaries of frames on their way to the workers.
func (p *pipeline) lookUp(d *dictionaries) {
	defer close(p.jobs)
	for {
		select {
		case f := <-p.filled:
			if f == nil {
				return
			}
			d.fill(f)
			p.jobs <- f
		case <-p.ctx.Done():
			return
		}
	}
}

// compress is a worker.
func (p *pipeline) compress() {
	c := compressors[p.options.Compress]
	for {
		var f *frame
		select {
		case f = <-p.jobs:
		case <-p.ctx.Done():
		}
		if f == nil {
			return
		}
		if err := f.pack(c); err != nil {
			_ = p.fail(err)
			return
		}
		f.ready <- struct{}{}
	}
}

// assemble puts frames into packs, in order.
func (p *pipeline) assemble() {
	var pack *packBuilder
	for {
		var f *frame
		select {
		case f = <-p.order:
		case <-p.ctx.Done():
			return
		}
		if f == nil { // closed: that was all
			if pack != nil {
				p.ship(pack)
			}
			return
		}
		select {
		case <-f.ready:
		case <-p.ctx.Done():
			return
		}
		packed := packedFrame{codec: f.codec, raw: len(f.raw), stored: f.stored, ids: f.ids, lengths: f.lengths, depth: f.depth}
		if f.depth > 0 {
			packed.packs = f.list.packs
		}
		if pack != nil && pack.size(packed) > p.options.PackSize {
			p.ship(pack)
			pack = nil
		}
		if pack == nil {
			if pack = p.pack(); pack == nil {
				return
			}
		}
		pack.add(packed)
		f.clear()
		p.idle <- f
	}
}

// pack begins a pack, waiting for memory if need be; nil when that fails.
func (p *pipeline) pack() *packBuilder {
	var b *packBuilder
	select {
	case b = <-p.idlePacks:
	default:
		if p.packsMade < cap(p.idlePacks) {
			p.packsMade++
			if b, _ = sparePacks.Get().(*packBuilder); b == nil {
				b = &packBuilder{}
			}
			break
		}
		select {
		case b = <-p.idlePacks:
		case <-p.ctx.Done():
			return nil
		}
	}
	b.limit = p.options.PackSize
	if err := b.start(p.options.Key, p.options.Cipher, p.random); err != nil {
		_ = p.fail(err)
		return nil
	}
	return b
}

// ship finishes a pack and puts it in the background.
func (p *pipeline) ship(b *packBuilder) {
	object, ref := b.finish()
	p.packs = append(p.packs, builtPack{ref, b.chunks, b.leans})
	name := PackName(p.options.Source, ref.ID)
	p.puts.Go(func() {
		if err := p.put(name, object, ref.SHA256); err != nil {
			_ = p.fail(err)
			return
		}
		p.idlePacks <- b
	})
}

// put hands one object to the sink.
func (p *pipeline) put(name string, object []byte, sum ledger.Hash) error {
	if err := p.err(); err != nil {
		return err
	}
	if err := p.sink.Put(p.ctx, name, object, sum); err != nil {
		return fmt.Errorf("put an object: %w", err) // the sink says which
	}
	p.sent.Add(int64(len(object)))
	return nil
}

// drain waits until all packs are durable and gives them in order.
func (p *pipeline) drain() ([]builtPack, error) {
	p.close()
	p.work.Wait()
	p.puts.Wait()
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.packs, nil
}

func (p *pipeline) close() {
	if !p.closed {
		p.closed = true
		close(p.order)
		close(p.filled)
	}
}

// stop ends the goroutines, waits for them and gives the idle buffers away.
func (p *pipeline) stop() {
	p.cancel(errFinished)
	p.work.Wait()
	p.puts.Wait()
	for {
		select {
		case f := <-p.idle:
			f.near = nil // refers to the base
			spareFrames.Put(f)
		case b := <-p.idlePacks:
			if cap(b.buf) <= p.options.PackSize {
				sparePacks.Put(b)
			}
		default:
			return
		}
	}
}
