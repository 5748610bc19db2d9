package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// handshakeTime is how long a connection may take to say who it is, and to be taken.
	handshakeTime = 10 * time.Second
	// handshakes is how many may do so at once.
	handshakes = 512
	// strangers is how many connections there may be at once that no certificate
	// stands for, and strangerTime how long one may last: long enough to enrol.
	strangers    = 256
	strangerTime = 2 * time.Minute
)

// welcome is what a Raft connection that is let in hears first. In TLS 1.3 a
// client is done before the server has looked at its certificate.
const welcome = '+'

// PortOptions are what a port needs. Gate may be nil: certificates are then
// judged by their dates alone.
type PortOptions struct {
	Holder *Holder
	Gate   Gate
	Clock  clock.Clock
	Logger *slog.Logger
}

// Port is the one port of a controller: TLS, and behind it gRPC or Raft as the
// client asks by ALPN. Connections of those who are no longer let in, because
// their certificate has expired, or was revoked, or its root is no longer
// trusted, are cut at once, and with them all calls and streams.
type Port struct {
	PortOptions
	listener   net.Listener
	judge      judge
	grpc, raft *handover
	shaking    *crowd
	strangers  *crowd

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	conns map[*portConn]struct{}
}

// Listen opens the port, for whoever takes connections from GRPC and Raft.
func Listen(ctx context.Context, address string, o PortOptions) (*Port, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "listen at %s", address).WithHint("Set another address with --listen.")
	}
	p := &Port{
		PortOptions: o, listener: l, judge: judge{o.Gate, o.Clock},
		grpc: newHandover(l.Addr()), raft: newHandover(l.Addr()),
		shaking: &crowd{room: handshakes}, strangers: &crowd{room: strangers},
		conns: map[*portConn]struct{}{},
	}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.tasks.Go(p.accept)
	p.tasks.Go(p.police)
	return p, nil
}

// GRPC is where the connections for a gRPC server come out, which needs the
// port's Credentials. When the server closes it, another one may take over.
func (p *Port) GRPC() net.Listener { return &lent{handover: p.grpc, back: make(chan struct{})} }

// Credentials are the option of a gRPC server that serves GRPC.
func (p *Port) Credentials() grpc.ServerOption { return grpc.Creds(handshaken{}) }

// Raft is where the connections of other controllers come out that speak Raft.
func (p *Port) Raft() net.Listener { return p.raft }

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Close closes the port and all connections that came through it.
func (p *Port) Close() error {
	p.stop()
	err := p.listener.Close()
	_, _ = p.grpc.Close(), p.raft.Close() // never fail
	p.cut(func(*portConn) bool { return true })
	p.tasks.Wait()
	p.cut(func(*portConn) bool { return true }) // those that were on their way
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before
	}
	return err
}

func (p *Port) accept() {
	for pause := time.Duration(0); ; {
		raw, err := p.listener.Accept()
		switch {
		case err == nil:
			pause = 0
			p.tasks.Go(func() { p.shake(raw) })
		case errors.Is(err, net.ErrClosed) || p.ctx.Err() != nil:
			return
		default: // too many open files, for example
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.Logger.Warn("a connection could not be accepted", "error", err)
			_ = clock.Sleep(p.ctx, pause) // when it ends, Accept does
		}
	}
}

// shake finds out who is there, and hands the connection on.
func (p *Port) shake(raw net.Conn) {
	defer p.shaking.enter(raw)()
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTime)
	defer cancel()
	secured := tls.Server(raw, p.Holder.server())
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		p.Logger.Debug("a connection was refused", "from", raw.RemoteAddr().String(), "error", err)
		return
	}
	conn := p.admit(secured)
	if err := p.hand(ctx, conn); err != nil {
		_ = conn.Close()
		p.Logger.Debug("a connection was refused", "from", raw.RemoteAddr().String(), "who", conn.caller.String(), "error", err)
	}
}

var errNoProtocol = errors.New("it did not ask for a protocol that is spoken here")

func (p *Port) hand(ctx context.Context, conn *portConn) error {
	switch conn.state.NegotiatedProtocol {
	case grpcProtocol:
		return p.grpc.give(ctx, conn)
	case raftProtocol:
		if err := p.judge.refuse(conn.caller); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{welcome}); err != nil {
			return err
		}
		return p.raft.give(ctx, conn)
	}
	return errNoProtocol
}

// admit takes a connection in whose handshake is done. Who has no certificate
// that counts is a stranger: he may stay for as long as it takes to get one, or
// to be told why not.
func (p *Port) admit(secured *tls.Conn) *portConn {
	conn := &portConn{Conn: secured, raw: secured.NetConn(), state: secured.ConnectionState()}
	conn.caller = callerByTLS(conn.state, conn.RemoteAddr())
	conn.leave = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, conn)
	}
	conn.stranger = conn.caller.Role == pb.Role_ROLE_UNSPECIFIED || p.judge.refuse(conn.caller) != nil
	p.mu.Lock()
	p.conns[conn] = struct{}{}
	p.mu.Unlock()
	life := strangerTime
	if conn.stranger {
		forget, gone := p.strangers.enter(conn.raw), conn.leave
		conn.leave = func() { forget(); gone() }
	} else {
		life = conn.caller.Expires.Sub(p.Clock.Now())
		if p.judge.refuse(conn.caller) != nil { // since the question above, and before police saw it
			_ = conn.raw.Close()
		}
	}
	conn.end = time.AfterFunc(life, func() { _ = conn.raw.Close() })
	return conn
}

// police cuts connections when whom to let in changes.
func (p *Port) police() {
	for {
		var gate <-chan struct{}
		if p.Gate != nil {
			gate = p.Gate.Changed()
		}
		holder := p.Holder.Changed()
		p.cut(func(c *portConn) bool {
			refused := !c.stranger && (p.judge.refuse(c.caller) != nil || !p.Holder.trusts(c.state.VerifiedChains))
			if refused {
				p.Logger.Info("a connection was cut: its certificate does not count any more", "who", c.caller.String(), "from", c.caller.Origin)
			}
			return refused
		})
		select {
		case <-gate:
		case <-holder:
		case <-p.ctx.Done():
			return
		}
	}
}

// cut closes the connections that are chosen, without waiting for anything.
func (p *Port) cut(chosen func(*portConn) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if chosen(c) {
			_ = c.raw.Close()
			delete(p.conns, c)
		}
	}
}

// portConn is a connection that came through a port.
type portConn struct {
	net.Conn          // TLS
	raw      net.Conn // below it
	state    tls.ConnectionState
	caller   Caller
	stranger bool
	end      *time.Timer
	once     sync.Once
	leave    func()
}

func (c *portConn) Close() error {
	c.once.Do(func() {
		c.end.Stop()
		c.leave()
	})
	return c.Conn.Close()
}

// handover is a listener whose connections are accepted elsewhere.
type handover struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newHandover(address net.Addr) *handover {
	return &handover{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handover) give(ctx context.Context, conn net.Conn) error {
	select {
	case h.conns <- conn:
		return nil
	case <-h.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *handover) Accept() (net.Conn, error) { return h.accept(nil) }

func (h *handover) accept(stop <-chan struct{}) (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
	case <-stop:
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: h.address, Err: net.ErrClosed}
}

// lent is a handover in the hands of one server, which closes its own end of it alone.
type lent struct {
	*handover
	back chan struct{}
	once sync.Once
}

func (l *lent) Accept() (net.Conn, error) { return l.accept(l.back) }

func (l *lent) Close() error {
	l.once.Do(func() { close(l.back) })
	return nil
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.address }

var _ io.Closer = (*Port)(nil)
