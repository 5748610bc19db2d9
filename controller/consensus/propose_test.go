package consensus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestOnlyCommandsThatAreKnownGetIntoTheLog(t *testing.T) {
	t.Parallel()
	encode := func(c *pb.Command) []byte {
		b, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	newer := store("x")
	newer.Version = state.CommandVersion + 1
	optional := store("x")
	optional.Version, optional.Skippable = state.CommandVersion+1, true
	present := store("x")
	present.Version = state.CommandVersion
	for name, test := range map[string]struct {
		data   []byte
		level  uint32
		reason problem.Reason
	}{
		"known":               {encode(present), state.CommandVersion, ""},
		"newer, skippable":    {encode(optional), state.CommandVersion, ""},
		"unknown":             {encode(&pb.Command{Version: 1}), state.CommandVersion, state.ReasonBadCommand},
		"nothing":             {nil, state.CommandVersion, state.ReasonBadCommand},
		"newer":               {encode(newer), state.CommandVersion, state.ReasonBadCommand},
		"newer than a member": {encode(present), state.CommandVersion - 1, state.ReasonBadCommand},
		"no command":          {[]byte("not a command"), state.CommandVersion, state.ReasonBadCommand},
		"too large":           {make([]byte, state.MaxCommandSize+1), state.CommandVersion, state.ReasonTooLarge},
	} {
		if err := check(test.data, test.level); problem.ReasonOf(err) != test.reason || (err == nil) != (test.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Members that are older, or that have not told yet, are not sent what they do
// not know.
func TestMembersOfSeveralVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		leader := c.leader()
		tell := func(id string, version uint32) {
			t.Helper()
			c.must(leader.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{
				Member: &pb.MemberRecord{Id: id, Address: id + ":1", CommandVersion: version},
			}}}))
		}
		want := func(n *Node, level uint32) {
			t.Helper()
			c.agree()
			if got := n.CommandLevel(); got != level {
				t.Errorf("%s: the level is %d, want %d", n.ID(), got, level)
			}
		}
		end := &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: "r", Agent: "a"}}}
		agentIn := func(n *Node) string {
			t.Helper()
			data, err := n.encode(end)
			c.must(err)
			cmd := &pb.Command{}
			c.must(proto.Unmarshal(data, cmd))
			return cmd.GetEndRun().GetAgent()
		}
		want(leader, 1)
		for id := range c.running() {
			tell(id, state.CommandVersion)
		}
		want(leader, state.CommandVersion)
		want(c.follower(), state.CommandVersion)
		if agentIn(leader) != "a" {
			t.Error("a field that all know is left out")
		}
		newer, err := leader.encode(end)
		c.must(err)
		tell(c.follower().ID(), 0) // it was set back
		want(leader, 1)
		if agentIn(leader) != "" {
			t.Error("a field is sent that not all know")
		}
		if _, err := leader.ProposeEncoded(t.Context(), newer); problem.ReasonOf(err) != state.ReasonBadCommand {
			t.Errorf("a command of those that all knew before: %v", err)
		}
	})
}

func TestEncodedCommandsAreTheLeadersAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		leader, follower := c.leader(), c.follower()
		data, err := leader.encode(store("x"))
		c.must(err)
		if _, err := follower.ProposeEncoded(t.Context(), data); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("at a follower: %v", err)
		}
		index, err := leader.ProposeEncoded(t.Context(), data)
		c.must(err)
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.must(follower.WaitApplied(soon, index))
		if !has(follower, "x") {
			t.Errorf("the follower is at %d and lacks what is at %d", follower.fsm.applied.Load(), index)
		}
		data, err = leader.encode(store("not a name"))
		c.must(err)
		refused, err := leader.ProposeEncoded(t.Context(), data)
		if problem.ReasonOf(err) != state.ReasonBadCommand || refused <= index {
			t.Errorf("a refusal is at %d: %v", refused, err)
		}
		// A refusal changes nothing that can be seen, and is waited for all the same.
		c.must(follower.WaitApplied(soon, refused))
		if _, err := leader.ProposeEncoded(t.Context(), []byte("junk")); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("junk: %v", err)
		}
		if err := follower.WaitApplied(soon, 1_000_000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what never comes: %v", err)
		}
	})
}

func TestWhatIsProposedAnywhereIsReadThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		for i := range 30 {
			for id, n := range c.running() {
				name := id + "-" + strings.Repeat("x", i)
				c.must(n.Propose(t.Context(), store(name)))
				if !has(n, name) {
					t.Errorf("%s does not read what it wrote", id)
				}
			}
		}
		if err := c.follower().ProposeAsLeader(t.Context(), store("x")); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("a follower as leader: %v", err)
		}
		c.must(c.leader().ProposeAsLeader(t.Context(), store("x")))
	})
}

// A node that hears nothing more does not know that its command was committed
// until it does; the outcome is what counts.
func TestACommittedCommandIsASuccessEvenWhenThisNodeLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		follower, leader := c.follower(), c.leader()
		follower.Forward = func(ctx context.Context, _ string, command []byte) (uint64, error) {
			c.lan.isolate(follower.id)
			return leader.ProposeEncoded(ctx, command)
		}
		began := time.Now()
		c.must(follower.Propose(t.Context(), store("x")))
		if took := time.Since(began); took < lagLimit || has(follower, "x") || !has(leader, "x") {
			t.Errorf("after %s: follower %v, leader %v", took, has(follower, "x"), has(leader, "x"))
		}
	})
}

// A leader that hangs without dying is not waited for.
func TestAForwardedCommandFollowsTheLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		follower, old := c.follower(), c.leader()
		forward := follower.Forward
		follower.Forward = func(ctx context.Context, leader string, command []byte) (uint64, error) {
			if leader == old.Advertise {
				c.lan.isolate(old.id)
				<-ctx.Done()
				return 0, problem.Wrap(problem.Unavailable, ctx.Err(), "wait for an answer")
			}
			return forward(ctx, leader, command)
		}
		began := time.Now()
		c.must(follower.Propose(t.Context(), store("x")))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestTheCallersCommandIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		n := c.open("c1", bootstrap)
		c.leader()
		cmd := store("x")
		at := timestamppb.New(time.Unix(5, 0))
		cmd.RequestId, cmd.ProposedAt = "mine", at
		c.must(n.Propose(t.Context(), cmd))
		if cmd.GetVersion() != 0 || cmd.GetProposedAt() != at {
			t.Error("it was changed")
		}
		if err := n.Propose(t.Context(), &pb.Command{}); problem.ReasonOf(err) != state.ReasonBadCommand {
			t.Errorf("an empty command: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.Propose(ended, store("y")); !errors.Is(err, context.Canceled) {
			t.Errorf("after its end: %v", err)
		}
	})
}
