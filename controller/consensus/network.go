package consensus

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Network carries the connections between members. Who is at the other end is
// its business: only a controller of the same cluster may get through.
type Network interface {
	// The listener gives out the connections that others made. Closing it leaves
	// them open.
	net.Listener
	// Dial connects to HOST:PORT. A name is looked up anew each time, since
	// addresses of containers change.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

const (
	// rpcTimeout bounds one exchange with a member, and one dial. A connection whose
	// other end has vanished is noticed after it at the latest.
	rpcTimeout = 5 * time.Second
	// pooledConns is how many idle connections to each member are kept.
	pooledConns = 3
)

// newTransport puts Raft's transport on a network.
func newTransport(streams *streams, book *addresses, logger hclog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streams, ServerAddressProvider: book, Logger: logger, Timeout: rpcTimeout, MaxPool: pooledConns,
		// At its default of 2 one append that fails on a follower can end
		// replication to it for good, while heartbeats go on (raft issue 612).
		MaxRPCsInFlight:         1,
		MsgpackUseNewTimeFormat: true,
	})
}

// streams implements raft.StreamLayer. It knows every open connection, so that
// none outlives the node: Raft's transport closes idle ones only.
type streams struct {
	network   Network
	advertise string
	stopped   context.Context // ended by close
	stop      context.CancelFunc

	mu   sync.Mutex
	open map[net.Conn]struct{} // nil once closed
}

func newStreams(network Network, advertise string) *streams {
	s := &streams{network: network, advertise: advertise, open: map[net.Conn]struct{}{}}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	conn, err := s.network.Accept()
	if err != nil {
		return nil, err
	}
	return s.hold(conn)
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.stopped, timeout)
	defer cancel()
	conn, err := s.network.Dial(ctx, string(address))
	if err != nil {
		return nil, err
	}
	return s.hold(conn)
}

func (s *streams) hold(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	s.open[conn] = struct{}{}
	return &held{conn, s}, nil
}

// Addr implements net.Listener: what others dial, not what is listened on.
func (s *streams) Addr() net.Addr { return name(s.advertise) }

// Close implements net.Listener.
func (s *streams) Close() error { return s.network.Close() }

// end closes everything that is open, and lets nothing more be opened.
func (s *streams) end() {
	s.stop()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for conn := range open {
		_ = conn.Close() // whatever was under way on it fails, as it should
	}
}

// held is an open connection.
type held struct {
	net.Conn
	streams *streams
}

func (h *held) Close() error {
	h.streams.mu.Lock()
	delete(h.streams.open, h.Conn)
	h.streams.mu.Unlock()
	return h.Conn.Close()
}

// name is an address as it is advertised.
type name string

func (name) Network() string  { return "tcp" }
func (n name) String() string { return string(n) }
