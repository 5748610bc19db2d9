package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// proposeLimit bounds a proposal whose context has no end of its own.
	proposeLimit = 30 * time.Second
	// forwardLimit bounds one attempt at another node.
	forwardLimit = 10 * time.Second
)

// Propose has a command committed and applied, wherever the leader is, and
// returns the state's refusal if there is one. When it returns, this node's
// tables have the command, so that the caller reads what it wrote; only a node
// that is behind by more than 10 s returns before, and its reads lag.
//
// It stamps the version, and the time and a request id where they are unset; cmd
// itself is left alone. When leader or connection are lost meanwhile it is not
// known whether the command was committed: Propose then tries again under the
// same request id until ctx ends, at most 30 s, which the state applies once. An
// error of ctx leaves the outcome open; ReasonNoLeader means that nothing was done.
func (n *Node) Propose(ctx context.Context, cmd *pb.Command) error {
	return n.propose(ctx, cmd, true)
}

// ProposeAsLeader is Propose for what only a leader may decide: when this node
// does not lead it is refused at once with ReasonNoLeader.
func (n *Node) ProposeAsLeader(ctx context.Context, cmd *pb.Command) error {
	return n.propose(ctx, cmd, false)
}

func (n *Node) propose(ctx context.Context, cmd *pb.Command, anywhere bool) error {
	data, err := n.encode(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeLimit)
	defer cancel()
	for open := false; ; {
		changed := n.LeaderChanged()
		var a attempt
		switch {
		case n.IsLeader():
			a = n.apply(ctx, data)
		case anywhere || open:
			a = n.forward(ctx, data)
		default:
			return noLeader()
		}
		if a.failed == nil {
			n.catchUp(ctx, a.index)
			return a.refusal
		}
		open = open || a.open
		if n.raft.State() == raft.Shutdown {
			return gaveUp(a.failed, open)
		}
		if !pause(ctx, changed) {
			return gaveUp(ctx.Err(), open)
		}
	}
}

// pause waits a little before the next attempt; false when ctx has ended.
func pause(ctx context.Context, changed <-chan struct{}) bool {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func gaveUp(err error, open bool) error {
	if !open {
		return problem.Wrap(problem.Unavailable, err, "there is no leader at present").WithReason(ReasonNoLeader).
			WithHint("Try again in a few seconds.")
	}
	return problem.Wrap(problem.Unavailable, err, "propose a command, which may yet be carried out")
}

// catchUp waits until this node has what was committed. That it does not come in
// time changes nothing about the outcome.
func (n *Node) catchUp(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, lagLimit)
	defer cancel()
	if err := n.WaitApplied(ctx, index); err != nil {
		n.Logger.Debug("a command is committed, and this controller lags", "error", err)
	}
}

// ProposeEncoded commits a command that another node forwards, at the leader. It
// returns where in the log the command is, even when the state refuses it. What
// is no command that this node knows is refused before it gets into the log,
// where it would stop every node.
func (n *Node) ProposeEncoded(ctx context.Context, data []byte) (uint64, error) {
	if err := check(data, n.CommandLevel()); err != nil {
		return 0, err
	}
	if !n.IsLeader() {
		return 0, noLeader()
	}
	a := n.apply(ctx, data)
	if a.failed != nil {
		return 0, gaveUp(a.failed, a.open)
	}
	return a.index, a.refusal
}

func (n *Node) encode(cmd *pb.Command) ([]byte, error) {
	stamped := proto.CloneOf(cmd)
	if err := state.Fit(stamped, n.CommandLevel()); err != nil {
		return nil, err
	}
	if stamped.ProposedAt == nil {
		stamped.ProposedAt = timestamppb.New(n.Clock.Now())
	}
	if stamped.RequestId == "" {
		stamped.RequestId = rand.Text()
	}
	data, err := proto.Marshal(stamped)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "encode command")
	}
	return data, check(data, state.CommandVersion)
}

// check refuses what must not get into the log of members of that level.
func check(data []byte, level uint32) error {
	if len(data) > state.MaxCommandSize {
		return problem.New(problem.InvalidInput, "the command has %d bytes, more than %d", len(data), state.MaxCommandSize).WithReason(state.ReasonTooLarge)
	}
	cmd := &pb.Command{}
	if err := proto.Unmarshal(data, cmd); err != nil {
		return problem.Wrap(problem.InvalidInput, err, "decode command").WithReason(state.ReasonBadCommand)
	}
	if !cmd.GetSkippable() && (cmd.GetCommand() == nil || cmd.GetVersion() > level) {
		return problem.New(problem.InvalidInput, "the command is of no kind that this controller knows").WithReason(state.ReasonBadCommand).
			WithHint("Let all controllers run the same version of Baktainer.")
	}
	return nil
}

// attempt is what came of trying once.
type attempt struct {
	index   uint64
	refusal error
	failed  error // it was not decided; the rest is unset
	open    bool  // failed, and it may have been committed, or yet be
}

// apply tries once at this node.
func (n *Node) apply(ctx context.Context, data []byte) attempt {
	if n.raft.State() == raft.Shutdown {
		return attempt{failed: raft.ErrRaftShutdown}
	}
	future := n.raft.Apply(data, proposeLimit)
	err := wait(ctx, future)
	switch {
	case err == nil:
		refusal, _ := future.Response().(error)
		return attempt{index: future.Index(), refusal: refusal}
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return attempt{failed: err}
	}
	return attempt{failed: fmt.Errorf("commit a command: %w", err), open: true}
}

// forward tries once at the leader.
func (n *Node) forward(ctx context.Context, data []byte) attempt {
	leader, address := n.whoLeads()
	if address == "" || leader == n.id || n.Forward == nil {
		return attempt{failed: errors.New("no leader is known")}
	}
	ctx, cancel := context.WithTimeout(ctx, forwardLimit)
	defer cancel()
	go func() { // one that hangs is not waited for once another leads
		for {
			changed := n.LeaderChanged()
			if now := n.LeaderID(); now != "" && now != leader {
				cancel()
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	index, err := n.Forward(ctx, address, data)
	p, decided := errors.AsType[*problem.Problem](err)
	switch {
	case err == nil:
		return attempt{index: index}
	case problem.ReasonOf(err) == ReasonNoLeader:
		return attempt{failed: err}
	case decided && ctx.Err() == nil && p.Code != problem.Unavailable && p.Code != problem.Cancelled:
		return attempt{index: index, refusal: err}
	}
	return attempt{failed: err, open: true}
}
