package state

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// DefaultSchedule is the id of the schedule of all sources that have none of
// their own.
const DefaultSchedule = "default"

// KeptSkipped is how many fires that were passed over a schedule remembers.
const KeptSkipped = 16

// maxScheduleText bounds each text of a schedule, in bytes.
const maxScheduleText = 512

// ScheduleID is the id of a source's schedule. No source's name has a colon in
// it, so that it is no other source's, and none of several sources.
func ScheduleID(source, name string) string { return source + ":" + name }

// ScheduleName is the part of an id that tells the schedules of a source apart.
func ScheduleName(id string) string { return id[strings.LastIndexByte(id, ':')+1:] }

var pluralPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// CheckScheduleID says whether an id is of the form NAME, of several sources,
// or SOURCE:NAME, of that source.
func CheckScheduleID(id, of string) error {
	name, own := id, of != ""
	if own {
		var ok bool
		if name, ok = strings.CutPrefix(id, of+":"); !ok {
			return bad("schedule %.200q: a schedule of the source %s is called %s:NAME", id, of, of)
		}
		if err := source.CheckName(of); err != nil {
			return bad("schedule %.200q: %v", id, err)
		}
	}
	if err := schedule.CheckName(name); err != nil && (own || !pluralPattern.MatchString(id)) {
		return bad("schedule %.200q: %v", id, err)
	}
	return nil
}

func checkSchedule(s *pb.Schedule) error {
	if err := CheckScheduleID(s.GetId(), s.GetSource()); err != nil {
		return err
	}
	if (s.GetCron() == "") == (s.GetOnceAt() == nil) || s.GetOnceAt() != nil && !valid(s.GetOnceAt()) {
		return bad("schedule %s: it needs an expression, or one time", s.GetId())
	}
	for _, text := range []string{
		s.GetCron(), s.GetTimezone(), s.GetRetention(), s.GetSplay(), s.GetBlackout(), s.GetStartingDeadline(), s.GetCatchUp(), s.GetConcurrency(), s.GetPriority(),
	} {
		if len(text) > maxScheduleText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			return bad("schedule %s: %.40q is too long, or more than one line", s.GetId(), text)
		}
	}
	if len(s.GetPatterns()) > schedule.MaxPatterns || slices.ContainsFunc(s.GetPatterns(), func(p string) bool { return p == "" || len(p) > source.MaxNameLength }) {
		return bad("schedule %s: its patterns are too many, empty or too long", s.GetId())
	}
	if s.GetNextFireAt() != nil && !valid(s.GetNextFireAt()) {
		return bad("schedule %s: the next fire time is out of range", s.GetId())
	}
	return nil
}

// putSchedule notes that what schedules say has changed, rather than that one fired.
func (w *writer) putSchedule(s *pb.Schedule) {
	w.definitions = true
	w.put(tableSchedules, s)
}

func (w *writer) setSchedules(c *pb.SetSchedules) error {
	for _, id := range c.GetRemove() {
		known, ok := first[*pb.Schedule](w.table, tableSchedules, indexID, id)
		if ok && (c.GetOperator() || known.GetOrigin() != pb.ScheduleOrigin_SCHEDULE_ORIGIN_API) {
			w.definitions = true
			w.drop(tableSchedules, known)
		}
	}
	for _, s := range c.GetSet() {
		if err := checkSchedule(s); err != nil {
			return err
		}
		set := proto.CloneOf(s)
		set.PausedAt, set.PausedBy, set.LastFireAt, set.Skipped = nil, "", nil, nil
		known, ok := first[*pb.Schedule](w.table, tableSchedules, indexID, s.GetId())
		if ok {
			api := pb.ScheduleOrigin_SCHEDULE_ORIGIN_API
			if known.GetOrigin() == api && s.GetOrigin() != api {
				continue
			}
			set.PausedAt, set.PausedBy, set.LastFireAt, set.Skipped = known.GetPausedAt(), known.GetPausedBy(), known.GetLastFireAt(), known.GetSkipped()
			if sameTimes(known, set) {
				set.NextFireAt = known.GetNextFireAt()
			}
		}
		if set.GetPausedAt() != nil || set.GetResting() {
			set.NextFireAt = nil
		}
		w.putSchedule(set)
	}
	return nil
}

// sameTimes says whether two schedules fire at the same times.
func sameTimes(a, b *pb.Schedule) bool {
	return a.GetCron() == b.GetCron() && a.GetTimezone() == b.GetTimezone() && proto.Equal(a.GetOnceAt(), b.GetOnceAt()) && a.GetResting() == b.GetResting()
}

func (w *writer) pauseSchedules(c *pb.PauseSchedules) error {
	for _, p := range c.GetSchedules() {
		known, ok := first[*pb.Schedule](w.table, tableSchedules, indexID, p.GetId())
		if !ok {
			return noSchedule(p.GetId())
		}
		paused := proto.CloneOf(known)
		switch {
		case !c.GetResume() && known.GetPausedAt() == nil:
			paused.PausedAt, paused.PausedBy, paused.NextFireAt = w.at, cut(c.GetBy(), maxScheduleText), nil
		case c.GetResume() && known.GetPausedAt() != nil:
			if p.GetNextFireAt() != nil && !valid(p.GetNextFireAt()) {
				return bad("schedule %s: the next fire time is out of range", p.GetId())
			}
			paused.PausedAt, paused.PausedBy = nil, ""
			if paused.NextFireAt = p.GetNextFireAt(); known.GetResting() {
				paused.NextFireAt = nil
			}
		default:
			continue
		}
		w.putSchedule(paused)
	}
	return nil
}

