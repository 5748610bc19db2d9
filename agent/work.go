package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/baktainer/baktainer/agent/around"
	"github.com/baktainer/baktainer/agent/backup"
	"github.com/baktainer/baktainer/agent/drill"
	"github.com/baktainer/baktainer/agent/fresh"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/run"
	"github.com/baktainer/baktainer/internal/source"
)

var tracer = otel.Tracer("github.com/baktainer/baktainer/agent")

// start carries out an assignment in a goroutine of its own.
func (a *Agent) start(ctx context.Context, as uplink.Assignment) {
	ctx, j, ok := a.jobs.begin(ctx, as, a.Logger)
	if !ok {
		return
	}
	log := slog.New(j.log).With("run", as.Lease.Run, "source", as.Source)
	go func() {
		defer a.jobs.end(j)
		if j.after != nil {
			<-j.after // two epochs of one run must not both be at work on a database
		}
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": as.Traceparent})
		ctx, span := tracer.Start(ctx, "carry out run", trace.WithAttributes(
			attribute.String("baktainer.run", as.Lease.Run), attribute.String("baktainer.source", as.Source)))
		defer span.End()
		if err := a.carryOut(ctx, as, j, log); err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
	}()
}

// carryOut does the work and tells the controller how it ended.
func (a *Agent) carryOut(ctx context.Context, as uplink.Assignment, j *job, log *slog.Logger) error {
	var err error
	if as.TimeLimit > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, as.TimeLimit, overTime(as.TimeLimit))
		defer cancel()
		ctx = limited
	}
	outcome := uplink.Outcome{}
	switch {
	case as.Backup != nil:
		err = a.backup(ctx, as, j, log)
		if err == nil {
			j.taken = true
			return nil // the commit has told it
		}
	case as.Drill != nil:
		outcome.Report, outcome.Drill, err = a.drill(ctx, as, j, log)
	default:
		var r restore.Result
		r, err = a.restore(ctx, as, j, log)
		outcome.Report, outcome.Warnings = r.Report, r.Warnings
	}
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		log.Info("run ended well")
	case errors.Is(cause, errLeaseLost), errors.Is(cause, errSuperseded), errors.Is(cause, errShutdown):
		log.Warn("run given up", "reason", cause)
		return cause // the run is not ours to end any more
	case errors.Is(cause, errCancelled):
		log.Warn("run cancelled")
		outcome.Cancelled, outcome.Err = true, errCancelled
	case problem.ReasonOf(cause) == run.ReasonTimeLimit:
		log.Error("run failed", "error", cause)
		outcome.Err = cause // whatever else it broke
	default:
		log.Error("run failed", "error", err)
		outcome.Err = err
	}
	if cause != nil && err != nil {
		outcome.Drill = nil // it came to no end
	}
	outcome.Logs = j.log.lines()
	j.tell()
	// It is told for as long as the run is ours: an end that nobody hears of has the
	// run carried out again, and a restore must not come twice.
	tell := trace.ContextWithSpan(j.held, trace.SpanFromContext(ctx))
	ferr := a.Controller.Finish(tell, j.hold(), outcome)
	if j.taken = ferr == nil; !j.taken {
		log.Warn("the controller did not take the end of the run", "error", ferr)
	}
	return err
}

func overTime(limit time.Duration) error {
	return problem.New(problem.Failed, "it took longer than its time limit, %s", limit).WithReason(run.ReasonTimeLimit).
		WithHint("Raise baktainer.backup.time_limit of its container, or the controllers' setting time-limit.")
}

