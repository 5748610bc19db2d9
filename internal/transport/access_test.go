package transport_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// call makes any call with an empty message, and gives how it ended.
func call(ctx context.Context, conn grpc.ClientConnInterface, m protoreflect.MethodDescriptor) error {
	name := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	message := func(d protoreflect.MessageDescriptor) (proto.Message, error) {
		t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			return nil, err
		}
		return t.New().Interface(), nil
	}
	in, err := message(m.Input())
	if err != nil {
		return err
	}
	out, err := message(m.Output())
	if err != nil {
		return err
	}
	if !m.IsStreamingClient() && !m.IsStreamingServer() {
		return conn.Invoke(ctx, name, in, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer(), ClientStreams: m.IsStreamingClient()}, name)
	if err != nil {
		return err
	}
	_ = s.SendMsg(in) // why it ended early, the answer says
	_ = s.CloseSend()
	return s.RecvMsg(out)
}

// methods are all that a server has.
func methods(t *testing.T, s *grpc.Server) (all []protoreflect.MethodDescriptor) {
	t.Helper()
	for service := range s.GetServiceInfo() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		sd, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			t.Fatalf("%s is no service", service)
		}
		for i := range sd.Methods().Len() {
			all = append(all, sd.Methods().Get(i))
		}
	}
	return all
}

// Every role against every method, as the descriptors say.
func TestEveryRoleAgainstEveryMethod(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: everything})
	if err := transport.CheckAccess(n.server); err != nil {
		t.Fatal(problem.Text(err))
	}
	all := methods(t, n.server)
	if len(all) < 50 {
		t.Fatalf("found %d methods: the looking is broken", len(all))
	}
	calls := 0
	for role, name := range map[pb.Role]string{
		pb.Role_ROLE_AGENT: pki.RoleAgent, pb.Role_ROLE_CONTROLLER: pki.RoleController, pb.Role_ROLE_ADMIN: pki.RoleAdmin, pb.Role_ROLE_VIEWER: pki.RoleViewer,
	} {
		conn := dial(t, n, c.holder(name, "x1"))
		for _, m := range all {
			access, _ := proto.GetExtension(m.Options(), pb.E_Access).(*pb.Access)
			service := string(m.Parent().FullName())
			allowed := access.GetAnyone() || slices.Contains(access.GetRoles(), role) || strings.HasPrefix(service, "grpc.")
			err := call(t.Context(), conn, m)
			calls++
			switch denied := problem.CodeOf(err) == problem.Denied && problem.ReasonOf(err) == transport.ReasonNotAllowed; {
			case err == nil && service != "grpc.health.v1.Health", m.Name() == "Meet" && problem.ReasonOf(err) != transport.ReasonWrongSecret:
				t.Errorf("%s calls %s: %v", name, m.FullName(), err)
			case denied == allowed:
				t.Errorf("%s calls %s: %v, allowed is %t", name, m.FullName(), err, allowed)
			case denied && (!strings.Contains(problem.Text(err), "It takes the role ") || !strings.Contains(problem.Text(err), "you are the "+name+" x1, from 127.0.0.1")):
				t.Errorf("the denial does not say enough: %s", problem.Text(err))
			}
		}
	}
	t.Logf("%d calls of %d methods", calls, len(all))
}

func TestWithoutACertificateOnlyWhatAnybodyMay(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: everything})
	conn := nobody(t, n, c)
	for _, m := range methods(t, n.server) {
		access, _ := proto.GetExtension(m.Options(), pb.E_Access).(*pb.Access)
		anyone := access.GetAnyone() || string(m.Parent().FullName()) == "grpc.health.v1.Health"
		err := transport.FromStatus(call(t.Context(), conn, m))
		if denied := problem.ReasonOf(err) == transport.ReasonNoCertificate; denied == anyone {
			t.Errorf("%s: %v", m.FullName(), err)
		}
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	// The hint tells what to do.
	_, err := pb.NewAdminServiceClient(conn).GetStatus(t.Context(), &pb.GetStatusRequest{})
	if text := problem.Text(transport.FromStatus(err)); !strings.Contains(text, "It takes the role admin or viewer") || !strings.Contains(text, "from 127.0.0.1") {
		t.Error(text)
	}
}

// A server does not start with a method of which nobody has said who may call it.
func TestMethodsThatSayNothing(t *testing.T) {
	t.Parallel()
	s := grpc.NewServer()
	everything(s)
	if err := transport.CheckAccess(s); err != nil {
		t.Errorf("all of ours: %v", err)
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "baktainer.v1.AdminService2", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "B"}, {MethodName: "A"}}, Streams: []grpc.StreamDesc{{StreamName: "S", ServerStreams: true}},
	}, struct{}{})
	err := transport.CheckAccess(s)
	want := "/baktainer.v1.AdminService2/A\n    /baktainer.v1.AdminService2/B\n    /baktainer.v1.AdminService2/S"
	if err == nil || !strings.Contains(problem.Text(err), want) {
		t.Errorf("got %v", err)
	}
}

// What a guard does not know, it does not let through.
func TestAMethodWithoutAccessIsNotCalled(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	called := false
	n := c.start(nodeOptions{name: "c1", register: func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "silent.Service", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Call", ServerStreams: true, ClientStreams: true, Handler: func(any, grpc.ServerStream) error { called = true; return nil },
		}}}, struct{}{})
	}})
	s, err := dial(t, n, c.holder(pki.RoleAdmin, "a")).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/silent.Service/Call")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&pb.Run{}); err == nil || !strings.Contains(err.Error(), "does not say who may call it") || called {
		t.Errorf("%v, called is %t", err, called)
	}
}
