package agent_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// The agent's process may be stopped for longer than its leases last, and go on
// in the middle of anything: its clock is all that tells. In these tests it
// leaps, and the timers that would tell as well never fire.

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// said is a log that tells of each message.
type said struct {
	slog.Handler
	messages chan string
}

func (s said) Enabled(context.Context, slog.Level) bool { return true }
func (s said) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s said) Handle(_ context.Context, r slog.Record) error {
	select {
	case s.messages <- r.Message:
	default:
	}
	return nil
}

// await waits until a message begins like that.
func (s said) await(t *testing.T, begin string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m := <-s.messages:
			if strings.HasPrefix(m, begin) {
				return
			}
		case <-timeout:
			t.Fatalf("nothing was said of %q", begin)
		}
	}
}

// leaping is a world with a clock that leaps; heartbeats come no more than once.
func leaping(t *testing.T) (*world, *clock.Manual, said) {
	t.Helper()
	c, log := clock.NewManual(noon), said{slog.DiscardHandler, make(chan string, 1000)}
	w := newWorldOf(t, 3, func(o *agent.Options) { o.Clock, o.Logger = c, slog.New(log) })
	w.controller.Answer(uplinktest.Answers{Beat: seldom})
	return w, c, log
}

func seldom(_ string, held []uplink.Lease) (uplink.Beat, error) {
	return uplink.Beat{Period: time.Hour, Renewed: held}, nil
}

// nothing fails the test if anything was sent since.
func (w *world) nothing(events <-chan uplinktest.Event) {
	w.t.Helper()
	w.stop()
	h := w.controller.Heard()
	if len(events)+len(h.Ends)+len(h.Commits) > 0 {
		w.t.Errorf("after the lease was over: %d events, ends %v, commits %v", len(events), h.Ends, h.Commits)
	}
}

func TestAfterALongStopNoPackIsSent(t *testing.T) {
	w, c, log := leaping(t)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	w.db.dump = make([]byte, 60<<20)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(w.db.dump)
	g := &gate{left: 5 << 20, reached: make(chan struct{}), open: make(chan struct{})}
	w.db.output = func(r io.Reader) io.Reader {
		g.Reader = r
		return g
	}
	s.Assign(backupOf("shop", "r1", 1))
	<-g.reached
	c.Advance(time.Hour)
	events := make(chan uplinktest.Event, 1000)
	w.controller.Answer(uplinktest.Answers{Beat: seldom, Meet: func(e uplinktest.Event) error {
		events <- e
		return nil
	}})
	close(g.open)
	log.await(t, "run given up")
	w.nothing(events)
}

func TestAfterALongStopNothingIsCommitted(t *testing.T) {
	w, c, log := leaping(t)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	events := make(chan uplinktest.Event, 1000)
	var stopped atomic.Bool
	w.controller.Answer(uplinktest.Answers{Beat: seldom, Meet: func(e uplinktest.Event) error {
		if stopped.Load() {
			events <- e
		}
		if e.Call == uplinktest.Uploaded && strings.Contains(e.Object, "/manifests/") {
			stopped.Store(true)
			c.Advance(time.Hour)
		}
		return nil
	}})
	s.Assign(backupOf("shop", "r1", 1))
	log.await(t, "run given up")
	w.nothing(events)
}

func TestAfterALongStopNoEndIsTold(t *testing.T) {
	w, c, log := leaping(t)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	w.db.opening(func(context.Context) error {
		c.Advance(time.Hour)
		return errBroken
	})
	s.Assign(backupOf("shop", "r1", 1))
	log.await(t, "the controller did not take the end of the run")
	w.nothing(nil)
}

// The answer to a heartbeat may lie there for an hour before it is read.
func TestAfterALongStopAnAnswerFromBeforeRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, _ := leaping(t)
		w.controller.Answer(uplinktest.Answers{Beat: func(_ string, held []uplink.Lease) (uplink.Beat, error) {
			if len(held) > 0 {
				c.Advance(time.Hour)
			}
			return uplink.Beat{Period: time.Second, Renewed: held}, nil
		}})
		from := time.Now()
		_, _, _, stopped := w.atWork()
		if why := <-stopped; problem.CodeOf(why) != problem.Unavailable || !strings.Contains(why.Error(), "lease") {
			t.Errorf("stopped because: %v", why)
		}
		if took := time.Since(from); took > 30*time.Second {
			t.Errorf("it went on for %v: the timer has told, and not the clock", took)
		}
		w.silent()
	})
}

// A lease counts from when its renewal was asked for, not from the answer: the
// controller must never be the first to think that it is over.
func TestARenewalCountsFromWhenItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _, stopped := atWork(t)
		answers := 0
		w.controller.Answer(uplinktest.Answers{Beat: func(session string, held []uplink.Lease) (uplink.Beat, error) {
			if answers++; answers > 1 {
				return uplink.Beat{Period: time.Hour}, nil
			}
			<-time.After(9 * time.Second)
			return uplink.Beat{Period: time.Second, Renewed: held}, nil
		}})
		from := time.Now()
		why := <-stopped
		if took := time.Since(from); took > time.Minute+time.Second {
			t.Errorf("a lease of a minute lasted %v, until: %v", took, why)
		}
		w.silent()
	})
}
