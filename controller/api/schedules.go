package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/run"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Schedules implements pb.ScheduleServiceServer.
type Schedules struct {
	pb.UnimplementedScheduleServiceServer
	Node  Node
	Clock clock.Clock
	// Zone is that of schedules that name none.
	Zone *time.Location
	// Actor says who calls.
	Actor func(context.Context) string
}

// Limits of previews.
const (
	usualPreview = 10
	maxPreview   = 1000
	maxAhead     = 10 * 366 * 24 * time.Hour
)

// ListSchedules implements the schedule service.
func (s *Schedules) ListSchedules(_ context.Context, req *pb.ListSchedulesRequest) (*pb.ListSchedulesResponse, error) {
	view := s.Node.View()
	all := view.Schedules()
	if req.GetSource() != "" {
		if _, err := findSource(view, req.GetSource()); err != nil {
			return nil, err
		}
		all = holdingFor(view, req.GetSource())
	}
	return &pb.ListSchedulesResponse{Schedules: s.statuses(view, all)}, nil
}

// holdingFor lists the schedules that hold for a source, and its one-shots.
func holdingFor(view *state.View, source string) []*pb.Schedule {
	return slices.Concat(scheduler.Hold(view, false).For(source), oneShots(view, source), scheduler.Hold(view, true).For(source))
}

func oneShots(view *state.View, source string) (list []*pb.Schedule) {
	for _, own := range view.SchedulesOf(source) {
		if own.GetOnceAt() != nil {
			list = append(list, own)
		}
	}
	return list
}

func (s *Schedules) statuses(view *state.View, all []*pb.Schedule) []*pb.ScheduleStatus {
	backups, drills, sources := scheduler.Hold(view, false), scheduler.Hold(view, true), map[string][]string{}
	for _, src := range view.Sources() {
		if src.GetState() == pb.SourceState_SOURCE_STATE_GONE {
			continue
		}
		for _, holds := range slices.Concat(backups.For(src.GetName()), drills.For(src.GetName())) {
			sources[holds.GetId()] = append(sources[holds.GetId()], src.GetName())
		}
	}
	list := make([]*pb.ScheduleStatus, len(all))
	for i, kept := range all {
		st := &pb.ScheduleStatus{Schedule: kept, State: "active", Sources: sources[kept.GetId()]}
		if kept.GetOnceAt() != nil {
			st.Sources = []string{kept.GetSource()}
		}
		_, faults := scheduler.OrderOf(kept, s.Zone)
		for _, f := range faults {
			st.Problems = append(st.Problems, f.Field+": "+f.Err.Error())
		}
		switch {
		case len(faults) > 0:
			st.State = "broken"
		case kept.GetPausedAt() != nil:
			st.State = "paused"
		case kept.GetResting():
			st.State = "resting"
		case kept.GetNextFireAt() == nil:
			st.State = "off"
		}
		list[i] = st
	}
	return list
}

// GetSchedule implements the schedule service.
func (s *Schedules) GetSchedule(_ context.Context, req *pb.GetScheduleRequest) (*pb.GetScheduleResponse, error) {
	st, err := s.status(req.GetId())
	return &pb.GetScheduleResponse{Schedule: st}, err
}

func (s *Schedules) status(id string) (*pb.ScheduleStatus, error) {
	view := s.Node.View()
	kept, err := findSchedule(view, id)
	if err != nil {
		return nil, err
	}
	return s.statuses(view, []*pb.Schedule{kept})[0], nil
}

// findSchedule returns a schedule by its id, or says which ids are like it.
func findSchedule(view *state.View, id string) (*pb.Schedule, error) {
	if kept, ok := view.Schedule(id); ok {
		return kept, nil
	}
	p := problem.New(problem.NotFound, "there is no schedule %.200q", id).WithReason(state.ReasonNoSchedule)
	var ids []string
	for _, kept := range view.Schedules() {
		ids = append(ids, kept.GetId())
	}
	if near := nearest(id, ids); near != "" {
		return nil, p.WithHint("Did you mean %s?", near)
	}
	return nil, p.WithHint("`baktainer schedule ls` lists them.")
}

