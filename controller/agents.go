package controller

import (
	"context"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// agentService hands each call of an agent to the part that it is for, once it is
// sure that the caller is the agent that it names. Where a call names a lease, the
// part itself makes sure that it is the caller's.
type agentService struct {
	pb.UnimplementedAgentServiceServer
	controller *Controller
}

func (a *agentService) Locate(context.Context, *pb.LocateRequest) (*pb.LocateResponse, error) {
	return &pb.LocateResponse{Controllers: a.controller.Controllers()}, nil
}

func (a *agentService) Session(r *pb.SessionRequest, s grpc.ServerStreamingServer[pb.SessionResponse]) error {
	if err := transport.IsAgent(s.Context(), r.GetAgent()); err != nil {
		return err
	}
	return a.controller.dispatch.Session(r, s)
}

func (a *agentService) Heartbeat(ctx context.Context, r *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.Heartbeat(ctx, r)
}

func (a *agentService) ReportInventory(ctx context.Context, r *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.ReportInventory(ctx, r)
}

func (a *agentService) FinishRun(ctx context.Context, r *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	return a.controller.dispatch.FinishRun(ctx, r)
}

func (a *agentService) SendLogs(ctx context.Context, r *pb.SendLogsRequest) (*pb.SendLogsResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.SendLogs(ctx, r)
}

func (a *agentService) UploadObject(s grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	return a.controller.ingest.UploadObject(s)
}

func (a *agentService) CommitSnapshot(ctx context.Context, r *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	return a.controller.ingest.CommitSnapshot(ctx, r)
}

func (a *agentService) ReadObject(r *pb.ReadObjectRequest, s grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return a.controller.serve.ReadObject(r, s)
}
