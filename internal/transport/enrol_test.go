package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// desk is the identity service of a cluster of a test.
type desk struct {
	pb.UnimplementedIdentityServiceServer
	*cluster
	mu     sync.Mutex
	tokens map[[32]byte]problem.Reason // empty: good
	seen   []*pb.EnrolRequest
	wrong  func(*pb.Credentials) // spoils an answer
}

func newDesk(c *cluster) *desk { return &desk{cluster: c, tokens: map[[32]byte]problem.Reason{}} }

func (d *desk) register(s *grpc.Server) {
	pb.RegisterIdentityServiceServer(s, d)
	pb.RegisterAgentServiceServer(s, newStreams())
}

func (d *desk) Enrol(_ context.Context, r *pb.EnrolRequest) (*pb.EnrolResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, r)
	reason, ok := d.tokens[pki.HashSecret(r.GetSecret())]
	if !ok || reason != "" {
		return nil, problem.New(problem.Denied, "the token is not good").WithReason(reason).WithHint("Make a new one.")
	}
	role := r.GetRole()
	if role == pb.Role_ROLE_UNSPECIFIED {
		role = pb.Role_ROLE_VIEWER
	}
	return &pb.EnrolResponse{Credentials: d.answer(r.GetRequest(), pki.Identity{Cluster: d.id, Role: transport.RoleName(role), Name: r.GetName()})}, nil
}

func (d *desk) Renew(ctx context.Context, r *pb.RenewRequest) (*pb.RenewResponse, error) {
	c := transport.CallerOf(ctx)
	return &pb.RenewResponse{Credentials: d.answer(r.GetRequest(), pki.Identity{Cluster: d.id, Role: transport.RoleName(c.Role), Name: c.Name})}, nil
}

func (d *desk) Meet(_ context.Context, r *pb.MeetRequest) (*pb.MeetResponse, error) {
	return &pb.MeetResponse{Meeting: &pb.Meeting{Id: "c2", Expect: r.GetMeeting().GetExpect(), Met: []string{r.GetMeeting().GetId()}}}, nil
}

func (d *desk) answer(request []byte, id pki.Identity) *pb.Credentials {
	chain := d.sign(request, id, d.clock.Now())
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	creds := &pb.Credentials{
		Chain: chain, Trust: &pb.Trust{Cluster: d.id, Version: d.version, Roots: d.roots()},
		Controllers: []*pb.ControllerInfo{{Id: "c1", Address: "c1:7070", Leader: true}},
	}
	if d.wrong != nil {
		d.wrong(creds)
	}
	return creds
}

// token makes a token of the root that signs.
func (d *desk) token(reason problem.Reason) pki.Token {
	token, hash := pki.NewToken(d.root.DER())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[hash] = reason
	return token
}

func asking(token pki.Token) transport.Enrolment {
	return transport.Enrolment{Token: token, Role: pb.Role_ROLE_AGENT, Name: "db1", Clock: clock.System{}}
}

func TestATokenBecomesACertificate(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := newDesk(c)
	n := c.start(nodeOptions{name: "c1", gate: c, register: d.register})
	token := d.token("")
	creds, controllers, err := transport.Enrol(t.Context(), n.address, asking(token))
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	if creds.Identity().String() != "agent db1" || creds.Version != 1 || len(controllers) != 1 || controllers[0].GetAddress() != "c1:7070" {
		t.Errorf("%v, %v", creds, controllers)
	}
	holder := transport.NewHolder(c.clock)
	holder.Use(creds)
	if err := heartbeat(t, dial(t, n, holder)); err != nil {
		t.Errorf("a call with it: %v", err)
	}
	// Without a role it is the token's.
	e := asking(token)
	e.Role = pb.Role_ROLE_UNSPECIFIED
	if creds, _, err = transport.Enrol(t.Context(), n.address, e); err != nil || creds.Identity().String() != "viewer db1" {
		t.Errorf("%v, %v", creds, err)
	}
}

