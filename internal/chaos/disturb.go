package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/clocks"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/clock"
)

// lossOf is how many of the packets get lost.
const lossOf = 0.2

// disturb disturbs the network for as long as the fault says.
func (r *Rig) disturb(ctx context.Context, s *strike) error {
	leader := s.leader.name
	victim, err := leader, error(nil)
	switch s.Kind {
	case plan.Isolate:
		err = r.net.Part(ctx, []string{leader}, r.net.Others(leader))
	case plan.CutIn:
		for _, other := range r.net.Others(leader) {
			err = errors.Join(err, r.net.Cut(ctx, other, leader))
		}
	case plan.CutOut:
		for _, other := range r.net.Others(leader) {
			err = errors.Join(err, r.net.Cut(ctx, leader, other))
		}
	case plan.PartPair:
		victim = s.follower(r).name
		err = r.net.Part(ctx, []string{leader}, []string{victim})
	case plan.PartAgent:
		victim = s.agent.name
		err = r.net.Part(ctx, []string{victim}, controllerNames)
	case plan.Loss:
		err = r.net.Lose(ctx, leader, lossOf)
	case plan.Delay:
		err = r.delayAll(ctx, time.Duration(20+s.dice(130))*time.Millisecond)
	}
	if err != nil {
		return err
	}
	s.at = r.clock.Now()
	r.struck(s, victim)
	s.out.Leader = victim == leader
	switch s.Kind {
	case plan.Isolate, plan.CutIn, plan.CutOut:
		// Nobody of the outside reaches it. What is asked of the others has to be
		// decided by a leader among them.
		s.leader.leave(true)
		p := r.probe(ctx, r.othersThan(s.leader))
		defer p.end()
		if took := p.after(ctx, s.at, s.Lasts); took > 0 {
			s.out.NextCommit = took.Seconds()
		} else {
			s.out.Note("nothing was committed while it lasted")
		}
	}
	_ = clock.Sleep(ctx, s.Lasts-r.clock.Now().Sub(s.at)) // a shorter one does no harm
	return nil
}

// delayAll makes all ways to controllers slow.
func (r *Rig) delayAll(ctx context.Context, by time.Duration) error {
	for _, to := range controllerNames {
		for _, from := range append(append([]string{}, controllerNames...), agentNames...) {
			if from == to {
				continue
			}
			if err := r.net.Delay(ctx, from, to, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// spoilDisk spoils the disk of a controller for as long as the fault says.
func (r *Rig) spoilDisk(ctx context.Context, s *strike) error {
	victim := s.leader
	if s.Kind == plan.DiskFail {
		victim = s.follower(r)
	}
	var err error
	switch s.Kind {
	case plan.DiskFull:
		err = victim.disk.Fill()
	case plan.DiskHang:
		err = victim.disk.Freeze(ctx)
	default:
		err = victim.disk.Fail(ctx)
	}
	if err != nil {
		return err
	}
	s.at = r.clock.Now()
	r.struck(s, victim.name)
	s.out.Leader = victim == s.leader
	victim.leave(true)
	if s.out.Leader {
		p := r.probe(ctx, r.othersThan(victim))
		defer p.end()
		if took := p.after(ctx, s.at, s.Lasts); took > 0 {
			s.out.NextCommit = took.Seconds()
		} else {
			s.out.Note("nothing was committed while it lasted")
		}
	}
	_ = clock.Sleep(ctx, s.Lasts-r.clock.Now().Sub(s.at)) // a shorter one does no harm
	if n := len(victim.proc.Unasked()); n > 0 {
		s.out.Note("%s has ended by itself %d times so far: %v", victim.name, n, victim.proc.Unasked()[n-1])
	}
	if s.Kind == plan.DiskFail || s.Kind == plan.FailLeader {
		victim.kill() // or its disk could not be repaired
		if err := victim.disk.Repair(ctx); err != nil {
			return err
		}
	}
	return nil // undo drains, thaws and starts
}

// stepClock steps the clock of a process by an hour, and back.
func (r *Rig) stepClock(ctx context.Context, s *strike) error {
	victim, c := s.leader.name, s.leader.clock
	switch s.Kind {
	case plan.ClockFollow:
		f := s.follower(r)
		victim, c = f.name, f.clock
	case plan.ClockAgent:
		victim, c = s.agent.name, s.agent.clock
	}
	if c == nil {
		return fmt.Errorf("the clock of %s cannot be stepped: the rig was started without -clocks", victim)
	}
	step := time.Hour
	if s.Dice%2 == 0 {
		step = -step
	}
	if err := c.Set(step); err != nil {
		return err
	}
	s.at = r.clock.Now()
	r.struck(s, victim)
	s.out.Note("stepped by %s", step)
	_ = clock.Sleep(ctx, s.Lasts) // a shorter one does no harm
	return c.Set(0)
}

// set sets a clock that there may not be.
func set(c *clocks.Clock, ahead time.Duration) error {
	if c == nil {
		return nil
	}
	return c.Set(ahead)
}