func (a *Agent) backup(ctx context.Context, as uplink.Assignment, j *job, log *slog.Logger) error {
	started := a.Clock.Now()
	where, err := a.sources.bySource(as.Source)
	if err != nil {
		return err
	}
	spec := where.spec
	if spec.Compress == "" {
		spec.Compress = a.Compress
	}
	work := backup.Work{
		Source: as.Source, Snapshot: as.Backup.Snapshot, Key: as.Key, Base: as.Backup.Base, Avoid: as.Backup.Avoid, Manifest: as.Backup.Manifest,
		Engine: where.engine, Instance: where.instance, Spec: spec,
	}
	if a.Cache != nil {
		work.Cache = a.Cache
	}
	objects := a.Controller.Objects(j.hold(), as.Controllers, log)
	var result backup.Result
	err = a.surrounded(ctx, as, where, j, log, func(ctx context.Context) (err error) {
		result, err = backup.Run(ctx, work, objects, backupReporter{j}, log)
		return err
	})
	if err != nil {
		return err
	}
	j.Phase("committing")
	j.tell()
	log.Info("stored", "raw_bytes", result.Summary.RawBytes, "new_bytes", result.Summary.NewBytes, "hand_overs", objects.HandOvers())
	err = objects.Commit(ctx, uplink.Snapshot{
		ID: as.Backup.Snapshot, Source: as.Source, Engine: where.engine.Name(), Server: result.Server,
		Image: where.container.Facts.Image, ImageDigest: where.container.Facts.ImageDigest,
		FireTime: as.Backup.FireTime, StartedAt: started, Summary: result.Summary, Strange: result.Strange,
	}, j.log.lines())
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	log.Info("snapshot committed", "snapshot", as.Backup.Snapshot)
	return nil
}

// surrounded makes a dump with what its source and its companions want done
// around it.
func (a *Agent) surrounded(ctx context.Context, as uplink.Assignment, where place, j *job, log *slog.Logger, dump func(context.Context) error) error {
	companions, err := a.sources.companions(as.Source)
	if err != nil {
		return err
	}
	if a.Around == nil {
		if len(companions) > 0 || !reflect.ValueOf(where.spec.Hooks).IsZero() {
			return problem.New(problem.Internal, "this agent has nothing to run hooks with")
		}
		return dump(ctx)
	}
	return a.Around.Backup(ctx, around.Work{
		Run: as.Lease.Run, Source: as.Source, Logger: log, Phase: j.Phase, Companions: companions,
		Own: around.Place{Name: where.container.Name, Instance: where.instance, Hooks: where.spec.Hooks},
	}, dump)
}

func (a *Agent) restore(ctx context.Context, as uplink.Assignment, j *job, log *slog.Logger) (restore.Result, error) {
	w := as.Restore
	work := restore.Work{
		Snapshot: w.Snapshot, Key: as.Key, Select: w.Select, Tables: w.Tables, As: w.As,
		Options: engine.RestoreOptions{Overwrite: w.Overwrite, DryRun: w.DryRun, NoOwner: w.NoOwner},
	}
	objects := a.Controller.Objects(j.hold(), as.Controllers, log)
	if w.New != "" {
		return a.restoreNew(ctx, as, work, objects, j, log)
	}
	where, err := a.target(ctx, as)
	if err != nil {
		return restore.Result{}, err
	}
	if err := sameKind(w.Engine, where); err != nil {
		return restore.Result{}, err
	}
	work.Engine, work.Instance, work.Spec = where.engine, where.instance, where.spec
	return restore.Run(ctx, work, objects, restoreReporter{j}, log)
}

// restoreNew restores into a container that it makes.
func (a *Agent) restoreNew(ctx context.Context, as uplink.Assignment, work restore.Work, objects repo.ObjectReader, j *job, log *slog.Logger) (restore.Result, error) {
	w := as.Restore
	if a.Sandboxes == nil {
		return restore.Result{}, problem.New(problem.Failed, "this agent has nothing to make containers with")
	}
	e, spec, facts, _, err := a.engineOf(w.Snapshot.Source, w.Engine, w.Image)
	if err != nil {
		return restore.Result{}, err
	}
	room := fresh.Work{Run: as.Lease.Run, Engine: e, Spec: spec, Facts: facts, Keep: w.New}
	room.Images, room.Other = fresh.Images(w.AskedImage, w.Image, w.ImageDigest, facts)
	return fresh.Into(ctx, room, work, a.Sandboxes, objects, restoreReporter{j}, a.Clock, log)
}

