package dispatch

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// followLeases makes the memory of leases match the state: a lease that is not
// known here, as after a restart, is armed for its full duration from now.
func (d *Dispatcher) followLeases() {
	now := d.Clock.Now()
	leased := map[string]bool{}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.Node.View().LeasedRuns() {
		leased[r.GetId()] = true
		if l := d.leases[r.GetId()]; l == nil || l.epoch != r.GetEpoch() {
			d.leases[r.GetId()] = &lease{
				agent: r.GetAgent(), epoch: r.GetEpoch(), until: now.Add(d.LeaseDuration), recorded: r.GetLeaseExpiresAt().AsTime(),
			}
		}
	}
	for id := range d.leases {
		if !leased[id] {
			delete(d.leases, id)
			delete(d.live, id)
		}
	}
}

// endLeases takes back the runs whose leases have run out.
func (d *Dispatcher) endLeases(ctx context.Context) {
	now := d.Clock.Now()
	d.mu.Lock()
	ended := map[string]uint64{}
	for id, l := range d.leases {
		if l.until.Before(now) {
			ended[id] = l.epoch
			d.endIfSilent(l.agent, now)
		}
	}
	d.mu.Unlock()
	for id, epoch := range ended {
		r, err := state.HeldRun(d.Node.View(), &pb.Lease{Run: id, Epoch: epoch})
		if err != nil {
			continue
		}
		d.Logger.Warn("the agent stopped renewing its lease", "run", id, "source", r.GetSource(), "agent", r.GetAgent(), "epoch", epoch)
		if err := d.release(ctx, r, "the agent stopped answering"); err != nil {
			d.Logger.Warn("lease not taken back yet", "run", id, "error", err)
		}
	}
}

// endIfSilent ends the session of an agent that has said nothing for a whole lease,
// though its connection may stand: its host hangs, or it was stopped. Its runs
// wait until it opens another, instead of being leased to nobody until they
// have failed. d.mu is held.
func (d *Dispatcher) endIfSilent(id string, now time.Time) {
	if a := d.agents[id]; a != nil && a.session != nil && now.Sub(a.lastSeen) > d.LeaseDuration {
		a.endSession(problem.New(problem.Unavailable, "the agent %s has said nothing for %s", id, now.Sub(a.lastSeen).Round(time.Second)))
		d.Logger.Warn("the agent's session was ended: it says nothing", "agent", id, "since", a.lastSeen)
	}
}

// release takes a run back from its agent: to be tried again, or failed for
// good when it has been tried often enough.
func (d *Dispatcher) release(ctx context.Context, r *pb.Run, why string) error {
	c := &pb.ReleaseLease{Run: r.GetId(), Epoch: r.GetEpoch()}
	switch {
	case r.GetKind() == pb.RunKind_RUN_KIND_RESTORE:
		c.Failure = &pb.Failure{
			Code: string(problem.Failed), Reason: string(ReasonAgentLost), Source: r.GetSource(),
			Message: "the agent " + r.GetAgent() + " was lost during the restore: " + why,
			Hint:    "The target may hold part of the data. Look at it, then restore again with overwriting allowed.",
		}
		if r.GetRestore().GetNewContainer() != "" {
			c.Failure.Hint = "What there is of the new container is removed when the agent is back. If it has its name already, all is in it; else restore again."
		}
	case r.GetEpoch() >= MaxAttempts+uint64(max(r.GetFailedAttempts(), 0)):
		c.Failure = &pb.Failure{
			Code: string(problem.Failed), Reason: string(ReasonAgentLost), Source: r.GetSource(),
			Message: "the agent " + r.GetAgent() + " was lost in each of the attempts: " + why,
			Hint:    "See the agent's log, and whether its host has enough memory.",
		}
	}
	err := d.propose(ctx, &pb.Command{Command: &pb.Command_ReleaseLease{ReleaseLease: c}})
	if problem.ReasonOf(err) == state.ReasonStaleEpoch || problem.ReasonOf(err) == state.ReasonRunEnded {
		return nil // it is not leased so any more, which is what was wanted
	}
	return err
}

// recordLeases writes renewals into the state, all in one command and no more
// often than needed: the state's times are for people, and the leader's memory
// decides.
func (d *Dispatcher) recordLeases(ctx context.Context) {
	now := d.Clock.Now()
	c := &pb.RenewLeases{}
	d.mu.Lock()
	for id, l := range d.leases {
		if l.recorded.Before(now.Add(d.LeaseDuration/3)) && l.until.After(l.recorded.Add(time.Second)) {
			c.Renewals = append(c.Renewals, &pb.LeaseRenewal{Run: id, Epoch: l.epoch, ExpiresAt: timestamppb.New(l.until)})
			l.recorded = l.until
		}
	}
	d.mu.Unlock()
	if len(c.Renewals) == 0 {
		return
	}
	if err := d.propose(ctx, &pb.Command{Command: &pb.Command_RenewLeases{RenewLeases: c}}); err != nil {
		d.Logger.Debug("renewals not recorded", "error", err)
	}
}

// renew lengthens the agent's lease from now, and says whether it is still his.
func (d *Dispatcher) renew(agent string, l *pb.Lease) bool {
	r, err := state.HeldRun(d.Node.View(), l)
	if err != nil || r.GetAgent() != agent {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.leases[r.GetId()]; known != nil && known.epoch == r.GetEpoch() {
		known.until = d.Clock.Now().Add(d.LeaseDuration)
	}
	return true // one that is not in memory yet is armed in full by the next step
}
