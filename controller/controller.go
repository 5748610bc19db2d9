// Package controller is the half that remembers and decides. It puts the parts
// below it together: state and consensus underneath, the services for agents,
// operators and browsers on top.
package controller

import (
	"context"
	"crypto/sha256"
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
	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/serve"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/schedule"
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
	// DefaultSchedule fires for every source that has no schedule of its own; empty: there is none.
	DefaultSchedule string
	// DrillSchedule does for drills; empty: there are none unless labels ask for them.
	DrillSchedule string
	// VerifyAge is how old it may be what is known of a snapshot; 0: nothing is verified
	// for its age. VerifyBandwidth is how many bytes a second are read for that; 0: as
	// many as the store gives.
	VerifyAge       time.Duration
	VerifyBandwidth int64
	// Schedules are of several sources.
	Schedules []schedule.Several
	// Zone is the time zone of schedules that name none; nil: UTC.
	Zone *time.Location
	// LeaseDuration is how long a run stays with an agent that is silent; 60 s.
	LeaseDuration time.Duration
	// Attempts is how often a scheduled backup is tried, 0: once; TimeLimit how long
	// an attempt may take, 0: as long as it wants. Labels of sources come first.
	Attempts  int
	TimeLimit time.Duration
	// AgentDeadline is how long a queued run waits for its agent; 1 h.
	AgentDeadline time.Duration
	// Tick is how often clocks are looked at; 1 s.
	Tick time.Duration
	// Retention says what is kept; the zero value keeps everything.
	Retention Retention
	// Metrics serves /metrics; nil: not served.
	Metrics http.Handler
	// Config is shown at /config, by name; without secrets.
	Config map[string]string

	// Address is HOST:PORT at which agents and other controllers reach this one;
	// empty: nobody does, and there are no certificates.
	Address string
	// OwnPKI says that certificates come from the user's own authority.
	OwnPKI bool
	// Expect is how many controllers made the cluster together, 0 when none did, and
	// CommonToken gives the hash of the token that they had in common; nil: none.
	Expect      int
	CommonToken func() ([sha256.Size]byte, error)
	// Reach is Store where it may be on another controller's disk; nil: it is this one's.
	Reach *member.Reach
	// Keys gives other controllers keys of the repository; nil: they bring their own.
	Keys member.Keys

	// Notify says what people are told, Channels who is, Text how it reads: the
	// built-in text when nil.
	Notify   config.Notify
	Channels []*notify.Channel
	Text     *notify.Text
}

// Retention is what the settings say of keeping: see retain.Options.
type Retention struct {
	Policy, Least retention.Policy
	Policies      retention.Policies
	Undo          time.Duration
	Freeze        int
	// VerifyEvery is zero when only people verify.
	VerifyEvery time.Duration
	// Every is how often the policies are applied; 1 h.
	Every time.Duration
	// CompactBelow is a share of packs in hundredths.
	CompactBelow int
	Space        retain.SpaceLimits
	// TellBelow is at how much free space in the store people are told.
	TellBelow retention.Threshold
}

// Controller is a running controller's services.
type Controller struct {
	Options
	dispatch  *dispatch.Dispatcher
	scheduler *scheduler.Scheduler
	scrub     *verify.Scrub // nil: nothing is verified for its age
	ingest    *ingest.Ingest
	retain    *retain.Retain
	serve     *serve.Serve
	admin     *api.Server
	cluster   *cluster.Service
	identity  *identity.Service
	member    *member.Service
	notify    *notify.Notifier
	stores    *storeProbe
	routes    *routes
	began     time.Time
	stopping  chan struct{} // closed when Run ends
}

// housekeepEvery is how often what a failure left undone is tried again.
const housekeepEvery = 30 * time.Second

// spaceTicks is how many ticks there are between two looks at the store's free space.
const spaceTicks = 30

