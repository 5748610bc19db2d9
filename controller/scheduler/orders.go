package scheduler

import (
	"strings"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// OrderOf reads a schedule; usual is the zone when it names none.
func OrderOf(s *pb.Schedule, usual *time.Location) (schedule.Order, []schedule.Fault) {
	spec := schedule.Spec{
		Cron: s.GetCron(), Timezone: s.GetTimezone(), Splay: s.GetSplay(), Blackout: s.GetBlackout(), Deadline: s.GetStartingDeadline(),
		CatchUp: s.GetCatchUp(), Concurrency: s.GetConcurrency(), Priority: s.GetPriority(), Retention: s.GetRetention(),
	}
	if s.GetOnceAt() != nil {
		spec.Cron = "off"
	}
	o, faults := spec.Order(usual)
	if s.GetOnceAt() != nil {
		o.Once = s.GetOnceAt().AsTime()
	}
	return o, faults
}

// FromSpec is a schedule of backups that says what a spec on the wire does.
func FromSpec(spec *pb.ScheduleSpec) *pb.Schedule {
	return &pb.Schedule{
		Cron: spec.GetCron(), Timezone: spec.GetTimezone(), Splay: spec.GetSplay(), Blackout: spec.GetBlackout(), StartingDeadline: spec.GetStartingDeadline(),
		CatchUp: spec.GetCatchUp(), Concurrency: spec.GetConcurrency(), Priority: spec.GetPriority(), Retention: spec.GetRetention(),
	}
}

// OfDrills says whether a schedule makes drills rather than backups.
func OfDrills(s *pb.Schedule) bool { return s.GetKind() == pb.RunKind_RUN_KIND_DRILL }

// Key is what the splay of a schedule's fires for a source is reckoned from.
func Key(id, source string) string { return id + " " + source }

// Holding says which schedules of one kind hold for which source.
type Holding struct {
	view    *state.View
	drills  bool
	several []*pb.Schedule // those of several sources but the default one
	usual   []*pb.Schedule // the default one, if there is one
}

// Hold looks at all schedules that make backups, or at those that make drills.
func Hold(view *state.View, drills bool) *Holding {
	h := &Holding{view: view, drills: drills}
	for _, s := range view.Schedules() {
		switch {
		case OfDrills(s) != drills:
		case s.GetId() == Default || s.GetId() == DefaultDrills:
			h.usual = []*pb.Schedule{s}
		case s.GetSource() == "":
			h.several = append(h.several, s)
		}
	}
	return h
}

// For lists the schedules that hold for a source, without one-shots: its own;
// when it has none those of several sources that it is among; when it is among
// none the default one.
func (h *Holding) For(source string) []*pb.Schedule {
	var list []*pb.Schedule
	for _, s := range h.view.SchedulesOf(source) {
		if s.GetOnceAt() == nil && OfDrills(s) == h.drills {
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		return list
	}
	for _, s := range h.several {
		if among(s, source) {
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		return list
	}
	return h.usual
}

// Covers says whether a schedule holds for a source.
func (h *Holding) Covers(s *pb.Schedule, source string) bool {
	if s.GetSource() != "" || OfDrills(s) != h.drills {
		return s.GetSource() == source
	}
	for _, holds := range h.For(source) {
		if holds.GetId() == s.GetId() {
			return true
		}
	}
	return false
}

// among says whether a source is one of those that a schedule names; without
// any pattern it is of all.
func among(s *pb.Schedule, source string) bool {
	for _, p := range s.GetPatterns() {
		if schedule.Matches(p, source) {
			return true
		}
	}
	return len(s.GetPatterns()) == 0
}

// priorityOf is a priority on the wire.
func priorityOf(text string) pb.Priority {
	return pb.Priority(pb.Priority_value["PRIORITY_"+strings.ToUpper(text)])
}
