package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/check"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// verifyLimit bounds the reading of one snapshot.
	verifyLimit = 2 * time.Minute
	listLimit   = 10_000
	runsLimit   = 1000
)

// compare holds what the cluster lists against what anybody was told, and reads
// every snapshot that is new from its first byte to its last.
func (r *Rig) compare(ctx context.Context) []string {
	before := r.witness.Seen()
	var listed []*pb.Snapshot
	var runs []*pb.Run
	err := r.ask(ctx, func(ctx context.Context, a apis) error {
		listed, runs = nil, nil
		for _, forgotten := range []bool{false, true} {
			resp, err := a.admin.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Limit: listLimit, Forgotten: forgotten})
			if err != nil {
				return err
			}
			listed = append(listed, resp.GetSnapshots()...)
		}
		resp, err := a.admin.ListRuns(ctx, &pb.ListRunsRequest{Limit: runsLimit})
		runs = resp.GetRuns()
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return []string{fmt.Sprintf("snapshots cannot be listed: %v", err)}
	}
	// What clients of the history do meanwhile may be in one list and not yet in
	// the other; it is checked in the end.
	var ours []*pb.Run
	for _, run := range runs {
		if strings.HasPrefix(run.GetSource(), r.name) && !r.forgotten[run.GetSnapshot()] {
			ours = append(ours, run)
		}
	}
	wrong := check.Listing(listed, len(r.forgotten) > 0)
	wrong = append(wrong, check.Runs(ours, listed)...)
	fresh, lost := r.witness.Compare(before, listed, "a listing")
	wrong = append(wrong, lost...)
	// What a log has told of is listed, and was not read yet either.
	for _, s := range listed {
		if r.unread(s.GetId()) && !slices.Contains(fresh, s.GetId()) {
			fresh = append(fresh, s.GetId())
		}
	}
	for _, id := range fresh {
		if ctx.Err() != nil {
			break
		}
		if err := r.verify(ctx, id); err != nil {
			wrong = append(wrong, fmt.Sprintf("snapshot %s cannot be read: %v", id, err))
		}
	}
	return wrong
}

// unread says whether a snapshot was not verified yet.
func (r *Rig) unread(id string) bool { return !r.read[id] }

// verify has the controllers read a snapshot, each in its turn.
func (r *Rig) verify(ctx context.Context, id string) error {
	r.verifyTurn++
	c := r.controllers[r.verifyTurn%len(r.controllers)]
	a, err := c.apis()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	stream, err := a.admin.VerifySnapshot(ctx, &pb.VerifySnapshotRequest{Snapshot: id})
	if err != nil {
		return fmt.Errorf("through %s: %w", c.name, err)
	}
	var report *pb.VerifyReport
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("through %s: %w", c.name, err)
		}
		if m.GetReport() != nil {
			report = m.GetReport()
		}
	}
	switch {
	case report == nil:
		return fmt.Errorf("through %s: there was no report", c.name)
	case len(report.GetProblems()) > 0:
		return fmt.Errorf("through %s: %v", c.name, report.GetProblems())
	case report.GetRawBytes() == 0:
		return fmt.Errorf("through %s: nothing was read", c.name)
	}
	r.read[id] = true
	r.figures.Verified++
	return nil
}