// PreviewSchedules implements the schedule service.
func (s *Schedules) PreviewSchedules(_ context.Context, req *pb.PreviewSchedulesRequest) (*pb.PreviewSchedulesResponse, error) {
	view, after := s.Node.View(), s.Clock.Now()
	if req.GetAfter() != nil {
		after = req.GetAfter().AsTime()
	}
	if err := req.GetAfter().CheckValid(); req.GetAfter() != nil && err != nil || after.Sub(s.Clock.Now()).Abs() > 10*maxAhead {
		return nil, problem.New(problem.InvalidInput, "a time too far away to look from")
	}
	var all []*pb.Schedule
	switch {
	case req.GetSpec() != nil:
		kept := fromSpec("preview", req.GetSpec())
		if err := wrong(kept, s.Zone); err != nil {
			return nil, err
		}
		all = []*pb.Schedule{kept}
	case req.GetSchedule() != "":
		kept, err := findSchedule(view, req.GetSchedule())
		if err != nil {
			return nil, err
		}
		all = []*pb.Schedule{kept}
	default:
		if _, err := findSource(view, req.GetSource()); err != nil {
			return nil, err
		}
		all = holdingFor(view, req.GetSource())
	}
	fires := s.fires(all, req.GetSource(), after, limit(req.GetCount(), usualPreview, maxPreview))
	return &pb.PreviewSchedulesResponse{Fires: fires}, nil
}

// planned is a fire to come, with what orders it.
type planned struct {
	*pb.PlannedFire
	at, next time.Time
	drill    bool
}

// fires are the next of several schedules together.
func (s *Schedules) fires(all []*pb.Schedule, source string, after time.Time, count int) []*pb.PlannedFire {
	var list []planned
	for _, kept := range all {
		o, faults := scheduler.OrderOf(kept, s.Zone)
		if len(faults) > 0 {
			continue
		}
		of, note := cmp.Or(source, kept.GetSource()), ""
		if of == "" && o.Splay > 0 {
			note = fmt.Sprintf("splay: up to %s later, for each source another time", schedule.FormatDuration(o.Splay))
			o.Splay = 0
		}
		for _, f := range o.Preview(scheduler.Key(kept.GetId(), of), after, count) {
			p := &pb.PlannedFire{
				Schedule: kept.GetId(), FireTime: timestamppb.New(f.At), Start: timestamppb.New(f.Start), Timezone: o.Zone.String(),
				FireLocal: shown(f.At, o.Zone), StartLocal: shown(f.Start, o.Zone), Reasons: f.Reasons,
			}
			if !f.StartBy.IsZero() {
				p.StartBy = timestamppb.New(f.StartBy)
			}
			if note != "" {
				p.Reasons = append(p.Reasons, note)
			}
			switch {
			case kept.GetPausedAt() != nil:
				p.Reasons = append(p.Reasons, "the schedule is paused: it does not fire")
			case kept.GetResting():
				p.Reasons = append(p.Reasons, "its source is gone: it does not fire")
			}
			list = append(list, planned{p, f.At, o.Next(f.At), scheduler.OfDrills(kept)})
		}
	}
	slices.SortStableFunc(list, func(a, b planned) int { return cmp.Or(a.at.Compare(b.at), scheduler.Rarer(a.next, b.next)) })
	list = list[:min(count, len(list))]
	out := make([]*pb.PlannedFire, len(list))
	for i, p := range list {
		if i > 0 && p.at.Equal(list[i-1].at) && !p.drill && !list[i-1].drill {
			p.Reasons = append(p.Reasons, fmt.Sprintf("passed over: %s fires at the same time, and one backup is enough", out[i-1].GetSchedule()))
		}
		out[i] = p.PlannedFire
	}
	return out
}

func shown(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("2006-01-02 15:04:05 MST -07:00")
}

func fromSpec(id string, spec *pb.ScheduleSpec) *pb.Schedule {
	kept := scheduler.FromSpec(spec)
	kept.Id, kept.Origin = id, pb.ScheduleOrigin_SCHEDULE_ORIGIN_API
	return kept
}

// wrong tells all that is wrong with a schedule.
func wrong(kept *pb.Schedule, zone *time.Location) error {
	_, faults := scheduler.OrderOf(kept, zone)
	var problems []error
	for _, f := range faults {
		problems = append(problems, problem.New(problem.InvalidInput, "%s: %v", f.Field, f.Err).WithReason("bad-schedule"))
	}
	return combine(problems)
}

