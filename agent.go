package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/around"
	"github.com/baktainer/baktainer/agent/cache"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/provider/docker"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/telemetry"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/version"
)

// line is how an agent reaches its controllers, and who it is to them.
type line struct {
	id        string
	addresses []string
	dial      uplink.DialFunc
	known     *contacts         // nil: nothing is learned
	keeper    *transport.Keeper // nil: certificates are somebody else's to renew
	connected func(bool)        // nil: nobody asks
}

// agentAlone runs the agent for controllers that it reaches over TCP. Its name is
// the one in its certificate: they accept no other.
func agentAlone(ctx context.Context, c config.Config, warnings []string) error {
	return runProcess(ctx, c, warnings, halfMemory, func(ctx context.Context, p process) error {
		l := line{addresses: plain(c.Controllers)}
		holder, err := l.credentials(ctx, p)
		if err != nil {
			return err
		}
		l.dial = func(address string) (uplink.Conn, error) { return transport.Dial(address, holder) }
		p.log.Info("the agent's controllers", "agent", l.id, "controllers", l.addresses)
		health, err := serveHealth(p)
		if err != nil {
			return err
		}
		defer health.stop()
		l.connected = health.connected
		if l.keeper == nil {
			return runAgent(ctx, p, l)
		}
		ctx, stop := context.WithCancel(ctx)
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			l.keeper.Run(ctx)
		}()
		err = runAgent(ctx, p, l)
		stop()
		<-kept
		return err
	})
}

// agentHealth answers those on the agent's own host who ask how it is.
type agentHealth struct {
	server *grpc.Server
	health *health.Server
}

// serveHealth answers on the agent's socket, which also keeps a second agent
// from this data folder.
func serveHealth(p process) (agentHealth, error) {
	socket := p.AgentSocket()
	if err := transport.CheckSocketPath(socket); err != nil {
		return agentHealth{}, problem.Wrap(problem.InvalidInput, err, "listen on the unix socket %s", socket).WithHint("Set a shorter path with --data-dir.")
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return agentHealth{}, problem.Wrap(problem.Failed, err, "make the agent's folder")
	}
	l, err := transport.ListenUnix(socket)
	if err != nil {
		return agentHealth{}, err
	}
	h := agentHealth{server: grpc.NewServer(transport.LocalCredentials()), health: health.NewServer()}
	h.connected(false)
	healthpb.RegisterHealthServer(h.server, h.health)
	go func() {
		if err := h.server.Serve(l); err != nil {
			p.log.Warn("nobody can ask any more how this agent is", "error", err)
		}
	}()
	return h, nil
}

func (h agentHealth) stop() { h.server.Stop() }

func (h agentHealth) connected(is bool) {
	s := healthpb.HealthCheckResponse_NOT_SERVING
	if is {
		s = healthpb.HealthCheckResponse_SERVING
	}
	h.health.SetServingStatus(transport.AgentSession, s)
}

// credentials finds the agent's certificate: of the user's own authority, kept
// from before, or in exchange for a token.
func (l *line) credentials(ctx context.Context, p process) (*transport.Holder, error) {
	if p.TLS.Given() {
		holder, err := transport.OwnPKI(tlsFiles(p.Config), clock.System{}, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return nil, err
		}
		if l.id = p.AgentID; l.id == "" {
			l.id, err = holder.AgentName()
		}
		return holder, err
	}
	dir := filepath.Join(p.DataDir, "agent", "identity")
	l.known = newContacts(filepath.Join(dir, contactsName), p.log)
	holder := transport.NewHolder(clock.System{})
	peers := transport.NewPeers(holder)
	keeper, err := transport.NewKeeper(transport.KeeperOptions{
		Dir: dir, Holder: holder, Clock: clock.System{}, Logger: p.log.With("part", "identity"), Random: rand.Float64,
		Renewer: transport.RenewThrough(func() (*transport.Peers, []string) { return peers, plain(append(l.known.addresses(), l.addresses...)) }),
	})
	switch reason := problem.ReasonOf(err); {
	case err == nil:
	case reason == pki.ReasonNone, reason == pki.ReasonExpired && p.Token.Given():
		if err := l.enrol(ctx, p, keeper); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	l.keeper, l.id = keeper, keeper.Held().Identity().Name
	if p.AgentID != "" && p.AgentID != l.id {
		return nil, problem.New(problem.InvalidInput, "this agent is enrolled as %s, not as %s", l.id, p.AgentID).
			WithHint("Leave --agent-id out. To enrol it anew, revoke it, remove %s, and give it another token.", dir)
	}
	return holder, nil
}

// enrol exchanges the token for a certificate, at whichever controller answers.
func (l *line) enrol(ctx context.Context, p process, keeper *transport.Keeper) error {
	token, err := readToken(p.Token, "--token-file", config.TokenVariable)
	if err != nil {
		return err
	}
	name := p.AgentID
	if name == "" {
		if name, err = hostName("the agent", "--agent-id"); err != nil {
			return err
		}
	}
	got, err := transport.EnrolAt(ctx, l.addresses, transport.Enrolment{Token: token, Role: transport.RoleOf(pki.RoleAgent), Name: name, Clock: clock.System{}}, p.log)
	if err != nil {
		return asWhom(err, "agent", name, "--agent-id")
	}
	p.log.Info("enrolled", "agent", name, "cluster", got.Credentials.Cluster)
	if err := keeper.Adopt(got.Credentials); err != nil {
		return err
	}
	for _, c := range got.Controllers {
		l.addresses = plain(append(l.addresses, c))
	}
	return nil
}

// runAgent runs the agent until ctx ends.
func runAgent(ctx context.Context, p process, l line) error {
	options := uplink.Options{Agent: l.id, Dialer: l.dial, Addresses: l.addresses, Clock: clock.System{}, Bandwidth: p.Bandwidth}
	if l.known != nil {
		options.Known, options.Remember = l.known.controllers(), l.known.remember
	}
	client := uplink.New(options)
	defer client.Close()
	recent := telemetry.NewRing(p.log.With("part", "agent").Handler())
	log := slog.New(recent)
	d, err := newDocker(p.Config, l.id, log)
	if err != nil {
		return err
	}
	known, err := enginesAnd(ctx, p.EnginePlugins, log)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = l.id
	}
	var packs *cache.Cache
	if p.Cache > 0 {
		packs = cache.Open(filepath.Join(p.DataDir, "agent", "cache"), p.Cache, clock.System{}, log)
	}
	work := agent.Options{
		Host: host, Version: version.String(), Controller: client,
		Providers: []provider.Provider{d}, Engines: known, Concurrency: p.Concurrency, Compress: p.Compress,
		Cache: packs, Recent: recent, Clock: clock.System{}, Logger: log,
		Connected: l.connected, Sandboxes: d,
		Around: around.New(around.Options{Dir: filepath.Join(p.DataDir, "agent", "around"), Switch: d, Clock: clock.System{}, Logger: log}),
	}
	if l.keeper != nil {
		work.TrustVersion, work.Renew = l.keeper.Version, l.keeper.Renew
	}
	err = agent.New(work).Run(ctx) // returns when ctx ends, its tools killed
	p.log.Info("the agent stops")
	return err
}

func newDocker(c config.Config, owner string, log *slog.Logger) (*docker.Provider, error) {
	return docker.New(docker.Options{
		Host: c.Docker.Host, TLS: docker.TLS{CA: c.Docker.CA, Cert: c.Docker.Cert, Key: c.Docker.Key.Reveal()},
		HelperBinary: ownBinary, Owner: owner, Only: c.OnlyLabelled, Clock: clock.System{}, Logger: log,
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
