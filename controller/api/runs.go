package api

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/run"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// StartBackup implements the admin service.
func (s *Server) StartBackup(ctx context.Context, req *pb.StartBackupRequest) (*pb.StartBackupResponse, error) {
	names, err := s.wanted(req)
	if err != nil {
		return nil, err
	}
	request := req.GetRequestId()
	if request == "" {
		request = rand.Text()
	}
	now := s.Clock.Now().Truncate(time.Microsecond) // what the ledger keeps
	resp := &pb.StartBackupResponse{}
	var ids []string
	for _, name := range names {
		r := queue.Backup("", name, "manual", now)
		r.Id = manualID(request, name)
		ids = append(ids, r.GetId())
		resp.Runs = append(resp.Runs, r)
	}
	if req.GetDryRun() {
		for _, r := range resp.Runs {
			r.Id = ""
		}
		return resp, nil
	}
	if err := queue.All(ctx, s.Node, "admin", "backup "+request, resp.Runs...); err != nil {
		return nil, err
	}
	view := s.Node.View()
	for i, id := range ids { // as the state has them, also when the request came before
		if r, ok := view.Run(id); ok {
			resp.Runs[i] = r
		}
	}
	return resp, nil
}

// manualID depends on the request and the source alone, so that a request sent
// again finds its runs.
func manualID(request, source string) string {
	return run.ID("manual "+request, source, time.Unix(0, 0))
}

