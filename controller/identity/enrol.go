package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// maxSecret and maxCSR bound what a stranger sends, in bytes.
const (
	maxSecret = 100
	maxCSR    = 16 << 10
)

// Enrol implements the identity service. The same request again gets the same
// certificate, and does not use the token twice.
func (s *Service) Enrol(ctx context.Context, req *pb.EnrolRequest) (*pb.EnrolResponse, error) {
	if err := s.mayIssue(); err != nil {
		return nil, err
	}
	origin := transport.CallerOf(ctx).Origin
	if err := s.wrong.mayTry(origin, s.Clock.Now()); err != nil {
		return nil, err
	}
	c, err := s.enrol(ctx, req)
	if problem.CodeOf(err) == problem.Denied {
		s.wrong.note(origin, s.Clock.Now())
		s.Logger.Warn("somebody was not let in", "origin", origin, "name", req.GetName(), "reason", problem.ReasonOf(err))
	}
	if err != nil {
		return nil, err
	}
	return &pb.EnrolResponse{Credentials: c}, nil
}

func (s *Service) enrol(ctx context.Context, req *pb.EnrolRequest) (*pb.Credentials, error) {
	if len(req.GetSecret()) == 0 || len(req.GetSecret()) > maxSecret {
		return nil, unknownToken()
	}
	hash := pki.HashSecret(strings.ToLower(req.GetSecret()))
	w := wanted{role: req.GetRole(), name: req.GetName(), hosts: req.GetHosts(), request: req.GetRequest(), token: hash[:]}
	// Whether the token is good is decided where it is used: this controller may
	// not have heard of one that was made a moment ago.
	if w.role == pb.Role_ROLE_UNSPECIFIED || w.name == "" {
		token, ok := s.Node.View().TokenByHash(hash[:])
		if !ok {
			return nil, unknownToken()
		}
		if w.role == pb.Role_ROLE_UNSPECIFIED {
			w.role = token.GetRole()
		}
		if w.name == "" {
			w.name = token.GetName()
		}
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	return s.enrolOnce(ctx, w)
}

// enrolOnce uses the token once, however often the same request comes.
func (s *Service) enrolOnce(ctx context.Context, w wanted) (*pb.Credentials, error) {
	known, _ := s.Node.View().Identity(w.role, w.name)
	attempt := sha256.New()
	for _, part := range [][]byte{w.token, w.request, []byte(transport.RoleName(w.role)), []byte(w.name)} {
		attempt.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		attempt.Write(part)
	}
	w.serial = serialOf(attempt.Sum(nil))
	switch {
	case known.GetSerial() != w.serial.Text(16):
		// The state gives each id one result for ever, and what it refused may be right
		// later, when the name is free: so it is of the name's standing too.
		fmt.Fprintf(attempt, "%s %d %t", known.GetSerial(), known.GetRevokedAt().AsTime().UnixNano(), known.GetNotAfter().AsTime().Before(s.Clock.Now()))
		w.id = "enrol-" + hex.EncodeToString(attempt.Sum(nil)[:16])
	case state.Revoked(known):
		return nil, revoked(pki.Identity{Role: transport.RoleName(w.role), Name: w.name})
	default:
		// Answered before, and the answer got lost. A renewal for the same key gives
		// nothing more away.
		w.token = nil
	}
	return s.issue(ctx, w)
}

// serialOf makes the number of a certificate of a hash.
func serialOf(sum []byte) *big.Int {
	n := new(big.Int).SetBytes(sum[:16])
	n.Rsh(n, 1) // positive in at most 16 bytes
	return n.Add(n, big.NewInt(1))
}

// unknownToken is what the state says of a token that it does not know.
func unknownToken() error {
	return problem.New(problem.Denied, "the token is unknown, or not for this role and name").WithReason(state.ReasonTokenUnknown).
		WithHint("An operator makes a new token with `baktainer token create`.")
}

// check says all that is wrong with a request.
func (w wanted) check() error {
	var wrong []string
	if err := pki.CheckName(w.name); err != nil {
		wrong = append(wrong, fmt.Sprintf("name %.70q: %v", w.name, err))
	}
	if transport.RoleName(w.role) == "" {
		wrong = append(wrong, "there is no such role")
	}
	if len(w.request) == 0 || len(w.request) > maxCSR {
		wrong = append(wrong, fmt.Sprintf("a certificate request of %d bytes", len(w.request)))
	}
	for _, h := range w.hosts {
		if err := pki.CheckHost(h); err != nil {
			wrong = append(wrong, "host "+err.Error())
		}
	}
	if w.role != pb.Role_ROLE_CONTROLLER && len(w.hosts) > 0 {
		wrong = append(wrong, "hosts are for controllers alone")
	}
	if len(wrong) == 0 {
		return nil
	}
	return problem.New(problem.InvalidInput, "a certificate cannot be asked for like this").WithDetails(wrong...)
}

// Renew implements the identity service.
func (s *Service) Renew(ctx context.Context, req *pb.RenewRequest) (*pb.RenewResponse, error) {
	if err := s.mayIssue(); err != nil {
		return nil, err
	}
	return s.renew(ctx, transport.CallerOf(ctx), req)
}

func (s *Service) renew(ctx context.Context, c transport.Caller, req *pb.RenewRequest) (*pb.RenewResponse, error) {
	if c.Local || c.Role == pb.Role_ROLE_UNSPECIFIED {
		return nil, problem.New(problem.InvalidInput, "a caller without a certificate has none to renew").WithReason(transport.ReasonNoCertificate)
	}
	// Who let the call in may not have heard of a revocation yet.
	if s.Node.View().Refuses(c.Role, c.Name, c.Issued) {
		return nil, revoked(pki.Identity{Role: transport.RoleName(c.Role), Name: c.Name})
	}
	w := wanted{role: c.Role, name: c.Name, hosts: req.GetHosts(), request: req.GetRequest()}
	if err := w.check(); err != nil {
		return nil, err
	}
	creds, err := s.issue(ctx, w)
	if err != nil {
		return nil, err
	}
	return &pb.RenewResponse{Credentials: creds}, nil
}

// selfLife is how long a token lasts that a controller makes for itself.
const selfLife = 10 * time.Minute

// EnrolSelf gives the leader itself a certificate: somebody has to be the first.
func (s *Service) EnrolSelf(ctx context.Context, request []byte, name string, hosts []string) (*pb.Credentials, error) {
	if err := s.mayIssue(); err != nil {
		return nil, err
	}
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	w := wanted{role: pb.Role_ROLE_CONTROLLER, name: name, hosts: hosts, request: request}
	if err := w.check(); err != nil {
		return nil, err
	}
	if known, ok := s.Node.View().Identity(w.role, name); !ok || state.Revoked(known) {
		secret := pki.NewUnpinned()
		hash := secret.Hash()
		if err := s.acceptSecret(ctx, hash, name, 1, selfLife); err != nil {
			return nil, err
		}
		w.token = hash[:]
	}
	return s.issue(ctx, w)
}

// commonLife is how long the token counts with which controllers make a cluster together.
const commonLife = time.Hour

// acceptCommon takes in the controllers that make the cluster together.
func (s *Service) acceptCommon(ctx context.Context) error {
	if s.CommonToken == nil {
		return nil
	}
	hash, err := s.CommonToken()
	if err != nil {
		return fmt.Errorf("read the token that the first controllers have in common: %w", err)
	}
	return s.acceptSecret(ctx, hash, "", 2*s.Together, commonLife)
}

// acceptSecret takes controllers in that know the secret with that hash, as if an
// operator had made a token of it. name is the only name that it is good for;
// empty: any.
func (s *Service) acceptSecret(ctx context.Context, hash [sha256.Size]byte, name string, uses int, life time.Duration) error {
	if _, ok := s.Node.View().TokenByHash(hash[:]); ok {
		return nil
	}
	return s.Node.Propose(ctx, &pb.Command{Actor: "controller", Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{
		Hash: hash[:],
		Token: &pb.Token{
			Id: state.TokenID(hash[:]), Role: pb.Role_ROLE_CONTROLLER, Name: name, Uses: int32(uses),
			ExpiresAt: timestamppb.New(s.Clock.Now().Add(life)), CreatedBy: "controller",
		},
	}}})
}
