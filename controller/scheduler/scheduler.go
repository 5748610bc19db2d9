// Package scheduler says when: it keeps the schedules that labels and settings
// name in the state, and makes runs when they are due. Next fire times are
// absolute and kept in the state, and a fire compares and sets them: so a
// restart, or another leader, neither forgets one nor fires it twice.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Default is the id of the schedule of all sources that have none of their own.
const Default = state.DefaultSchedule

// DefaultDrills is the id of the schedule of the drills of all sources that have
// none of their own.
const DefaultDrills = "drills"

// Trigger is the trigger of runs made here.
const Trigger = "schedule"

// Node is what the scheduler needs of the consensus.
type Node interface {
	queue.Proposer
	View() *state.View
}

// Options are what a Scheduler is made of.
type Options struct {
	Node   Node
	Clock  clock.Clock
	Logger *slog.Logger
	// Default is the default schedule's expression; empty: there is none.
	Default string
	// Drills is that of the default schedule of drills; empty: there is none.
	Drills string
	// Schedules are of several sources, from the settings.
	Schedules []schedule.Several
	// Zone is that of schedules that name none; nil: UTC.
	Zone *time.Location
	// Tick is how often it looks at the clock.
	Tick time.Duration
}

// Scheduler fires schedules. Only the leader's may run.
type Scheduler struct {
	Options
	settings []*pb.Schedule // what the settings name
	// What the state was brought in line with: places in the Raft log.
	sources, definitions uint64
	inLine               bool
	orders               map[string]order // by id
	told                 map[string]string
}

// drillSplay spreads drills that nobody has said more about over a day.
const drillSplay = "24h"

// order is a schedule that has been read.
type order struct {
	said *pb.Schedule // what it was read from, without what changes with each fire
	schedule.Order
	faults []schedule.Fault
}

// New returns a scheduler, or says what is wrong with the schedules of the settings.
func New(o Options) (*Scheduler, error) {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	s := &Scheduler{Options: o, orders: map[string]order{}, told: map[string]string{}}
	var wrong []string
	add := func(kept *pb.Schedule) {
		_, faults := OrderOf(kept, o.Zone)
		for _, f := range faults {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %v", kept.GetId(), f.Field, f.Err))
		}
		s.settings = append(s.settings, kept)
	}
	if o.Default != "" {
		add(&pb.Schedule{Id: Default, Cron: o.Default, Timezone: o.Zone.String()})
	}
	if o.Drills != "" {
		add(&pb.Schedule{
			Id: DefaultDrills, Cron: o.Drills, Timezone: o.Zone.String(), Splay: drillSplay, Priority: schedule.DrillPriority, Kind: pb.RunKind_RUN_KIND_DRILL,
		})
	}
	for _, several := range o.Schedules {
		kept := s.zoned(&pb.Schedule{
			Cron: several.Cron, Timezone: several.Timezone, Splay: several.Splay, Blackout: several.Blackout, StartingDeadline: several.Deadline,
			CatchUp: several.CatchUp, Concurrency: several.Concurrency, Priority: several.Priority, Retention: several.Retention,
		})
		kept.Id, kept.Origin, kept.Patterns = several.Name, pb.ScheduleOrigin_SCHEDULE_ORIGIN_CONFIG, several.Sources
		add(kept)
	}
	if len(wrong) > 0 {
		return nil, problem.New(problem.InvalidInput, "schedules of the settings are wrong").WithDetails(wrong...)
	}
	return s, nil
}

// zoned gives a schedule that names no zone the usual one.
func (s *Scheduler) zoned(kept *pb.Schedule) *pb.Schedule {
	if kept.Timezone == "" {
		kept.Timezone = s.Zone.String()
	}
	return kept
}

