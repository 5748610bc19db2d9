package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	barrierTimeout = 10 * time.Second
	retryPause     = 100 * time.Millisecond
)

// IsLeader says whether this node leads and has caught up with all that was
// committed before.
func (n *Node) IsLeader() bool { return n.leader.Load() }

// LeaderID is the member that leads as far as this node knows; empty when it
// knows of none. One that has just been elected may not have caught up yet: it
// answers ReasonNoLeader until it has.
func (n *Node) LeaderID() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// LeaderAddress is where the leader is reached; empty when none is known, and
// when there is no network.
func (n *Node) LeaderAddress() string {
	_, address := n.whoLeads()
	return address
}

func (n *Node) whoLeads() (id, address string) {
	at, leader := n.raft.LeaderWithID()
	switch {
	case n.Network == nil:
		return string(leader), ""
	case string(leader) == n.id:
		return n.id, n.Advertise
	}
	return string(leader), string(at)
}

// LeaderChanged returns a channel that is closed when IsLeader, LeaderID or
// LeaderAddress may have changed. To miss nothing, take it before asking.
func (n *Node) LeaderChanged() <-chan struct{} { return n.news.next() }

// Leadership tells of changes of IsLeader: the newest one, older ones are
// dropped. It is for one reader; LeaderChanged is for any number.
func (n *Node) Leadership() <-chan bool { return n.leadership }

// Health says why nothing can be decided now; nil when all is well.
func (n *Node) Health() error {
	servers := n.servers()
	switch {
	case n.fsm.stopped():
		return problem.New(problem.Unavailable, "the log holds a command of a newer version").WithReason(ReasonHalted).
			WithHint("Start the newer version of Baktainer again.")
	case len(servers) == 0:
		return problem.New(problem.Unavailable, "this controller has not heard from the cluster yet").WithReason(ReasonNotMember).
			WithHint("Check that the others can reach it, and that its data folder still has its log.")
	case serverOf(servers, n.id) == nil:
		return problem.New(problem.Unavailable, "this controller was removed from the cluster").WithReason(ReasonNotMember).
			WithHint("Stop it, or let it join again.")
	case !n.leader.Load() && (n.LeaderID() == "" || n.LeaderID() == n.id):
		return noLeader()
	}
	return nil
}

func noLeader() *problem.Problem {
	return problem.New(problem.Unavailable, "there is no leader at present").WithReason(ReasonNoLeader).
		WithHint("Try again in a few seconds.")
}

// watch starts what follows Raft for as long as the node runs.
func (n *Node) watch(notify <-chan bool) {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	// The filter alone does it: nothing is ever sent to the observer's channel.
	n.raft.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if _, ok := o.Data.(raft.LeaderObservation); ok {
			n.news.tell()
		}
		return false
	}))
	n.watching.Go(func() { n.watchLeadership(ctx, notify) })
	n.watching.Go(func() { n.watchCluster(ctx) })
}

// watchLeadership follows Raft's word on who leads. The node counts as leader
// only once a barrier has shown that it has applied all that was committed.
func (n *Node) watchLeadership(ctx context.Context, notify <-chan bool) {
	relieve := func() {}
	defer func() { relieve() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-notify:
			relieve()
			relieve = func() {}
			if !leads {
				n.setLeader(false)
				continue
			}
			n.followers.reset()
			for ctx.Err() == nil && !n.takeOver(ctx) {
				if len(notify) > 0 {
					break // the next word is waiting
				}
				_ = clock.Sleep(ctx, retryPause) // its only error ends the loop
			}
			if n.IsLeader() {
				relieve = n.lead(ctx)
			}
		}
	}
}

// takeOver catches up, and makes sure that the cluster has an id and that the
// folder says so.
func (n *Node) takeOver(ctx context.Context) bool {
	err := wait(ctx, n.raft.Barrier(barrierTimeout))
	if err == nil && n.View().Cluster() == "" {
		err = n.nameCluster(ctx)
	}
	if err == nil {
		err = n.keepCluster(n.View().Cluster())
	}
	if err != nil {
		n.Logger.Warn("cannot take over leadership yet", "error", err)
		return false
	}
	n.setLeader(true)
	return true
}

func (n *Node) nameCluster(ctx context.Context) error {
	id := strings.ToLower(rand.Text())
	data, err := n.encode(&pb.Command{Actor: "controller", Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: id}}})
	if err != nil {
		return err
	}
	a := n.apply(ctx, data)
	return errors.Join(a.failed, a.refusal)
}

// watchCluster keeps the cluster's id in the folder, for members that do not lead.
func (n *Node) watchCluster(ctx context.Context) {
	for {
		view := n.View()
		if err := n.keepCluster(view.Cluster()); err != nil {
			n.Logger.Warn("cannot keep the cluster's id", "error", err)
		}
		select {
		case <-view.Changed():
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) setLeader(leads bool) {
	if n.leader.Swap(leads) == leads {
		return
	}
	n.Logger.Info("leadership changed", "leader", leads, "node", n.id)
	n.news.tell()
	for { // replace what nobody has read yet
		select {
		case n.leadership <- leads:
			return
		case <-n.leadership:
		}
	}
}
