package consensus

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestAClusterGrowsFromOneToThreeAndBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		usual := func(o *Options) { o.Stabilise = 0 }
		one := c.open("c1", bootstrap, usual)
		c.must(c.leader().Propose(t.Context(), store("first")))
		two := c.join("c2", usual)
		c.await("c2 has what c1 has", func() bool { return has(two, "first") })
		c.must(clock.Sleep(t.Context(), time.Minute))
		if m := one.Membership()[1]; m.Voter || !m.Healthy || !strings.Contains(m.Detail, "one more controller") {
			t.Errorf("the second of two: %+v", m)
		}
		began := time.Now()
		c.join("c3", usual)
		if m := one.Membership()[2]; m.Voter {
			t.Error("c3 had a vote before anybody knew it")
		}
		c.await("all have a vote", func() bool { return slices.Equal(c.voters(), []string{"c1", "c2", "c3"}) })
		if took := time.Since(began); took < usualStabilise || took > 2*usualStabilise {
			t.Errorf("the votes came after %s", took)
		}
		c.agree()
		for _, m := range one.Membership() {
			if !m.Healthy || m.Detail != "" || m.Leader != (m.ID == "c1") || m.Index == 0 || time.Since(m.LastContact) > time.Second {
				t.Errorf("%+v", m)
			}
		}
		for _, id := range []string{"c3", "c2"} {
			removed := c.node(id)
			c.must(c.leader().Remove(t.Context(), id))
			c.await(id+" knows that it is out", func() bool { return problem.ReasonOf(removed.Health()) == ReasonNotMember })
			c.stop(id)
			c.must(c.leader().Propose(t.Context(), store("without-"+id)))
		}
		if got := c.voters(); !slices.Equal(got, []string{"c1"}) || !one.IsLeader() {
			t.Errorf("voters %v, c1 leads: %v", got, one.IsLeader())
		}
	})
}

func TestFiveMembersAndAnEvenNumberOnlyOnTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.join("c4")
		c.must(clock.Sleep(t.Context(), 10*soonStable))
		if got := c.voters(); len(got) != 3 {
			t.Errorf("the fourth of four has a vote: %v", got)
		}
		c.join("c5")
		c.await("five voters", func() bool { return len(c.voters()) == 5 })
		c.kill("c5")
		c.kill("c4")
		c.must(c.leader().Propose(t.Context(), store("three-of-five-decide")))
	})
}

func TestPromotionsLeaveAnOddNumberOfVoters(t *testing.T) {
	t.Parallel()
	ids := []raft.ServerID{"a", "b", "c", "d"}
	for _, test := range []struct{ voters, stable, want int }{
		{1, 0, 0}, {1, 1, 0}, {1, 2, 2}, {1, 3, 2}, {1, 4, 4}, {2, 0, 0}, {2, 1, 1}, {2, 2, 1}, {2, 3, 3}, {3, 1, 0}, {3, 2, 2}, {4, 1, 1},
	} {
		if got := promotions(test.voters, ids[:test.stable]); !slices.Equal(got, ids[:test.want]) {
			t.Errorf("%d voters, %d stable: %v, want %d", test.voters, test.stable, got, test.want)
		}
	}
}

func TestItIsSaidWhyAMemberHasNoVote(t *testing.T) {
	t.Parallel()
	voter, waiting, ill := Member{Voter: true, Healthy: true}, Member{Healthy: true}, Member{Detail: "is ill"}
	const time = "gets a vote once it has been well for 10s"
	for name, test := range map[string]struct {
		list []Member
		want string // of the last
	}{
		"one of one":           {[]Member{voter}, ""},
		"the second of two":    {[]Member{voter, waiting}, "gets a vote once there is one more controller, since 2 votes are no safer than 1"},
		"the third of three":   {[]Member{voter, waiting, waiting}, time},
		"the third of two":     {[]Member{voter, voter, waiting}, time},
		"the fourth of four":   {[]Member{voter, voter, voter, waiting}, "gets a vote once there is one more controller, since 4 votes are no safer than 3"},
		"one that is not well": {[]Member{voter, ill}, "is ill"},
	} {
		explainWaiting(test.list, usualStabilise)
		if got := test.list[len(test.list)-1].Detail; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestAMemberThatIsNotWellGetsNoVote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.open("c1", bootstrap)
		c.join("c2")
		c.must(c.leader().Join(t.Context(), "c3", "c3:7070", "")) // and never starts
		c.must(clock.Sleep(t.Context(), 10*soonStable))
		if got := c.voters(); !slices.Equal(got, []string{"c1"}) {
			t.Errorf("voters: %v", got)
		}
		if m := c.leader().Membership()[2]; m.Healthy || m.Detail != "has not answered yet" || !m.LastContact.IsZero() {
			t.Errorf("%+v", m)
		}
	})
}

