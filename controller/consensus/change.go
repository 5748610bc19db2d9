package consensus

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
)

// changeLimit is how long a change of the members waits for its turn at the leader.
const changeLimit = 10 * time.Second

// Join takes a member into the cluster, at the leader: without a vote at first,
// until it is known to be well. It is called before the member's node is opened.
// cluster is the one whose state the member has (Kept.StateOf), empty when it has
// no state. Joining again changes nothing but the address.
//
// A member that has a vote and comes back without state has forgotten what it
// voted for and what it acknowledged. Its vote is taken away before it is let in
// again, else it could help to elect a leader that lacks what was acknowledged.
func (n *Node) Join(ctx context.Context, id, address, cluster string) error {
	if err := errors.Join(checkID(id), checkAddress(address)); err != nil {
		return err
	}
	if mine := n.View().Cluster(); cluster != "" && cluster != mine {
		return problem.New(problem.Conflict, "controller %s has the state of cluster %s, and this is cluster %s", id, cluster, mine).
			WithReason(state.ReasonOtherClust).WithHint("Let it join with an empty data folder.")
	}
	if n.Network == nil {
		return problem.New(problem.Conflict, "this controller was started without a network").
			WithHint("Start it with an address at which others reach it.")
	}
	return n.change(ctx, func() raft.IndexFuture {
		servers := n.servers()
		for _, s := range servers {
			if string(s.Address) == address && string(s.ID) != id {
				return settled{problem.New(problem.Conflict, "the address %s is controller %s's", address, s.ID).WithReason(ReasonTaken).
					WithHint("Give %s an address of its own, or remove %s from the cluster first.", id, s.ID)}
			}
		}
		known := serverOf(servers, id)
		switch {
		case known != nil && id == n.id && (cluster == "" || address != n.Advertise):
			return settled{problem.New(problem.Conflict, "the name %s is the leader's", id).WithReason(ReasonTaken).
				WithHint("Give the controller a name of its own.")}
		case known != nil && cluster == "" && n.ails(n.followers.get(known.ID)) == "":
			return settled{problem.New(problem.Unavailable, "there is a controller %s already, and it answers", id).WithReason(ReasonTaken).
				WithHint("If that is another one, give this one a name of its own.")}
		case known != nil && known.Suffrage == raft.Voter && cluster == "":
			if err := n.mayLose(servers, id); err != nil {
				return settled{err}
			}
			removed := n.raft.RemoveServer(raft.ServerID(id), 0, changeLimit)
			if err := removed.Error(); err != nil {
				return removed
			}
			n.followers.forget(raft.ServerID(id))
		case known != nil:
			return n.readdress(id, raft.ServerAddress(address))
		}
		n.Logger.Info("a controller joins", "node", id, "address", address)
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, changeLimit)
	})
}

// Remove takes a member out of the cluster for good, at the leader. A leader that
// removes itself ends, and another takes over at once.
func (n *Node) Remove(ctx context.Context, id string) error {
	var removed raft.IndexFuture
	err := n.change(ctx, func() raft.IndexFuture {
		servers := n.servers()
		if serverOf(servers, id) == nil {
			return settled{noMember(id)}
		}
		if err := n.mayLose(servers, id); err != nil {
			return settled{err}
		}
		n.Logger.Info("a controller is removed", "node", id)
		removed = n.raft.RemoveServer(raft.ServerID(id), 0, changeLimit)
		return removed
	})
	if err != nil {
		return err
	}
	n.followers.forget(raft.ServerID(id))
	if id != n.id {
		return nil
	}
	// Raft cannot hand over before: who leads next would not know of the removal.
	// Now the removal is committed, and one that has it need not wait for silence.
	if successor := n.furthest(removed.Index()); successor != "" {
		n.standForElection(successor)
	}
	return nil
}

// standForElection asks a member to do so at once. Without it there is a leader
// too, a little later.
func (n *Node) standForElection(id string) {
	address, err := n.book.ServerAddr(raft.ServerID(id))
	if err == nil {
		err = n.transport.TimeoutNow(raft.ServerID(id), address, &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.id), Addr: []byte(n.Advertise),
		}}, &raft.TimeoutNowResponse{})
	}
	if err != nil {
		n.Logger.Warn("the next leader was not told", "node", id, "error", err)
	}
}

