package uplink

import (
	"errors"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Conn is a connection to one controller. It connects when it is first used, and
// again by itself; while nobody answers, calls fail.
type Conn interface {
	grpc.ClientConnInterface
	Close() error
}

// Dialer makes connections to controllers at addresses as the user, or the
// controllers themselves, give them.
type Dialer interface {
	Dial(address string) (Conn, error)
}

// DialFunc is a function that is a Dialer.
type DialFunc func(address string) (Conn, error)

// Dial implements Dialer.
func (f DialFunc) Dial(address string) (Conn, error) { return f(address) }

// line is one of the two connections to a controller. They are apart so that a
// heartbeat never waits behind a pack.
type line struct {
	address string
	data    bool
}

// pool keeps the connections. A connection is closed when it is not wanted any
// more and nobody uses it.
type pool struct {
	dialer Dialer

	mu     sync.Mutex
	conns  map[line]*pooled
	closed bool
}

type pooled struct {
	Conn
	uses   int
	parted bool
}

func newPool(d Dialer) *pool { return &pool{dialer: d, conns: map[line]*pooled{}} }

var errClosed = errors.New("the agent is being stopped")

// take gives the service at the end of a line, until release is called, once.
func (p *pool) take(l line) (rpc pb.AgentServiceClient, release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	c := p.conns[l]
	if c == nil {
		conn, err := p.dialer.Dial(l.address)
		if err != nil {
			// Of the class that makes callers try another controller, and this one later.
			return nil, nil, problem.Wrap(problem.Unavailable, err, "connect to the controller at %s", l.address)
		}
		c = &pooled{Conn: conn}
		p.conns[l] = c
	}
	c.uses++
	return pb.NewAgentServiceClient(c), sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		c.uses--
		p.hangUp(c)
	}), nil
}

// hurry has connections that are waiting to try again try now. Whoever calls it
// makes a pause of its own, and theirs are not to come on top of that.
func (p *pool) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if waiting, ok := c.Conn.(interface{ ResetConnectBackoff() }); ok {
			waiting.ResetConnectBackoff()
		}
	}
}

// keep takes all connections but those to the addresses out of use: calls under way
// end on them, others get new ones.
func (p *pool) keep(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l, c := range p.conns {
		if !slices.Contains(addresses, l.address) {
			delete(p.conns, l)
			c.parted = true
			p.hangUp(c)
		}
	}
}

// hangUp closes a connection that is not wanted and not used. p.mu is held.
func (p *pool) hangUp(c *pooled) {
	if c.parted && c.uses == 0 {
		_ = c.Close()
	}
}

// close closes every connection, used or not.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for l, c := range p.conns {
		delete(p.conns, l)
		_ = c.Close()
	}
}
