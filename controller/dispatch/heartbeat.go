package dispatch

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Heartbeats come at least every shortest and at most four times in a lease;
// between these their period grows with the number of agents.
const (
	shortest     = 2 * time.Second
	perAgent     = 20 * time.Millisecond
	leasePortion = 4
)

// live is what an agent last told of a run that it is at.
type live struct {
	epoch    uint64
	progress *pb.Progress
	logs     []*pb.LogLine
}

// Heartbeat implements the agent's service.
func (d *Dispatcher) Heartbeat(_ context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if err := d.mustLead(); err != nil {
		return nil, err
	}
	agents, err := d.seen(req)
	if err != nil {
		return nil, err
	}
	resp := &pb.HeartbeatResponse{Period: durationpb.New(d.period(agents))}
	for _, r := range req.GetRuns() {
		if d.renew(req.GetAgent(), r.GetLease()) {
			resp.Renewed = append(resp.Renewed, r.GetLease())
			d.hear(r)
		} else {
			resp.Lost = append(resp.Lost, r.GetLease())
		}
	}
	return resp, nil
}

func (d *Dispatcher) period(agents int) time.Duration {
	return min(max(shortest, time.Duration(agents)*perAgent), d.LeaseDuration/leasePortion)
}

// seen notes that the agent is alive, and returns how many agents there are.
func (d *Dispatcher) seen(req *pb.HeartbeatRequest) (agents int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.inSession(req.GetAgent(), req.GetSession())
	if err != nil {
		return 0, err
	}
	a.lastSeen, a.providers, a.trust = d.Clock.Now(), req.GetProviders(), req.GetTrustVersion()
	return len(d.agents), nil
}

// inSession returns the agent if that is its session. d.mu is held.
func (d *Dispatcher) inSession(id, session string) (*agent, error) {
	a := d.agents[id]
	if a == nil || a.session == nil || a.session.id != session {
		return nil, problem.New(problem.NotFound, "the agent %s has no such session here", id).WithHint("Open a new session.")
	}
	return a, nil
}

// hear keeps the progress and the last log lines of a run.
func (d *Dispatcher) hear(r *pb.RunProgress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.live[r.GetLease().GetRun()]
	if l == nil || l.epoch != r.GetLease().GetEpoch() {
		l = &live{epoch: r.GetLease().GetEpoch()}
		d.live[r.GetLease().GetRun()] = l
	}
	l.progress = r.GetProgress()
	if len(r.GetLogs()) > 0 {
		logs := slices.Concat(l.logs, state.BoundedLogs(r.GetLogs()))
		l.logs = logs[max(0, len(logs)-state.MaxLogLines):]
	}
	close(d.news)
	d.news = make(chan struct{})
}

// News returns a channel that is closed when there is newer progress of a run.
func (d *Dispatcher) News() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.news
}

// WithProgress returns the run with what its agent last told of it, where there
// is anything.
func (d *Dispatcher) WithProgress(r *pb.Run) *pb.Run {
	if r.GetState() != pb.RunState_RUN_STATE_RUNNING {
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.live[r.GetId()]
	if l == nil || l.epoch != r.GetEpoch() {
		return r
	}
	told := proto.CloneOf(r)
	told.Progress, told.Logs = l.progress, l.logs
	return told
}

// LogsOf are the lines that the agent told while it was at the run, for a run
// whose last message has none.
func (d *Dispatcher) LogsOf(l *pb.Lease) []*pb.LogLine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.live[l.GetRun()]; known != nil && known.epoch == l.GetEpoch() {
		return known.logs
	}
	return nil
}
