package state_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestCommands(t *testing.T) {
	running := slices.Clip([]*pb.Command{queue("r1", "shop", 0), grant("r1", 1)})
	done := slices.Clip(append(running, commit("r1", 1, "shop", 1)))
	for _, tc := range []struct {
		name   string
		before []*pb.Command
		cmd    *pb.Command
		want   problem.Reason // "" when it is accepted
	}{
		{"queue", nil, queue("r1", "shop", 0), ""},
		{"queue what exists", running, queue("r1", "shop", 0), ""},
		{"queue a bad source", nil, queue("r1", "../x", 0), state.ReasonBadCommand},
		{"queue a bad id", nil, queue("r/1", "shop", 0), state.ReasonBadCommand},
		{"queue for a fire time that has a snapshot", done, queue("r2", "shop", 0), state.ReasonDuplicate},
		{"fire", []*pb.Command{setSchedule(5)}, fire(5, 9, "a", "b"), ""},
		{"fire twice", []*pb.Command{setSchedule(5), fire(5, 9, "a")}, fire(5, 9, "a"), state.ReasonNotDue},
		{"fire again after an interruption", slices.Concat(done, []*pb.Command{setSchedule(0)}), fire(0, 9, "shop", "a"), ""},
		{"grant", []*pb.Command{queue("r1", "shop", 0)}, grant("r1", 1), ""},
		{"grant what is leased", running, grant("r1", 2), state.ReasonWrongMoment},
		{"grant nothing", nil, grant("r1", 1), state.ReasonNoRun},
		{"grant beside another run of the source", append(running, queue("r2", "shop", 1)), grant("r2", 2), state.ReasonSourceBusy},
		{"grant beside a restore into the source", []*pb.Command{queueRestore("r0", "other", "shop"), grant("r0", 0), queue("r2", "shop", 1)}, grant("r2", 2), state.ReasonSourceBusy},
		{"grant beside another source", append(running, queue("r2", "blog", 1)), grant("r2", 2), ""},
		{"grant a taken snapshot id", append(done, queue("r2", "shop", 1)), grant("r2", 1), state.ReasonDuplicate},
		{"drill", append(done, queueDrill("d1", "shop", 1)), grant("d1", 0), ""},
		{"drill nothing", done, queueDrill("d1", "shop", 2), state.ReasonNoSnapshot},
		{"drill another's", done, queueDrill("d1", "blog", 1), state.ReasonNoSnapshot},
		{"drill beside a backup", append(done, queueDrill("d1", "shop", 1), queue("r2", "shop", 1), grant("r2", 2)), grant("d1", 0), ""},
		{"back up beside a drill", append(done, queueDrill("d1", "shop", 1), grant("d1", 0), queue("r2", "shop", 1)), grant("r2", 2), ""},
		{"prune beside a drill", append(done, queueDrill("d1", "shop", 1), grant("d1", 0)), beginPrune("shop", 9, 1), state.ReasonSourceBusy},
		{"drill beside a prune", append(done, queueDrill("d1", "shop", 1), beginPrune("shop", 9, 1)), grant("d1", 0), state.ReasonSourceBusy},
		{"end a drill", append(done, queueDrill("d1", "shop", 1), grant("d1", 0)), endDrill("d1", 1, true, true), ""},
		{"commit a drill", append(done, queueDrill("d1", "shop", 1), grant("d1", 0)), commit("d1", 1, "shop", 1), state.ReasonBadCommand},
		{"renew", running, renew("r1", 1, 2000), ""},
		{"renew what has passed on", running, renew("r1", 7, 2000), ""},
		{"release", running, release("r1", 1, nil), ""},
		{"release twice", append(running, release("r1", 1, nil)), release("r1", 1, nil), ""},
		{"release a stale epoch", append(running, release("r1", 1, nil), grant("r1", 2)), release("r1", 1, nil), state.ReasonStaleEpoch},
		{"commit", running, commit("r1", 1, "shop", 1), ""},
		{"commit twice", done, commit("r1", 1, "shop", 1), ""},
		{"commit a stale epoch", append(running, release("r1", 1, nil), grant("r1", 2)), commit("r1", 1, "shop", 1), state.ReasonStaleEpoch},
		{"commit after the lease was lost", append(running, release("r1", 1, nil)), commit("r1", 1, "shop", 1), state.ReasonWrongMoment},
		{"commit another snapshot", running, commit("r1", 1, "shop", 2), state.ReasonBadCommand},
		{"commit another source", running, commit("r1", 1, "blog", 1), state.ReasonBadCommand},
		{"commit after a failure", append(running, end("r1", 1, pb.RunState_RUN_STATE_FAILED)), commit("r1", 1, "shop", 1), state.ReasonRunEnded},
		{"commit a second run of the fire time", append([]*pb.Command{queue("r2", "shop", 0)}, append(done, grant("r2", 2))...), commit("r2", 1, "shop", 2), state.ReasonDuplicate},
		{"end", running, end("r1", 1, pb.RunState_RUN_STATE_FAILED), ""},
		{"end twice alike", append(running, end("r1", 1, pb.RunState_RUN_STATE_FAILED)), end("r1", 1, pb.RunState_RUN_STATE_FAILED), ""},
		{"end twice otherwise", append(running, end("r1", 1, pb.RunState_RUN_STATE_FAILED)), end("r1", 1, pb.RunState_RUN_STATE_CANCELLED), state.ReasonRunEnded},
		{"end a queued one", []*pb.Command{queue("r1", "shop", 0)}, end("r1", 0, pb.RunState_RUN_STATE_FAILED), ""},
		{"end a backup as a success", running, end("r1", 1, pb.RunState_RUN_STATE_SUCCEEDED), state.ReasonBadCommand},
		{"end as queued", running, end("r1", 1, pb.RunState_RUN_STATE_QUEUED), state.ReasonBadCommand},
		{"end by its agent", running, endBy("a1", "r1", 1), ""},
		{"end by its agent, twice", append(running, endBy("a1", "r1", 1)), endBy("a1", "r1", 1), ""},
		{"end by another agent", running, endBy("a2", "r1", 1), state.ReasonStaleEpoch},
		{"end by an agent whose lease has passed", append(running, release("r1", 1, nil)), endBy("a1", "r1", 1), state.ReasonStaleEpoch},
		{"try again", running, retry("a1", "r1", 1, 50), ""},
		{"try again, twice told", append(running, retry("a1", "r1", 1, 50)), retry("a1", "r1", 1, 50), ""},
		{"try again, by another agent", running, retry("a2", "r1", 1, 50), state.ReasonStaleEpoch},
		{"try again, a stale epoch", append(running, release("r1", 1, nil), grant("r1", 2)), retry("a1", "r1", 1, 50), state.ReasonStaleEpoch},
		{"try again what has ended", append(running, endBy("a1", "r1", 1)), retry("a1", "r1", 1, 50), state.ReasonRunEnded},
		{"try again a restore", append(done, queueRestore("r2", "shop", "shop"), grant("r2", 2)), retry("a1", "r2", 1, 50), state.ReasonBadCommand},
		{"end a stale epoch", running, end("r1", 2, pb.RunState_RUN_STATE_FAILED), state.ReasonStaleEpoch},
		{"cancel", running, cancel("r1"), ""},
		{"cancel what is queued, twice", []*pb.Command{queue("r1", "shop", 0), cancel("r1")}, cancel("r1"), ""},
		{"cancel what has ended", done, cancel("r1"), state.ReasonRunEnded},
		{"cancel nothing", nil, cancel("r1"), state.ReasonNoRun},
		{"verify", done, verified(1, 50), ""},
		{"verify nothing", done, verified(2, 50), state.ReasonNoSnapshot},
		{"another cluster", []*pb.Command{{Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: "c1"}}}}, &pb.Command{Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: "c2"}}}, state.ReasonOtherClust},
		{"a source named twice", nil, report("a1", nil, ready("x"), ready("x")), state.ReasonBadCommand},
		{"a source with a bad name", nil, report("a1", nil, ready("x y")), state.ReasonBadCommand},
		{"an invalid source may have any name", nil, report("a1", nil, &pb.Source{Name: "x y", State: pb.SourceState_SOURCE_STATE_INVALID}), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(t)
			for _, c := range tc.before {
				l.must(proto.CloneOf(c))
			}
			before := snapshotBytes(t, l.state)
			err := l.apply(tc.cmd)
			if got := problem.ReasonOf(err); got != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v (%s), want %q", err, got, tc.want)
			}
			if err != nil && !bytes.Equal(before[20:len(before)-5], after(t, l.state)) {
				t.Error("a refused command changed the state")
			}
			invariants(t, l.state)
		})
	}
}

