package dispatch

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// agent is what the leader knows of one agent.
type agent struct {
	id, host, version string
	concurrency       int // as its own setting says
	lastSeen          time.Time
	trust             uint64 // version of the trust that it has
	providers         []*pb.ProviderHealth
	session           *session // nil when it is not connected
}

// session is one stream of assignments.
type session struct {
	id      string
	end     func(error)
	ended   <-chan struct{}
	changed chan struct{} // what the agent is to be told has changed
	desired []*pb.Run     // the runs leased to the agent, oldest first
	asks    []*pb.LogRequest

	reporting  sync.Mutex // held while the inventory is changed
	inventory  []*pb.Source
	sources    []*pb.Source // the inventory as the state may have it
	unlabelled []*pb.Unlabelled
	reports    int    // how often the agent has reported in this session
	level      uint32 // the cluster's version of commands at its last report
	settled    uint64 // state of the sources in which all of these were the agent's
}

// signal makes the session look at what its agent is to be told.
func (s *session) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (a *agent) endSession(why error) {
	if a.session != nil {
		a.session.end(why)
		a.session = nil
	}
}

// EndSession ends the session of an agent, if it has one: when its certificate
// has been revoked, for example.
func (d *Dispatcher) EndSession(agent string, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.agents[agent]; a != nil && a.session != nil {
		a.endSession(why)
		a.lastSeen = d.Clock.Now()
		d.Logger.Info("the agent's session was ended", "agent", agent, "why", why)
		d.kick()
	}
}

// seats gives each agent's capacity, before the runs that it has are counted.
func (d *Dispatcher) seats(view *state.View) map[string]*seat {
	set := map[string]*pb.AgentRecord{}
	for _, r := range view.AgentRecords() {
		set[r.GetId()] = r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	seats := make(map[string]*seat, len(d.agents))
	for id, a := range d.agents {
		s := &seat{
			connected: a.session != nil && a.session.reports > 0, drained: set[id].GetDrained(),
			host: a.host, size: a.concurrency,
		}
		if n := set[id].GetConcurrency(); n > 0 {
			s.size = int(n)
		}
		if s.host == "" {
			s.host = id // nobody shares it
		}
		seats[id] = s
	}
	return seats
}

// whereabouts are what agents need to know of the controllers.
type whereabouts struct {
	controllers []*pb.ControllerInfo
	trust       uint64
}

func (d *Dispatcher) whereabouts() (w whereabouts) {
	if d.Controllers != nil {
		w.controllers = d.Controllers()
	}
	if d.TrustVersion != nil {
		w.trust = d.TrustVersion()
	}
	return w
}

func (w whereabouts) sameControllers(other whereabouts) bool {
	return slices.EqualFunc(w.controllers, other.controllers, func(a, b *pb.ControllerInfo) bool { return proto.Equal(a, b) })
}

// tellSessions wakes the sessions of agents whose runs have changed, and all of
// them when the controllers have.
func (d *Dispatcher) tellSessions() {
	byAgent := map[string][]*pb.Run{}
	for _, r := range d.Node.View().LeasedRuns() {
		byAgent[r.GetAgent()] = append(byAgent[r.GetAgent()], r)
	}
	now := d.whereabouts()
	d.mu.Lock()
	defer d.mu.Unlock()
	all := now.trust != d.told.trust || !now.sameControllers(d.told)
	d.told = now
	for id, a := range d.agents {
		if a.session == nil || !all && slices.EqualFunc(a.session.desired, byAgent[id], sameLease) {
			continue
		}
		a.session.desired = byAgent[id]
		a.session.signal()
	}
}

func sameLease(a, b *pb.Run) bool {
	return a.GetId() == b.GetId() && a.GetEpoch() == b.GetEpoch() && a.GetCancelRequested() == b.GetCancelRequested()
}
