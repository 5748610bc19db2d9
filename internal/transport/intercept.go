package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/baktainer/baktainer/internal/problem"
)

func serveUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if v := recover(); v != nil {
			resp, err = nil, ToStatus(panicked(ctx, info.FullMethod, v))
		}
	}()
	resp, err = handle(ctx, req)
	return resp, ToStatus(err)
}

func serveStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = ToStatus(panicked(stream.Context(), info.FullMethod, v))
		}
	}()
	return ToStatus(handle(srv, serverStream{stream}))
}

// panicked logs a panic with its stack and returns what the caller may know.
// The value itself is only told when the runtime made it: others might hold
// anything, such as a password.
func panicked(ctx context.Context, method string, value any) error {
	what := fmt.Sprintf("%T", value)
	if e, ok := value.(runtime.Error); ok {
		what = e.Error()
	}
	slog.ErrorContext(ctx, "a call panicked", "method", method, "panic", what, "stack", string(debug.Stack()))
	return problem.New(problem.Internal, "%s met a defect of Baktainer", method).
		WithReason(reasonPanic).WithHint("The log of the process that answered has the stack; please report it.")
}

func callUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromStatus(invoke(ctx, method, req, reply, cc, opts...))
}

func callStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, FromStatus(err)
	}
	return clientStream{stream}, nil
}

// clientStream and serverStream hand out problems where gRPC hands out statuses.
type clientStream struct{ grpc.ClientStream }

func (s clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, FromStatus(err)
}
func (s clientStream) CloseSend() error    { return FromStatus(s.ClientStream.CloseSend()) }
func (s clientStream) SendMsg(m any) error { return unlessEOF(s.ClientStream.SendMsg(m)) }
func (s clientStream) RecvMsg(m any) error { return unlessEOF(s.ClientStream.RecvMsg(m)) }

type serverStream struct{ grpc.ServerStream }

func (s serverStream) SendMsg(m any) error { return unlessEOF(s.ServerStream.SendMsg(m)) }
func (s serverStream) RecvMsg(m any) error { return unlessEOF(s.ServerStream.RecvMsg(m)) }

// unlessEOF keeps io.EOF, which on streams is a word of the protocol.
func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return FromStatus(err)
}

// Stop lets the server finish its calls until ctx ends, and then ends them.
func Stop(ctx context.Context, server *grpc.Server) {
	done := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		server.Stop()
		<-done
	}
}
