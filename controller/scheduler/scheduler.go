// Package scheduler says when: it fires the default schedule for every source
// that is ready. Next fire times are absolute and kept in the state, so that a
// restart neither forgets one nor fires it twice.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Default is the id of the schedule of all sources that have none of their own.
const Default = "default"

// Trigger is the trigger of runs made here.
const Trigger = "schedule"

// Node is what the scheduler needs of the consensus.
type Node interface {
	queue.Proposer
	View() *state.View
}

// Scheduler fires schedules. Only the leader's may run.
type Scheduler struct {
	node  Node
	clock clock.Clock
	log   *slog.Logger
	expr  string
	cron  schedule.Cron
	tick  time.Duration
}

// New returns a scheduler for the default schedule; an empty expression means
// that nothing is fired. tick is how often it looks at the clock.
func New(node Node, c clock.Clock, log *slog.Logger, expr string, zone *time.Location, tick time.Duration) (*Scheduler, error) {
	s := &Scheduler{node: node, clock: c, log: log, expr: expr, tick: tick}
	if expr == "" {
		return s, nil
	}
	var err error
	if s.cron, err = schedule.Parse(expr, zone); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the default schedule %q", expr)
	}
	return s, nil
}

// Run fires what is due until ctx ends.
func (s *Scheduler) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.Tick(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("schedule not fired; trying again", "schedule", Default, "error", err)
		}
		_ = clock.Sleep(ctx, s.tick) // its only error ends the loop
	}
}

// Tick fires what is due now.
func (s *Scheduler) Tick(ctx context.Context) error {
	if s.expr == "" {
		return nil
	}
	now := s.clock.Now()
	view := s.node.View()
	kept, ok := view.Schedule(Default)
	if !ok || kept.GetCron() != s.expr || kept.GetTimezone() != s.cron.Zone().String() {
		return s.set(ctx, s.cron.Next(now))
	}
	if kept.GetNextFireAt() == nil || kept.GetNextFireAt().AsTime().After(now) {
		return nil
	}
	due := kept.GetNextFireAt().AsTime()
	fire, missed := latest(s.cron, due, now)
	if missed > 0 {
		s.log.Warn("fire times were missed; only the latest is caught up", "schedule", Default, "missed", missed, "fire_time", fire)
	}
	next := s.cron.Next(now)
	runs := s.runs(view, fire)
	if err := queue.All(ctx, s.node, "scheduler", "", queue.Due{Schedule: Default, At: due, Next: next}, runs...); err != nil {
		if problem.ReasonOf(err) == state.ReasonNotDue {
			return nil // somebody else has fired it
		}
		return fmt.Errorf("queue runs: %w", err)
	}
	s.log.Info("schedule fired", "schedule", Default, "fire_time", fire, "runs", len(runs), "next", next)
	if next.IsZero() {
		return s.set(ctx, next)
	}
	return nil
}

// runs makes a run for each source that is ready and has no backup under way:
// backups of one source never pile up.
func (s *Scheduler) runs(view *state.View, fire time.Time) []*pb.Run {
	busy := map[string]bool{}
	for _, r := range view.ActiveRuns() {
		if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
			busy[r.GetSource()] = true
		}
	}
	var runs []*pb.Run
	for _, src := range view.Sources() {
		switch {
		case src.GetState() != pb.SourceState_SOURCE_STATE_READY:
		case busy[src.GetName()]:
			s.log.Warn("backup skipped: the one before has not ended", "source", src.GetName(), "fire_time", fire)
		default:
			runs = append(runs, queue.Backup(Default, src.GetName(), Trigger, fire))
		}
	}
	return runs
}

func (s *Scheduler) set(ctx context.Context, next time.Time) error {
	kept := &pb.Schedule{Id: Default, Cron: s.expr, Timezone: s.cron.Zone().String()}
	if !next.IsZero() {
		kept.NextFireAt = timestamppb.New(next)
	}
	err := s.node.Propose(ctx, &pb.Command{Actor: "scheduler", Command: &pb.Command_SetSchedule{SetSchedule: &pb.SetSchedule{Schedule: kept}}})
	if err != nil {
		return fmt.Errorf("set schedule: %w", err)
	}
	return nil
}

// latest is the newest fire time that is not after now, given one that is due,
// and how many were passed over. It does not look back further than lookBack.
func latest(c schedule.Cron, due, now time.Time) (fire time.Time, missed int) {
	fire = due
	if back := now.Add(-lookBack); due.Before(back) {
		if f := c.Next(back); !f.IsZero() && !f.After(now) {
			fire, missed = f, 1
		}
	}
	for next := c.Next(fire); !next.IsZero() && !next.After(now); next = c.Next(fire) {
		fire = next
		missed++
	}
	return fire, missed
}

const lookBack = 48 * time.Hour
