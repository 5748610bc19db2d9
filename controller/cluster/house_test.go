package cluster_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/cluster"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// house is one controller with all that this storey has of one: a port with TLS,
// Raft behind it, and the services. Clocks are the machine's.
type house struct {
	t        *testing.T
	id       string
	holder   *transport.Holder
	port     *transport.Port
	peers    *transport.Peers
	node     *consensus.Node
	identity *identity.Service
	reach    *member.Reach

	mu    sync.Mutex
	creds *pki.Credentials
}

// build opens a controller's port; nobody is behind it yet.
func build(t *testing.T, id string) *house {
	t.Helper()
	h := &house{t: t, id: id, holder: transport.NewHolder(clock.System{})}
	h.peers = transport.NewPeers(h.holder)
	port, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.PortOptions{
		Holder: h.holder, Gate: h, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.port = port
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
		_ = h.peers.Close()
	})
	return h
}

func (h *house) address() string { return h.port.Addr().String() }

// use has the controller show credentials.
func (h *house) use(c *pki.Credentials) {
	h.mu.Lock()
	h.creds = c
	h.mu.Unlock()
	h.holder.Use(c)
}

func (h *house) held() *pki.Credentials {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.creds
}

// gate is there once the node is; the house itself stands in until then.
func (h *house) gate() *identity.Gate {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.node == nil {
		return identity.NewGate(state.New().View, nil)
	}
	return identity.NewGate(h.node.View, h.held)
}

func (h *house) RevokedAt(role pb.Role, name string) time.Time { return h.gate().RevokedAt(role, name) }
func (h *house) Trusts(root [32]byte) bool                     { return h.gate().Trusts(root) }
func (h *house) Changed() <-chan struct{}                      { return nil }

// Leader and its Changed implement transport.Leader.
type leadership struct{ *consensus.Node }

func (l leadership) Leader() (string, bool)   { return l.LeaderAddress(), l.IsLeader() }
func (l leadership) Changed() <-chan struct{} { return l.LeaderChanged() }

// network is Raft's side of the port.
type network struct {
	net.Listener
	holder *transport.Holder
}

func (n network) Dial(ctx context.Context, address string) (net.Conn, error) {
	return transport.DialRaft(ctx, address, n.holder)
}

// open opens the controller's node; cluster is the one that has taken it in.
func (h *house) open(cluster string) {
	h.t.Helper()
	n, err := consensus.Open(consensus.Options{
		Dir: h.t.TempDir(), NodeID: h.id, Cluster: cluster, Bootstrap: cluster == "", Advertise: h.address(),
		Network: network{h.port.Raft(), h.holder}, Tables: state.New(), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
		ElectionTimeout: 100 * time.Millisecond, Stabilise: 50 * time.Millisecond,
		Fatal: func(err error) { h.t.Errorf("%s: %v", h.id, err) },
		Forward: func(ctx context.Context, leader string, command []byte) (uint64, error) {
			conn, err := h.peers.Conn(leader)
			if err != nil {
				return 0, err
			}
			resp, err := pb.NewMemberServiceClient(conn).Propose(ctx, &pb.ProposeRequest{Command: command})
			return resp.GetIndex(), err
		},
	})
	if err != nil {
		h.t.Fatal(problem.Text(err))
	}
	h.mu.Lock()
	h.node = n
	h.mu.Unlock()
	h.t.Cleanup(func() { _ = n.Shutdown(context.Background()) })
}

// serve puts the services behind the port. folder is the controller's own, if any.
func (h *house) serve(r *repo.Repository, folder store.Store, key repo.Key) {
	h.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	h.reach = h.reaching(folder, r.ID)
	if _, err := h.reach.Look(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.identity = identity.New(identity.Options{Node: h.node, Repo: r, Clock: clock.System{}, Logger: logger})
	recorder := audit.New(audit.Options{Propose: h.node.Propose, Node: h.id, Clock: clock.System{}, Logger: logger})
	guard := transport.NewGuard(transport.GuardOptions{
		Clock: clock.System{}, Gate: h, Auditor: recorder, Leader: leadership{h.node}, Holder: h.holder,
	})
	server := grpc.NewServer(append(guard.ServerOptions(), h.port.Credentials())...)
	pb.RegisterIdentityServiceServer(server, h.identity)
	pb.RegisterMemberServiceServer(server, member.New(member.Options{
		Node: h.node, Logger: logger, Local: func(string) store.Store { return h.reach.Local() },
		Keys: &member.KeyFiles{Store: h.reach, Key: func() (repo.Key, error) { return key, nil }, Clock: clock.System{}},
	}))
	pb.RegisterClusterServiceServer(server, cluster.New(cluster.Options{
		Node: h.node, Agents: &agents{view: h.node.View}, Authority: h.identity, Clock: clock.System{},
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(h.port.GRPC())
	}()
	h.t.Cleanup(func() {
		server.Stop()
		<-served
		recorder.Close(context.Background())
		if err := guard.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

// reaching is the store "main" as this controller has it.
func (h *house) reaching(folder store.Store, repository string) *member.Reach {
	return member.NewReach(folder, member.NewPeer(member.PeerOptions{
		Store: "main", Self: h.id, View: func() member.Directory { return h.node.View() }, Clock: clock.System{},
		Conn: func(_, address string) (grpc.ClientConnInterface, error) { return h.peers.Conn(address) },
	}), func() string { return repository })
}

// renew renews the controller's certificate at another one, or itself.
func (h *house) renew(at *house) {
	h.t.Helper()
	key, request := newRequest(h.t)
	conn, err := h.peers.Conn(at.address())
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := pb.NewIdentityServiceClient(conn).Renew(h.t.Context(), &pb.RenewRequest{Request: request, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		h.t.Fatal(problem.Text(err))
	}
	h.use(readCredentials(h.t, key, resp.GetCredentials()))
}
