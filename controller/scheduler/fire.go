package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// maxWaiting is how many backups of one source wait at most, whatever is allowed.
const maxWaiting = 100

// firing is a schedule that is due.
type firing struct {
	kept    *pb.Schedule
	order   schedule.Order
	due     schedule.Due
	skipped []*pb.SkippedFire
	runs    int
}

// owed is one fire of a schedule for one source.
type owed struct {
	*firing
	source *pb.Source
	at     time.Time
	after  int       // how many sources come before this one
	next   time.Time // when the schedule fires next after at
}

// queued is a run with those that give way to it.
type queued struct {
	*firing
	run    *pb.Run
	cancel []string
}

// fire makes the runs of all schedules that are due. They are one group: what
// others depend on is queued first, in the same command or an earlier one, so
// that a run finds those that it has to wait for.
func (s *Scheduler) fire(ctx context.Context, view *state.View, now time.Time) error {
	var firings []*firing
	for _, kept := range view.DueSchedules(now) {
		if o, ok := s.order(kept); ok {
			firings = append(firings, &firing{kept: kept, order: o, due: o.Due(kept.GetNextFireAt().AsTime(), now)})
		}
	}
	if len(firings) == 0 {
		return nil
	}
	book := &book{view: view, now: now, taken: map[string]string{}, batch: map[string][]*pb.Run{}, active: map[string][]*pb.Run{}}
	for _, r := range view.ActiveRuns() {
		if k := r.GetKind(); k == pb.RunKind_RUN_KIND_BACKUP || k == pb.RunKind_RUN_KIND_DRILL {
			book.active[r.GetSource()] = append(book.active[r.GetSource()], r)
		}
	}
	var runs []queued
	for _, o := range s.group(view, firings) {
		q, why := book.enter(o)
		switch {
		case why != "":
			o.skip(o.at, o.source.GetName(), why)
			level := slog.LevelWarn
			if o.source.GetState() != pb.SourceState_SOURCE_STATE_READY || OfDrills(o.kept) {
				level = slog.LevelDebug // source ls tells, whether something fires or not
			}
			s.Logger.Log(ctx, level, o.what()+" passed over: "+why, "source", o.source.GetName(), "schedule", o.kept.GetId(), "fire_time", o.at)
		case q.run != nil:
			runs = append(runs, q)
			o.runs++
		}
	}
	return s.commit(ctx, firings, runs)
}

// group lists what the firings owe: by fire time, then what comes first before
// what depends on it, then of two schedules of one source the one that fires
// more rarely.
func (s *Scheduler) group(view *state.View, firings []*firing) []owed {
	after := map[string]int{}
	holds := map[bool]*Holding{}
	var all []owed
	for _, f := range firings {
		for _, p := range f.due.Passed {
			f.skipped = append(f.skipped, &pb.SkippedFire{FireTime: timestamppb.New(p.Last), Fires: int64(p.Count), Reason: p.Reason})
			s.Logger.Warn("fire times passed over: "+p.Reason, "schedule", f.kept.GetId(), "fires", p.Count, "more", p.More, "latest", p.Last)
		}
		var sources []*pb.Source
		if f.kept.GetSource() != "" {
			if src, ok := view.Source(f.kept.GetSource()); ok {
				sources = append(sources, src)
			} else if n := len(f.due.Fires); n > 0 {
				f.skip(f.due.Fires[n-1], f.kept.GetSource(), "there is no such source")
			}
		} else {
			hold := holds[OfDrills(f.kept)]
			if hold == nil {
				hold = Hold(view, OfDrills(f.kept))
				holds[OfDrills(f.kept)] = hold
			}
			for _, src := range view.Sources() {
				if src.GetState() != pb.SourceState_SOURCE_STATE_GONE && hold.Covers(f.kept, src.GetName()) {
					sources = append(sources, src)
				}
			}
		}
		for _, at := range f.due.Fires {
			next := f.order.Next(at)
			for _, src := range sources {
				if _, known := after[src.GetName()]; !known && len(src.GetDependsOn()) > 0 {
					after[src.GetName()] = len(schedule.Above(src.GetName(), view.DependsOn))
				}
				all = append(all, owed{firing: f, source: src, at: at, after: after[src.GetName()], next: next})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b owed) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.after, b.after), Rarer(a.next, b.next), cmp.Compare(a.kept.GetId(), b.kept.GetId()))
	})
	return all
}