func TestJoinIsIdempotentAndRefusesMixUps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		leader, other := c.leader(), c.follower()
		cluster := leader.View().Cluster()
		for _, test := range []struct {
			name, id, address, cluster string
			code                       problem.Code
			reason                     problem.Reason
		}{
			{"no name", "", "c9:7070", "", problem.InvalidInput, ""},
			{"a bad name", "c 9", "c9:7070", "", problem.InvalidInput, ""},
			{"no port", "c9", "c9", "", problem.InvalidInput, ""},
			{"no host", "c9", ":7070", "", problem.InvalidInput, ""},
			{"every host", "c9", "[::]:7070", "", problem.InvalidInput, ""},
			{"the address of another", "c9", other.Advertise, "", problem.Conflict, ReasonTaken},
			{"state of another cluster", "c9", "c9:7070", "other", problem.Conflict, state.ReasonOtherClust},
			{"the leader's name", leader.id, "c9:7070", "", problem.Conflict, ReasonTaken},
			{"the leader's name, with state", leader.id, "c9:7070", cluster, problem.Conflict, ReasonTaken},
			{"a name that answers", other.id, "c9:7070", "", problem.Unavailable, ReasonTaken},
		} {
			err := leader.Join(t.Context(), test.id, test.address, test.cluster)
			if problem.CodeOf(err) != test.code || problem.ReasonOf(err) != test.reason || err == nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		before := leader.servers()
		for _, n := range c.running() {
			c.must(leader.Join(t.Context(), n.id, n.Advertise, cluster))
		}
		if !slices.Equal(before, leader.servers()) {
			t.Errorf("%v became %v", before, leader.servers())
		}
		if err := other.Join(t.Context(), "c9", "c9:7070", ""); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("at a follower: %v", err)
		}
	})
}

func TestAMemberMovesToAnotherAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		moved := c.follower().id
		c.stop(moved)
		c.must(c.leader().Join(t.Context(), moved, "elsewhere:1", c.leader().View().Cluster()))
		n := c.open(moved, func(o *Options) { o.Advertise, o.Network = "elsewhere:1", c.lan.plug(moved, "elsewhere:1") })
		c.must(c.leader().Propose(t.Context(), store("moved")))
		c.await("it follows at its new address", func() bool { return has(n, "moved") })
		if s := serverOf(c.leader().servers(), moved); s.Address != "elsewhere:1" || s.Suffrage != raft.Voter {
			t.Errorf("%+v", s)
		}
	})
}

// A voter that has forgotten everything could elect a leader that lacks what it
// once acknowledged itself.
func TestAVoterThatLostItsDiskHasNoVoteUntilItHasCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.must(c.leader().Propose(t.Context(), store("kept")))
		wiped := c.follower().id
		c.stop(wiped)
		c.dirs[wiped] = ""
		c.await("it is missed", func() bool {
			return slices.ContainsFunc(c.leader().Membership(), func(m Member) bool { return m.ID == wiped && !m.Healthy })
		})
		n := c.join(wiped)
		if s := serverOf(c.leader().servers(), wiped); s.Suffrage != raft.Nonvoter {
			t.Errorf("it is let in as %+v", s)
		}
		c.await("it has its vote again", func() bool { return len(c.voters()) == 3 })
		if !has(n, "kept") {
			t.Error("it has a vote and not the state")
		}
	})
}

