package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds of requests for an agent's log.
const (
	usualLogLines = 200
	maxLogLines   = 2_000
	maxLogAsks    = 4 // of one agent at once
	logsLimit     = 10 * time.Second
)

// logWait is somebody who waits for an agent's log.
type logWait struct {
	agent string
	lines int
	got   chan []*pb.LogLine
}

// RequestLogs asks a connected agent for the last lines of its log, and waits for
// them.
func (d *Dispatcher) RequestLogs(ctx context.Context, agent string, lines int) ([]*pb.LogLine, error) {
	if err := d.mustLead(); err != nil {
		return nil, err
	}
	if lines <= 0 {
		lines = usualLogLines
	}
	w := &logWait{agent: agent, lines: min(lines, maxLogLines), got: make(chan []*pb.LogLine, 1)}
	id := rand.Text()
	ended, err := d.ask(id, w)
	if err != nil {
		return nil, err
	}
	defer d.unask(id)
	ctx, cancel := context.WithTimeout(ctx, logsLimit)
	defer cancel()
	select {
	case logs := <-w.got:
		return logs, nil
	case <-ended:
		return nil, problem.New(problem.Unavailable, "the agent %s was lost before it sent its log", agent).WithReason(ReasonNoAgent).
			WithHint("Try again once it is connected.")
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, problem.Wrap(problem.Cancelled, ctx.Err(), "wait for the log of the agent %s", agent)
		}
		return nil, problem.New(problem.Unavailable, "the agent %s did not send its log in time", agent).
			WithHint("An agent of an older version cannot; look at the log on its host.")
	}
}

// ask puts a request into the agent's session; ended is closed when that ends.
func (d *Dispatcher) ask(id string, w *logWait) (ended <-chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.agents[w.agent]
	switch {
	case a == nil:
		return nil, problem.New(problem.NotFound, "the agent %.70q has not been seen here", w.agent).WithReason(ReasonNoAgent).
			WithHint("`baktainer agent ls` lists the agents.")
	case a.session == nil:
		return nil, problem.New(problem.Unavailable, "the agent %s is not connected", w.agent).WithReason(ReasonNoAgent).
			WithHint("Look at its log on its host %s.", a.host)
	}
	waiting := 0
	for _, other := range d.asked {
		if other.agent == w.agent {
			waiting++
		}
	}
	if waiting >= maxLogAsks {
		return nil, problem.New(problem.Unavailable, "%d others wait for the log of the agent %s already", waiting, w.agent).WithHint("Try again in a few seconds.")
	}
	d.asked[id] = w
	a.session.asks = append(a.session.asks, &pb.LogRequest{Id: id, Lines: int32(w.lines)})
	a.session.signal()
	return a.session.ended, nil
}

func (d *Dispatcher) unask(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asked, id)
}

// nextAsk takes the next request for logs from the session.
func (d *Dispatcher) nextAsk(s *session) *pb.LogRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(s.asks) > 0 {
		next := s.asks[0]
		s.asks = s.asks[1:]
		if d.asked[next.GetId()] == nil {
			continue // nobody waits for it any more
		}
		if len(s.asks) > 0 {
			s.signal()
		}
		return next
	}
	return nil
}

// SendLogs implements the agent's service.
func (d *Dispatcher) SendLogs(_ context.Context, req *pb.SendLogsRequest) (*pb.SendLogsResponse, error) {
	if err := d.mustLead(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.asked[req.GetId()]
	if w == nil || w.agent != req.GetAgent() {
		return nil, problem.New(problem.NotFound, "nobody waits for that log any more")
	}
	delete(d.asked, req.GetId())
	w.got <- lastLines(req.GetLogs(), w.lines)
	return &pb.SendLogsResponse{}, nil
}

// lastLines keeps the last lines, each of a bounded length.
func lastLines(logs []*pb.LogLine, most int) []*pb.LogLine {
	logs = logs[max(0, len(logs)-most):]
	kept := make([]*pb.LogLine, 0, len(logs))
	for part := range slices.Chunk(logs, state.MaxLogLines) {
		kept = append(kept, state.BoundedLogs(part)...)
	}
	return kept
}
