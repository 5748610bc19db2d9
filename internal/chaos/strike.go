package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/check"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// commitLimit bounds the wait for the next commit after a fault.
	commitLimit = time.Minute
	// ringLimit is how long a controller that took in a dump stays away, unless the
	// run ends before.
	ringLimit = 15 * time.Second
	// awayLimit bounds the wait until the run of a stopped agent is given away.
	awayLimit = 50 * time.Second
)

// do carries the fault out, to its end unless undo does that.
func (r *Rig) do(ctx context.Context, s *strike) error {
	switch s.Kind {
	case plan.KillLeader:
		return r.killController(ctx, s, s.leader)
	case plan.KillIngest:
		return r.killController(ctx, s, r.ingesting(s))
	case plan.KillAgent:
		return r.killAgent(ctx, s)
	case plan.StopAgent:
		return r.stopAgent(ctx, s)
	case plan.StopLeader:
		return r.stopLeader(ctx, s)
	case plan.HandOver, plan.TermLeader:
		return r.handOver(ctx, s)
	case plan.RestartAll, plan.ReaddrAll:
		return r.restartAll(ctx, s)
	case plan.Isolate, plan.CutIn, plan.CutOut, plan.PartPair, plan.PartAgent, plan.Loss, plan.Delay:
		return r.disturb(ctx, s)
	case plan.DiskFull, plan.DiskHang, plan.DiskFail, plan.FailLeader:
		return r.spoilDisk(ctx, s)
	case plan.ClockLeader, plan.ClockFollow, plan.ClockAgent:
		return r.stepClock(ctx, s)
	}
	return fmt.Errorf("this rig does not know the fault %s", s.Kind)
}

// undo makes sure that nothing of the fault is left, whatever has become of it.
func (r *Rig) undo(ctx context.Context, s *strike) {
	ctx = context.WithoutCancel(ctx)
	errs := []error{r.net.Heal(ctx), r.stopTwin()}
	for _, c := range r.controllers {
		errs = append(errs, c.disk.Thaw(ctx), c.disk.Drain(), set(c.clock, 0))
		if !c.proc.Running() && !c.present() {
			errs = append(errs, c.start())
		}
		_ = c.proc.Signal(syscall.SIGCONT) // one that is not there is about to be started again
		if !c.present() {
			c.leave(false)
		}
	}
	for _, a := range r.agents {
		errs = append(errs, set(a.clock, 0))
		if a.proc.Running() {
			errs = append(errs, a.proc.Signal(syscall.SIGCONT))
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.out.Blame("the fault was not undone: %v", err)
	}
}

// ingesting is the controller that takes in the run's data: the one that has
// said so, else the likeliest.
func (r *Rig) ingesting(s *strike) *controller {
	if c := r.controllerOf(s.shown.Process); c != nil && s.Phase != plan.Granted {
		return c
	}
	stored := r.journal.Since(0, func(e procs.Entry) bool { return e.Message == check.LineBegins && e.Attrs["run"] == s.run })
	if len(stored) > 0 {
		if c := r.controllerOf(stored[len(stored)-1].Process); c != nil {
			return c
		}
	}
	return s.follower(r)
}

// struck notes whether the phase was over when the fault struck.
func (r *Rig) struck(s *strike, victim string) {
	s.out.Victim = victim
	s.out.Hit = !check.Over(r.journal, s.shown, r.journal.Mark(), s.Phase)
}

// killController kills a controller, and starts it again when the others go on
// without it.
func (r *Rig) killController(ctx context.Context, s *strike, victim *controller) error {
	victim.kill()
	s.at = r.clock.Now()
	r.struck(s, victim.name)
	s.out.Leader = victim == s.leader
	if s.out.Leader {
		p := r.probe(ctx, r.othersThan(victim))
		took := p.after(ctx, s.at, commitLimit)
		p.end()
		if took == 0 {
			return fmt.Errorf("nothing was committed for %s after the leader was killed", commitLimit)
		}
		s.out.NextCommit = took.Seconds()
	}
	// It stays away: whoever sent to it is to go on with the others.
	wait, cancel := context.WithTimeout(ctx, ringLimit)
	defer cancel()
	_, err := r.journal.Next(wait, s.shown.Seq, func(e procs.Entry) bool {
		return e.Attrs["run"] == s.run && (e.Message == check.LineCommitted || e.Message == "run ended")
	})
	if err != nil && s.Phase != plan.JustAfter && r.Store == Shared {
		s.out.Note("the run had not ended %s after the kill", ringLimit)
	}
	return victim.start()
}

// killAgent kills the run's agent and starts it again, as an init system would.
func (r *Rig) killAgent(ctx context.Context, s *strike) error {
	s.agent.proc.Kill()
	s.at = r.clock.Now()
	r.struck(s, s.agent.name)
	_ = clock.Sleep(ctx, time.Duration(200+s.dice(800))*time.Millisecond) // a shorter one does no harm
	return s.agent.proc.Start()
}

// stopAgent stops the run's agent until its run was given away, or has ended,
// and has it go on as if nothing had been.
func (r *Rig) stopAgent(ctx context.Context, s *strike) error {
	var first uint64
	if _, err := fmt.Sscan(s.shown.Attrs["epoch"], &first); err != nil {
		first = 1
	}
	if err := s.agent.proc.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	s.at = r.clock.Now()
	r.struck(s, s.agent.name)
	run, err := r.givenAway(ctx, s.run, s.agent.name)
	if err != nil {
		s.out.Note("the run was not given to another agent within %s", awayLimit)
	} else {
		s.out.Note("%s under epoch %d by %s after %.1f s", stateOf(run), run.GetEpoch(), run.GetAgent(), r.clock.Now().Sub(s.at).Seconds())
	}
	mark := r.journal.Mark()
	if err := s.agent.proc.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if s.out.Stale = run.GetEpoch() > first || run.GetState() == pb.RunState_RUN_STATE_FAILED; !s.out.Stale {
		return nil
	}
	r.awaitRun(ctx, s)
	for _, e := range r.journal.Since(mark, func(e procs.Entry) bool {
		return e.Message == check.LineCommitted && e.Attrs["run"] == s.run && e.Attrs["epoch"] == fmt.Sprint(first)
	}) {
		s.out.Blame("stale: %s", e)
	}
	return nil
}

// givenAway waits until another agent than the one named has a run, or until it
// has ended, and returns it as it is then.
func (r *Rig) givenAway(ctx context.Context, id, agent string) (run *pb.Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, awayLimit)
	defer cancel()
	for {
		err := r.ask(ctx, func(ctx context.Context, a apis) error {
			resp, err := a.admin.GetRun(ctx, &pb.GetRunRequest{Id: id})
			if err == nil {
				run = resp.GetRun()
			}
			return err
		})
		if err == nil && (ended(run) || run.GetAgent() != "" && run.GetAgent() != agent) {
			return run, nil
		}
		if err := clock.Sleep(ctx, askPause); err != nil {
			return run, err
		}
	}
}

