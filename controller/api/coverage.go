package api

import (
	"context"

	"github.com/baktainer/baktainer/controller/coverage"
	"github.com/baktainer/baktainer/internal/condition"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// GetCoverage implements the admin service.
func (s *Server) GetCoverage(context.Context, *pb.GetCoverageRequest) (*pb.GetCoverageResponse, error) {
	view := s.Node.View()
	connected := map[string]bool{}
	for _, a := range s.Agents.Agents() {
		connected[a.GetId()] = a.GetConnected()
	}
	resp := &pb.GetCoverageResponse{Unlabelled: s.Agents.Unlabelled()}
	of := map[string][]*pb.Condition{}
	for _, c := range view.Conditions() {
		if condition.Of(c.GetKind()).Of == "source" {
			of[c.GetSubject()] = append(of[c.GetSubject()], c)
		} else {
			resp.Conditions = append(resp.Conditions, c)
		}
	}
	for _, src := range view.Sources() {
		resp.Sources = append(resp.Sources, coverage.Judge(coverage.Facts{
			Source: src, Snapshots: view.Snapshots(src.GetName(), 0), Conditions: of[src.GetName()],
			Scheduled: s.Every(view, src) > 0, Connected: connected[src.GetAgent()],
			DrillEvery: s.DrillEvery(view, src), Now: s.Clock.Now(),
		}))
	}
	return resp, nil
}
