package member_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var epoch = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// directory is what a peer knows of the cluster.
type directory struct {
	stores  []*pb.StoreRecord
	members []*pb.MemberRecord
}

func (d directory) Stores() []*pb.StoreRecord   { return d.stores }
func (d directory) Members() []*pb.MemberRecord { return d.members }

// houses are controllers that have stores, each a real server on loopback, by id.
type houses struct {
	t     testing.TB
	clock *clock.Manual
	dir   directory

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
	asked []string // ids, in order
}

func newHouses(t testing.TB) *houses {
	return &houses{
		t: t, clock: clock.NewManual(epoch), conns: map[string]*grpc.ClientConn{},
		dir: directory{stores: []*pb.StoreRecord{{Name: "main"}}},
	}
}

// serve starts a controller that reaches the store "main".
func (h *houses) serve(id string, st store.Store) *grpc.Server {
	return h.start(id, member.New(member.Options{Local: func(name string) store.Store {
		if name == "main" {
			return st
		}
		return nil
	}}))
}

func (h *houses) start(id string, service pb.MemberServiceServer) *grpc.Server {
	h.t.Helper()
	server, address := h.listen("127.0.0.1:0", service)
	h.join(id, address)
	return server
}

// listen starts a controller at an address.
func (h *houses) listen(address string, service pb.MemberServiceServer) (*grpc.Server, string) {
	h.t.Helper()
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterMemberServiceServer(server, service)
	l, err := net.Listen("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	h.t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return server, l.Addr().String()
}

// join makes a controller known that reaches the store, whether it lives or not.
func (h *houses) join(id, address string) {
	h.dir.members = append(h.dir.members, &pb.MemberRecord{Id: id, Address: address})
	h.dir.stores[0].Controllers = append(h.dir.stores[0].Controllers, id)
}

// peer is the store as another controller has it.
func (h *houses) peer(patience time.Duration) *member.Peer {
	return member.NewPeer(member.PeerOptions{
		Store: "main", Self: "me", View: func() member.Directory { return h.dir }, Conn: h.conn, Clock: h.clock, Patience: patience,
	})
}

func (h *houses) conn(id, address string) (grpc.ClientConnInterface, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, id)
	if address == "" {
		return nil, problem.New(problem.Unavailable, "%s has no address", id)
	}
	if c := h.conns[id]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+address, append(transport.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", id, err)
	}
	h.conns[id] = c
	h.t.Cleanup(func() { _ = c.Close() })
	return c, nil
}

// whoWasAsked tells which controllers were asked since the last time.
func (h *houses) whoWasAsked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = nil
	return asked
}

// nobody is an address where nobody listens.
func nobody(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