// New puts a controller together. It serves once Register and Handler are used,
// and decides while Run runs.
func New(o Options) (*Controller, error) {
	o = withDefaults(o)
	c := &Controller{Options: o, began: o.Clock.Now(), stopping: make(chan struct{}), routes: newRoutes(o.Node, o.StoreName)}
	decides := leader{o.Node}
	var err error
	if c.scheduler, err = scheduler.New(scheduler.Options{
		Node: decides, Clock: o.Clock, Logger: o.Logger, Default: o.DefaultSchedule, Drills: o.DrillSchedule, Schedules: o.Schedules, Zone: o.Zone, Tick: o.Tick,
	}); err != nil {
		return nil, err
	}
	receipts, err := o.Repo.ReceiptKey()
	if err != nil {
		return nil, err
	}
	verifier := &verify.Verifier{View: o.Node.View, Propose: o.Node.Propose, Repo: o.Repo, Store: o.Store, Clock: o.Clock}
	c.ingest = ingest.New(ingest.Options{
		Log: o.Node, Repo: o.Repo, Store: o.Store, StoreName: o.StoreName, Logger: o.Logger,
		Leads: o.Node.IsLeader, Caller: transport.IsAgent, ReceiptKey: receipts,
	})
	c.retain = c.newRetain(decides, verifier)
	if o.VerifyAge > 0 {
		slowly := *verifier
		slowly.Store = verify.Slowly(o.Store, o.VerifyBandwidth)
		c.scrub = &verify.Scrub{Verifier: &slowly, Logger: o.Logger, Clock: o.Clock, Age: o.VerifyAge}
	}
	c.dispatch = dispatch.New(dispatch.Options{
		Node: decides, Key: o.Repo.SourceKey, Damaged: c.retain.Avoid, Paused: c.retain.Paused, Clock: o.Clock, Logger: o.Logger,
		Controllers: c.Controllers, TrustVersion: c.trustVersion, Ingest: c.routes.order, Caller: transport.IsAgent,
		LeaseDuration: o.LeaseDuration, AgentDeadline: o.AgentDeadline, Tick: o.Tick,
		Attempts: o.Attempts, TimeLimit: o.TimeLimit,
	})
	c.serve = &serve.Serve{Check: lease.Check{View: o.Node.View, Leads: o.Node.IsLeader, Caller: transport.IsAgent}, Store: o.Store}
	c.stores = &storeProbe{store: o.Store, name: o.StoreName, clock: o.Clock}
	rhythm := &rhythm{clock: o.Clock, zone: o.Zone}
	c.notify, err = notify.New(notify.Options{
		Node: decides, Clock: o.Clock, Logger: o.Logger, Controller: o.Node.ID(), Settings: o.Notify, Channels: o.Channels, Text: o.Text, Zone: o.Zone,
		Stores: c.knownStores, Agents: c.dispatch.Agents, Every: rhythm.every, Missed: missed, Retention: c.retain.Stopped,
	})
	if err != nil {
		return nil, err
	}
	c.admin = api.New(api.Options{
		Node: o.Node, Agents: c.dispatch, Repo: o.Repo, Store: o.Store, Stores: c.stores.infos,
		Verifier: verifier,
		Retain:   c.retain,
		Every:    rhythm.every, DrillEvery: rhythm.everyDrill,
		Clock: o.Clock, Version: o.Version, Schedule: scheduler.Default, Copy: c.ingest.WriteLedgerCopies, Stopping: c.stopping,
	})
	c.identity = identity.New(identity.Options{
		Node: o.Node, Repo: o.Repo, Clock: o.Clock, Logger: o.Logger, Controllers: c.Controllers, AgentsTrust: c.agentsTrust, OwnPKI: o.OwnPKI,
		CommonToken: o.CommonToken, Together: o.Expect,
	})
	c.cluster = cluster.New(cluster.Options{
		Node: o.Node, Agents: c.dispatch, Authority: c.identity, Clock: o.Clock, OwnPKI: o.OwnPKI,
		Uploads: func() map[string]int { return map[string]int{o.Node.ID(): c.ingest.Uploads()} },
	})
	c.member = member.New(member.Options{Node: o.Node, Keys: o.Keys, Logger: o.Logger, Local: c.localStore})
	return c, nil
}

// newRetain puts together what keeps and lets go.
func (c *Controller) newRetain(node retain.Node, verifier retain.Verifier) *retain.Retain {
	o := c.Options.Retention
	r := retain.Options{
		Node: node, Repo: c.Repo, Store: c.Store, Clock: c.Clock, Logger: c.Logger, Copy: c.ingest.WriteLedgerCopies,
		Policy: o.Policy, Policies: o.Policies, Least: o.Least, Zone: c.Zone, Undo: o.Undo, Freeze: o.Freeze, Every: o.Every,
		CompactBelow: o.CompactBelow, Space: o.Space, SpaceEvery: spaceTicks * c.Tick,
	}
	if o.VerifyEvery > 0 {
		r.Verifier, r.VerifyEvery = verifier, o.VerifyEvery
	}
	return retain.New(r)
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
	work := []func(context.Context){c.dispatch.Run, c.scheduler.Run, c.retain.Run, c.retain.Keep, c.retain.WatchSpace, c.notify.Run, c.housekeep}
	if c.Address != "" && !c.OwnPKI {
		work = append(work, c.identity.Run)
	}
	if c.scrub != nil {
		work = append(work, c.scrub.Run)
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
