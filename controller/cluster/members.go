package cluster

import (
	"context"
	"slices"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reasons for which a controller is not removed.
const (
	ReasonLeads     problem.Reason = "leads"      // it leads
	ReasonOnlyStore problem.Reason = "only-store" // a store would be out of reach
)

// RemoveMember implements the cluster service. Done again it does what a failure
// has left undone.
func (s *Service) RemoveMember(ctx context.Context, req *pb.RemoveMemberRequest) (*pb.RemoveMemberResponse, error) {
	id, view := req.GetId(), s.Node.View()
	at := slices.IndexFunc(s.Node.Membership(), func(m consensus.Member) bool { return m.ID == id })
	_, noted := view.Member(id)
	who, known := view.Identity(pb.Role_ROLE_CONTROLLER, id)
	if at < 0 && !noted {
		return nil, unknown(consensus.ReasonNoMember, "controller", id, s.memberIDs(), "baktainer cluster members")
	}
	if at >= 0 {
		if err := s.mayRemove(view, s.Node.Membership()[at]); err != nil {
			return nil, err
		}
		if err := s.Node.Remove(ctx, id); err != nil && problem.ReasonOf(err) != consensus.ReasonNoMember {
			return nil, err
		}
	}
	if err := s.propose(ctx, &pb.Command{Command: &pb.Command_DropMember{DropMember: &pb.DropMember{Id: id}}}); err != nil {
		return nil, err
	}
	// Its certificate would let it read stores and pass on calls in anybody's name.
	if known && !state.Revoked(who) {
		if err := s.revoke(ctx, who); err != nil {
			return nil, err
		}
	}
	return &pb.RemoveMemberResponse{}, nil
}

// mayRemove refuses what would leave the cluster without a leader to finish it, or
// a store out of reach while its controller runs.
func (s *Service) mayRemove(view *state.View, m consensus.Member) error {
	if m.ID == s.Node.ID() {
		return problem.New(problem.Conflict, "controller %s leads the cluster", m.ID).WithReason(ReasonLeads).
			WithHint("Make another one lead first: `baktainer cluster transfer-leadership`.")
	}
	for _, st := range view.Stores() {
		if m.Healthy && slices.Equal(st.GetControllers(), []string{m.ID}) {
			return problem.New(problem.Conflict, "controller %s is the only one that reaches the store %s", m.ID, st.GetName()).WithReason(ReasonOnlyStore).
				WithHint("Without it no snapshot there can be made or read. Give another controller its folder first. If it is to go nevertheless, stop it before you remove it.")
		}
	}
	return nil
}

func (s *Service) memberIDs() (ids []string) {
	for _, m := range s.Node.Membership() {
		ids = append(ids, m.ID)
	}
	return ids
}

// TransferLeadership implements the cluster service. It returns once another leads.
func (s *Service) TransferLeadership(ctx context.Context, req *pb.TransferLeadershipRequest) (*pb.TransferLeadershipResponse, error) {
	if ids := s.memberIDs(); req.GetId() != "" && !slices.Contains(ids, req.GetId()) {
		return nil, unknown(consensus.ReasonNoMember, "controller", req.GetId(), ids, "baktainer cluster members")
	}
	if err := s.Node.TransferLeadership(ctx, req.GetId()); err != nil {
		return nil, err
	}
	return &pb.TransferLeadershipResponse{Leader: s.Node.LeaderID()}, nil
}
