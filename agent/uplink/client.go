package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/inventory"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Client speaks for one agent. It is safe for concurrent use.
type Client struct {
	agent string
	rpc   pb.AgentServiceClient
	clock clock.Clock
}

// New returns a client for the agent of that id over conn.
func New(conn grpc.ClientConnInterface, agent string, c clock.Clock) *Client {
	return &Client{agent: agent, rpc: pb.NewAgentServiceClient(conn), clock: c}
}

// Session opens a session and calls on for each update, in order, until the
// session ends; the error says why it did.
func (c *Client) Session(ctx context.Context, h Hello, on func(Update)) error {
	stream, err := c.rpc.Session(ctx, &pb.SessionRequest{
		Agent: c.agent, Host: h.Host, Version: h.Version, Concurrency: int32(h.Concurrency), Held: leasesToWire(h.Held),
	})
	if err != nil {
		return fmt.Errorf("open session with the controller: %w", err)
	}
	last := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the controller ended the session")
		}
		if err != nil {
			return fmt.Errorf("receive assignments: %w", err)
		}
		complete := m.GetType() == pb.SessionResponse_TYPE_COMPLETE
		if !complete && m.GetAppliesTo() != last {
			return fmt.Errorf("receive assignments: update for %q after %q: start over", m.GetAppliesTo(), last)
		}
		last = m.GetResultsIn()
		u := Update{Session: m.GetSession(), Complete: complete, Cancel: leasesFromWire(m.GetCancel())}
		for _, a := range m.GetAssign() {
			assignment, err := assignmentFromWire(a)
			if err != nil {
				// Work that we do not understand is refused to the controller, which will say
				// so to the user; it must not end the session of all the others.
				_ = c.Finish(ctx, leaseFromWire(a.GetLease()), Outcome{Err: err})
				continue
			}
			u.Assign = append(u.Assign, assignment)
		}
		on(u)
	}
}

// Heartbeat keeps session and leases alive and reports progress.
func (c *Client) Heartbeat(ctx context.Context, session string, runs []Progress, health []NamedHealth) (Beat, error) {
	now := timestamppb.New(c.clock.Now())
	req := &pb.HeartbeatRequest{Agent: c.agent, Session: session}
	for _, r := range runs {
		req.Runs = append(req.Runs, &pb.RunProgress{
			Lease: leaseToWire(r.Lease),
			Progress: &pb.Progress{
				Phase: r.Phase, BytesDone: r.BytesDone, BytesTotal: r.BytesTotal, BytesSent: r.BytesSent, ReportedAt: now,
			},
			Logs: logsToWire(r.Logs),
		})
	}
	for _, h := range health {
		w := &pb.ProviderHealth{Name: h.Name, Healthy: h.Healthy, Detail: h.Detail}
		if !h.Since.IsZero() {
			w.Since = durationpb.New(c.clock.Now().Sub(h.Since))
		}
		req.Providers = append(req.Providers, w)
	}
	resp, err := c.rpc.Heartbeat(ctx, req)
	if err != nil {
		return Beat{}, fmt.Errorf("send heartbeat: %w", err)
	}
	return Beat{
		Period: resp.GetPeriod().AsDuration(), Renewed: leasesFromWire(resp.GetRenewed()), Lost: leasesFromWire(resp.GetLost()),
	}, nil
}

// ReportInventory tells the controller all sources that there are on this host now.
func (c *Client) ReportInventory(ctx context.Context, session string, sources []inventory.Source) error {
	req := &pb.ReportInventoryRequest{Agent: c.agent, Session: session}
	now := timestamppb.New(c.clock.Now())
	for _, s := range sources {
		req.Sources = append(req.Sources, sourceToWire(s, c.agent, now))
	}
	if _, err := c.rpc.ReportInventory(ctx, req); err != nil {
		return fmt.Errorf("report inventory: %w", err)
	}
	return nil
}

