// Package controller is the half that remembers and decides. It puts the parts
// below it together: state and consensus underneath, the services for agents,
// operators and browsers on top.
package controller

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/baktainer/baktainer/controller/api"
	"github.com/baktainer/baktainer/controller/cluster"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/dashboard"
	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/ingest"
	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/serve"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
)

// Options are the parts and settings of a controller. Zero durations have the
// defaults that are given.
type Options struct {
	Node *consensus.Node
	Repo *repo.Repository
	// Store is where snapshots go; StoreName is its name in ledger entries, "main" when empty.
	Store     store.Store
	StoreName string
	Clock     clock.Clock
	Logger    *slog.Logger
	Version   string
	// DefaultSchedule fires for every source that is ready; empty: nothing is fired.
	DefaultSchedule string
	// Zone is the time zone of schedules that name none; nil: UTC.
	Zone *time.Location
	// LeaseDuration is how long a run stays with an agent that is silent; 60 s.
	LeaseDuration time.Duration
	// AgentDeadline is how long a queued run waits for its agent; 1 h.
	AgentDeadline time.Duration
	// Tick is how often clocks are looked at; 1 s.
	Tick time.Duration
	// Metrics serves /metrics; nil: not served.
	Metrics http.Handler
	// Config is shown at /config, by name; without secrets.
	Config map[string]string

	// Address is HOST:PORT at which agents and other controllers reach this one;
	// empty: nobody does, and there are no certificates.
	Address string
	// OwnPKI says that certificates come from the user's own authority.
	OwnPKI bool
	// Expect is how many controllers made the cluster together, 0 when none did.
	Expect int
	// Reach is Store where it may be on another controller's disk; nil: it is this one's.
	Reach *member.Reach
	// Keys gives other controllers keys of the repository; nil: they bring their own.
	Keys member.Keys
}

// Controller is a running controller's services.
type Controller struct {
	Options
	dispatch  *dispatch.Dispatcher
	scheduler *scheduler.Scheduler
	ingest    *ingest.Ingest
	retain    *retain.Retain
	serve     *serve.Serve
	admin     *api.Server
	cluster   *cluster.Service
	identity  *identity.Service
	member    *member.Service
	stores    *storeProbe
	routes    *routes
	began     time.Time
	stopping  chan struct{} // closed when Run ends
}

// housekeepEvery is how often what a failure left undone is tried again.
const housekeepEvery = 30 * time.Second

