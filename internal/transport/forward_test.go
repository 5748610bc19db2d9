package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// leadership is what a controller of a test knows of who leads.
type leadership struct {
	mu      sync.Mutex
	address string
	self    bool
	changed chan struct{}
}

func leads(address string, self bool) *leadership {
	return &leadership{address: address, self: self, changed: make(chan struct{})}
}

func (l *leadership) Leader() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address, l.self
}

func (l *leadership) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *leadership) set(address string, self bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address, l.self = address, self
	close(l.changed)
	l.changed = make(chan struct{})
}

// handlers answer for a controller, and tell which one and for whom.
type handlers struct {
	pb.UnimplementedAdminServiceServer
	pb.UnimplementedClusterServiceServer
	name  string
	fail  error         // what calls end with
	begun chan struct{} // a call began that waits for its end
	ended chan error    // it ended for this
}

func newHandlers(name string) *handlers {
	return &handlers{name: name, begun: make(chan struct{}, 10), ended: make(chan error, 10)}
}

func (h *handlers) who(ctx context.Context) string {
	c := transport.CallerOf(ctx)
	return fmt.Sprintf("%s: %s from %s via %s", h.name, c, c.Origin, c.Via)
}

// hold waits for the end of the call when it is for the run "hold".
func (h *handlers) hold(ctx context.Context, id string) {
	if id == "hold" {
		h.begun <- struct{}{}
		<-ctx.Done()
		h.ended <- ctx.Err()
	}
}

func (h *handlers) GetRun(ctx context.Context, r *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	h.hold(ctx, r.GetId())
	return &pb.GetRunResponse{Run: &pb.Run{Id: r.GetId() + " " + h.who(ctx)}}, h.fail
}

func (h *handlers) WatchRun(r *pb.WatchRunRequest, s grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
	for i := range 100 {
		if err := s.Send(&pb.WatchRunResponse{Run: &pb.Run{Id: fmt.Sprint(i, " ", r.GetId(), " ", h.who(s.Context()))}}); err != nil {
			return err
		}
	}
	h.hold(s.Context(), r.GetId())
	return h.fail
}

func (h *handlers) RestoreState(s grpc.ClientStreamingServer[pb.RestoreStateRequest, pb.RestoreStateResponse]) error {
	if h.fail != nil {
		return h.fail // without having read anything
	}
	sum := 0
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			h.ended <- err
			return err
		}
		sum += len(m.GetData())
		if len(m.GetData()) == 0 {
			h.begun <- struct{}{}
		}
	}
	if h.who(s.Context()) == "" {
		return errors.New("nobody")
	}
	return s.SendAndClose(&pb.RestoreStateResponse{Index: uint64(sum)})
}

func (h *handlers) register(s *grpc.Server) {
	pb.RegisterAdminServiceServer(s, h)
	pb.RegisterClusterServiceServer(s, h)
}

// pair is a leader and a follower.
type pair struct {
	*cluster
	leader, follower     *node
	atLeader, atFollower *handlers
	known                *leadership // by the follower
	auditor              *auditor    // of both
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{cluster: newCluster(t), atLeader: newHandlers("c1"), atFollower: newHandlers("c2"), auditor: &auditor{}}
	p.leader = p.start(nodeOptions{
		name: "c1", gate: p.cluster, register: p.atLeader.register,
		guard: transport.GuardOptions{Leader: leads("", true), Auditor: p.auditor},
	})
	p.known = leads(p.leader.address, false)
	p.follower = p.start(nodeOptions{
		name: "c2", gate: p.cluster, register: p.atFollower.register,
		guard: transport.GuardOptions{Leader: p.known, Auditor: p.auditor}, newGuard: hasty,
	})
	return p
}

// hasty guards wait for a leader for a moment only.
func hasty(o transport.GuardOptions) *transport.Guard {
	g := transport.NewGuard(o)
	g.WaitFor(300 * time.Millisecond)
	return g
}

// admin connects to a node as an operator.
func (p *pair) admin(n *node) *transport.Conn {
	return dial(p.t, n, p.holder(pki.RoleAdmin, "ann"))
}

const passedOn = "c1: admin ann from 127.0.0.1 via c2"

