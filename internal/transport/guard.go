package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// GuardOptions are what a guard asks. Those that may be nil say so.
type GuardOptions struct {
	Clock clock.Clock
	// Gate says which certificates count; nil: all, until they expire.
	Gate Gate
	// Auditor records calls; nil: nobody does.
	Auditor Auditor
	// Leader says who answers; nil: this process does. With it goes Holder, for
	// connections to the leader.
	Leader Leader
	Holder *Holder
	// Secret is the one that controllers which start together have in common; nil,
	// or empty: there is none.
	Secret func() string
}

// Guard stands before every method of a controller's servers: it finds out who
// calls, whether that caller may, has it recorded, and passes on what the leader
// is to answer.
type Guard struct {
	GuardOptions
	judge   judge
	methods map[string]method
	types   *protoregistry.Types
	leaders *Peers
	wait    time.Duration // for a leader
}

// NewGuard makes a guard.
func NewGuard(o GuardOptions) *Guard {
	return newGuard(o, protoregistry.GlobalFiles, protoregistry.GlobalTypes)
}

func newGuard(o GuardOptions, files *protoregistry.Files, types *protoregistry.Types) *Guard {
	g := &Guard{GuardOptions: o, judge: judge{o.Gate, o.Clock}, methods: describe(files), types: types, wait: leaderTime}
	if o.Holder != nil {
		g.leaders = &Peers{holder: o.Holder, plain: true}
	}
	return g
}

// ServerOptions are those of every gRPC server, and the guard.
func (g *Guard) ServerOptions() []grpc.ServerOption {
	return append(ServerOptions(), grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream))
}

// Close closes the connections to leaders.
func (g *Guard) Close() error {
	if g.leaders == nil {
		return nil
	}
	return g.leaders.Close()
}

// admit says who calls, and whether that caller may call the method.
func (g *Guard) admit(ctx context.Context, name string) (Caller, method, error) {
	c, err := identify(ctx)
	if err != nil {
		return c, method{}, err
	}
	m, ok := g.methods[name]
	if !ok {
		return c, m, problem.New(problem.Internal, "%s does not say who may call it", name)
	}
	if err := g.standing(c, m); err != nil {
		return c, m, err
	}
	return c, m, m.refuse(c, name)
}

// standing says why the caller is not heard any more, if so. What anybody may
// call, those may too whose certificate does not count.
func (g *Guard) standing(c Caller, m method) error {
	if !m.access.GetAnyone() {
		return g.judge.refuse(c)
	}
	if c.relay != nil {
		return g.judge.refuse(*c.relay)
	}
	return nil
}

func (g *Guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	c, m, err := g.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	ctx = withCaller(ctx, c)
	prove, err := g.proven(ctx, req)
	if err != nil {
		return nil, err
	}
	msg, _ := req.(proto.Message) // gRPC's codec takes no others
	end, err := g.audit(ctx, c, m, info.FullMethod, msg)
	if err != nil {
		return nil, err
	}
	var resp any
	failure := errPanicked // if it does not come to an end
	defer func() { end(failure) }()
	resp, failure = g.answer(ctx, c, m, info.FullMethod, msg, handle)
	if failure != nil {
		return nil, failure
	}
	return resp, prove(resp)
}

// answer has the handler answer, or the leader.
func (g *Guard) answer(ctx context.Context, c Caller, m method, name string, req proto.Message, handle grpc.UnaryHandler) (any, error) {
	if !m.access.GetLeader() || g.Leader == nil {
		return handle(ctx, req)
	}
	return g.unaryByLeader(ctx, c, m, name, req, handle)
}

func (g *Guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	c, m, err := g.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	guarded := &guardedStream{ServerStream: ss, ctx: withCaller(ss.Context(), c), check: func() error { return g.standing(c, m) }}
	end := func(error) {}
	if g.audits(c, m) {
		if guarded.first, err = g.receive(guarded, m); err != nil {
			return err
		}
		if end, err = g.audit(guarded.ctx, c, m, info.FullMethod, guarded.first); err != nil {
			return err
		}
	}
	failure := errPanicked // if it does not come to an end
	defer func() { end(failure) }()
	if !m.access.GetLeader() || g.Leader == nil {
		failure = handle(srv, guarded)
	} else {
		failure = g.streamByLeader(c, m, srv, guarded, info, handle)
	}
	return failure
}

var errPanicked error = problem.New(problem.Internal, "the call met a defect of Baktainer").WithReason(reasonPanic)

// receive gives the first message of a stream, before the handler sees it.
func (g *Guard) receive(stream grpc.ServerStream, m method) (proto.Message, error) {
	first, err := g.message(m.input)
	if err != nil {
		return nil, err
	}
	err = stream.RecvMsg(first)
	if errors.Is(err, io.EOF) {
		err = problem.New(problem.InvalidInput, "nothing was sent with the call")
	}
	return first, err
}

// message makes an empty message of a type.
func (g *Guard) message(name protoreflect.FullName) (proto.Message, error) {
	t, err := g.types.FindMessageByName(name)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, err, "make a %s", name)
	}
	return t.New().Interface(), nil
}

// guardedStream is a stream of a caller that may lose its standing meanwhile:
// nothing more is taken from it then, and nothing sent to it.
type guardedStream struct {
	grpc.ServerStream
	ctx   context.Context
	check func() error  // the caller's standing
	first proto.Message // received already
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (s *guardedStream) RecvMsg(m any) error {
	if first := s.first; first != nil {
		s.first = nil
		if into, ok := m.(proto.Message); ok {
			proto.Merge(into, first)
			return s.check()
		}
	}
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.check() // it may have waited for long
}

func (s *guardedStream) SendMsg(m any) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}