// New puts a controller together. It serves once Register and Handler are used,
// and decides while Run runs.
func New(o Options) (*Controller, error) {
	o = withDefaults(o)
	c := &Controller{Options: o, began: o.Clock.Now(), stopping: make(chan struct{}), routes: newRoutes(o.Node, o.StoreName)}
	decides := leader{o.Node}
	var err error
	if c.scheduler, err = scheduler.New(decides, o.Clock, o.Logger, o.DefaultSchedule, o.Zone, o.Tick); err != nil {
		return nil, err
	}
	receipts, err := o.Repo.ReceiptKey()
	if err != nil {
		return nil, err
	}
	c.retain = retain.New(retain.Options{Node: decides, Repo: o.Repo, Store: o.Store, Clock: o.Clock, Logger: o.Logger})
	c.dispatch = dispatch.New(dispatch.Options{
		Node: decides, Key: o.Repo.SourceKey, Damaged: c.retain.Damaged, Clock: o.Clock, Logger: o.Logger,
		Controllers: c.Controllers, TrustVersion: c.trustVersion, Ingest: c.routes.order, Caller: transport.IsAgent,
		LeaseDuration: o.LeaseDuration, AgentDeadline: o.AgentDeadline, Tick: o.Tick,
	})
	c.ingest = ingest.New(ingest.Options{
		Log: o.Node, Repo: o.Repo, Store: o.Store, StoreName: o.StoreName, Logger: o.Logger,
		Leads: o.Node.IsLeader, Caller: transport.IsAgent, ReceiptKey: receipts,
	})
	c.serve = &serve.Serve{Check: lease.Check{View: o.Node.View, Leads: o.Node.IsLeader, Caller: transport.IsAgent}, Store: o.Store}
	c.stores = &storeProbe{store: o.Store, name: o.StoreName}
	c.admin = api.New(api.Options{
		Node: o.Node, Agents: c.dispatch, Repo: o.Repo, Store: o.Store, Stores: c.stores.infos,
		Verifier: &verify.Verifier{View: o.Node.View, Propose: o.Node.Propose, Repo: o.Repo, Store: o.Store, Clock: o.Clock},
		Retain:   c.retain,
		Clock:    o.Clock, Version: o.Version, Schedule: scheduler.Default, Stopping: c.stopping,
	})
	c.identity = identity.New(identity.Options{
		Node: o.Node, Repo: o.Repo, Clock: o.Clock, Logger: o.Logger, Controllers: c.Controllers, AgentsTrust: c.agentsTrust, OwnPKI: o.OwnPKI,
	})
	c.cluster = cluster.New(cluster.Options{
		Node: o.Node, Agents: c.dispatch, Authority: c.identity, Clock: o.Clock, OwnPKI: o.OwnPKI,
		Uploads: func() map[string]int { return map[string]int{o.Node.ID(): c.ingest.Uploads()} },
	})
	c.member = member.New(member.Options{Node: o.Node, Keys: o.Keys, Logger: o.Logger, Local: c.localStore})
	return c, nil
}

func withDefaults(o Options) Options {
	if o.StoreName == "" {
		o.StoreName = "main"
	}
	for _, d := range []struct {
		set   *time.Duration
		usual time.Duration
	}{{&o.LeaseDuration, time.Minute}, {&o.AgentDeadline, time.Hour}, {&o.Tick, time.Second}} {
		if *d.set <= 0 {
			*d.set = d.usual
		}
	}
	return o
}

// Handler serves health, metrics and the status page over HTTP.
func (c *Controller) Handler() http.Handler {
	return dashboard.Handler(dashboard.Options{Reader: c.admin, Metrics: c.Metrics, Config: c.Config, Clock: c.Clock})
}

// Run decides whenever this node leads, until ctx ends. It is called once. When
// it has returned no session or watched run is left that would keep a server
// from stopping.
func (c *Controller) Run(ctx context.Context) error {
	defer close(c.stopping)
	unregister, err := c.observe()
	if err != nil {
		return problem.Wrap(problem.Internal, err, "register metrics")
	}
	defer unregister()
	var always sync.WaitGroup
	defer always.Wait()
	always.Go(func() { c.stores.run(ctx) })
	always.Go(func() { c.attend(ctx) })

	for ctx.Err() == nil {
		if c.Node.IsLeader() {
			c.lead(ctx)
			continue
		}
		select {
		case <-c.Node.Leadership():
		case <-ctx.Done():
		}
	}
	return nil
}

// lead runs what only a leader does, until leadership is lost or ctx ends.
func (c *Controller) lead(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	work := []func(context.Context){c.dispatch.Run, c.scheduler.Run, c.retain.Run, c.housekeep}
	if c.Address != "" && !c.OwnPKI {
		work = append(work, c.identity.Run)
	}
	for _, part := range work {
		parts.Go(func() { part(ctx) })
	}
	for c.Node.IsLeader() {
		select {
		case <-c.Node.Leadership():
		case <-ctx.Done():
			return
		}
	}
}

// housekeep does, and tries again, what belongs to no request.
func (c *Controller) housekeep(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.ingest.WriteLedgerCopies(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("ledger copies are missing from the store", "store", c.StoreName, "error", err)
		}
		c.ingest.Forget(c.Node.View())
		_ = clock.Sleep(ctx, housekeepEvery) // its only error ends the loop
	}
}
