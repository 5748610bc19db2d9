package main

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/cache"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/provider/docker"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/version"
)

// agentAlone runs the agent for a controller that it reaches over TCP. Its name
// is the one in its certificate: the controller accepts no other.
func agentAlone(ctx context.Context, c config.Config, warnings []string) error {
	return runProcess(ctx, c, warnings, halfMemory, func(ctx context.Context, p process) error {
		holder, err := transport.OwnPKI(tlsFiles(c), clock.System{}, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return err
		}
		id := c.AgentID
		if id == "" {
			if id, err = holder.AgentName(); err != nil {
				return err
			}
		}
		conn, err := transport.Dial(c.Controller, holder)
		if err != nil {
			return err
		}
		p.log.Info("the agent's controller", "agent", id, "controller", c.Controller)
		return runAgent(ctx, p, id, conn)
	})
}

// connection is one to the controller, over whatever there is.
type connection interface {
	grpc.ClientConnInterface
	io.Closer
}

// runAgent runs the agent of that id until ctx ends, and closes the connection
// to its controller.
func runAgent(ctx context.Context, p process, id string, conn connection) (err error) {
	defer func() { err = errors.Join(err, conn.Close()) }()
	log := p.log.With("part", "agent")
	d, err := newDocker(p.Config, log)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = id
	}
	var packs *cache.Cache
	if p.Cache > 0 {
		packs = cache.Open(filepath.Join(p.DataDir, "agent", "cache"), p.Cache, clock.System{}, log)
	}
	err = agent.New(agent.Options{
		Host: host, Version: version.String(), Controller: uplink.New(conn, id, clock.System{}),
		Providers: []provider.Provider{d}, Engines: engines(), Concurrency: p.Concurrency, Compress: p.Compress,
		Cache: packs, Clock: clock.System{}, Logger: log,
	}).Run(ctx) // returns when ctx ends, its tools killed
	p.log.Info("the agent stops")
	return err
}

func newDocker(c config.Config, log *slog.Logger) (*docker.Provider, error) {
	return docker.New(docker.Options{
		Host: c.Docker.Host, TLS: docker.TLS{CA: c.Docker.CA, Cert: c.Docker.Cert, Key: c.Docker.Key.Reveal()},
		HelperBinary: ownBinary, Clock: clock.System{}, Logger: log,
	})
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
