package state_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	byLabel = pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL
	byAPI   = pb.ScheduleOrigin_SCHEDULE_ORIGIN_API
)

func order(id, source string, next int, origin pb.ScheduleOrigin) *pb.Schedule {
	return &pb.Schedule{Id: id, Source: source, Cron: "@daily", Timezone: "UTC", NextFireAt: at(next), Origin: origin}
}

func setSchedules(list ...*pb.Schedule) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: list}}}
}

func removeSchedules(operator bool, ids ...string) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Remove: ids, Operator: operator}}}
}

func pauseSchedules(resume bool, next int, ids ...string) *pb.Command {
	c := &pb.PauseSchedules{Resume: resume, By: "me"}
	for _, id := range ids {
		c.Schedules = append(c.Schedules, &pb.SchedulePause{Id: id, NextFireAt: at(next)})
	}
	return &pb.Command{Command: &pb.Command_PauseSchedules{PauseSchedules: c}}
}

// fireSchedules fires one schedule for sources.
func fireSchedules(due, next int, done bool, s *pb.Schedule, sources ...string) *pb.Command {
	c := &pb.FireSchedules{Schedules: []*pb.ScheduleFire{{
		Schedule: s.GetId(), DueAt: at(due), Done: done, NextFireAt: at(next), LastFireAt: at(due), Skipped: []*pb.SkippedFire{{FireTime: at(due), Source: "z", Fires: 1, Reason: "busy"}},
	}}}
	for _, source := range sources {
		c.Runs = append(c.Runs, &pb.Run{Id: fmt.Sprintf("f-%s-%d", source, due), Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, FireTime: at(due), Schedule: s.GetId(), NotBefore: at(due + 3)})
	}
	return &pb.Command{Command: &pb.Command_FireSchedules{FireSchedules: c}}
}

func deferRun(id string, until int) *pb.Command {
	return &pb.Command{Command: &pb.Command_DeferRuns{DeferRuns: &pb.DeferRuns{Runs: []*pb.RunDeferral{{Run: id, NotBefore: at(until)}}}}}
}

func TestScheduleCommands(t *testing.T) {
	x := order("shop:x", "shop", 5, byLabel)
	set := setSchedules(x)
	other := func(change func(*pb.Schedule)) *pb.Command {
		s := proto.CloneOf(x)
		change(s)
		return setSchedules(s)
	}
	for _, tc := range []struct {
		name   string
		before []*pb.Command
		cmd    *pb.Command
		want   problem.Reason // "" when it is accepted
	}{
		{"set", nil, set, ""},
		{"of a source with two parts", nil, setSchedules(order("shop/db:x", "shop/db", 5, byLabel)), ""},
		{"of several", nil, setSchedules(order("nightly", "", 5, byLabel)), ""},
		{"another's name", nil, other(func(s *pb.Schedule) { s.Id = "blog:x" }), state.ReasonBadCommand},
		{"no source's name", nil, other(func(s *pb.Schedule) { s.Source, s.Id = "a b", "a b:x" }), state.ReasonBadCommand},
		{"a bad name", nil, other(func(s *pb.Schedule) { s.Id = "shop:X" }), state.ReasonBadCommand},
		{"of several with a colon", nil, other(func(s *pb.Schedule) { s.Source = "" }), state.ReasonBadCommand},
		{"no times", nil, other(func(s *pb.Schedule) { s.Cron = "" }), state.ReasonBadCommand},
		{"two kinds of times", nil, other(func(s *pb.Schedule) { s.OnceAt = at(3) }), state.ReasonBadCommand},
		{"a retention of two lines", nil, other(func(s *pb.Schedule) { s.Retention = "7d\n8d" }), state.ReasonBadCommand},
		{"a retention without end", nil, other(func(s *pb.Schedule) { s.Retention = strings.Repeat("7", 513) }), state.ReasonBadCommand},
		{"an empty pattern", nil, other(func(s *pb.Schedule) { s.Patterns = []string{""} }), state.ReasonBadCommand},
		{"fire", []*pb.Command{set}, fireSchedules(5, 9, true, x, "shop"), ""},
		{"fire twice", []*pb.Command{set, fireSchedules(5, 9, true, x, "shop")}, fireSchedules(5, 9, true, x, "shop"), state.ReasonNotDue},
		{"fire what is not there", nil, fireSchedules(5, 9, true, x, "shop"), state.ReasonNoSchedule},
		{"fire what is paused", []*pb.Command{set, pauseSchedules(false, 0, "shop:x")}, fireSchedules(5, 9, true, x, "shop"), state.ReasonNotDue},
		{"fire backwards", []*pb.Command{set}, fireSchedules(5, 5, true, x, "shop"), state.ReasonBadCommand},
		{"a run of nobody's", []*pb.Command{set}, func() *pb.Command {
			c := fireSchedules(5, 9, true, x, "shop")
			c.GetFireSchedules().Runs[0].Schedule = "default"
			return c
		}(), state.ReasonBadCommand},
		{"pause nothing", nil, pauseSchedules(false, 0, "shop:x"), state.ReasonNoSchedule},
		{"pause twice", []*pb.Command{set, pauseSchedules(false, 0, "shop:x")}, pauseSchedules(false, 0, "shop:x"), ""},
		{"remove what is not there", nil, removeSchedules(true, "shop:x"), ""},
		{"defer nothing", nil, deferRun("r1", 9), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(t)
			for _, c := range tc.before {
				l.must(proto.CloneOf(c))
			}
			err := l.apply(tc.cmd)
			if got := problem.ReasonOf(err); got != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v (%s), want %q", err, got, tc.want)
			}
			invariants(t, l.state)
		})
	}
}

