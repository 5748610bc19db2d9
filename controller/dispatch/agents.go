package dispatch

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// agent is what the leader knows of one agent.
type agent struct {
	id, host, version string
	concurrency       int
	lastSeen          time.Time
	providers         []*pb.ProviderHealth
	session           *session // nil when it is not connected
}

// session is one stream of assignments.
type session struct {
	id      string
	end     func(error)
	changed chan struct{} // desired has changed
	desired []*pb.Run     // the runs leased to the agent, by id
	// sources are what the agent reported last; nil until it has in this session.
	sources  []*pb.Source
	reported bool
}

func (a *agent) endSession(why error) {
	if a.session != nil {
		a.session.end(why)
		a.session = nil
	}
}

// seats gives each agent's capacity, before the runs that it has are counted.
func (d *Dispatcher) seats() map[string]*seat {
	d.mu.Lock()
	defer d.mu.Unlock()
	seats := map[string]*seat{}
	for id, a := range d.agents {
		seats[id] = &seat{connected: a.session != nil && a.session.reported, free: a.concurrency}
	}
	return seats
}

// tellSessions wakes the sessions of agents whose runs have changed.
func (d *Dispatcher) tellSessions() {
	byAgent := map[string][]*pb.Run{}
	for _, r := range d.Node.View().ActiveRuns() {
		if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
			byAgent[r.GetAgent()] = append(byAgent[r.GetAgent()], r)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, a := range d.agents {
		if a.session == nil || slices.EqualFunc(a.session.desired, byAgent[id], sameLease) {
			continue
		}
		a.session.desired = byAgent[id]
		select {
		case a.session.changed <- struct{}{}:
		default:
		}
	}
}

func sameLease(a, b *pb.Run) bool {
	return a.GetId() == b.GetId() && a.GetEpoch() == b.GetEpoch() && a.GetCancelRequested() == b.GetCancelRequested()
}

// Agents lists the agents known to this leader, by id.
func (d *Dispatcher) Agents() []*pb.AgentInfo {
	running := map[string]int32{}
	for _, r := range d.Node.View().ActiveRuns() {
		if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
			running[r.GetAgent()]++
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*pb.AgentInfo
	for _, id := range slices.Sorted(maps.Keys(d.agents)) {
		a := d.agents[id]
		list = append(list, &pb.AgentInfo{
			Id: id, Host: a.host, Version: a.version, Connected: a.session != nil, LastSeenAt: timestamppb.New(a.lastSeen),
			Providers: a.providers, Running: running[id], Concurrency: int32(a.concurrency),
		})
	}
	return list
}
