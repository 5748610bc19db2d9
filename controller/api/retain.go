package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// maxForget is how many snapshots one request marks: they are named in one command.
	maxForget = 10_000
	// maxListed is how many objects of a plan are listed.
	maxListed = 10_000
)

// ForgetSnapshots implements the admin service.
func (s *Server) ForgetSnapshots(ctx context.Context, req *pb.ForgetSnapshotsRequest) (*pb.ForgetSnapshotsResponse, error) {
	ids, err := s.chosen(req.GetSnapshots(), false)
	if err != nil {
		return nil, err
	}
	if err := combine(s.Node.View().CheckForget(ids, timestamppb.New(s.Clock.Now()))); err != nil {
		return nil, err
	}
	undo := req.GetUndo()
	if undo == nil {
		undo = durationpb.New(s.Retain.Undo)
	}
	if !req.GetDryRun() {
		err := s.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_ForgetSnapshots{
			ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: ids, Undo: undo},
		}})
		if err != nil {
			return nil, err
		}
	}
	return &pb.ForgetSnapshotsResponse{Snapshots: s.these(ids)}, nil
}

// chosen finds the whole ids of snapshots, each once, or says all that is wrong.
// What is to be destroyed is named by itself: without latest, SOURCE@latest is refused.
func (s *Server) chosen(refs []string, latest bool) ([]string, error) {
	switch {
	case len(refs) == 0:
		return nil, problem.New(problem.InvalidInput, "no snapshot is named")
	case len(refs) > maxForget:
		return nil, problem.New(problem.InvalidInput, "%d snapshots are too many for one request", len(refs)).WithHint("Name at most %d.", maxForget)
	}
	var ids []string
	var wrong []error
	view := s.Node.View()
	for _, ref := range refs {
		found, err := view.FindSnapshot(ref)
		if strings.Contains(ref, "@") && !latest {
			err = problem.New(problem.InvalidInput, "%.150q: what is forgotten is named by its id", ref)
		}
		switch {
		case err != nil && problem.ReasonOf(err) != state.ReasonPruned:
			wrong = append(wrong, err)
		case err == nil && !slices.Contains(ids, found.GetId()):
			ids = append(ids, found.GetId())
		}
	}
	return ids, combine(wrong)
}

// these are the snapshots as they are now.
func (s *Server) these(ids []string) (list []*pb.Snapshot) {
	view := s.Node.View()
	for _, id := range ids {
		if found, ok := view.Snapshot(id); ok {
			list = append(list, found)
		}
	}
	return list
}

// UnforgetSnapshots implements the admin service.
func (s *Server) UnforgetSnapshots(ctx context.Context, req *pb.UnforgetSnapshotsRequest) (*pb.UnforgetSnapshotsResponse, error) {
	if n := len(req.GetSnapshots()); n == 0 || n > maxForget {
		return nil, problem.New(problem.InvalidInput, "%d snapshots are named, want 1 to %d", n, maxForget)
	}
	ids := make([]string, len(req.GetSnapshots()))
	for i, id := range req.GetSnapshots() {
		ids[i] = strings.ToUpper(id)
	}
	err := s.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_UnforgetSnapshots{
		UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: ids},
	}})
	if err != nil {
		return nil, err
	}
	return &pb.UnforgetSnapshotsResponse{Snapshots: s.these(ids)}, nil
}

// PlanPrune implements the admin service.
func (s *Server) PlanPrune(ctx context.Context, req *pb.PlanPruneRequest) (*pb.PlanPruneResponse, error) {
	names, err := s.prunable(req)
	if err != nil {
		return nil, err
	}
	resp := &pb.PlanPruneResponse{}
	listed := 0
	for _, name := range names {
		plan, sum, err := s.Retain.Plan(ctx, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			resp.Plans = append(resp.Plans, &pb.PrunePlan{Source: name, Failure: transport.ToFailure(err)})
			continue
		}
		resp.Plans = append(resp.Plans, planMessage(plan, sum, maxListed-listed))
		listed += min(len(plan.Delete), maxListed-listed)
	}
	return resp, nil
}

// prunable lists the sources to prune, each once, or says all that is wrong.
func (s *Server) prunable(req *pb.PlanPruneRequest) (names []string, err error) {
	view := s.Node.View()
	switch {
	case req.GetAll() == (len(req.GetSources()) > 0):
		return nil, problem.New(problem.InvalidInput, "either all sources or those named can be pruned").WithHint("Name sources, or ask for all.")
	case req.GetAll():
		for _, src := range view.Sources() { // those that are gone, too
			if source.CheckName(src.GetName()) == nil {
				names = append(names, src.GetName())
			}
		}
		return names, nil
	}
	var wrong []error
	for _, name := range req.GetSources() {
		_, err := findSource(view, name)
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, combine(wrong)
}

func planMessage(p *repo.Plan, sum ledger.Hash, most int) *pb.PrunePlan {
	m := &pb.PrunePlan{
		Source: p.Source, Hash: sum[:], Snapshots: p.Snapshots, Objects: int64(len(p.Delete)), Bytes: p.Freed(),
		KeptObjects: int64(p.KeptObjects), KeptBytes: p.KeptBytes,
	}
	for _, o := range p.Delete[:min(len(p.Delete), most)] {
		m.Delete = append(m.Delete, &pb.PruneObject{Name: o.Name, Size: o.Size, Reason: o.Reason})
	}
	return m
}

// Prune implements the admin service.
func (s *Server) Prune(req *pb.PruneRequest, stream grpc.ServerStreamingServer[pb.PruneResponse]) error {
	ctx := stream.Context()
	if _, err := findSource(s.Node.View(), req.GetSource()); err != nil {
		return err
	}
	var want ledger.Hash
	if n := copy(want[:], req.GetPlanHash()); n != 0 && (n != len(want) || n != len(req.GetPlanHash())) {
		return problem.New(problem.InvalidInput, "a plan's hash of %d bytes, want %d", len(req.GetPlanHash()), len(want))
	}
	begun, err := s.Retain.Begin(ctx, "admin", req.GetSource(), want)
	if err != nil {
		return err
	}
	if begun == nil {
		return stream.Send(&pb.PruneResponse{Prune: &pb.Prune{Source: req.GetSource()}})
	}
	return s.followPrune(begun, stream)
}

// followPrune tells how a prune goes until it has ended.
func (s *Server) followPrune(begun *pb.Prune, stream grpc.ServerStreamingServer[pb.PruneResponse]) error {
	for {
		view := s.Node.View()
		done, news := s.Retain.Progress(begun.GetPlan())
		now, ok := view.Prune(begun.GetSource())
		m := &pb.PruneResponse{
			ObjectsDone: done.Objects, ObjectsTotal: begun.GetPlannedObjects(), BytesDone: done.Bytes, BytesTotal: begun.GetPlannedBytes(),
		}
		switch {
		case !ok || now.GetPlan() != begun.GetPlan():
			return problem.New(problem.Unavailable, "the prune has ended, and another one has begun since").WithSource(begun.GetSource())
		case now.GetEndedAt() != nil:
			m.ObjectsDone, m.BytesDone, m.Prune = now.GetDeletedObjects(), now.GetDeletedBytes(), now
			return stream.Send(m)
		}
		if err := stream.Send(m); err != nil {
			return err
		}
		select {
		case <-view.Changed():
		case <-news:
		case <-s.Stopping:
			return problem.New(problem.Unavailable, "the controller is being stopped").WithHint("The prune goes on when it is back.")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
