package uplink_test

import (
	"context"
	"log/slog"
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
	locate    func() (*pb.LocateResponse, error) // nil: of a version that has no such call
	session   func(*pb.SessionRequest, grpc.ServerStreamingServer[pb.SessionResponse]) error
	heartbeat func(*pb.HeartbeatRequest) (*pb.HeartbeatResponse, error)
	inventory func(*pb.ReportInventoryRequest) error
	upload    func(grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error
	commit    func(*pb.CommitSnapshotRequest) error
	finish    func(*pb.FinishRunRequest) error
	logs      func(*pb.SendLogsRequest) error
	read      func(*pb.ReadObjectRequest, grpc.ServerStreamingServer[pb.ReadObjectResponse]) error
}

func (s *service) Locate(ctx context.Context, req *pb.LocateRequest) (*pb.LocateResponse, error) {
	if s.locate == nil {
		return s.UnimplementedAgentServiceServer.Locate(ctx, req)
	}
	return s.locate()
}

// Session without an answer of its own has nothing to do and lasts.
func (s *service) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	if s.session != nil {
		return s.session(req, stream)
	}
	if err := stream.Send(complete("0")); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s *service) SendLogs(_ context.Context, req *pb.SendLogsRequest) (*pb.SendLogsResponse, error) {
	return &pb.SendLogsResponse{}, s.logs(req)
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
func dial(t *testing.T, s *service, change ...func(*uplink.Options)) (client *uplink.Client, hangUp func()) {
	t.Helper()
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAgentServiceServer(server, s)
	listener := bufconn.Listen(1 << 20)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	options := uplink.Options{
		Agent: "a1", Addresses: []string{"here"}, Clock: clock.NewManual(noon),
		Dialer: uplink.DialFunc(func(string) (uplink.Conn, error) {
			return grpc.NewClient("passthrough:bufconn", append(transport.DialOptions(),
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
		}),
	}
	for _, f := range change {
		f(&options)
	}
	client = uplink.New(options)
	hangUp = sync.OnceFunc(func() {
		client.Close()
		server.Stop()
		served.Wait()
	})
	t.Cleanup(hangUp)
	return client, hangUp
}

// inSession dials and opens a session, which lasts as long as the test.
func inSession(t *testing.T, s *service) *uplink.Client {
	t.Helper()
	client, _ := dial(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := client.Session(ctx, uplink.Hello{}, func(uplink.Update) { close(begun) }); ctx.Err() == nil {
			t.Errorf("the session ended: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	<-begun
	return client
}

// objects is the access that the lease gives, without any preference.
func objects(c *uplink.Client) *uplink.Objects {
	return c.Objects(uplink.Hold{Lease: lease}, nil, slog.New(slog.DiscardHandler))
}