func (l *log) schedule(id string) *pb.Schedule {
	l.t.Helper()
	s, ok := l.state.View().Schedule(id)
	if !ok {
		l.t.Fatalf("no schedule %s", id)
	}
	return s
}

func TestAFireLeavesRunsAndMovesOn(t *testing.T) {
	x := order("shop:x", "shop", 5, byLabel)
	l := newLog(t).must(setSchedules(x), fireSchedules(5, 9, false, x, "shop"))
	definitions := l.state.View().SchedulesIndex()
	if s := l.schedule("shop:x"); s.GetNextFireAt().AsTime() != at(5).AsTime() {
		t.Errorf("it moved before all runs were there: %v", s)
	}
	l.must(fireSchedules(5, 9, true, x, "shop", "blog"))
	s := l.schedule("shop:x")
	if s.GetNextFireAt().AsTime() != at(9).AsTime() || s.GetLastFireAt().AsTime() != at(5).AsTime() || len(s.GetSkipped()) != 1 {
		t.Errorf("%v", s)
	}
	if l.state.View().SchedulesIndex() != definitions {
		t.Error("a fire counts as a change of what schedules say")
	}
	r := l.run("f-shop-5")
	if r.GetSchedule() != "shop:x" || r.GetNotBefore().AsTime() != at(8).AsTime() || len(l.state.View().Runs("", 0)) != 2 {
		t.Errorf("%v", r)
	}
	l.must(grant("f-shop-5", 1), commit("f-shop-5", 1, "shop", 1))
	if snap := l.state.View().LedgerHead(); snap.GetSchedule() != "shop:x" {
		t.Errorf("%v", snap)
	}
}

// Two schedules of one source that fire at the same time make one run.
func TestOneRunForASourceAndAFireTime(t *testing.T) {
	x, y := order("shop:x", "shop", 5, byLabel), order("shop:y", "shop", 5, byLabel)
	again := fireSchedules(5, 9, true, y, "shop")
	again.GetFireSchedules().Runs[0].Id = "another"
	l := newLog(t).must(setSchedules(x, y), fireSchedules(5, 9, true, x, "shop"), end("f-shop-5", 0, pb.RunState_RUN_STATE_FAILED), again)
	if runs := l.state.View().RunsAt("shop", at(5)); len(runs) != 1 || runs[0].GetId() != "f-shop-5" {
		t.Errorf("%v", runs)
	}
}

