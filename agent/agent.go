// Package agent is the half of Baktainer that lives on a Docker host. It keeps
// the controller told of the sources that its providers find, and carries out
// the runs that the controller leases to it. It needs no configuration of its
// own beyond where controllers are, holds no store credentials, and gets the
// key of a source only with a lease for it.
package agent

import (
	"context"
	"log/slog"
	"sync"

	"github.com/baktainer/baktainer/agent/around"
	"github.com/baktainer/baktainer/agent/cache"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/telemetry"
)

// Options are what an agent is made of.
type Options struct {
	// Host is the host's name, for people.
	Host, Version string
	Controller    *uplink.Client
	Providers     []provider.Provider
	Engines       []engine.Engine
	// Concurrency is how many runs may go on at once, at least 1.
	Concurrency int
	// Compress is for sources whose labels do not say.
	Compress source.Compression
	// Cache keeps packs at hand, so that backups can be smaller; nil: they are not.
	Cache *cache.Cache
	// Around does what is done around dumps; nil: only sources without hooks and
	// companions are backed up.
	Around *around.Around
	// Sandboxes makes containers for drills; nil: there are no drills.
	Sandboxes provider.Sandboxes
	// Recent has the last lines of this agent's log; nil: there are none to show.
	Recent *telemetry.Ring
	// TrustVersion tells which version of the cluster's trust this agent has, and
	// Renew gets it the newest with a new certificate. Nil: certificates are somebody
	// else's to renew.
	TrustVersion func() uint64
	Renew        func(context.Context) error
	// Connected is told when a session begins and when it has ended; nil: nobody asks.
	Connected func(bool)
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Agent is one agent. Make it with New and run it once.
type Agent struct {
	Options
	sources *sources
	jobs    *jobs
}

// New returns an agent that does nothing before Run.
func New(o Options) *Agent {
	if o.Connected == nil {
		o.Connected = func(bool) {}
	}
	return &Agent{Options: o, sources: newSources(o.Providers, o.Engines), jobs: newJobs(o.Clock)}
}

// Run works until ctx ends. Then it kills the tools that it started, waits for
// that, and returns nil: leases in hand are left to the controller, which gives
// them out anew.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, p := range a.Providers {
		wg.Go(func() {
			if err := p.Watch(ctx, func(cs []provider.Container) { a.sources.update(p, cs) }); err != nil && ctx.Err() == nil {
				a.Logger.Error("a provider ended", "provider", p.Name(), "error", err)
			}
		})
	}
	wg.Go(func() { a.keepSession(ctx) })
	// This outlasts the jobs: what they have paused has to go on.
	outlasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var last sync.WaitGroup
	if a.Around != nil {
		last.Go(func() { a.Around.Run(outlasting) })
	}
	wg.Wait()
	a.jobs.dropAll(errShutdown)
	a.jobs.wait()
	end()
	last.Wait()
	return nil
}
