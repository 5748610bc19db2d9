package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// These tests run in bubbles of their own time. No stream may be stored in one:
// the repository's buffers go round between its writers.

// atWork is a world whose agent has begun run r1@1, a lease of a minute, and is
// kept in it.
func atWork(t *testing.T) (w *world, s *uplinktest.Session, begun chan struct{}, stopped chan error) {
	t.Helper()
	return newWorld(t).atWork()
}

func (w *world) atWork() (_ *world, s *uplinktest.Session, begun chan struct{}, stopped chan error) {
	w.t.Helper()
	s = w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	open, begun, stopped := blocks()
	w.db.opening(open)
	s.Assign(backupOf("shop", "r1", 1))
	<-begun
	return w, s, begun, stopped
}

// silent fails the test if anything was said of the end of a run by the time
// that the agent has ended.
func (w *world) silent() {
	w.t.Helper()
	w.stop()
	if h := w.controller.Heard(); len(h.Ends)+len(h.Commits) != 0 {
		w.t.Errorf("ends %v, commits %v; want none", h.Ends, h.Commits)
	}
}

// slowly renews every lease, seldom: for tests in which much time passes.
func slowly(_ string, held []uplink.Lease) (uplink.Beat, error) {
	return uplink.Beat{Period: 10 * time.Second, Renewed: held}, nil
}

func pass(t *testing.T, d time.Duration) {
	t.Helper()
	if err := clock.Sleep(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestACancelledRunIsStoppedAndSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, _, stopped := atWork(t)
		s.Cancel(uplink.Lease{Run: "r1", Epoch: 2}, uplink.Lease{Run: "other", Epoch: 1}) // nothing in hand
		synctest.Wait()
		if len(stopped) > 0 {
			t.Fatal("a cancel of another lease stopped the run")
		}
		s.Cancel(uplink.Lease{Run: "r1", Epoch: 1})
		end := w.controller.Await("the end", ended).Ends[0]
		if !end.GetCancelled() || end.GetLease().GetRun() != "r1" || end.GetFailure().GetCode() != string(problem.Cancelled) {
			t.Errorf("end %v", end)
		}
		if why := <-stopped; problem.CodeOf(why) != problem.Cancelled {
			t.Errorf("it was stopped because: %v", why)
		}
		w.stop()
		if n := len(w.controller.Heard().Ends); n != 1 {
			t.Errorf("the end was told %d times", n)
		}
	})
}

func TestARunGoesOnWhileTheSessionIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, begun, stopped := atWork(t)
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		s.End(errLost)
		s = w.controller.NextSession()
		if held := s.Hello.GetHeld(); len(held) != 1 || held[0].GetRun() != "r1" || held[0].GetEpoch() != 1 {
			t.Errorf("held %v", held)
		}
		s.Complete(backupOf("shop", "r1", 1))
		pass(t, 10*time.Minute) // the heartbeats of the new session renew the lease
		if len(begun) != 0 || len(stopped) != 0 {
			t.Errorf("begun again %d times, stopped %d times", len(begun), len(stopped))
		}
		s.Cancel(uplink.Lease{Run: "r1", Epoch: 1})
		w.controller.Await("the end", ended)
	})
}

func TestWhatACompleteUpdateLeavesOutIsGivenUpSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, begun, stopped := atWork(t)
		s.End(errLost)
		s = w.controller.NextSession()
		s.Complete()
		if why := <-stopped; problem.CodeOf(why) != problem.Unavailable {
			t.Errorf("stopped because: %v", why)
		}
		s.Assign(backupOf("shop", "r1", 2)) // given out anew, perhaps to the same agent
		<-begun
		w.silent()
	})
}

func TestALeaseIsLost(t *testing.T) {
	for name, beat := range map[string]func(string, []uplink.Lease) (uplink.Beat, error){
		"said by a heartbeat": func(_ string, held []uplink.Lease) (uplink.Beat, error) { return uplink.Beat{Lost: held}, nil },
		"not renewed":         func(string, []uplink.Lease) (uplink.Beat, error) { return uplink.Beat{Period: time.Second}, nil },
		"no answer":           func(string, []uplink.Lease) (uplink.Beat, error) { return uplink.Beat{}, errNoAnswer },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, _, stopped := atWork(t)
				from := time.Now()
				w.controller.Answer(uplinktest.Answers{Beat: beat})
				why := <-stopped
				if problem.CodeOf(why) != problem.Unavailable || !strings.Contains(why.Error(), "lease") {
					t.Errorf("stopped because: %v", why)
				}
				if took := time.Since(from); took > time.Minute {
					t.Errorf("it went on for %v, the lease is for a minute", took)
				}
				w.silent()
			})
		})
	}
}

