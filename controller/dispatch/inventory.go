package dispatch

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds of what one agent may report: containers, and databases without a label,
// of which more are left out.
const (
	maxInventory  = 20_000
	maxUnlabelled = 500
)

// ReportInventory implements the agent's service.
func (d *Dispatcher) ReportInventory(ctx context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	if err := d.mustLead(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	a, err := d.inSession(req.GetAgent(), req.GetSession())
	if err != nil {
		d.mu.Unlock()
		return nil, err
	}
	s := a.session
	d.mu.Unlock()
	s.reporting.Lock()
	defer s.reporting.Unlock()
	inventory, err := d.changed(s, req)
	if err != nil {
		return nil, err
	}
	sources := merge(inventory)
	level := d.Node.CommandLevel()
	if err := d.report(ctx, req.GetAgent(), sources, level); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.inSession(req.GetAgent(), req.GetSession()); err != nil {
		return nil, err
	}
	s.inventory, s.sources, s.level, s.settled = inventory, sources, level, 0
	s.unlabelled = tidyUnlabelled(req.GetAgent(), req.GetUnlabelled())
	s.reports++
	d.kick()
	return &pb.ReportInventoryResponse{}, nil
}

// Unlabelled are the databases that the agents which are connected have seen and
// nobody has labelled, by agent and name.
func (d *Dispatcher) Unlabelled() []*pb.Unlabelled {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*pb.Unlabelled
	for _, id := range slices.Sorted(maps.Keys(d.agents)) {
		if s := d.agents[id].session; s != nil {
			all = append(all, s.unlabelled...)
		}
	}
	return all
}

// changed is the inventory of a session after a report. A partial one replaces
// all that the session had under the names that it gives.
func (d *Dispatcher) changed(s *session, req *pb.ReportInventoryRequest) ([]*pb.Source, error) {
	reported := tidy(req.GetSources())
	if req.GetPartial() {
		d.mu.Lock()
		reports, before := s.reports, s.inventory
		d.mu.Unlock()
		if reports == 0 {
			return nil, problem.New(problem.NotFound, "the agent %s tells what has changed and has not reported all in this session", req.GetAgent()).
				WithReason(ReasonReportAll).WithHint("Report all sources first.")
		}
		named := map[string]bool{}
		for _, name := range req.GetRemoved() {
			named[tidyName(name)] = true
		}
		for _, r := range reported {
			named[r.GetName()] = true
		}
		kept := make([]*pb.Source, 0, len(before)+len(reported))
		for _, r := range before {
			if !named[r.GetName()] {
				kept = append(kept, r)
			}
		}
		reported = append(kept, reported...)
	}
	if len(reported) > maxInventory {
		return nil, problem.New(problem.InvalidInput, "the agent %s reports %d containers, more than %d", req.GetAgent(), len(reported), maxInventory)
	}
	return reported, nil
}

// report writes an agent's sources to the state, unless that has them so already,
// as far as members of that level understand them.
func (d *Dispatcher) report(ctx context.Context, agent string, sources []*pb.Source, level uint32) error {
	view := d.Node.View()
	sources, away := d.claims(view, agent, sources)
	if level < state.CommandVersion {
		for i := range sources {
			sources[i] = proto.CloneOf(sources[i])
			state.Lower(sources[i], level)
		}
	}
	if known(view, agent, sources) {
		return nil
	}
	return d.propose(ctx, &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: agent, Sources: sources, Away: away}}})
}

// known says whether the state has exactly these sources of the agent.
func known(view *state.View, agent string, sources []*pb.Source) bool {
	for _, s := range sources {
		have, ok := view.Source(s.GetName())
		if !ok || have.GetAgent() != agent || !state.SameReport(have, s) {
			return false
		}
	}
	return len(view.SourcesOf(agent)) == len(sources)
}

// claims are those of an agent's sources that are its own by now, and the lost
// agents that had some of them. What another agent has stays with it until it
// yields and has done so for some time, or until that agent is lost.
func (d *Dispatcher) claims(view *state.View, agent string, sources []*pb.Source) (mine []*pb.Source, away []string) {
	now := d.Clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := map[string]bool{}
	for _, s := range sources {
		have, ok := view.Source(s.GetName())
		switch owner := have.GetAgent(); {
		case !ok || owner == agent:
		case state.Yields(have, s):
			// A container that is made anew is gone, or stopped, for a moment: that must
			// not give its name away to one elsewhere that happens to share it.
			if left := have.GetReportedAt().AsTime(); !left.After(now) && now.Sub(left) <= d.LeaseDuration/2 {
				continue
			}
		case d.lost(owner):
			lost[owner] = true
		default:
			continue
		}
		mine = append(mine, s)
	}
	return mine, slices.Sorted(maps.Keys(lost))
}

// lost says whether an agent has had a lease's time since this controller began
// to lead, and since it was last seen, to come back. d.mu is held.
func (d *Dispatcher) lost(id string) bool {
	if d.began.IsZero() {
		return false
	}
	since := d.began
	if a := d.agents[id]; a != nil {
		if a.session != nil {
			return false
		}
		since = later(since, a.lastSeen)
	}
	return d.Clock.Now().Sub(since) > d.LeaseDuration
}

// takeOverSources reports the sources of connected agents again where another
// agent has some of them, which may be gone or lost meanwhile, and when the
// cluster understands more of them than it did.
func (d *Dispatcher) takeOverSources(ctx context.Context) {
	view, level := d.Node.View(), d.Node.CommandLevel()
	type look struct {
		agent   string
		session *session
		sources []*pb.Source
		reports int
		grown   bool
	}
	var looks []look
	d.mu.Lock()
	for id, a := range d.agents {
		if s := a.session; s != nil && s.reports > 0 && (s.settled != view.SourcesIndex() || s.level != level) {
			looks = append(looks, look{id, s, s.sources, s.reports, s.level != level})
		}
	}
	d.mu.Unlock()
	for _, l := range looks {
		elsewhere := slices.ContainsFunc(l.sources, func(s *pb.Source) bool {
			have, ok := view.Source(s.GetName())
			return ok && have.GetAgent() != l.agent
		})
		if elsewhere || l.grown {
			if err := d.report(ctx, l.agent, l.sources, level); err != nil {
				d.Logger.Warn("sources not taken over yet", "agent", l.agent, "error", err)
				continue
			}
		}
		d.mu.Lock()
		if l.session.reports == l.reports {
			l.session.level = level
			if !elsewhere { // while somebody has one, time may tell
				l.session.settled = view.SourcesIndex()
			}
		}
		d.mu.Unlock()
	}
}
