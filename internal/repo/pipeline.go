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

	jobs  chan *frame // to the workers
	order chan *frame // the same, to the assembler
	idle  chan *frame
	made  int // frames made, at most cap(idle)

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

	codec   byte
	stored  []byte
	scratch []byte
	ready   chan struct{} // one token when stored is there
}

type builtPack struct {
	PackRef
	chunks uint32
}

func startPipeline(ctx context.Context, o WriterOptions, sink Sink, random io.Reader) *pipeline {
	frames := o.Workers + 2
	p := &pipeline{
		sink: sink, options: o, random: random,
		jobs: make(chan *frame, frames), order: make(chan *frame, frames), idle: make(chan *frame, frames),
		idlePacks: make(chan *packBuilder, o.InFlight+1),
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
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
	p.jobs <- f
	return nil
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
		var err error
		if f.codec, f.stored, f.scratch, err = c.compress(f.scratch, f.raw); err != nil {
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
		packed := packedFrame{codec: f.codec, raw: len(f.raw), stored: f.stored, ids: f.ids, lengths: f.lengths}
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
		f.raw, f.ids, f.lengths, f.stored = f.raw[:0], f.ids[:0], f.lengths[:0], nil
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
	p.packs = append(p.packs, builtPack{ref, b.chunks})
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
		return fmt.Errorf("put %s: %w", name, err)
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
		close(p.jobs)
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
