package uplink

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/inventory"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func assignmentFromWire(a *pb.Assignment) (Assignment, error) {
	out := Assignment{
		Lease: leaseFromWire(a.GetLease()), Source: a.GetSource(),
		Duration: a.GetLeaseDuration().AsDuration(), Traceparent: a.GetTraceparent(), Controllers: a.GetControllers(),
		TimeLimit: a.GetTimeLimit().AsDuration(),
	}
	var err error
	if out.Key, err = repo.NewSourceKey(a.GetSourceKey(), a.GetKeyGeneration()); err != nil {
		return out, fmt.Errorf("run %s: %w", out.Lease.Run, err)
	}
	switch w := a.GetWork().(type) {
	case *pb.Assignment_Backup:
		b := &BackupWork{
			Snapshot: w.Backup.GetSnapshot(), FireTime: w.Backup.GetFireTime().AsTime(), Avoid: w.Backup.GetAvoidPacks(),
			Manifest: byte(min(max(w.Backup.GetManifestVersion(), repo.PlainManifest), repo.NewestManifest)),
		}
		for _, r := range w.Backup.GetBase() {
			b.Base = append(b.Base, refFromWire(a.GetSource(), r))
		}
		out.Backup = b
	case *pb.Assignment_Restore:
		out.Restore = restoreFromWire(w.Restore)
	case *pb.Assignment_RestoreOtherwise:
		out.Restore = restoreFromWire(w.RestoreOtherwise)
	case *pb.Assignment_RestoreNew:
		out.Restore = restoreFromWire(w.RestoreNew)
	case *pb.Assignment_Drill:
		out.Drill = &DrillWork{
			Snapshot: refFromWire(w.Drill.GetSnapshotSource(), w.Drill.GetSnapshot()),
			Engine:   w.Drill.GetEngine(), Image: w.Drill.GetImage(), ImageDigest: w.Drill.GetImageDigest(),
		}
	default:
		return out, problem.New(problem.Failed, "this agent does not know that kind of work").
			WithReason(transport.ReasonUnsupported).WithHint("Update the agent: it is older than the controller.")
	}
	return out, nil
}

func restoreFromWire(w *pb.RestoreWork) *RestoreWork {
	q := w.GetRequest()
	return &RestoreWork{
		Snapshot:  refFromWire(w.GetSnapshotSource(), w.GetSnapshot()),
		Engine:    w.GetEngine(),
		Container: q.GetTargetContainer(), Select: q.GetSelect(), Tables: q.GetTables(), As: q.GetAs(),
		Overwrite: q.GetOverwrite(), DryRun: q.GetDryRun(), NoOwner: q.GetNoOwner(),
		New: q.GetNewContainer(), AskedImage: q.GetImage(), Image: w.GetImage(), ImageDigest: w.GetImageDigest(),
	}
}

func sourceToWire(s inventory.Source, agent string, now *timestamppb.Timestamp) *pb.Source {
	w := &pb.Source{
		Name: s.Name, State: stateToWire(s.State), Database: s.Spec.Database, AllDatabases: s.Spec.AllDatabases,
		Compress: string(s.Spec.Compress), Retention: s.Spec.Retention, Agent: agent, ReportedAt: now,
		Container: containerToWire(s.Container),
	}
	if s.Engine != nil {
		w.Engine = s.Engine.Name()
	}
	if s.State != inventory.Invalid { // half of what wrong labels say is nothing to act upon
		orders(s, w)
	}
	for _, p := range s.Problems {
		w.Problems = append(w.Problems, &pb.LabelProblem{
			Label: p.Label, Value: p.Value, Reason: p.Reason, Suggestion: p.Suggestion, Warning: p.Warning,
		})
	}
	return w
}

func containerToWire(c provider.Container) *pb.Container {
	return &pb.Container{Id: c.ID, Name: c.Name, Image: c.Facts.Image, ImageDigest: c.Facts.ImageDigest}
}