// stopLeader stops the leader until another one leads, and has it go on.
func (r *Rig) stopLeader(ctx context.Context, s *strike) error {
	s.leader.leave(true)
	if err := s.leader.proc.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	s.at = r.clock.Now()
	r.struck(s, s.leader.name)
	s.out.Leader = true
	p := r.probe(ctx, r.othersThan(s.leader))
	took := p.after(ctx, s.at, commitLimit)
	p.end()
	s.out.NextCommit = took.Seconds()
	_ = clock.Sleep(ctx, time.Duration(s.dice(4000))*time.Millisecond) // a shorter one does no harm
	if took == 0 {
		return fmt.Errorf("nothing was committed for %s after the leader was stopped", commitLimit)
	}
	return nil // undo has it go on
}

// handOver has the leader give leadership away: because it is asked to, or
// because it ends.
func (r *Rig) handOver(ctx context.Context, s *strike) error {
	s.out.Leader = true
	p := r.probe(ctx, r.othersThan(s.leader))
	defer p.end()
	p.after(ctx, s.at, commitLimit) // it is under way
	s.at = r.clock.Now()
	r.struck(s, s.leader.name)
	if s.Kind == plan.TermLeader {
		if err := s.leader.terminate(ctx); err != nil {
			return err
		}
	} else {
		err := r.askOne(ctx, s.leader, func(ctx context.Context, a apis) error {
			_, err := a.cluster.TransferLeadership(ctx, &pb.TransferLeadershipRequest{})
			return err
		})
		if err != nil {
			return err
		}
	}
	if p.after(ctx, r.clock.Now(), commitLimit) == 0 {
		return fmt.Errorf("nothing was committed for %s after leadership was given away", commitLimit)
	}
	_ = clock.Sleep(ctx, 500*time.Millisecond) // what comes late counts
	s.out.Gap = longestGap(p.end(), s.at).Seconds()
	return nil // undo starts one that has ended
}

// restartAll kills all controllers at once and starts them, with other addresses
// when the fault says so.
func (r *Rig) restartAll(ctx context.Context, s *strike) error {
	for _, c := range r.controllers {
		c.leave(true)
	}
	done := make(chan struct{})
	for _, c := range r.controllers {
		go func() { c.kill(); done <- struct{}{} }()
	}
	for range r.controllers {
		<-done
	}
	s.at = r.clock.Now()
	r.struck(s, "all")
	if s.Kind == plan.ReaddrAll {
		if err := r.net.Readdress(ctx, controllerNames...); err != nil {
			return err
		}
	}
	began := r.clock.Now()
	for _, c := range r.controllers {
		if err := c.start(); err != nil {
			return err
		}
	}
	if _, err := r.leader(ctx); err != nil {
		return fmt.Errorf("wait for a leader: %w", err)
	}
	s.out.Elected = r.clock.Now().Sub(began).Seconds()
	return nil
}
