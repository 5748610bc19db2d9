package state

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/run"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// words are the states in the words of package run.
var words = map[pb.RunState]run.State{
	pb.RunState_RUN_STATE_QUEUED:    run.Queued,
	pb.RunState_RUN_STATE_RUNNING:   run.Leased,
	pb.RunState_RUN_STATE_SUCCEEDED: run.Succeeded,
	pb.RunState_RUN_STATE_FAILED:    run.Failed,
	pb.RunState_RUN_STATE_CANCELLED: run.Cancelled,
}

// Ended says whether nothing more can happen to the run.
func Ended(r *pb.Run) bool { return words[r.GetState()].Ended() }

func active(r *pb.Run) bool { return !Ended(r) }

func leased(r *pb.Run) bool { return r.GetState() == pb.RunState_RUN_STATE_RUNNING }

// Touches lists the sources that a run reads or changes, none twice. Runs that
// touch the same source exclude each other.
func Touches(r *pb.Run) []string {
	touched := []string{r.GetSource()}
	if target := r.GetRestore().GetTargetSource(); target != "" && target != r.GetSource() {
		touched = append(touched, target)
	}
	return touched
}

// Reads is the snapshot that a run reads, empty for a backup.
func Reads(r *pb.Run) string {
	switch r.GetKind() {
	case pb.RunKind_RUN_KIND_RESTORE:
		return r.GetRestore().GetSnapshot()
	case pb.RunKind_RUN_KIND_DRILL:
		return r.GetDrill().GetSnapshot()
	}
	return ""
}

// Exclude says whether two runs must not be at work at once. A drill touches
// nothing but a container of its own, and no snapshot goes while one is at work.
func Exclude(a, b *pb.Run) bool {
	if a.GetKind() == pb.RunKind_RUN_KIND_DRILL || b.GetKind() == pb.RunKind_RUN_KIND_DRILL {
		return false
	}
	return overlap(Touches(a), Touches(b))
}

// turn gives a copy of the run in its next state, or says why it cannot go there.
func turn(r *pb.Run, next pb.RunState) (*pb.Run, error) {
	if err := words[r.GetState()].MayBecome(words[next]); err != nil {
		reason := ReasonWrongMoment
		if Ended(r) {
			reason = ReasonRunEnded
		}
		return nil, problem.Wrap(problem.Conflict, err, "run %s", r.GetId()).WithReason(reason).WithSource(r.GetSource())
	}
	copied := proto.CloneOf(r)
	copied.State = next
	return copied, nil
}

// held returns the run if epoch is its lease's.
func held(t table, id string, epoch uint64) (*pb.Run, error) {
	r, ok := first[*pb.Run](t, tableRuns, indexID, id)
	if !ok {
		return nil, problem.New(problem.NotFound, "there is no run %q", id).WithReason(ReasonNoRun)
	}
	if r.GetEpoch() != epoch {
		return nil, refuse(ReasonStaleEpoch, "run %s: the lease of epoch %d has passed on; the present epoch is %d", id, epoch, r.GetEpoch()).WithSource(r.GetSource())
	}
	return r, nil
}

func (w *writer) queueRuns(c *pb.QueueRuns) error {
	if c.GetSchedule() != "" {
		s, ok := first[*pb.Schedule](w.table, tableSchedules, indexID, c.GetSchedule())
		if !ok {
			return problem.New(problem.NotFound, "there is no schedule %q", c.GetSchedule())
		}
		if !proto.Equal(s.GetNextFireAt(), c.GetDueAt()) {
			return refuse(ReasonNotDue, "schedule %s: it is no longer due then", c.GetSchedule())
		}
		if c.GetNextFireAt() != nil {
			moved := proto.CloneOf(s)
			moved.NextFireAt = c.GetNextFireAt()
			if !valid(moved.NextFireAt) {
				return bad("schedule %s: the next fire time is out of range", c.GetSchedule())
			}
			w.put(tableSchedules, moved)
		}
	}
	for _, r := range c.GetRuns() {
		if err := w.queueRun(r, c.GetSchedule()); err != nil {
			return err
		}
	}
	return nil
}

