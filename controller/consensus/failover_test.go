package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A tally is a number in the state that is moved on by compare-and-set: a step
// that is carried out twice is refused the second time, and shows.
type tally string

func (s tally) at(n int) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: int64(n)} }

func (s tally) begin() *pb.Command {
	return &pb.Command{Command: &pb.Command_SetSchedule{SetSchedule: &pb.SetSchedule{
		Schedule: &pb.Schedule{Id: string(s), Cron: "x", NextFireAt: s.at(0)},
	}}}
}

func (s tally) step(from int) *pb.Command {
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Schedule: string(s), DueAt: s.at(from), NextFireAt: s.at(from + 1)}}}
}

func (s tally) read(n *Node) int {
	kept, _ := n.View().Schedule(string(s))
	return int(kept.GetNextFireAt().GetSeconds())
}

// work steps one tally through each node until stop is closed, or until that node
// has ended, and says how far they came.
func (c *rig) work(stop <-chan struct{}) (count func() map[tally]int) {
	var workers sync.WaitGroup
	var mu sync.Mutex
	done := map[tally]int{}
	for id, n := range c.running() {
		s := tally("tally-" + id)
		c.must(c.leader().Propose(c.t.Context(), s.begin()))
		workers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := n.Propose(context.Background(), s.step(i))
				if c.node(id) != n {
					return // it was killed; nobody hears its answer
				}
				if err != nil {
					c.t.Errorf("step %d at %s: %v", i, id, err)
					return
				}
				if got := s.read(n); got != i+1 {
					c.t.Errorf("%s reads %d after it has stepped to %d", id, got, i+1)
				}
				mu.Lock()
				done[s] = i + 1
				mu.Unlock()
				_ = clock.Sleep(context.Background(), 20*time.Millisecond) // else virtual time would stand still
			}
		})
	}
	return func() map[tally]int {
		workers.Wait()
		return done
	}
}

func TestNothingAcknowledgedIsLostWhenLeadersDie(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		stop := make(chan struct{})
		count := c.work(stop)
		var killed []tally
		for range 3 {
			c.must(clock.Sleep(t.Context(), time.Second))
			old := c.leader()
			began := time.Now()
			c.kill(old.id)
			killed = append(killed, tally("tally-"+old.id))
			next := c.leader()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s leads after %s", next.id, took)
			}
			c.open(old.id)
		}
		c.must(clock.Sleep(t.Context(), time.Second))
		close(stop)
		for s, want := range count() {
			got := s.read(c.leader())
			if got < want || got > want+1 { // the one that was under way when its node was killed
				t.Errorf("%s is %d, and %d were acknowledged", s, got, want)
			}
			if got != want && !contains(killed, s) {
				t.Errorf("%s is %d, and only %d were acknowledged", s, got, want)
			}
			t.Logf("%s: %d", s, want)
		}
		c.agree()
	})
}

func contains(list []tally, s tally) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

func TestEachCommandIsAppliedOnceWhileLeadershipGoesRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		stop := make(chan struct{})
		count := c.work(stop)
		for range 10 {
			c.must(clock.Sleep(t.Context(), 200*time.Millisecond))
			l := c.leader()
			c.await("somebody is fit to lead", func() bool { return l.furthest(0) != "" })
			if err := l.TransferLeadership(t.Context(), ""); err != nil {
				t.Logf("not handed over: %v", err) // a follower fell behind just then
			}
		}
		close(stop)
		for s, want := range count() {
			if got := s.read(c.leader()); got != want {
				t.Errorf("%s is %d, and %d were acknowledged", s, got, want)
			}
		}
		c.agree()
	})
}

func TestACommandWhoseAnswerIsLostIsAppliedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		follower := c.follower()
		send := follower.Forward
		sent := 0
		follower.Forward = func(ctx context.Context, leader string, command []byte) (uint64, error) {
			sent++
			index, err := send(ctx, leader, command)
			switch sent {
			case 1:
				return 0, errors.New("the wire broke")
			case 2:
				return 0, problem.New(problem.Unavailable, "the wire broke again")
			}
			return index, err
		}
		s := tally("t")
		c.must(c.leader().Propose(t.Context(), s.begin()))
		c.must(follower.Propose(t.Context(), s.step(0)))
		if sent != 3 || s.read(follower) != 1 {
			t.Errorf("sent %d times, the tally is %d", sent, s.read(follower))
		}
		// The state's own answer comes back as it is, and is not asked for again.
		err := follower.Propose(t.Context(), s.step(7))
		if problem.ReasonOf(err) != state.ReasonNotDue || sent != 4 {
			t.Errorf("sent %d times: %v", sent, err)
		}
	})
}

func TestAMinorityDecidesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		old := c.leader()
		c.lan.isolate(old.id)
		soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := old.Propose(soon, store("lost")); problem.CodeOf(err) != problem.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in the minority: %v", err)
		}
		if old.IsLeader() || old.Health() == nil {
			t.Error("it still thinks that it leads")
		}
		if err := old.ProposeAsLeader(t.Context(), store("lost-too")); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("as a leader: %v", err)
		}
		never, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := old.Propose(never, store("never")); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("without a leader nothing was done: %v", err)
		}
		c.must(c.leader().Propose(t.Context(), store("kept")))
		c.lan.heal()
		c.agree()
		if !has(old, "kept") || has(old, "lost") || has(old, "never") {
			t.Errorf("it has %v", old.View().Stores())
		}
		if c.leader() == old {
			t.Error("it took leadership back")
		}
	})
}

// flaky is a log whose writes can be made to fail.
type flaky struct {
	raft.LogStore
	mu      sync.Mutex
	failing int // so many more times
}

func (f *flaky) fail(times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = times
}

func (f *flaky) StoreLogs(entries []*raft.Log) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing > 0 {
		f.failing--
		return errors.New("no space left on device")
	}
	return f.LogStore.StoreLogs(entries)
}

func TestAFollowerWhoseLogFailsForAWhileCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		logs := map[string]*flaky{}
		c.open("c1", bootstrap)
		for _, id := range []string{"c2", "c3"} {
			c.join(id, func(o *Options) {
				o.wrapLog = func(s raft.LogStore) raft.LogStore { logs[id] = &flaky{LogStore: s}; return logs[id] }
			})
		}
		c.await("three voters", func() bool { return len(c.voters()) == 3 })
		for round := range 20 {
			log := logs[[]string{"c2", "c3"}[round%2]]
			log.fail(1 + round%4)
			var proposers sync.WaitGroup
			for i := range 16 { // at once, so that a leader would have several appends under way
				proposers.Go(func() {
					if err := c.leader().Propose(t.Context(), store(fmt.Sprintf("r%d-%d", round, i))); err != nil {
						t.Error(err)
					}
				})
			}
			proposers.Wait()
			c.agree()
		}
	})
}

func TestALeaderWhoseLogFailsGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		var log *flaky
		c.open("c1", bootstrap, func(o *Options) {
			o.wrapLog = func(s raft.LogStore) raft.LogStore { log = &flaky{LogStore: s}; return log }
		})
		c.join("c2")
		c.join("c3")
		c.await("three voters", func() bool { return len(c.voters()) == 3 })
		s := tally("t")
		c.must(c.leader().Propose(t.Context(), s.begin()))
		log.fail(1_000_000)
		c.must(c.node("c1").Propose(t.Context(), s.step(0)))
		if c.leader().id == "c1" {
			t.Error("a controller that cannot write leads")
		}
		log.fail(0)
		c.agree()
	})
}
