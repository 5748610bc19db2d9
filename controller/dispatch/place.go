package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// seat is an agent as far as placing runs is concerned.
type seat struct {
	connected bool // and has reported its sources in this session
	drained   bool
	host      string
	size      int // how many runs it takes at once
	running   int
}

// placement is what to do with a queued run: one of the four is set.
type placement struct {
	agent string           // lease it to this agent
	wait  string           // leave it queued, and why
	fail  *problem.Problem // end it
	skip  *problem.Problem // end it as cancelled
}

// hall is what placing depends on.
type hall struct {
	view     *state.View
	seats    map[string]*seat
	busy     map[string]string // sources that cannot be touched now, and why
	pruned   map[string]bool   // sources that are being pruned
	limits   *pb.Limits
	running  int
	hosts    map[string]int // runs that are at work on each host
	now      time.Time
	began    time.Time // of this leadership: agents need time to find the leader
	deadline time.Duration
}

func (d *Dispatcher) hall(view *state.View) *hall {
	return &hall{
		view: view, seats: d.seats(view), busy: map[string]string{}, pruned: map[string]bool{}, limits: view.Limits(), hosts: map[string]int{},
		now: d.Clock.Now(), began: d.leadsSince(), deadline: d.AgentDeadline,
	}
}

// occupy takes a seat and the sources for a run.
func (h *hall) occupy(r *pb.Run, agent string) {
	for _, name := range state.Touches(r) {
		if r.GetKind() != pb.RunKind_RUN_KIND_DRILL {
			h.busy[name] = "another run is at work on " + name
		}
	}
	h.running++
	if s := h.seats[agent]; s != nil {
		s.running++
		h.hosts[s.host]++
	}
}

// place decides what to do with one queued run.
func (h *hall) place(r *pb.Run) placement {
	if p, early := h.outOfTurn(r); early {
		return p
	}
	agent, src, fail := h.agentFor(r)
	if fail != nil {
		return placement{fail: fail.WithSource(r.GetSource())}
	}
	s := h.seats[agent]
	if s == nil || !s.connected {
		if since := later(later(r.GetQueuedAt().AsTime(), r.GetNotBefore().AsTime()), h.began); h.now.Sub(since) > h.deadline {
			return placement{fail: problem.New(problem.Unavailable, "the agent %s was not there for %s", agent, h.deadline).
				WithReason(ReasonNoAgent).WithSource(r.GetSource()).WithHint("Start the agent on the source's host again.")}
		}
		return placement{wait: fmt.Sprintf("the agent %s is not connected", agent)}
	}
	if s.drained {
		return placement{wait: fmt.Sprintf("the agent %s is drained", agent)}
	}
	if fail := h.check(r, src); fail != nil {
		return placement{fail: fail.WithSource(r.GetSource())}
	}
	for _, name := range state.Touches(r) {
		if why := h.busy[name]; why != "" && (h.pruned[name] || r.GetKind() != pb.RunKind_RUN_KIND_DRILL) {
			return placement{wait: why}
		}
	}
	if why := h.full(agent, s); why != "" {
		return placement{wait: why}
	}
	return placement{agent: agent}
}

// full says why no more can be done at once by the agent, on its host or in all;
// "" when there is room.
func (h *hall) full(agent string, s *seat) string {
	perHost, total := int(h.limits.GetPerHost()), int(h.limits.GetTotal())
	switch {
	case s.running >= s.size:
		return fmt.Sprintf("the agent %s has enough to do", agent)
	case perHost > 0 && h.hosts[s.host] >= perHost:
		return fmt.Sprintf("%d runs are at work on the host %s, as many as may be", h.hosts[s.host], s.host)
	case total > 0 && h.running >= total:
		return fmt.Sprintf("%d runs are at work in all, as many as may be", h.running)
	}
	return ""
}

// anyAgent stands for the one agent there will be: no agent's id has spaces.
const anyAgent = "of the target's host"

// agentFor says whose run it is, and which source it works on, if any.
func (h *hall) agentFor(r *pb.Run) (string, *pb.Source, *problem.Problem) {
	if elsewhere(r) {
		if a := r.GetRestore().GetTargetAgent(); a != "" {
			return a, nil, nil
		}
		if src, ok := h.view.Source(r.GetSource()); ok && r.GetRestore().GetNewContainer() != "" {
			return src.GetAgent(), nil, nil
		}
		var connected []string
		for id, s := range h.seats {
			if s.connected {
				connected = append(connected, id)
			}
		}
		slices.Sort(connected)
		switch len(connected) {
		case 0:
			return anyAgent, nil, nil // wait for one
		case 1:
			return connected[0], nil, nil
		}
		return "", nil, problem.New(problem.InvalidInput, "several agents are connected: %v", connected).WithHint("Say which host has the target container.")
	}
	src, ok := h.view.Source(target(r))
	if a := r.GetDrill().GetAgent(); a != "" {
		return a, src, nil
	}
	if !ok {
		return "", nil, problem.New(problem.NotFound, "there is no source %q", target(r)).WithReason(ReasonGone)
	}
	return src.GetAgent(), src, nil
}

// check says why a run cannot be carried out at all, given that its agent has
// reported how things are.
func (h *hall) check(r *pb.Run, src *pb.Source) *problem.Problem {
	if s, ok := h.view.Snapshot(state.Reads(r)); ok && s.GetPrunedAt() != nil {
		return state.Pruned(s)
	}
	if r.GetKind() == pb.RunKind_RUN_KIND_DRILL {
		return nil // it needs the source's host, and not the source
	}
	if elsewhere(r) {
		return nil
	}
	return Unready(src)
}

// elsewhere says that a run works on a container that is no source.
func elsewhere(r *pb.Run) bool {
	return r.GetRestore().GetTargetContainer() != "" || r.GetRestore().GetNewContainer() != ""
}

// Unready says why a source can be neither backed up nor restored into now; nil
// when it can.
func Unready(src *pb.Source) *problem.Problem {
	switch src.GetState() {
	case pb.SourceState_SOURCE_STATE_READY:
		return nil
	case pb.SourceState_SOURCE_STATE_STOPPED:
		return problem.New(problem.Failed, "the container %s does not run", src.GetContainer().GetName()).
			WithReason(engine.ReasonNotRunning).WithHint("Start the container and try again.").WithSource(src.GetName())
	case pb.SourceState_SOURCE_STATE_INVALID:
		p := problem.New(problem.InvalidInput, "the labels of its container are wrong").WithReason(ReasonInvalid).
			WithHint("`baktainer source show` says what to write instead.").WithSource(src.GetName())
		for _, l := range src.GetProblems() {
			if !l.GetWarning() {
				p = p.WithDetails(l.GetLabel() + ": " + l.GetReason())
			}
		}
		return p
	}
	return problem.New(problem.NotFound, "its container is gone").WithReason(ReasonGone).WithSource(src.GetName()).
		WithHint("Start a container with the label again, or restore into another one.")
}

// target is the source that a run works on.
func target(r *pb.Run) string {
	if t := r.GetRestore().GetTargetSource(); t != "" {
		return t
	}
	return r.GetSource()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