// queueRun makes a run, that of a schedule unless its id is empty.
func (w *writer) queueRun(r *pb.Run, schedule string) error {
	switch {
	case !idPattern.MatchString(r.GetId()):
		return bad("the run's id is %q", r.GetId())
	case source.CheckName(r.GetSource()) != nil:
		return bad("run %s: %q is no name of a source", r.GetId(), r.GetSource())
	case !valid(r.GetFireTime()):
		return bad("run %s: it has no fire time", r.GetId())
	case r.GetNotBefore() != nil && !valid(r.GetNotBefore()) || r.GetStartBy() != nil && !valid(r.GetStartBy()):
		return bad("run %s: it is to begin at no time that there is", r.GetId())
	}
	if _, exists := first[*pb.Run](w.table, tableRuns, indexID, r.GetId()); exists {
		return nil
	}
	queued := &pb.Run{
		Id: r.GetId(), Kind: r.GetKind(), State: pb.RunState_RUN_STATE_QUEUED, Source: r.GetSource(),
		Trigger: r.GetTrigger(), FireTime: r.GetFireTime(), QueuedAt: w.at, Traceparent: r.GetTraceparent(),
		NotBefore: r.GetNotBefore(), StartBy: r.GetStartBy(), Priority: r.GetPriority(),
	}
	if w.version >= 2 {
		queued.Schedule = schedule
	}
	switch r.GetKind() {
	case pb.RunKind_RUN_KIND_BACKUP:
		if _, taken := first[*pb.Snapshot](w.table, tableSnapshots, indexFire, sourceKey(r.GetSource())+timeKey(r.GetFireTime())); taken {
			if schedule != "" {
				return nil // a fire that was interrupted is done again: this source has had its turn
			}
			return refuse(ReasonDuplicate, "the source has a snapshot of that fire time").WithSource(r.GetSource())
		}
		if _, owed := first[*pb.Run](w.table, tableRuns, indexFire+prefix, fireKey(r.GetSource(), r.GetFireTime())); owed && schedule != "" && w.version >= 2 {
			return nil // another of its schedules fires at the same time: one backup is enough for both
		}
	case pb.RunKind_RUN_KIND_RESTORE:
		target := r.GetRestore().GetTargetSource()
		if r.GetRestore() == nil || target != "" && source.CheckName(target) != nil {
			return bad("run %s: it does not say what to restore where", r.GetId())
		}
		if made := r.GetRestore().GetNewContainer(); made != "" && source.CheckContainer(made) != nil {
			return bad("run %s: it is no name of a container", r.GetId())
		}
		queued.Restore, queued.Snapshot = r.GetRestore(), r.GetRestore().GetSnapshot()
	case pb.RunKind_RUN_KIND_DRILL:
		s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, r.GetDrill().GetSnapshot())
		agent := r.GetDrill().GetAgent()
		switch {
		case w.version < 2, r.GetDrill() == nil, agent != "" && !idPattern.MatchString(agent):
			return bad("run %s: it does not say what is drilled where", r.GetId())
		case !ok || s.GetSource() != r.GetSource():
			if schedule != "" {
				return nil // it was forgotten and pruned since the leader looked
			}
			return problem.New(problem.NotFound, "the source has no snapshot %.40q", r.GetDrill().GetSnapshot()).WithReason(ReasonNoSnapshot).WithSource(r.GetSource())
		}
		queued.Drill, queued.Snapshot = r.GetDrill(), s.GetId()
	default:
		return bad("run %s: it is of no known kind", r.GetId())
	}
	w.put(tableRuns, queued)
	return nil
}

