package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/store/fs"
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
		holder, err := transport.OwnPKI(tlsFiles(c), clock.System{}, x509.ExtKeyUsageServerAuth)
		if err != nil {
			return err
		}
		return runController(ctx, p, holder, func() {})
	})
}

func tlsFiles(c config.Config) certs.Files {
	return certs.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key.Reveal()}
}

// runController runs the controller until ctx ends, and calls ready once it
// listens. Agents come in over TCP to what the holder shows; when there is none,
// over the unix socket alone.
//
// Start: the node (its lock on the data folder keeps a second process out before
// anything is written), store and key, services, listeners. Stop, in the opposite
// order: the calls in flight, then the node.
func runController(ctx context.Context, p process, holder *transport.Holder, ready func()) (err error) {
	node, err := consensus.Open(consensus.Options{
		Dir: filepath.Join(p.DataDir, "controller"), Tables: state.New(), Clock: clock.System{}, Logger: p.log.With("part", "raft"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopWithin(node.Shutdown)) }()
	ctl, err := newController(ctx, p, node)
	if err != nil {
		return err
	}
	services, err := listen(ctx, p, ctl, holder)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range services {
			if s.port != nil {
				err = errors.Join(err, s.port.Close())
			}
		}
	}()

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
	serveHTTP(ctx, parts, p.HTTPListen, ctl.Handler(), p.log)
	parts.Go(func() error {
		<-ctx.Done()
		p.log.Info("the controller stops")
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		for _, s := range services {
			transport.Stop(stopCtx, s.server)
		}
		return nil
	})
	ready()
	return parts.Wait()
}

// service is a server with what it listens on.
type service struct {
	server   *grpc.Server
	listener net.Listener
	port     *transport.Port // that the listener is of, if any
}

// listen opens the unix socket, where all services are, and the agents' port,
// where theirs is alone.
func listen(ctx context.Context, p process, ctl *controller.Controller, holder *transport.Holder) ([]service, error) {
	local := grpc.NewServer(transport.ServerOptions()...)
	ctl.Register(local)
	healthpb.RegisterHealthServer(local, health.NewServer())
	reflection.Register(local)
	socket, err := transport.ListenUnix(p.Socket)
	if err != nil {
		return nil, err
	}
	services := []service{{server: local, listener: socket}}
	if holder == nil {
		return services, nil
	}
	port, err := transport.Listen(ctx, p.Listen, transport.PortOptions{Holder: holder, Clock: clock.System{}, Logger: p.log.With("part", "port")})
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	remote := grpc.NewServer(append(transport.ServerOptions(), port.Credentials())...)
	ctl.RegisterAgents(remote)
	healthpb.RegisterHealthServer(remote, health.NewServer())
	p.log.Info("waiting for agents", "listen", port.Addr().String())
	return append(services, service{server: remote, listener: port.GRPC(), port: port}), nil
}

func newController(ctx context.Context, p process, node *consensus.Node) (*controller.Controller, error) {
	st, err := fs.Open(p.Store)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	repository, err := openRepository(ctx, st, p.Config, clock.System{}.Now(), p.log)
	if err != nil {
		return nil, err
	}
	return controller.New(controller.Options{
		Node: node, Repo: repository, Store: st, Version: version.String(),
		Clock: clock.System{}, Logger: p.log.With("part", "controller"),
		DefaultSchedule: p.Schedule, Zone: p.Zone, LeaseDuration: p.LeaseDuration,
		Metrics: p.tel.MetricsHandler(), Config: shown(p.Config),
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
