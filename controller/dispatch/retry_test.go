package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/run"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestTransient(t *testing.T) {
	for _, tc := range []struct {
		code   problem.Code
		reason problem.Reason
		want   bool
	}{
		{problem.Failed, engine.ReasonToolFailed, true},
		{problem.Failed, engine.ReasonTruncated, true},
		{problem.Unavailable, engine.ReasonNotRunning, true},
		{problem.Unavailable, "", true},
		{problem.Failed, engine.ReasonToolMissing, false},
		{problem.Denied, engine.ReasonWrongPassword, false},
		{problem.Denied, "", false},
		{problem.InvalidInput, "", false},
		{problem.Failed, run.ReasonTimeLimit, false},
	} {
		if got := transient(&pb.Failure{Code: string(tc.code), Reason: string(tc.reason)}); got != tc.want {
			t.Errorf("%s %s: %t", tc.code, tc.reason, got)
		}
	}
}

func TestPausesGrowAndDiffer(t *testing.T) {
	seen := map[time.Duration]bool{}
	for failed, least := range map[int]time.Duration{1: firstPause, 2: 2 * firstPause, 3: 4 * firstPause, 6: mostPause, 19: mostPause} {
		for _, id := range []string{"r1", "r2", "r3"} {
			got := pauseBefore(id, failed)
			if got < least || got > least*5/4 {
				t.Errorf("%s after %d: %s, want from %s on", id, failed, got, least)
			}
			if got != pauseBefore(id, failed) {
				t.Errorf("%s after %d: another each time", id, failed)
			}
			seen[got] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d pauses of 15 differ", len(seen))
	}
}

// A scheduled backup that fails is tried again after a pause, as often as its
// source or the settings say; one that was asked for by hand is not.
func TestFailedBackupsAreTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		l := n.leader(func(o *Options) { o.Attempts, o.TimeLimit = 3, time.Hour })
		often, limited := ready("often"), ready("limited")
		often.Rules = &pb.RunRules{Attempts: 5}
		limited.Rules = &pb.RunRules{Attempts: 1, TimeLimit: durationpb.New(time.Minute)}
		a := l.connect(asks("a1", "h1", 4), ready("shop"), often, limited)
		scheduled := func(source string) *pb.Run {
			r := backupOf("r-"+source, source)
			r.Trigger = "schedule"
			return r
		}
		byHand := backupOf("m", "shop")
		n.must(queueOf(scheduled("shop"), scheduled("often"), scheduled("limited")))
		synctest.Wait()
		limits := map[string]time.Duration{}
		for _, m := range a.told() {
			for _, as := range m.GetAssign() {
				limits[as.GetSource()] = as.GetTimeLimit().AsDuration()
			}
		}
		if limits["shop"] != time.Hour || limits["limited"] != time.Minute {
			t.Errorf("time limits: %v", limits)
		}
		tries := map[string]int{}
		var queued bool
		for range 200 {
			for _, lease := range a.assigned() {
				r := n.run(lease.GetRun())
				if r.GetEpoch() != lease.GetEpoch() || r.GetState() != pb.RunState_RUN_STATE_RUNNING {
					continue
				}
				tries[r.GetSource()]++
				_, err := l.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: lease, Failure: &pb.Failure{Code: "failed", Reason: string(engine.ReasonToolFailed), Message: "it broke"}})
				if err != nil {
					t.Error(err)
				}
			}
			if r := n.run("r-shop"); r.GetState() == pb.RunState_RUN_STATE_QUEUED && r.GetFailure().GetMessage() == "it broke" {
				queued = true
				if !r.GetNotBefore().AsTime().After(n.clock.Now()) && r.GetFailedAttempts() == 0 {
					t.Errorf("it waits for nothing: %v", r)
				}
			}
			l.pass(10*time.Second, func() { a.beat() })
		}
		if tries["shop"] != 3 || tries["often"] != 5 || tries["limited"] != 1 || !queued {
			t.Errorf("tried %v; seen waiting %t", tries, queued)
		}
		for _, id := range []string{"r-shop", "r-often", "r-limited"} {
			if r := n.run(id); r.GetState() != pb.RunState_RUN_STATE_FAILED || r.GetFailure().GetMessage() != "it broke" {
				t.Errorf("in the end: %v", r)
			}
		}
		n.must(queueOf(byHand))
		synctest.Wait()
		if _, err := l.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: &pb.Lease{Run: "m", Epoch: 1}, Failure: &pb.Failure{Code: "failed"}}); err != nil {
			t.Error(err)
		}
		if r := n.run("m"); r.GetState() != pb.RunState_RUN_STATE_FAILED {
			t.Errorf("by hand: %v", r)
		}
	})
}