// Rarer orders schedules of one fire time by when they fire next: first the one that
// never does again, then the latest.
func Rarer(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	return b.Compare(a)
}

// what is what it makes.
func (f *firing) what() string {
	if OfDrills(f.kept) {
		return "drill"
	}
	return "backup"
}

// skip notes a fire of which there is no run.
func (f *firing) skip(at time.Time, source, why string) {
	f.skipped = append(f.skipped, &pb.SkippedFire{FireTime: timestamppb.New(at), Source: source, Fires: 1, Reason: why})
}

// book knows what each source has under way.
type book struct {
	view   *state.View
	now    time.Time
	active map[string][]*pb.Run // backups and drills, by source
	batch  map[string][]*pb.Run // those of this group, by source
	taken  map[string]string    // schedules by source and fire time
}

// enter makes the run that is owed, or says why there is none. Without either
// there is one already: an earlier try got that far.
func (b *book) enter(o owed) (q queued, why string) {
	name := o.source.GetName()
	if OfDrills(o.kept) {
		return b.enterDrill(o)
	}
	if why := describe(o.source); why != "" {
		return queued{}, why
	}
	run := queue.Backup(o.kept.GetId(), name, Trigger, o.at)
	if made := b.view.RunsAt(name, run.GetFireTime()); len(made) > 0 {
		if other := made[0].GetSchedule(); other != o.kept.GetId() {
			return queued{}, fmt.Sprintf("the schedule %s has fired for it at the same time, and one backup is enough", other)
		}
		return queued{}, ""
	}
	moment := fmt.Sprintf("%s %d", name, o.at.UnixNano())
	if other := b.taken[moment]; other != "" {
		return queued{}, fmt.Sprintf("the schedule %s fires for it at the same time, and one backup is enough", other)
	}
	fire := o.order.Fire(Key(o.kept.GetId(), name), o.at)
	start, ok := o.order.Begin(fire, b.now)
	if !ok {
		return queued{}, fmt.Sprintf("it was to begin by %s, its starting deadline", fire.StartBy.In(o.order.Zone).Format("2006-01-02 15:04:05 MST"))
	}
	cancel, why := b.makeRoom(o)
	if why != "" {
		return queued{}, why
	}
	b.taken[moment] = o.kept.GetId()
	return b.put(o, run, fire, start, cancel), ""
}

// enterDrill makes the drill that is owed, of the newest snapshot that there is.
func (b *book) enterDrill(o owed) (q queued, why string) {
	name := o.source.GetName()
	newest := b.view.Snapshots(name, 1)
	if len(newest) == 0 {
		return queued{}, "it has no snapshot"
	}
	fire := o.order.Fire(Key(o.kept.GetId(), name), o.at)
	start, ok := o.order.Begin(fire, b.now)
	if !ok {
		return queued{}, "it is too late for it"
	}
	for _, r := range slices.Concat(b.active[name], b.batch[name]) {
		if r.GetKind() == pb.RunKind_RUN_KIND_DRILL {
			return queued{}, fmt.Sprintf("the drill before has not ended (run %s)", r.GetId())
		}
	}
	run := queue.Drill(o.kept.GetId(), name, Trigger, o.at, &pb.DrillRequest{Snapshot: newest[0].GetId()})
	return b.put(o, run, fire, start, nil), ""
}

// put notes a run that is to be queued, to begin at start.
func (b *book) put(o owed, run *pb.Run, fire schedule.Fire, start time.Time, cancel []string) queued {
	name := o.source.GetName()
	run.Schedule, run.Priority = o.kept.GetId(), cmp.Or(priorityOf(o.order.Priority), o.source.GetPriority())
	if start.After(b.now) {
		run.NotBefore = timestamppb.New(start)
	}
	if !fire.StartBy.IsZero() {
		run.StartBy = timestamppb.New(fire.StartBy)
	}
	b.batch[name] = append(b.batch[name], run)
	return queued{o.firing, run, cancel}
}

