package uplinktest

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// node is one controller of the cluster.
type node struct {
	pb.UnimplementedAgentServiceServer
	cluster *Cluster
	id      string
	address string
	listed  string // the address that controllers tell

	mu       sync.Mutex
	server   *grpc.Server // nil: it is dead
	listener *bufconn.Listener
	served   chan struct{}
}

func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return
	}
	server, listener, served := grpc.NewServer(transport.ServerOptions()...), bufconn.Listen(1<<20), make(chan struct{})
	pb.RegisterAgentServiceServer(server, n)
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	n.server, n.listener, n.served = server, listener, served
}

func (n *node) stop() {
	n.mu.Lock()
	server, served := n.server, n.served
	n.server = nil
	n.mu.Unlock()
	if server != nil {
		server.Stop()
		<-served
	}
}

var errDead = errors.New("connection refused")

func (n *node) dial(ctx context.Context) (net.Conn, error) {
	n.mu.Lock()
	listener, alive := n.listener, n.server != nil
	n.mu.Unlock()
	if !alive {
		return nil, errDead
	}
	return listener.DialContext(ctx)
}

// Dialer connects to the controllers by their addresses.
func (c *Cluster) Dialer() uplink.Dialer {
	return uplink.DialFunc(func(address string) (uplink.Conn, error) {
		return grpc.NewClient("passthrough:"+address, append(transport.DialOptions(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				for _, n := range c.nodes {
					if n.address == address {
						return n.dial(ctx)
					}
				}
				return nil, errDead
			}))...)
	})
}

// leads fails unless the controller leads; ended is closed when it does not any more.
func (n *node) leads() (ended <-chan struct{}, err error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.cluster.leader != n.id {
		return nil, errNotLeading
	}
	return n.cluster.deposed, nil
}

var errNotLeading = problem.New(problem.Unavailable, "this controller does not lead").WithReason(uplink.ReasonNoLeader)

// meet tells of an event.
func (n *node) meet(e Event) error {
	n.cluster.mu.Lock()
	meet := n.cluster.answers.Meet
	n.cluster.mu.Unlock()
	if meet == nil {
		return nil
	}
	e.Node = n.id
	return meet(e)
}

// receipt is what the controller gives for an object.
func (n *node) receipt(h *pb.ObjectHeader) *pb.Receipt {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.cluster.old {
		return nil
	}
	return &pb.Receipt{Name: h.GetName(), Size: h.GetSize(), Sha256: h.GetSha256(), Store: "main", Mac: []byte(n.id)}
}

// note takes in an inventory.
func (h *Heard) note(req *pb.ReportInventoryRequest) {
	h.Inventories = append(h.Inventories, req)
	sources := map[string]*pb.Source{}
	if req.GetPartial() {
		sources = maps.Clone(h.Sources)
	}
	for _, name := range req.GetRemoved() {
		delete(sources, name)
	}
	for _, s := range req.GetSources() {
		sources[s.GetName()] = s
	}
	h.Sources = sources
}
