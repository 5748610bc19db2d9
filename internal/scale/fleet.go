package scale

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/scale/sim"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// atOnce is how many runs an agent takes: the real one's default.
const atOnce = 4

// fleet are the agents.
type fleet struct {
	tally   *tally
	clock   clock.Clock
	running sync.WaitGroup
	stop    context.CancelFunc
	conns   []*grpc.ClientConn

	mu   sync.Mutex
	open map[net.Conn]bool
}

// sourceName is that of a source of an agent.
func sourceName(agent, source int) string { return fmt.Sprintf("a%05d/s%03d", agent, source) }

// agentName is that of an agent.
func agentName(n int) string { return fmt.Sprintf("a%05d", n) }

// newFleet starts so many agents with so many sources each.
func newFleet(ctx context.Context, l *leader, agents, sources int, t *tally, c clock.Clock) (*fleet, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &fleet{tally: t, clock: c, stop: stop, open: map[net.Conn]bool{}}
	for n := range agents {
		conn, err := f.connect(l, agentName(n))
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.conns = append(f.conns, conn)
	}
	for n, conn := range f.conns {
		f.running.Go(func() { f.agent(ctx, n, sources, pb.NewAgentServiceClient(conn)) })
	}
	return f, nil
}

// connect makes the connection of an agent, as the real one's would be.
func (f *fleet) connect(l *leader, name string) (*grpc.ClientConn, error) {
	cert, err := l.authority.issue("agent", name)
	if err != nil {
		return nil, err
	}
	secure := credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: l.authority.pool(), Certificates: []tls.Certificate{cert}, ServerName: "localhost",
	})
	conn, err := grpc.NewClient("passthrough:///"+l.address, append(transport.DialOptions(),
		grpc.WithTransportCredentials(secure), grpc.WithContextDialer(f.dial))...)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", name, err)
	}
	return conn, nil
}

// dial makes a connection that can be cut.
func (f *fleet) dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &cuttable{Conn: conn, fleet: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[c] = true
	return c, nil
}

// cuttable is a connection that the fleet knows as long as it is open.
type cuttable struct {
	net.Conn
	fleet *fleet
}

func (c *cuttable) Close() error {
	c.fleet.mu.Lock()
	delete(c.fleet.open, c)
	c.fleet.mu.Unlock()
	return c.Conn.Close()
}

// cut cuts all connections at once and says how many there were.
func (f *fleet) cut() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		if inner, ok := c.(*cuttable); ok {
			_ = inner.Conn.Close() // gRPC closes it again, and forgets it
		}
	}
	return len(f.open)
}

// agent is one of them.
func (f *fleet) agent(ctx context.Context, n, sources int, client pb.AgentServiceClient) {
	var mine []*pb.Source
	for s := range sources {
		mine = append(mine, &pb.Source{
			Name: sourceName(n, s), State: pb.SourceState_SOURCE_STATE_READY, Engine: "simulated", Agent: agentName(n),
			Container: &pb.Container{Id: fmt.Sprintf("%064x", n*1000+s), Name: fmt.Sprintf("db-%d", s), Image: "simulated:1"},
		})
	}
	var a *sim.Agent
	var work sync.WaitGroup
	defer work.Wait()
	a = sim.New(sim.Options{
		ID: agentName(n), Sources: mine, Concurrency: atOnce, Clock: f.clock, Client: func() pb.AgentServiceClient { return client },
		Events: sim.Events{
			Session: f.tally.session, Beat: f.tally.beat, Reported: f.tally.reported,
			Ended: func(opened bool, _ error) { f.tally.gone(opened) },
			Assigned: func(as *pb.Assignment) {
				f.tally.assigned(as.GetLease().GetRun())
				work.Go(func() { f.carryOut(ctx, a, client, as) })
			},
		},
	})
	a.Run(ctx)
}

// carryOut makes the snapshot of a run, a very small one.
func (f *fleet) carryOut(ctx context.Context, a *sim.Agent, client pb.AgentServiceClient, as *pb.Assignment) {
	defer a.Drop(as.GetLease())
	s, err := sim.Store(ctx, client, as, []byte("a dump of "+as.GetSource()+" at "+as.GetBackup().GetFireTime().AsTime().Format(time.RFC3339Nano)))
	if err == nil {
		err = s.Commit(ctx, client, as.GetLease())
	}
	if ctx.Err() == nil {
		f.tally.done(as.GetLease().GetRun(), err)
	}
}

// close ends all agents.
func (f *fleet) close() error {
	f.stop()
	f.running.Wait()
	var errs []error
	for _, c := range f.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
