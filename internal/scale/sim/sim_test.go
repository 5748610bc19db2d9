package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// controller is a small one: what it says comes through channels.
type controller struct {
	pb.UnimplementedAgentServiceServer
	store    *mem.Store
	sessions chan *session

	mu        sync.Mutex
	beats     []*pb.HeartbeatRequest
	inventory []*pb.ReportInventoryRequest
	lost      []string // runs
	unknown   bool     // no session is known
	commits   []*pb.CommitSnapshotRequest
}

type session struct {
	hello *pb.SessionRequest
	say   chan *pb.SessionResponse
	end   chan error
}

func (c *controller) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	s := &session{hello: req, say: make(chan *pb.SessionResponse), end: make(chan error)}
	select {
	case c.sessions <- s:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	for {
		select {
		case m := <-s.say:
			if err := stream.Send(m); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (c *controller) Heartbeat(_ context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = append(c.beats, req)
	if c.unknown {
		return nil, problem.New(problem.NotFound, "no such session")
	}
	resp := &pb.HeartbeatResponse{Period: durationpb.New(10 * time.Millisecond)}
	for _, r := range req.GetRuns() {
		if slices.Contains(c.lost, r.GetLease().GetRun()) {
			resp.Lost = append(resp.Lost, r.GetLease())
		} else {
			resp.Renewed = append(resp.Renewed, r.GetLease())
		}
	}
	return resp, nil
}

func (c *controller) ReportInventory(_ context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inventory = append(c.inventory, req)
	return &pb.ReportInventoryResponse{}, nil
}

func (c *controller) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	var header *pb.ObjectHeader
	var body bytes.Buffer
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if m.GetHeader() != nil {
			header = m.GetHeader()
		}
		body.Write(m.GetData())
	}
	if sum := sha256.Sum256(body.Bytes()); !bytes.Equal(sum[:], header.GetSha256()) || header.GetSize() != int64(body.Len()) {
		return problem.New(problem.InvalidInput, "the bytes are not those announced")
	}
	if _, err := c.store.Put(stream.Context(), header.GetName(), &body); err != nil {
		return err
	}
	return stream.SendAndClose(&pb.UploadObjectResponse{Receipt: &pb.Receipt{Name: header.GetName()}})
}

func (c *controller) CommitSnapshot(_ context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits = append(c.commits, req)
	return &pb.CommitSnapshotResponse{}, nil
}

func serve(t *testing.T) (*controller, pb.AgentServiceClient) {
	t.Helper()
	c := &controller{sessions: make(chan *session), store: mem.New()}
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAgentServiceServer(s, c)
	go func() { _ = s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:bufconn", append(transport.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
	})
	return c, pb.NewAgentServiceClient(conn)
}

// told gathers an agent's events.
type told struct {
	assigned chan *pb.Assignment
	lost     chan *pb.Lease
	ended    chan error
	sessions chan time.Duration
	beats    chan error
}

