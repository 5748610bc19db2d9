package dispatch

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Session implements the agent's service: it registers the agent and streams
// what it is to do until the agent leaves, another session of it begins, or
// leadership is lost.
func (d *Dispatcher) Session(req *pb.SessionRequest, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	if !state.NamePattern.MatchString(req.GetAgent()) {
		return problem.New(problem.InvalidInput, "the agent's id %.70q is not made of 1 to 64 letters, digits, '_', '.' and '-', first a letter or digit", req.GetAgent())
	}
	if err := d.mustLead(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	s := &session{id: rand.Text(), end: cancel, ended: ctx.Done(), changed: make(chan struct{}, 1)}
	d.enter(req, s)
	defer d.leave(req.GetAgent(), s)
	d.Logger.Info("agent connected", "agent", req.GetAgent(), "host", req.GetHost(), "version", req.GetVersion(), "held", len(req.GetHeld()))
	if err := d.settle(ctx, req); err != nil {
		return err
	}
	return d.stream(ctx, req.GetAgent(), s, stream)
}

func (d *Dispatcher) mustLead() error {
	if !d.Node.IsLeader() {
		return problem.New(problem.Unavailable, "this controller does not lead at present").WithHint("Try again in a few seconds.")
	}
	return nil
}

// enter makes s the agent's session and ends the one before.
func (d *Dispatcher) enter(req *pb.SessionRequest, s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.agents[req.GetAgent()]
	if a == nil {
		a = &agent{id: req.GetAgent()}
		d.agents[req.GetAgent()] = a
	}
	a.endSession(problem.New(problem.Conflict, "another session of the agent %s has begun", a.id))
	a.host, a.version, a.lastSeen, a.session = req.GetHost(), req.GetVersion(), d.Clock.Now(), s
	a.concurrency = max(1, min(state.MaxConcurrency, int(req.GetConcurrency())))
}

func (d *Dispatcher) leave(agent string, s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.agents[agent]; a != nil && a.session == s {
		a.session = nil
		a.lastSeen = d.Clock.Now()
		d.Logger.Info("agent disconnected", "agent", agent)
	}
}

// settle goes through the runs leased to an agent that has just come (back):
// what it still holds is renewed, what it has lost with a crash is taken back at
// once rather than at the end of the lease.
func (d *Dispatcher) settle(ctx context.Context, req *pb.SessionRequest) error {
	held := map[string]uint64{}
	for _, l := range req.GetHeld() {
		held[l.GetRun()] = l.GetEpoch()
	}
	for _, r := range d.Node.View().LeasedTo(req.GetAgent()) {
		if epoch, ok := held[r.GetId()]; ok && epoch == r.GetEpoch() {
			d.renew(req.GetAgent(), &pb.Lease{Run: r.GetId(), Epoch: epoch})
			continue
		}
		d.Logger.Warn("the agent came back without the run", "run", r.GetId(), "source", r.GetSource(), "agent", req.GetAgent())
		if err := d.release(ctx, r, "it was restarted"); err != nil {
			return fmt.Errorf("take back run %s: %w", r.GetId(), err)
		}
	}
	return nil
}

// told is what an agent was told last.
type told struct {
	runs map[string]*pb.Run // by id
	whereabouts
}

// stream sends assignments: all of them first, then changes.
func (d *Dispatcher) stream(ctx context.Context, agent string, s *session, stream grpc.ServerStreamingServer[pb.SessionResponse]) error {
	told := &told{runs: map[string]*pb.Run{}}
	m := &pb.SessionResponse{Session: s.id, Type: pb.SessionResponse_TYPE_COMPLETE, ResultsIn: "0"}
	d.kick()
	for n := 1; ; n++ {
		moved := told.follow(d.whereabouts(), m)
		d.changes(agent, s, told.runs, m)
		m.Logs = d.nextAsk(s)
		if moved || m.GetLogs() != nil || m.GetType() == pb.SessionResponse_TYPE_COMPLETE || len(m.GetAssign())+len(m.GetCancel()) > 0 {
			if err := stream.Send(m); err != nil {
				return fmt.Errorf("send assignments: %w", err)
			}
			m = &pb.SessionResponse{Session: s.id, Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: m.GetResultsIn(), ResultsIn: fmt.Sprint(n)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.changed:
		}
	}
}

// follow puts into m where the controllers are and whom to trust, where that is
// news to the agent, and says whether it is.
func (t *told) follow(now whereabouts, m *pb.SessionResponse) bool {
	first, trust := m.GetType() == pb.SessionResponse_TYPE_COMPLETE, now.trust != t.trust
	controllers := !now.sameControllers(t.whereabouts)
	if first || controllers {
		m.Controllers = now.controllers
	}
	if first || trust {
		m.TrustVersion = now.trust
	}
	t.whereabouts = now
	return controllers || trust
}

// changes puts into m what differs between what the agent was told and what it
// is to do, and takes note of it in told. A run that has ended is not
// cancelled: either the agent ended it, or its heartbeat says that it is lost.
func (d *Dispatcher) changes(agent string, s *session, told map[string]*pb.Run, m *pb.SessionResponse) {
	view := d.Node.View()
	leased, desired := view.LeasedTo(agent), map[string]bool{}
	for _, r := range leased {
		desired[r.GetId()] = true
		was := told[r.GetId()]
		if was.GetEpoch() != r.GetEpoch() {
			m.Assign = append(m.Assign, d.assignment(view, r))
		}
		if r.GetCancelRequested() && (was.GetEpoch() != r.GetEpoch() || !was.GetCancelRequested()) {
			m.Cancel = append(m.Cancel, &pb.Lease{Run: r.GetId(), Epoch: r.GetEpoch()})
		}
		told[r.GetId()] = r
	}
	for id, was := range told {
		if desired[id] {
			continue
		}
		if now, ok := view.Run(id); ok && now.GetState() == pb.RunState_RUN_STATE_QUEUED {
			m.Cancel = append(m.Cancel, &pb.Lease{Run: id, Epoch: was.GetEpoch()})
		}
		delete(told, id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.desired = leased // in the view's order, for tellSessions to compare with
}
