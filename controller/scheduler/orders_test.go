package scheduler

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// scene is a scheduler with a state of its own.
type scene struct {
	t *testing.T
	*Scheduler
	node    *node
	clock   *clock.Manual
	sources []*pb.Source
}

func newScene(t *testing.T, o Options, sources ...*pb.Source) *scene {
	t.Helper()
	s := &scene{t: t, clock: clock.NewManual(noon), sources: sources}
	s.node = &node{tables: state.New(), clock: s.clock}
	s.lead(o)
	s.report()
	return s
}

// lead lets another leader, with settings of its own, go on.
func (s *scene) lead(o Options) {
	s.t.Helper()
	o.Node, o.Clock, o.Logger = s.node, s.clock, slog.New(slog.DiscardHandler)
	var err error
	if s.Scheduler, err = New(o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) propose(c *pb.Command) {
	s.t.Helper()
	if err := s.node.Propose(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) report() {
	s.t.Helper()
	s.propose(&pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: "a1", Sources: s.sources}}})
	tick(s.t, s.Scheduler)
}

func (s *scene) after(d time.Duration) {
	s.t.Helper()
	s.clock.Advance(d)
	tick(s.t, s.Scheduler)
}

// runs are those there are, oldest fire first: "source schedule hours-after-noon".
func (s *scene) runs() (list []string) {
	all := s.node.View().Runs("", 0)
	slices.SortFunc(all, func(a, b *pb.Run) int {
		return strings.Compare(a.GetFireTime().AsTime().Format(time.RFC3339)+a.GetSource(), b.GetFireTime().AsTime().Format(time.RFC3339)+b.GetSource())
	})
	for _, r := range all {
		list = append(list, fmt.Sprintf("%s %s %s", r.GetSource(), r.GetSchedule(), r.GetFireTime().AsTime().Sub(noon)))
	}
	return list
}

func (s *scene) want(want ...string) {
	s.t.Helper()
	if got := s.runs(); !slices.Equal(got, want) {
		s.t.Errorf("runs %q, want %q", got, want)
	}
}

// finish ends all runs.
func (s *scene) finish(as pb.RunState) {
	s.t.Helper()
	for _, r := range s.node.View().ActiveRuns() {
		s.propose(&pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: r.GetId(), Epoch: r.GetEpoch(), State: as}}})
	}
}

func (s *scene) schedule(id string) *pb.Schedule {
	s.t.Helper()
	kept, ok := s.node.View().Schedule(id)
	if !ok {
		s.t.Fatalf("no schedule %s", id)
	}
	return kept
}

func (s *scene) skipped(id, words string) {
	s.t.Helper()
	all := s.schedule(id).GetSkipped()
	if len(all) == 0 || !strings.Contains(all[len(all)-1].GetReason(), words) {
		s.t.Errorf("%s: passed over %v, want a reason that says %q", id, all, words)
	}
}

const failed = pb.RunState_RUN_STATE_FAILED

// src is a source that is ready, with schedules "name=cron".
func src(name string, schedules ...string) *pb.Source {
	s := &pb.Source{Name: name, State: pb.SourceState_SOURCE_STATE_READY}
	for _, text := range schedules {
		n, cron, _ := strings.Cut(text, "=")
		s.Schedules = append(s.Schedules, &pb.ScheduleSpec{Name: n, Cron: cron})
	}
	return s
}

func with(s *pb.Source, change func(*pb.ScheduleSpec)) *pb.Source {
	for _, o := range s.GetSchedules() {
		change(o)
	}
	return s
}

func TestTheMostSpecificSchedulesHold(t *testing.T) {
	s := newScene(t, Options{Default: "0 13 * * *", Schedules: []schedule.Several{
		{Spec: schedule.Spec{Name: "shops", Cron: "0 14 * * *"}, Sources: []string{"shop/*"}},
		{Spec: schedule.Spec{Name: "dbs", Cron: "0 15 * * *"}, Sources: []string{"*/db"}},
	}}, src("blog"), src("shop/db"), src("shop/queue"), src("shop/own", "main=0 16 * * *", "weekly=0 17 * * 0"), src("shop/never", "main=off"))
	s.after(12 * time.Hour)
	s.want("blog default 1h0m0s", "shop/db shops 2h0m0s", "shop/queue shops 2h0m0s", "shop/own shop/own:main 4h0m0s")
}