// Commit makes the snapshot exist. It is asked again while the controller does
// not answer, since it is not known then whether it was heard.
func (c *Client) Commit(ctx context.Context, lease Lease, s Snapshot, logs []LogLine) error {
	req := &pb.CommitSnapshotRequest{Lease: leaseToWire(lease), Snapshot: snapshotToWire(s), Logs: logsToWire(logs)}
	return retry(ctx, func() error {
		if _, err := c.rpc.CommitSnapshot(ctx, req); err != nil {
			return fmt.Errorf("commit snapshot: %w", err)
		}
		return nil
	})
}

// Finish ends a run that made no snapshot.
func (c *Client) Finish(ctx context.Context, lease Lease, o Outcome) error {
	req := &pb.FinishRunRequest{
		Lease: leaseToWire(lease), Cancelled: o.Cancelled, Report: o.Report, Logs: logsToWire(o.Logs),
	}
	if o.Err != nil {
		req.Failure = transport.ToFailure(o.Err)
	}
	return retry(ctx, func() error {
		if _, err := c.rpc.FinishRun(ctx, req); err != nil {
			return fmt.Errorf("report the end of run %s: %w", lease.Run, err)
		}
		return nil
	})
}

func assignmentFromWire(a *pb.Assignment) (Assignment, error) {
	out := Assignment{
		Lease: leaseFromWire(a.GetLease()), Source: a.GetSource(),
		Duration: a.GetLeaseDuration().AsDuration(), Traceparent: a.GetTraceparent(),
	}
	var err error
	if out.Key, err = repo.NewSourceKey(a.GetSourceKey(), a.GetKeyGeneration()); err != nil {
		return out, fmt.Errorf("run %s: %w", out.Lease.Run, err)
	}
	switch w := a.GetWork().(type) {
	case *pb.Assignment_Backup:
		b := &BackupWork{Snapshot: w.Backup.GetSnapshot(), FireTime: w.Backup.GetFireTime().AsTime(), Avoid: w.Backup.GetAvoidPacks()}
		for _, r := range w.Backup.GetBase() {
			b.Base = append(b.Base, refFromWire(a.GetSource(), r))
		}
		out.Backup = b
	case *pb.Assignment_Restore:
		q := w.Restore.GetRequest()
		out.Restore = &RestoreWork{
			Snapshot:  refFromWire(w.Restore.GetSnapshotSource(), w.Restore.GetSnapshot()),
			Engine:    w.Restore.GetEngine(),
			Container: q.GetTargetContainer(), Select: q.GetSelect(),
			Overwrite: q.GetOverwrite(), DryRun: q.GetDryRun(), NoOwner: q.GetNoOwner(),
		}
	default:
		return out, problem.New(problem.Failed, "this agent does not know that kind of work").
			WithReason(transport.ReasonUnsupported).WithHint("Update the agent: it is older than the controller.")
	}
	return out, nil
}

func sourceToWire(s inventory.Source, agent string, now *timestamppb.Timestamp) *pb.Source {
	w := &pb.Source{
		Name: s.Name, State: stateToWire(s.State), Database: s.Spec.Database, AllDatabases: s.Spec.AllDatabases,
		Compress: string(s.Spec.Compress), Agent: agent, ReportedAt: now,
		Container: &pb.Container{
			Id: s.Container.ID, Name: s.Container.Name, Image: s.Container.Facts.Image, ImageDigest: s.Container.Facts.ImageDigest,
		},
	}
	if s.Engine != nil {
		w.Engine = s.Engine.Name()
	}
	for _, p := range s.Problems {
		w.Problems = append(w.Problems, &pb.LabelProblem{
			Label: p.Label, Value: p.Value, Reason: p.Reason, Suggestion: p.Suggestion, Warning: p.Warning,
		})
	}
	return w
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
		Id: s.ID, Source: s.Source, Engine: s.Engine, Server: s.Server, Image: s.Image,
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
		out = append(out, &pb.LogLine{Time: timestamppb.New(l.Time), Level: l.Level, Message: l.Message})
	}
	return out
}

// retryPause is how long a call that found nobody waits before it asks again.
const retryPause = 500 * time.Millisecond
