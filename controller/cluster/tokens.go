package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// usualTTL is how long a token lasts for which nothing else is said.
const usualTTL = time.Hour

// CreateToken implements the cluster service.
func (s *Service) CreateToken(ctx context.Context, req *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	if s.OwnPKI {
		return nil, problem.New(problem.Conflict, "this cluster has an authority of its operator's own: tokens are of no use").WithReason(identity.ReasonOwnPKI).
			WithHint("Have that authority issue a certificate with the URI spiffe://CLUSTER/ROLE/NAME.")
	}
	ttl, uses, err := checkToken(req)
	if err != nil {
		return nil, err
	}
	root := identity.SigningRoot(s.Node.View())
	if root == nil {
		return nil, problem.New(problem.Unavailable, "the cluster has no authority yet").WithReason(identity.ReasonNoAuthority).
			WithHint("Its first leader makes one within seconds; try again.")
	}
	token, hash := pki.NewToken(root)
	record := &pb.Token{
		Id: state.TokenID(hash[:]), Role: req.GetRole(), Name: req.GetName(), Uses: uses,
		ExpiresAt: timestamppb.New(s.Clock.Now().Add(ttl)), CreatedBy: audit.Actor(transport.CallerOf(ctx), s.Node.ID()),
	}
	err = s.propose(ctx, &pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{Token: record, Hash: hash[:]}}})
	if err != nil {
		return nil, err
	}
	kept, _ := s.Node.View().TokenByHash(hash[:])
	return &pb.CreateTokenResponse{Token: token.String(), Record: kept}, nil
}

// checkToken fills in what is not said, and says all that is wrong.
func checkToken(req *pb.CreateTokenRequest) (ttl time.Duration, uses int32, err error) {
	var wrong []string
	if transport.RoleName(req.GetRole()) == "" {
		wrong = append(wrong, "its role is none of agent, controller, admin, viewer")
	}
	if ttl = usualTTL; req.GetTtl() != nil {
		ttl = req.GetTtl().AsDuration()
	}
	if req.GetTtl().CheckValid() != nil && req.GetTtl() != nil || ttl < time.Second || ttl > state.MaxTokenLife {
		wrong = append(wrong, fmt.Sprintf("it is to last for %s; from 1s to %d days are allowed", ttl, state.MaxTokenLife/(24*time.Hour)))
	}
	if uses = req.GetUses(); uses == 0 {
		uses = 1
	}
	if uses < 0 || uses > state.MaxTokenUses {
		wrong = append(wrong, fmt.Sprintf("it is to be used %d times; from 1 to %d are allowed", uses, state.MaxTokenUses))
	}
	if name := req.GetName(); name != "" {
		if err := pki.CheckName(name); err != nil {
			wrong = append(wrong, fmt.Sprintf("name %.70q: %v", name, err))
		}
	}
	return ttl, uses, invalid("a token cannot be made like this", wrong)
}

// ListTokens implements the cluster service.
func (s *Service) ListTokens(_ context.Context, req *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	resp := &pb.ListTokensResponse{}
	for _, t := range s.Node.View().Tokens() {
		useful := t.GetRevokedAt() == nil && t.GetUsed() < t.GetUses() && t.GetExpiresAt().AsTime().After(s.Clock.Now())
		if useful || req.GetAll() {
			resp.Tokens = append(resp.Tokens, t)
		}
	}
	return resp, nil
}

// RevokeToken implements the cluster service.
func (s *Service) RevokeToken(ctx context.Context, req *pb.RevokeTokenRequest) (*pb.RevokeTokenResponse, error) {
	id := strings.ToLower(req.GetId())
	if _, ids := s.token(id); len(ids) > 0 {
		return nil, unknown(state.ReasonNoToken, "token", req.GetId(), ids, "baktainer token ls --all")
	}
	if err := s.propose(ctx, &pb.Command{Command: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeTokenRecord{Id: id}}}); err != nil {
		return nil, err
	}
	t, _ := s.token(id)
	return &pb.RevokeTokenResponse{Token: t}, nil
}

// token finds a token, or the ids of those that there are.
func (s *Service) token(id string) (found *pb.Token, others []string) {
	for _, t := range s.Node.View().Tokens() {
		if t.GetId() == id {
			return t, nil
		}
		others = append(others, t.GetId())
	}
	return nil, others
}
