// Package controller is the half that remembers and decides. It puts the parts
// below it together: state and consensus underneath, the services for agents,
// operators and browsers on top.
package controller

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/api"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/dashboard"
	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/ingest"
	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/serve"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
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
	stores    *storeProbe
	began     time.Time
	stopping  chan struct{} // closed when Run ends
}

// housekeepEvery is how often what a failure left undone is tried again.
const housekeepEvery = 30 * time.Second

// New puts a controller together. It serves once Register and Handler are used,
// and decides while Run runs.
func New(o Options) (*Controller, error) {
	o = withDefaults(o)
	c := &Controller{Options: o, began: o.Clock.Now(), stopping: make(chan struct{})}
	var err error
	if c.scheduler, err = scheduler.New(o.Node, o.Clock, o.Logger, o.DefaultSchedule, o.Zone, o.Tick); err != nil {
		return nil, err
	}
	c.retain = retain.New(retain.Options{Node: o.Node, Repo: o.Repo, Store: o.Store, Clock: o.Clock, Logger: o.Logger})
	c.dispatch = dispatch.New(dispatch.Options{
		Node: o.Node, Key: o.Repo.SourceKey, Damaged: c.retain.Damaged, Clock: o.Clock, Logger: o.Logger,
		LeaseDuration: o.LeaseDuration, AgentDeadline: o.AgentDeadline, Tick: o.Tick, Caller: transport.IsAgent,
	})
	c.ingest = ingest.New(ingest.Options{
		Log: o.Node, Repo: o.Repo, Store: o.Store, StoreName: o.StoreName, Logger: o.Logger,
		Leads: o.Node.IsLeader, Caller: transport.IsAgent,
	})
	c.serve = &serve.Serve{Check: lease.Check{View: o.Node.View, Leads: o.Node.IsLeader, Caller: transport.IsAgent}, Store: o.Store}
	c.stores = &storeProbe{store: o.Store, name: o.StoreName}
	c.admin = api.New(api.Options{
		Node: o.Node, Agents: c.dispatch, Repo: o.Repo, Store: o.Store, Stores: c.stores.infos,
		Verifier: &verify.Verifier{View: o.Node.View, Propose: o.Node.Propose, Repo: o.Repo, Store: o.Store, Clock: o.Clock},
		Retain:   c.retain,
		Clock:    o.Clock, Version: o.Version, Schedule: scheduler.Default, Stopping: c.stopping,
	})
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

// Register adds the services for agents and operators to a server.
func (c *Controller) Register(s *grpc.Server) {
	c.RegisterAgents(s)
	pb.RegisterAdminServiceServer(s, c.admin)
}

// RegisterAgents adds the service for agents alone.
func (c *Controller) RegisterAgents(s *grpc.Server) {
	pb.RegisterAgentServiceServer(s, &agentService{controller: c})
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
	var probing sync.WaitGroup
	defer probing.Wait()
	probing.Go(func() { c.stores.run(ctx) })

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
	for _, part := range []func(context.Context){c.dispatch.Run, c.scheduler.Run, c.retain.Run, c.housekeep} {
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
		if err := c.registerStore(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("store not registered yet", "store", c.StoreName, "error", err)
		}
		if err := c.ingest.WriteLedgerCopies(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("ledger copies are missing from the store", "store", c.StoreName, "error", err)
		}
		c.ingest.Forget(c.Node.View())
		_ = clock.Sleep(ctx, housekeepEvery) // its only error ends the loop
	}
}

func (c *Controller) registerStore(ctx context.Context) error {
	location, id := c.Store.Describe(), c.Node.ID()
	for _, known := range c.Node.View().Stores() {
		if known.GetName() == c.StoreName && known.GetLocation() == location && known.GetRepository() == c.Repo.ID && slices.Contains(known.GetControllers(), id) {
			return nil
		}
	}
	return c.Node.Propose(ctx, &pb.Command{Actor: "controller", Command: &pb.Command_RegisterStore{
		RegisterStore: &pb.RegisterStore{Name: c.StoreName, Location: location, Repository: c.Repo.ID, Controller: id},
	}})
}

// agentService hands each call of an agent to the part that it is for, once it is
// sure that the caller is the agent that it names. Where a call names a lease, the
// part itself makes sure that it is the caller's.
type agentService struct {
	pb.UnimplementedAgentServiceServer
	controller *Controller
}

func (a *agentService) Session(r *pb.SessionRequest, s grpc.ServerStreamingServer[pb.SessionResponse]) error {
	if err := transport.IsAgent(s.Context(), r.GetAgent()); err != nil {
		return err
	}
	return a.controller.dispatch.Session(r, s)
}

func (a *agentService) Heartbeat(ctx context.Context, r *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.Heartbeat(ctx, r)
}

func (a *agentService) ReportInventory(ctx context.Context, r *pb.ReportInventoryRequest) (*pb.ReportInventoryResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.ReportInventory(ctx, r)
}

func (a *agentService) FinishRun(ctx context.Context, r *pb.FinishRunRequest) (*pb.FinishRunResponse, error) {
	return a.controller.dispatch.FinishRun(ctx, r)
}

func (a *agentService) SendLogs(ctx context.Context, r *pb.SendLogsRequest) (*pb.SendLogsResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return a.controller.dispatch.SendLogs(ctx, r)
}

func (a *agentService) UploadObject(s grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	return a.controller.ingest.UploadObject(s)
}

func (a *agentService) CommitSnapshot(ctx context.Context, r *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	return a.controller.ingest.CommitSnapshot(ctx, r)
}

func (a *agentService) ReadObject(r *pb.ReadObjectRequest, s grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return a.controller.serve.ReadObject(r, s)
}
