package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/problem"
)

// These tests run in bubbles of their own time: see session_test.go.

// The leader goes, in each of the ways in which leaders go; the run in hand does
// not notice.
func TestARunGoesOnUnderTheNextLeader(t *testing.T) {
	for name, depose := range map[string]func(*world, *uplinktest.Session, chan struct{}){
		"it hands over": func(w *world, _ *uplinktest.Session, _ chan struct{}) { w.controller.Lead("c2") },
		"it dies and the next is elected at once": func(w *world, s *uplinktest.Session, _ chan struct{}) {
			w.controller.Lead("c2")
			w.controller.Kill(s.Node)
		},
		"it dies and the next is elected later": func(w *world, s *uplinktest.Session, _ chan struct{}) {
			w.controller.Lead("")
			w.controller.Kill(s.Node)
			time.AfterFunc(5*time.Second, func() { w.controller.Lead("c2") })
		},
		"it says nothing any more": func(w *world, s *uplinktest.Session, wake chan struct{}) {
			w.controller.Answer(uplinktest.Answers{Beat: func(session string, held []uplink.Lease) (uplink.Beat, error) {
				if session == s.ID {
					<-wake
				}
				return slowly(session, held)
			}})
			time.AfterFunc(2*time.Second, func() { w.controller.LeadQuietly("c2") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wake := make(chan struct{})
				defer close(wake)
				w, s, begun, stopped := newWorldOf(t, 3, nil).atWork()
				w.controller.Answer(uplinktest.Answers{Beat: slowly})
				from := time.Now()
				depose(w, s, wake)
				next := w.controller.NextSession()
				if took := time.Since(from); next.Node != "c2" || took > 30*time.Second {
					t.Errorf("the next session is with %s after %v", next.Node, took)
				}
				if held := next.Hello.GetHeld(); len(held) != 1 || held[0].GetRun() != "r1" || held[0].GetEpoch() != 1 {
					t.Errorf("held %v", held)
				}
				next.Complete(backupOf("shop", "r1", 1))
				pass(t, 10*time.Minute)
				if len(begun) != 0 || len(stopped) != 0 {
					t.Errorf("begun again %d times, stopped %d times", len(begun), len(stopped))
				}
				next.Cancel(uplink.Lease{Run: "r1", Epoch: 1})
				w.controller.Await("the end", ended)
			})
		})
	}
}

func TestARunOutlastsAnAbsenceOfAllThatIsShorterThanItsLease(t *testing.T) {
	for name, tc := range map[string]struct {
		away  time.Duration
		lasts bool
	}{"shorter": {40 * time.Second, true}, "longer": {2 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, _, stopped := newWorldOf(t, 3, nil).atWork()
				w.controller.Answer(uplinktest.Answers{Beat: slowly})
				for _, id := range []string{"c1", "c2", "c3"} {
					w.controller.Kill(id)
				}
				from := time.Now()
				pass(t, tc.away)
				w.controller.Lead("c3")
				w.controller.Revive("c3")
				if !tc.lasts {
					if why := <-stopped; problem.CodeOf(why) != problem.Unavailable || time.Since(from) > tc.away {
						t.Errorf("stopped because: %v, after %v", why, time.Since(from))
					}
				}
				s := w.controller.NextSession()
				want := 0
				if tc.lasts {
					want = 1
				}
				if len(s.Hello.GetHeld()) != want || s.Node != "c3" {
					t.Errorf("held %v at %s", s.Hello.GetHeld(), s.Node)
				}
				w.silent()
			})
		})
	}
}

// The first report of a session is a whole one, whoever it is with.
func TestTheNextLeaderIsToldTheWholeInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 3, nil)
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		s := w.controller.NextSession()
		s.Complete()
		w.settled(labelled("shop"))
		w.settled(labelled("shop"), labelled("zoo"))
		last := w.controller.Heard().Inventories
		if r := last[len(last)-1]; !r.GetPartial() || len(r.GetSources()) != 1 {
			t.Errorf("the second report: %v", r)
		}
		w.controller.Lead("c3")
		s = w.controller.NextSession()
		s.Complete()
		h := w.controller.Await("the inventory in the new session", func(h uplinktest.Heard) bool {
			return h.Inventories[len(h.Inventories)-1].GetSession() == s.ID
		})
		if r := h.Inventories[len(h.Inventories)-1]; r.GetPartial() || len(r.GetSources()) != 2 {
			t.Errorf("the first report of the session: %v", r)
		}
	})
}

func TestTheEndOfARunIsToldToTheNextLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, _, _ := newWorldOf(t, 3, nil).atWork()
		w.controller.Answer(uplinktest.Answers{Beat: slowly, End: func() error { return errNoAnswer }})
		s.Cancel(uplink.Lease{Run: "r1", Epoch: 1})
		w.controller.Await("an attempt to tell the end", ended)
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		before := len(w.controller.Heard().Ends)
		w.controller.Lead("c2")
		w.controller.Kill("c1")
		s = w.controller.NextSession()
		s.Complete(backupOf("shop", "r1", 1))
		h := w.controller.Await("the end", func(h uplinktest.Heard) bool { return len(h.Ends) > before })
		if end := h.Ends[before]; !end.GetCancelled() || end.GetLease().GetRun() != "r1" {
			t.Errorf("end %v", end)
		}
		pass(t, 10*time.Minute)
		if n := len(w.controller.Heard().Ends); n != before+1 {
			t.Errorf("it was told %d times after it was taken", n-before-1)
		}
	})
}