func TestLabelsComeAndGo(t *testing.T) {
	db := src("shop/db", "main=@hourly")
	s := newScene(t, Options{Default: "0 0 * * *"}, db, src("blog"))
	first := s.schedule("shop/db:main")
	if !first.GetNextFireAt().AsTime().Equal(noon.Add(time.Hour)) || first.GetTimezone() != "UTC" || first.GetOrigin() != pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL {
		t.Fatalf("%v", first)
	}
	s.sources[0] = src("shop/db", "main=@hourly", "weekly=@weekly")
	s.report()
	s.schedule("shop/db:weekly")

	// Gone, its schedules rest: nothing falls due, nothing is caught up.
	s.sources = s.sources[1:]
	s.report()
	if kept := s.schedule("shop/db:main"); !kept.GetResting() || kept.GetNextFireAt() != nil {
		t.Errorf("%v", kept)
	}
	s.after(5 * time.Hour)
	s.want()
	s.sources = append(s.sources, src("shop/db", "main=@hourly"))
	s.report()
	if kept := s.schedule("shop/db:main"); kept.GetResting() || !kept.GetNextFireAt().AsTime().Equal(noon.Add(6*time.Hour)) {
		t.Errorf("%v", kept)
	}
	if _, ok := s.node.View().Schedule("shop/db:weekly"); ok {
		t.Error("a label that is gone has left its schedule")
	}

	// Wrong labels leave what was known, and no backup is made.
	s.sources[1] = &pb.Source{Name: "shop/db", State: pb.SourceState_SOURCE_STATE_INVALID}
	s.report()
	s.after(time.Hour)
	s.skipped("shop/db:main", "its labels are wrong")

	// Without any label of its own the default one holds.
	s.sources[1] = src("shop/db")
	s.report()
	s.after(24 * time.Hour)
	s.want("blog default 12h0m0s", "shop/db default 12h0m0s")
}

func TestNothingIsProposedWhileNothingChanges(t *testing.T) {
	s := newScene(t, Options{Default: "0 0 * * *"}, src("a", "main=@daily"), src("b"), &pb.Source{Name: "c", State: pb.SourceState_SOURCE_STATE_INVALID})
	before := s.node.index
	for range 5 {
		s.after(time.Minute)
	}
	s.lead(Options{Default: "0 0 * * *"})
	tick(t, s.Scheduler)
	if s.node.index != before {
		t.Errorf("%d commands", s.node.index-before)
	}
}

func TestABadScheduleFromAnAgentCountsAsNone(t *testing.T) {
	s := newScene(t, Options{Default: "0 13 * * *"}, src("a", "main=not cron"))
	s.after(time.Hour)
	s.want("a default 1h0m0s")
}

func TestTwoSchedulesOfOneSourceAtOneTimeMakeOneRun(t *testing.T) {
	s := newScene(t, Options{}, src("a", "daily=0 13 * * *", "monthly=0 13 1 * *", "hourly=@hourly")) // noon is of the first
	s.after(time.Hour)
	s.want("a a:monthly 1h0m0s")
	s.skipped("a:daily", "a:monthly fires for it at the same time")
	s.skipped("a:hourly", "a:monthly fires for it at the same time")
}

func TestConcurrencyPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy          string
		atWork, waiting bool // what was there when it fired again
		want            int  // runs made then
		cancelled       bool
	}{
		{"forbid", true, false, 0, false}, {"forbid", false, true, 0, false}, {"forbid", false, false, 1, false}, {"", true, false, 0, false},
		{"queue", true, false, 1, false}, {"queue", false, true, 0, false},
		{"allow", true, false, 1, false}, {"allow", false, true, 1, false},
		{"replace", true, false, 1, true}, {"replace", false, true, 1, true}, {"replace", false, false, 1, false},
	} {
		t.Run(fmt.Sprintf("%s at work %t, waiting %t", tc.policy, tc.atWork, tc.waiting), func(t *testing.T) {
			s := newScene(t, Options{}, with(src("a", "main=@hourly"), func(o *pb.ScheduleSpec) { o.Concurrency = tc.policy }))
			s.after(time.Hour)
			first := s.node.View().ActiveRuns()[0].GetId()
			if tc.atWork {
				s.propose(&pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{
					Run: first, Agent: "a1", ExpiresAt: timestamppb.New(noon.Add(99 * time.Hour)), Snapshot: strings.Repeat("0", 26),
				}}})
			}
			if !tc.atWork && !tc.waiting {
				s.finish(failed)
			}
			s.after(time.Hour)
			if got := len(s.runs()) - 1; got != tc.want {
				t.Errorf("%d runs", got)
			}
			if tc.want == 0 {
				s.skipped("a:main", "ackup")
			}
			r, _ := s.node.View().Run(first)
			if cancelled := r.GetCancelRequested(); cancelled != tc.cancelled {
				t.Errorf("cancelled %t", cancelled)
			}
		})
	}
}

