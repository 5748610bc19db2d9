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
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// proposeLimit bounds a proposal whose context has no end of its own.
const proposeLimit = 30 * time.Second

// Propose has a command committed and applied, and returns the state's refusal
// if there is one. It stamps the version, and the time and a request id where
// they are unset; cmd itself is left alone. When leadership is lost meanwhile it
// is not known whether the command was committed: Propose then tries again under
// the same request id until ctx ends, which the state applies once. An error of
// ctx therefore leaves the outcome open; ReasonNoLeader means that nothing was done.
func (n *Node) Propose(ctx context.Context, cmd *pb.Command) error {
	return n.propose(ctx, cmd, n.leader.Load)
}

func (n *Node) propose(ctx context.Context, cmd *pb.Command, leads func() bool) error {
	stamped := proto.CloneOf(cmd)
	stamped.Version = state.CommandVersion
	if stamped.ProposedAt == nil {
		stamped.ProposedAt = timestamppb.New(n.clock.Now())
	}
	if stamped.RequestId == "" {
		stamped.RequestId = rand.Text()
	}
	data, err := proto.Marshal(stamped)
	if err != nil {
		return problem.Wrap(problem.InvalidInput, err, "encode command")
	}
	if len(data) > state.MaxCommandSize {
		return problem.New(problem.InvalidInput, "the command has %d bytes, more than %d", len(data), state.MaxCommandSize).WithReason(state.ReasonTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, proposeLimit)
	defer cancel()
	for uncertain := false; ; {
		if !leads() && !uncertain {
			return noLeader()
		}
		future := n.raft.Apply(data, proposeLimit)
		err := wait(ctx, future)
		switch {
		case err == nil:
			return outcome(future.Response())
		case ctx.Err() != nil:
			return fmt.Errorf("propose a command: %w", ctx.Err())
		case errors.Is(err, raft.ErrRaftShutdown):
			return problem.Wrap(problem.Unavailable, err, "propose a command").WithReason(ReasonNoLeader)
		case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
			uncertain = true
		case !uncertain: // nothing was written to the log
			return problem.Wrap(problem.Unavailable, err, "propose a command").WithReason(ReasonNoLeader)
		}
		if err := clock.Sleep(ctx, retryPause); err != nil {
			return fmt.Errorf("propose a command: %w", err)
		}
	}
}

// outcome reads what the state machine answered: nothing, or a refusal.
func outcome(response any) error {
	if err, ok := response.(error); ok {
		return err
	}
	return nil
}
