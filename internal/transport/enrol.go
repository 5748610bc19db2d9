package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonWrongCluster is that of a token which is not for the cluster that answers.
const ReasonWrongCluster problem.Reason = "wrong-cluster"

// Enrolment is what somebody asks a certificate for.
type Enrolment struct {
	Token pki.Token
	// Role that is wanted; unspecified: the token's.
	Role pb.Role
	Name string
	// Hosts at which others reach a controller.
	Hosts []string
	Clock clock.Clock
}

// Enrol has the controller at HOST:PORT give a certificate for a token. The key
// is made here and stays here. The controller has to be of the cluster that the
// token is for; when the token pins none, both ends prove that they know it.
// What the controller itself refuses comes as its problem.
func Enrol(ctx context.Context, address string, e Enrolment) (*pki.Credentials, []*pb.ControllerInfo, error) {
	c, controllers, err := e.at(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("enrol with the controller at %s: %w", address, err)
	}
	return c, controllers, nil
}

func (e Enrolment) at(ctx context.Context, address string) (*pki.Credentials, []*pb.ControllerInfo, error) {
	if err := pki.CheckName(e.Name); err != nil {
		return nil, nil, problem.Wrap(problem.InvalidInput, err, "ask for a certificate for %.70q", e.Name)
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, nil, err
	}
	request, err := pki.Request(key)
	if err != nil {
		return nil, nil, err
	}
	conn, err := e.connect(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	req := &pb.EnrolRequest{Request: request, Name: e.Name, Hosts: e.Hosts, Role: e.Role}
	if e.Token.Unpinned() {
		if req.Proof, err = conn.prove(e.Token); err != nil {
			return nil, nil, err
		}
	} else {
		req.Secret = e.Token.Secret()
	}
	resp, err := pb.NewIdentityServiceClient(conn).Enrol(ctx, req)
	if err != nil {
		return nil, nil, conn.why(err)
	}
	if e.Token.Unpinned() {
		if err := conn.check(resp.GetProof(), e.Token); err != nil {
			return nil, nil, err
		}
	}
	c, err := credentialsOf(key, resp.GetCredentials(), e.Clock.Now())
	if problem.ReasonOf(err) == pki.ReasonExpired {
		return nil, nil, problem.New(problem.Denied, "the certificate that the controller has just issued counts as expired here").
			WithHint("This host's clock reads %s. Set it, and the controller's, by NTP, then enrol again.", e.Clock.Now().UTC().Format("2006-01-02 15:04 UTC"))
	}
	if err != nil {
		return nil, nil, err
	}
	if err := e.fits(c); err != nil {
		return nil, nil, err
	}
	return c, resp.GetCredentials().GetControllers(), nil
}

// fits says whether the credentials are what was asked for.
func (e Enrolment) fits(c *pki.Credentials) error {
	id := c.Identity()
	if id.Name != e.Name || e.Role != pb.Role_ROLE_UNSPECIFIED && id.Role != RoleName(e.Role) {
		return problem.New(problem.Failed, "the controller gave a certificate for the %s", id).WithReason(pki.ReasonDamaged)
	}
	if e.Token.Unpinned() {
		return nil
	}
	for _, r := range c.Roots {
		if e.Token.Matches(r.Raw) {
			return nil
		}
	}
	return problem.New(problem.Failed, "the controller gave a certificate of another authority than the token's").WithReason(pki.ReasonDamaged)
}

// credentialsOf reads what came in answer to a request with the key.
func credentialsOf(key *ecdsa.PrivateKey, c *pb.Credentials, now time.Time) (*pki.Credentials, error) {
	trust := c.GetTrust()
	return pki.NewCredentials(key, c.GetChain(), trust.GetRoots(), trust.GetCluster(), trust.GetVersion(), now)
}

// Meet says to the controller at HOST:PORT who is starting here, and hears who
// is starting there. Both ends prove that they know the token.
func Meet(ctx context.Context, address string, token pki.Token, me *pb.Meeting, c clock.Clock) (*pb.Meeting, error) {
	meeting, err := Enrolment{Token: token, Clock: c}.meet(ctx, address, me)
	if err != nil {
		return nil, fmt.Errorf("meet the controller at %s: %w", address, err)
	}
	return meeting, nil
}

func (e Enrolment) meet(ctx context.Context, address string, me *pb.Meeting) (*pb.Meeting, error) {
	if !e.Token.Unpinned() {
		return nil, problem.New(problem.InvalidInput, "the token is for a cluster that exists").
			WithHint("Controllers that make a cluster together need a token that begins with BKTN-1-0-.")
	}
	conn, err := e.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	proof, err := conn.prove(e.Token)
	if err != nil {
		return nil, err
	}
	resp, err := pb.NewIdentityServiceClient(conn).Meet(ctx, &pb.MeetRequest{Meeting: me, Proof: proof})
	if err != nil {
		return nil, conn.why(err)
	}
	if err := conn.check(resp.GetProof(), e.Token); err != nil {
		return nil, err
	}
	return resp.GetMeeting(), nil
}

// connect connects to whoever is at the address, and looks whether that is whom
// the token pins.
func (e Enrolment) connect(ctx context.Context, address string) (*stranger, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "the address is not HOST:PORT")
	}
	s := &stranger{cfg: &tls.Config{
		MinVersion: tls.VersionTLS13, Time: e.Clock.Now, NextProtos: []string{grpcProtocol},
		// There is nothing yet to verify a chain with but the token's digest, if that.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection:   e.verify,
	}}
	conn, err := grpc.NewClient("dns:///"+address, append(DialOptions(), grpc.WithTransportCredentials(s))...)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "connect")
	}
	s.ClientConn = conn
	for conn.Connect(); ; {
		state := conn.GetState()
		if state != connectivity.Idle && state != connectivity.Connecting {
			return s, nil // the call says what is wrong, if anything
		}
		if !conn.WaitForStateChange(ctx, state) {
			_ = conn.Close()
			return nil, problem.Wrap(problem.Unavailable, ctx.Err(), "wait for an answer").WithReason(ReasonNoAnswer)
		}
	}
}