// mayLose refuses a removal after which the others could not decide anything.
func (n *Node) mayLose(servers []raft.Server, id string) error {
	if s := serverOf(servers, id); s.Suffrage != raft.Voter {
		return nil
	}
	voters, well := 0, 0
	for _, m := range n.Membership() {
		if m.ID != id && m.Voter {
			voters++
			if m.Healthy {
				well++
			}
		}
	}
	switch {
	case voters == 0:
		return problem.New(problem.Conflict, "controller %s is the only one with a vote", id).WithReason(ReasonQuorum).
			WithHint("Let others join, and wait until they have a vote.")
	case well < voters/2+1:
		return problem.New(problem.Conflict, "without controller %s only %d of %d others would be well, too few to decide anything", id, well, voters).
			WithReason(ReasonQuorum).WithHint("Bring the others back, or remove those first that do not come back.")
	}
	return nil
}

// TransferLeadership makes another member lead: the one named, or whichever is
// furthest. It returns once another leads.
func (n *Node) TransferLeadership(ctx context.Context, id string) error {
	if !n.IsLeader() {
		return noLeader()
	}
	if id == n.id {
		return nil
	}
	if id == "" {
		if id = n.furthest(0); id == "" {
			return problem.New(problem.Unavailable, "no other controller is fit to lead")
		}
	}
	if err := n.fit(id); err != nil {
		return err
	}
	address, err := n.book.ServerAddr(raft.ServerID(id))
	if err != nil {
		return noMember(id)
	}
	if err := wait(ctx, n.raft.LeadershipTransferToServer(raft.ServerID(id), address)); err != nil {
		return problem.Wrap(problem.Unavailable, err, "hand leadership over to controller %s", id)
	}
	for {
		changed := n.LeaderChanged()
		switch now := n.LeaderID(); {
		case now == n.id || n.raft.State() == raft.Leader:
			return problem.New(problem.Unavailable, "controller %s did not take over", id)
		case now != "":
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return problem.Wrap(problem.Unavailable, ctx.Err(), "wait until controller %s leads", id)
		}
	}
}

// fit says why a member cannot lead.
func (n *Node) fit(id string) error {
	for _, m := range n.Membership() {
		switch {
		case m.ID != id:
			continue
		case !m.Voter:
			return problem.New(problem.Conflict, "controller %s has no vote yet: it %s", id, m.Detail)
		case !m.Healthy:
			return problem.New(problem.Unavailable, "controller %s %s", id, m.Detail)
		}
		return nil
	}
	return noMember(id)
}

// furthest is the other voter that is well and has the most of the log, at least
// as far as index; empty when there is none.
func (n *Node) furthest(index uint64) string {
	id := ""
	for _, s := range n.servers() {
		f := n.followers.get(s.ID)
		if string(s.ID) != n.id && s.Suffrage == raft.Voter && n.ails(f) == "" && f.index >= index {
			id, index = string(s.ID), f.index
		}
	}
	return id
}

// change carries out one change of the members and waits until it is committed.
// Changes exclude each other, so that what one looked at before it decided is
// still so when Raft takes it. start returns nil when there is nothing to do.
func (n *Node) change(ctx context.Context, start func() raft.IndexFuture) error {
	select {
	case n.changing <- struct{}{}:
	case <-ctx.Done():
		return problem.Wrap(problem.Unavailable, ctx.Err(), "wait for another change of the members")
	}
	if !n.IsLeader() {
		<-n.changing
		return noLeader()
	}
	done := make(chan error, 1)
	go func() { // goes on when ctx ends: Raft has it by then
		defer func() { <-n.changing }()
		future := start()
		if future == nil {
			done <- nil
			return
		}
		done <- future.Error()
	}()
	select {
	case err := <-done:
		if _, ok := errors.AsType[*problem.Problem](err); ok || err == nil {
			return err
		}
		return problem.Wrap(problem.Unavailable, err, "change the members").WithHint("Try again in a few seconds.")
	case <-ctx.Done():
		return problem.Wrap(problem.Unavailable, ctx.Err(), "change the members, which may yet be done")
	}
}

// settled is a change of which nothing more is to come.
type settled struct{ error }

// Error implements raft.Future.
func (s settled) Error() error { return s.error }

// Index implements raft.IndexFuture.
func (settled) Index() uint64 { return 0 }

func noMember(id string) *problem.Problem {
	return problem.New(problem.NotFound, "there is no controller %.80q in the cluster", id).WithReason(ReasonNoMember)
}