func noSchedule(id string) error {
	return problem.New(problem.NotFound, "there is no schedule %.200q", id).WithReason(ReasonNoSchedule)
}

func (w *writer) fireSchedules(c *pb.FireSchedules) error {
	fired := map[string]bool{}
	for _, f := range c.GetSchedules() {
		known, ok := first[*pb.Schedule](w.table, tableSchedules, indexID, f.GetSchedule())
		switch {
		case !ok:
			return noSchedule(f.GetSchedule())
		case known.GetNextFireAt() == nil || !proto.Equal(known.GetNextFireAt(), f.GetDueAt()):
			return refuse(ReasonNotDue, "schedule %s: it is no longer due then", f.GetSchedule())
		case f.GetNextFireAt() != nil && (!valid(f.GetNextFireAt()) || timeKey(f.GetNextFireAt()) <= timeKey(f.GetDueAt())):
			return bad("schedule %s: the next fire time is out of range, or not after this one", f.GetSchedule())
		case fired[f.GetSchedule()]:
			return bad("schedule %s: it is named twice", f.GetSchedule())
		}
		fired[f.GetSchedule()] = true
		if f.GetDone() {
			w.moveOn(known, f)
		}
	}
	for _, id := range c.GetCancel() {
		if r, ok := first[*pb.Run](w.table, tableRuns, indexID, id); ok && active(r) {
			if err := w.requestCancel(&pb.RequestCancel{Run: id}); err != nil {
				return err
			}
		}
	}
	for _, r := range c.GetRuns() {
		if !fired[r.GetSchedule()] {
			return bad("run %.64q: no schedule of the command has made it", r.GetId())
		}
		if err := w.queueRun(r, r.GetSchedule()); err != nil {
			return err
		}
	}
	return nil
}

// moveOn notes that a schedule has fired.
func (w *writer) moveOn(known *pb.Schedule, f *pb.ScheduleFire) {
	if known.GetOnceAt() != nil {
		w.definitions = true
		w.drop(tableSchedules, known)
		return
	}
	moved := proto.CloneOf(known)
	moved.NextFireAt = f.GetNextFireAt()
	if f.GetLastFireAt() != nil && valid(f.GetLastFireAt()) {
		moved.LastFireAt = f.GetLastFireAt()
	}
	for _, s := range f.GetSkipped() {
		if !valid(s.GetFireTime()) {
			continue
		}
		moved.Skipped = append(moved.Skipped, &pb.SkippedFire{
			FireTime: s.GetFireTime(), Source: cut(s.GetSource(), source.MaxNameLength), Fires: s.GetFires(), Reason: cut(s.GetReason(), maxScheduleText),
		})
	}
	moved.Skipped = moved.Skipped[max(0, len(moved.Skipped)-KeptSkipped):]
	w.put(tableSchedules, moved)
}

func (w *writer) deferRuns(c *pb.DeferRuns) error {
	for _, d := range c.GetRuns() {
		r, ok := first[*pb.Run](w.table, tableRuns, indexID, d.GetRun())
		if !ok || r.GetState() != pb.RunState_RUN_STATE_QUEUED || !valid(d.GetNotBefore()) {
			continue
		}
		later := proto.CloneOf(r)
		later.NotBefore = d.GetNotBefore()
		w.put(tableRuns, later)
	}
	return nil
}

// Schedules lists the schedules by id.
func (v *View) Schedules() []*pb.Schedule {
	return collect(rows[*pb.Schedule](v.table, tableSchedules, indexID, "", false), 0)
}

// Schedule returns one schedule.
func (v *View) Schedule(id string) (*pb.Schedule, bool) {
	return first[*pb.Schedule](v.table, tableSchedules, indexID, id)
}

// SchedulesOf lists the schedules that are of one source alone, by id; one-shots
// are among them.
func (v *View) SchedulesOf(source string) []*pb.Schedule {
	return collect(rows[*pb.Schedule](v.table, tableSchedules, indexSource, sourceKey(source), false), 0)
}

// DueSchedules lists the schedules whose next fire time is not after now, by
// that time.
func (v *View) DueSchedules(now time.Time) []*pb.Schedule {
	end := timeKey(timestamppb.New(now))
	var due []*pb.Schedule
	for s := range rows[*pb.Schedule](v.table, tableSchedules, indexTime, "", false) {
		if timeKey(s.GetNextFireAt()) > end {
			break
		}
		due = append(due, s)
	}
	return due
}

// SchedulesIndex is the place in the Raft log of the newest command that changed
// what a schedule says, rather than when it fires next.
func (v *View) SchedulesIndex() uint64 { return v.definitions }

// RunsAt lists the backups that schedules owe, or owed, a source at a fire time.
func (v *View) RunsAt(source string, fire *timestamppb.Timestamp) []*pb.Run {
	return collect(rows[*pb.Run](v.table, tableRuns, indexFire, fireKey(source, fire), false), 0)
}

// DependsOn lists the sources whose backups come before one's, as its labels have it.
func (v *View) DependsOn(name string) []string {
	s, _ := v.Source(name)
	return s.GetDependsOn()
}

// fireKey finds what a source is owed at a fire time.
func fireKey(source string, fire *timestamp) string { return sourceKey(source) + timeKey(fire) }

// scheduled says whether a schedule made the run.
func scheduled(r *pb.Run) bool {
	return r.GetSchedule() != "" && r.GetKind() == pb.RunKind_RUN_KIND_BACKUP
}
