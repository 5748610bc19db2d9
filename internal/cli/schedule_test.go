package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// scheduling is a fake with schedules. It keeps the last request that changes something.
type scheduling struct {
	fake
	pb.UnimplementedScheduleServiceServer
	empty bool
	asked any
}

func ahead(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(today.Add(d)) }

func schedules() []*pb.ScheduleStatus {
	return []*pb.ScheduleStatus{
		{Schedule: &pb.Schedule{Id: "default", Cron: "0 0 * * *", Timezone: "Europe/Vienna", NextFireAt: ahead(11 * time.Hour), LastFireAt: ago(13 * time.Hour)}, State: "active", Sources: []string{"blog", "wiki"}},
		{
			Schedule: &pb.Schedule{
				Id: "shop/db:weekly", Source: "shop/db", Cron: "0 4 * * 0", Timezone: "UTC", Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL, Splay: "30m",
				Blackout: "Mon-Fri 08:00-18:00", StartingDeadline: "2h", CatchUp: "all:3", Concurrency: "queue", Priority: "high", Retention: "8w", PausedAt: ago(time.Hour), PausedBy: "admin/alice",
				Skipped: []*pb.SkippedFire{
					{FireTime: ago(80 * time.Hour), Fires: 3, Reason: "missed while nobody was there to fire: at most 3 are caught up"},
					{FireTime: ago(79 * time.Hour), Source: "shop/db", Fires: 1, Reason: "a backup of it waits already"},
				},
			},
			State: "paused", Sources: []string{"shop/db"},
		},
		{Schedule: &pb.Schedule{Id: "wiki:once-1a2b3c4d", Source: "wiki", OnceAt: ahead(2 * time.Hour), Timezone: "UTC", NextFireAt: ahead(2 * time.Hour), Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_API}, State: "active", Sources: []string{"wiki"}},
		{Schedule: &pb.Schedule{Id: "wiki:x", Source: "wiki", Cron: "x", Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_CONFIG}, State: "broken", Problems: []string{"cron: the schedule has 1 fields"}},
	}
}

func (f *scheduling) ListSchedules(_ context.Context, req *pb.ListSchedulesRequest) (*pb.ListSchedulesResponse, error) {
	switch {
	case f.empty:
		return &pb.ListSchedulesResponse{}, nil
	case req.GetSource() != "":
		return &pb.ListSchedulesResponse{Schedules: schedules()[1:2]}, nil
	}
	return &pb.ListSchedulesResponse{Schedules: schedules()}, nil
}

