package uplinktest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Session implements the agent's service.
func (c *Controller) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	c.mu.Lock()
	c.opened++
	s := &Session{ID: fmt.Sprintf("session-%d", c.opened), Hello: req, say: make(chan *pb.SessionResponse), end: make(chan error)}
	c.mu.Unlock()
	ctx := stream.Context()
	select {
	case c.sessions <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case m := <-s.say:
			if err := stream.Send(m); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Heartbeat implements the agent's service.
func (c *Controller) Heartbeat(_ context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	answers := c.hear(func(h *Heard) { h.Beats = append(h.Beats, req) })
	var held []uplink.Lease
	for _, r := range req.GetRuns() {
		held = append(held, uplink.Lease{Run: r.GetLease().GetRun(), Epoch: r.GetLease().GetEpoch()})
	}
	b := uplink.Beat{Renewed: held}
	if answers.Beat != nil {
		var err error
		if b, err = answers.Beat(req.GetSession(), held); err != nil {
			return nil, err
		}
	}
	return &pb.HeartbeatResponse{
		Period: durationpb.New(cmp.Or(b.Period, period)), Renewed: leases(b.Renewed), Lost: leases(b.Lost),
	}, nil
}

func leases(ls []uplink.Lease) []*pb.Lease {
	var out []*pb.Lease
	for _, l := range ls {
		out = append(out, &pb.Lease{Run: l.Run, Epoch: l.Epoch})
	}
	return out
}

// ReportInventory implements the agent's service.
func (c *Controller) ReportInventory(_ context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	answers := c.hear(func(h *Heard) { h.Inventories = append(h.Inventories, req) })
	return &pb.ReportInventoryResponse{}, ask(answers.Inventory)
}

// CommitSnapshot implements the agent's service.
func (c *Controller) CommitSnapshot(_ context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	answers := c.hear(func(h *Heard) { h.Commits = append(h.Commits, req) })
	return &pb.CommitSnapshotResponse{LedgerIndex: 1}, ask(answers.Commit)
}

// FinishRun implements the agent's service.
func (c *Controller) FinishRun(_ context.Context, req *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	answers := c.hear(func(h *Heard) { h.Ends = append(h.Ends, req) })
	return &pb.FinishRunResponse{}, ask(answers.End)
}

func ask(answer func() error) error {
	if answer == nil {
		return nil
	}
	return answer()
}

// UploadObject implements the agent's service.
func (c *Controller) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	h := first.GetHeader()
	var data []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		data = append(data, m.GetData()...)
	}
	if sum := sha256.Sum256(data); int64(len(data)) != h.GetSize() || !bytes.Equal(sum[:], h.GetSha256()) {
		return problem.New(problem.InvalidInput, "%s is not what its header says", h.GetName())
	}
	if _, err := c.store.Put(stream.Context(), h.GetName(), bytes.NewReader(data)); err != nil {
		return err
	}
	return stream.SendAndClose(&pb.UploadObjectResponse{})
}

// ReadObject implements the agent's service.
func (c *Controller) ReadObject(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	rc, err := c.store.Get(stream.Context(), req.GetName(), req.GetOffset(), req.GetLength())
	if errors.Is(err, store.ErrNotExist) {
		return problem.New(problem.NotFound, "%s is not in the store", req.GetName())
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	for ; err == nil && len(data) > 0; data = data[min(len(data), 1000):] {
		err = stream.Send(&pb.ReadObjectResponse{Data: data[:min(len(data), 1000)]})
	}
	return err
}
