package controller_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const patience = 30 * time.Second // for what happens at once on an idle machine

// cluster is a whole controller: real Raft on disk, real gRPC, a store in
// memory, and a clock that moves when told to. What survives a restart is in it.
type cluster struct {
	t       *testing.T
	dir     string
	clock   *clock.Manual
	store   *mem.Store
	repo    *repo.Repository
	options controller.Options

	node      *consensus.Node
	ctl       *controller.Controller
	admin     pb.AdminServiceClient
	agent     pb.AgentServiceClient
	retention pb.RetentionServiceClient
	server    *grpc.Server
	stop      func()
	stopRun   func() // the first half of stop
}

func newCluster(t *testing.T, change func(*controller.Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), store: mem.New(), clock: clock.NewManual(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))}
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.repo, err = repo.Create(t.Context(), c.store, key, c.clock.Now()); err != nil {
		t.Fatal(err)
	}
	c.options = controller.Options{
		Repo: c.repo, Store: c.store, Clock: c.clock, Logger: slog.New(slog.DiscardHandler), Version: "test", Tick: 5 * time.Millisecond,
	}
	if change != nil {
		change(&c.options)
	}
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

// start starts the controller on what the data folder and the store hold.
func (c *cluster) start() {
	c.t.Helper()
	var err error
	c.node, err = consensus.Open(consensus.Options{
		Dir: c.dir, Tables: state.New(), Clock: c.clock, Logger: c.options.Logger, ElectionTimeout: 20 * time.Millisecond,
		Fatal: func(err error) { c.t.Error(err) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.options.Node = c.node
	if c.ctl, err = controller.New(c.options); err != nil {
		c.t.Fatal(err)
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	c.server = server
	c.ctl.Register(server)
	listener := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(listener) }()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.ctl.Run(ctx) }()
	conn, err := grpc.NewClient("passthrough:bufconn", append(transport.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.admin, c.agent, c.retention = pb.NewAdminServiceClient(conn), pb.NewAgentServiceClient(conn), pb.NewRetentionServiceClient(conn)
	c.stopRun = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
	c.stop = func() {
		c.stop = func() {}
		conn.Close()
		c.stopRun()
		server.Stop()
		if err := c.node.Shutdown(context.Background()); err != nil {
			c.t.Error(err)
		}
	}
	c.await("leadership", c.node.IsLeader)
}

func (c *cluster) restart() {
	c.t.Helper()
	c.stop()
	c.start()
}

// await waits until the condition holds, looking again at every change of the state.
func (c *cluster) await(what string, holds func() bool) {
	c.t.Helper()
	limit := time.After(patience)
	for {
		changed := c.node.View().Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // for what is not in the state
		case <-limit:
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (c *cluster) awaitRun(id string, want pb.RunState) *pb.Run {
	c.t.Helper()
	var r *pb.Run
	c.await(fmt.Sprintf("run %s to become %s", id, want), func() bool {
		r, _ = c.node.View().Run(id)
		return r.GetState() == want
	})
	return r
}

// backup asks for a backup by hand and returns the run's id.
func (c *cluster) backup(source string) string {
	c.t.Helper()
	resp, err := c.admin.StartBackup(c.t.Context(), &pb.StartBackupRequest{Sources: []string{source}})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetRuns()[0].GetId()
}

// scripted is an agent that does what the test says.
type scripted struct {
	*cluster
	id, session string
	stream      grpc.ServerStreamingClient[pb.SessionResponse]
	hangUp      func()
	complete    *pb.SessionResponse
	last        string
}

func ready(name string) *pb.Source {
	return &pb.Source{Name: name, State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres", Container: &pb.Container{Id: "c-" + name, Name: name}}
}

// connect opens a session, holding leases, and reports the sources.
func (c *cluster) connect(id string, concurrency int32, held []*pb.Lease, sources ...*pb.Source) *scripted {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(cancel)
	stream, err := c.agent.Session(ctx, &pb.SessionRequest{Agent: id, Host: "host-" + id, Version: "test", Concurrency: concurrency, Held: held})
	if err != nil {
		c.t.Fatal(err)
	}
	a := &scripted{cluster: c, id: id, stream: stream, hangUp: cancel}
	if a.complete, err = stream.Recv(); err != nil {
		c.t.Fatal(err)
	}
	if a.complete.GetType() != pb.SessionResponse_TYPE_COMPLETE {
		c.t.Fatalf("a session begins with %v", a.complete)
	}
	a.session, a.last = a.complete.GetSession(), a.complete.GetResultsIn()
	if _, err := c.agent.ReportInventory(ctx, &pb.ReportInventoryRequest{Agent: id, Session: a.session, Sources: sources}); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// next waits for the next message of the session.
func (a *scripted) next() *pb.SessionResponse {
	a.t.Helper()
	type result struct {
		m   *pb.SessionResponse
		err error
	}
	got := make(chan result, 1)
	go func() {
		m, err := a.stream.Recv()
		got <- result{m, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			a.t.Fatal(r.err)
		}
		if r.m.GetAppliesTo() != a.last {
			a.t.Fatalf("a message applies to %q after %q", r.m.GetAppliesTo(), a.last)
		}
		a.last = r.m.GetResultsIn()
		return r.m
	case <-time.After(patience):
		a.t.Fatal("no message from the controller")
		return nil
	}
}

// assigned waits for one assignment.
func (a *scripted) assigned() *pb.Assignment {
	a.t.Helper()
	for {
		if m := a.next(); len(m.GetAssign()) == 1 {
			return m.GetAssign()[0]
		} else if len(m.GetAssign()) > 1 {
			a.t.Fatalf("several assignments: %v", m.GetAssign())
		}
	}
}

func (a *scripted) beat(runs ...*pb.RunProgress) *pb.HeartbeatResponse {
	a.t.Helper()
	resp, err := a.agent.Heartbeat(a.t.Context(), &pb.HeartbeatRequest{
		Agent: a.id, Session: a.session, Runs: runs, Providers: []*pb.ProviderHealth{{Name: "docker", Healthy: true}},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

// sink sends objects as the agent does.
type sink struct {
	*scripted
	lease *pb.Lease
}

func (s sink) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	stream, err := s.agent.UploadObject(ctx)
	if err != nil {
		return err
	}
	header := &pb.ObjectHeader{Lease: s.lease, Name: name, Size: int64(len(data)), Sha256: sum[:]}
	_ = stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Header{Header: header}})
	_ = stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: bytes.Clone(data)}})
	_, err = stream.CloseAndRecv() // tells what went wrong with the sending, too
	return err
}

// contentsOfAll is what the snapshots hold that write makes: more tables than one
// message tells of, one with a name that is no UTF-8.
func contentsOfAll() repo.Contents {
	c := repo.Contents{Notes: []string{"dumped by hand"}}
	for i := range 1203 {
		c.Objects = append(c.Objects, engine.Object{Kind: "table", Name: fmt.Sprintf("t%d", i), Rows: int64(i - 1)})
	}
	c.Objects[7].Name = "caf\xe9"
	c.Common, c.Objects[5].Sections = []engine.Section{{Offset: 0, Length: 1}}, []engine.Section{{Offset: 3, Length: 2}}
	return c
}

// write makes the snapshot that the assignment asks for, and returns the
// request that commits it.
func (a *scripted) write(as *pb.Assignment, dump string) (*pb.CommitSnapshotRequest, error) {
	key, err := repo.NewSourceKey(as.GetSourceKey(), as.GetKeyGeneration())
	if err != nil {
		return nil, err
	}
	w, err := repo.NewWriter(a.t.Context(), repo.WriterOptions{
		Source: as.GetSource(), Snapshot: as.GetBackup().GetSnapshot(), Key: key, Workers: 1, InFlight: 1,
	}, sink{a, as.GetLease()})
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	stream, err := w.Stream(repo.StreamMeta{Name: "shop.sql", Kind: "database", Database: "shop", Format: "plain"})
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte(dump)); err != nil {
		return nil, err
	}
	if _, err := stream.Close(contentsOfAll()); err != nil {
		return nil, err
	}
	sum, err := w.Finish(a.t.Context())
	if err != nil {
		return nil, err
	}
	s := &pb.Snapshot{
		Id: as.GetBackup().GetSnapshot(), Source: as.GetSource(), Engine: "postgres", Server: "PostgreSQL 15", RawBytes: sum.RawBytes, NewBytes: sum.NewBytes,
		ManifestSha256: sum.Manifest[:], ManifestSize: sum.ManifestSize, Root: sum.Root[:],
	}
	for _, st := range sum.Streams {
		s.Streams = append(s.Streams, &pb.Stream{Name: st.Name, Kind: st.Kind, Database: st.Database, Format: st.Format, Size: st.Size, Sha256: st.SHA256[:]})
	}
	return &pb.CommitSnapshotRequest{Lease: as.GetLease(), Snapshot: s, Logs: []*pb.LogLine{{Level: "info", Message: "dumped"}}}, nil
}

// carryOut makes and commits the snapshot.
func (a *scripted) carryOut(as *pb.Assignment, dump string) *pb.CommitSnapshotRequest {
	a.t.Helper()
	req, err := a.write(as, dump)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.agent.CommitSnapshot(a.t.Context(), req); err != nil {
		a.t.Fatal(err)
	}
	return req
}
