package dispatch

import (
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// tablesWith returns a state in which agents have reported sources.
func tablesWith(t *testing.T, sources map[string][]*pb.Source) *state.Tables {
	t.Helper()
	tables := state.New()
	index := uint64(0)
	for agent, list := range sources {
		index++
		err := tables.Apply(index, &pb.Command{ProposedAt: timestamppb.New(noon), Command: &pb.Command_ReportSources{
			ReportSources: &pb.ReportSources{Agent: agent, Sources: list},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tables
}

func src(name string, in pb.SourceState) *pb.Source { return &pb.Source{Name: name, State: in} }

func TestPlace(t *testing.T) {
	const ready, stopped, invalid = pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_STOPPED, pb.SourceState_SOURCE_STATE_INVALID
	view := tablesWith(t, map[string][]*pb.Source{
		"a1": {src("shop", ready), src("off", stopped), src("bad", invalid)},
		"a2": {src("far", ready)},
	}).View()
	backup := func(name string) *pb.Run {
		return &pb.Run{Id: "r", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: name, QueuedAt: timestamppb.New(noon)}
	}
	restore := func(source string, req *pb.RestoreRequest) *pb.Run {
		r := backup(source)
		r.Kind, r.Restore = pb.RunKind_RUN_KIND_RESTORE, req
		return r
	}
	drill := func(source, agent string) *pb.Run {
		r := backup(source)
		r.Kind, r.Drill = pb.RunKind_RUN_KIND_DRILL, &pb.DrillRequest{Agent: agent}
		return r
	}
	const recent = 200 * time.Hour // long after the run was queued, shortly after this leadership began
	both := map[string]*seat{"a1": {connected: true, size: 1}, "a2": {connected: true, size: 1}}
	one := map[string]*seat{"a1": {connected: true, size: 1}, "a2": {}}
	drained := map[string]*seat{"a1": {connected: true, size: 1, drained: true}, "a2": {size: 1, drained: true}}
	for _, tc := range []struct {
		name  string
		run   *pb.Run
		seats map[string]*seat
		busy  string
		later time.Duration
		want  string // "lease X", "wait …" or "fail reason"
	}{
		{"a backup goes to the source's agent", backup("shop"), both, "", 0, "lease a1"},
		{"each to its own", backup("far"), both, "", 0, "lease a2"},
		{"an agent that is full", backup("shop"), map[string]*seat{"a1": {connected: true, size: 2, running: 2}}, "", 0, "wait"},
		{"an agent that is away", backup("far"), one, "", 0, "wait"},
		{"an agent that was never seen", backup("far"), map[string]*seat{}, "", 0, "wait"},
		{"an agent that stays away", backup("far"), one, "", 2 * time.Hour, "fail no-agent"},
		{"an agent that has had no time to come back", backup("far"), one, "", recent, "wait"},
		{"a source at work", backup("shop"), both, "shop", 0, "wait"},
		{"no such source", backup("none"), both, "", 0, "fail source-gone"},
		{"a stopped container", backup("off"), both, "", 0, "fail not-running"},
		{"wrong labels", backup("bad"), both, "", 0, "fail source-invalid"},
		{"a restore goes to the target's agent", restore("shop", &pb.RestoreRequest{TargetSource: "far"}), both, "", 0, "lease a2"},
		{"a restore waits for its target", restore("shop", &pb.RestoreRequest{TargetSource: "far"}), both, "far", 0, "wait"},
		{"a restore to where it came from", restore("shop", &pb.RestoreRequest{}), both, "", 0, "lease a1"},
		{"a restore of what is gone, elsewhere", restore("none", &pb.RestoreRequest{TargetSource: "far"}), both, "", 0, "lease a2"},
		{"a container on a named agent", restore("shop", &pb.RestoreRequest{TargetContainer: "x", TargetAgent: "a2"}), both, "", 0, "lease a2"},
		{"a container on the only agent", restore("shop", &pb.RestoreRequest{TargetContainer: "x"}), one, "", 0, "lease a1"},
		{"a container on one of several", restore("shop", &pb.RestoreRequest{TargetContainer: "x"}), both, "", 0, "fail "},
		{"a drill goes to the source's agent", drill("shop", ""), both, "", 0, "lease a1"},
		{"a drill beside another run", drill("shop", ""), both, "shop", 0, "lease a1"},
		{"a drill of a stopped container", drill("off", ""), both, "", 0, "lease a1"},
		{"a drill elsewhere", drill("shop", "a2"), both, "", 0, "lease a2"},
		{"a drill of what is gone", drill("none", ""), both, "", 0, "fail source-gone"},
		{"a drill of what is gone, elsewhere", drill("none", "a2"), both, "", 0, "lease a2"},
		{"an agent that is drained", backup("shop"), drained, "", 2 * time.Hour, "wait"},
		{"a stopped container of a drained agent", backup("off"), drained, "", 0, "wait"},
		{"a drained agent that stays away", backup("far"), drained, "", 2 * time.Hour, "fail no-agent"},
		{"a new container, where the source is", restore("shop", &pb.RestoreRequest{NewContainer: "xy"}), both, "", 0, "lease a1"},
		{"a new container elsewhere", restore("shop", &pb.RestoreRequest{NewContainer: "xy", TargetAgent: "a2"}), both, "", 0, "lease a2"},
		{"a container and no agent yet", restore("shop", &pb.RestoreRequest{TargetContainer: "x"}), nil, "", 0, "wait"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &hall{view: view, seats: tc.seats, busy: map[string]string{tc.busy: "it is busy"}, now: noon.Add(tc.later), deadline: time.Hour}
			if tc.later == recent {
				h.began = h.now.Add(-time.Minute)
			}
			p := h.place(tc.run)
			got := "wait"
			switch {
			case p.agent != "":
				got = "lease " + p.agent
			case p.fail != nil:
				got = "fail " + string(problem.ReasonOf(p.fail))
				if p.fail.Hint == "" && p.fail.Reason != ReasonGone {
					t.Error("no hint says what to do")
				}
			case p.wait == "":
				t.Error("it waits without a reason")
			}
			if got != tc.want {
				t.Errorf("got %q (%v), want %q", got, p, tc.want)
			}
		})
	}
}

func TestBoundedFailure(t *testing.T) {
	f := &pb.Failure{Message: strings.Repeat("é", maxMessage), Details: make([]string, 100_000)}
	for i := range f.Details {
		f.Details[i] = strings.Repeat("x", 100)
	}
	f.Details[len(f.Details)-1] = "last"
	got := bounded(f)
	if n := proto.Size(got); n > maxMessage+maxDetails+100 || len(got.GetDetails()) < 100 || got.GetDetails()[len(got.GetDetails())-1] != "last" {
		t.Errorf("%d bytes, %d details", n, len(got.GetDetails()))
	}
	if bounded(nil) != nil {
		t.Error("a failure came of none")
	}
}

func TestTidy(t *testing.T) {
	const ready, invalid = pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_INVALID
	other := &pb.LabelProblem{Label: "baktainer.db.engine", Reason: "unknown"}
	got := merge(tidy([]*pb.Source{
		{Name: "fine", State: ready, Agent: "somebody else"},
		{Name: "twice", State: ready, Container: &pb.Container{Name: "one"}, Problems: []*pb.LabelProblem{other}},
		{Name: "twice", State: ready, Container: &pb.Container{Name: "two"}, Problems: []*pb.LabelProblem{other}},
		{Name: "../etc", State: ready}, {Name: ""}, {Name: "no state"}, {Name: "gone", State: pb.SourceState_SOURCE_STATE_GONE},
		{Name: "long", State: invalid, Problems: []*pb.LabelProblem{{Value: strings.Repeat("x", 1<<20)}}},
		{Name: strings.Repeat("n\x00", 5000), State: ready},
	}))
	states := map[string]pb.SourceState{}
	for _, s := range got {
		states[s.GetName()] = s.GetState()
		if s.GetAgent() != "" {
			t.Errorf("%s: an agent speaks for %q", s.GetName(), s.GetAgent())
		}
	}
	want := map[string]pb.SourceState{
		"fine": ready, "twice": invalid, "../etc": invalid, "no state": invalid, "gone": invalid, "long": invalid, strings.Repeat("n", 256): invalid,
	}
	if !maps.Equal(states, want) {
		t.Errorf("got %v, want %v", states, want)
	}
	if p := got[1].GetProblems(); len(p) != 2 || !strings.Contains(p[1].GetReason(), "one and two") {
		t.Errorf("problems of the two: %v", p)
	}
	tablesWith(t, map[string][]*pb.Source{"a1": got}) // the state takes it all
}

func TestPeriod(t *testing.T) {
	d := &Dispatcher{Options: Options{LeaseDuration: time.Minute}}
	for agents, want := range map[int]time.Duration{1: 2 * time.Second, 200: 4 * time.Second, 5000: 15 * time.Second} {
		if got := d.period(agents); got != want {
			t.Errorf("%d agents: %s, want %s", agents, got, want)
		}
	}
	d.LeaseDuration = 2 * time.Second
	if got := d.period(1); got != 500*time.Millisecond {
		t.Errorf("short leases: %s", got)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		seat   seat
		limits *pb.Limits
		want   string // in the reason; "" when there is room
	}{
		"no limits":           {seat{host: "h1", size: 2, running: 1}, nil, ""},
		"the agent is full":   {seat{host: "h1", size: 2, running: 2}, nil, "the agent a1 has enough to do"},
		"over its setting":    {seat{host: "h1", size: 1, running: 4}, nil, "the agent a1 has enough to do"},
		"the host is full":    {seat{host: "h1", size: 9}, &pb.Limits{PerHost: 3}, "3 runs are at work on the host h1"},
		"the host has room":   {seat{host: "h1", size: 9}, &pb.Limits{PerHost: 4}, ""},
		"another host":        {seat{host: "h2", size: 9}, &pb.Limits{PerHost: 3}, ""},
		"all is full":         {seat{host: "h2", size: 9}, &pb.Limits{Total: 5}, "5 runs are at work in all"},
		"there is room":       {seat{host: "h2", size: 9}, &pb.Limits{Total: 6, PerHost: 1}, ""},
		"less than there are": {seat{host: "h2", size: 9}, &pb.Limits{Total: 2}, "5 runs are at work in all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hall{limits: tc.limits, running: 5, hosts: map[string]int{"h1": 3}}
			if got := h.full("a1", &tc.seat); got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