// SetSchedule implements the schedule service.
func (s *Schedules) SetSchedule(ctx context.Context, req *pb.SetScheduleRequest) (*pb.SetScheduleResponse, error) {
	view, kept := s.Node.View(), fromSpec(req.GetId(), req.GetSpec())
	if kept.Timezone == "" {
		kept.Timezone = s.zone().String()
	}
	if of, _, own := strings.Cut(req.GetId(), ":"); own {
		kept.Source = of
	}
	var problems []error
	add := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	add(state.CheckScheduleID(kept.GetId(), kept.GetSource()))
	if kept.GetId() == scheduler.DefaultDrills || kept.GetSource() != "" && state.ScheduleName(kept.GetId()) == schedule.Drill {
		add(problem.New(problem.InvalidInput, "%.200q is a schedule of drills", kept.GetId()).
			WithHint("Set the label baktainer.drill.schedule of its container, or the setting drill-schedule."))
	}
	switch {
	case kept.GetSource() == "":
		kept.Patterns = req.GetPatterns()
		if kept.GetId() == scheduler.Default && len(kept.GetPatterns()) > 0 {
			add(problem.New(problem.InvalidInput, "the default schedule is of all sources that have no other"))
		}
	case len(req.GetPatterns()) > 0:
		add(problem.New(problem.InvalidInput, "%.200q is a schedule of one source: it takes no patterns", kept.GetId()))
	default:
		_, err := findSource(view, kept.GetSource())
		add(err)
		if _, known := view.Schedule(kept.GetId()); !known && len(view.SchedulesOf(kept.GetSource())) >= 2*schedule.MaxPerSource {
			add(problem.New(problem.Conflict, "the source has %d schedules, as many as may be", 2*schedule.MaxPerSource).WithSource(kept.GetSource()))
		}
	}
	add(wrong(kept, s.Zone))
	if err := combine(problems); err != nil {
		return nil, err
	}
	o, _ := scheduler.OrderOf(kept, s.Zone)
	if next := o.Next(s.Clock.Now()); !next.IsZero() {
		kept.NextFireAt = timestamppb.New(next)
	}
	if req.GetDryRun() {
		return &pb.SetScheduleResponse{Schedule: s.statuses(view, []*pb.Schedule{kept})[0]}, nil
	}
	if err := s.set(ctx, "", &pb.SetSchedules{Set: []*pb.Schedule{kept}, Operator: true}); err != nil {
		return nil, err
	}
	st, err := s.status(kept.GetId())
	return &pb.SetScheduleResponse{Schedule: st}, err
}

func (s *Schedules) zone() *time.Location { return cmp.Or(s.Zone, time.UTC) }

func (s *Schedules) set(ctx context.Context, request string, c *pb.SetSchedules) error {
	return s.Node.Propose(ctx, &pb.Command{RequestId: request, Actor: "admin", Command: &pb.Command_SetSchedules{SetSchedules: c}})
}

// RemoveSchedule implements the schedule service.
func (s *Schedules) RemoveSchedule(ctx context.Context, req *pb.RemoveScheduleRequest) (*pb.RemoveScheduleResponse, error) {
	kept, err := findSchedule(s.Node.View(), req.GetId())
	if err != nil {
		return nil, err
	}
	if kept.GetOrigin() != pb.ScheduleOrigin_SCHEDULE_ORIGIN_API {
		where := map[pb.ScheduleOrigin]string{pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL: "the labels of its source", pb.ScheduleOrigin_SCHEDULE_ORIGIN_CONFIG: "the settings file"}[kept.GetOrigin()]
		usual := "the setting schedule"
		if scheduler.OfDrills(kept) {
			usual = "the setting drill-schedule"
		}
		return nil, problem.New(problem.Conflict, "the schedule %s comes from %s", kept.GetId(), cmp.Or(where, usual)).
			WithHint("Change it there, or pause it with `baktainer schedule pause %s`.", kept.GetId())
	}
	return &pb.RemoveScheduleResponse{}, s.set(ctx, "", &pb.SetSchedules{Remove: []string{kept.GetId()}, Operator: true})
}

