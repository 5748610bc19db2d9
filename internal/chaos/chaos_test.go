package chaos

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/check"
	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/chaos/network"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestFirstAfter(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1000, 0)
	at := func(asked, answered int) ack {
		return ack{t0.Add(time.Duration(asked) * time.Millisecond), t0.Add(time.Duration(answered) * time.Millisecond)}
	}
	for name, tt := range map[string]struct {
		acks []ack
		want time.Duration
	}{
		"none":                                {nil, 0},
		"one from before may have been heard": {[]ack{at(-5, 3)}, 0},
		"one":                                 {[]ack{at(-5, 3), at(10, 30)}, 30 * time.Millisecond},
		"the first answer counts":             {[]ack{at(5, 90), at(40, 50)}, 50 * time.Millisecond},
	} {
		if got := firstAfter(tt.acks, t0); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestLongestGap(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1000, 0)
	var acks []ack
	for _, ms := range []int{-900, -100, -80, 300, 320, 330} {
		acks = append(acks, ack{answered: t0.Add(time.Duration(ms) * time.Millisecond)})
	}
	slices.Reverse(acks)
	if got := longestGap(acks, t0); got != 380*time.Millisecond {
		t.Errorf("got %v: the gap across the moment counts, one before it does not", got)
	}
	if longestGap(nil, t0) != 0 || longestGap(acks[:1], t0) != 0 {
		t.Error("there is a gap in nothing")
	}
}

func member(id string, healthy bool, role pb.MemberRole) *pb.Member {
	return &pb.Member{Id: id, Healthy: healthy, Role: role, Detail: "detail"}
}

