package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/forming"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/transport/certs"
	"github.com/baktainer/baktainer/internal/version"
)

// halfMemory is the usual limit of one half in a process of its own. With the
// program's code it stays under 128 MiB.
const halfMemory = 96 << 20

// controllerAlone runs the controller for agents that come over TCP.
func controllerAlone(ctx context.Context, c config.Config, warnings []string) error {
	return runProcess(ctx, c, warnings, halfMemory, func(ctx context.Context, p process) error {
		return runController(ctx, p, func() {})
	})
}

func tlsFiles(c config.Config) certs.Files {
	return certs.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key.Reveal()}
}

// runController runs the controller until ctx ends, and calls ready once it
// listens. Over the unix socket it can always be asked, over TCP when the
// settings say where.
//
// Start: the place among others (a second process on the data folder ends here),
// the node, store and key, services, listeners. Stop, in the opposite order:
// leadership is handed over, then the calls in flight end, then the node, then
// the port, which the node needs to the end.
func runController(ctx context.Context, p process, ready func()) (err error) {
	channels, text, err := told(p.Notify)
	if err != nil {
		return err
	}
	at, err := takePlace(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	outcome, err := at.come(ctx)
	if err != nil {
		return err
	}
	node, err := at.node(outcome)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopWithin(node.Shutdown)) }()
	kept, err := at.findStore(ctx, outcome)
	if err != nil {
		return err
	}
	ctl, err := controller.New(controller.Options{
		Node: node, Repo: kept.repository, Store: kept.store, Reach: kept.reach, Keys: kept.keys, Version: version.String(),
		Address: at.address, OwnPKI: at.port != nil && at.keeper == nil, Expect: p.Expect, CommonToken: at.commonToken(),
		Clock: clock.System{}, Logger: p.log.With("part", "controller"),
		DefaultSchedule: p.Schedule, DrillSchedule: p.DrillSchedule, VerifyAge: p.VerifyAge, VerifyBandwidth: p.VerifyBandwidth, Schedules: p.Schedules, Zone: p.Zone, LeaseDuration: p.LeaseDuration, Retention: retentionOf(p.Config),
		Attempts: p.Attempts, TimeLimit: p.TimeLimit,
		Metrics: p.tel.MetricsHandler(), Config: shown(p.Config),
		Notify: p.Notify, Channels: channels, Text: text,
	})
	if err != nil {
		return err
	}
	recorder := audit.New(audit.Options{Propose: node.Propose, Node: node.ID(), Clock: clock.System{}, Logger: p.log.With("part", "audit")})
	guard := transport.NewGuard(at.guard(node, recorder))
	defer func() { err = errors.Join(err, guard.Close()) }()
	services, err := listen(p, at, ctl, guard)
	if err != nil {
		return err
	}

	parts, ctx := errgroup.WithContext(ctx)
	for _, s := range services {
		parts.Go(func() error {
			if err := s.server.Serve(s.listener); !errors.Is(err, grpc.ErrServerStopped) {
				return err
			}
			return nil // told to stop before it began
		})
	}
	parts.Go(func() error { return ctl.Run(ctx) })
	at.keepUp(ctx, parts, outcome, node, ctl)
	serveHTTP(ctx, parts, p.HTTPListen, ctl.Handler(), p.log)
	parts.Go(func() error {
		<-ctx.Done()
		p.log.Info("the controller stops")
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		handOver(stopCtx, node, p.log)
		for _, s := range services {
			transport.Stop(stopCtx, s.server)
		}
		recorder.Close(stopCtx)
		return nil
	})
	ready()
	return parts.Wait()
}

// handOverTime bounds the wait for another controller to lead.
const handOverTime = 3 * time.Second

// handOver lets another controller lead, if there is one and this one does, so
// that nobody has to find out that it is gone.
func handOver(ctx context.Context, node *consensus.Node, log *slog.Logger) {
	voters := 0
	for _, m := range node.Membership() {
		if m.Voter {
			voters++
		}
	}
	if !node.IsLeader() || voters < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	if err := node.TransferLeadership(ctx, ""); err != nil {
		log.Warn("leadership not handed over: the others will notice", "error", err)
	}
}

// keepUp runs what a controller among others does all the time.
func (m *place) keepUp(ctx context.Context, parts *errgroup.Group, o forming.Outcome, node *consensus.Node, ctl *controller.Controller) {
	run := func(work func(context.Context)) {
		parts.Go(func() error {
			work(ctx)
			return nil
		})
	}
	if m.gate != nil {
		run(m.gate.Run)
	}
	if m.keeper != nil {
		run(m.keeper.Run)
		run(m.followTrust)
		if o.Make || m.kept.State {
			run(func(ctx context.Context) { forming.First(ctx, m.forming(), ctl.Identity()) })
		}
	}
	if m.port != nil && m.kept.State {
		run(func(ctx context.Context) { forming.Announce(ctx, m.forming(), node) })
	}
}

// followTrust has the certificate renewed as soon as the cluster's trust changes.
func (m *place) followTrust(ctx context.Context) {
	for {
		view := m.tables.View()
		if a, ok := view.Authority(); ok {
			m.keeper.Want(a.GetVersion())
		}
		select {
		case <-view.Changed():
		case <-ctx.Done():
			return
		}
	}
}

// service is a server with what it listens on.
type service struct {
	server   *grpc.Server
	listener net.Listener
}

// listen opens the unix socket, and takes over the port.
func listen(p process, at *place, ctl *controller.Controller, guard *transport.Guard) ([]service, error) {
	serve := func(credentials grpc.ServerOption) (*grpc.Server, error) {
		s := grpc.NewServer(append(guard.ServerOptions(), credentials)...)
		ctl.Register(s)
		healthpb.RegisterHealthServer(s, health.NewServer())
		reflection.Register(s)
		return s, transport.CheckAccess(s)
	}
	local, err := serve(transport.LocalCredentials())
	if err != nil {
		return nil, err
	}
	socket, err := transport.ListenUnix(p.Socket)
	if err != nil {
		return nil, err
	}
	services := []service{{local, socket}}
	if at.port == nil {
		return services, nil
	}
	remote, err := serve(at.port.Credentials())
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return append(services, service{remote, at.port.GRPC()}), nil
}

// serveHTTP serves status, health and metrics. That its port is taken must not
// keep databases from being backed up, so it only warns.
func serveHTTP(ctx context.Context, parts *errgroup.Group, address string, handler http.Handler, log *slog.Logger) {
	if address == "" {
		return
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		log.Warn("no status page, health or metrics over HTTP; set --http-listen to another address, or to off", "error", err)
		return
	}
	log.Info("status page", "url", "http://"+l.Addr().String()+"/")
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
	}
	parts.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	parts.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
}

// shown are the settings for people to see, by name.
func shown(c config.Config) map[string]string {
	out := map[string]string{}
	for _, s := range config.Settings() {
		if !s.Hidden {
			out[s.Name] = s.Value(c)
		}
	}
	return out
}

// retentionOf is what the settings say of keeping.
func retentionOf(c config.Config) controller.Retention {
	r := c.Retention
	return controller.Retention{
		Policy: r.Policy, Policies: r.Policies, Least: r.Least, Undo: r.Undo, Freeze: r.Freeze, VerifyEvery: r.Verify,
		CompactBelow: r.Compact,
		Space:        retain.SpaceLimits{Prune: r.Prune, Pause: r.Pause},
		TellBelow:    r.Notify,
	}
}
