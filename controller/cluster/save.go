package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// maxState bounds a raft snapshot that is taken in, in bytes. One of a million
// snapshots has less than a tenth of it.
const maxState = 8 << 30

// SaveState implements the cluster service.
func (s *Service) SaveState(_ *pb.SaveStateRequest, stream grpc.ServerStreamingServer[pb.SaveStateResponse]) error {
	out := &parts{send: func(data []byte) error { return stream.Send(&pb.SaveStateResponse{Data: data}) }}
	if _, err := s.Node.Save(stream.Context(), out); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return out.flush()
}

// parts gathers what is written into messages.
type parts struct {
	send func([]byte) error
	buf  []byte
}

func (p *parts) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if p.buf == nil { // a new one each time: gRPC may still hold the last one
			p.buf = make([]byte, 0, transport.DataMessage)
		}
		n := min(len(rest), cap(p.buf)-len(p.buf))
		p.buf, rest = append(p.buf, rest[:n]...), rest[n:]
		if len(p.buf) == cap(p.buf) {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (p *parts) flush() error {
	full := p.buf
	p.buf = nil
	if len(full) == 0 {
		return nil
	}
	return p.send(full)
}

// RestoreState implements the cluster service. Nothing is replaced before all of
// the raft snapshot has come and been checked.
func (s *Service) RestoreState(stream grpc.ClientStreamingServer[pb.RestoreStateRequest, pb.RestoreStateResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return problem.New(problem.InvalidInput, "no raft snapshot was sent")
	}
	if err != nil {
		return fmt.Errorf("receive a raft snapshot: %w", err)
	}
	in := &arriving{recv: stream.Recv, left: maxState}
	in.take(first.GetData())
	if err := s.Node.Restore(stream.Context(), in, first.GetOtherCluster()); err != nil {
		return err
	}
	if err := stream.SendAndClose(&pb.RestoreStateResponse{Index: s.Node.View().Index()}); err != nil {
		return fmt.Errorf("answer that the state is restored: %w", err)
	}
	return nil
}

// arriving reads a raft snapshot as it comes.
type arriving struct {
	recv func() (*pb.RestoreStateRequest, error)
	part bytes.Reader
	left int64
}

func (a *arriving) take(data []byte) {
	a.left -= int64(len(data))
	a.part.Reset(data)
}

func (a *arriving) Read(p []byte) (int, error) {
	for a.part.Len() == 0 {
		m, err := a.recv()
		if err != nil {
			return 0, err // io.EOF too: a snapshot that was cut does not pass the check
		}
		if a.take(m.GetData()); a.left < 0 {
			return 0, problem.New(problem.InvalidInput, "the raft snapshot has more than %d bytes", int64(maxState))
		}
	}
	return a.part.Read(p)
}
