package api

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/retain"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// CheckStore implements the admin service.
func (s *Server) CheckStore(req *pb.CheckStoreRequest, stream grpc.ServerStreamingServer[pb.CheckStoreResponse]) error {
	report, err := s.checkStore(stream.Context(), retain.CheckOptions{ReadData: req.GetReadData()}, func(phase string, objects, bytes int64) error {
		return stream.Send(&pb.CheckStoreResponse{Phase: phase, ObjectsDone: objects, BytesDone: bytes})
	})
	if err != nil {
		return err
	}
	return stream.Send(&pb.CheckStoreResponse{Report: report})
}

// RepairStore implements the admin service.
func (s *Server) RepairStore(req *pb.RepairStoreRequest, stream grpc.ServerStreamingServer[pb.RepairStoreResponse]) error {
	o := retain.CheckOptions{ReadData: req.GetReadData(), Repair: true, DryRun: req.GetDryRun()}
	report, err := s.checkStore(stream.Context(), o, func(phase string, objects, bytes int64) error {
		return stream.Send(&pb.RepairStoreResponse{Phase: phase, ObjectsDone: objects, BytesDone: bytes})
	})
	if err != nil {
		return err
	}
	return stream.Send(&pb.RepairStoreResponse{Report: report})
}

// checkStore checks, and tells now and then how far it is. It ends when whoever
// is told is not there any more.
func (s *Server) checkStore(ctx context.Context, o retain.CheckOptions, tell func(phase string, objects, bytes int64) error) (*pb.StoreReport, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var told time.Time
	var last string
	o.Progress = func(phase string, objects, bytes int64) {
		now := s.Clock.Now()
		if phase == last && now.Sub(told) < progressEvery {
			return
		}
		told, last = now, phase
		if err := tell(phase, objects, bytes); err != nil {
			end(err)
		}
	}
	return s.Retain.Check(ctx, o)
}
