package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestTurns(t *testing.T) {
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }
	for _, tc := range []struct {
		name   string
		change func(*pb.Run)
		want   string // "lease", "wait" or "fail reason"
	}{
		{"nothing is said", func(*pb.Run) {}, "lease"},
		{"too early", func(r *pb.Run) { r.NotBefore = at(time.Second) }, "wait"},
		{"just in time", func(r *pb.Run) { r.NotBefore = at(0) }, "lease"},
		{"the last moment", func(r *pb.Run) { r.StartBy = at(0) }, "lease"},
		{"too late", func(r *pb.Run) { r.StartBy = at(-time.Second) }, "fail starting-deadline"},
		{"too late, and held back", func(r *pb.Run) { r.StartBy, r.NotBefore = at(-time.Second), at(time.Hour) }, "fail starting-deadline"},
		{"it had begun in time", func(r *pb.Run) { r.StartBy, r.Epoch = at(-time.Second), 1 }, "lease"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			view := tablesWith(t, map[string][]*pb.Source{"a1": {ready("shop")}}).View()
			r := &pb.Run{Id: "r", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", QueuedAt: at(-time.Hour)}
			tc.change(r)
			h := &hall{view: view, seats: map[string]*seat{"a1": {connected: true, size: 1}}, busy: map[string]string{}, now: noon, deadline: time.Hour}
			if got := outcome(h.place(r)); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func outcome(p placement) string {
	switch {
	case p.agent != "":
		return "lease"
	case p.fail != nil:
		return "fail " + string(problem.ReasonOf(p.fail))
	case p.skip != nil:
		return "skip " + string(problem.ReasonOf(p.skip))
	}
	return "wait " + p.wait
}

// A run that is held back has its agent's deadline from when it may begin.
func TestTheAgentsDeadlineCountsFromWhenARunMayBegin(t *testing.T) {
	view := tablesWith(t, map[string][]*pb.Source{"a1": {ready("shop")}}).View()
	r := &pb.Run{Id: "r", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", QueuedAt: timestamppb.New(noon.Add(-5 * time.Hour)), NotBefore: timestamppb.New(noon.Add(-time.Minute))}
	h := &hall{view: view, seats: map[string]*seat{}, busy: map[string]string{}, now: noon, deadline: time.Hour}
	if got := outcome(h.place(r)); !strings.HasPrefix(got, "wait") {
		t.Error(got)
	}
}

func TestPrioritiesOrderTheQueue(t *testing.T) {
	run := func(id string, p pb.Priority) *pb.Run {
		return &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_BACKUP, Priority: p}
	}
	queued := []*pb.Run{
		run("low", pb.Priority_PRIORITY_LOW), run("plain", 0), run("normal", pb.Priority_PRIORITY_NORMAL), {Id: "restore", Kind: pb.RunKind_RUN_KIND_RESTORE},
		run("high", pb.Priority_PRIORITY_HIGH), run("critical", pb.Priority_PRIORITY_CRITICAL), run("plain too", 0),
	}
	byPriority(queued)
	var got []string
	for _, r := range queued {
		got = append(got, r.GetId())
	}
	if s := strings.Join(got, ","); s != "critical,restore,high,plain,normal,plain too,low" {
		t.Error(s)
	}
}

// house is a state in which a group of runs was fired, with dependencies "a:b,c".
func house(t *testing.T, edges, onFailure string, sources ...string) *fakeNode {
	t.Helper()
	up := map[string][]string{}
	for part := range strings.FieldsSeq(edges) {
		from, to, _ := strings.Cut(part, ":")
		up[from] = strings.Split(to, ",")
	}
	var reported []*pb.Source
	for _, name := range []string{"a", "b", "c", "d"} {
		s := ready(name)
		s.DependsOn, s.OnUpstreamFailure = up[name], onFailure
		reported = append(reported, s)
	}
	n := newNode(t)
	n.must(&pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: "a1", Sources: reported}}},
		&pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: []*pb.Schedule{{Id: "default", Cron: "@daily", NextFireAt: timestamppb.New(noon)}}}}})
	fire := &pb.FireSchedules{Schedules: []*pb.ScheduleFire{{Schedule: "default", DueAt: timestamppb.New(noon), Done: true}}}
	for _, name := range sources {
		fire.Runs = append(fire.Runs, &pb.Run{Id: name, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: name, FireTime: timestamppb.New(noon), Schedule: "default"})
	}
	n.must(&pb.Command{Command: &pb.Command_FireSchedules{FireSchedules: fire}})
	return n
}

// turn is what becomes of a source's run now.
func turn(n *fakeNode, name string) string {
	h := &hall{view: n.View(), seats: map[string]*seat{"a1": {connected: true, size: 9}}, busy: map[string]string{}, now: noon, deadline: time.Hour}
	return outcome(h.place(n.run(name)))
}