func TestAHeartbeatThatFindsNoSessionOpensAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.controller.NextSession()
		s.Complete()
		w.settled(labelled("shop"))
		begun := make(chan struct{})
		w.db.starting(func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		})
		lost := s.ID
		w.controller.Answer(uplinktest.Answers{Beat: func(session string, held []uplink.Lease) (uplink.Beat, error) {
			if session == lost && len(held) > 0 { // with it goes the run's first log line
				return uplink.Beat{}, problem.New(problem.NotFound, "no such session")
			}
			return uplink.Beat{Renewed: held}, nil
		}})
		s.Assign(backupOf("shop", "r1", 1))
		<-begun
		s = w.controller.NextSession()
		if s.ID == lost || len(s.Hello.GetHeld()) != 1 {
			t.Errorf("hello of %s: %v", s.ID, s.Hello)
		}
		s.Complete(backupOf("shop", "r1", 1))
		w.controller.Await("the line that the lost session did not take", func(h uplinktest.Heard) bool {
			for _, b := range h.Beats {
				for _, r := range b.GetRuns() {
					for _, l := range r.GetLogs() {
						if b.GetSession() == s.ID && strings.HasPrefix(l.GetMessage(), "dumping") {
							return true
						}
					}
				}
			}
			return false
		})
		w.controller.Await("the inventory in the new session", func(h uplinktest.Heard) bool {
			return h.Inventories[len(h.Inventories)-1].GetSession() == s.ID
		})
		w.silent()
	})
}

func TestUpdatesThatDoNotChainOpenAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, begun, _ := atWork(t)
		s.Skip()
		s.Assign(backupOf("shop", "r9", 1))
		next := w.controller.NextSession()
		if len(next.Hello.GetHeld()) != 1 || len(begun) != 0 {
			t.Errorf("held %v, %d begun", next.Hello.GetHeld(), len(begun))
		}
		w.silent()
	})
}

func TestTheInventoryIsToldOnceAllIsKnownAndWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newHost("docker"), newHost("swarm")
		w := newWorld(t, one, two)
		w.controller.Answer(uplinktest.Answers{Beat: slowly})
		s := w.controller.NextSession()
		s.Complete()
		one.news <- nil
		pass(t, time.Minute)
		if n := len(w.controller.Heard().Inventories); n != 0 {
			t.Fatalf("%d inventories before all providers have spoken", n)
		}
		two.news <- nil // nothing is news as well: all that was here is gone
		count := func(n int) func(uplinktest.Heard) bool {
			return func(h uplinktest.Heard) bool { return len(h.Inventories) >= n }
		}
		first := w.controller.Await("an empty inventory", count(1)).Inventories[0]
		if len(first.GetSources()) != 0 || first.GetSession() != s.ID || first.GetAgent() != "a1" {
			t.Errorf("inventory %v", first)
		}
		one.news <- nil
		two.news <- nil
		synctest.Wait()
		one.news <- []provider.Container{labelled("shop")}
		synctest.Wait()
		two.news <- []provider.Container{labelled("zoo")}
		pass(t, time.Second)
		h := w.controller.Heard()
		var names []string
		for _, src := range h.Sources {
			names = append(names, src.GetName()+" "+src.GetEngine())
		}
		slices.Sort(names)
		if got := strings.Join(names, ", "); got != "shop fake, zoo fake" {
			t.Errorf("the last inventory is %q", got)
		}
		pass(t, time.Hour)
		if n := len(w.controller.Heard().Inventories); n != len(h.Inventories) {
			t.Errorf("%d inventories without news", n-len(h.Inventories))
		}

		refusals := 0
		w.controller.Answer(uplinktest.Answers{Beat: slowly, Inventory: func() error {
			if refusals++; refusals < 4 {
				return errNoAnswer
			}
			return nil
		}})
		one.news <- nil
		pass(t, time.Minute)
		if again := w.controller.Heard().Inventories; len(again) != len(h.Inventories)+4 || len(again[len(again)-1].GetSources()) != 1 {
			t.Errorf("%d reports of one change that was refused three times", len(again)-len(h.Inventories))
		}
	})
}

func TestAnAgentThatIsStoppedLeavesItsRunsToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _, stopped := atWork(t)
		w.silent()
		if why := <-stopped; !strings.Contains(why.Error(), "the agent is being stopped") {
			t.Errorf("stopped because: %v", why)
		}
	})
}

