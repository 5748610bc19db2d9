package controller

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var midnight = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// tables are filled by commands, each a second after the one before.
type tables struct {
	*state.Tables
	t     *testing.T
	index uint64
	now   time.Time
}

func (s *tables) must(cmd *pb.Command) {
	s.t.Helper()
	s.index++
	s.now = s.now.Add(time.Second)
	cmd.ProposedAt, cmd.Version = timestamppb.New(s.now), state.CommandVersion
	if err := s.Apply(s.index, cmd); err != nil {
		s.t.Fatal(err)
	}
}

func (s *tables) schedules(all ...*pb.Schedule) {
	s.t.Helper()
	s.must(&pb.Command{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: all}}})
}

// fire moves a schedule on, having passed over what is said.
func (s *tables) fire(id string, skipped ...*pb.SkippedFire) {
	s.t.Helper()
	kept, _ := s.View().Schedule(id)
	s.must(&pb.Command{Command: &pb.Command_FireSchedules{FireSchedules: &pb.FireSchedules{Schedules: []*pb.ScheduleFire{{
		Schedule: id, DueAt: kept.GetNextFireAt(), Done: true, NextFireAt: timestamppb.New(kept.GetNextFireAt().AsTime().Add(time.Hour)), Skipped: skipped,
	}}}}})
}

func newTables(t *testing.T, sources ...string) *tables {
	t.Helper()
	s := &tables{Tables: state.New(), t: t, now: midnight}
	r := &pb.ReportSources{Agent: "a1"}
	for _, name := range sources {
		r.Sources = append(r.Sources, &pb.Source{Name: name, State: pb.SourceState_SOURCE_STATE_READY})
	}
	s.must(&pb.Command{Command: &pb.Command_ReportSources{ReportSources: r}})
	return s
}

func passed(source string, hour int, why string) *pb.SkippedFire {
	return &pb.SkippedFire{Source: source, FireTime: timestamppb.New(midnight.Add(time.Duration(hour) * time.Hour)), Fires: 1, Reason: why}
}

func TestWhatSchedulesPassedOverIsMissedUntilSomethingIsQueued(t *testing.T) {
	s := newTables(t, "blog", "shop", "wiki")
	at := timestamppb.New(midnight.Add(time.Hour))
	s.schedules(&pb.Schedule{Id: scheduler.Default, Cron: "@hourly", Timezone: "UTC", NextFireAt: at},
		&pb.Schedule{Id: state.ScheduleID("wiki", "own"), Source: "wiki", Cron: "@hourly", Timezone: "UTC", NextFireAt: at, Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL})
	want := func(what string, list ...notify.Missed) {
		t.Helper()
		got := missed(s.View())
		if len(got) != len(list) {
			t.Fatalf("%s: %v, want %v", what, got, list)
		}
		for i := range list {
			if got[i] != list[i] {
				t.Errorf("%s: %v, want %v", what, got[i], list[i])
			}
		}
	}
	hour := func(n int) time.Time { return midnight.Add(time.Duration(n) * time.Hour) }
	want("nothing yet")
	s.fire(scheduler.Default, passed("shop", 1, "its container does not run"))
	want("one", notify.Missed{Source: "shop", Fire: hour(1), Why: "its container does not run"})
	s.fire(scheduler.Default, passed("shop", 2, "its labels are wrong"))
	want("the later one", notify.Missed{Source: "shop", Fire: hour(2), Why: "its labels are wrong"})
	s.fire(scheduler.Default, passed("", 3, "nobody was there")) // wiki has a schedule of its own
	want("of all that it holds for", notify.Missed{Source: "blog", Fire: hour(3), Why: "nobody was there"}, notify.Missed{Source: "shop", Fire: hour(3), Why: "nobody was there"})
	s.now = hour(4)
	s.must(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{
		Id: "r1", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", FireTime: timestamppb.New(s.now), Trigger: "manual",
	}}}}})
	want("something was queued since", notify.Missed{Source: "blog", Fire: hour(3), Why: "nobody was there"})
}

func TestHowOftenASourceIsBackedUp(t *testing.T) {
	s := newTables(t, "blog", "shop", "wiki")
	r := &rhythm{clock: clock.NewManual(midnight), zone: time.UTC}
	every := func(source string) time.Duration { return r.every(s.View(), &pb.Source{Name: source}) }
	if got := every("shop"); got != 0 {
		t.Errorf("without a schedule: %s", got)
	}
	own := func(source, name, cron string) *pb.Schedule {
		return &pb.Schedule{Id: state.ScheduleID(source, name), Source: source, Cron: cron, Timezone: "UTC", Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL}
	}
	s.schedules(&pb.Schedule{Id: scheduler.Default, Cron: "0 3 * * *", Timezone: "UTC"}, own("blog", "w", "0 3 * * 1-5"), own("wiki", "a", "0 0 1 * *"), own("wiki", "b", "0 0 * * 0"))
	for source, want := range map[string]time.Duration{
		"shop": 24 * time.Hour, "blog": 72 * time.Hour /* over a weekend */, "wiki": 7 * 24 * time.Hour, /* the more frequent one */
	} {
		if got := every(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}