// makeRoom applies the concurrency policy: it says which runs give way, or why
// there is no room. What the schedule itself fires together queues up.
func (b *book) makeRoom(o owed) (cancel []string, why string) {
	var busy []*pb.Run
	for _, r := range slices.Concat(b.active[o.source.GetName()], b.batch[o.source.GetName()]) {
		if r.GetKind() == pb.RunKind_RUN_KIND_DRILL {
			continue
		}
		if r.GetSchedule() != o.kept.GetId() || r.GetFireTime().AsTime().Before(o.kept.GetNextFireAt().AsTime()) {
			busy = append(busy, r)
		}
	}
	waiting := 0
	for _, r := range busy {
		if r.GetState() == pb.RunState_RUN_STATE_QUEUED {
			waiting++
		}
	}
	switch {
	case waiting >= maxWaiting:
		return nil, fmt.Sprintf("%d backups of it wait already", waiting)
	case o.order.Concurrency == schedule.Forbid && len(busy) > 0:
		return nil, fmt.Sprintf("the backup before has not ended (run %s)", busy[0].GetId())
	case o.order.Concurrency == schedule.Queue && waiting > 0:
		return nil, "a backup of it waits already"
	case o.order.Concurrency == schedule.Replace:
		for _, r := range b.active[o.source.GetName()] {
			if r.GetSchedule() != "" && slices.Contains(busy, r) {
				cancel = append(cancel, r.GetId())
			}
		}
	}
	return cancel, ""
}

// commit queues the runs, in order, and moves each schedule on with its last one.
func (s *Scheduler) commit(ctx context.Context, firings []*firing, runs []queued) error {
	left := map[*firing]int{}
	for _, q := range runs {
		left[q.firing]++
	}
	c, size, named := &pb.FireSchedules{}, 0, map[*firing]*pb.ScheduleFire{}
	flush := func() error {
		if len(c.GetSchedules()) == 0 {
			return nil
		}
		err := queue.Fire(ctx, s.Node, "scheduler", c)
		c, size, named = &pb.FireSchedules{}, 0, map[*firing]*pb.ScheduleFire{}
		return err
	}
	name := func(f *firing) *pb.ScheduleFire {
		if named[f] == nil {
			named[f] = &pb.ScheduleFire{Schedule: f.kept.GetId(), DueAt: f.kept.GetNextFireAt()}
			c.Schedules = append(c.Schedules, named[f])
			size += len(f.kept.GetId()) + 64
		}
		return named[f]
	}
	done := func(f *firing) {
		m := name(f)
		m.Done = true
		if !f.due.Next.IsZero() {
			m.NextFireAt = timestamppb.New(f.due.Next)
		}
		if n := len(f.due.Fires); n > 0 {
			m.LastFireAt = timestamppb.New(f.due.Fires[n-1])
		}
		m.Skipped = f.skipped[max(0, len(f.skipped)-state.KeptSkipped):]
		size += proto.Size(m)
	}
	for _, q := range runs {
		name(q.firing)
		c.Runs, c.Cancel = append(c.Runs, q.run), append(c.Cancel, q.cancel...)
		size += proto.Size(q.run) + 80 + 20*len(q.cancel) // with room for its trace
		if left[q.firing]--; left[q.firing] == 0 {
			done(q.firing)
		}
		if size > maxCommand {
			if err := flush(); err != nil {
				return s.fired(nil, err)
			}
		}
	}
	for _, f := range firings {
		if f.runs > 0 {
			continue
		}
		if done(f); size > maxCommand {
			if err := flush(); err != nil {
				return s.fired(nil, err)
			}
		}
	}
	return s.fired(firings, flush())
}

// fired tells what was done; that somebody else has done it is as good.
func (s *Scheduler) fired(firings []*firing, err error) error {
	if problem.ReasonOf(err) == state.ReasonNotDue || problem.ReasonOf(err) == state.ReasonNoSchedule {
		return nil // it was fired, changed or paused meanwhile: the next look finds what is left
	}
	if err != nil {
		return fmt.Errorf("queue runs: %w", err)
	}
	for _, f := range firings {
		var times []string
		for _, at := range f.due.Fires {
			times = append(times, at.Format(time.RFC3339))
		}
		s.Logger.Info("schedule fired", "schedule", f.kept.GetId(), "fire_time", strings.Join(times, ","), "runs", f.runs, "passed_over", len(f.skipped), "next", nextText(f.due.Next))
	}
	return nil
}

// nextText is a fire time for the log.
func nextText(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}
