package state_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const day0 = 1_800_000_000

func at(seconds int) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(day0+int64(seconds), 0))
}

// Commands, each proposed at a second of its own.

func queue(id, source string, fire int) *pb.Command {
	r := &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, FireTime: at(fire), Trigger: "manual"}
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{r}}}}
}

func queueRestore(id, source, target string) *pb.Command {
	r := &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_RESTORE, Source: source, FireTime: at(0), Restore: &pb.RestoreRequest{Snapshot: ulid(1), TargetSource: target}}
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{r}}}}
}

// queueDrill queues a drill of a snapshot of the source.
func queueDrill(id, source string, snapshot int) *pb.Command {
	r := &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_DRILL, Source: source, FireTime: at(0), Drill: &pb.DrillRequest{Snapshot: ulid(snapshot)}}
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{r}}}}
}

// endDrill ends a drill; without a verdict it has failed for another reason.
func endDrill(run string, epoch uint64, verdict, passed bool) *pb.Command {
	c := &pb.EndRun{Run: run, Epoch: epoch, State: pb.RunState_RUN_STATE_FAILED, Failure: &pb.Failure{Code: "failed", Message: "no"}}
	if verdict {
		c.Drill = &pb.DrillResult{Passed: passed, Ready: durationpb.New(2 * time.Second), Restored: durationpb.New(3 * time.Second), Rows: 7}
	}
	if passed {
		c.State, c.Failure = pb.RunState_RUN_STATE_SUCCEEDED, nil
	}
	return &pb.Command{Command: &pb.Command_EndRun{EndRun: c}}
}

func grant(run string, snapshot int) *pb.Command {
	return &pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: run, Agent: "a1", ExpiresAt: at(1000), Snapshot: ulid(snapshot)}}}
}

func release(run string, epoch uint64, failure *pb.Failure) *pb.Command {
	return &pb.Command{Command: &pb.Command_ReleaseLease{ReleaseLease: &pb.ReleaseLease{Run: run, Epoch: epoch, Failure: failure}}}
}

func commit(run string, epoch uint64, source string, snapshot int) *pb.Command {
	s := &pb.Snapshot{
		Id: ulid(snapshot), Source: source, Engine: "postgres", ManifestSha256: bytes.Repeat([]byte{1}, 32), ManifestSize: 10,
		Root: bytes.Repeat([]byte{2}, 32), RawBytes: 100, NewBytes: 10, StartedAt: at(0),
		Streams: []*pb.Stream{{Name: "shop.sql", Size: 100, Sha256: bytes.Repeat([]byte{3}, 32)}},
	}
	return &pb.Command{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: run, Epoch: epoch, Snapshot: s}}}
}

func end(run string, epoch uint64, as pb.RunState) *pb.Command {
	return &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: run, Epoch: epoch, State: as, Failure: &pb.Failure{Code: "failed", Message: "no"}}}}
}

// endBy is an end on the word of an agent.
func endBy(agent, run string, epoch uint64) *pb.Command {
	c := end(run, epoch, pb.RunState_RUN_STATE_FAILED)
	c.GetEndRun().Agent = agent
	return c
}

// retry has a run tried again at a time.
func retry(agent, run string, epoch uint64, when int) *pb.Command {
	return &pb.Command{Command: &pb.Command_RetryRun{RetryRun: &pb.RetryRun{
		Run: run, Epoch: epoch, Agent: agent, Failure: &pb.Failure{Code: "failed", Message: "no"}, NotBefore: at(when), Logs: []*pb.LogLine{{Message: "tried"}},
	}}}
}

func cancel(run string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RequestCancel{RequestCancel: &pb.RequestCancel{Run: run}}}
}

func renew(run string, epoch uint64, until int) *pb.Command {
	return &pb.Command{Command: &pb.Command_RenewLeases{RenewLeases: &pb.RenewLeases{Renewals: []*pb.LeaseRenewal{{Run: run, Epoch: epoch, ExpiresAt: at(until)}}}}}
}

func setSchedule(next int) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetSchedule{SetSchedule: &pb.SetSchedule{Schedule: &pb.Schedule{Id: "default", Cron: "@daily", NextFireAt: at(next)}}}}
}