// verify finds the pinned root in what the other end shows, and whether that
// vouches for a controller.
func (e Enrolment) verify(state tls.ConnectionState) error {
	if e.Token.Unpinned() {
		return nil // it is verified by its proof
	}
	pinned, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, cert := range state.PeerCertificates[1:] {
		if e.Token.Matches(cert.Raw) {
			pinned.AddCert(cert)
			found = true
		} else {
			between.AddCert(cert)
		}
	}
	if !found {
		return problem.New(problem.Denied, "the controller that answers is not of the cluster that the token is for").WithReason(ReasonWrongCluster).
			WithHint("Check the address. If it is right, the cluster's authority has been replaced since the token was made: make a new one. Or somebody stands between.")
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: pinned, Intermediates: between, DNSName: pki.ControllerHost, CurrentTime: e.Clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if id, ok := pki.Of(state.PeerCertificates[0]); err == nil && (!ok || id.Role != pki.RoleController) {
		err = errRole
	}
	if isType[x509.CertificateInvalidError](err) {
		return problem.Wrap(problem.Denied, err, "the controller's certificate is not valid").WithHint("Is the clock of this host right?")
	}
	if err != nil {
		return problem.Wrap(problem.Denied, err, "the authority of the token does not vouch for the controller").WithReason(ReasonWrongCluster)
	}
	return nil
}

// stranger is one connection, never made again, to somebody who is not known by
// a certificate of ours, or to whom we are not.
type stranger struct {
	*grpc.ClientConn
	shown // but for the handshake, what credentials need
	cfg   *tls.Config
	used  atomic.Bool
	state atomic.Pointer[tls.ConnectionState]
	err   atomic.Pointer[error]
}

var errOnce = errors.New("the connection broke")

func (s *stranger) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if s.used.Swap(true) {
		return nil, nil, errOnce // a proof is worth nothing on another connection
	}
	conn, info, err := credentials.NewTLS(s.cfg).ClientHandshake(ctx, authority, raw)
	if err != nil {
		s.err.Store(&err)
		return nil, nil, err
	}
	if tlsInfo, ok := info.(credentials.TLSInfo); ok {
		s.state.Store(&tlsInfo.State)
	}
	return conn, info, nil
}

// Clone gives the same, which remembers.
func (s *stranger) Clone() credentials.TransportCredentials { return s }

// why is the problem that the handshake met, or else what the call says.
func (s *stranger) why(err error) error {
	if met := s.err.Load(); met != nil {
		if p, ok := errors.AsType[*problem.Problem](*met); ok {
			return p
		}
	}
	return err
}

// prove gives this end's proof that it knows the token.
func (s *stranger) prove(token pki.Token) ([]byte, error) {
	state := s.state.Load()
	if state == nil {
		return nil, nil // there is no connection, as the call will say
	}
	return Proof(token.Secret(), SideCaller, *state)
}

// check checks the other end's proof.
func (s *stranger) check(proof []byte, token pki.Token) error {
	state := s.state.Load()
	if state == nil {
		return errOnce
	}
	return CheckProof(proof, token.Secret(), SideCallee, *state)
}
