package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// tablesNode applies commands without Raft.
type tablesNode struct {
	t      *testing.T
	tables *state.Tables
	clock  clock.Clock
	index  uint64
}

func (n *tablesNode) View() *state.View { return n.tables.View() }
func (n *tablesNode) IsLeader() bool    { return true }
func (n *tablesNode) Health() error     { return nil }
func (n *tablesNode) ID() string        { return "c1" }
func (n *tablesNode) Propose(_ context.Context, c *pb.Command) error {
	n.index++
	c = proto.CloneOf(c)
	c.ProposedAt = timestamppb.New(n.clock.Now())
	return n.tables.Apply(n.index, c)
}

// schedules is a service with two sources, the default schedule, and one of the labels of shop/db.
func schedules(t *testing.T) (*Schedules, *tablesNode, *clock.Manual) {
	t.Helper()
	c := clock.NewManual(noon)
	n := &tablesNode{t: t, tables: state.New(), clock: c}
	for _, cmd := range []*pb.Command{
		{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: "a1", Sources: []*pb.Source{
			{Name: "blog", State: pb.SourceState_SOURCE_STATE_READY}, {Name: "shop/db", State: pb.SourceState_SOURCE_STATE_READY},
		}}}},
		{Command: &pb.Command_SetSchedules{SetSchedules: &pb.SetSchedules{Set: []*pb.Schedule{
			{Id: "default", Cron: "0 0 * * *", Timezone: "UTC", NextFireAt: timestamppb.New(noon.Add(12 * time.Hour))},
			{Id: "shop/db:main", Source: "shop/db", Cron: "0 3 * * *", Timezone: "Europe/Berlin", NextFireAt: timestamppb.New(noon.Add(14 * time.Hour)), Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL},
		}}}},
	} {
		if err := n.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	return &Schedules{Node: n, Clock: c, Zone: time.UTC, Actor: func(context.Context) string { return "admin/alice" }}, n, c
}