func TestReplaceLeavesAloneWhatWasAskedForByHand(t *testing.T) {
	s := newScene(t, Options{}, with(src("a", "main=@hourly"), func(o *pb.ScheduleSpec) { o.Concurrency = "replace" }))
	s.propose(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{Id: "m", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "a", FireTime: timestamppb.New(noon)}}}}})
	s.after(time.Hour)
	if r, _ := s.node.View().Run("m"); r.GetState() != pb.RunState_RUN_STATE_QUEUED || len(s.runs()) != 2 {
		t.Errorf("%v", r)
	}
}

func TestCatchUp(t *testing.T) {
	for policy, want := range map[string][]string{
		"":       {"a a:main 5h0m0s"},
		"latest": {"a a:main 5h0m0s"},
		"none":   nil,
		"all:3":  {"a a:main 3h0m0s", "a a:main 4h0m0s", "a a:main 5h0m0s"},
	} {
		s := newScene(t, Options{}, with(src("a", "main=@hourly"), func(o *pb.ScheduleSpec) { o.CatchUp = policy }))
		s.clock.Advance(5*time.Hour + 30*time.Minute)
		s.lead(Options{})
		tick(t, s.Scheduler)
		s.want(want...)
		if next := s.schedule("a:main").GetNextFireAt().AsTime(); !next.Equal(noon.Add(6 * time.Hour)) {
			t.Errorf("%s: next %s", policy, next)
		}
		s.skipped("a:main", "missed while nobody was there")
	}
}

func TestStartingDeadline(t *testing.T) {
	s := newScene(t, Options{}, with(src("a", "main=0 13 * * *"), func(o *pb.ScheduleSpec) { o.StartingDeadline = "2h" }))
	s.after(time.Hour)
	if r := s.node.View().ActiveRuns()[0]; !r.GetStartBy().AsTime().Equal(noon.Add(3 * time.Hour)) {
		t.Errorf("%v", r)
	}
	s.finish(failed)
	s.after(26*time.Hour + time.Minute)
	s.want("a a:main 1h0m0s")
	s.skipped("a:main", "it was to begin by 2026-03-02 15:00:00 UTC, its starting deadline")
}

func TestSplayAndBlackoutHoldARunBack(t *testing.T) {
	s := newScene(t, Options{},
		with(src("a", "main=0 13 * * *"), func(o *pb.ScheduleSpec) { o.Splay = "30m" }),
		with(src("b", "main=0 13 * * *"), func(o *pb.ScheduleSpec) { o.Blackout = "12:30-15:00" }),
		with(src("c", "main=0 13 * * *"), func(o *pb.ScheduleSpec) { o.Blackout = "14:00-15:00" }))
	s.after(time.Hour)
	at := func(source string) time.Time { return s.node.View().Runs(source, 1)[0].GetNotBefore().AsTime() }
	delay := schedule.Delay(Key("a:main", "a"), noon.Add(time.Hour), 30*time.Minute)
	if delay == 0 || !at("a").Equal(noon.Add(time.Hour+delay)) || !at("b").Equal(noon.Add(3*time.Hour)) || s.node.View().Runs("c", 1)[0].GetNotBefore() != nil {
		t.Errorf("%s, %s", at("a"), at("b"))
	}
	s.after(time.Hour) // c has not begun, and its window opens
	if !at("c").Equal(noon.Add(3 * time.Hour)) {
		t.Errorf("%s", at("c"))
	}
	before := s.node.index
	s.after(time.Minute)
	if s.node.index != before {
		t.Error("it is held back again and again")
	}
}

