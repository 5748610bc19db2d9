package dispatch

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReportInventory implements the agent's service.
func (d *Dispatcher) ReportInventory(ctx context.Context, req *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	if err := d.mustLead(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	_, err := d.inSession(req.GetAgent(), req.GetSession())
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	sources := tidy(req.GetSources())
	if err := d.report(ctx, req.GetAgent(), sources); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.inSession(req.GetAgent(), req.GetSession())
	if err != nil {
		return nil, err
	}
	a.session.sources, a.session.reported = sources, true
	d.kick()
	return &pb.ReportInventoryResponse{}, nil
}

// report writes an agent's sources to the state, unless that has them so already.
func (d *Dispatcher) report(ctx context.Context, agent string, sources []*pb.Source) error {
	away := d.away(agent, sources)
	if len(away) == 0 && known(d.Node.View(), agent, sources) {
		return nil
	}
	return d.propose(ctx, &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: agent, Sources: sources, Away: away}}})
}

// known says whether the state has exactly these sources of the agent; those
// that another agent keeps do not count.
func known(view *state.View, agent string, sources []*pb.Source) bool {
	named := map[string]bool{}
	for _, s := range sources {
		named[s.GetName()] = true
		have, ok := view.Source(s.GetName())
		if ok && have.GetAgent() != agent && have.GetState() != pb.SourceState_SOURCE_STATE_GONE {
			continue
		}
		same := proto.CloneOf(s)
		same.Agent, same.ReportedAt = agent, have.GetReportedAt()
		if !ok || !proto.Equal(same, have) {
			return false
		}
	}
	return !slices.ContainsFunc(view.Sources(), func(s *pb.Source) bool {
		return s.GetAgent() == agent && s.GetState() != pb.SourceState_SOURCE_STATE_GONE && !named[s.GetName()]
	})
}

// away lists the agents that have one of the sources and are lost: they have had
// a lease's time since this controller began to lead, or since they were last
// seen, to come back.
func (d *Dispatcher) away(agent string, sources []*pb.Source) []string {
	view, now := d.Node.View(), d.Clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := map[string]bool{}
	if d.began.IsZero() {
		return nil
	}
	for _, s := range sources {
		owner, ok := view.Source(s.GetName())
		id := owner.GetAgent()
		if !ok || id == agent || owner.GetState() == pb.SourceState_SOURCE_STATE_GONE {
			continue
		}
		since := d.began
		if a := d.agents[id]; a != nil {
			if a.session != nil {
				continue
			}
			since = a.lastSeen
		}
		if now.Sub(since) > d.LeaseDuration {
			lost[id] = true
		}
	}
	return slices.Sorted(maps.Keys(lost))
}

// takeOverSources reports the sources of connected agents again where the agent
// that had them is gone or lost meanwhile.
func (d *Dispatcher) takeOverSources(ctx context.Context) {
	view := d.Node.View()
	again := map[string][]*pb.Source{}
	d.mu.Lock()
	for id, a := range d.agents {
		if a.session == nil || !a.session.reported {
			continue
		}
		if slices.ContainsFunc(a.session.sources, func(s *pb.Source) bool {
			have, ok := view.Source(s.GetName())
			return ok && have.GetAgent() != id
		}) {
			again[id] = a.session.sources
		}
	}
	d.mu.Unlock()
	for id, sources := range again {
		if err := d.report(ctx, id, sources); err != nil {
			d.Logger.Warn("sources not taken over yet", "agent", id, "error", err)
		}
	}
}
