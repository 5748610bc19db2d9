// Package member is what controllers do for each other: they take one another into
// the cluster, commit commands for each other, and read and write the objects of
// a store that only some of them reach.
package member

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonWrongController says that a controller speaks for another one.
const ReasonWrongController problem.Reason = "wrong-controller"

const (
	maxAddress = 300
	maxVersion = 100
)

// Node is what the service needs of the consensus.
type Node interface {
	View() *state.View
	// CommandLevel is the newest version of commands that all members understand.
	CommandLevel() uint32
	// Join takes a member in, at the leader, or notes its new address.
	Join(ctx context.Context, id, address, cluster string) error
	Propose(context.Context, *pb.Command) error
	// ProposeEncoded commits a command at the leader, and says where in the log it is.
	ProposeEncoded(ctx context.Context, command []byte) (uint64, error)
}

// Keys hands out keys of the repository.
type Keys interface {
	// Issue makes a key file for a controller, in place of one that it had before.
	Issue(ctx context.Context, controller string) ([]byte, error)
}

// Options are what a Service is made of.
type Options struct {
	Node   Node
	Keys   Keys
	Logger *slog.Logger
	// Local gives the store of that name when this controller reaches it by itself, else nil.
	Local func(name string) store.Store
}

// Service implements pb.MemberServiceServer.
type Service struct {
	pb.UnimplementedMemberServiceServer
	Options
}

// New returns the service.
func New(o Options) *Service { return &Service{Options: o} }

// Join implements the member service. It can be asked again when the answer got lost.
func (s *Service) Join(ctx context.Context, req *pb.JoinRequest) (*pb.JoinResponse, error) {
	return s.join(ctx, transport.CallerOf(ctx), req)
}

func (s *Service) join(ctx context.Context, c transport.Caller, req *pb.JoinRequest) (*pb.JoinResponse, error) {
	if c.Role != pb.Role_ROLE_CONTROLLER || c.Name != req.GetId() {
		return nil, problem.New(problem.Denied, "the certificate is that of the %s: it may not join as the controller %.70q", c, req.GetId()).
			WithReason(ReasonWrongController).WithHint("Leave --name out, or let it enrol again under the name that it is to have.")
	}
	if err := checkJoin(req); err != nil {
		return nil, err
	}
	_, isMember := s.Node.View().Member(req.GetId())
	if level := s.Node.CommandLevel(); !isMember && max(req.GetCommandVersion(), 1) < level {
		return nil, problem.New(problem.Conflict, "controller %s has the version %.40s of Baktainer, which does not know commands that this cluster uses", req.GetId(), req.GetVersion()).
			WithReason(state.ReasonMixed).WithHint("Let it run the version that the others have.")
	}
	if err := s.Node.Join(ctx, req.GetId(), req.GetAddress(), req.GetCluster()); err != nil {
		return nil, err
	}
	joined := &pb.MemberRecord{Id: req.GetId(), Address: req.GetAddress(), Version: req.GetVersion(), CommandVersion: req.GetCommandVersion()}
	if known, _ := s.Node.View().Member(req.GetId()); !proto.Equal(known, joined) {
		err := s.Node.Propose(ctx, &pb.Command{Actor: "controller/" + req.GetId(), Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: joined}}})
		if err != nil {
			return nil, err
		}
	}
	resp := &pb.JoinResponse{Cluster: s.Node.View().Cluster()}
	if !req.GetWantsKey() {
		return resp, nil
	}
	key, err := s.Keys.Issue(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	s.Logger.Info("a controller got a key of the repository", "node", req.GetId())
	resp.KeyFile = key
	return resp, nil
}

// checkJoin refuses what the state would refuse later, when Raft knows the member already.
func checkJoin(req *pb.JoinRequest) error {
	var wrong []string
	if err := pki.CheckName(req.GetId()); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(req.GetAddress()) == 0 || len(req.GetAddress()) > maxAddress {
		wrong = append(wrong, "the address is missing, or too long")
	}
	if len(req.GetVersion()) > maxVersion {
		wrong = append(wrong, "the version is too long")
	}
	if len(wrong) == 0 {
		return nil
	}
	return problem.New(problem.InvalidInput, "the controller %.70q cannot join like this", req.GetId()).WithDetails(wrong...)
}

// Propose implements the member service.
func (s *Service) Propose(ctx context.Context, req *pb.ProposeRequest) (*pb.ProposeResponse, error) {
	index, err := s.Node.ProposeEncoded(ctx, req.GetCommand())
	if err != nil {
		return nil, err
	}
	return &pb.ProposeResponse{Index: index}, nil
}