// Run fires what is due until ctx ends.
func (s *Scheduler) Run(ctx context.Context) {
	s.inLine = false // the leader before may have had other settings
	for ctx.Err() == nil {
		if err := s.Step(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Warn("schedules not fired; trying again", "error", err)
		}
		_ = clock.Sleep(ctx, s.Tick) // its only error ends the loop
	}
}

// Step does what is due now.
func (s *Scheduler) Step(ctx context.Context) error {
	now := s.Clock.Now()
	if err := s.bringInLine(ctx, now); err != nil {
		return err
	}
	view := s.Node.View()
	if err := s.fire(ctx, view, now); err != nil {
		return err
	}
	return s.holdBack(ctx, s.Node.View(), now)
}

// order reads a schedule, once for as long as it says the same.
func (s *Scheduler) order(kept *pb.Schedule) (schedule.Order, bool) {
	said := definition(kept)
	o, ok := s.orders[kept.GetId()]
	if !ok || !proto.Equal(o.said, said) {
		o = order{said: said}
		o.Order, o.faults = OrderOf(kept, s.Zone)
		s.orders[kept.GetId()] = o
		if len(o.faults) > 0 {
			s.Logger.Error("a schedule that cannot be read does not fire", "schedule", kept.GetId(), "field", o.faults[0].Field, "error", o.faults[0].Err)
		}
	}
	return o.Order, len(o.faults) == 0
}

// definition is what a schedule says, without what becomes of it.
func definition(kept *pb.Schedule) *pb.Schedule {
	said := proto.CloneOf(kept)
	said.NextFireAt, said.PausedAt, said.PausedBy, said.LastFireAt, said.Skipped = nil, nil, "", nil, nil
	return said
}

// maxCommand is how many bytes are put into one command, far below what it takes.
const maxCommand = state.MaxCommandSize / 3

// bringInLine writes to the state what labels and settings say of schedules,
// when either may have changed.
func (s *Scheduler) bringInLine(ctx context.Context, now time.Time) error {
	view := s.Node.View()
	if s.inLine && view.SourcesIndex() == s.sources && view.SchedulesIndex() == s.definitions {
		return nil
	}
	set, remove := s.differences(view, now)
	for len(set)+len(remove) > 0 {
		c := &pb.SetSchedules{}
		for size := 0; size < maxCommand && len(remove) > 0; remove = remove[1:] {
			c.Remove = append(c.Remove, remove[0])
			size += len(remove[0]) + 8
		}
		for size := proto.Size(c); size < maxCommand && len(set) > 0; set = set[1:] {
			c.Set = append(c.Set, set[0])
			size += proto.Size(set[0]) + 8
		}
		if err := s.Node.Propose(ctx, &pb.Command{Actor: "scheduler", Command: &pb.Command_SetSchedules{SetSchedules: c}}); err != nil {
			return fmt.Errorf("set schedules: %w", err)
		}
	}
	view = s.Node.View()
	s.inLine, s.sources, s.definitions = true, view.SourcesIndex(), view.SchedulesIndex()
	maps.DeleteFunc(s.orders, func(id string, _ order) bool { // one-shots come and go
		_, ok := view.Schedule(id)
		return !ok
	})
	s.tellCycles(view)
	return nil
}

