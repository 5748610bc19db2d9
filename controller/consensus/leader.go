package consensus

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

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

// Leadership tells of changes of IsLeader: the newest one, older ones are
// dropped. It is for one reader.
func (n *Node) Leadership() <-chan bool { return n.leadership }

// Health says why nothing can be decided now; nil when all is well.
func (n *Node) Health() error {
	if n.fsm.stopped() {
		return problem.New(problem.Unavailable, "the log holds a command of a newer version").WithReason(ReasonHalted).
			WithHint("Start the newer version of Baktainer again.")
	}
	if !n.leader.Load() {
		return noLeader()
	}
	return nil
}

func noLeader() *problem.Problem {
	return problem.New(problem.Unavailable, "there is no leader at present").WithReason(ReasonNoLeader).
		WithHint("Try again in a few seconds.")
}

// watchLeadership follows Raft's word on who leads. The node counts as leader
// only once a barrier has shown that it has applied all that was committed.
func (n *Node) watchLeadership(ctx context.Context, notify <-chan bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-notify:
			if !leads {
				n.setLeader(false)
				continue
			}
			for ctx.Err() == nil && !n.takeOver(ctx) {
				if len(notify) > 0 {
					break // the next word is waiting
				}
				_ = clock.Sleep(ctx, retryPause) // its only error ends the loop
			}
		}
	}
}

// takeOver catches up and makes sure that the cluster has an id.
func (n *Node) takeOver(ctx context.Context) bool {
	if err := wait(ctx, n.raft.Barrier(barrierTimeout)); err != nil {
		n.log.Warn("cannot take over leadership yet", "error", err)
		return false
	}
	if n.View().Cluster() == "" {
		id := strings.ToLower(rand.Text())
		if err := n.propose(ctx, &pb.Command{Actor: "controller", Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: id}}}, func() bool { return true }); err != nil {
			n.log.Warn("cannot name the cluster yet", "error", err)
			return false
		}
	}
	n.setLeader(true)
	return true
}

func (n *Node) setLeader(leads bool) {
	if n.leader.Swap(leads) == leads {
		return
	}
	n.log.Info("leadership changed", "leader", leads, "node", n.id)
	for { // replace what nobody has read yet
		select {
		case n.leadership <- leads:
			return
		case <-n.leadership:
		}
	}
}