func snapshotBytes(t testing.TB, s *state.Tables) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// after is a raft snapshot without index and checksum.
func after(t testing.TB, s *state.Tables) []byte {
	b := snapshotBytes(t, s)
	return b[20 : len(b)-5]
}

func TestWhatCommandsDo(t *testing.T) {
	l := newLog(t).must(queue("r1", "shop", 0), grant("r1", 1))
	if r := l.run("r1"); r.GetEpoch() != 1 || r.GetAgent() != "a1" || r.GetSnapshot() != ulid(1) || r.GetStartedAt() == nil {
		t.Errorf("after the grant: %v", r)
	}
	l.must(release("r1", 1, nil))
	if r := l.run("r1"); r.GetState() != pb.RunState_RUN_STATE_QUEUED || r.GetSnapshot() != "" || r.GetAgent() != "" {
		t.Errorf("after the release: %v", r)
	}
	l.must(grant("r1", 2), renew("r1", 2, 5000), commit("r1", 2, "shop", 2))
	if r := l.run("r1"); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || r.GetSnapshot() != ulid(2) || r.GetEpoch() != 2 || r.GetEndedAt() == nil {
		t.Errorf("after the commit: %v", r)
	}
	s := l.state.View().LedgerHead()
	if s.GetLedgerIndex() != 1 || s.GetRun() != "r1" || s.GetEpoch() != 2 || s.GetCommittedAt().AsTime() != at(l.index).AsTime() {
		t.Errorf("ledger entry: %v", s)
	}
	l.must(verified(2, 60), verified(2, 50))
	if got, _ := l.state.View().Snapshot(ulid(2)); got.GetVerifiedAt().AsTime() != at(60).AsTime() {
		t.Errorf("verified at %v", got.GetVerifiedAt())
	}

	l.must(queue("r2", "shop", 1), grant("r2", 3), cancel("r2"), release("r2", 1, nil))
	if r := l.run("r2"); r.GetState() != pb.RunState_RUN_STATE_CANCELLED || r.GetSnapshot() != "" {
		t.Errorf("a cancelled run whose agent was lost: %v", r)
	}
	l.must(queue("r3", "shop", 2), grant("r3", 4), release("r3", 1, &pb.Failure{Message: "lost"}))
	if r := l.run("r3"); r.GetState() != pb.RunState_RUN_STATE_FAILED || r.GetFailure().GetMessage() != "lost" {
		t.Errorf("a run given up: %v", r)
	}
	l.must(setSchedule(5), fire(5, 9, "a", "b"))
	if s, _ := l.state.View().Schedule("default"); s.GetNextFireAt().AsTime() != at(9).AsTime() {
		t.Errorf("schedule: %v", s)
	}
	if got := len(l.state.View().ActiveRuns()); got != 2 {
		t.Errorf("%d active runs", got)
	}
	totals := map[string]int64{}
	for _, n := range l.state.View().Totals() {
		totals[n.GetState().String()] += n.GetRuns()
	}
	if totals["RUN_STATE_SUCCEEDED"] != 1 || totals["RUN_STATE_FAILED"] != 1 || totals["RUN_STATE_CANCELLED"] != 1 {
		t.Errorf("totals: %v", totals)
	}
}

