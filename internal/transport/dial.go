package transport

import (
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/baktainer/baktainer/internal/problem"
)

// Dial returns a connection to the controller at HOST:PORT. It connects at the
// first call, with the name resolved at that moment, and again by itself whenever
// the connection is lost. When the holder gets another certificate, calls that
// begin go over a new connection, and those that have begun end on the old one.
// With more addresses it is to whichever answers first, tried in their order.
func Dial(address string, h *Holder, more ...string) (*grpc.ClientConn, error) {
	return dial(append([]string{address}, more...), h, DialOptions())
}

func dial(addresses []string, h *Holder, options []grpc.DialOption) (*grpc.ClientConn, error) {
	address := addresses[0]
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, problem.Wrap(problem.InvalidInput, err, "connect to the controller at %s", a).WithHint("An address is HOST:PORT.")
		}
	}
	conn, err := grpc.NewClient(scheme+":///"+address, append(options,
		grpc.WithResolvers(follower{h, addresses}), grpc.WithTransportCredentials(shown{h}))...)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "connect to the controller at %s", address)
	}
	return conn, nil
}

const scheme = "baktainer"

// follower has a connection follow its holder: gRPC takes an address with
// another generation for another one, and moves there without breaking calls off.
type follower struct {
	holder    *Holder
	addresses []string
}

type generation struct{}

// Scheme implements resolver.Builder.
func (follower) Scheme() string { return scheme }

// Build implements resolver.Builder.
func (f follower) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	r := &following{closed: make(chan struct{})}
	changed := f.holder.Changed()
	f.tell(cc, 0)
	r.done.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-changed:
				changed = f.holder.Changed()
				f.tell(cc, n)
			case <-r.closed:
				return
			}
		}
	})
	return r, nil
}

func (f follower) tell(cc resolver.ClientConn, n int) {
	// gRPC goes on with what it has been told before if it does not like this.
	var all []resolver.Endpoint
	for _, a := range f.addresses {
		all = append(all, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a, Attributes: attributes.New(generation{}, n)}}})
	}
	_ = cc.UpdateState(resolver.State{Endpoints: all})
}

type following struct {
	closed chan struct{}
	done   sync.WaitGroup
}

// ResolveNow implements resolver.Resolver: names are resolved at each dial.
func (*following) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (r *following) Close() {
	close(r.closed)
	r.done.Wait()
}

// Peers are connections to controllers by address, made when they are asked for.
type Peers struct {
	holder *Holder
	plain  bool // errors come as they are on the wire

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn
	closed bool
}

// NewPeers makes connections as Dial does.
func NewPeers(h *Holder) *Peers { return &Peers{holder: h} }

// Conn gives the connection to the controller at HOST:PORT, which stays the pool's.
func (p *Peers) Conn(address string) (*grpc.ClientConn, error) {
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
	conn, err := dial([]string{address}, p.holder, options)
	if err != nil {
		return nil, err
	}
	if p.conns == nil {
		p.conns = map[string]*grpc.ClientConn{}
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
