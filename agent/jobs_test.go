package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
)

func assignment(run string, epoch uint64) uplink.Assignment {
	return uplink.Assignment{Lease: uplink.Lease{Run: run, Epoch: epoch}, Duration: time.Minute}
}

// pass lets the bubble's time go by.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	if err := clock.Sleep(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, js *jobs, as uplink.Assignment) (context.Context, *job) {
	t.Helper()
	ctx, j, ok := js.begin(context.Background(), as, slog.New(slog.DiscardHandler))
	if !ok {
		t.Fatalf("lease %v was not begun", as.Lease)
	}
	return ctx, j
}

func TestALeaseThatNobodyRenewsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := newJobs(clock.System{})
		ctx, j := begin(t, js, assignment("r", 1))
		pass(t, 59*time.Second)
		js.renew([]uplink.Lease{{Run: "r", Epoch: 1}}, time.Now())
		pass(t, 59*time.Second)
		js.renew([]uplink.Lease{{Run: "r", Epoch: 2}, {Run: "other", Epoch: 1}}, time.Now()) // not this lease
		if ctx.Err() != nil {
			t.Fatalf("ended early: %v", context.Cause(ctx))
		}
		pass(t, 2*time.Second)
		if !errors.Is(context.Cause(ctx), errLeaseLost) {
			t.Fatalf("cause = %v, want the lost lease", context.Cause(ctx))
		}
		js.renew([]uplink.Lease{{Run: "r", Epoch: 1}}, time.Now())
		js.end(j)
		if got := js.leases(); len(got) != 0 {
			t.Errorf("leases after the end: %v", got)
		}
	})
}

// A list of assignments that was on its way when a run ended does not begin it again.
func TestARunWhoseEndIsTakenIsNotBegunAgain(t *testing.T) {
	js := newJobs(clock.System{})
	logger := slog.New(slog.DiscardHandler)
	for _, taken := range []bool{false, true} {
		_, j := begin(t, js, assignment("r", 1))
		j.taken = taken
		js.end(j)
	}
	if _, _, ok := js.begin(context.Background(), assignment("r", 1), logger); ok {
		t.Error("it is begun again")
	}
	_, j := begin(t, js, assignment("r", 2)) // given out anew: its end was not taken after all
	js.end(j)
}

// Neither by a renewal that comes when the lease is over can it be had back, nor
// does one that counts from before make it longer.
func TestALeaseIsJudgedByTheClock(t *testing.T) {
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	c := clock.NewManual(noon)
	js := newJobs(c)
	ctx, j := begin(t, js, assignment("r", 1))
	defer js.end(j)
	lease := []uplink.Lease{{Run: "r", Epoch: 1}}
	c.Advance(50 * time.Second)
	js.renew(lease, noon.Add(40*time.Second))
	c.Advance(49 * time.Second)
	if err := j.lasts(); err != nil || ctx.Err() != nil {
		t.Fatalf("it is over at 99 s: %v", err)
	}
	c.Advance(2 * time.Second)
	js.renew(lease, c.Now().Add(-10*time.Second))
	if err := j.lasts(); !errors.Is(err, errLeaseLost) || !errors.Is(context.Cause(ctx), errLeaseLost) {
		t.Errorf("it lasts at 101 s: %v, %v", err, context.Cause(ctx))
	}
}

func TestARunIsInHandOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := newJobs(clock.System{})
		old, j1 := begin(t, js, assignment("r", 3))
		for _, epoch := range []uint64{3, 2} {
			if _, _, ok := js.begin(context.Background(), assignment("r", epoch), slog.New(slog.DiscardHandler)); ok {
				t.Errorf("epoch %d was begun beside epoch 3", epoch)
			}
		}
		now, j2 := begin(t, js, assignment("r", 4))
		if !errors.Is(context.Cause(old), errSuperseded) {
			t.Errorf("the older epoch goes on: %v", context.Cause(old))
		}
		js.end(j1) // the late end of the old one must not forget the new one
		if got := js.leases(); len(got) != 1 || got[0].Epoch != 4 {
			t.Errorf("leases = %v, want epoch 4", got)
		}
		js.cancel(uplink.Lease{Run: "r", Epoch: 3})
		if now.Err() != nil {
			t.Error("a cancel for another epoch stopped the run")
		}
		js.cancel(uplink.Lease{Run: "r", Epoch: 4})
		if !errors.Is(context.Cause(now), errCancelled) {
			t.Errorf("cause = %v, want cancelled", context.Cause(now))
		}
		js.end(j2)
		js.wait()
	})
}

func TestACompleteUpdateTakesTheRestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := newJobs(clock.System{})
		kept, j1 := begin(t, js, assignment("kept", 1))
		gone, j2 := begin(t, js, assignment("gone", 1))
		js.keepOnly([]uplink.Assignment{assignment("kept", 1), assignment("gone", 2)})
		if kept.Err() != nil {
			t.Error("an assignment that was confirmed was stopped")
		}
		if !errors.Is(context.Cause(gone), errLeaseLost) {
			t.Errorf("cause = %v, want the lost lease", context.Cause(gone))
		}
		js.end(j1)
		js.end(j2)
	})
}

func TestTheLogOfARunIsBoundedAndToldOnce(t *testing.T) {
	l := newJobLog(slog.DiscardHandler)
	log := slog.New(l).With("run", "r1")
	log.Debug("not kept")
	for i := range keptLines + 20 {
		log.Info("line", "n", i)
	}
	if n := len(l.lines()); n != keptLines {
		t.Errorf("%d lines kept, want %d", n, keptLines)
	}
	if n := len(l.news()); n != keptLines {
		t.Errorf("%d fresh lines, want %d", n, keptLines)
	}
	if n := len(l.news()); n != 0 {
		t.Errorf("%d lines were told twice", n)
	}
	log.Warn("later", "error", errors.New("x"))
	got := l.news()
	if len(got) != 1 || got[0].Message != "later run=r1 error=x" || got[0].Level != "warn" {
		t.Errorf("news = %+v", got)
	}
	log.Info(string(make([]byte, 10*keptLineLen)))
	if got := l.news()[0].Message; len(got) > keptLineLen+10 {
		t.Errorf("a line of %d bytes was kept", len(got))
	}
}

func TestProgressThatWasNotHeardIsToldAgain(t *testing.T) {
	js := newJobs(clock.System{})
	_, j := begin(t, js, assignment("r", 1))
	defer js.end(j)
	slog.New(j.log).Info("first")
	j.Phase("dumping")
	backupReporter{j}.Watch(func() (int64, int64) { return 7, 3 })
	lost := js.progress()
	if len(lost) != 1 || lost[0].Phase != "dumping" || lost[0].BytesDone != 7 || lost[0].BytesSent != 3 {
		t.Fatalf("progress = %+v", lost)
	}
	js.unsaid(lost)
	slog.New(j.log).Info("second")
	again := js.progress()[0].Logs
	if len(again) != 2 || again[0].Message != "first" || again[1].Message != "second" {
		t.Errorf("lines told again: %+v", again)
	}
}

func TestAHeartbeatHasAThirdOfTheShortestLease(t *testing.T) {
	js := newJobs(clock.System{})
	if got := js.patience(); got != 10*time.Second {
		t.Errorf("without a lease: %v", got)
	}
	for _, tc := range []struct{ lease, want time.Duration }{{time.Minute, 10 * time.Second}, {12 * time.Second, 4 * time.Second}, {time.Hour, 4 * time.Second}} {
		as := assignment("r"+tc.lease.String(), 1)
		as.Duration = tc.lease
		_, j := begin(t, js, as)
		defer js.end(j)
		if got := js.patience(); got != tc.want {
			t.Errorf("with a lease of %v: %v, want %v", tc.lease, got, tc.want)
		}
	}
}