// differences are what has to be set and removed for the state to say what
// labels and settings do. What an operator has set stays.
func (s *Scheduler) differences(view *state.View, now time.Time) (set []*pb.Schedule, remove []string) {
	wanted := map[string]bool{}
	want := func(w *pb.Schedule) {
		wanted[w.GetId()] = true
		known, ok := view.Schedule(w.GetId())
		if ok && (known.GetOrigin() == pb.ScheduleOrigin_SCHEDULE_ORIGIN_API || proto.Equal(definition(known), w)) {
			return
		}
		o, faults := OrderOf(w, s.Zone)
		if len(faults) > 0 {
			s.Logger.Error("a schedule that cannot be read does not count", "schedule", w.GetId(), "field", faults[0].Field, "error", faults[0].Err)
			delete(wanted, w.GetId())
			return
		}
		next := proto.CloneOf(w)
		if at := o.Next(now); !at.IsZero() {
			next.NextFireAt = timestamppb.New(at)
		}
		set = append(set, next)
	}
	for _, w := range s.settings {
		want(w)
	}
	for _, src := range view.Sources() {
		switch src.GetState() {
		case pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_STOPPED:
			for _, spec := range src.GetSchedules() {
				want(s.fromLabels(src.GetName(), spec))
			}
		default: // what they were is still known; of what is gone they rest
			for _, known := range view.SchedulesOf(src.GetName()) {
				if known.GetOrigin() == pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL {
					w := definition(known)
					w.Resting = src.GetState() == pb.SourceState_SOURCE_STATE_GONE
					want(w)
				}
			}
		}
	}
	for _, known := range view.Schedules() {
		if !wanted[known.GetId()] && known.GetOrigin() != pb.ScheduleOrigin_SCHEDULE_ORIGIN_API {
			remove = append(remove, known.GetId())
		}
	}
	return set, remove
}

func (s *Scheduler) fromLabels(source string, spec *pb.ScheduleSpec) *pb.Schedule {
	kept := s.zoned(FromSpec(spec))
	kept.Kind = spec.GetKind()
	kept.Id, kept.Source, kept.Origin = state.ScheduleID(source, spec.GetName()), source, pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL
	return kept
}

// tellCycles logs each cycle of dependencies once.
func (s *Scheduler) tellCycles(view *state.View) {
	told := map[string]string{}
	for _, src := range view.Sources() {
		if len(src.GetDependsOn()) == 0 {
			continue
		}
		if cycle := schedule.Cycle(src.GetName(), view.DependsOn); cycle != "" {
			told[src.GetName()] = cycle
			if s.told[src.GetName()] != cycle {
				s.Logger.Warn("dependencies that form a cycle are refused: these backups do not wait for each other", "source", src.GetName(), "cycle", cycle)
			}
		}
	}
	s.told = told
}

// holdBack moves the beginning of runs that have not begun yet and that would
// within a blackout window of their schedule.
func (s *Scheduler) holdBack(ctx context.Context, view *state.View, now time.Time) error {
	c := &pb.DeferRuns{}
	for _, r := range view.ActiveRuns() {
		if r.GetState() != pb.RunState_RUN_STATE_QUEUED || r.GetSchedule() == "" || r.GetNotBefore().AsTime().After(now) {
			continue
		}
		kept, ok := view.Schedule(r.GetSchedule())
		if !ok || kept.GetBlackout() == "" {
			continue
		}
		if o, ok := s.order(kept); ok && o.Blackout.In(now, o.Zone) {
			c.Runs = append(c.Runs, &pb.RunDeferral{Run: r.GetId(), NotBefore: timestamppb.New(o.Blackout.Leave(now, o.Zone))})
		}
		if len(c.GetRuns()) == maxDeferred {
			break // the rest is next
		}
	}
	if len(c.GetRuns()) == 0 {
		return nil
	}
	if err := s.Node.Propose(ctx, &pb.Command{Actor: "scheduler", Command: &pb.Command_DeferRuns{DeferRuns: c}}); err != nil {
		return fmt.Errorf("defer runs: %w", err)
	}
	return nil
}

const maxDeferred = 1000

// describe says why a source cannot be backed up; "" when it can.
func describe(src *pb.Source) string {
	switch src.GetState() {
	case pb.SourceState_SOURCE_STATE_READY:
		return ""
	case pb.SourceState_SOURCE_STATE_STOPPED:
		return "its container does not run"
	case pb.SourceState_SOURCE_STATE_INVALID:
		return "its labels are wrong"
	case pb.SourceState_SOURCE_STATE_GONE:
		return "its container is gone"
	}
	return "it is " + strings.ToLower(src.GetState().String())
}
