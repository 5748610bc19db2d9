package transport

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
)

// Conn is a connection to a controller that follows its holder: when that gets
// another certificate, calls that begin go over a new connection, and those that
// have begun end on the old one.
type Conn struct {
	address string
	holder  *Holder
	options []grpc.DialOption

	mu     sync.Mutex
	now    *lane          // nil before the first call
	lanes  map[*lane]bool // all that are open
	closed bool
}

// lane is a connection of one time.
type lane struct {
	*grpc.ClientConn
	outdated <-chan struct{}
	calls    int
}

// Dial returns a connection to the controller at HOST:PORT. It connects at the
// first call, with the name resolved at that moment, and again by itself whenever
// the connection is lost.
func Dial(address string, h *Holder) (*Conn, error) { return dial(address, h, DialOptions()) }

func dial(address string, h *Holder, options []grpc.DialOption) (*Conn, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "connect to the controller at %s", address).WithHint("An address is HOST:PORT.")
	}
	return &Conn{address: address, holder: h, options: append(options, grpc.WithTransportCredentials(shown{h})), lanes: map[*lane]bool{}}, nil
}

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	l, err := c.enter()
	if err != nil {
		return err
	}
	defer c.leave(l)
	return l.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l, err := c.enter()
	if err != nil {
		return nil, err
	}
	leave := sync.OnceFunc(func() { c.leave(l) })
	s, err := l.NewStream(ctx, desc, method, append(opts, grpc.OnFinish(func(error) { leave() }))...)
	if err != nil {
		leave()
	}
	return s, err
}

// enter gives the lane for a call, a new one when what the holder shows is new.
// gRPC's own way to leave a connection, another address from a resolver, would
// leave calls hanging that just begin, as long as a stream on it lives.
func (c *Conn) enter() (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, problem.New(problem.Unavailable, "call the controller at %s: the connection was closed", c.address)
	}
	if old := c.now; old != nil {
		select {
		case <-old.outdated:
			c.now = nil
			c.close(old)
		default:
		}
	}
	if c.now == nil {
		outdated := c.holder.Changed()
		conn, err := grpc.NewClient("passthrough:///"+c.address, c.options...)
		if err != nil {
			return nil, problem.Wrap(problem.InvalidInput, err, "connect to the controller at %s", c.address)
		}
		c.now = &lane{ClientConn: conn, outdated: outdated}
		c.lanes[c.now] = true
	}
	c.now.calls++
	return c.now, nil
}

func (c *Conn) leave(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.calls--
	c.close(l)
}

// close closes a lane that no call is on and none will be.
func (c *Conn) close(l *lane) {
	if l != c.now && l.calls == 0 && c.lanes[l] {
		delete(c.lanes, l)
		go func() { _ = l.Close() }() // it may be the last call's own end that brings us here
	}
}

// Close closes the connection, and ends the calls on it.
func (c *Conn) Close() error {
	c.mu.Lock()
	lanes := c.lanes
	c.closed, c.now, c.lanes = true, nil, nil
	c.mu.Unlock()
	var errs []error
	for l := range lanes {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Peers are connections to controllers by address, made when they are asked for.
type Peers struct {
	holder *Holder
	plain  bool // errors come as they are on the wire

	mu     sync.Mutex
	conns  map[string]*Conn
	closed bool
}

// NewPeers makes connections as Dial does.
func NewPeers(h *Holder) *Peers { return &Peers{holder: h} }

// Conn gives the connection to the controller at HOST:PORT, which stays the pool's.
func (p *Peers) Conn(address string) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, problem.New(problem.Unavailable, "connect to the controller at %s: this process is stopping", address)
	}
	if conn, ok := p.conns[address]; ok {
		return conn, nil
	}
	options := DialOptions()
	if p.plain {
		options = plainDialOptions()
	}
	conn, err := dial(address, p.holder, options)
	if err != nil {
		return nil, err
	}
	if p.conns == nil {
		p.conns = map[string]*Conn{}
	}
	p.conns[address] = conn
	return conn, nil
}

// Close closes all connections.
func (p *Peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, conn := range p.conns {
		errs = append(errs, conn.Close())
	}
	p.conns = nil
	return errors.Join(errs...)
}
