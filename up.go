package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/provider/docker"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/fs"
	"github.com/baktainer/baktainer/internal/telemetry"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/version"
)

// stopTimeout bounds an orderly stop. What is not done by then is cut off,
// which loses nothing: it is what a crash would do.
const stopTimeout = 20 * time.Second

// up runs controller and agent in one process until ctx ends.
//
// Start: telemetry, the node (its lock on the data folder keeps a second process
// out before anything is written), store and key, controller, socket, agent.
// Stop, in the opposite order: the agent first, so that no dump goes on without
// anybody to send it to; then the calls in flight; then the node.
func up(ctx context.Context, c config.Config, warnings []string) (err error) {
	log := slog.New(telemetry.LogHandler(os.Stderr, c.LogFormat, c.LogLevel))
	slog.SetDefault(log)
	tel, stopTelemetry, err := telemetry.Setup(ctx, telemetry.Options{Service: "baktainer", Version: version.String(), Logger: log})
	if err != nil {
		return fmt.Errorf("set up telemetry: %w", err)
	}
	defer func() {
		if stopErr := stopWithin(stopTelemetry); stopErr != nil {
			log.Warn("telemetry not sent to its end", "error", stopErr)
		}
	}()
	log.Info("baktainer starts", "version", version.String(), "data", c.DataDir)
	for _, w := range warnings {
		log.Warn(w)
	}

	node, err := consensus.Open(consensus.Options{
		Dir: filepath.Join(c.DataDir, "controller"), Tables: state.New(), Clock: clock.System{}, Logger: log.With("part", "raft"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopWithin(node.Shutdown)) }()

	ctl, err := newController(ctx, c, node, tel, log)
	if err != nil {
		return err
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	ctl.Register(server)
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	socket, err := transport.ListenUnix(c.Socket)
	if err != nil {
		return err
	}
	ag, closeConn, err := newAgent(c, log)
	if err != nil {
		return errors.Join(err, socket.Close())
	}

	parts, ctx := errgroup.WithContext(ctx)
	controllerCtx, stopController := context.WithCancel(context.WithoutCancel(ctx))
	defer stopController()
	parts.Go(func() error { return server.Serve(socket) })
	parts.Go(func() error { return ctl.Run(controllerCtx) })
	serveHTTP(ctx, parts, c.HTTPListen, ctl.Handler(), log)
	parts.Go(func() error {
		agentErr := ag.Run(ctx) // returns when ctx ends, its tools killed
		log.Info("baktainer stops")
		stopController()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		transport.Stop(stopCtx, server)
		return errors.Join(agentErr, closeConn())
	})
	return parts.Wait()
}

func newController(ctx context.Context, c config.Config, node *consensus.Node, tel *telemetry.Telemetry, log *slog.Logger) (*controller.Controller, error) {
	st, err := fs.Open(c.Store)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	repository, err := openRepository(ctx, st, c.KeyFile, clock.System{}.Now(), log)
	if err != nil {
		return nil, err
	}
	return controller.New(controller.Options{
		Node: node, Repo: repository, Store: st, Version: version.String(),
		Clock: clock.System{}, Logger: log.With("part", "controller"),
		DefaultSchedule: c.Schedule, Zone: c.Zone, LeaseDuration: c.LeaseDuration,
		Metrics: tel.MetricsHandler(), Config: shown(c),
	})
}

func newAgent(c config.Config, log *slog.Logger) (*agent.Agent, func() error, error) {
	log = log.With("part", "agent")
	d, err := newDocker(c, log)
	if err != nil {
		return nil, nil, err
	}
	id, err := agentID(c)
	if err != nil {
		return nil, nil, err
	}
	conn, err := transport.DialUnix(c.Socket)
	if err != nil {
		return nil, nil, fmt.Errorf("connect the agent: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = id
	}
	return agent.New(agent.Options{
		Host: host, Version: version.String(), Controller: uplink.New(conn, id, clock.System{}),
		Providers: []provider.Provider{d}, Engines: engines(), Concurrency: c.Concurrency, Compress: c.Compress,
		Clock: clock.System{}, Logger: log,
	}), conn.Close, nil
}

func newDocker(c config.Config, log *slog.Logger) (*docker.Provider, error) {
	return docker.New(docker.Options{
		Host: c.Docker.Host, TLS: docker.TLS{CA: c.Docker.CA, Cert: c.Docker.Cert, Key: c.Docker.Key.Reveal()},
		HelperBinary: ownBinary, Clock: clock.System{}, Logger: log,
	})
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

// stopWithin calls a stop function with stopTimeout.
func stopWithin(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return stop(ctx)
}

// agentID is the setting's, else the one kept in the data folder, else a new one.
func agentID(c config.Config) (string, error) {
	if c.AgentID != "" {
		return c.AgentID, nil
	}
	id, err := keptID(filepath.Join(c.DataDir, "agent", "id"))
	if err != nil {
		return "", problem.Wrap(problem.Failed, err, "read or make the agent's id in %s", c.DataDir)
	}
	return id, nil
}
