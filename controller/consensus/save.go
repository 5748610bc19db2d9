package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// restoreLimit bounds how long a restored state may take to reach most members.
const restoreLimit = 10 * time.Minute

// Save writes all that this node knows as a raft snapshot, and returns its place
// in the log. At the leader that is everything that was acknowledged.
func (n *Node) Save(ctx context.Context, w io.Writer) (index uint64, err error) {
	view := n.View()
	_, err = view.WriteTo(writerUntil{ctx, w})
	return view.Index(), err
}

// Restore replaces all that the cluster knows by what Save wrote, at the leader.
// Who is a member stays as it is. The state of another cluster is refused unless
// anyCluster is set. Everything is read and checked before anything is replaced.
func (n *Node) Restore(ctx context.Context, r io.Reader, anyCluster bool) error {
	if !n.IsLeader() {
		return noLeader()
	}
	// Raft has to be told the size beforehand, and the check needs a read of its own.
	spool, err := os.CreateTemp(n.Dir, "restore-*.tmp")
	if err != nil {
		return problem.Wrap(problem.Failed, err, "keep the raft snapshot until it is checked")
	}
	err = n.restore(ctx, r, spool, anyCluster)
	return errors.Join(err, spool.Close(), os.Remove(spool.Name()))
}

func (n *Node) restore(ctx context.Context, r io.Reader, spool *os.File, anyCluster bool) error {
	if _, err := io.Copy(writerUntil{ctx, spool}, r); err != nil {
		return problem.Wrap(problem.Failed, err, "read the raft snapshot")
	}
	found := state.New()
	if err := fromStart(spool, func() error { _, err := found.ReadFrom(spool); return err }); err != nil {
		return problem.Wrap(problem.InvalidInput, err, "check the raft snapshot")
	}
	cluster, mine := found.View().Cluster(), n.View().Cluster()
	if cluster == "" {
		return problem.New(problem.InvalidInput, "the raft snapshot is of a cluster that never began")
	}
	if cluster != mine && !anyCluster {
		return problem.New(problem.Conflict, "the raft snapshot is of cluster %s, and this is cluster %s", cluster, mine).WithReason(state.ReasonOtherClust)
	}
	if err := n.callOff(found); err != nil {
		return err
	}
	return n.change(ctx, func() raft.IndexFuture { // no change of the members may be under way
		// Its place in the log is the next one here, which need not be where it was saved: at
		// a later one, every member would take what is yet to come for known.
		size, err := rewrite(spool, found.View().At(n.raft.LastIndex()+1))
		found = nil // its memory is needed for those that Raft makes of the file
		if err != nil {
			return settled{problem.Wrap(problem.Failed, err, "keep the raft snapshot until all have it")}
		}
		n.Logger.Warn("the state is replaced by a raft snapshot", "size", size, "cluster", cluster)
		return settled{fromStart(spool, func() error {
			return n.raft.Restore(&raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: size}, spool, restoreLimit)
		})}
	})
}

// callOff ends the restores that waited for their turn when a state was saved. They
// would begin as soon as it is the cluster's, and their targets have gone on since.
func (n *Node) callOff(saved *state.Tables) error {
	for _, r := range saved.View().ActiveRuns() {
		if r.GetKind() != pb.RunKind_RUN_KIND_RESTORE || r.GetState() != pb.RunState_RUN_STATE_QUEUED {
			continue
		}
		err := saved.Apply(saved.View().Index(), &pb.Command{
			Version: state.CommandVersion, ProposedAt: timestamppb.New(n.Clock.Now()),
			Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: r.GetId(), Epoch: r.GetEpoch(), State: pb.RunState_RUN_STATE_CANCELLED, Failure: &pb.Failure{
				Code: string(problem.Cancelled), Source: r.GetSource(), Message: "it waited when the state was saved that has been restored now",
				Hint: "Restore again if that is still wanted.",
			}}},
		})
		if err != nil {
			return fmt.Errorf("call off restore %s of the saved state: %w", r.GetId(), err)
		}
	}
	return nil
}

// rewrite makes a view all that is in a file.
func rewrite(f *os.File, view *state.View) (size int64, err error) {
	if err := f.Truncate(0); err != nil {
		return 0, err
	}
	err = fromStart(f, func() error { size, err = view.WriteTo(f); return err })
	return size, err
}

func fromStart(f *os.File, do func() error) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("go back to the start: %w", err)
	}
	return do()
}

// writerUntil writes until ctx ends.
type writerUntil struct {
	ctx context.Context
	w   io.Writer
}

func (w writerUntil) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}
