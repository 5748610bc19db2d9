package consensus

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

const pilotInterval = time.Second // at which members are looked at

// lead starts what a leader does about the members. The function that it returns
// ends that.
func (n *Node) lead(ctx context.Context) (relieve func()) {
	if n.Network == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var duties sync.WaitGroup
	interval := min(pilotInterval, n.Stabilise/4)
	view := &pilot{n: n}
	auto := autopilot.New(raftOf{n.raft, n, ctx}, view, autopilot.WithPromoter(view), autopilot.WithLogger(raftLogger(n.Logger)),
		autopilot.WithTimeProvider(n.Clock), autopilot.WithUpdateInterval(interval), autopilot.WithReconcileInterval(interval))
	auto.Start(ctx)
	duties.Go(func() { n.correctAddress(ctx) })
	return func() {
		cancel()
		<-auto.Stop()
		duties.Wait()
	}
}

// pilot tells autopilot what this node knows of the members, and decides with its
// help who gets a vote. Nobody is ever removed: that is for people to say.
type pilot struct {
	autopilot.StablePromoter
	n *Node
}

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (p *pilot) AutopilotConfig() *autopilot.Config {
	return &autopilot.Config{
		CleanupDeadServers: false, LastContactThreshold: p.n.contactLimit(), MaxTrailingLogs: lagLimitEntries,
		ServerStabilizationTime: p.n.Stabilise,
	}
}

// NotifyState implements autopilot.ApplicationIntegration.
func (*pilot) NotifyState(*autopilot.State) {}

// RemoveFailedServer implements autopilot.ApplicationIntegration.
func (*pilot) RemoveFailedServer(*autopilot.Server) {}

// KnownServers implements autopilot.ApplicationIntegration.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	known := map[raft.ServerID]*autopilot.Server{}
	for _, s := range p.n.servers() {
		known[s.ID] = &autopilot.Server{
			ID: s.ID, Name: string(s.ID), Address: s.Address, NodeStatus: autopilot.NodeAlive, IsLeader: string(s.ID) == p.n.id,
		}
	}
	return known
}

// FetchServerStats implements autopilot.ApplicationIntegration.
func (p *pilot) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	stats := map[raft.ServerID]*autopilot.ServerStats{}
	for id := range servers {
		f := p.n.followers.get(id)
		if string(id) == p.n.id {
			term, _ := strconv.ParseUint(p.n.raft.Stats()["last_log_term"], 10, 64) // Raft formats it
			f = follower{contact: p.n.Clock.Now(), index: p.n.raft.LastIndex(), term: term}
		}
		stats[id] = &autopilot.ServerStats{LastContact: max(0, p.n.Clock.Now().Sub(f.contact)), LastIndex: f.index, LastTerm: f.term}
	}
	return stats
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter.
func (p *pilot) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	var stable []raft.ServerID
	for id, server := range s.Servers {
		if server.State == autopilot.RaftNonVoter && server.Health.IsStable(p.n.Clock.Now(), c.ServerStabilizationTime) {
			stable = append(stable, id)
		}
	}
	slices.Sort(stable)
	return autopilot.RaftChanges{Promotions: promotions(len(s.Voters), stable)}
}

// promotions are those of the members that are well which get a vote: as many as
// leave an odd number of voters. An even number survives no more failures than
// one less, and two voters survive none, where one alone need not fear the other.
func promotions(voters int, stable []raft.ServerID) []raft.ServerID {
	n := len(stable)
	if (voters+n)%2 == 0 {
		n--
	}
	return stable[:max(0, n)]
}

// raftOf is Raft as autopilot sees it: its changes of members take their turn, and
// use the address of now.
type raftOf struct {
	*raft.Raft
	n   *Node
	ctx context.Context // ends with the leadership; autopilot gives none
}

// AddVoter implements autopilot.Raft.
func (r raftOf) AddVoter(id raft.ServerID, _ raft.ServerAddress, _ uint64, _ time.Duration) raft.IndexFuture {
	return settled{r.n.change(r.ctx, func() raft.IndexFuture {
		s := serverOf(r.n.servers(), string(id))
		if s == nil {
			return settled{noMember(string(id))}
		}
		r.n.Logger.Info("a controller gets a vote", "node", id)
		return r.Raft.AddVoter(id, s.Address, 0, changeLimit)
	})}
}
