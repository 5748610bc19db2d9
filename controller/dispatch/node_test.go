package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// fakeNode is the state of a cluster without its consensus.
type fakeNode struct {
	t      testing.TB
	tables *state.Tables
	clock  clock.System // within a bubble of synctest, which has a time of its own

	mu    sync.Mutex
	index uint64
}

func (n *fakeNode) View() *state.View { return n.tables.View() }

func (n *fakeNode) Propose(_ context.Context, c *pb.Command) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	stamped := proto.CloneOf(c)
	stamped.Version, stamped.ProposedAt = state.CommandVersion, timestamppb.New(n.clock.Now())
	return n.tables.Apply(n.index, stamped)
}

// must has commands committed that are no dispatcher's.
func (n *fakeNode) must(cmds ...*pb.Command) {
	n.t.Helper()
	for _, c := range cmds {
		if err := n.Propose(n.t.Context(), c); err != nil {
			n.t.Fatalf("%v: %v", c, err)
		}
	}
}

func (n *fakeNode) run(id string) *pb.Run {
	n.t.Helper()
	r, ok := n.View().Run(id)
	if !ok {
		n.t.Fatalf("no run %s", id)
	}
	return r
}

// owner is the agent of a source, and the state that it is in.
func (n *fakeNode) owner(source string) string {
	s, _ := n.View().Source(source)
	return s.GetAgent() + " " + s.GetState().String()[len("SOURCE_STATE_"):]
}

func newNode(t testing.TB) *fakeNode { return &fakeNode{t: t, tables: state.New()} }

// office is one controller's side of the node.
type office struct {
	*fakeNode
	leads atomic.Bool
}

func (o *office) IsLeader() bool { return o.leads.Load() }

func (o *office) CommandLevel() uint32 { return state.CommandVersion }

// dispatcher gives a leader over the node's state, which does not run yet.
func (n *fakeNode) dispatcher(change func(*Options)) *Dispatcher {
	n.t.Helper()
	key, err := repo.NewSourceKey(make([]byte, 32), 1)
	if err != nil {
		n.t.Fatal(err)
	}
	at := &office{fakeNode: n}
	at.leads.Store(true)
	o := Options{
		Node:    at,
		Key:     func(string, uint32) (repo.SourceKey, error) { return key, nil },
		Damaged: func(context.Context, string) ([]string, error) { return nil, nil },
		Clock:   n.clock, Logger: slog.New(slog.DiscardHandler),
		LeaseDuration: time.Minute, AgentDeadline: time.Hour, Tick: time.Second,
	}
	if change != nil {
		change(&o)
	}
	d := New(o)
	d.began = n.clock.Now()
	return d
}

// leader is a dispatcher that runs.
type leader struct {
	*fakeNode
	*Dispatcher
	stop func() // it does not lead any more
}

func (n *fakeNode) leader(change func(*Options)) *leader {
	l := &leader{fakeNode: n, Dispatcher: n.dispatcher(change)}
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	l.stop = func() {
		l.Node.(*office).leads.Store(false)
		cancel()
		<-done
	}
	synctest.Wait()
	return l
}

// end is the agent's end of a session.
type end struct {
	grpc.ServerStream
	*leader
	agent, session string
	ctx            context.Context
	hangUp         func()

	mu       sync.Mutex
	messages []*pb.SessionResponse
	last     string
	err      error
	over     bool
}

func (e *end) Context() context.Context { return e.ctx }

func (e *end) Send(m *pb.SessionResponse) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.GetAppliesTo() != e.last {
		e.t.Errorf("a message applies to %q after %q", m.GetAppliesTo(), e.last)
	}
	e.last = m.GetResultsIn()
	e.messages = append(e.messages, proto.CloneOf(m))
	return nil
}

// connect opens a session, and reports the sources unless there are none.
func (l *leader) connect(req *pb.SessionRequest, sources ...*pb.Source) *end {
	l.t.Helper()
	e := &end{leader: l, agent: req.GetAgent()}
	e.ctx, e.hangUp = context.WithCancel(l.t.Context())
	go func() {
		err := l.Session(req, e)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.err, e.over = err, true
	}()
	synctest.Wait()
	e.mu.Lock()
	if e.over || len(e.messages) != 1 || e.messages[0].GetType() != pb.SessionResponse_TYPE_COMPLETE {
		l.t.Fatalf("the session begins with %v, %v", e.messages, e.err)
	}
	e.session = e.messages[0].GetSession()
	e.mu.Unlock()
	if sources != nil {
		e.report(sources...)
	}
	return e
}

func (e *end) report(sources ...*pb.Source) {
	e.t.Helper()
	if err := e.tell(&pb.ReportInventoryRequest{Sources: sources}); err != nil {
		e.t.Fatal(err)
	}
}

func (e *end) tell(req *pb.ReportInventoryRequest) error {
	req.Agent, req.Session = e.agent, e.session
	_, err := e.ReportInventory(e.t.Context(), req)
	synctest.Wait()
	return err
}

func (e *end) beat(leases ...*pb.Lease) *pb.HeartbeatResponse {
	e.t.Helper()
	req := &pb.HeartbeatRequest{Agent: e.agent, Session: e.session, TrustVersion: 3}
	for _, l := range leases {
		req.Runs = append(req.Runs, &pb.RunProgress{Lease: l})
	}
	resp, err := e.Heartbeat(e.t.Context(), req)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

// told takes the messages that have come since it was called last, once all is quiet.
func (e *end) told() []*pb.SessionResponse {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.messages
	e.messages = nil
	return all
}

// assigned takes the leases that have come.
func (e *end) assigned() (leases []*pb.Lease) {
	for _, m := range e.told() {
		for _, a := range m.GetAssign() {
			leases = append(leases, a.GetLease())
		}
	}
	return leases
}

// ended is how the session ended, once all is quiet; over is false while it goes on.
func (e *end) ended() (over bool, err error) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over, e.err
}

// pass lets time pass, with heartbeats of the agents so that they are not lost.
func (l *leader) pass(d time.Duration, alive ...func()) {
	l.t.Helper()
	for ; d > 0; d -= 10 * time.Second {
		if err := clock.Sleep(l.t.Context(), min(d, 10*time.Second)); err != nil {
			l.t.Fatal(err)
		}
		for _, beat := range alive {
			beat()
		}
	}
	synctest.Wait()
}

func asks(agent, host string, concurrency int32, held ...*pb.Lease) *pb.SessionRequest {
	return &pb.SessionRequest{Agent: agent, Host: host, Version: "1.0", Concurrency: concurrency, Held: held}
}

func ready(name string) *pb.Source { return src(name, pb.SourceState_SOURCE_STATE_READY) }

func stopped(name string) *pb.Source { return src(name, pb.SourceState_SOURCE_STATE_STOPPED) }

func backupOf(id, source string) *pb.Run {
	return &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, Trigger: "manual", FireTime: timestamppb.New(noon)}
}

func queueOf(runs ...*pb.Run) *pb.Command {
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: runs}}}
}

func endOf(r *pb.Run) *pb.Command {
	return &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: r.GetId(), Epoch: r.GetEpoch(), State: pb.RunState_RUN_STATE_FAILED}}}
}

func setAgent(id string, concurrency int32, drained bool) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetAgent{SetAgent: &pb.SetAgentRecord{Agent: &pb.AgentRecord{Id: id, Concurrency: concurrency, Drained: drained}}}}
}

func setLimits(total, perHost int32) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: total, PerHost: perHost}}}}
}

func wantCode(t *testing.T, err error, want problem.Code) {
	t.Helper()
	if err == nil || problem.CodeOf(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