func TestTheLeaderAnswersCallsOfEachKind(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	conn := p.admin(p.follower)
	resp, err := pb.NewAdminServiceClient(conn).GetRun(t.Context(), &pb.GetRunRequest{Id: "r1"})
	if err != nil || resp.GetRun().GetId() != "r1 "+passedOn {
		t.Errorf("unary: %q, %v", resp.GetRun().GetId(), err)
	}
	watch, err := pb.NewAdminServiceClient(conn).WatchRun(t.Context(), &pb.WatchRunRequest{Id: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if m, err := watch.Recv(); err != nil || m.GetRun().GetId() != fmt.Sprint(i, " r1 ", passedOn) {
			t.Fatalf("message %d: %q, %v", i, m.GetRun().GetId(), err)
		}
	}
	if _, err := watch.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end of a stream: %v", err)
	}
	up, err := pb.NewClusterServiceClient(conn).RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := up.Send(&pb.RestoreStateRequest{Data: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := up.CloseAndRecv(); err != nil || m.GetIndex() != 100*1000 {
		t.Errorf("a stream of requests: %v, %v", m, err)
	}
	// At the leader itself nothing is passed on.
	resp, err = pb.NewAdminServiceClient(p.admin(p.leader)).GetRun(t.Context(), &pb.GetRunRequest{Id: "r1"})
	if want := "r1 c1: admin ann from 127.0.0.1 via "; err != nil || resp.GetRun().GetId() != want {
		t.Errorf("at the leader: %q, %v", resp.GetRun().GetId(), err)
	}
}

func TestErrorsOfTheLeaderComeAsTheyAre(t *testing.T) {
	t.Parallel()
	for what, fail := range map[string]error{
		"a problem":     full(problem.Corrupt),
		"a bare status": status.Error(codes.ResourceExhausted, "too much"),
		"unimplemented": status.Error(codes.Unimplemented, "not in this version"),
		"unavailable":   problem.New(problem.Unavailable, "the store is away").WithReason("store-away"),
		"a defect":      errors.New("oops"),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.atLeader.fail = fail
			var got [2][3]error // at the leader, at the follower; by kind
			for i, n := range []*node{p.leader, p.follower} {
				conn := p.admin(n)
				_, got[i][0] = pb.NewAdminServiceClient(conn).GetRun(t.Context(), &pb.GetRunRequest{})
				watch, err := pb.NewAdminServiceClient(conn).WatchRun(t.Context(), &pb.WatchRunRequest{})
				for err == nil {
					_, err = watch.Recv()
				}
				got[i][1] = err
				up, err := pb.NewClusterServiceClient(conn).RestoreState(t.Context())
				for err == nil { // it is not read: at last the leader's answer stops it
					err = up.Send(&pb.RestoreStateRequest{Data: make([]byte, 64<<10)})
				}
				if !errors.Is(err, io.EOF) {
					t.Errorf("sending ended with %v", err)
				}
				_, got[i][2] = up.CloseAndRecv()
			}
			want := transport.FromStatus(transport.ToStatus(fail))
			for i, kind := range []string{"unary", "server stream", "client stream"} {
				at, through := got[0][i], got[1][i]
				if problem.Text(at) != problem.Text(through) || problem.CodeOf(at) != problem.CodeOf(through) || problem.ReasonOf(at) != problem.ReasonOf(through) {
					t.Errorf("%s:\n%v\nat the leader, and through a follower\n%v", kind, problem.Text(at), problem.Text(through))
				}
				if problem.CodeOf(through) != problem.CodeOf(want) || problem.ReasonOf(through) != problem.ReasonOf(want) {
					t.Errorf("%s: %v, want %v", kind, through, want)
				}
			}
		})
	}
}

