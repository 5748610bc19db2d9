package consensus

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/controller/state"
)

const (
	// contactLimit is how long a member may be silent and still count as well, or two
	// election timeouts when that is more. Members are heard of ten times in each.
	contactLimit = 2 * time.Second
	// lagLimitEntries is how many entries a member may be behind.
	lagLimitEntries = 250
)

// Member is one controller of the cluster.
type Member struct {
	ID, Address string
	// Voter says that it has a vote; a member that has none yet only listens.
	Voter  bool
	Leader bool
	// The rest is what the leader knows. Another node knows it of itself only, and
	// when it last heard of the leader.

	// Healthy says that it answers and keeps up.
	Healthy bool
	// Index is how far its log is known to have come.
	Index uint64
	// LastContact is when it last answered; zero: not since this leader leads.
	LastContact time.Time
	// Detail is what there is to say of it, for people.
	Detail string
}

// Membership lists the members by id.
func (n *Node) Membership() []Member {
	servers, leader := n.servers(), n.LeaderID()
	list := make([]Member, 0, len(servers))
	for _, s := range servers {
		m := Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: string(s.ID) == leader}
		switch {
		case m.ID == n.id:
			m.Healthy, m.Index, m.LastContact = !n.fsm.stopped(), n.raft.LastIndex(), n.Clock.Now()
		case leader == n.id:
			f := n.followers.get(s.ID)
			m.Index, m.LastContact = f.index, f.contact
			m.Detail = n.ails(f)
			m.Healthy = m.Detail == ""
		case m.Leader:
			m.LastContact = n.raft.LastContact()
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	if leader == n.id {
		explainWaiting(list, n.Stabilise)
	}
	return list
}

// ails says what is wrong with a follower, nothing when all is well.
func (n *Node) ails(f follower) string {
	if f.contact.IsZero() {
		return "has not answered yet"
	}
	if silent := n.Clock.Now().Sub(f.contact); silent > n.contactLimit() {
		return fmt.Sprintf("has not answered for %s", silent.Round(time.Second))
	}
	if last := n.raft.LastIndex(); f.index+lagLimitEntries < last {
		return fmt.Sprintf("is %d entries behind", last-f.index)
	}
	return ""
}

func (n *Node) contactLimit() time.Duration { return max(contactLimit, 2*n.ElectionTimeout) }

// explainWaiting says of members that are well why they have no vote.
func explainWaiting(list []Member, stabilise time.Duration) {
	voters, waiting := 0, 0
	for _, m := range list {
		if m.Voter {
			voters++
		} else if m.Healthy {
			waiting++
		}
	}
	for i := range list {
		if m := &list[i]; m.Healthy && !m.Voter {
			m.Detail = fmt.Sprintf("gets a vote once it has been well for %s", stabilise)
			if (voters+waiting)%2 == 0 && waiting == 1 {
				m.Detail = fmt.Sprintf("gets a vote once there is one more controller, since %d votes are no safer than %d", voters+1, voters)
			}
		}
	}
}

// CommandLevel is the newest version of commands that all members understand, as
// far as the state has them. One that has not told is taken for an old one, also
// this one: what it may propose the leader has to know of it as well.
func (n *Node) CommandLevel() uint32 {
	level, view := uint32(state.CommandVersion), n.View()
	servers := n.servers()
	if len(servers) < 2 {
		return level // alone, it need not tell anybody
	}
	for _, s := range servers {
		m, _ := view.Member(string(s.ID))
		level = min(level, max(m.GetCommandVersion(), 1))
	}
	return level
}

// servers is the newest configuration that this node has.
func (n *Node) servers() []raft.Server {
	return n.raft.GetConfiguration().Configuration().Servers
}

// voters is how many members have a vote.
func (n *Node) voters() int {
	count := 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			count++
		}
	}
	return count
}

func serverOf(servers []raft.Server, id string) *raft.Server {
	for i := range servers {
		if string(servers[i].ID) == id {
			return &servers[i]
		}
	}
	return nil
}
