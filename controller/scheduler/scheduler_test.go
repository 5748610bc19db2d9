package scheduler

import (
	"context"
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
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// node applies commands without Raft.
type node struct {
	tables *state.Tables
	clock  clock.Clock
	index  uint64
	fail   int // commands to lose
	deaf   int // commands that are carried out, and their answer lost
	hear   func(*pb.Command)
}

func (n *node) View() *state.View { return n.tables.View() }

func (n *node) Propose(_ context.Context, cmd *pb.Command) error {
	if n.fail--; n.fail == 0 {
		return problem.New(problem.Unavailable, "no leader")
	}
	n.index++
	cmd = proto.CloneOf(cmd)
	cmd.Version, cmd.ProposedAt = state.CommandVersion, timestamppb.New(n.clock.Now())
	if n.hear != nil {
		n.hear(cmd)
	}
	err := n.tables.Apply(n.index, cmd)
	if n.deaf--; n.deaf == 0 {
		return problem.New(problem.Unavailable, "leadership was lost: nobody knows")
	}
	return err
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
	s, err := New(Options{Node: n, Clock: c, Logger: slog.New(slog.DiscardHandler), Default: expr, Tick: time.Second})
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
	if err := s.Step(t.Context()); err != nil {
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
	const sources = 5003 // more than three commands take
	for lost := 1; lost <= 3; lost++ {
		for _, carriedOut := range []bool{false, true} {
			s, n, c := fixture(t, "@hourly", sources)
			tick(t, s)
			c.Advance(time.Hour)
			if n.fail = lost; carriedOut {
				n.fail, n.deaf = 0, lost
			}
			if s.Step(t.Context()) == nil {
				t.Fatal("the loss was not told")
			}
			if n.next() != noon.Add(time.Hour) {
				t.Errorf("lost %d: the schedule moved on without all runs", lost)
			}
			tick(t, s)
			if got := len(n.View().Runs("", 0)); got != sources || n.next() != noon.Add(2*time.Hour) {
				t.Errorf("lost %d: %d runs, next %s", lost, got, n.next())
			}
			if kept, _ := n.View().Schedule(Default); len(kept.GetSkipped()) != 0 {
				t.Errorf("lost %d: what was fired before is taken for what is in the way: %v", lost, kept.GetSkipped())
			}
		}
	}
}

func TestAChangedScheduleStartsAnew(t *testing.T) {
	s, n, c := fixture(t, "@hourly", 1)
	tick(t, s)
	other, err := New(Options{Node: n, Clock: c, Logger: slog.New(slog.DiscardHandler), Default: "CRON_TZ=Asia/Kathmandu 0 3 * * *"})
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
	_, err := New(Options{Default: "0 25 * * *", Schedules: []schedule.Several{{Spec: schedule.Spec{Name: "x", Cron: "@daily", Splay: "x"}}}})
	if text := problem.Text(err); problem.CodeOf(err) != problem.InvalidInput || !strings.Contains(text, "default: cron") || !strings.Contains(text, "x: splay") {
		t.Error(text)
	}
	s, n, c := fixture(t, "", 1)
	tick(t, s)
	c.Advance(100 * 24 * time.Hour)
	tick(t, s)
	if len(n.View().Runs("", 0))+len(n.View().Schedules()) != 0 {
		t.Errorf("no schedule at all: %v", n.View().Schedules())
	}
}