func TestReplacingASchedule(t *testing.T) {
	x := order("shop:x", "shop", 5, byLabel)
	change := func(origin pb.ScheduleOrigin, f func(*pb.Schedule)) *pb.Command {
		s := order("shop:x", "shop", 7, origin)
		f(s)
		return setSchedules(s)
	}
	l := newLog(t).must(setSchedules(x), change(byLabel, func(s *pb.Schedule) { s.Splay = "1h" }))
	if s := l.schedule("shop:x"); s.GetSplay() != "1h" || s.GetNextFireAt().AsTime() != at(5).AsTime() {
		t.Errorf("what was due is lost because of a splay: %v", s)
	}
	l.must(change(byLabel, func(s *pb.Schedule) { s.Cron = "@weekly" }))
	if s := l.schedule("shop:x"); s.GetNextFireAt().AsTime() != at(7).AsTime() {
		t.Errorf("another expression: %v", s)
	}
	l.must(pauseSchedules(false, 0, "shop:x"), change(byLabel, func(s *pb.Schedule) { s.Cron = "@monthly" }))
	if s := l.schedule("shop:x"); s.GetPausedAt() == nil || s.GetPausedBy() != "me" || s.GetNextFireAt() != nil || s.GetCron() != "@monthly" {
		t.Errorf("a change ended the pause: %v", s)
	}
	l.must(pauseSchedules(true, 8, "shop:x"))
	if s := l.schedule("shop:x"); s.GetPausedAt() != nil || s.GetNextFireAt().AsTime() != at(8).AsTime() {
		t.Errorf("resumed: %v", s)
	}
	l.must(change(byLabel, func(s *pb.Schedule) { s.Cron, s.Resting = "@monthly", true }))
	if s := l.schedule("shop:x"); s.GetNextFireAt() != nil {
		t.Errorf("resting: %v", s)
	}
	l.must(change(byAPI, func(s *pb.Schedule) { s.Cron = "@hourly" }), change(byLabel, func(s *pb.Schedule) { s.Cron = "@yearly" }), removeSchedules(false, "shop:x"))
	if s := l.schedule("shop:x"); s.GetCron() != "@hourly" || s.GetOrigin() != byAPI {
		t.Errorf("a label replaced what an operator set: %v", s)
	}
	l.must(removeSchedules(true, "shop:x"))
	if _, ok := l.state.View().Schedule("shop:x"); ok {
		t.Error("it is still there")
	}
}

func TestAOneShotIsRemovedWhenItHasFired(t *testing.T) {
	once := order("shop:once-1", "shop", 5, byAPI)
	once.Cron, once.OnceAt = "", at(5)
	l := newLog(t).must(setSchedules(once), fireSchedules(5, 9, true, once, "shop"))
	if _, ok := l.state.View().Schedule("shop:once-1"); ok || len(l.state.View().SchedulesOf("shop")) != 0 {
		t.Error("it is still there")
	}
	l.run("f-shop-5")
}

func TestReplacedAndDeferredRuns(t *testing.T) {
	x := order("shop:x", "shop", 5, byLabel)
	replace := fireSchedules(5, 9, true, x, "shop")
	replace.GetFireSchedules().Cancel = []string{"r1", "r2", "gone"}
	l := newLog(t).must(setSchedules(x), queue("r1", "shop", 0), grant("r1", 1), queue("r2", "shop", 1), replace, deferRun("f-shop-5", 77), deferRun("r1", 77))
	if r := l.run("r1"); !r.GetCancelRequested() || r.GetNotBefore() != nil {
		t.Errorf("%v", r)
	}
	if r := l.run("r2"); r.GetState() != pb.RunState_RUN_STATE_CANCELLED {
		t.Errorf("%v", r)
	}
	if r := l.run("f-shop-5"); r.GetNotBefore().AsTime() != at(77).AsTime() {
		t.Errorf("%v", r)
	}
}
