// Package cluster implements the cluster's own service: what an operator sees of
// its controllers and agents, who may come in, and what was done. Requests are
// checked whole, and every problem is told at once, before anything is begun.
package cluster

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/agnivade/levenshtein"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Node is what the service needs of the consensus.
type Node interface {
	ID() string
	View() *state.View
	Propose(context.Context, *pb.Command) error
	Membership() []consensus.Member
	LeaderID() string
	Remove(ctx context.Context, id string) error
	TransferLeadership(ctx context.Context, id string) error
	Save(ctx context.Context, w io.Writer) (index uint64, err error)
	Restore(ctx context.Context, r io.Reader, anyCluster bool) error
}

// Agents is what the service needs of the dispatcher.
type Agents interface {
	Agents() []*pb.AgentInfo
	Utilisation() *pb.Utilisation
	RequestLogs(ctx context.Context, agent string, lines int) ([]*pb.LogLine, error)
	EndSession(agent string, why error)
}

// Authority replaces the cluster's authority.
type Authority interface {
	// Rotate begins to, or with finish takes the next step, and says who is waited for.
	Rotate(ctx context.Context, finish bool) (*pb.AuthorityRecord, []*pb.Identity, error)
}

// Options are what a Service is made of.
type Options struct {
	Node      Node
	Agents    Agents
	Authority Authority
	// Uploads tells how many uploads each controller is taking in, by id, as far as is known; nil: nobody knows.
	Uploads func() map[string]int
	Clock   clock.Clock
	// OwnPKI says that certificates come from the operator's own authority.
	OwnPKI bool
}

// Service implements pb.ClusterServiceServer.
type Service struct {
	pb.UnimplementedClusterServiceServer
	Options
	setting sync.Mutex // held while what was set for an agent is read and changed
}

// New returns the service.
func New(o Options) *Service { return &Service{Options: o} }

// propose proposes a command in the name of the caller.
func (s *Service) propose(ctx context.Context, c *pb.Command) error {
	c.Actor = audit.Actor(transport.CallerOf(ctx), s.Node.ID())
	return s.Node.Propose(ctx, c)
}

// GetCluster implements the cluster service.
func (s *Service) GetCluster(context.Context, *pb.GetClusterRequest) (*pb.GetClusterResponse, error) {
	view := s.Node.View()
	resp := &pb.GetClusterResponse{
		Cluster: view.Cluster(), Node: s.Node.ID(), Index: view.Index(), Limits: view.Limits(), Utilisation: s.Agents.Utilisation(),
		Members: s.members(view),
	}
	if a, ok := view.Authority(); ok {
		resp.Authority = identity.Describe(a)
	}
	voters, well := 0, 0
	for _, m := range resp.GetMembers() {
		if m.GetRole() == pb.MemberRole_MEMBER_ROLE_VOTER {
			voters++
			if m.GetHealthy() {
				well++
			}
		}
	}
	resp.Tolerance = int32(max(0, well-(voters/2+1)))
	return resp, nil
}

// members puts together what Raft, the state and this leader know of the controllers.
func (s *Service) members(view *state.View) (list []*pb.Member) {
	uploads := map[string]int{}
	if s.Uploads != nil {
		uploads = s.Uploads()
	}
	for _, m := range s.Node.Membership() {
		known, _ := view.Member(m.ID)
		info := &pb.Member{
			Id: m.ID, Address: m.Address, Role: pb.MemberRole_MEMBER_ROLE_NONVOTER, Leader: m.Leader, Healthy: m.Healthy,
			Version: known.GetVersion(), Index: m.Index, Detail: m.Detail, Uploads: int32(uploads[m.ID]), Stores: reached(view, m.ID),
		}
		if m.Voter {
			info.Role = pb.MemberRole_MEMBER_ROLE_VOTER
		}
		if !m.LastContact.IsZero() {
			info.LastContactAt = timestamppb.New(m.LastContact)
		}
		list = append(list, info)
	}
	return list
}

// reached names the stores that a controller reaches by itself. One of which
// nobody is said to reach it is reached by all.
func reached(view *state.View, controller string) (names []string) {
	for _, st := range view.Stores() {
		if by := st.GetControllers(); len(by) == 0 || slices.Contains(by, controller) {
			names = append(names, st.GetName())
		}
	}
	return names
}

// nearest returns the name that was most likely meant, empty when none is near.
func nearest(given string, names []string) string {
	best, distance := "", len(given)/3+2
	for _, name := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(given), strings.ToLower(name)); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// unknown says that there is no thing of that name, and which one is like it.
func unknown(reason problem.Reason, what, given string, names []string, list string) error {
	p := problem.New(problem.NotFound, "there is no %s %.70q", what, given).WithReason(reason)
	if near := nearest(given, names); near != "" {
		return p.WithHint("Did you mean %s?", near)
	}
	return p.WithHint("`%s` lists them.", list)
}

// invalid says all that is wrong with a request; nil when nothing is.
func invalid(what string, wrong []string) error {
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return problem.New(problem.InvalidInput, "%s: %s", what, wrong[0])
	}
	return problem.New(problem.InvalidInput, "%s: %d things are wrong", what, len(wrong)).WithDetails(wrong...)
}