// failing makes run r1@1 fail while nobody takes its end.
func failing(t *testing.T) (w *world, s *uplinktest.Session, answers *atomic.Bool) {
	t.Helper()
	w = newWorld(t)
	s = w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	w.db.opening(func(context.Context) error { return errBroken })
	answers = &atomic.Bool{}
	w.controller.Answer(uplinktest.Answers{Beat: slowly, End: func() error {
		if answers.Load() {
			return nil
		}
		return errNoAnswer
	}})
	s.Assign(backupOf("shop", "r1", 1))
	w.controller.Await("the end", ended)
	return w, s, answers
}

// An end that nobody hears of would have the run carried out again, which for a
// restore means that what was written since is lost.
func TestTheEndOfARunIsToldForAsLongAsItIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, answers := failing(t)
		pass(t, 5*time.Minute)
		s.End(errLost)
		s = w.controller.NextSession()
		if len(s.Hello.GetHeld()) != 1 {
			t.Errorf("held %v: the run has not ended before its end is told", s.Hello.GetHeld())
		}
		s.Complete(backupOf("shop", "r1", 1))
		s.Cancel(uplink.Lease{Run: "r1", Epoch: 1}) // too late: it has failed
		pass(t, 5*time.Minute)
		answers.Store(true)
		pass(t, 10*time.Second) // longer than the longest pause
		h := w.controller.Heard()
		last := h.Ends[len(h.Ends)-1]
		if last.GetCancelled() || last.GetFailure().GetReason() != string(problem.ReasonOf(errBroken)) {
			t.Errorf("end %v", last)
		}
		pass(t, time.Minute)
		if h := w.controller.Heard(); h.Ends[len(h.Ends)-1] != last || len(h.Beats[len(h.Beats)-1].GetRuns()) != 0 {
			t.Error("it was told again after the answer")
		}
	})
}

func TestTheEndOfARunThatIsNotOursAnyMoreIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, answers := failing(t)
		w.controller.Answer(uplinktest.Answers{
			Beat: func(_ string, held []uplink.Lease) (uplink.Beat, error) {
				return uplink.Beat{Period: 10 * time.Second, Lost: held}, nil
			},
			End: func() error { return errNoAnswer },
		})
		pass(t, time.Minute)
		told := len(w.controller.Heard().Ends)
		answers.Store(true)
		pass(t, time.Minute)
		if n := len(w.controller.Heard().Ends); n != told {
			t.Errorf("%d more after the lease was lost", n-told)
		}
	})
}

func TestAnEndThatNobodyTakesDoesNotHoldUpTheAgentsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := failing(t)
		from := time.Now()
		w.stop()
		if took := time.Since(from); took > time.Second {
			t.Errorf("the agent took %v to end", took)
		}
	})
}

// A tool takes its time to be killed. Until then the next epoch's must not be at
// work on the same database.
func TestTheNextEpochWaitsForTheEndOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.controller.NextSession()
		s.Complete()
		w.settled(labelled("shop"))
		killed := make(chan struct{})
		var atWork, most atomic.Int32
		begun := make(chan struct{}, 3)
		w.db.opening(func(ctx context.Context) error {
			most.Store(max(most.Load(), atWork.Add(1)))
			defer atWork.Add(-1)
			begun <- struct{}{}
			<-ctx.Done()
			<-killed
			return ctx.Err()
		})
		s.Assign(backupOf("shop", "r1", 1))
		<-begun
		s.Assign(backupOf("shop", "r1", 2))
		s.Assign(backupOf("shop", "r1", 3))
		s.Assign(backupOf("shop", "r1", 2)) // stale
		pass(t, 10*time.Second)
		if len(begun) != 0 {
			t.Error("the next epoch has begun")
		}
		close(killed)
		pass(t, 10*time.Second)
		beats := w.controller.Heard().Beats
		runs := beats[len(beats)-1].GetRuns()
		if len(runs) != 1 || runs[0].GetLease().GetEpoch() != 3 || most.Load() != 1 || atWork.Load() != 1 {
			t.Errorf("runs %v, %d at work, at most %d", runs, atWork.Load(), most.Load())
		}
		w.silent()
	})
}

func TestASessionThatIsRefusedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		from := time.Now()
		for range 10 {
			w.controller.NextSession().End(errors.New("no"))
		}
		w.controller.NextSession().Complete()
		if took := time.Since(from); took < 5*time.Second || took > 3*time.Minute {
			t.Errorf("ten refusals took %v: the pauses should grow, to a bound", took)
		}
	})
}
