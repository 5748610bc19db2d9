package consensus

import (
	"context"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// lagLimit is how long a proposal that is committed waits until this node has it too.
const lagLimit = 10 * time.Second

// WaitApplied waits until this node's tables have the command at that place in
// the log, and all before it.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	for {
		changed := n.fsm.news.next()
		if n.fsm.applied.Load() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return problem.Wrap(problem.Unavailable, ctx.Err(), "wait for entry %d of the log; this controller is at %d", index, n.fsm.applied.Load())
		}
	}
}
