package network

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// What is on its way through a forwarder in one direction of one connection.
const (
	forwardChunk = 32 << 10
	forwardQueue = 256
)

// Forwarder passes connections on to one address, each byte late by a delay.
type Forwarder struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	delay    time.Duration
	clock    clock.Clock
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// Forward begins to pass on what comes to the listener. dial makes the other side.
func Forward(l net.Listener, dial func(context.Context) (net.Conn, error), delay time.Duration, c clock.Clock) *Forwarder {
	f := &Forwarder{listener: l, dial: dial, delay: delay, clock: c}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.wg.Go(f.accept)
	return f
}

// Close ends the forwarder and all its connections.
func (f *Forwarder) Close() error {
	f.stop()
	err := f.listener.Close()
	f.wg.Wait()
	return err
}

func (f *Forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() { f.serve(conn) })
	}
}

// serve passes one connection on until one side of it ends.
func (f *Forwarder) serve(near net.Conn) {
	defer near.Close()
	far, err := f.dial(f.ctx)
	if err != nil {
		return
	}
	defer far.Close()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
	defer stop()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { f.pass(ctx, near, far); cancel() })
	f.pass(ctx, far, near)
	cancel()
}

// late is what was read, and when it may be written.
type late struct {
	data []byte
	due  time.Time
}

// pass copies one direction until it ends.
func (f *Forwarder) pass(ctx context.Context, from io.Reader, to io.Writer) {
	queue := make(chan late, forwardQueue)
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading.Go(func() {
		defer close(queue)
		for {
			buf := make([]byte, forwardChunk)
			n, err := from.Read(buf)
			if n > 0 {
				select {
				case queue <- late{buf[:n], f.clock.Now().Add(f.delay)}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for l := range queue {
		if clock.Sleep(ctx, l.due.Sub(f.clock.Now())) != nil {
			break
		}
		if _, err := to.Write(l.data); err != nil {
			break
		}
	}
	// The reader may wait for more of a side that is of no use any more.
	if c, ok := from.(net.Conn); ok && !errors.Is(ctx.Err(), context.Canceled) {
		_ = c.Close()
	}
}
