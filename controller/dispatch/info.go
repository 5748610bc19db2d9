package dispatch

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Agents lists the agents by id: those that this leader has seen, and those that
// it knows from the state alone, as after it has taken over.
func (d *Dispatcher) Agents() []*pb.AgentInfo {
	view := d.Node.View()
	h := d.hall(view)
	infos := map[string]*pb.AgentInfo{}
	info := func(id string) *pb.AgentInfo {
		if infos[id] == nil {
			infos[id] = &pb.AgentInfo{Id: id}
		}
		return infos[id]
	}
	for _, s := range view.Sources() {
		if s.GetState() != pb.SourceState_SOURCE_STATE_GONE {
			info(s.GetAgent()).Sources++
		}
	}
	for _, i := range view.Identities() {
		switch {
		case i.GetRole() != pb.Role_ROLE_AGENT || !i.GetNotAfter().AsTime().After(h.now):
		case state.Revoked(i):
			info(i.GetName()).RevokedAt = i.GetRevokedAt()
		default:
			info(i.GetName())
		}
	}
	for _, r := range view.AgentRecords() {
		a := info(r.GetId())
		a.Drained, a.Concurrency, a.ConcurrencySet = r.GetDrained(), r.GetConcurrency(), r.GetConcurrency() > 0
	}
	d.mu.Lock()
	for id, known := range d.agents {
		a := info(id)
		a.Host, a.Version, a.Connected, a.LastSeenAt = known.host, known.version, known.session != nil, timestamppb.New(known.lastSeen)
		a.Providers, a.TrustVersion = known.providers, known.trust
		if !a.GetConcurrencySet() {
			a.Concurrency = int32(known.concurrency)
		}
	}
	d.mu.Unlock()
	for _, r := range view.ActiveRuns() {
		id := r.GetAgent()
		if r.GetState() == pb.RunState_RUN_STATE_QUEUED {
			id, _, _ = h.agentFor(r)
		}
		switch a := infos[id]; {
		case a == nil:
		case r.GetState() == pb.RunState_RUN_STATE_QUEUED:
			a.Queued++
		default:
			a.Running++
		}
	}
	list := make([]*pb.AgentInfo, 0, len(infos))
	for _, id := range slices.Sorted(maps.Keys(infos)) {
		list = append(list, infos[id])
	}
	return list
}

// Utilisation says how busy the cluster is. What agents take that are drained
// does not count, though they may still be at something.
func (d *Dispatcher) Utilisation() *pb.Utilisation {
	view := d.Node.View()
	u := &pb.Utilisation{Running: int32(len(view.LeasedRuns()))}
	u.Queued = int32(len(view.ActiveRuns())) - u.GetRunning()
	limits := view.Limits()
	hosts := map[string]int32{}
	for _, s := range d.seats(view) {
		if s.connected && !s.drained {
			hosts[s.host] += int32(s.size)
		}
	}
	for _, n := range hosts {
		u.Capacity += atMost(n, limits.GetPerHost())
	}
	u.Capacity = atMost(u.GetCapacity(), limits.GetTotal())
	return u
}

// atMost cuts n to a limit, where there is one.
func atMost(n, limit int32) int32 {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}