func TestCancellationReachesTheLeader(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	conn := p.admin(p.follower)
	for what, open := range map[string]func(context.Context) error{
		"unary": func(ctx context.Context) error {
			_, err := pb.NewAdminServiceClient(conn).GetRun(ctx, &pb.GetRunRequest{Id: "hold"})
			return err
		},
		"server stream": func(ctx context.Context) error {
			s, err := pb.NewAdminServiceClient(conn).WatchRun(ctx, &pb.WatchRunRequest{Id: "hold"})
			for err == nil {
				_, err = s.Recv()
			}
			return err
		},
		"client stream": func(ctx context.Context) error {
			s, err := pb.NewClusterServiceClient(conn).RestoreState(ctx)
			if err != nil {
				return err
			}
			if err := s.Send(&pb.RestoreStateRequest{}); err != nil {
				return err
			}
			return s.RecvMsg(&pb.RestoreStateResponse{}) // without an end of what is sent: that would be no cancellation
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- open(ctx) }()
		<-p.atLeader.begun
		cancel()
		if err := <-p.atLeader.ended; err == nil {
			t.Errorf("%s: the handler at the leader ended well", what)
		}
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the caller got %v", what, err)
		}
	}
	// So does the time that a caller gives.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := pb.NewAdminServiceClient(conn).GetRun(ctx, &pb.GetRunRequest{Id: "hold"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	if err := <-p.atLeader.ended; err == nil {
		t.Error("a deadline did not reach the leader")
	}
}