func TestAiling(t *testing.T) {
	t.Parallel()
	const voter, nonvoter = pb.MemberRole_MEMBER_ROLE_VOTER, pb.MemberRole_MEMBER_ROLE_NONVOTER
	for name, tt := range map[string]struct {
		members []*pb.Member
		want    string
	}{
		"all well":     {[]*pb.Member{member("c1", true, voter), member("c2", true, voter), member("c3", true, voter)}, ""},
		"one is away":  {[]*pb.Member{member("c1", true, voter), member("c2", false, voter), member("c3", true, voter)}, "member c2"},
		"one follows":  {[]*pb.Member{member("c1", true, voter), member("c2", true, voter), member("c3", true, nonvoter)}, "member c3"},
		"one is not a": {[]*pb.Member{member("c1", true, voter), member("c2", true, voter)}, "2 members"},
	} {
		if got := ailing(&pb.GetClusterResponse{Members: tt.members}); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	r := &Rig{name: network.Name(1)}
	at := func() (agents []*pb.AgentInfo, sources []*pb.SourceStatus) {
		for _, name := range agentNames {
			agents = append(agents, &pb.AgentInfo{Id: name, Connected: true})
		}
		for _, d := range databaseKinds {
			sources = append(sources, &pb.SourceStatus{Source: &pb.Source{Name: r.name + "-" + d.name, State: pb.SourceState_SOURCE_STATE_READY, Agent: d.host}})
		}
		return agents, sources
	}
	agents, sources := at()
	others := &pb.Run{Source: "sims/c00-0", State: pb.RunState_RUN_STATE_RUNNING}
	if got := r.idle(agents, sources, []*pb.Run{others, {Source: r.name + "-pg1", State: pb.RunState_RUN_STATE_FAILED}}); got != "" {
		t.Errorf("at rest: %q", got)
	}
	for want, spoil := range map[string]func([]*pb.AgentInfo, []*pb.SourceStatus) []*pb.Run{
		"agent a2 is not connected": func(a []*pb.AgentInfo, _ []*pb.SourceStatus) []*pb.Run { a[1].Connected = false; return nil },
		"-my1 is not ready":         func(_ []*pb.AgentInfo, s []*pb.SourceStatus) []*pb.Run { s[1].Source.Agent = twinName; return nil },
		"-pg2 is not ready":         func(_ []*pb.AgentInfo, s []*pb.SourceStatus) []*pb.Run { s[2].Source.State = 0; return nil },
		"run r1 of " + r.name + "-pg1 is": func([]*pb.AgentInfo, []*pb.SourceStatus) []*pb.Run {
			return []*pb.Run{{Id: "r1", Source: r.name + "-pg1", State: pb.RunState_RUN_STATE_QUEUED}}
		},
	} {
		agents, sources := at()
		runs := spoil(agents, sources)
		if got := r.idle(agents, sources, runs); !strings.Contains(got, want) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

func TestSound(t *testing.T) {
	t.Parallel()
	r := &Rig{}
	f := figures.Fault{}
	f.Blame("lost: something")
	if !r.sound(f) {
		t.Error("a cluster that has lost something, and works, is given up")
	}
	f.Blame("%sagent a1 is not connected", notSettled)
	if r.sound(f) {
		t.Error("a cluster that does not work is put to the next test")
	}
}

// The controller that takes the data in is known from the logs, where they tell.
func TestIngesting(t *testing.T) {
	t.Parallel()
	r := &Rig{journal: procs.NewJournal(clock.System{}), controllers: []*controller{{name: "c1"}, {name: "c2"}, {name: "c3"}}}
	s := &strike{Fault: plan.Fault{Phase: plan.MidPack, Dice: 1}, run: "r1", leader: r.controllers[0], shown: procs.Entry{Process: "c2"}}
	if c := r.ingesting(s); c.name != "c2" {
		t.Errorf("%s has not said so", c.name)
	}
	s.Phase, s.shown.Process = plan.Granted, "c1"
	if c := r.ingesting(s); c.name != "c3" {
		t.Errorf("before it is known, it is %s, which is not the plan's choice", c.name)
	}
	r.journal.Add("c2", `{"msg":"`+check.LineBegins+`","run":"r1","object":"x"}`)
	r.journal.Add("c1", `{"msg":"`+check.LineBegins+`","run":"r2","object":"x"}`)
	s.Phase, s.shown.Process = plan.Commit, "a1"
	if c := r.ingesting(s); c.name != "c2" {
		t.Errorf("%s took in another run", c.name)
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	j := procs.NewJournal(clock.System{})
	j.Add("c1", "panic: oh no")
	j.Add("c1", `{"msg":"a panic: was averted"}`)
	j.Add("c2", "fatal error: all goroutines are asleep")
	if got := (&controller{name: "c1"}).panics(j); len(got) != 1 || !strings.Contains(got[0], "oh no") {
		t.Errorf("got %v", got)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("BAKTAINER_LOG_LEVEL", "error")
	t.Setenv("OTEL_SDK_DISABLED", "false")
	t.Setenv("SOMETHING_ELSE", "1")
	env := strings.Join(environment(), "\n")
	if strings.Contains(env, "BAKTAINER_LOG_LEVEL") || strings.Contains(env, "OTEL_SDK") || !strings.Contains(env, "SOMETHING_ELSE=1") {
		t.Errorf("the environment has\n%s", env)
	}
}

// A rig's folder is known by its lock, and a lock is held by one.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), network.Name(1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if rigDir(dir) {
		t.Error("a folder with a rig's name alone is taken for a rig's")
	}
	lock, err := lockOf(dir)
	if err != nil || !rigDir(dir) {
		t.Fatalf("lock: %v", err)
	}
	if _, err := lockOf(dir); err == nil {
		t.Error("two have the lock")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestAskWithNobodyThere(t *testing.T) {
	t.Parallel()
	r := &Rig{controllers: []*controller{{name: "c1", away: true}}}
	err := r.askWithin(t.Context(), time.Millisecond, func(context.Context, apis) error { return errors.New("asked") })
	if err == nil || strings.Contains(err.Error(), "asked") {
		t.Errorf("one that is away was asked: %v", err)
	}
}
