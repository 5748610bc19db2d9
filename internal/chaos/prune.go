package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// pruneEvery is after how many faults what is old is pruned, so that the disk
	// of the machine has room for a long run.
	pruneEvery = 25
	// prunedKeep is how many snapshots of a database stay.
	prunedKeep = 5
)

// prune forgets all but the newest snapshots of each database and deletes what
// only they needed. That what stays is whole is checked like everything else.
func (r *Rig) prune(ctx context.Context) {
	for _, d := range r.databases {
		kept, gone, err := r.pruneSource(ctx, d.Name)
		if err != nil && ctx.Err() == nil {
			r.figures.Wrong = append(r.figures.Wrong, fmt.Sprintf("prune %s: %v", d.Name, err))
		}
		for _, id := range gone {
			r.witness.Forget(id)
			r.forgotten[id] = true
			r.figures.Pruned++
		}
		// What stays of it is read again: the deletion may have taken too much.
		for _, id := range kept {
			delete(r.read, id)
		}
	}
	r.figures.Wrong = append(r.figures.Wrong, r.compare(ctx)...)
	r.say("pruned: %d snapshots in all", r.figures.Pruned)
}

// pruneSource says which snapshots it has kept, and which not.
func (r *Rig) pruneSource(ctx context.Context, source string) (kept, old []string, _ error) {
	err := r.ask(ctx, func(ctx context.Context, a apis) error {
		resp, err := a.admin.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Source: source, Limit: listLimit})
		kept, old = nil, nil
		for i, s := range resp.GetSnapshots() { // newest first
			if i >= prunedKeep {
				old = append(old, s.GetId())
			} else {
				kept = append(kept, s.GetId())
			}
		}
		return err
	})
	if err != nil || len(old) == 0 {
		return kept, nil, err
	}
	err = r.ask(ctx, func(ctx context.Context, a apis) error {
		_, err := a.admin.ForgetSnapshots(ctx, &pb.ForgetSnapshotsRequest{Snapshots: old, Undo: durationpb.New(0)})
		return err
	})
	if err != nil {
		return kept, nil, err
	}
	// From here on they may be gone, whatever is answered.
	return kept, old, r.ask(ctx, func(ctx context.Context, a apis) error {
		stream, err := a.admin.Prune(ctx, &pb.PruneRequest{Source: source})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if f := m.GetPrune().GetFailure(); f != nil {
				return errors.New(f.GetMessage())
			}
		}
	})
}