// The end of an identity's standing reaches what was passed on for it.
func TestRevocationReachesTheLeader(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	s, err := pb.NewAdminServiceClient(p.admin(p.follower)).WatchRun(t.Context(), &pb.WatchRunRequest{Id: "hold"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.atLeader.begun
	p.revoke(pb.Role_ROLE_ADMIN, "ann")
	if err := <-p.atLeader.ended; err == nil {
		t.Error("the handler goes on")
	}
	for err == nil {
		_, err = s.Recv()
	}
	if errors.Is(err, io.EOF) {
		t.Error("the stream ended well")
	}
}

func TestWithoutALeader(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.known.set("", false)
	conn := p.admin(p.follower)
	get := func(ctx context.Context) error {
		_, err := pb.NewAdminServiceClient(conn).GetRun(ctx, &pb.GetRunRequest{Id: "r1"}, grpc.WaitForReady(true))
		return err
	}
	// A method that reads is tried three times by the library.
	if err := get(t.Context()); problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != transport.ReasonNoLeader || !strings.Contains(problem.Text(err), "try again") {
		t.Errorf("got %v", err)
	}
	up, err := pb.NewClusterServiceClient(conn).RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = up.Send(&pb.RestoreStateRequest{})
	if _, err := up.CloseAndRecv(); problem.ReasonOf(err) != transport.ReasonNoLeader {
		t.Errorf("a stream: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- get(t.Context()) }()
	p.known.set(p.leader.address, false)
	if err := <-got; err != nil {
		t.Errorf("a leader is found meanwhile: %v", err)
	}
	p.known.set("", false)
	go func() { got <- get(t.Context()) }()
	p.known.set("", true)
	if err := <-got; err != nil {
		t.Errorf("this one leads meanwhile: %v", err)
	}
}

// A controller that was said to lead and does not has done nothing.
func TestALeaderThatDoesNotLead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	at := newHandlers("c1")
	own := leads("", false)
	first := c.start(nodeOptions{name: "c1", gate: c, register: at.register, guard: transport.GuardOptions{Leader: own}})
	known := leads(first.address, false)
	follower := c.start(nodeOptions{
		name: "c2", gate: c, register: newHandlers("c2").register,
		guard: transport.GuardOptions{Leader: known}, newGuard: func(o transport.GuardOptions) *transport.Guard {
			g := transport.NewGuard(o)
			g.WaitFor(20 * time.Second)
			return g
		},
	})
	p := &pair{cluster: c}
	conn := p.admin(follower)
	got := make(chan error, 2)
	go func() {
		_, err := pb.NewAdminServiceClient(conn).GetRun(t.Context(), &pb.GetRunRequest{Id: "r1"})
		got <- err
	}()
	go func() {
		s, err := pb.NewAdminServiceClient(conn).WatchRun(t.Context(), &pb.WatchRunRequest{Id: "r1"})
		if err == nil {
			_, err = s.Recv()
		}
		got <- err
	}()
	// It is asked meanwhile, and says no; then it leads.
	up, err := pb.NewClusterServiceClient(conn).RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = up.Send(&pb.RestoreStateRequest{})
	if _, err := up.CloseAndRecv(); problem.ReasonOf(err) != transport.ReasonNoLeader {
		t.Errorf("a stream of requests, which is not sent again: %v", err)
	}
	own.set("", true)
	for range 2 {
		if err := <-got; err != nil {
			t.Errorf("after it came to lead: %v", err)
		}
	}
}

// Two controllers that take each other for the leader pass nothing in circles.
func TestNothingIsPassedOnTwice(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	at := newHandlers("c3")
	back := leads(p.follower.address, false)
	third := p.start(nodeOptions{name: "c3", gate: p.cluster, register: at.register, guard: transport.GuardOptions{Leader: back}, newGuard: hasty})
	p.known.set(third.address, false)
	_, err := pb.NewAdminServiceClient(p.admin(p.follower)).GetRun(t.Context(), &pb.GetRunRequest{Id: "r1"})
	if problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != transport.ReasonNoLeader {
		t.Errorf("got %v", err)
	}
}

func TestALeaderThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	gone := listenTCP(t)
	gone.Close()
	p.known.set(gone.Addr().String(), false)
	conn := p.admin(p.follower)
	_, unary := pb.NewAdminServiceClient(conn).CancelRun(t.Context(), &pb.CancelRunRequest{})
	s, stream := pb.NewAdminServiceClient(conn).WatchRun(t.Context(), &pb.WatchRunRequest{})
	if stream == nil {
		_, stream = s.Recv()
	}
	for what, err := range map[string]error{"unary": unary, "stream": stream} {
		if problem.ReasonOf(err) != transport.ReasonNoLeader || !strings.Contains(err.Error(), "the leader, at "+gone.Addr().String()+", does not answer") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// No method of ours takes and gives a stream yet; this one does.
func TestBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	options := &descriptorpb.MethodOptions{}
	proto.SetExtension(options, pb.E_Access, &pb.Access{Roles: []pb.Role{pb.Role_ROLE_ADMIN}, Leader: true})
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("test/chat.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
		Dependency: []string{"baktainer/v1/admin.proto", "baktainer/v1/options.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Chat"), Method: []*descriptorpb.MethodDescriptorProto{{
			Name: proto.String("Talk"), InputType: proto.String(".baktainer.v1.GetRunRequest"), OutputType: proto.String(".baktainer.v1.CancelRunRequest"),
			ClientStreaming: proto.Bool(true), ServerStreaming: proto.Bool(true), Options: options,
		}}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := new(protoregistry.Files)
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	ofChat := func(o transport.GuardOptions) *transport.Guard {
		return transport.NewGuardOf(o, files, protoregistry.GlobalTypes)
	}
	ended := make(chan error, 1)
	register := func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Chat", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				for {
					in := &pb.GetRunRequest{}
					if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
						return full(problem.Conflict) // a word at the end
					} else if err != nil {
						ended <- err
						return err
					}
					if err := s.SendMsg(&pb.CancelRunRequest{Id: in.GetId() + "?"}); err != nil {
						return err
					}
				}
			},
		}}}, struct{}{})
	}
	c := newCluster(t)
	leader := c.start(nodeOptions{name: "c1", register: register, newGuard: ofChat, guard: transport.GuardOptions{Leader: leads("", true)}})
	follower := c.start(nodeOptions{name: "c2", register: register, newGuard: ofChat, guard: transport.GuardOptions{Leader: leads(leader.address, false)}})
	open := func(ctx context.Context) grpc.ClientStream {
		s, err := dial(t, follower, c.holder(pki.RoleAdmin, "ann")).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Chat/Talk")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 { // each answer before the next question
			out := &pb.CancelRunRequest{}
			if err := errors.Join(s.SendMsg(&pb.GetRunRequest{Id: fmt.Sprint(i)}), s.RecvMsg(out)); err != nil || out.GetId() != fmt.Sprint(i, "?") {
				t.Fatalf("%d: %q, %v", i, out.GetId(), err)
			}
		}
		return s
	}
	s := open(t.Context())
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&pb.CancelRunRequest{}); problem.Text(err) != problem.Text(full(problem.Conflict)) {
		t.Errorf("the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s = open(ctx)
	cancel()
	if err := s.RecvMsg(&pb.CancelRunRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the leader's handler ended well")
	}
}