func start(t *testing.T, client pb.AgentServiceClient) (*Agent, told) {
	t.Helper()
	e := told{make(chan *pb.Assignment, 99), make(chan *pb.Lease, 99), make(chan error, 99), make(chan time.Duration, 99), make(chan error, 9999)}
	a := New(Options{
		ID: "a1", Sources: []*pb.Source{{Name: "s1"}}, Client: func() pb.AgentServiceClient { return client }, Clock: clock.System{},
		Events: Events{
			Session: func(took time.Duration) { e.sessions <- took }, Beat: func(_ time.Duration, err error) { e.beats <- err },
			Assigned: func(a *pb.Assignment) { e.assigned <- a }, Lost: func(l *pb.Lease) { e.lost <- l }, Ended: func(_ bool, err error) { e.ended <- err },
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return a, e
}

func assignment(run string, epoch uint64) *pb.Assignment {
	return &pb.Assignment{Lease: &pb.Lease{Run: run, Epoch: epoch}}
}

func complete(as ...*pb.Assignment) *pb.SessionResponse {
	return &pb.SessionResponse{Session: "x", Type: pb.SessionResponse_TYPE_COMPLETE, ResultsIn: "0", Assign: as}
}

func get[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	c, client := serve(t)
	a, e := start(t, client)
	s := get(t, c.sessions)
	if s.hello.GetAgent() != "a1" || len(s.hello.GetHeld()) != 0 {
		t.Errorf("hello %v", s.hello)
	}
	s.say <- complete(assignment("r1", 1))
	get(t, e.sessions)
	if as := get(t, e.assigned); as.GetLease().GetRun() != "r1" {
		t.Errorf("assigned %v", as)
	}
	s.say <- &pb.SessionResponse{Session: "x", Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: "0", ResultsIn: "1", Assign: []*pb.Assignment{assignment("r2", 1), assignment("r1", 1)}}
	if as := get(t, e.assigned); as.GetLease().GetRun() != "r2" {
		t.Errorf("assigned %v", as)
	}
	if err := get(t, e.beats); err != nil {
		t.Error(err)
	}

	// A lease that a heartbeat calls lost is dropped, and so is one that is cancelled.
	c.mu.Lock()
	c.lost = []string{"r1"}
	c.mu.Unlock()
	if l := get(t, e.lost); l.GetRun() != "r1" {
		t.Errorf("lost %v", l)
	}
	s.say <- &pb.SessionResponse{Session: "x", Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: "1", ResultsIn: "2", Assign: []*pb.Assignment{assignment("r3", 4)}, Cancel: []*pb.Lease{{Run: "r2", Epoch: 1}}}
	get(t, e.assigned)

	// After the session it comes back with what it has.
	s.end <- problem.New(problem.Unavailable, "this controller does not lead any more")
	_ = get(t, e.ended)
	s = get(t, c.sessions)
	if held := s.hello.GetHeld(); len(held) != 1 || held[0].GetRun() != "r3" || held[0].GetEpoch() != 4 {
		t.Errorf("held %v", held)
	}
	s.say <- complete(assignment("r3", 4), assignment("r4", 1))
	if as := get(t, e.assigned); as.GetLease().GetRun() != "r4" {
		t.Errorf("what it has already is assigned to it: %v", as)
	}
	a.Drop(&pb.Lease{Run: "r4", Epoch: 1})
	a.Drop(&pb.Lease{Run: "r3", Epoch: 3}) // an older one
	if held := a.Held(); len(held) != 1 || held[0].GetRun() != "r3" {
		t.Errorf("held %v", held)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inventory) == 0 || c.inventory[0].GetSources()[0].GetName() != "s1" || c.inventory[0].GetSession() != "x" {
		t.Errorf("inventory %v", c.inventory)
	}
}

// What a complete message does not name is the agent's no longer.
func TestCompleteReplaces(t *testing.T) {
	t.Parallel()
	c, client := serve(t)
	a, e := start(t, client)
	s := get(t, c.sessions)
	s.say <- complete(assignment("r1", 1), assignment("r2", 1))
	get(t, e.assigned)
	get(t, e.assigned)
	s.say <- complete(assignment("r2", 1), assignment("r1", 2))
	if as := get(t, e.assigned); as.GetLease().GetRun() != "r1" || as.GetLease().GetEpoch() != 2 {
		t.Errorf("a newer epoch is not taken: %v", as)
	}
	s.say <- complete()
	s.say <- complete(assignment("r5", 1))
	get(t, e.assigned)
	if held := a.Held(); len(held) != 1 || held[0].GetRun() != "r5" {
		t.Errorf("held %v", held)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	c, client := serve(t)
	_, e := start(t, client)
	s := get(t, c.sessions)
	s.say <- complete()
	s.say <- &pb.SessionResponse{Session: "x", Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: "7", ResultsIn: "8"}
	if err := get(t, e.ended); err == nil {
		t.Error("a gap in the messages is passed over")
	}
	c.mu.Lock()
	c.unknown = true
	c.mu.Unlock()
	s = get(t, c.sessions)
	s.say <- complete()
	_ = get(t, e.ended) // the heartbeat has said that the session is not known
}

func TestStore(t *testing.T) {
	t.Parallel()
	c, client := serve(t)
	a := &pb.Assignment{
		Lease: &pb.Lease{Run: "r1", Epoch: 1}, Source: "s1", SourceKey: bytes.Repeat([]byte{7}, 32),
		Work: &pb.Assignment_Backup{Backup: &pb.BackupWork{Snapshot: "01ARZ3NDEKTSV4RRFFQ69G5FAV", FireTime: timestamppb.New(time.Unix(1000, 0))}},
	}
	s, err := Store(t.Context(), client, a, []byte("some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Receipts) != 2 || s.Wire.GetRawBytes() != 10 || len(s.Wire.GetStreams()) != 1 || len(s.Wire.GetManifestSha256()) != 32 {
		t.Errorf("stored %v with %d receipts", s.Wire, len(s.Receipts))
	}
	if err := s.Commit(t.Context(), client, a.GetLease()); err != nil || len(c.commits) != 1 || len(c.commits[0].GetReceipts()) != 2 {
		t.Errorf("commit: %v, %v", err, c.commits)
	}
	if _, err := Store(t.Context(), client, a, []byte("some other bytes")); err == nil {
		t.Error("a manifest took the place of another")
	}
	a.SourceKey = nil
	if _, err := Store(t.Context(), client, a, nil); err == nil || fmt.Sprint(err) == "" {
		t.Error("a snapshot without a key")
	}
}