func TestEnrolmentFailsWithAReason(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := newDesk(c)
	n := c.start(nodeOptions{name: "c1", gate: c, register: d.register})
	elsewhere, _ := pki.NewToken(newCluster(t).root.DER())
	unknown, _ := pki.NewToken(c.root.DER())
	gone := listenTCP(t)
	gone.Close()
	named := func(name string) transport.Enrolment { e := asking(d.token("")); e.Name = name; return e }
	late := asking(d.token(""))
	late.Clock = clock.NewManual(time.Now().Add(30 * 24 * time.Hour))
	for what, tc := range map[string]struct {
		address string
		e       transport.Enrolment
		reason  problem.Reason
		code    problem.Code
		want    string
	}{
		"another cluster":       {n.address, asking(elsewhere), transport.ReasonWrongCluster, problem.Denied, "not of the cluster that the token is for"},
		"an unknown token":      {n.address, asking(unknown), "", problem.Denied, "Make a new one."},
		"an expired token":      {n.address, asking(d.token("token-expired")), "token-expired", problem.Denied, "the token is not good"},
		"a used token":          {n.address, asking(d.token("token-used")), "token-used", problem.Denied, "enrol with the controller at " + n.address},
		"a name that is bad":    {n.address, named("a/b"), "", problem.InvalidInput, "want 1 to 64 letters"},
		"nobody there":          {gone.Addr().String(), asking(d.token("")), transport.ReasonNoAnswer, problem.Unavailable, "connection refused"},
		"no address":            {"host", asking(d.token("")), "", problem.InvalidInput, "HOST:PORT"},
		"a clock that is wrong": {n.address, late, "", problem.Denied, "clock"},
		"no common secret":      {n.address, asking(pki.NewUnpinned()), transport.ReasonWrongSecret, problem.Denied, "was not started with a token"},
	} {
		creds, _, err := transport.Enrol(t.Context(), tc.address, tc.e)
		if creds != nil || problem.ReasonOf(err) != tc.reason || problem.CodeOf(err) != tc.code || !strings.Contains(problem.Text(err), tc.want) {
			t.Errorf("%s: %v, %s", what, creds, problem.Text(err))
		}
		if strings.Contains(problem.Text(err), tc.e.Token.Secret()) {
			t.Errorf("%s: the secret is told", what)
		}
	}
	// Nobody was told a secret that was not for him.
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.seen {
		if r.GetSecret() == elsewhere.Secret() {
			t.Error("the secret was sent to another cluster")
		}
	}
}

func TestNothingIsTakenThatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	c, foreign := newCluster(t), newCluster(t)
	d := newDesk(c)
	n := c.start(nodeOptions{name: "c1", gate: c, register: d.register})
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	identity := pki.Identity{Cluster: c.id, Role: pki.RoleAgent, Name: "db1"}
	for what, wrong := range map[string]func(*pb.Credentials){
		"another's key": func(a *pb.Credentials) {
			a.Chain = foreign.sign(request, identity, c.clock.Now())
			a.Trust.Roots = foreign.roots()
		},
		"no chain":        func(a *pb.Credentials) { a.Chain = nil },
		"no trust":        func(a *pb.Credentials) { a.Trust = nil },
		"other roots":     func(a *pb.Credentials) { a.Trust.Roots = foreign.roots() },
		"noise":           func(a *pb.Credentials) { a.Chain[0] = []byte("noise") },
		"another cluster": func(a *pb.Credentials) { a.Trust.Cluster = "elsewhere" },
		"nothing at all":  func(a *pb.Credentials) { a.Chain, a.Trust = nil, nil },
	} {
		d.wrong = wrong
		if creds, _, err := transport.Enrol(t.Context(), n.address, asking(d.token(""))); err == nil || creds != nil || problem.ReasonOf(err) != pki.ReasonDamaged {
			t.Errorf("%s: %v, %v", what, creds, err)
		}
	}
}

