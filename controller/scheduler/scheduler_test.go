package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// node applies commands without Raft.
type node struct {
	tables *state.Tables
	clock  clock.Clock
	index  uint64
	fail   int // commands to lose
}

func (n *node) View() *state.View { return n.tables.View() }

func (n *node) Propose(_ context.Context, cmd *pb.Command) error {
	if n.fail--; n.fail == 0 {
		return problem.New(problem.Unavailable, "no leader")
	}
	n.index++
	cmd = proto.CloneOf(cmd)
	cmd.ProposedAt = timestamppb.New(n.clock.Now())
	return n.tables.Apply(n.index, cmd)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fixture(t *testing.T, expr string, sources int) (*Scheduler, *node, *clock.Manual) {
	t.Helper()
	c := clock.NewManual(noon)
	n := &node{tables: state.New(), clock: c}
	report := &pb.ReportSources{Agent: "a1"}
	for i := range sources {
		report.Sources = append(report.Sources, &pb.Source{Name: fmt.Sprintf("s%04d", i), State: pb.SourceState_SOURCE_STATE_READY})
	}
	if err := n.Propose(t.Context(), &pb.Command{Command: &pb.Command_ReportSources{ReportSources: report}}); err != nil {
		t.Fatal(err)
	}
	s, err := New(n, c, slog.New(slog.DiscardHandler), expr, time.UTC, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return s, n, c
}

func (n *node) next() time.Time {
	s, _ := n.View().Schedule(Default)
	return s.GetNextFireAt().AsTime()
}

func tick(t *testing.T, s *Scheduler) {
	t.Helper()
	if err := s.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFiresOnceForEachSource(t *testing.T) {
	s, n, c := fixture(t, "@hourly", 1203) // more than one command takes
	tick(t, s)
	tick(t, s)
	if n.next() != noon.Add(time.Hour) || len(n.View().Runs("", 0)) != 0 {
		t.Fatalf("next %s", n.next())
	}
	c.Advance(time.Hour)
	for range 3 {
		tick(t, s)
	}
	if got := len(n.View().Runs("", 0)); got != 1203 {
		t.Errorf("%d runs", got)
	}
	if n.next() != noon.Add(2*time.Hour) {
		t.Errorf("next %s", n.next())
	}
	c.Advance(time.Hour) // all are still queued: they do not pile up
	tick(t, s)
	if got := len(n.View().Runs("", 0)); got != 1203 {
		t.Errorf("%d runs after an hour of nobody working", got)
	}
}

func TestAFireThatWasInterruptedIsDoneAgain(t *testing.T) {
	for lost := 1; lost <= 3; lost++ {
		s, n, c := fixture(t, "@hourly", 1203)
		tick(t, s)
		c.Advance(time.Hour)
		n.fail = lost
		if s.Tick(t.Context()) == nil {
			t.Fatal("the loss was not told")
		}
		if n.next() != noon.Add(time.Hour) {
			t.Errorf("lost %d: the schedule moved on without all runs", lost)
		}
		tick(t, s)
		if got := len(n.View().Runs("", 0)); got != 1203 || n.next() != noon.Add(2*time.Hour) {
			t.Errorf("lost %d: %d runs, next %s", lost, got, n.next())
		}
	}
}

func TestLatest(t *testing.T) {
	for _, tc := range []struct {
		expr   string
		away   time.Duration
		want   time.Duration // after noon
		missed bool
	}{
		{"@hourly", time.Hour, time.Hour, false},
		{"@hourly", 90 * time.Minute, time.Hour, false},
		{"@hourly", 5 * time.Hour, 5 * time.Hour, true},
		{"* * * * *", 300 * 24 * time.Hour, 300 * 24 * time.Hour, true},
		{"0 13 1 3 *", 90 * 24 * time.Hour, time.Hour, false},
	} {
		s, n, c := fixture(t, tc.expr, 1)
		tick(t, s)
		due := n.next()
		c.Advance(tc.away)
		got, missed := latest(s.cron, due, c.Now())
		if !got.Equal(noon.Add(tc.want)) || (missed > 0) != tc.missed {
			t.Errorf("%s after %s: %s, %d missed", tc.expr, tc.away, got, missed)
		}
	}
}

func TestAChangedScheduleStartsAnew(t *testing.T) {
	s, n, c := fixture(t, "@hourly", 1)
	tick(t, s)
	other, err := New(n, c, slog.New(slog.DiscardHandler), "CRON_TZ=Asia/Kathmandu 0 3 * * *", time.UTC, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)
	tick(t, other)
	if got := n.next(); got != time.Date(2026, 3, 1, 21, 15, 0, 0, time.UTC) || len(n.View().Runs("", 0)) != 0 {
		t.Errorf("next %s", got)
	}
}

func TestOnlyReadySourcesAreFiredFor(t *testing.T) {
	s, n, c := fixture(t, "@hourly", 0)
	var list []*pb.Source
	for name, state := range pb.SourceState_value {
		if state != int32(pb.SourceState_SOURCE_STATE_UNSPECIFIED) && state != int32(pb.SourceState_SOURCE_STATE_GONE) {
			list = append(list, &pb.Source{Name: name, State: pb.SourceState(state)})
		}
	}
	if err := n.Propose(t.Context(), &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: "a1", Sources: list}}}); err != nil {
		t.Fatal(err)
	}
	tick(t, s)
	c.Advance(time.Hour)
	tick(t, s)
	runs := n.View().Runs("", 0)
	if len(runs) != 1 || !slices.ContainsFunc(runs, func(r *pb.Run) bool { return r.GetSource() == "SOURCE_STATE_READY" }) {
		t.Errorf("runs: %v", runs)
	}
}

func TestABadExpressionIsTheUsersProblem(t *testing.T) {
	_, err := New(&node{}, clock.NewManual(noon), slog.New(slog.DiscardHandler), "0 25 * * *", time.UTC, time.Second)
	if problem.CodeOf(err) != problem.InvalidInput {
		t.Error(err)
	}
	s, err := New(&node{}, clock.NewManual(noon), slog.New(slog.DiscardHandler), "", time.UTC, time.Second)
	if err != nil || s.Tick(t.Context()) != nil {
		t.Errorf("no schedule at all: %v", err)
	}
}
