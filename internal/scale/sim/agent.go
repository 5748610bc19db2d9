// Package sim has agents that are none: they speak to a controller as an agent
// does, over the same wire, and dump nothing. A process has room for thousands
// of them.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Back-off between sessions, and the first heartbeat's period: as the real agent's.
const (
	firstBeat   = 5 * time.Second
	minPause    = 200 * time.Millisecond
	maxPause    = 15 * time.Second
	goodSession = 30 * time.Second
	beatLimit   = 10 * time.Second
)

// Events are told what happens to an agent. Any of them may be nil; none may block.
type Events struct {
	// Session: a session is open, and it took so long since it was wanted.
	Session func(took time.Duration)
	// Beat: a heartbeat was answered, or was not.
	Beat func(took time.Duration, err error)
	// Assigned: a run was leased to the agent that it did not have yet.
	Assigned func(*pb.Assignment)
	// Renewed and Lost: what a heartbeat said of a lease.
	Renewed, Lost func(*pb.Lease)
	// Reported: the sources were reported in a session.
	Reported func()
	// Ended: a session has ended, or was not opened at all.
	Ended func(opened bool, err error)
}

// Options are what an agent is made of.
type Options struct {
	ID      string
	Sources []*pb.Source
	// Concurrency is how many runs it says it takes at once.
	Concurrency int
	// Client gives the controller for the next session.
	Client func() pb.AgentServiceClient
	Events Events
	Clock  clock.Clock
}

// Agent is one agent.
type Agent struct {
	Options

	mu   sync.Mutex
	held map[string]*pb.Lease // by run
}

// New returns an agent that does nothing before Run.
func New(o Options) *Agent { return &Agent{Options: o, held: map[string]*pb.Lease{}} }

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) {
	pause, wanted := minPause, a.Clock.Now()
	for ctx.Err() == nil {
		began := a.Clock.Now()
		opened, err := a.session(ctx, wanted)
		wanted = a.Clock.Now()
		if f := a.Events.Ended; f != nil {
			f(opened, err)
		}
		if wanted.Sub(began) > goodSession {
			pause = minPause
		}
		_ = clock.Sleep(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter needs no secrecy
		pause = min(2*pause, maxPause)
	}
}

// session holds one session until it ends and says why it did.
func (a *Agent) session(ctx context.Context, wanted time.Time) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	client := a.Client()
	stream, err := client.Session(ctx, &pb.SessionRequest{Agent: a.ID, Host: a.ID, Version: "sim", Concurrency: int32(a.Concurrency), Held: a.Held()})
	if err != nil {
		return false, fmt.Errorf("open a session: %w", err)
	}
	for last := ""; ; opened = true {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return opened, errors.New("the controller ended the session")
		}
		if err != nil {
			return opened, fmt.Errorf("receive assignments: %w", err)
		}
		complete := m.GetType() == pb.SessionResponse_TYPE_COMPLETE
		if !complete && m.GetAppliesTo() != last {
			return opened, fmt.Errorf("receive assignments: %q does not follow %q", m.GetAppliesTo(), last)
		}
		if !opened {
			if f := a.Events.Session; f != nil {
				f(a.Clock.Now().Sub(wanted))
			}
			parts.Go(func() { a.beat(ctx, cancel, client, m.GetSession()) })
			parts.Go(func() { a.report(ctx, client, m.GetSession()) })
		}
		last = m.GetResultsIn()
		a.take(m, complete)
	}
}

// take takes in what the controller says is the agent's to do.
func (a *Agent) take(m *pb.SessionResponse, complete bool) {
	a.mu.Lock()
	var fresh []*pb.Assignment
	if complete {
		keep := map[string]*pb.Lease{}
		for _, as := range m.GetAssign() {
			if l := a.held[as.GetLease().GetRun()]; l.GetEpoch() == as.GetLease().GetEpoch() && l != nil {
				keep[l.GetRun()] = l
			}
		}
		a.held = keep
	}
	for _, as := range m.GetAssign() {
		if l := as.GetLease(); a.held[l.GetRun()].GetEpoch() < l.GetEpoch() {
			a.held[l.GetRun()] = l
			fresh = append(fresh, as)
		}
	}
	for _, l := range m.GetCancel() {
		a.drop(l)
	}
	a.mu.Unlock()
	for _, as := range fresh {
		if f := a.Events.Assigned; f != nil {
			f(as)
		}
	}
}

// drop forgets exactly that lease. a.mu is held.
func (a *Agent) drop(l *pb.Lease) {
	if a.held[l.GetRun()].GetEpoch() == l.GetEpoch() {
		delete(a.held, l.GetRun())
	}
}

// Drop says that the agent is done with a lease.
func (a *Agent) Drop(l *pb.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(l)
}

// Held are the leases that the agent has.
func (a *Agent) Held() []*pb.Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*pb.Lease
	for _, l := range a.held {
		all = append(all, l)
	}
	return all
}

// beat sends heartbeats until the session ends, and ends it when the controller
// does not know it.
func (a *Agent) beat(ctx context.Context, giveUp func(), client pb.AgentServiceClient, session string) {
	for period := firstBeat; ctx.Err() == nil; {
		req := &pb.HeartbeatRequest{Agent: a.ID, Session: session}
		for _, l := range a.Held() {
			req.Runs = append(req.Runs, &pb.RunProgress{Lease: l, Progress: &pb.Progress{Phase: "simulated"}})
		}
		began := a.Clock.Now()
		limited, cancel := context.WithTimeout(ctx, beatLimit)
		resp, err := client.Heartbeat(limited, req)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if f := a.Events.Beat; f != nil {
			f(a.Clock.Now().Sub(began), err)
		}
		switch {
		case problem.CodeOf(err) == problem.NotFound:
			giveUp()
			return
		case err == nil:
			a.heard(resp)
			if resp.GetPeriod().AsDuration() > 0 {
				period = resp.GetPeriod().AsDuration()
			}
		}
		_ = clock.Sleep(ctx, period) // its only error ends the loop
	}
}

func (a *Agent) heard(resp *pb.HeartbeatResponse) {
	for _, l := range resp.GetRenewed() {
		if f := a.Events.Renewed; f != nil {
			f(l)
		}
	}
	for _, l := range resp.GetLost() {
		a.Drop(l)
		if f := a.Events.Lost; f != nil {
			f(l)
		}
	}
}

// report tells the sources, once in a session.
func (a *Agent) report(ctx context.Context, client pb.AgentServiceClient, session string) {
	for ctx.Err() == nil {
		_, err := client.ReportInventory(ctx, &pb.ReportInventoryRequest{Agent: a.ID, Session: session, Sources: a.Sources})
		if err == nil {
			if f := a.Events.Reported; f != nil {
				f()
			}
			return
		}
		_ = clock.Sleep(ctx, time.Second)
	}
}
