package identity

import (
	"context"
	"math/big"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// wanted is a certificate that is asked for.
type wanted struct {
	role    pb.Role
	name    string
	hosts   []string
	request []byte // PKCS #10
	// serial is the same for each attempt of the same enrolment; nil: a new one.
	serial *big.Int
	// token is the hash of the token that pays for it; nil: the certificate before does.
	token []byte
	// id makes attempts one; empty: each is one of its own.
	id string
}

// tries bounds how often a certificate is made anew because the authority
// changed meanwhile.
const tries = 3

// issue gives a certificate. It is in the state before anybody has it: what is
// not known could not be revoked.
func (s *Service) issue(ctx context.Context, w wanted) (*pb.Credentials, error) {
	for range tries {
		c, err := s.issueOnce(ctx, w)
		if c != nil || err != nil {
			return c, err
		}
		// The root that it is of was replaced. The next one is a renewal.
		w.token, w.id = nil, ""
	}
	return nil, problem.New(problem.Unavailable, "the authority changes all the time").WithReason(ReasonNoAuthority).WithHint("Try again in a few seconds.")
}

// issueOnce gives neither a certificate nor an error when the root was replaced meanwhile.
func (s *Service) issueOnce(ctx context.Context, w wanted) (*pb.Credentials, error) {
	a, root, err := s.signer()
	if err != nil {
		return nil, err
	}
	if w.serial == nil {
		if w.serial, err = pki.NewSerial(); err != nil {
			return nil, problem.Wrap(problem.Internal, err, "issue a certificate")
		}
	}
	view := s.Node.View()
	who := pki.Identity{Cluster: view.Cluster(), Role: transport.RoleName(w.role), Name: w.name}
	sign := func(at time.Time) ([][]byte, error) {
		chain, err := root.Issue(w.request, who, w.hosts, w.serial, at)
		if err != nil {
			return nil, problem.Wrap(problem.InvalidInput, err, "issue a certificate for the %s", who)
		}
		return chain, nil
	}
	at := view.IssueTime(w.role, w.name, s.Clock.Now())
	chain, err := sign(at) // first, so that a token is not used for what cannot be signed
	if err != nil {
		return nil, err
	}
	ends := at.Add(pki.Life(who.Role))
	if ends.After(root.Cert.NotAfter) {
		ends = root.Cert.NotAfter
	}
	noted := &pb.Identity{
		Role: w.role, Name: w.name, Serial: w.serial.Text(16), IssuedAt: timestamppb.New(at), NotAfter: timestamppb.New(ends),
		Root: pki.Fingerprint(root.DER()), TrustVersion: a.GetVersion(),
	}
	err = s.Node.Propose(ctx, &pb.Command{
		RequestId: w.id, Actor: transport.RoleName(w.role) + "/" + w.name,
		Command: &pb.Command_IssueIdentity{IssueIdentity: &pb.IssueIdentity{Identity: noted, TokenHash: w.token}},
	})
	if err != nil {
		return nil, err
	}
	// What the state has now counts: an earlier attempt may have been first.
	view = s.Node.View()
	known, _ := view.Identity(w.role, w.name)
	switch a, _ := view.Authority(); {
	case known.GetSerial() != noted.GetSerial():
		return nil, problem.New(problem.Conflict, "this request was answered before, and the certificate of the %s was replaced since", who).
			WithReason(ReasonSuperseded).WithHint("Ask again with a new key.")
	case state.Revoked(known):
		return nil, revoked(who)
	case pki.Fingerprint(signing(a).GetCertificate()) != noted.GetRoot() || known.GetRoot() != noted.GetRoot():
		return nil, nil
	}
	if is := known.GetIssuedAt().AsTime(); !is.Equal(at) {
		if chain, err = sign(is); err != nil {
			return nil, err
		}
	}
	return s.credentials(chain), nil
}

func revoked(who pki.Identity) error {
	return problem.New(problem.Denied, "the certificates of the %s were revoked", who).WithReason(state.ReasonRevoked).
		WithHint("An operator lets it in again with a new token: `baktainer token create`.")
}

// credentials are a certificate, and what its holder should know with it.
func (s *Service) credentials(chain [][]byte) *pb.Credentials {
	view := s.Node.View()
	a, _ := view.Authority()
	c := &pb.Credentials{Chain: chain, Trust: trust(view.Cluster(), a)}
	if s.Controllers != nil {
		c.Controllers = s.Controllers()
	}
	return c
}