func TestRemoveRefusesWhatWouldEndTheCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		one := c.open("c1", bootstrap)
		c.leader()
		if err := one.Remove(t.Context(), "c1"); problem.ReasonOf(err) != ReasonQuorum {
			t.Errorf("the only one: %v", err)
		}
		if err := one.Remove(t.Context(), "c7"); problem.CodeOf(err) != problem.NotFound || problem.ReasonOf(err) != ReasonNoMember {
			t.Errorf("nobody: %v", err)
		}
		c.join("c2")
		c.join("c3")
		c.await("three voters", func() bool { return len(c.voters()) == 3 })
		if err := c.follower().Remove(t.Context(), "c1"); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("at a follower: %v", err)
		}
		dead := c.follower().id
		c.kill(dead)
		c.await("its death is noticed", func() bool {
			return slices.ContainsFunc(c.leader().Membership(), func(m Member) bool { return m.ID == dead && !m.Healthy })
		})
		well := c.follower().id
		if err := c.leader().Remove(t.Context(), well); problem.ReasonOf(err) != ReasonQuorum || !strings.Contains(err.Error(), "1 of 2") {
			t.Errorf("the last but one that is well: %v", err)
		}
		c.must(c.leader().Remove(t.Context(), dead))
		c.must(c.leader().Propose(t.Context(), store("two-are-left")))
	})
}

func TestALeaderThatRemovesItselfIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		old := c.leader()
		began := time.Now()
		c.must(old.Remove(t.Context(), old.id))
		c.drop(old.id)
		c.await("another leads", func() bool { return c.leader() != old })
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("there was no leader for %s", took)
		}
		c.must(c.leader().Propose(t.Context(), store("after")))
		if err := old.Health(); problem.ReasonOf(err) != ReasonNotMember {
			t.Errorf("health of the one that is out: %v", err)
		}
		if err := old.Propose(t.Context(), store("x")); problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("it proposes: %v", err)
		}
		c.must(old.Shutdown(context.Background()))
		if got := c.voters(); len(got) != 2 || slices.Contains(got, old.id) {
			t.Errorf("voters: %v", got)
		}
	})
}

func TestLeadershipIsHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.must(c.leader().Join(t.Context(), "c4", "c4:7070", ""))
		to := c.follower().id
		began := time.Now()
		c.must(c.leader().TransferLeadership(t.Context(), to))
		if l := c.leader(); l.id != to || time.Since(began) > 500*time.Millisecond {
			t.Errorf("%s leads after %s, not %s", l.id, time.Since(began), to)
		}
		c.await("the new leader has heard of all", func() bool { return c.leader().furthest(0) != "" })
		c.must(c.leader().TransferLeadership(t.Context(), ""))
		if l := c.leader(); l.id == to {
			t.Error("nobody else leads")
		}
		l := c.leader()
		c.must(l.TransferLeadership(t.Context(), l.id))
		for id, want := range map[string]problem.Code{"c4": problem.Conflict, "c9": problem.NotFound} {
			if err := l.TransferLeadership(t.Context(), id); problem.CodeOf(err) != want {
				t.Errorf("to %s: %v", id, err)
			}
		}
		gone := c.follower()
		if err := gone.TransferLeadership(t.Context(), l.id); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("by a follower: %v", err)
		}
		c.lan.isolate(gone.id)
		c.await("it is missed", func() bool { return l.ails(l.followers.get(raft.ServerID(gone.id))) != "" })
		if err := l.TransferLeadership(t.Context(), gone.id); problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("to one that is gone: %v", err)
		}
	})
}

func TestOneThatStopsHandsOverFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.await("the others are heard of", func() bool { return c.leader().furthest(0) != "" })
		began := time.Now()
		c.stop(c.leader().id)
		c.must(c.leader().Propose(t.Context(), store("after")))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("there was no leader for %s", took)
		}
		// With nobody to take over it stops all the same, and soon.
		last, other := c.leader(), c.follower()
		c.lan.isolate(other.id)
		began = time.Now()
		c.stop(last.id)
		if took := time.Since(began); took > handOverLimit+time.Second {
			t.Errorf("it took %s to stop", took)
		}
	})
}

func TestEverybodyLearnsOfANewLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		follower := c.follower()
		first, second := follower.LeaderChanged(), follower.LeaderChanged()
		if follower.LeaderID() != c.leader().id || follower.LeaderAddress() != c.leader().Advertise || follower.Health() != nil {
			t.Errorf("the follower knows %q at %q, health %v", follower.LeaderID(), follower.LeaderAddress(), follower.Health())
		}
		c.kill(c.leader().id)
		<-first
		<-second
		c.await("a leader that all know", func() bool {
			ids := map[string]bool{}
			for _, n := range c.running() {
				ids[n.LeaderID()] = true
			}
			return maps.Equal(ids, map[string]bool{c.leader().id: true})
		})
	})
}
