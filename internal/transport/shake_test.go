package transport

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// A handshake that does not end is cut off, in virtual time.
func TestSlowHandshakesAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHolder(clock.System{})
		if err := h.UseTemporary(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := &Port{
			PortOptions: PortOptions{Holder: h, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)},
			shaking:     &crowd{room: 2}, ctx: ctx,
		}
		ours, theirs := net.Pipe()
		began := time.Now()
		done := make(chan struct{})
		go func() { p.shake(ours); close(done) }()
		// A byte of a long greeting now and then does not help.
		go func() {
			for _, b := range append([]byte{22, 3, 1, 0x3f, 0, 1, 0, 0x3e, 0}, make([]byte, 100)...) {
				if _, err := theirs.Write([]byte{b}); err != nil || clock.Sleep(ctx, time.Second) != nil {
					return
				}
			}
		}()
		<-done
		if took := time.Since(began); took != handshakeTime {
			t.Errorf("cut off after %v, want %v", took, handshakeTime)
		}
		if _, err := theirs.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is open")
		}
		if p.shaking.order.Len() != 0 {
			t.Error("it is counted still")
		}
		cancel()
		synctest.Wait()
	})
}

type door struct{ closed int }

func (d *door) Close() error { d.closed++; return nil }

func TestACrowdHasRoomForSoMany(t *testing.T) {
	t.Parallel()
	c := &crowd{room: 2}
	doors := make([]door, 4)
	leave := make([]func(), 4)
	closed := func(want ...int) {
		t.Helper()
		for i := range doors {
			if doors[i].closed != want[i] {
				t.Errorf("connection %d was closed %d times, want %d", i, doors[i].closed, want[i])
			}
		}
	}
	enter := func(i int) { leave[i] = c.enter(&doors[i]) }
	enter(0)
	enter(1)
	closed(0, 0, 0, 0)
	enter(2) // the oldest makes room
	closed(1, 0, 0, 0)
	leave[0]() // it has left already
	leave[1]()
	enter(3) // there is room
	closed(1, 0, 0, 0)
	leave[2]()
	leave[3]()
	leave[3]()
	if c.order.Len() != 0 {
		t.Errorf("%d are left", c.order.Len())
	}
}
