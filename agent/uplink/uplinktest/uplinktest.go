// Package uplinktest is a controller for tests of the agent: it says what a test
// tells it to, over real gRPC, and keeps what the agent says. Nothing else of
// the agent's tests knows of the wire.
package uplinktest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// patience is for what happens at once on an idle machine.
const patience = 30 * time.Second

// period is the one of heartbeats, short so that tests need not wait for one.
const period = 10 * time.Millisecond

// Controller is the double. Its zero answers are those of a controller that
// agrees with everything: every lease is renewed, every object taken.
type Controller struct {
	pb.UnimplementedAgentServiceServer
	t        testing.TB
	conn     *grpc.ClientConn
	store    store.Store
	sessions chan *Session

	mu      sync.Mutex
	changed chan struct{}
	heard   Heard
	answers Answers
	opened  int
}

// Heard is all that agents have said so far, in order.
type Heard struct {
	Beats       []*pb.HeartbeatRequest
	Inventories []*pb.ReportInventoryRequest
	Commits     []*pb.CommitSnapshotRequest
	Ends        []*pb.FinishRunRequest
}

// Answers replace what the controller answers by itself. They must not block.
type Answers struct {
	// Beat answers a heartbeat of a session with these runs in hand; nil renews them.
	Beat func(session string, held []uplink.Lease) (uplink.Beat, error)
	// Inventory, Commit and End say what is wrong with a call, nil: nothing.
	Inventory, Commit, End func() error
}

// Session is one session that an agent has opened.
type Session struct {
	ID    string
	Hello *pb.SessionRequest

	say  chan *pb.SessionResponse
	end  chan error
	last int
}

// Start starts a controller that keeps objects in st. Close ends it.
func Start(t testing.TB, st store.Store) *Controller {
	c := &Controller{t: t, store: st, sessions: make(chan *Session), changed: make(chan struct{})}
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAgentServiceServer(server, c)
	listener := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	conn, err := grpc.NewClient("passthrough:bufconn", append(transport.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	c.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
	})
	return c
}

// Client is an agent's end of the wire.
func (c *Controller) Client(agent string, clk clock.Clock) *uplink.Client {
	return uplink.New(c.conn, agent, clk)
}

// Answer sets what is answered from now on.
func (c *Controller) Answer(a Answers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = a
}

// Heard is what was said so far.
func (c *Controller) Heard() Heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// Await waits until enough says yes of what was heard so far.
func (c *Controller) Await(what string, enough func(Heard) bool) Heard {
	c.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		heard, changed := c.heard, c.changed
		c.mu.Unlock()
		if enough(heard) {
			return heard
		}
		select {
		case <-changed:
		case <-timeout.C:
			c.t.Fatalf("the controller waited in vain for %s; it heard %+v", what, heard)
		}
	}
}

// hear takes note and returns the answers that hold at present.
func (c *Controller) hear(note func(*Heard)) Answers {
	c.mu.Lock()
	defer c.mu.Unlock()
	note(&c.heard)
	close(c.changed)
	c.changed = make(chan struct{})
	return c.answers
}

// NextSession waits for an agent to open a session.
func (c *Controller) NextSession() *Session {
	c.t.Helper()
	select {
	case s := <-c.sessions:
		return s
	case <-time.After(patience):
		c.t.Fatal("no session was opened")
		return nil
	}
}

// Complete says all that the agent is to do.
func (s *Session) Complete(as ...uplink.Assignment) {
	m := &pb.SessionResponse{Session: s.ID, Type: pb.SessionResponse_TYPE_COMPLETE, ResultsIn: "0"}
	s.last = 0
	for _, a := range as {
		m.Assign = append(m.Assign, onWire(a))
	}
	s.say <- m
}

// Assign adds to what the agent is to do.
func (s *Session) Assign(as ...uplink.Assignment) {
	m := s.change()
	for _, a := range as {
		m.Assign = append(m.Assign, onWire(a))
	}
	s.say <- m
}

// Cancel asks the agent to stop runs.
func (s *Session) Cancel(ls ...uplink.Lease) {
	m := s.change()
	for _, l := range ls {
		m.Cancel = append(m.Cancel, &pb.Lease{Run: l.Run, Epoch: l.Epoch})
	}
	s.say <- m
}

// Skip makes the next change one that does not follow on the last message.
func (s *Session) Skip() { s.last++ }

// End ends the session with err.
func (s *Session) End(err error) { s.end <- err }

func (s *Session) change() *pb.SessionResponse {
	s.last++
	return &pb.SessionResponse{
		Session: s.ID, Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: fmt.Sprint(s.last - 1), ResultsIn: fmt.Sprint(s.last),
	}
}

func onWire(a uplink.Assignment) *pb.Assignment {
	w := &pb.Assignment{
		Lease: &pb.Lease{Run: a.Lease.Run, Epoch: a.Lease.Epoch}, Source: a.Source,
		LeaseDuration: durationpb.New(a.Duration), Traceparent: a.Traceparent, SourceKey: a.Key.Secret(),
	}
	switch {
	case a.Backup != nil:
		b := &pb.BackupWork{Snapshot: a.Backup.Snapshot, FireTime: timestamppb.New(a.Backup.FireTime)}
		for _, r := range a.Backup.Base {
			b.Base = append(b.Base, refOnWire(r))
		}
		w.Work = &pb.Assignment_Backup{Backup: b}
	case a.Restore != nil:
		r := a.Restore
		w.Work = &pb.Assignment_Restore{Restore: &pb.RestoreWork{
			Snapshot: refOnWire(r.Snapshot), SnapshotSource: r.Snapshot.Source, Engine: r.Engine,
			Request: &pb.RestoreRequest{
				TargetContainer: r.Container, Select: r.Select, Overwrite: r.Overwrite, DryRun: r.DryRun, NoOwner: r.NoOwner,
			},
		}}
	}
	return w
}

func refOnWire(r repo.Ref) *pb.SnapshotRef {
	return &pb.SnapshotRef{Snapshot: r.Snapshot, ManifestSha256: r.Manifest[:], ManifestSize: r.Size}
}