// wanted lists the sources to back up, each once, or says all that is wrong.
func (s *Server) wanted(req *pb.StartBackupRequest) ([]string, error) {
	view := s.Node.View()
	switch {
	case req.GetAll() && len(req.GetSources()) > 0:
		return nil, problem.New(problem.InvalidInput, "either all sources or those named can be backed up, not both")
	case !req.GetAll() && len(req.GetSources()) == 0:
		return nil, problem.New(problem.InvalidInput, "no source is named").WithHint("Name sources, or ask for all.")
	}
	var names []string
	if req.GetAll() {
		for _, src := range view.Sources() {
			if src.GetState() == pb.SourceState_SOURCE_STATE_READY {
				names = append(names, src.GetName())
			}
		}
		if len(names) == 0 {
			return nil, problem.New(problem.NotFound, "no source is ready").WithReason(state.ReasonNoSource).
				WithHint("Put the label baktainer.backup=true on a database container. `baktainer source ls` shows what was found.")
		}
		return names, nil
	}
	var wrong []error
	for _, name := range req.GetSources() {
		src, err := findSource(view, name)
		if err == nil {
			if unready := dispatch.Unready(src); unready != nil {
				err = unready
			}
		}
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, combine(wrong)
}

// ListRuns implements the admin service.
func (s *Server) ListRuns(_ context.Context, req *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	view := s.Node.View()
	runs := view.RunsOf(req.GetKind(), req.GetSource(), limit(req.GetLimit(), defaultRuns, maxRuns))
	if len(runs) == 0 && req.GetSource() != "" {
		if _, err := findSource(view, req.GetSource()); err != nil {
			return nil, err
		}
	}
	resp := &pb.ListRunsResponse{}
	for _, r := range runs {
		resp.Runs = append(resp.Runs, brief(s.Agents.WithProgress(r)))
	}
	return resp, nil
}

func limit(asked int32, usual, most int) int {
	if asked <= 0 {
		return usual
	}
	return min(int(asked), most)
}

// GetRun implements the admin service.
func (s *Server) GetRun(_ context.Context, req *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	r, err := s.run(req.GetId())
	return &pb.GetRunResponse{Run: r}, err
}

func (s *Server) run(id string) (*pb.Run, error) {
	r, ok := s.Node.View().Run(id)
	if !ok {
		return nil, problem.New(problem.NotFound, "there is no run %q", id).WithReason(state.ReasonNoRun).
			WithHint("`baktainer run ls` lists the latest.")
	}
	return s.Agents.WithProgress(r), nil
}

// WatchRun implements the admin service.
func (s *Server) WatchRun(req *pb.WatchRunRequest, stream grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
	var sent *pb.Run
	for {
		view, news := s.Node.View(), s.Agents.News()
		r, err := s.run(req.GetId())
		if err != nil {
			return err
		}
		if r != sent {
			if r.GetSnapshot() != "" && state.Ended(r) {
				s.copyLedger(stream.Context())
			}
			if err := stream.Send(&pb.WatchRunResponse{Run: r}); err != nil {
				return err
			}
			sent = r
		}
		if state.Ended(r) {
			return nil
		}
		select {
		case <-view.Changed():
		case <-news:
		case <-s.Stopping:
			return problem.New(problem.Unavailable, "the controller is being stopped").
				WithHint("`baktainer run show` tells how the run went once it is back.")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// copyLimit is how long whoever waits for a backup waits for its ledger copy.
const copyLimit = 10 * time.Second

// copyLedger has the store hold all copies of ledger entries: who is told of a
// snapshot can count on a rescue to find it. If that fails the snapshot exists all
// the same, and the leader goes on trying.
func (s *Server) copyLedger(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	_ = s.Copy(ctx)
}

// CancelRun implements the admin service.
func (s *Server) CancelRun(ctx context.Context, req *pb.CancelRunRequest) (*pb.CancelRunResponse, error) {
	if _, err := s.run(req.GetId()); err != nil {
		return nil, err
	}
	err := s.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_RequestCancel{RequestCancel: &pb.RequestCancel{Run: req.GetId()}}})
	if err != nil {
		return nil, err
	}
	r, err := s.run(req.GetId())
	return &pb.CancelRunResponse{Run: r}, err
}

// StartDrill implements the admin service.
func (s *Server) StartDrill(ctx context.Context, req *pb.StartDrillRequest) (*pb.StartDrillResponse, error) {
	view := s.Node.View()
	request := req.GetRequestId()
	if request == "" {
		request = rand.Text()
	}
	var wrong []error
	var runs []*pb.Run
	now := s.Clock.Now()
	for _, ref := range req.GetSnapshots() {
		snapshot, err := s.drillable(view, ref, req.GetAgent())
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		r := queue.Drill(request+" "+snapshot.GetId(), snapshot.GetSource(), "manual", time.Unix(0, 0), &pb.DrillRequest{Snapshot: snapshot.GetId(), Agent: req.GetAgent()})
		r.FireTime = timestamppb.New(now)
		runs = append(runs, r)
	}
	if len(req.GetSnapshots()) == 0 {
		wrong = append(wrong, problem.New(problem.InvalidInput, "no snapshot is named"))
	}
	if err := combine(wrong); err != nil {
		return nil, err
	}
	if err := queue.All(ctx, s.Node, "admin", "drill "+request, runs...); err != nil {
		return nil, err
	}
	resp := &pb.StartDrillResponse{}
	for _, r := range runs {
		queued, err := s.run(r.GetId())
		if err != nil {
			return nil, err
		}
		resp.Runs = append(resp.Runs, queued)
	}
	return resp, nil
}

// drillable finds a snapshot that can be drilled, by that agent or, when none is
// named, by that of its source.
func (s *Server) drillable(view *state.View, ref, agent string) (*pb.Snapshot, error) {
	snapshot, err := s.findSnapshot(view, ref)
	if err != nil {
		return nil, err
	}
	if agent != "" {
		return snapshot, s.checkTargetAgent(agent)
	}
	if src, err := findSource(view, snapshot.GetSource()); err != nil || src.GetState() == pb.SourceState_SOURCE_STATE_GONE {
		return nil, problem.New(problem.NotFound, "the source %s is gone, so that it is not clear on which host to hold the drill", snapshot.GetSource()).
			WithHint("Name the agent of a host that has its image: --agent.")
	}
	return snapshot, nil
}

// StartRestore implements the admin service.
func (s *Server) StartRestore(ctx context.Context, req *pb.StartRestoreRequest) (*pb.StartRestoreResponse, error) {
	checked, snapshot, err := s.checkRestore(ctx, req.GetRestore())
	if err != nil {
		return nil, err
	}
	request := req.GetRequestId()
	if request == "" {
		request = rand.Text()
	}
	r := queue.Restore(request, snapshot.GetSource(), time.Unix(0, 0), checked)
	r.FireTime = timestamppb.New(s.Clock.Now())
	if err := queue.All(ctx, s.Node, "admin", "restore "+request, r); err != nil {
		return nil, err
	}
	queued, err := s.run(r.GetId())
	return &pb.StartRestoreResponse{Run: queued}, err
}