func TestSourcesStayWithTheirAgent(t *testing.T) {
	l := newLog(t).must(report("a1", nil, ready("shop"), ready("blog")), report("a2", nil, ready("shop"), ready("wiki")))
	owner := func(name string) string {
		s, _ := l.state.View().Source(name)
		return s.GetAgent() + " " + strings.ToLower(strings.TrimPrefix(s.GetState().String(), "SOURCE_STATE_"))
	}
	check := func(want ...string) {
		t.Helper()
		if got := []string{owner("blog"), owner("shop"), owner("wiki")}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	check("a1 ready", "a1 ready", "a2 ready")
	l.must(report("a2", []string{"a1"}, ready("shop")))
	check("a1 ready", "a2 ready", "a2 gone")
	l.must(report("a1", nil))
	check("a1 gone", "a2 ready", "a2 gone")
	l.must(report("a3", nil, ready("blog")))
	check("a3 ready", "a2 ready", "a2 gone")
}

func TestARequestIsAppliedOnce(t *testing.T) {
	l := newLog(t)
	one := withID(queue("r1", "shop", 0), "q")
	l.must(one, withID(queue("r2", "shop", 1), "q"))
	if _, ok := l.state.View().Run("r2"); ok {
		t.Error("a second command of the same request was carried out")
	}
	first := l.apply(withID(cancel("none"), "c"))
	l.must(queue("none", "shop", 3))
	second := l.apply(withID(cancel("none"), "c"))
	if first == nil || second == nil || first.Error() != second.Error() || problem.ReasonOf(second) != state.ReasonNoRun {
		t.Errorf("%v, then %v", first, second)
	}
	l.must(cancel("r1"))
	first, second = l.apply(withID(grant("r1", 1), "g")), l.apply(withID(grant("r1", 1), "g"))
	if first == nil || second == nil || first.Error() != second.Error() || problem.ReasonOf(second) != state.ReasonRunEnded {
		t.Errorf("%v, then %v", first, second)
	}
	for i := range state.KeptRequests + 5 {
		_ = l.apply(withID(cancel("none2"), fmt.Sprintf("x%d", i))) // refused each time
	}
	l.must(withID(queue("r9", "shop", 9), "q")) // forgotten by now, so carried out
	if _, ok := l.state.View().Run("r9"); !ok {
		t.Error("requests are remembered for ever")
	}
}

func TestWhatIsRememberedOfARefusalFitsARaftSnapshot(t *testing.T) {
	for what, cmd := range map[string]*pb.Command{
		"many details":   {Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: make([]string, 100_000)}}},
		"a long message": cancel(strings.Repeat("\x01", 500_000)),
	} {
		l := newLog(t)
		err := l.apply(withID(cmd, "q"))
		again := l.apply(withID(cmd, "q"))
		if err == nil || problem.ReasonOf(again) != problem.ReasonOf(err) {
			t.Errorf("%s: %.100v, then %.100v", what, err, again)
		}
		into := state.New()
		if _, err := into.ReadFrom(bytes.NewReader(snapshotBytes(t, l.state))); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOldRunsAreForgotten(t *testing.T) {
	l := newLog(t).must(queue("first", "shop", 0), grant("first", 1), commit("first", 1, "shop", 1))
	for i := range state.KeptRuns + 30 {
		id := fmt.Sprintf("f%d", i)
		l.must(queue(id, "shop", i+1), end(id, 0, pb.RunState_RUN_STATE_FAILED))
	}
	runs := l.state.View().Runs("shop", 0)
	if len(runs) != state.KeptRuns+1 {
		t.Errorf("%d runs are kept, want %d and the one of the newest snapshot", len(runs), state.KeptRuns)
	}
	l.must(commit("first", 1, "shop", 1))
	if newest := l.state.View().Runs("", 1)[0].GetId(); newest != fmt.Sprintf("f%d", state.KeptRuns+29) {
		t.Errorf("newest run %s", newest)
	}
}

func TestFindSnapshot(t *testing.T) {
	l := newLog(t)
	for i, source := range []string{"shop", "shop", "blog"} {
		id := fmt.Sprintf("r%d", i)
		l.must(queue(id, source, i), grant(id, i+10), commit(id, 1, source, i+10))
	}
	v := l.state.View()
	for ref, want := range map[string]string{
		ulid(11): ulid(11), strings.ToLower(ulid(11)): ulid(11), "shop@latest": ulid(11), "blog@latest": ulid(12),
		ulid(12)[:26]: ulid(12),
	} {
		if s, err := v.FindSnapshot(ref); err != nil || s.GetId() != want {
			t.Errorf("%s: %v, %v", ref, s.GetId(), err)
		}
	}
	for ref, want := range map[string]problem.Code{
		"wiki@latest": problem.NotFound, "zzzz": problem.NotFound, "01": problem.NotFound, "": problem.NotFound,
		ulid(11)[:20]: problem.InvalidInput,
	} {
		if _, err := v.FindSnapshot(ref); problem.CodeOf(err) != want {
			t.Errorf("%q: %v, want %s", ref, err, want)
		}
	}
	if got := v.Snapshots("shop", 1); len(got) != 1 || got[0].GetId() != ulid(11) {
		t.Errorf("newest of shop: %v", got)
	}
	if v.CountSnapshots("shop") != 2 || len(v.Snapshots("", 0)) != 3 {
		t.Error("wrong counts")
	}
}

func TestChanged(t *testing.T) {
	l := newLog(t)
	before := l.state.View()
	select {
	case <-before.Changed():
		t.Fatal("changed before anything was applied")
	default:
	}
	if l.apply(cancel("none")) == nil {
		t.Fatal("cancelled nothing")
	}
	select {
	case <-before.Changed():
		t.Fatal("a refused command is no news")
	default:
	}
	refused := l.state.View()
	l.must(queue("r1", "shop", 0))
	<-before.Changed()
	<-refused.Changed()
	if len(before.ActiveRuns()) != 0 || len(l.state.View().ActiveRuns()) != 1 {
		t.Error("an old view changed, or the new one did not")
	}
}

// An attempt that fails leaves its mark until the run ends, and the snapshot of
// the next one is another.
func TestARunIsTriedAgain(t *testing.T) {
	l := newLog(t).must(queue("r1", "shop", 0), grant("r1", 1), retry("a1", "r1", 1, 50))
	r, _ := l.state.View().Run("r1")
	if r.GetState() != pb.RunState_RUN_STATE_QUEUED || r.GetFailedAttempts() != 1 || r.GetAgent() != "" || r.GetSnapshot() != "" ||
		!proto.Equal(r.GetNotBefore(), at(50)) || r.GetFailure().GetMessage() != "no" || len(r.GetLogs()) != 1 || r.GetLeaseExpiresAt() != nil {
		t.Errorf("between attempts: %v", r)
	}
	l.must(grant("r1", 2), retry("a1", "r1", 2, 60), grant("r1", 3), commit("r1", 3, "shop", 3))
	if r, _ = l.state.View().Run("r1"); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || r.GetFailedAttempts() != 2 || r.GetFailure() != nil {
		t.Errorf("in the end: %v", r)
	}
	l = newLog(t).must(queue("r1", "shop", 0), grant("r1", 1), cancel("r1"), retry("a1", "r1", 1, 50))
	if r, _ = l.state.View().Run("r1"); r.GetState() != pb.RunState_RUN_STATE_CANCELLED {
		t.Errorf("one that was cancelled meanwhile: %v", r)
	}
}