func (f *scheduling) find(id string) (*pb.ScheduleStatus, error) {
	for _, s := range schedules() {
		if s.GetSchedule().GetId() == id {
			return s, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no schedule %q", id)
}

func (f *scheduling) GetSchedule(_ context.Context, req *pb.GetScheduleRequest) (*pb.GetScheduleResponse, error) {
	s, err := f.find(req.GetId())
	return &pb.GetScheduleResponse{Schedule: s}, err
}

func (f *scheduling) PreviewSchedules(_ context.Context, req *pb.PreviewSchedulesRequest) (*pb.PreviewSchedulesResponse, error) {
	f.asked = req
	if req.GetSchedule() != "" {
		if _, err := f.find(req.GetSchedule()); err != nil {
			return nil, err
		}
	}
	if req.GetSource() == "nothing" {
		return nil, problem.New(problem.NotFound, "there is no source")
	}
	if req.GetSpec().GetCron() == "off" {
		return &pb.PreviewSchedulesResponse{}, nil
	}
	return &pb.PreviewSchedulesResponse{Fires: []*pb.PlannedFire{
		{
			Schedule: "shop/db:main", FireTime: timestamppb.New(time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)), Start: timestamppb.New(time.Date(2026, 3, 29, 1, 12, 0, 0, time.UTC)),
			Timezone: "Europe/Berlin", FireLocal: "2026-03-29 03:00:00 CEST +02:00", StartLocal: "2026-03-29 03:12:00 CEST +02:00",
			Reasons: []string{"02:30:00 is not shown on 2026-03-29: clocks go from 02:00:00 to 03:00:00, so it fires right after", "splay: 12m later"},
		},
		{
			Schedule: "shop/db:main", FireTime: timestamppb.New(time.Date(2026, 3, 30, 0, 30, 0, 0, time.UTC)), Start: timestamppb.New(time.Date(2026, 3, 30, 0, 30, 0, 0, time.UTC)),
			Timezone: "Europe/Berlin", FireLocal: "2026-03-30 02:30:00 CEST +02:00", StartLocal: "2026-03-30 02:30:00 CEST +02:00",
		},
	}}, nil
}

func (f *scheduling) PauseSchedules(_ context.Context, req *pb.PauseSchedulesRequest) (*pb.PauseSchedulesResponse, error) {
	f.asked = req
	return &pb.PauseSchedulesResponse{Schedules: schedules()[1:2]}, nil
}

func (f *scheduling) ResumeSchedules(_ context.Context, req *pb.ResumeSchedulesRequest) (*pb.ResumeSchedulesResponse, error) {
	f.asked = req
	return &pb.ResumeSchedulesResponse{Schedules: schedules()[:1]}, nil
}

func (f *scheduling) SetSchedule(_ context.Context, req *pb.SetScheduleRequest) (*pb.SetScheduleResponse, error) {
	f.asked = req
	return &pb.SetScheduleResponse{Schedule: schedules()[0]}, nil
}

func (f *scheduling) RemoveSchedule(_ context.Context, req *pb.RemoveScheduleRequest) (*pb.RemoveScheduleResponse, error) {
	if req.GetId() == "default" {
		return nil, problem.New(problem.Conflict, "the schedule default comes from the setting schedule").WithHint("Change it there, or pause it with `baktainer schedule pause default`.")
	}
	return &pb.RemoveScheduleResponse{}, nil
}

func (f *scheduling) ScheduleOnce(_ context.Context, req *pb.ScheduleOnceRequest) (*pb.ScheduleOnceResponse, error) {
	f.asked = req
	return &pb.ScheduleOnceResponse{Schedule: schedules()[2]}, nil
}

func TestScheduleGolden(t *testing.T) {
	for _, tc := range []struct {
		name string
		fake *scheduling
		args []string
	}{
		{"schedule-ls", &scheduling{}, []string{"ls"}},
		{"schedule-ls-json", &scheduling{}, []string{"ls", "-o", "json"}},
		{"schedule-ls-quiet", &scheduling{}, []string{"ls", "-q"}},
		{"schedule-ls-none", &scheduling{empty: true}, []string{"ls"}},
		{"schedule-ls-source", &scheduling{}, []string{"ls", "shop/db"}},
		{"schedule-show", &scheduling{}, []string{"show", "shop/db:weekly"}},
		{"schedule-show-missing", &scheduling{}, []string{"show", "x"}},
		{"schedule-preview", &scheduling{}, []string{"preview", "shop/db"}},
		{"schedule-preview-json", &scheduling{}, []string{"preview", "default", "-o", "json"}},
		{"schedule-preview-never", &scheduling{}, []string{"preview", "--cron", "off"}},
		{"schedule-preview-what", &scheduling{}, []string{"preview"}},
		{"schedule-preview-missing", &scheduling{}, []string{"preview", "nothing"}},
		{"schedule-preview-wrong", &scheduling{}, []string{"preview", "default", "-n", "0"}},
		{"schedule-pause", &scheduling{}, []string{"pause", "shop/db:weekly"}},
		{"schedule-resume", &scheduling{}, []string{"resume", "default"}},
		{"schedule-once", &scheduling{}, []string{"once", "wiki", "--at", "14:00"}},
		{"schedule-once-when", &scheduling{}, []string{"once", "wiki"}},
		{"schedule-once-wrong", &scheduling{}, []string{"once", "wiki", "--at", "tomorrow"}},
		{"schedule-set", &scheduling{}, []string{"set", "default", "--cron", "0 0 * * *"}},
		{"schedule-set-when", &scheduling{}, []string{"set", "default"}},
		{"schedule-rm", &scheduling{}, []string{"rm", "wiki:x"}},
		{"schedule-rm-refused", &scheduling{}, []string{"rm", "default"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := cli(t, Roof{}, serve(t, tc.fake), append([]string{"schedule"}, tc.args...)...)
			golden(t, tc.name, fmt.Sprintf("$ baktainer schedule %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", strings.Join(tc.args, " "), r.status, r.out, r.err))
		})
	}
}

// What the flags say reaches the controller.
func TestScheduleRequests(t *testing.T) {
	f := &scheduling{}
	socket := serve(t, f)
	ask := func(args ...string) any {
		t.Helper()
		f.asked = nil
		if r := cli(t, Roof{}, socket, append([]string{"schedule"}, args...)...); r.status != 0 {
			t.Errorf("%v: %s", args, r.err)
		}
		return f.asked
	}
	set, _ := ask("set", "nightly", "--cron", "@daily", "--timezone", "UTC", "--splay", "1h", "--blackout", "01:00-02:00", "--starting-deadline", "2h", "--catch-up", "none",
		"--concurrency", "queue", "--priority", "low", "--retention", "7d", "--source", "a*,b", "--source", "c", "--dry-run").(*pb.SetScheduleRequest)
	want := &pb.ScheduleSpec{Cron: "@daily", Timezone: "UTC", Splay: "1h", Blackout: "01:00-02:00", StartingDeadline: "2h", CatchUp: "none", Concurrency: "queue", Priority: "low", Retention: "7d"}
	if set.GetId() != "nightly" || !set.GetDryRun() || strings.Join(set.GetPatterns(), " ") != "a* b c" || set.GetSpec().String() != want.String() {
		t.Errorf("%v", set)
	}
	once, _ := ask("once", "wiki", "--at", "+2h", "--priority", "high", "--retention", "1y").(*pb.ScheduleOnceRequest)
	if !once.GetAt().AsTime().Equal(today.Add(2*time.Hour)) || once.GetPriority() != "high" || once.GetRetention() != "1y" || once.GetRequestId() == "" {
		t.Errorf("%v", once)
	}
	preview, _ := ask("preview", "--cron", "@daily", "--timezone", "Asia/Kathmandu", "--after", "2026-03-28", "-n", "3").(*pb.PreviewSchedulesRequest)
	if preview.GetSpec().GetTimezone() != "Asia/Kathmandu" || preview.GetCount() != 3 || !preview.GetAfter().AsTime().Equal(time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v", preview)
	}
	paused, _ := ask("pause", "a", "b").(*pb.PauseSchedulesRequest)
	if strings.Join(paused.GetIds(), " ") != "a b" {
		t.Errorf("%v", paused)
	}
}

func TestParseMoment(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 28, 22, 0, 0, 0, vienna) // clocks change in the night
	for text, want := range map[string]string{
		"23:30": "2026-03-28T23:30:00+01:00", "21:00": "2026-03-29T21:00:00+02:00", "22:00": "2026-03-29T22:00:00+02:00", "+90m": "2026-03-28T23:30:00+01:00",
		"2026-04-01": "2026-04-01T00:00:00+02:00", "2026-04-01 04:30": "2026-04-01T04:30:00+02:00", "2026-04-01T04:30": "2026-04-01T04:30:00+02:00", "2026-04-01T04:30:00Z": "2026-04-01T06:30:00+02:00",
	} {
		if got, err := parseMoment(text, now, vienna); err != nil || got.In(vienna).Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "+", "+x", "tomorrow", "25:00", "2026-02-30"} {
		if got, err := parseMoment(text, now, vienna); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}