// PauseSchedules implements the schedule service.
func (s *Schedules) PauseSchedules(ctx context.Context, req *pb.PauseSchedulesRequest) (*pb.PauseSchedulesResponse, error) {
	all, err := s.pause(ctx, req.GetIds(), false)
	return &pb.PauseSchedulesResponse{Schedules: all}, err
}

// ResumeSchedules implements the schedule service.
func (s *Schedules) ResumeSchedules(ctx context.Context, req *pb.ResumeSchedulesRequest) (*pb.ResumeSchedulesResponse, error) {
	all, err := s.pause(ctx, req.GetIds(), true)
	return &pb.ResumeSchedulesResponse{Schedules: all}, err
}

// maxPaused is how many schedules one request pauses.
const maxPaused = 1000

func (s *Schedules) pause(ctx context.Context, ids []string, resume bool) ([]*pb.ScheduleStatus, error) {
	if len(ids) == 0 || len(ids) > maxPaused {
		return nil, problem.New(problem.InvalidInput, "%d schedules are named, want 1 to %d", len(ids), maxPaused)
	}
	c := &pb.PauseSchedules{Resume: resume}
	if s.Actor != nil {
		c.By = s.Actor(ctx)
	}
	var problems []error
	for _, id := range ids {
		kept, err := findSchedule(s.Node.View(), id)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		p := &pb.SchedulePause{Id: id}
		if o, faults := scheduler.OrderOf(kept, s.Zone); resume && len(faults) == 0 {
			next := o.Next(s.Clock.Now())
			if !o.Once.IsZero() {
				next = o.Once // a one-shot is owed, however late
			}
			if !next.IsZero() {
				p.NextFireAt = timestamppb.New(next)
			}
		}
		c.Schedules = append(c.Schedules, p)
	}
	if err := combine(problems); err != nil {
		return nil, err
	}
	if err := s.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_PauseSchedules{PauseSchedules: c}}); err != nil {
		return nil, err
	}
	view := s.Node.View()
	var all []*pb.Schedule
	for _, id := range ids {
		if kept, ok := view.Schedule(id); ok {
			all = append(all, kept)
		}
	}
	return s.statuses(view, all), nil
}

// ScheduleOnce implements the schedule service.
func (s *Schedules) ScheduleOnce(ctx context.Context, req *pb.ScheduleOnceRequest) (*pb.ScheduleOnceResponse, error) {
	view, now := s.Node.View(), s.Clock.Now()
	request := cmp.Or(req.GetRequestId(), rand.Text())
	at := req.GetAt().AsTime().Truncate(time.Second)
	var problems []error
	if _, err := findSource(view, req.GetSource()); err != nil {
		problems = append(problems, err)
	}
	if req.GetAt().CheckValid() != nil || !at.After(now) || at.After(now.Add(maxAhead)) {
		problems = append(problems, problem.New(problem.InvalidInput, "the time has to be later than now, by ten years at most"))
	}
	id := state.ScheduleID(req.GetSource(), "once-"+run.ID("once "+request, req.GetSource(), time.Unix(0, 0))[:8])
	kept := &pb.Schedule{
		Id: id, Source: req.GetSource(), Timezone: s.zone().String(), OnceAt: timestamppb.New(at), NextFireAt: timestamppb.New(at),
		Priority: req.GetPriority(), Retention: req.GetRetention(), Origin: pb.ScheduleOrigin_SCHEDULE_ORIGIN_API,
	}
	if err := wrong(kept, s.Zone); err != nil {
		problems = append(problems, err)
	}
	if len(view.SchedulesOf(req.GetSource())) >= 2*schedule.MaxPerSource {
		problems = append(problems, problem.New(problem.Conflict, "the source has %d schedules, as many as may be", 2*schedule.MaxPerSource).WithSource(req.GetSource()))
	}
	if err := combine(problems); err != nil {
		return nil, err
	}
	if err := s.set(ctx, "once "+request, &pb.SetSchedules{Set: []*pb.Schedule{kept}, Operator: true}); err != nil {
		return nil, err
	}
	st, err := s.status(id)
	if problem.CodeOf(err) == problem.NotFound { // the request came before, and it has fired
		st, err = &pb.ScheduleStatus{Schedule: kept, State: "off", Sources: []string{req.GetSource()}}, nil
	}
	return &pb.ScheduleOnceResponse{Schedule: st}, err
}