func TestSchedulesAreListedWithTheirSources(t *testing.T) {
	s, _, _ := schedules(t)
	resp, err := s.ListSchedules(t.Context(), &pb.ListSchedulesRequest{})
	if err != nil || len(resp.GetSchedules()) != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	if first := resp.GetSchedules()[0]; first.GetState() != "active" || strings.Join(first.GetSources(), ",") != "blog" {
		t.Errorf("%v", first)
	}
	resp, err = s.ListSchedules(t.Context(), &pb.ListSchedulesRequest{Source: "shop/db"})
	if err != nil || len(resp.GetSchedules()) != 1 || resp.GetSchedules()[0].GetSchedule().GetId() != "shop/db:main" {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := s.ListSchedules(t.Context(), &pb.ListSchedulesRequest{Source: "shop/bd"}); problem.CodeOf(err) != problem.NotFound {
		t.Error(err)
	}
}

func TestSetAndRemove(t *testing.T) {
	s, n, _ := schedules(t)
	set := func(id, cron string, patterns ...string) error {
		_, err := s.SetSchedule(t.Context(), &pb.SetScheduleRequest{Id: id, Spec: &pb.ScheduleSpec{Cron: cron, Retention: "7d"}, Patterns: patterns})
		return err
	}
	for _, tc := range []struct {
		id, cron string
		patterns []string
		want     string // "" when it is accepted
	}{
		{"shop/db:weekly", "@weekly", nil, ""},
		{"shop/db:main", "@hourly", nil, ""}, // goes before the label
		{"nightly", "0 2 * * *", []string{"shop/*"}, ""},
		{"default", "0 5 * * *", nil, ""},
		{"default", "0 5 * * *", []string{"x"}, "of all sources that have no other"},
		{"shop/db:x", "@daily", []string{"x"}, "takes no patterns"},
		{"shop/bd:x", "@daily", nil, "there is no source"},
		{"shop/db:X", "@daily", nil, "lower-case"},
		{"shop/db:x", "61 * * * *", nil, "cron: the schedule's minute"},
		{"a:b:c", "@daily", nil, "things are wrong"},
	} {
		err := set(tc.id, tc.cron, tc.patterns...)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(problem.Text(err), tc.want) {
			t.Errorf("%s %s: %v, want %q", tc.id, tc.cron, err, tc.want)
		}
		if err != nil && problem.ExitStatus(err) == 0 {
			t.Errorf("%s: %v", tc.id, err)
		}
	}
	kept, _ := n.View().Schedule("shop/db:main")
	if kept.GetOrigin() != pb.ScheduleOrigin_SCHEDULE_ORIGIN_API || kept.GetNextFireAt().AsTime() != noon.Add(time.Hour) || kept.GetRetention() != "7d" || kept.GetTimezone() != "UTC" {
		t.Errorf("%v", kept)
	}
	if _, err := s.RemoveSchedule(t.Context(), &pb.RemoveScheduleRequest{Id: "shop/db:weekly"}); err != nil {
		t.Error(err)
	}
	if _, err := s.RemoveSchedule(t.Context(), &pb.RemoveScheduleRequest{Id: "shop/db:weekly"}); problem.ReasonOf(err) != state.ReasonNoSchedule {
		t.Error(err)
	}
}

func TestWhatOthersNameIsNotRemoved(t *testing.T) {
	s, _, _ := schedules(t)
	for _, id := range []string{"default", "shop/db:main"} {
		if _, err := s.RemoveSchedule(t.Context(), &pb.RemoveScheduleRequest{Id: id}); problem.CodeOf(err) != problem.Conflict || !strings.Contains(problem.Text(err), "schedule pause "+id) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	s, n, _ := schedules(t)
	before := n.index
	resp, err := s.SetSchedule(t.Context(), &pb.SetScheduleRequest{Id: "shop/db:x", Spec: &pb.ScheduleSpec{Cron: "@daily"}, DryRun: true})
	if err != nil || n.index != before || resp.GetSchedule().GetSchedule().GetNextFireAt() == nil {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestPauseAndResume(t *testing.T) {
	s, n, c := schedules(t)
	if _, err := s.PauseSchedules(t.Context(), &pb.PauseSchedulesRequest{Ids: []string{"default", "nothing", "nobody"}}); err == nil || !strings.Contains(problem.Text(err), "nobody") || !strings.Contains(problem.Text(err), "nothing") {
		t.Errorf("not all problems at once: %v", err)
	}
	resp, err := s.PauseSchedules(t.Context(), &pb.PauseSchedulesRequest{Ids: []string{"default"}})
	if err != nil || resp.GetSchedules()[0].GetState() != "paused" || resp.GetSchedules()[0].GetSchedule().GetPausedBy() != "admin/alice" {
		t.Fatalf("%v, %v", resp, err)
	}
	c.Advance(72 * time.Hour)
	again, err := s.ResumeSchedules(t.Context(), &pb.ResumeSchedulesRequest{Ids: []string{"default"}})
	if err != nil || again.GetSchedules()[0].GetState() != "active" {
		t.Fatalf("%v, %v", again, err)
	}
	if kept, _ := n.View().Schedule("default"); !kept.GetNextFireAt().AsTime().Equal(noon.Add(84 * time.Hour)) {
		t.Errorf("%v", kept)
	}
	if _, err := s.PauseSchedules(t.Context(), &pb.PauseSchedulesRequest{}); problem.CodeOf(err) != problem.InvalidInput {
		t.Error(err)
	}
}

func TestOnce(t *testing.T) {
	s, n, _ := schedules(t)
	req := &pb.ScheduleOnceRequest{Source: "blog", At: timestamppb.New(noon.Add(time.Hour)), RequestId: "r1", Priority: "high"}
	first, err := s.ScheduleOnce(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.ScheduleOnce(t.Context(), req)
	if err != nil || again.GetSchedule().GetSchedule().GetId() != first.GetSchedule().GetSchedule().GetId() || len(n.View().SchedulesOf("blog")) != 1 {
		t.Errorf("%v, %v", again, err)
	}
	for _, bad := range []*pb.ScheduleOnceRequest{
		{Source: "blog"}, {Source: "blog", At: timestamppb.New(noon)}, {Source: "blog", At: timestamppb.New(noon.AddDate(11, 0, 0))},
		{Source: "glob", At: timestamppb.New(noon.Add(time.Hour))}, {Source: "blog", At: timestamppb.New(noon.Add(time.Hour)), Priority: "urgent"},
	} {
		if _, err := s.ScheduleOnce(t.Context(), bad); problem.ExitStatus(err) == 0 {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestPreview(t *testing.T) {
	s, _, _ := schedules(t)
	resp, err := s.PreviewSchedules(t.Context(), &pb.PreviewSchedulesRequest{
		Schedule: "shop/db:main", Count: 2, After: timestamppb.New(time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)),
	})
	if err != nil || len(resp.GetFires()) != 2 || resp.GetFires()[0].GetFireLocal() != "2026-03-29 03:00:00 CEST +02:00" || resp.GetFires()[0].GetTimezone() != "Europe/Berlin" {
		t.Errorf("%v, %v", resp, err)
	}
	resp, err = s.PreviewSchedules(t.Context(), &pb.PreviewSchedulesRequest{
		Spec: &pb.ScheduleSpec{Cron: "30 2 * * *", Timezone: "Europe/Berlin", Splay: "1h"}, Count: 1, After: timestamppb.New(time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)),
	})
	if err != nil || len(resp.GetFires()) != 1 || !strings.Contains(strings.Join(resp.GetFires()[0].GetReasons(), ";"), "is not shown on 2026-03-29") || !strings.Contains(strings.Join(resp.GetFires()[0].GetReasons(), ";"), "up to 1h later") {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := s.SetSchedule(t.Context(), &pb.SetScheduleRequest{Id: "shop/db:weekly", Spec: &pb.ScheduleSpec{Cron: "0 3 * * 0", Timezone: "Europe/Berlin"}}); err != nil {
		t.Fatal(err)
	}
	resp, err = s.PreviewSchedules(t.Context(), &pb.PreviewSchedulesRequest{Source: "shop/db", Count: 7})
	if err != nil || len(resp.GetFires()) != 7 {
		t.Fatalf("%v, %v", resp, err)
	}
	sunday := resp.GetFires()[5:7]
	if sunday[0].GetSchedule() != "shop/db:weekly" || !strings.Contains(strings.Join(sunday[1].GetReasons(), ";"), "passed over: shop/db:weekly fires at the same time") {
		t.Errorf("%v", sunday)
	}
	for _, bad := range []*pb.PreviewSchedulesRequest{
		{}, {Schedule: "x"}, {Source: "x"}, {Spec: &pb.ScheduleSpec{Cron: "x"}}, {Schedule: "default", After: &timestamppb.Timestamp{Seconds: 1 << 60}}, {Schedule: "default", After: &timestamppb.Timestamp{Seconds: 1 << 37}},
	} {
		if resp, err := s.PreviewSchedules(t.Context(), bad); problem.ExitStatus(err) == 0 {
			t.Errorf("%v: %v", bad, resp)
		}
	}
}