// engineOf gives the engine that made a snapshot, with what is known of its source
// on this host; unknown says that this is nothing.
func (a *Agent) engineOf(name, engineName, image string) (e engine.Engine, spec source.Spec, facts engine.Facts, unknown bool, err error) {
	e, spec, facts = a.sources.about(name)
	if e != nil && e.Name() == engineName {
		return e, spec, facts, false, nil
	}
	i := slices.IndexFunc(a.Engines, func(e engine.Engine) bool { return e.Name() == engineName })
	if i < 0 {
		return nil, spec, facts, true, problem.New(problem.Failed, "this agent knows no engine %q", engineName).WithReason(engine.ReasonUnsupported)
	}
	return a.Engines[i], source.Spec{Name: name, Engine: engineName}, engine.Facts{Image: image}, true, nil
}

// drill restores a snapshot into a throwaway container. The source's own container
// need not run, and not even be there: then its labels are not known.
func (a *Agent) drill(ctx context.Context, as uplink.Assignment, j *job, log *slog.Logger) ([]string, *uplink.Drilled, error) {
	w := as.Drill
	if a.Sandboxes == nil {
		return nil, nil, problem.New(problem.Failed, "this agent has nothing to make throwaway containers with")
	}
	e, spec, facts, unknown, err := a.engineOf(as.Source, w.Engine, w.Image)
	if err != nil {
		return nil, nil, err
	}
	work := drill.Work{Run: as.Lease.Run, Snapshot: w.Snapshot, Key: as.Key, Engine: e, Spec: spec, Facts: facts, Unknown: unknown}
	work.Images, work.Other = fresh.Images(spec.Drill.Image, w.Image, w.ImageDigest, facts)
	r, err := drill.Run(ctx, work, a.Sandboxes, a.Controller.Objects(j.hold(), as.Controllers, log), restoreReporter{j}, a.Clock, log)
	if !r.Verdict {
		return r.Report, nil, err
	}
	return r.Report, &uplink.Drilled{
		Ready: r.Ready, Restored: r.Restored, Objects: r.Objects, Rows: r.Rows, Assertions: r.Assertions, Image: r.Image,
	}, err
}

func (a *Agent) target(ctx context.Context, as uplink.Assignment) (place, error) {
	if as.Restore.Container != "" {
		return a.sources.byContainer(ctx, as.Restore.Container)
	}
	return a.sources.bySource(as.Source)
}

// DirectRestore is a restore that no controller asked for: rescue, with the
// store at hand.
type DirectRestore struct {
	Providers []provider.Provider
	Engines   []engine.Engine
	Container string
	// Engine made the snapshot.
	Engine   string
	Snapshot repo.Ref
	Key      repo.SourceKey
	Objects  repo.ObjectReader
	// Select, Tables and As as in restore.Work.
	Select, Tables []string
	As             string
	Options        engine.RestoreOptions
	Phase          func(string)
	Logger         *slog.Logger
}

// RestoreInto carries out a DirectRestore and returns what came of it.
func RestoreInto(ctx context.Context, d DirectRestore) (restore.Result, error) {
	where, err := newSources(d.Providers, d.Engines).byContainer(ctx, d.Container)
	if err != nil {
		return restore.Result{}, err
	}
	if err := sameKind(d.Engine, where); err != nil {
		return restore.Result{}, err
	}
	return restore.Run(ctx, restore.Work{
		Snapshot: d.Snapshot, Key: d.Key, Select: d.Select, Tables: d.Tables, As: d.As, Options: d.Options,
		Engine: where.engine, Instance: where.instance, Spec: where.spec,
	}, d.Objects, phases(d.Phase), d.Logger)
}

// phases is a restore.Reporter that passes on the phase only.
type phases func(string)

func (p phases) Phase(what string)         { p(what) }
func (phases) Watch(func() (int64, int64)) {}

// sameKind refuses to feed one kind of database the dump of another.
func sameKind(snapshotEngine string, target place) error {
	if snapshotEngine == "" || target.engine.Name() == snapshotEngine {
		return nil
	}
	return problem.New(problem.Conflict, "the snapshot is of %s, the target runs %s", snapshotEngine, target.engine.Name()).
		WithHint("Choose a target of the same kind, or restore to a file.")
}
