package cluster

import (
	"context"

	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonMember says that a controller is a member, and is removed rather than revoked.
const ReasonMember problem.Reason = "member"

// ListIdentities implements the cluster service.
func (s *Service) ListIdentities(context.Context, *pb.ListIdentitiesRequest) (*pb.ListIdentitiesResponse, error) {
	return &pb.ListIdentitiesResponse{Identities: s.Node.View().Identities()}, nil
}

// RevokeIdentity implements the cluster service.
func (s *Service) RevokeIdentity(ctx context.Context, req *pb.RevokeIdentityRequest) (*pb.RevokeIdentityResponse, error) {
	role := transport.RoleName(req.GetRole())
	if role == "" {
		return nil, problem.New(problem.InvalidInput, "the role is none of agent, controller, admin, viewer")
	}
	view := s.Node.View()
	who, ok := view.Identity(req.GetRole(), req.GetName())
	if !ok {
		var names []string
		for _, i := range view.Identities() {
			if i.GetRole() == req.GetRole() {
				names = append(names, i.GetName())
			}
		}
		return nil, unknown(state.ReasonNoIdentity, role, req.GetName(), names, "baktainer identity ls")
	}
	// A member that nobody talks to still counts when the others decide.
	if _, member := view.Member(who.GetName()); member && who.GetRole() == pb.Role_ROLE_CONTROLLER {
		return nil, problem.New(problem.Conflict, "controller %s is a member of the cluster", who.GetName()).WithReason(ReasonMember).
			WithHint("`baktainer cluster remove %s` takes it out, and revokes its certificate.", who.GetName())
	}
	if err := s.revoke(ctx, who); err != nil {
		return nil, err
	}
	who, _ = s.Node.View().Identity(req.GetRole(), req.GetName())
	return &pb.RevokeIdentityResponse{Identity: who}, nil
}

// revoke refuses all certificates of an identity, and ends what it has open.
func (s *Service) revoke(ctx context.Context, who *pb.Identity) error {
	err := s.propose(ctx, &pb.Command{Command: &pb.Command_RevokeIdentity{
		RevokeIdentity: &pb.RevokeIdentityRecord{Role: who.GetRole(), Name: who.GetName()},
	}})
	if err != nil {
		return err
	}
	if who.GetRole() == pb.Role_ROLE_AGENT {
		s.Agents.EndSession(who.GetName(), problem.New(problem.Denied, "the agent %s was revoked", who.GetName()).WithReason(transport.ReasonRevoked).
			WithHint("Enrol it again with a new token: `baktainer token create`."))
	}
	return nil
}

// RotateAuthority implements the cluster service.
func (s *Service) RotateAuthority(ctx context.Context, req *pb.RotateAuthorityRequest) (*pb.RotateAuthorityResponse, error) {
	a, waiting, err := s.Authority.Rotate(ctx, req.GetFinish())
	if err != nil {
		return nil, err
	}
	return &pb.RotateAuthorityResponse{Authority: identity.Describe(a), WaitingFor: waiting}, nil
}
