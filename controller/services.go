package controller

import (
	"context"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/api"
	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Register adds all services to a server. Who may call what is its guard's business.
func (c *Controller) Register(s *grpc.Server) {
	pb.RegisterAgentServiceServer(s, &agentService{controller: c})
	pb.RegisterAdminServiceServer(s, c.admin)
	pb.RegisterRetentionServiceServer(s, &api.Retention{Server: c.admin, Zone: c.Zone})
	pb.RegisterScheduleServiceServer(s, &api.Schedules{Node: c.Node, Clock: c.Clock, Zone: c.Zone, Actor: func(ctx context.Context) string {
		return audit.Actor(transport.CallerOf(ctx), c.Node.ID())
	}})
	pb.RegisterClusterServiceServer(s, c.cluster)
	pb.RegisterMemberServiceServer(s, c.member)
	pb.RegisterNotifyServiceServer(s, notify.Service{Notifier: c.notify})
	pb.RegisterIdentityServiceServer(s, &identityService{c.identity, c})
}

// Identity is the authority at work.
func (c *Controller) Identity() *identity.Service { return c.identity }

// identityService adds what only the whole knows.
type identityService struct {
	*identity.Service
	controller *Controller
}

// Meet implements the identity service: whoever is starting hears that there is a
// cluster already.
func (s *identityService) Meet(context.Context, *pb.MeetRequest) (*pb.MeetResponse, error) {
	c := s.controller
	return &pb.MeetResponse{Meeting: &pb.Meeting{
		Id: c.Node.ID(), Address: c.Address, Expect: int32(c.Expect), Cluster: c.Node.View().Cluster(),
	}}, nil
}

// leader is a node for parts that decide: what they decide counts only while
// this controller leads, and is not passed on to whoever leads after it.
type leader struct{ *consensus.Node }

// Propose shadows the node's.
func (l leader) Propose(ctx context.Context, cmd *pb.Command) error {
	return l.ProposeAsLeader(ctx, cmd)
}

// Controllers says where the controllers are. One that nobody reaches from
// elsewhere has no address.
func (c *Controller) Controllers() []*pb.ControllerInfo {
	leads := c.Node.LeaderID()
	var list []*pb.ControllerInfo
	for _, m := range c.Node.View().Members() {
		list = append(list, &pb.ControllerInfo{Id: m.GetId(), Address: m.GetAddress(), Leader: m.GetId() == leads})
	}
	if len(list) == 0 {
		return []*pb.ControllerInfo{{Id: c.Node.ID(), Address: c.Address, Leader: c.Node.IsLeader()}}
	}
	return list
}

func (c *Controller) trustVersion() uint64 {
	a, _ := c.Node.View().Authority()
	return a.GetVersion()
}

func (c *Controller) agentsTrust() map[string]uint64 {
	versions := map[string]uint64{}
	for _, a := range c.dispatch.Agents() {
		versions[a.GetId()] = a.GetTrustVersion()
	}
	return versions
}
