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
	for name, test := range map[string]struct {
		data   []byte
		reason problem.Reason
	}{
		"known":            {encode(store("x")), ""},
		"newer, skippable": {encode(optional), ""},
		"unknown":          {encode(&pb.Command{Version: 1}), state.ReasonBadCommand},
		"nothing":          {nil, state.ReasonBadCommand},
		"newer":            {encode(newer), state.ReasonBadCommand},
		"no command":       {[]byte("not a command"), state.ReasonBadCommand},
		"too large":        {make([]byte, state.MaxCommandSize+1), state.ReasonTooLarge},
	} {
		if err := check(test.data); problem.ReasonOf(err) != test.reason || (err == nil) != (test.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
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
