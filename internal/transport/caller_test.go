package transport_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// asks tells who is calling, in the versions that it answers with.
type asks struct {
	pb.UnimplementedAdminServiceServer
	pb.UnimplementedAgentServiceServer
}

func (asks) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	c := transport.CallerOf(ctx)
	return &pb.GetStatusResponse{Version: fmt.Sprintf("%s from %s, local %t", c, c.Origin, c.Local)}, nil
}

func (asks) Heartbeat(ctx context.Context, r *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return &pb.HeartbeatResponse{}, nil
}

func (a asks) register(s *grpc.Server) {
	pb.RegisterAdminServiceServer(s, a)
	pb.RegisterAgentServiceServer(s, a)
	pb.RegisterMemberServiceServer(s, pb.UnimplementedMemberServiceServer{})
}

func TestTheUnixSocketMakesAnAdminThatIsAnyAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b.sock")
	l, err := transport.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	guard := transport.NewGuard(transport.GuardOptions{Clock: clock.System{}, Gate: newCluster(t)})
	server := grpc.NewServer(append(guard.ServerOptions(), transport.LocalCredentials())...)
	asks{}.register(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	conn, err := transport.DialUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		conn.Close()
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	want := fmt.Sprintf("admin local:%d from unix socket, local true", os.Getuid())
	if runtime.GOOS != "linux" {
		want = "admin local from unix socket, local true"
	}
	resp, err := pb.NewAdminServiceClient(conn).GetStatus(t.Context(), &pb.GetStatusRequest{})
	if err != nil || resp.GetVersion() != want {
		t.Errorf("%q, %v, want %q", resp.GetVersion(), err, want)
	}
	if _, err := pb.NewAgentServiceClient(conn).Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "db1"}); err != nil {
		t.Errorf("as an agent: %v", err)
	}
	if _, err := pb.NewMemberServiceClient(conn).GetSpace(t.Context(), &pb.GetSpaceRequest{}); problem.ReasonOf(err) != transport.ReasonNotAllowed {
		t.Errorf("as a controller: %v", err)
	}
}

func TestWhoCallsOverTLS(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: asks{}.register})
	for _, role := range []string{pki.RoleAdmin, pki.RoleViewer} {
		resp, err := pb.NewAdminServiceClient(dial(t, n, c.holder(role, "ann"))).GetStatus(t.Context(), &pb.GetStatusRequest{})
		if want := role + " ann from 127.0.0.1, local false"; err != nil || resp.GetVersion() != want {
			t.Errorf("%q, %v, want %q", resp.GetVersion(), err, want)
		}
	}
	agents := pb.NewAgentServiceClient(dial(t, n, c.holder(pki.RoleAgent, "db1")))
	if _, err := agents.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "db1"}); err != nil {
		t.Errorf("an agent as itself: %v", err)
	}
	if _, err := agents.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "db2"}); problem.ReasonOf(err) != transport.ReasonWrongAgent {
		t.Errorf("an agent as another: %v", err)
	}
}

func TestWithoutAConnectionAnybodyIsInThisProcess(t *testing.T) {
	t.Parallel()
	if err := transport.IsAgent(t.Context(), "db1"); err != nil {
		t.Error(err)
	}
	if c := transport.CallerOf(t.Context()); c.String() != "nobody" || c.Local {
		t.Errorf("%+v", c)
	}
	for _, r := range []pb.Role{pb.Role_ROLE_AGENT, pb.Role_ROLE_CONTROLLER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_VIEWER} {
		if transport.RoleOf(transport.RoleName(r)) != r {
			t.Errorf("%s has no name of its own", r)
		}
	}
	if transport.RoleOf("") != pb.Role_ROLE_UNSPECIFIED || transport.RoleOf("root") != pb.Role_ROLE_UNSPECIFIED {
		t.Error("what is no role is one")
	}
}
