package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var present = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// hooked is a node before whose proposals a test may do something, and that may
// be behind the others until it proposes.
type hooked struct {
	*consensus.Node
	before atomic.Pointer[func(*pb.Command)]
	behind atomic.Pointer[state.View]
}

func (h *hooked) View() *state.View {
	if v := h.behind.Load(); v != nil {
		return v
	}
	return h.Node.View()
}

func (h *hooked) Propose(ctx context.Context, c *pb.Command) error {
	h.behind.Store(nil)
	if f := h.before.Load(); f != nil {
		(*f)(c)
	}
	return h.Node.Propose(ctx, c)
}

// world is a cluster of one with its own authority, and a real port on loopback.
type world struct {
	t       *testing.T
	clock   *clock.Manual
	node    *hooked
	store   *mem.Store
	key     repo.KeyFile
	service *Service
	gate    *Gate
	address string
	holder  *transport.Holder
	trusts  map[string]uint64 // what agents say in their heartbeats
}

func newNode(t *testing.T, c clock.Clock) *hooked {
	t.Helper()
	n, err := consensus.Open(consensus.Options{
		Dir: t.TempDir(), NodeID: "c1", Tables: state.New(), Clock: c, Logger: slog.New(slog.DiscardHandler),
		ElectionTimeout: 20 * time.Millisecond, Fatal: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for limit := time.After(30 * time.Second); !n.IsLeader(); {
		select {
		case <-n.Leadership():
		case <-limit:
			t.Fatal("no leader")
		}
	}
	return &hooked{Node: n}
}

// quiet is a world whose authority nobody has made yet, and that nobody can reach.
func quiet(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewManual(present), store: mem.New(), trusts: map[string]uint64{}}
	var err error
	if w.key, err = repo.GenerateKeyFile(); err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), w.store, w.key, present)
	if err != nil {
		t.Fatal(err)
	}
	w.node = newNode(t, w.clock)
	w.service = w.serviceOf(r)
	return w
}

func (w *world) serviceOf(r *repo.Repository) *Service {
	return New(Options{
		Node: w.node, Repo: r, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Tick: time.Millisecond,
		Controllers: func() []*pb.ControllerInfo { return []*pb.ControllerInfo{{Id: "c1", Address: "c1:7070", Leader: true}} },
		AgentsTrust: func() map[string]uint64 { return w.trusts },
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := quiet(t)
	w.holder = transport.NewHolder(w.clock)
	w.renewSelf()
	w.gate = NewGate(w.node.View, nil)
	ctx, stop := context.WithCancel(context.Background())
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		w.gate.Run(ctx)
	}()
	port, err := transport.Listen(ctx, "127.0.0.1:0", transport.PortOptions{
		Holder: w.holder, Gate: w.gate, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	guard := transport.NewGuard(transport.GuardOptions{Clock: w.clock, Gate: w.gate, Holder: w.holder})
	server := grpc.NewServer(append(guard.ServerOptions(), port.Credentials())...)
	pb.RegisterIdentityServiceServer(server, w.service)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(port.GRPC())
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
		if err := port.Close(); err != nil {
			t.Error(err)
		}
		if err := guard.Close(); err != nil {
			t.Error(err)
		}
		stop()
		<-watching
	})
	w.address = port.Addr().String()
	return w
}

// renewSelf gives the controller itself a fresh certificate.
func (w *world) renewSelf() {
	w.t.Helper()
	key, request := asked(w.t)
	c, err := w.service.EnrolSelf(w.t.Context(), request, "c1", []string{"c1.example.com"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.holder.Use(w.read(key, c))
}

func asked(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, request
}

// read is how a holder reads what it is given.
func (w *world) read(key *ecdsa.PrivateKey, c *pb.Credentials) *pki.Credentials {
	w.t.Helper()
	creds, err := pki.NewCredentials(key, c.GetChain(), c.GetTrust().GetRoots(), c.GetTrust().GetCluster(), c.GetTrust().GetVersion(), w.clock.Now())
	if err != nil {
		w.t.Fatalf("%s", problem.Text(err))
	}
	return creds
}

// token makes a token, as an operator does.
func (w *world) token(role pb.Role, name string, uses int32) pki.Token {
	w.t.Helper()
	token, hash := pki.NewToken(SigningRoot(w.node.View()))
	err := w.node.Node.Propose(w.t.Context(), &pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{
		Hash: hash[:], Token: &pb.Token{
			Id: state.TokenID(hash[:]), Role: role, Name: name, Uses: uses, ExpiresAt: timestamppb.New(w.clock.Now().Add(time.Hour)),
		},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// used is how often a token was used.
func (w *world) used(token pki.Token) int32 {
	w.t.Helper()
	hash := token.Hash()
	t, ok := w.node.View().TokenByHash(hash[:])
	if !ok {
		w.t.Fatal("the token is gone")
	}
	return t.GetUsed()
}

func (w *world) revoke(role pb.Role, name string) {
	w.t.Helper()
	err := w.node.Node.Propose(w.t.Context(), &pb.Command{Command: &pb.Command_RevokeIdentity{RevokeIdentity: &pb.RevokeIdentityRecord{Role: role, Name: name}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) identity(role pb.Role, name string) *pb.Identity {
	i, _ := w.node.View().Identity(role, name)
	return i
}

// enrol enrols as a program does.
func (w *world) enrol(token pki.Token, name string) (*transport.Holder, error) {
	c, _, err := transport.Enrol(w.t.Context(), w.address, transport.Enrolment{Token: token, Name: name, Clock: w.clock})
	if err != nil {
		return nil, err
	}
	h := transport.NewHolder(w.clock)
	h.Use(c)
	return h, nil
}

func (w *world) mustEnrol(role pb.Role, name string) *transport.Holder {
	w.t.Helper()
	h, err := w.enrol(w.token(role, "", 1), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// stranger calls without a certificate.
func (w *world) stranger() pb.IdentityServiceClient {
	w.t.Helper()
	roots := x509.NewCertPool()
	root, err := x509.ParseCertificate(SigningRoot(w.node.View()))
	if err != nil {
		w.t.Fatal(err)
	}
	roots.AddCert(root)
	conn, err := grpc.NewClient(w.address, append(transport.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, ServerName: pki.ControllerHost, Time: w.clock.Now,
	})))...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewIdentityServiceClient(conn)
}

// as calls with a certificate.
func (w *world) as(h *transport.Holder) pb.IdentityServiceClient {
	w.t.Helper()
	conn, err := transport.Dial(w.address, h)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewIdentityServiceClient(conn)
}

// renew renews a holder's certificate, and has it show the new one.
func (w *world) renew(h *transport.Holder) (*pki.Credentials, error) {
	w.t.Helper()
	key, request := asked(w.t)
	resp, err := w.as(h).Renew(w.t.Context(), &pb.RenewRequest{Request: request})
	if err != nil {
		return nil, err
	}
	c := w.read(key, resp.GetCredentials())
	h.Use(c)
	return c, nil
}
