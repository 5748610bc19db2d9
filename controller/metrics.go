package controller

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// gauges makes instruments and keeps the first error.
type gauges struct {
	meter metric.Meter
	made  []metric.Observable
	err   error
}

func (g *gauges) gauge(name, help string) metric.Float64Observable {
	i, err := g.meter.Float64ObservableGauge(name, metric.WithDescription(help))
	g.made, g.err = append(g.made, i), errors.Join(g.err, err)
	return i
}

func (g *gauges) counter(name, help string) metric.Float64Observable {
	i, err := g.meter.Float64ObservableCounter(name, metric.WithDescription(help))
	g.made, g.err = append(g.made, i), errors.Join(g.err, err)
	return i
}

// observe registers the controller's metrics. All are read off the state when
// asked for, so they are right after a restart and cost nothing in between. Names
// that the earlier Baktainer had keep their meaning. Labels never hold ids.
func (c *Controller) observe() (unregister func(), err error) {
	g := &gauges{meter: otel.Meter("github.com/baktainer/baktainer/controller")}
	uptime := g.gauge("baktainer_uptime_seconds", "Seconds since the controller started.")
	sources := g.gauge("baktainer_sources", "Sources by state.")
	discovered := g.gauge("baktainer_containers_discovered", "Containers with the label that are there now.")
	active := g.gauge("baktainer_runs_active", "Runs that are queued or running.")
	runs := g.counter("baktainer_runs", "Runs that have ended, by kind and result.")
	backups := g.counter("baktainer_backups", "Backups that have ended.")
	good := g.gauge("baktainer_backups_successful", "Backups that succeeded.")
	failed := g.gauge("baktainer_backups_failed", "Backups that failed.")
	rate := g.gauge("baktainer_backup_success_rate_percent", "Share of the backups that ended which succeeded.")
	raw := g.gauge("baktainer_backup_data_bytes", "Bytes of all dumps backed up.")
	stored := g.gauge("baktainer_backup_stored_bytes", "Bytes that all backups added to the store.")
	snapshots := g.gauge("baktainer_snapshots", "Snapshots in the ledger.")
	age := g.gauge("baktainer_snapshot_age_seconds", "Seconds since the newest snapshot of a source was committed.")
	verified := g.gauge("baktainer_verified_age_seconds", "Seconds since the newest verified snapshot of a source was committed.")
	drilled := g.gauge("baktainer_drilled_age_seconds", "Seconds since the newest snapshot of a source was committed that a drill has restored.")
	recovery := g.gauge("baktainer_recovery_seconds", "Seconds that the drill of that snapshot needed until everything was restored.")
	agents := g.gauge("baktainer_agents_connected", "Agents that are connected.")
	healthy := g.gauge("baktainer_store_healthy", "1 when the store can be written to.")
	free := g.gauge("baktainer_store_free_bytes", "Free bytes of the store, where it has a limit.")
	leader := g.gauge("baktainer_leader", "1 when this controller leads.")
	if g.err != nil {
		return nil, g.err
	}
	registration, err := g.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		view, now := c.Node.View(), c.Clock.Now()
		put := func(i metric.Float64Observable, v float64, labels ...attribute.KeyValue) {
			o.ObserveFloat64(i, v, metric.WithAttributes(labels...))
		}
		put(uptime, now.Sub(c.began).Seconds())
		put(leader, one(c.Node.IsLeader()))
		counts := view.Counts()
		there := 0
		for at, word := range sourceWords {
			put(sources, float64(counts.Sources[at]), attribute.String("state", word))
			if at != pb.SourceState_SOURCE_STATE_GONE {
				there += counts.Sources[at]
			}
		}
		put(discovered, float64(there))
		put(active, float64(counts.Queued), attribute.String("state", "queued"))
		put(active, float64(counts.Running), attribute.String("state", "running"))
		put(snapshots, float64(counts.Snapshots))

		ended := map[pb.RunState]float64{}
		var all, rawBytes, newBytes float64
		for _, t := range view.Totals() {
			put(runs, float64(t.GetRuns()), attribute.String("kind", kindWords[t.GetKind()]), attribute.String("result", resultWords[t.GetState()]))
			if t.GetKind() == pb.RunKind_RUN_KIND_BACKUP {
				ended[t.GetState()] = float64(t.GetRuns())
				all += float64(t.GetRuns())
				rawBytes += float64(t.GetRawBytes())
				newBytes += float64(t.GetNewBytes())
			}
		}
		put(backups, all)
		put(good, ended[pb.RunState_RUN_STATE_SUCCEEDED])
		put(failed, ended[pb.RunState_RUN_STATE_FAILED])
		if all > 0 {
			put(rate, 100*ended[pb.RunState_RUN_STATE_SUCCEEDED]/all)
		}
		put(raw, rawBytes)
		put(stored, newBytes)
		for _, src := range view.Sources() {
			for _, s := range view.Snapshots(src.GetName(), 1) {
				put(age, now.Sub(s.GetCommittedAt().AsTime()).Seconds(), attribute.String("source", src.GetName()))
			}
			if s, ok := view.Newest(src.GetName(), state.Proven); ok {
				put(verified, now.Sub(s.GetCommittedAt().AsTime()).Seconds(), attribute.String("source", src.GetName()))
			}
			if s, ok := view.Newest(src.GetName(), state.Drilled); ok {
				put(drilled, now.Sub(s.GetCommittedAt().AsTime()).Seconds(), attribute.String("source", src.GetName()))
				put(recovery, s.GetRecovery().AsDuration().Seconds(), attribute.String("source", src.GetName()))
			}
		}
		connected := 0
		for _, a := range c.dispatch.Agents() {
			if a.GetConnected() {
				connected++
			}
		}
		put(agents, float64(connected))
		for _, s := range c.stores.infos() {
			label := attribute.String("store", s.GetName())
			put(healthy, one(s.GetHealthy()), label)
			if s.GetTotalBytes() > 0 {
				put(free, float64(s.GetFreeBytes()), label)
			}
		}
		return nil
	}, g.made...)
	if err != nil {
		return nil, fmt.Errorf("register the callback: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil
}

var (
	sourceWords = map[pb.SourceState]string{
		pb.SourceState_SOURCE_STATE_READY: "ready", pb.SourceState_SOURCE_STATE_INVALID: "invalid",
		pb.SourceState_SOURCE_STATE_STOPPED: "stopped", pb.SourceState_SOURCE_STATE_GONE: "gone",
	}
	kindWords   = map[pb.RunKind]string{pb.RunKind_RUN_KIND_BACKUP: "backup", pb.RunKind_RUN_KIND_RESTORE: "restore", pb.RunKind_RUN_KIND_DRILL: "drill"}
	resultWords = map[pb.RunState]string{
		pb.RunState_RUN_STATE_SUCCEEDED: "succeeded", pb.RunState_RUN_STATE_FAILED: "failed", pb.RunState_RUN_STATE_CANCELLED: "cancelled",
	}
)

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