// mallory stands between a caller and a controller with a certificate of his
// own, and passes on all that he can read.
func mallory(t *testing.T, cert tls.Certificate, to string) (address string, read func() string) {
	t.Helper()
	l := tls.NewListener(listenTCP(t), &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	var mu sync.Mutex
	var all strings.Builder
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := tls.Dial("tcp", to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
				buf := make([]byte, 32<<10)
				for {
					n, err := in.Read(buf)
					mu.Lock()
					all.Write(buf[:n])
					mu.Unlock()
					if err != nil {
						return
					}
					if _, err := out.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func TestNobodyGetsBetween(t *testing.T) {
	t.Parallel()
	c, evil := newCluster(t), newCluster(t)
	secret := pki.NewUnpinned()
	d := newDesk(c)
	d.tokens[secret.Hash()] = ""
	n := c.start(nodeOptions{name: "c1", gate: c, register: d.register, guard: transport.GuardOptions{Secret: secret.Secret}})
	theirs := evil.credentials(pki.RoleController, "c1", c.clock.Now()).Certificate()
	// One who adds the true root to a chain that it did not sign.
	both := *theirs
	both.Certificate = append([][]byte{theirs.Certificate[0]}, c.root.DER())
	// An agent of the cluster, whose certificate is of the true root.
	agent := c.credentials(pki.RoleAgent, "x", c.clock.Now()).Certificate()
	makeshiftCert, err := pki.Temporary(c.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for what, cert := range map[string]tls.Certificate{"another root": *theirs, "the true root beside it": both, "an agent": *agent, "a makeshift": *makeshiftCert} {
		address, read := mallory(t, cert, n.address)
		token := d.token("")
		creds, _, err := transport.Enrol(t.Context(), address, asking(token))
		if creds != nil || err == nil || problem.CodeOf(err) != problem.Denied {
			t.Errorf("%s: %v, %v", what, creds, err)
		}
		if strings.Contains(read(), token.Secret()) {
			t.Errorf("%s: the secret was sent", what)
		}
		// A token that pins nothing: the proof is worth nothing on the other connection.
		creds, _, err = transport.Enrol(t.Context(), address, asking(secret))
		if creds != nil || problem.ReasonOf(err) != transport.ReasonWrongSecret {
			t.Errorf("%s, unpinned: %v, %v", what, creds, err)
		}
		if _, err := transport.Meet(t.Context(), address, secret, &pb.Meeting{Id: "c1"}, clock.System{}); problem.ReasonOf(err) != transport.ReasonWrongSecret {
			t.Errorf("%s, meeting: %v", what, err)
		}
	}
}

func TestControllersMeetByACommonSecret(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	secret := pki.NewUnpinned()
	d := newDesk(c)
	d.tokens[secret.Hash()] = ""
	n := c.start(nodeOptions{holder: makeshift(t), register: d.register, guard: transport.GuardOptions{Secret: secret.Secret}})
	other, err := transport.Meet(t.Context(), n.address, secret, &pb.Meeting{Id: "c1", Expect: 3}, clock.System{})
	if err != nil || other.GetId() != "c2" || other.GetExpect() != 3 || other.GetMet()[0] != "c1" {
		t.Errorf("%v, %v", other, err)
	}
	if _, err := transport.Meet(t.Context(), n.address, pki.NewUnpinned(), &pb.Meeting{Id: "c1"}, clock.System{}); problem.ReasonOf(err) != transport.ReasonWrongSecret {
		t.Errorf("another secret: %v", err)
	}
	if _, err := transport.Meet(t.Context(), n.address, d.token(""), &pb.Meeting{Id: "c1"}, clock.System{}); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("a token of a cluster: %v", err)
	}
	// One that does not prove anything.
	conn := dialWith(t, n, &tls.Config{InsecureSkipVerify: true})
	for what, proof := range map[string][]byte{"none": nil, "empty": {}, "noise": []byte("noise")} {
		if _, err := pb.NewIdentityServiceClient(conn).Meet(t.Context(), &pb.MeetRequest{Proof: proof}); problem.ReasonOf(transport.FromStatus(err)) != transport.ReasonWrongSecret {
			t.Errorf("a proof that is %s: %v", what, err)
		}
	}
	// With the makeshift certificate alone, too, it can be enrolled: the leader is
	// the first to have another.
	n.holder.Use(c.credentials(pki.RoleController, "c2", c.clock.Now()))
	e := asking(secret)
	e.Role, e.Name = pb.Role_ROLE_CONTROLLER, "c1"
	creds, _, err := transport.Enrol(t.Context(), n.address, e)
	if err != nil || creds.Identity().String() != "controller c1" {
		t.Fatalf("%v, %v", creds, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := d.seen[len(d.seen)-1]; last.GetSecret() != secret.Secret() || last.GetProof() != nil {
		t.Error("the handler does not see the secret that was proved")
	}
}

// A controller that does not know the secret is believed nothing.
func TestAnAnswerWithoutAProof(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := newDesk(c)
	secret := pki.NewUnpinned()
	d.tokens[pki.HashSecret("")] = ""
	l := tls.NewListener(listenTCP(t), &tls.Config{Certificates: []tls.Certificate{*c.credentials(pki.RoleController, "c1", c.clock.Now()).Certificate()}, NextProtos: []string{"h2"}})
	server := grpc.NewServer() // without a guard, so without proofs
	pb.RegisterIdentityServiceServer(server, d)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-ended })
	if creds, _, err := transport.Enrol(t.Context(), l.Addr().String(), asking(secret)); creds != nil || problem.ReasonOf(err) != transport.ReasonWrongSecret {
		t.Errorf("enrol: %v, %v", creds, err)
	}
	if m, err := transport.Meet(t.Context(), l.Addr().String(), secret, &pb.Meeting{Id: "c1"}, clock.System{}); m != nil || problem.ReasonOf(err) != transport.ReasonWrongSecret {
		t.Errorf("meet: %v, %v", m, err)
	}
}

// Any controller enrols: the leader gets what the token says, or was proved.
func TestEnrolmentThroughAFollower(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	secret := pki.NewUnpinned()
	d, other := newDesk(c), newDesk(c)
	d.tokens[secret.Hash()] = ""
	leader := c.start(nodeOptions{name: "c1", gate: c, register: d.register, guard: transport.GuardOptions{Leader: leads("", true)}})
	follower := c.start(nodeOptions{
		name: "c2", gate: c, register: other.register, guard: transport.GuardOptions{Leader: leads(leader.address, false), Secret: secret.Secret},
	})
	for what, token := range map[string]pki.Token{"pinned": d.token(""), "unpinned": secret} {
		e := asking(token)
		e.Role, e.Name = pb.Role_ROLE_CONTROLLER, "c3"
		creds, _, err := transport.Enrol(t.Context(), follower.address, e)
		if err != nil || creds.Identity().String() != "controller c3" {
			t.Errorf("%s: %v, %v", what, creds, err)
		}
	}
	if _, _, err := transport.Enrol(t.Context(), follower.address, asking(d.token("token-expired"))); problem.ReasonOf(err) != "token-expired" {
		t.Errorf("a refusal of the leader: %v", err)
	}
}

func TestEnrolmentThatGetsNoAnswerEnds(t *testing.T) {
	t.Parallel()
	silent := listenTCP(t)
	var conns []net.Conn
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	token, _ := pki.NewToken(newCluster(t).root.DER())
	_, _, err := transport.Enrol(ctx, silent.Addr().String(), asking(token))
	if problem.ReasonOf(err) != transport.ReasonNoAnswer || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAProofIsOfOneSideOfOneConnection(t *testing.T) {
	t.Parallel()
	cert, err := pki.Temporary(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	connect := func() (caller, callee tls.ConnectionState) {
		a, b := net.Pipe()
		client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
		server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*cert}, SessionTicketsDisabled: true})
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		if err := errors.Join(client.Handshake(), <-done); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		return client.ConnectionState(), server.ConnectionState()
	}
	caller, callee := connect()
	other, _ := connect()
	proof, err := transport.Proof("secret", transport.SideCaller, caller)
	if err != nil {
		t.Fatal(err)
	}
	if err := transport.CheckProof(proof, "secret", transport.SideCaller, callee); err != nil {
		t.Errorf("at the other end: %v", err)
	}
	for what, err := range map[string]error{
		"another secret":     transport.CheckProof(proof, "Secret", transport.SideCaller, callee),
		"the other side":     transport.CheckProof(proof, "secret", transport.SideCallee, callee),
		"another connection": transport.CheckProof(proof, "secret", transport.SideCaller, other),
		"nothing":            transport.CheckProof(nil, "secret", transport.SideCaller, callee),
		"no connection":      transport.CheckProof(proof, "secret", transport.SideCaller, tls.ConnectionState{}),
	} {
		if err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