func fire(due, next int, sources ...string) *pb.Command {
	q := &pb.QueueRuns{Schedule: "default", DueAt: at(due), NextFireAt: at(next)}
	for _, s := range sources {
		q.Runs = append(q.Runs, &pb.Run{Id: fmt.Sprintf("%s-%d", s, due), Kind: pb.RunKind_RUN_KIND_BACKUP, Source: s, FireTime: at(due), Trigger: "schedule"})
	}
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: q}}
}

func report(agent string, away []string, sources ...*pb.Source) *pb.Command {
	return &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: agent, Sources: sources, Away: away}}}
}

func ready(name string) *pb.Source {
	return &pb.Source{Name: name, State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres"}
}

func verified(snapshot, when int) *pb.Command {
	return &pb.Command{Command: &pb.Command_RecordVerification{RecordVerification: &pb.RecordVerification{Snapshot: ulid(snapshot), VerifiedAt: at(when)}}}
}

func ulids(snapshots ...int) []string {
	ids := make([]string, len(snapshots))
	for i, n := range snapshots {
		ids[i] = ulid(n)
	}
	return ids
}

func forget(snapshots ...int) *pb.Command {
	return &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: ulids(snapshots...)}}}
}

// forgetFor forgets snapshots that can be taken back for some seconds, and keeps
// at least so many verified ones.
func forgetFor(undo, atLeast int, snapshots ...int) *pb.Command {
	c := forget(snapshots...)
	f := c.GetForgetSnapshots()
	f.Undo, f.AtLeast = durationpb.New(time.Duration(undo)*time.Second), int32(atLeast)
	for i := range snapshots {
		f.Reasons = append(f.Reasons, fmt.Sprintf("reason %d", i))
	}
	return c
}

// hold keeps snapshots until a second; 0 ends holds.
func hold(until int, snapshots ...int) *pb.Command {
	h := &pb.SetHold{Snapshots: ulids(snapshots...), Reason: "audit", By: "admin/alice"}
	if until > 0 {
		h.Until = at(until)
	}
	return &pb.Command{Command: &pb.Command_SetHold{SetHold: h}}
}

func tag(add, remove string, snapshots ...int) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetTags{SetTags: &pb.SetTags{
		Snapshots: ulids(snapshots...), Add: strings.Fields(add), Remove: strings.Fields(remove),
	}}}
}

func unforget(snapshots ...int) *pb.Command {
	return &pb.Command{Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: ulids(snapshots...)}}}
}

func damage(snapshots ...int) *pb.Command {
	return &pb.Command{Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: ulids(snapshots...)}}}
}

func beginPrune(source string, plan int, basis uint64, snapshots ...int) *pb.Command {
	return &pb.Command{Command: &pb.Command_BeginPrune{BeginPrune: &pb.BeginPrune{
		Source: source, Plan: ulid(plan), PlanSha256: bytes.Repeat([]byte{4}, 32), Basis: basis, Snapshots: ulids(snapshots...), Objects: 3, Bytes: 300,
	}}}
}

func endPrune(source string, plan int) *pb.Command {
	return &pb.Command{Command: &pb.Command_EndPrune{EndPrune: &pb.EndPrune{Source: source, Plan: ulid(plan), Objects: 3, Bytes: 300}}}
}

// made are the commands that make snapshots 1 to n of a source.
func made(source string, n int) (cmds []*pb.Command) {
	for i := range n {
		id := fmt.Sprintf("%s-%d", source, i+1)
		cmds = append(cmds, queue(id, source, i), grant(id, i+1), commit(id, 1, source, i+1))
	}
	return cmds
}

func ulid(n int) string { return fmt.Sprintf("01J%023d", n) }

func withID(c *pb.Command, request string) *pb.Command { c.RequestId = request; return c }

// log applies commands with rising indexes and times.
type log struct {
	t     testing.TB
	state *state.Tables
	index int
}

func newLog(t testing.TB) *log { return &log{t: t, state: state.New()} }

func (l *log) apply(c *pb.Command) error {
	l.index++
	c.Version, c.ProposedAt = state.CommandVersion, at(l.index)
	return l.state.Apply(uint64(l.index), c)
}

func (l *log) must(cmds ...*pb.Command) *log {
	l.t.Helper()
	for _, c := range cmds {
		if err := l.apply(c); err != nil {
			l.t.Fatalf("%v: %v", c.GetCommand(), err)
		}
	}
	return l
}

func (l *log) run(id string) *pb.Run {
	l.t.Helper()
	r, ok := l.state.View().Run(id)
	if !ok {
		l.t.Fatalf("no run %s", id)
	}
	return r
}
