package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// many are the names of so many sources of an agent.
func many(agent string, n int) (sources []*pb.Source) {
	for i := range n {
		sources = append(sources, ready(fmt.Sprintf("%s/s%d", agent, i)))
	}
	return sources
}

// queueAll queues a backup of each source.
func (l *leader) queueAll(sources ...*pb.Source) {
	l.t.Helper()
	for _, s := range sources {
		l.must(queueOf(backupOf(fmt.Sprintf("r-%s-%s", s.GetName()[:2], s.GetName()[3:]), s.GetName())))
	}
	synctest.Wait()
}

// running counts the leased runs of each agent.
func (l *leader) running() map[string]int {
	synctest.Wait()
	n := map[string]int{}
	for _, r := range l.fakeNode.View().LeasedRuns() {
		n[r.GetAgent()]++
	}
	return n
}

func (l *leader) info(agent string) *pb.AgentInfo {
	for _, a := range l.Agents() {
		if a.GetId() == agent {
			return a
		}
	}
	return nil
}

func TestWhatIsSetForAnAgentHoldsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		a := l.connect(asks("a1", "h1", 1), many("a1", 6)...)
		l.queueAll(many("a1", 6)...)
		if got := a.assigned(); len(got) != 1 {
			t.Fatalf("%d runs at once, the agent takes one", len(got))
		}
		l.must(setAgent("a1", 3, false))
		if got := a.assigned(); len(got) != 2 {
			t.Errorf("%d more runs after the setting, want 2", len(got))
		}
		if i := l.info("a1"); i.GetConcurrency() != 3 || !i.GetConcurrencySet() || i.GetRunning() != 3 || i.GetQueued() != 3 || i.GetSources() != 6 {
			t.Errorf("info: %v", i)
		}
		l.must(setAgent("a1", 3, true), endOf(l.run("r-a1-s0")))
		if got := a.assigned(); len(got) != 0 {
			t.Errorf("a drained agent was given %v", got)
		}
		if i := l.info("a1"); !i.GetDrained() || i.GetRunning() != 2 {
			t.Errorf("info: %v", i)
		}
		l.must(setAgent("a1", 0, false)) // its own setting again: two are more than that already
		if got := a.assigned(); len(got) != 0 {
			t.Errorf("over its own setting: %v", got)
		}
		l.must(endOf(l.run("r-a1-s1")), endOf(l.run("r-a1-s2")))
		if got := a.assigned(); len(got) != 1 {
			t.Errorf("%d runs under its own setting", len(got))
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		l.must(setLimits(5, 3))
		for _, a := range []struct{ agent, host string }{{"a1", "h1"}, {"a2", "h1"}, {"a3", "h2"}} {
			l.connect(asks(a.agent, a.host, 4), many(a.agent, 4)...)
			l.queueAll(many(a.agent, 4)...)
		}
		got := l.running()
		if got["a1"]+got["a2"] != 3 || got["a3"] != 2 {
			t.Errorf("running: %v, want 3 on the first host and 5 in all", got)
		}
		if u := l.Utilisation(); u.GetRunning() != 5 || u.GetQueued() != 7 || u.GetCapacity() != 5 {
			t.Errorf("utilisation: %v", u)
		}
		l.must(setLimits(0, 3))
		if got = l.running(); got["a1"]+got["a2"] != 3 || got["a3"] != 3 {
			t.Errorf("without a total: %v", got)
		}
		l.must(setLimits(0, 0))
		if got = l.running(); got["a1"] != 4 || got["a2"] != 4 || got["a3"] != 4 {
			t.Errorf("without limits: %v", got)
		}
		l.must(setAgent("a3", 0, true))
		if u := l.Utilisation(); u.GetRunning() != 12 || u.GetQueued() != 0 || u.GetCapacity() != 8 {
			t.Errorf("utilisation with one drained: %v", u)
		}
	})
}

// Runs wait in the order in which they came, whoever they are for.
func TestTheQueueIsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		l.must(setLimits(1, 0))
		l.connect(asks("a1", "h1", 4), many("a1", 2)...)
		l.connect(asks("a2", "h2", 4), many("a2", 2)...)
		want := []string{"r-a1-s0", "r-a2-s0", "r-a1-s1", "r-a2-s1"}
		for i, name := range []string{"a1/s0", "a2/s0", "a1/s1", "a2/s1"} {
			l.must(queueOf(backupOf(want[i], name)))
			l.pass(time.Second)
		}
		var got []string
		for range want {
			synctest.Wait()
			for _, r := range l.fakeNode.View().LeasedRuns() {
				got = append(got, r.GetId())
				l.must(endOf(r))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("leased in the order %v, want %v", got, want)
		}
	})
}

func TestEndSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		l.must(
			&pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{Hash: make([]byte, 32), Token: &pb.Token{
				Id: "000000000000", Role: pb.Role_ROLE_AGENT, Uses: 1, ExpiresAt: timestamppb.New(l.Clock.Now().Add(time.Hour)),
			}}}},
			&pb.Command{Command: &pb.Command_IssueIdentity{IssueIdentity: &pb.IssueIdentity{TokenHash: make([]byte, 32), Identity: &pb.Identity{
				Role: pb.Role_ROLE_AGENT, Name: "a1", Serial: "1", IssuedAt: timestamppb.New(l.Clock.Now()), NotAfter: timestamppb.New(l.Clock.Now().Add(time.Hour)),
			}}}})
		if i := l.info("a1"); i == nil || i.GetConnected() || i.GetRevokedAt() != nil {
			t.Errorf("an agent that has not come yet: %v", i)
		}
		a := l.connect(asks("a1", "h1", 4), ready("shop"))
		why := errors.New("revoked")
		l.must(&pb.Command{Command: &pb.Command_RevokeIdentity{RevokeIdentity: &pb.RevokeIdentityRecord{Role: pb.Role_ROLE_AGENT, Name: "a1"}}})
		l.EndSession("a1", why)
		l.EndSession("a1", why)
		l.EndSession("nobody", why)
		if over, err := a.ended(); !over || !errors.Is(err, why) {
			t.Errorf("the session: over %t, %v", over, err)
		}
		l.must(queueOf(backupOf("r1", "shop")))
		if got := l.running(); len(got) != 0 {
			t.Errorf("given to an agent without a session: %v", got)
		}
		if i := l.info("a1"); i.GetConnected() || i.GetRevokedAt() == nil {
			t.Errorf("info: %v", i)
		}
	})
}

func TestAgentsHearOfTheControllers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, two := &pb.ControllerInfo{Id: "c1", Address: "c1:7070", Leader: true}, &pb.ControllerInfo{Id: "c2", Address: "c2:7070"}
		var controllers atomic.Pointer[[]*pb.ControllerInfo]
		var trust atomic.Uint64
		controllers.Store(&[]*pb.ControllerInfo{one})
		trust.Store(3)
		n := newNode(t)
		n.must(setLimits(0, 0))
		l := n.leader(func(o *Options) {
			o.Controllers = func() []*pb.ControllerInfo { return *controllers.Load() }
			o.TrustVersion = trust.Load
			o.Ingest = func(source string) []string { return []string{"c2 for " + source} }
		})
		a, b := l.connect(asks("a1", "h1", 4), ready("shop")), l.connect(asks("a2", "h2", 4))
		for _, e := range []*end{a, b} {
			if m := e.told(); len(m) != 1 || len(m[0].GetControllers()) != 1 || !proto.Equal(m[0].GetControllers()[0], one) || m[0].GetTrustVersion() != 3 {
				t.Errorf("at first: %v", m)
			}
		}
		l.must(setLimits(1, 0)) // a change, and none of these
		if m := append(a.told(), b.told()...); len(m) != 0 {
			t.Errorf("told again: %v", m)
		}
		controllers.Store(&[]*pb.ControllerInfo{one, two})
		l.must(setLimits(2, 0))
		for _, e := range []*end{a, b} {
			if m := e.told(); len(m) != 1 || len(m[0].GetControllers()) != 2 || m[0].GetTrustVersion() != 0 || m[0].GetType() != pb.SessionResponse_TYPE_INCREMENTAL {
				t.Errorf("a controller more: %v", m)
			}
		}
		trust.Store(4)
		l.pass(2 * time.Second) // seen without a change of the state, too
		for _, e := range []*end{a, b} {
			if m := e.told(); len(m) != 1 || m[0].GetControllers() != nil || m[0].GetTrustVersion() != 4 {
				t.Errorf("the trust has changed: %v", m)
			}
		}
		a.beat()
		if l.info("a1").GetTrustVersion() != 3 || l.info("a2").GetTrustVersion() != 0 {
			t.Errorf("trust of the agents: %v, %v", l.info("a1"), l.info("a2"))
		}
		l.must(queueOf(backupOf("r1", "shop")))
		if m := a.told(); len(m) != 1 || len(m[0].GetAssign()) != 1 || !slices.Equal(m[0].GetAssign()[0].GetControllers(), []string{"c2 for shop"}) || m[0].GetControllers() != nil {
			t.Errorf("assignment: %v", m)
		}
	})
}
