package transport_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// cluster is an authority of our own, and what it knows of its certificates. It
// is the gate of its controllers.
type cluster struct {
	t     testing.TB
	id    string
	clock clock.Clock

	mu      sync.Mutex
	root    *pki.Root   // that signs
	trusted []*pki.Root // by the gate, and in credentials that are issued
	version uint64
	revoked map[string]time.Time
	changed chan struct{}
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{t: t, id: "here", clock: clock.System{}, version: 1, revoked: map[string]time.Time{}, changed: make(chan struct{})}
	c.root = c.newRoot()
	c.trusted = []*pki.Root{c.root}
	return c
}

func (c *cluster) newRoot() *pki.Root {
	c.t.Helper()
	root, err := pki.NewRoot(c.id, c.clock.Now().AddDate(-2, 0, 0)) // older than all it signs
	if err != nil {
		c.t.Fatal(err)
	}
	return root
}

// change changes what the gate says.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) revoke(role pb.Role, name string) {
	// As of the second after, since certificates count in seconds.
	c.change(func() { c.revoked[transport.RoleName(role)+" "+name] = c.clock.Now().Add(time.Second) })
}

func (c *cluster) RevokedAt(role pb.Role, name string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked[transport.RoleName(role)+" "+name]
}

func (c *cluster) Trusts(root [sha256.Size]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.trusted {
		if sha256.Sum256(r.DER()) == root {
			return true
		}
	}
	return false
}

func (c *cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// credentials are a certificate of the root that signs, as of a moment.
func (c *cluster) credentials(role, name string, at time.Time) *pki.Credentials {
	c.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	chain := c.issue(key, pki.Identity{Cluster: c.id, Role: role, Name: name}, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	creds, err := pki.NewCredentials(key, chain, c.roots(), c.id, c.version, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return creds
}

func (c *cluster) roots() (ders [][]byte) {
	for _, r := range c.trusted {
		ders = append(ders, r.DER())
	}
	return ders
}

func (c *cluster) issue(key *ecdsa.PrivateKey, id pki.Identity, at time.Time) [][]byte {
	c.t.Helper()
	request, err := pki.Request(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.sign(request, id, at)
}

func (c *cluster) sign(request []byte, id pki.Identity, at time.Time) [][]byte {
	c.mu.Lock()
	root := c.root
	c.mu.Unlock()
	serial, err := pki.NewSerial()
	if err != nil {
		c.t.Error(err)
	}
	chain, err := root.Issue(request, id, nil, serial, at)
	if err != nil {
		c.t.Error(err)
	}
	return chain
}

// holder shows a fresh certificate.
func (c *cluster) holder(role, name string) *transport.Holder {
	c.t.Helper()
	h := transport.NewHolder(c.clock)
	h.Use(c.credentials(role, name, c.clock.Now()))
	return h
}

// node is a controller: a port, and a server with a guard behind it.
type node struct {
	address string
	port    *transport.Port
	holder  *transport.Holder
	server  *grpc.Server
}

type nodeOptions struct {
	holder   *transport.Holder // nil: a controller's of the cluster, of that name
	name     string
	gate     transport.Gate
	deafPort bool // the gate is the guard's alone
	guard    transport.GuardOptions
	newGuard func(transport.GuardOptions) *transport.Guard
	register func(*grpc.Server)
}

// start runs a controller until the test ends.
func (c *cluster) start(o nodeOptions) *node {
	c.t.Helper()
	if o.holder == nil {
		o.holder = c.holder(pki.RoleController, o.name)
	}
	if o.newGuard == nil {
		o.newGuard = transport.NewGuard
	}
	portGate := o.gate
	if o.deafPort {
		portGate = nil
	}
	port, err := transport.Listen(context.Background(), "127.0.0.1:0", transport.PortOptions{
		Holder: o.holder, Gate: portGate, Clock: c.clock, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	o.guard.Clock, o.guard.Gate, o.guard.Holder = c.clock, o.gate, o.holder
	guard := o.newGuard(o.guard)
	server := grpc.NewServer(append(guard.ServerOptions(), port.Credentials())...)
	o.register(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(port.GRPC()) }()
	c.t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			c.t.Errorf("serve: %v", err)
		}
		if err := guard.Close(); err != nil {
			c.t.Errorf("close the guard: %v", err)
		}
		if err := port.Close(); err != nil {
			c.t.Errorf("close the port: %v", err)
		}
	})
	return &node{address: port.Addr().String(), port: port, holder: o.holder, server: server}
}

// dial connects to a node, until the test ends.
func dial(t testing.TB, n *node, h *transport.Holder) *transport.Conn {
	t.Helper()
	conn, err := transport.Dial(n.address, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// everything registers all services, none of which does anything.
func everything(s *grpc.Server) {
	pb.RegisterAdminServiceServer(s, pb.UnimplementedAdminServiceServer{})
	pb.RegisterAgentServiceServer(s, pb.UnimplementedAgentServiceServer{})
	pb.RegisterClusterServiceServer(s, pb.UnimplementedClusterServiceServer{})
	pb.RegisterIdentityServiceServer(s, pb.UnimplementedIdentityServiceServer{})
	pb.RegisterMemberServiceServer(s, pb.UnimplementedMemberServiceServer{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// until waits for a condition that something else brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		if err := clock.Sleep(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// nobody connects to a node without a certificate.
func nobody(t testing.TB, n *node, c *cluster) *grpc.ClientConn {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(c.root.Cert)
	return dialWith(t, n, &tls.Config{RootCAs: roots, ServerName: pki.ControllerHost})
}

// dialWith connects to a node by a configuration of the test's.
func dialWith(t testing.TB, n *node, cfg *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(n.address, append(transport.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
