package dispatch

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// marksLimit bounds the look at a source's marks of damage.
const marksLimit = 10 * time.Second

// grant leases what can be leased, by priority and oldest first, and ends what cannot be done.
func (d *Dispatcher) grant(ctx context.Context) {
	view := d.Node.View()
	var queued []*pb.Run
	for _, r := range view.ActiveRuns() {
		if r.GetState() == pb.RunState_RUN_STATE_QUEUED {
			queued = append(queued, r)
		}
	}
	if len(queued) == 0 {
		return
	}
	byPriority(queued)
	h := d.hall(view)
	for _, p := range view.ActivePrunes() {
		h.busy[p.GetSource()], h.pruned[p.GetSource()] = "it is being pruned: "+p.GetSource(), true
	}
	for _, r := range view.LeasedRuns() {
		h.occupy(r, r.GetAgent())
	}
	paused := d.Paused != nil && d.Paused() != ""
	for _, r := range queued {
		p := h.place(r)
		switch {
		case p.skip != nil:
			if err := d.end(ctx, r, pb.RunState_RUN_STATE_CANCELLED, p.skip); err != nil {
				d.Logger.Warn("run not ended yet", "run", r.GetId(), "error", err)
			}
		case paused && p.fail == nil && r.GetKind() == pb.RunKind_RUN_KIND_BACKUP: // it waits
		case p.fail != nil:
			if err := d.giveUp(ctx, r, p.fail); err != nil {
				d.Logger.Warn("run not ended yet", "run", r.GetId(), "error", err)
			}
		case p.agent != "":
			if _, err := d.keyFor(view, r); err != nil {
				if err := d.giveUp(ctx, r, problem.Wrap(problem.Denied, err, "no key for what the run needs")); err != nil {
					d.Logger.Warn("run not ended yet", "run", r.GetId(), "error", err)
				}
				continue
			}
			if err := d.lease(ctx, r, p.agent); err != nil {
				d.Logger.Warn("run not leased yet", "run", r.GetId(), "source", r.GetSource(), "error", err)
				continue
			}
			h.occupy(r, p.agent)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (d *Dispatcher) giveUp(ctx context.Context, r *pb.Run, why *problem.Problem) error {
	return d.end(ctx, r, pb.RunState_RUN_STATE_FAILED, why)
}

func (d *Dispatcher) end(ctx context.Context, r *pb.Run, as pb.RunState, why *problem.Problem) error {
	return d.propose(ctx, &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{
		Run: r.GetId(), Epoch: r.GetEpoch(), State: as, Failure: transport.ToFailure(why),
	}}})
}

// lease grants a run to an agent. The span covers the time it was queued for.
func (d *Dispatcher) lease(ctx context.Context, r *pb.Run, agent string) error {
	now := d.Clock.Now()
	ctx, span := tracer.Start(queue.Join(ctx, r), "wait for a lease", trace.WithTimestamp(r.GetQueuedAt().AsTime()),
		trace.WithAttributes(append(queue.Attributes(r), attribute.String("baktainer.agent", agent))...))
	defer span.End()
	g := &pb.GrantLease{Run: r.GetId(), Agent: agent, ExpiresAt: timestamppb.New(now.Add(d.LeaseDuration))}
	if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
		id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
		if err != nil {
			return fmt.Errorf("make an id for the snapshot: %w", err)
		}
		g.Snapshot = id.String()
	}
	err := d.propose(ctx, &pb.Command{Command: &pb.Command_GrantLease{GrantLease: g}})
	queue.Fail(span, err)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leases[r.GetId()] = &lease{agent: agent, epoch: r.GetEpoch() + 1, until: now.Add(d.LeaseDuration), recorded: now.Add(d.LeaseDuration)}
	d.Logger.Info("run leased", "run", r.GetId(), "source", r.GetSource(), "agent", agent, "epoch", r.GetEpoch()+1)
	return nil
}

// keyFor gives the key that a run needs: the newest to write under, or that
// which the snapshot lies under that it reads.
func (d *Dispatcher) keyFor(view *state.View, r *pb.Run) (repo.SourceKey, error) {
	generation := uint32(0)
	if id := state.Reads(r); id != "" {
		s, _ := view.Snapshot(id)
		generation = max(s.GetKeyGeneration(), 1)
	}
	return d.Key(r.GetSource(), generation)
}

// assignment is a leased run as its agent is told of it.
func (d *Dispatcher) assignment(view *state.View, r *pb.Run) *pb.Assignment {
	key, err := d.keyFor(view, r)
	if err != nil { // lease has seen it; the agent refuses a run without a key
		d.Logger.Error("no key for a run", "run", r.GetId(), "error", err)
	}
	a := &pb.Assignment{
		Lease:  &pb.Lease{Run: r.GetId(), Epoch: r.GetEpoch()},
		Source: target(r), LeaseDuration: durationpb.New(d.LeaseDuration), Traceparent: r.GetTraceparent(), SourceKey: key.Secret(), KeyGeneration: key.Generation(),
	}
	if limit := d.timeLimit(view, r); limit > 0 {
		a.TimeLimit = durationpb.New(limit)
	}
	if d.Ingest != nil {
		a.Controllers = d.Ingest(r.GetSource())
	}
	if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
		w := &pb.BackupWork{Snapshot: r.GetSnapshot(), FireTime: r.GetFireTime(), ManifestVersion: repo.PlainManifest}
		if d.Node.CommandLevel() >= state.CommandVersion {
			w.ManifestVersion = repo.NewestManifest
		}
		d.base(view, r.GetSource(), w)
		a.Work = &pb.Assignment_Backup{Backup: w}
		return a
	}
	s, _ := view.Snapshot(state.Reads(r))
	if r.GetKind() == pb.RunKind_RUN_KIND_DRILL {
		a.Work = &pb.Assignment_Drill{Drill: &pb.DrillWork{
			Snapshot: ref(s), SnapshotSource: r.GetSource(), Engine: s.GetEngine(), Image: s.GetImage(), ImageDigest: s.GetImageDigest(),
		}}
		return a
	}
	w := &pb.RestoreWork{Snapshot: ref(s), SnapshotSource: r.GetSource(), Request: r.GetRestore(), Engine: s.GetEngine(), Image: s.GetImage(), ImageDigest: s.GetImageDigest()}
	if q := r.GetRestore(); q.GetNewContainer() != "" {
		a.Work = &pb.Assignment_RestoreNew{RestoreNew: w}
	} else if len(q.GetTables()) > 0 || q.GetAs() != "" {
		a.Work = &pb.Assignment_RestoreOtherwise{RestoreOtherwise: w}
	} else {
		a.Work = &pb.Assignment_Restore{Restore: w}
	}
	return a
}

// base says what a backup may build on. When the store does not tell which packs
// are damaged it builds on none: that costs bytes, and nothing else.
func (d *Dispatcher) base(view *state.View, source string, w *pb.BackupWork) {
	ctx, cancel := context.WithTimeout(context.Background(), marksLimit)
	defer cancel()
	damaged, err := d.Damaged(ctx, source)
	if err != nil {
		d.Logger.Warn("everything is stored anew: it is not known which packs are damaged, or they are too many", "source", source, "error", err)
		return
	}
	w.AvoidPacks = damaged
	for _, s := range view.Snapshots(source, state.BaseSnapshots) {
		w.Base = append(w.Base, ref(s))
	}
}

func ref(s *pb.Snapshot) *pb.SnapshotRef {
	return &pb.SnapshotRef{Snapshot: s.GetId(), ManifestSha256: s.GetManifestSha256(), ManifestSize: s.GetManifestSize()}
}
