package uplink_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// service answers each call as its test says.
type service struct {
	pb.UnimplementedAgentServiceServer
	session   func(*pb.SessionRequest, grpc.ServerStreamingServer[pb.SessionResponse]) error
	heartbeat func(*pb.HeartbeatRequest) (*pb.HeartbeatResponse, error)
	inventory func(*pb.ReportInventoryRequest) error
	upload    func(grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error
	commit    func(*pb.CommitSnapshotRequest) error
	finish    func(*pb.FinishRunRequest) error
	read      func(*pb.ReadObjectRequest, grpc.ServerStreamingServer[pb.ReadObjectResponse]) error
}

func (s *service) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	return s.session(req, stream)
}

func (s *service) Heartbeat(_ context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	return s.heartbeat(req)
}

func (s *service) ReportInventory(_ context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	return &pb.ReportInventoryResponse{}, s.inventory(req)
}

func (s *service) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	return s.upload(stream)
}

func (s *service) CommitSnapshot(_ context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	return &pb.CommitSnapshotResponse{LedgerIndex: 1}, s.commit(req)
}

func (s *service) FinishRun(_ context.Context, req *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	return &pb.FinishRunResponse{}, s.finish(req)
}

func (s *service) ReadObject(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return s.read(req, stream)
}

// dial serves s and returns a client of it for the agent "a1". In a synctest
// bubble call hangUp at its end; else the test does.
func dial(t *testing.T, s *service) (client *uplink.Client, hangUp func()) {
	t.Helper()
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAgentServiceServer(server, s)
	listener := bufconn.Listen(1 << 20)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:bufconn", append(transport.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	hangUp = sync.OnceFunc(func() {
		_ = conn.Close()
		server.Stop()
		served.Wait()
	})
	t.Cleanup(hangUp)
	return uplink.New(conn, "a1", clock.NewManual(noon)), hangUp
}
