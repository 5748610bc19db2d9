package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/telemetry"
)

// holder has a certificate with a version of the trust.
type holder struct {
	mu      sync.Mutex
	version uint64
	renewed int
	renew   func() (uint64, error) // what a renewal gives
}

func (h *holder) trust() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version
}

func (h *holder) again(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed++
	v, err := h.renew()
	if err == nil {
		h.version = v
	}
	return err
}

func (h *holder) times() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.renewed
}

func TestACertificateIsRenewedWhenTheTrustIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &holder{version: 3}
		failures := 2
		h.renew = func() (uint64, error) {
			if failures--; failures >= 0 {
				return 0, errors.New("nobody there")
			}
			return 5, nil
		}
		w := newWorldOf(t, 1, func(o *agent.Options) { o.TrustVersion, o.Renew = h.trust, h.again })
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		s := w.controller.NextSession()
		s.Complete()
		for _, v := range []uint64{0, 2, 3} {
			s.Trust(v)
			pass(t, time.Minute)
		}
		if h.times() != 0 {
			t.Errorf("renewed %d times for nothing", h.times())
		}
		s.Trust(4)
		s.Trust(5)
		s.Trust(5)
		pass(t, time.Minute)
		if h.times() != 3 || h.trust() != 5 {
			t.Errorf("asked %d times, version %d", h.times(), h.trust())
		}
		beats := w.controller.Heard().Beats
		if first, last := beats[0].GetTrustVersion(), beats[len(beats)-1].GetTrustVersion(); first != 3 || last != 5 {
			t.Errorf("heartbeats tell of version %d, then %d", first, last)
		}
	})
}

func TestARenewalThatGoesOnFailingIsTriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &holder{renew: func() (uint64, error) { return 0, errors.New("denied") }}
		w := newWorldOf(t, 1, func(o *agent.Options) { o.TrustVersion, o.Renew = h.trust, h.again })
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		s := w.controller.NextSession()
		s.Complete()
		s.Trust(1)
		pass(t, time.Hour)
		if n := h.times(); n < 100 || n > 600 {
			t.Errorf("tried %d times in an hour", n)
		}
	})
}

func TestAnAgentThatRenewsNothingIgnoresTheTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.controller.NextSession()
		s.Complete()
		s.Trust(9)
		h := w.controller.Await("a heartbeat", func(h uplinktest.Heard) bool { return len(h.Beats) > 1 })
		if v := h.Beats[1].GetTrustVersion(); v != 0 {
			t.Errorf("a heartbeat tells of version %d", v)
		}
	})
}

func TestTheLogIsShownWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := telemetry.NewRing(slog.DiscardHandler)
		log := slog.New(ring)
		w := newWorldOf(t, 1, func(o *agent.Options) { o.Recent, o.Logger = ring, log })
		s := w.controller.NextSession()
		s.Complete()
		w.settled(labelled("shop"))
		log.Warn("look", "password", source.Secret("hunter2"))
		s.AskLogs("l1", 2)
		s.AskLogs("l2", 0)
		h := w.controller.Await("the log, twice", func(h uplinktest.Heard) bool { return len(h.Logs) == 2 })
		for _, l := range h.Logs {
			var lines []string
			for _, line := range l.GetLogs() {
				lines = append(lines, line.GetLevel()+" "+line.GetMessage())
				if line.GetTime().AsTime().Before(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
					t.Errorf("line %v", line)
				}
			}
			got := strings.Join(lines, "\n")
			switch {
			case l.GetAgent() != "a1":
				t.Errorf("of agent %s", l.GetAgent())
			case l.GetId() == "l1" && got != "info session with the controller session=session-1\nwarn look password=[hidden]":
				t.Errorf("shown:\n%s", got)
			case l.GetId() == "l2" && got != "":
				t.Errorf("nothing was asked for, shown:\n%s", got)
			}
		}
	})
}

func TestAnAgentWithoutALogSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.controller.NextSession()
		s.Complete()
		s.AskLogs("l1", 100)
		h := w.controller.Await("the log", func(h uplinktest.Heard) bool { return len(h.Logs) == 1 })
		if len(h.Logs[0].GetLogs()) != 0 || h.Logs[0].GetId() != "l1" {
			t.Errorf("shown: %v", h.Logs[0])
		}
	})
}