func finish(n *fakeNode, name string, as pb.RunState) {
	if as == pb.RunState_RUN_STATE_SUCCEEDED {
		n.must(grantOf(name), commitOf(name))
		return
	}
	n.must(&pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: name, State: as}}})
}

func grantOf(name string) *pb.Command {
	return &pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: name, Agent: "a1", ExpiresAt: timestamppb.New(noon.Add(time.Hour)), Snapshot: snapshotOf(name)}}}
}

func snapshotOf(name string) string { return fmt.Sprintf("%026s", strings.ToUpper(name)) }

func commitOf(name string) *pb.Command {
	hash := make([]byte, 32)
	return &pb.Command{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: name, Epoch: 1, Snapshot: &pb.Snapshot{
		Id: snapshotOf(name), Source: name, ManifestSha256: hash, Root: hash, ManifestSize: 1,
	}}}}
}

func TestARunWaitsForWhatComesFirst(t *testing.T) {
	const succeeded, failed, cancelled = pb.RunState_RUN_STATE_SUCCEEDED, pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED
	n := house(t, "a:b b:c", "", "a", "b", "c")
	for _, step := range []struct{ a, b, c, end string }{{"wait", "wait", "lease", "c"}, {"wait", "lease", "", "b"}, {"lease", "", "", ""}} {
		for name, want := range map[string]string{"a": step.a, "b": step.b, "c": step.c} {
			if want == "" {
				continue
			}
			if got := turn(n, name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if step.end != "" {
			finish(n, step.end, succeeded)
		}
	}
	for _, tc := range []struct {
		name, edges, onFailure string
		fired                  []string
		ends                   map[string]pb.RunState
		want                   string
	}{
		{"what is not of the group is not waited for", "a:b", "", []string{"a"}, nil, "lease"},
		{"through one that is not of the group", "a:b b:c", "", []string{"a", "c"}, nil, "wait"},
		{"a failure, and run", "a:b", "run", []string{"a", "b"}, map[string]pb.RunState{"b": failed}, "lease"},
		{"a failure, and nothing is said", "a:b", "", []string{"a", "b"}, map[string]pb.RunState{"b": failed}, "lease"},
		{"a failure, and skip", "a:b", "skip", []string{"a", "b"}, map[string]pb.RunState{"b": failed}, "skip upstream-failed"},
		{"what was skipped itself", "a:b b:c", "skip", []string{"a", "b"}, map[string]pb.RunState{"b": cancelled}, "skip upstream-failed"},
		{"one has failed, another goes on", "a:b,c", "skip", []string{"a", "b", "c"}, map[string]pb.RunState{"b": failed}, "wait"},
		{"all is well, and skip", "a:b,c", "skip", []string{"a", "b", "c"}, map[string]pb.RunState{"b": succeeded, "c": succeeded}, "lease"},
		{"a cycle is refused", "a:b b:a", "", []string{"a", "b"}, nil, "lease"},
		{"itself", "a:a", "", []string{"a"}, nil, "lease"},
		{"before a cycle it waits", "a:b b:c c:b", "", []string{"a", "b"}, nil, "wait"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := house(t, tc.edges, tc.onFailure, tc.fired...)
			for name, as := range tc.ends {
				finish(n, name, as)
			}
			if got := turn(n, "a"); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// Whatever depends on whatever, somebody has a turn until all have ended.
func TestNobodyWaitsForEver(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for bits := range 1 << 12 { // every graph of four sources without loops
		var edges []string
		bit := 0
		for i, from := range names {
			var to []string
			for j, name := range names {
				if i == j {
					continue
				}
				if bits>>bit&1 == 1 {
					to = append(to, name)
				}
				bit++
			}
			if len(to) > 0 {
				edges = append(edges, from+":"+strings.Join(to, ","))
			}
		}
		if bits%7 != 0 { // a seventh of them is enough
			continue
		}
		n := house(t, strings.Join(edges, " "), "skip", names...)
		for len(n.View().ActiveRuns()) > 0 {
			went := false
			for _, r := range n.View().ActiveRuns() {
				if !strings.HasPrefix(turn(n, r.GetSource()), "wait") {
					finish(n, r.GetSource(), pb.RunState_RUN_STATE_CANCELLED)
					went = true
				}
			}
			if !went {
				t.Fatalf("%v: all wait", edges)
			}
		}
	}
}

// The dispatcher skips a run, and lets those go first that matter more.
func TestTheDispatcherKeepsToTurns(t *testing.T) {
	n := house(t, "a:b", "skip", "a", "b")
	finish(n, "b", pb.RunState_RUN_STATE_FAILED)
	d := n.dispatcher(nil)
	d.grant(t.Context())
	if r := n.run("a"); r.GetState() != pb.RunState_RUN_STATE_CANCELLED || r.GetFailure().GetReason() != string(ReasonUpstream) {
		t.Errorf("%v", r)
	}
	if state.Ended(n.run("b")) != true {
		t.Error("b goes on")
	}
}