func (w *writer) grantLease(c *pb.GrantLease) error {
	r, ok := first[*pb.Run](w.table, tableRuns, indexID, c.GetRun())
	if !ok {
		return problem.New(problem.NotFound, "there is no run %q", c.GetRun()).WithReason(ReasonNoRun)
	}
	granted, err := turn(r, pb.RunState_RUN_STATE_RUNNING)
	if err != nil {
		return err
	}
	if !idPattern.MatchString(c.GetAgent()) || !valid(c.GetExpiresAt()) {
		return bad("run %s: the lease has no agent or no end", r.GetId())
	}
	for _, name := range Touches(r) {
		if w.pruning(name) {
			return refuse(ReasonSourceBusy, "the source %s is being pruned", name).WithSource(r.GetSource())
		}
	}
	if s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, Reads(r)); ok && s.GetPrunedAt() != nil {
		return Pruned(s)
	}
	for other := range rows[*pb.Run](w.table, tableRuns, indexLeased, "", false) {
		if Exclude(r, other) {
			return refuse(ReasonSourceBusy, "run %s is at work on the source", other.GetId()).WithSource(r.GetSource())
		}
	}
	granted.Epoch++
	granted.Agent, granted.LeaseExpiresAt, granted.StartedAt = c.GetAgent(), c.GetExpiresAt(), w.at
	if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
		if !snapshotPattern.MatchString(c.GetSnapshot()) {
			return bad("run %s: %q is no id of a snapshot", r.GetId(), c.GetSnapshot())
		}
		if _, taken := first[*pb.Snapshot](w.table, tableSnapshots, indexID, c.GetSnapshot()); taken {
			return refuse(ReasonDuplicate, "there is a snapshot %s already", c.GetSnapshot())
		}
		granted.Snapshot = c.GetSnapshot()
	}
	w.put(tableRuns, granted)
	return nil
}

// renewLeases moves the ends of leases forward; leases that have passed on are
// left out, since the others of the batch are right all the same.
func (w *writer) renewLeases(c *pb.RenewLeases) error {
	for _, renewal := range c.GetRenewals() {
		r, err := held(w.table, renewal.GetRun(), renewal.GetEpoch())
		until := renewal.GetExpiresAt()
		if err != nil || !leased(r) || !valid(until) || timeKey(until) <= timeKey(r.GetLeaseExpiresAt()) {
			continue
		}
		renewed := proto.CloneOf(r)
		renewed.LeaseExpiresAt = until
		w.put(tableRuns, renewed)
	}
	return nil
}

func (w *writer) releaseLease(c *pb.ReleaseLease) error {
	r, err := held(w.table, c.GetRun(), c.GetEpoch())
	if err != nil {
		return err
	}
	if r.GetState() == pb.RunState_RUN_STATE_QUEUED {
		return nil // released before
	}
	next := pb.RunState_RUN_STATE_QUEUED
	switch {
	case r.GetCancelRequested():
		next = pb.RunState_RUN_STATE_CANCELLED
	case c.GetFailure() != nil:
		next = pb.RunState_RUN_STATE_FAILED
	}
	released, err := turn(r, next)
	if err != nil {
		return err
	}
	if next != pb.RunState_RUN_STATE_QUEUED {
		w.end(released, c.GetFailure(), nil)
		return nil
	}
	released.LeaseExpiresAt = nil
	released.Agent = ""
	if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
		released.Snapshot = "" // the next attempt makes one of its own
	}
	w.put(tableRuns, released)
	return nil
}