func TestPriority(t *testing.T) {
	high := src("a", "main=@hourly")
	high.Priority = pb.Priority_PRIORITY_HIGH
	both := with(proto.CloneOf(high), func(o *pb.ScheduleSpec) { o.Priority = "low" })
	both.Name = "b"
	s := newScene(t, Options{}, high, both, src("c", "main=@hourly"))
	s.after(time.Hour)
	for source, want := range map[string]pb.Priority{"a": pb.Priority_PRIORITY_HIGH, "b": pb.Priority_PRIORITY_LOW, "c": pb.Priority_PRIORITY_UNSPECIFIED} {
		if got := s.node.View().Runs(source, 1)[0].GetPriority(); got != want {
			t.Errorf("%s: %s", source, got)
		}
	}
}

func TestPausedSchedulesCatchNothingUp(t *testing.T) {
	s := newScene(t, Options{}, src("a", "main=@hourly"))
	s.propose(&pb.Command{Command: &pb.Command_PauseSchedules{PauseSchedules: &pb.PauseSchedules{Schedules: []*pb.SchedulePause{{Id: "a:main"}}}}})
	s.after(5 * time.Hour)
	s.want()
	s.propose(&pb.Command{Command: &pb.Command_PauseSchedules{PauseSchedules: &pb.PauseSchedules{Resume: true, Schedules: []*pb.SchedulePause{{Id: "a:main", NextFireAt: timestamppb.New(noon.Add(6 * time.Hour))}}}}})
	s.after(time.Minute)
	s.want()
	s.after(time.Hour)
	s.want("a a:main 6h0m0s")
}

func TestOneShots(t *testing.T) {
	s := newScene(t, Options{Default: "0 18 * * *"}, src("a"))
	once := &pb.Schedule{Id: "a:once-1", Source: "a", OnceAt: timestamppb.New(noon.Add(90 * time.Minute)), Timezone: "UTC", NextFireAt: timestamppb.New(noon.Add(90 * time.Minute)), Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_API}
	s.propose(&pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: []*pb.Schedule{once}}}})
	s.after(2 * time.Hour)
	s.want("a a:once-1 1h30m0s")
	s.finish(failed)
	s.after(4 * time.Hour)
	s.want("a a:once-1 1h30m0s", "a default 6h0m0s") // it does not take the place of the default one
	if len(s.node.View().Schedules()) != 1 {
		t.Errorf("%v", s.node.View().Schedules())
	}
}

func TestWhatComesFirstIsQueuedFirst(t *testing.T) {
	dep := func(s *pb.Source, on ...string) *pb.Source {
		s.DependsOn = on
		return s
	}
	s := newScene(t, Options{Default: "0 13 * * *"}, dep(src("a"), "z"), dep(src("m", "main=0 13 * * *"), "a"), src("z"), dep(src("x"), "y"), dep(src("y"), "x"))
	var order []string
	s.node.hear = func(c *pb.Command) {
		for _, r := range c.GetFireSchedules().GetRuns() {
			order = append(order, r.GetSource())
		}
	}
	s.after(time.Hour)
	if got := strings.Join(order, " "); got != "x y z a m" {
		t.Errorf("order %s", got)
	}
}

func TestAChangeOfSettingsIsTakenUpByTheNextLeader(t *testing.T) {
	s := newScene(t, Options{Default: "0 13 * * *", Schedules: []schedule.Several{{Spec: schedule.Spec{Name: "x", Cron: "@daily"}, Sources: []string{"a"}}}}, src("a"))
	s.schedule("x")
	s.propose(&pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: []*pb.Schedule{
		{Id: Default, Cron: "0 20 * * *", Timezone: "UTC", Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_API, NextFireAt: timestamppb.New(noon.Add(8 * time.Hour))},
	}}}})
	s.lead(Options{Default: "0 14 * * *"})
	tick(t, s.Scheduler)
	if _, ok := s.node.View().Schedule("x"); ok || s.schedule(Default).GetCron() != "0 20 * * *" {
		t.Error("what an operator set goes before the settings, and what the settings do not name is gone")
	}
	s.propose(&pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Remove: []string{Default}, Operator: true}}})
	tick(t, s.Scheduler)
	if s.schedule(Default).GetCron() != "0 14 * * *" {
		t.Error("it does not come back from the settings")
	}
}
