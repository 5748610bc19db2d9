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

// Locate implements the agent's service.
func (n *node) Locate(ctx context.Context, req *pb.LocateRequest) (*pb.LocateResponse, error) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.old {
		return n.UnimplementedAgentServiceServer.Locate(ctx, req)
	}
	return &pb.LocateResponse{Controllers: c.list(n.id)}, nil
}

// list is what a controller says of all of them. c.mu is held.
func (c *Cluster) list(node string) []*pb.ControllerInfo {
	if c.answers.Locate != nil {
		return c.answers.Locate(node)
	}
	var list []*pb.ControllerInfo
	for _, n := range c.nodes {
		list = append(list, &pb.ControllerInfo{Id: n.id, Address: n.listed, Leader: n.id == c.leader})
	}
	return list
}

// Session implements the agent's service.
func (n *node) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	if err := n.meet(Event{Call: Opening}); err != nil {
		return err
	}
	deposed, err := n.leads()
	if err != nil {
		return err
	}
	c := n.cluster
	c.mu.Lock()
	c.opened++
	s := &Session{ID: fmt.Sprintf("session-%d", c.opened), Node: n.id, Hello: req, say: make(chan *pb.SessionResponse), end: make(chan error)}
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
			if m.GetType() == pb.SessionResponse_TYPE_COMPLETE {
				c.mu.Lock()
				if !c.old {
					m.Controllers = c.list(n.id)
				}
				c.mu.Unlock()
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case <-deposed:
			return errNotLeading
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Heartbeat implements the agent's service.
func (n *node) Heartbeat(_ context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if _, err := n.leads(); err != nil {
		return nil, err
	}
	answers := n.cluster.hear(func(h *Heard) { h.Beats = append(h.Beats, req) })
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
func (n *node) ReportInventory(_ context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	if _, err := n.leads(); err != nil {
		return nil, err
	}
	answers := n.cluster.hear(func(h *Heard) { h.note(req) })
	return &pb.ReportInventoryResponse{}, ask(answers.Inventory)
}

// FinishRun implements the agent's service.
func (n *node) FinishRun(_ context.Context, req *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	if _, err := n.leads(); err != nil {
		return nil, err
	}
	answers := n.cluster.hear(func(h *Heard) { h.Ends = append(h.Ends, req) })
	return &pb.FinishRunResponse{}, ask(answers.End)
}

// SendLogs implements the agent's service.
func (n *node) SendLogs(_ context.Context, req *pb.SendLogsRequest) (*pb.SendLogsResponse, error) {
	if _, err := n.leads(); err != nil {
		return nil, err
	}
	n.cluster.hear(func(h *Heard) { h.Logs = append(h.Logs, req) })
	return &pb.SendLogsResponse{}, nil
}

// CommitSnapshot implements the agent's service.
func (n *node) CommitSnapshot(_ context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	if err := n.meet(Event{Call: Committing}); err != nil {
		return nil, err
	}
	answers := n.cluster.hear(func(h *Heard) { h.Commits = append(h.Commits, req) })
	if err := ask(answers.Commit); err != nil {
		return nil, err
	}
	return &pb.CommitSnapshotResponse{LedgerIndex: 1}, n.meet(Event{Call: Committed})
}

func ask(answer func() error) error {
	if answer == nil {
		return nil
	}
	return answer()
}

// UploadObject implements the agent's service.
func (n *node) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	h := first.GetHeader()
	var data []byte
	for {
		if err := n.meet(Event{Call: Uploading, Object: h.GetName(), Bytes: len(data)}); err != nil {
			return err
		}
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
	if _, err := n.cluster.store.Put(stream.Context(), h.GetName(), bytes.NewReader(data)); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	if err := n.meet(Event{Call: Uploaded, Object: h.GetName(), Bytes: len(data)}); err != nil {
		return err
	}
	return stream.SendAndClose(&pb.UploadObjectResponse{Receipt: n.receipt(h)})
}

// ReadObject implements the agent's service.
func (n *node) ReadObject(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	rc, err := n.cluster.store.Get(stream.Context(), req.GetName(), req.GetOffset(), req.GetLength())
	if errors.Is(err, store.ErrNotExist) {
		return problem.New(problem.NotFound, "%s is not in the store", req.GetName())
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	for sent := 0; err == nil && sent < len(data); {
		if err = n.meet(Event{Call: Reading, Object: req.GetName(), Bytes: sent}); err != nil {
			return err
		}
		part := data[sent:min(sent+readPart, len(data))]
		sent += len(part)
		err = stream.Send(&pb.ReadObjectResponse{Data: part})
	}
	if err != nil {
		return err
	}
	return n.meet(Event{Call: Sent, Object: req.GetName(), Bytes: len(data)})
}

// readPart is how much of an object goes into one message.
const readPart = 1000