// retryRun takes a run back whose attempt has failed. What failed stays visible
// until the run ends.
func (w *writer) retryRun(c *pb.RetryRun) error {
	r, err := held(w.table, c.GetRun(), c.GetEpoch())
	if err != nil {
		return err
	}
	if r.GetState() == pb.RunState_RUN_STATE_QUEUED {
		return nil // it was before
	}
	switch {
	case Ended(r):
		return refuse(ReasonRunEnded, "run %s has ended", r.GetId()).WithSource(r.GetSource())
	case r.GetAgent() != c.GetAgent():
		return refuse(ReasonStaleEpoch, "run %s: the lease of epoch %d is not that of %.40q", r.GetId(), c.GetEpoch(), c.GetAgent()).WithSource(r.GetSource())
	case r.GetKind() != pb.RunKind_RUN_KIND_BACKUP:
		return bad("run %s: only a backup is tried again", r.GetId())
	case !valid(c.GetNotBefore()):
		return bad("run %s: it is to begin at no time that there is", r.GetId())
	case r.GetCancelRequested():
		cancelled, err := turn(r, pb.RunState_RUN_STATE_CANCELLED)
		if err != nil {
			return err
		}
		w.end(cancelled, c.GetFailure(), c.GetLogs())
		return nil
	}
	again, err := turn(r, pb.RunState_RUN_STATE_QUEUED)
	if err != nil {
		return err
	}
	again.Agent, again.Snapshot, again.LeaseExpiresAt, again.StartBy, again.Progress = "", "", nil, nil, nil
	again.FailedAttempts++
	again.NotBefore, again.Failure, again.Logs = c.GetNotBefore(), c.GetFailure(), BoundedLogs(c.GetLogs())
	w.put(tableRuns, again)
	return nil
}

func (w *writer) endRun(c *pb.EndRun) error {
	r, err := held(w.table, c.GetRun(), c.GetEpoch())
	if err != nil {
		return err
	}
	if Ended(r) && r.GetState() == c.GetState() {
		return nil
	}
	if c.GetAgent() != "" && (!leased(r) || r.GetAgent() != c.GetAgent()) {
		return refuse(ReasonStaleEpoch, "run %s: the lease of epoch %d has passed from %s", r.GetId(), c.GetEpoch(), c.GetAgent()).WithSource(r.GetSource())
	}
	if !words[c.GetState()].Ended() {
		return bad("run %s: it cannot end as %s", r.GetId(), c.GetState())
	}
	if c.GetState() == pb.RunState_RUN_STATE_SUCCEEDED && r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
		return bad("run %s: a backup succeeds by its commit alone", r.GetId())
	}
	ended, err := turn(r, c.GetState())
	if err != nil {
		return err
	}
	ended.Report = c.GetReport()
	if w.version >= 2 {
		ended.Warnings = c.GetWarnings()
	}
	if r.GetKind() == pb.RunKind_RUN_KIND_DRILL && w.version >= 2 {
		w.drilled(ended, c.GetDrill())
	}
	w.end(ended, c.GetFailure(), c.GetLogs())
	return nil
}

// drilled marks the snapshot of a drill with its verdict.
func (w *writer) drilled(r *pb.Run, result *pb.DrillResult) {
	if result == nil || r.GetState() == pb.RunState_RUN_STATE_CANCELLED {
		return
	}
	r.DrillResult = result
	s, ok := first[*pb.Snapshot](w.table, tableSnapshots, indexID, r.GetSnapshot())
	if !ok {
		return
	}
	marked := proto.CloneOf(s)
	if result.GetPassed() && r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED {
		took := result.GetReady().AsDuration() + result.GetRestored().AsDuration()
		marked.DrilledAt, marked.DrillFailedAt, marked.Recovery = w.at, nil, durationpb.New(took)
	} else {
		marked.DrillFailedAt = w.at
	}
	w.put(tableSnapshots, marked)
}

func (w *writer) requestCancel(c *pb.RequestCancel) error {
	r, ok := first[*pb.Run](w.table, tableRuns, indexID, c.GetRun())
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no run %q", c.GetRun()).WithReason(ReasonNoRun)
	case r.GetState() == pb.RunState_RUN_STATE_CANCELLED:
		return nil
	case leased(r):
		asked := proto.CloneOf(r)
		asked.CancelRequested = true
		w.put(tableRuns, asked)
		return nil
	}
	cancelled, err := turn(r, pb.RunState_RUN_STATE_CANCELLED)
	if err != nil {
		return err
	}
	cancelled.CancelRequested = true
	w.end(cancelled, nil, nil)
	return nil
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}