// orders adds when a source is to be backed up, after what, and how urgently.
func orders(s inventory.Source, w *pb.Source) {
	for _, o := range s.Spec.Schedules {
		w.Schedules = append(w.Schedules, &pb.ScheduleSpec{
			Name: o.Name, Cron: o.Cron, Timezone: o.Timezone, Splay: o.Splay, Blackout: o.Blackout, StartingDeadline: o.Deadline,
			CatchUp: o.CatchUp, Concurrency: o.Concurrency, Priority: o.Priority, Retention: o.Retention,
		})
	}
	if s.Spec.Drill.Cron != "" {
		w.Schedules = append(w.Schedules, &pb.ScheduleSpec{Name: schedule.Drill, Cron: s.Spec.Drill.Cron, Priority: schedule.DrillPriority, Kind: pb.RunKind_RUN_KIND_DRILL})
	}
	w.DependsOn, w.OnUpstreamFailure = s.Spec.DependsOn, s.Spec.OnUpstreamFailure
	w.Priority = pb.Priority(slices.Index(schedule.Priorities, s.Spec.Priority) + 1)
	if s.Spec.Attempts > 0 || s.Spec.TimeLimit > 0 {
		w.Rules = &pb.RunRules{Attempts: int32(s.Spec.Attempts)}
		if s.Spec.TimeLimit > 0 {
			w.Rules.TimeLimit = durationpb.New(s.Spec.TimeLimit)
		}
	}
}

func stateToWire(s inventory.State) pb.SourceState {
	switch s {
	case inventory.Ready:
		return pb.SourceState_SOURCE_STATE_READY
	case inventory.Invalid:
		return pb.SourceState_SOURCE_STATE_INVALID
	case inventory.Stopped:
		return pb.SourceState_SOURCE_STATE_STOPPED
	}
	return pb.SourceState_SOURCE_STATE_UNSPECIFIED
}

func snapshotToWire(s Snapshot) *pb.Snapshot {
	w := &pb.Snapshot{
		Id: s.ID, Source: s.Source, Engine: s.Engine, Server: text(s.Server), Image: s.Image, ImageDigest: s.ImageDigest, Strange: texts(s.Strange),
		FireTime: timestamppb.New(s.FireTime), StartedAt: timestamppb.New(s.StartedAt),
		RawBytes: s.Summary.RawBytes, NewBytes: s.Summary.NewBytes,
		ManifestSha256: s.Summary.Manifest[:], ManifestSize: s.Summary.ManifestSize, Root: s.Summary.Root[:],
	}
	for _, st := range s.Summary.Streams {
		w.Streams = append(w.Streams, &pb.Stream{
			Name: st.Name, Kind: st.Kind, Database: st.Database, Format: st.Format, Size: st.Size, Sha256: st.SHA256[:],
		})
	}
	return w
}

func refFromWire(source string, r *pb.SnapshotRef) repo.Ref {
	return repo.Ref{Source: source, Snapshot: r.GetSnapshot(), Manifest: hashOf(r.GetManifestSha256()), Size: r.GetManifestSize()}
}

func leaseToWire(l Lease) *pb.Lease   { return &pb.Lease{Run: l.Run, Epoch: l.Epoch} }
func leaseFromWire(l *pb.Lease) Lease { return Lease{Run: l.GetRun(), Epoch: l.GetEpoch()} }

func leasesToWire(ls []Lease) []*pb.Lease {
	var out []*pb.Lease
	for _, l := range ls {
		out = append(out, leaseToWire(l))
	}
	return out
}

func leasesFromWire(ls []*pb.Lease) []Lease {
	var out []Lease
	for _, l := range ls {
		out = append(out, leaseFromWire(l))
	}
	return out
}

func logsToWire(lines []LogLine) []*pb.LogLine {
	var out []*pb.LogLine
	for _, l := range lines {
		out = append(out, &pb.LogLine{Time: timestamppb.New(l.Time), Level: l.Level, Message: text(l.Message)})
	}
	return out
}

// text makes what people read fit for the wire, which takes UTF-8 alone: the names
// in a database, and the words of its tools, may be in any encoding.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func texts(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func heartbeatToWire(p Pulse, at time.Time) *pb.HeartbeatRequest {
	req := &pb.HeartbeatRequest{TrustVersion: p.Trust}
	now := timestamppb.New(at)
	for _, r := range p.Runs {
		req.Runs = append(req.Runs, &pb.RunProgress{
			Lease: leaseToWire(r.Lease),
			Progress: &pb.Progress{
				Phase: text(r.Phase), BytesDone: r.BytesDone, BytesTotal: r.BytesTotal, BytesSent: r.BytesSent, ReportedAt: now,
			},
			Logs: logsToWire(r.Logs),
		})
	}
	for _, h := range p.Providers {
		req.Providers = append(req.Providers, healthToWire(h, at))
	}
	return req
}

func healthToWire(h NamedHealth, now time.Time) *pb.ProviderHealth {
	w := &pb.ProviderHealth{Name: h.Name, Healthy: h.Healthy, Detail: text(h.Detail)}
	if !h.Since.IsZero() {
		w.Since = durationpb.New(now.Sub(h.Since))
	}
	return w
}
