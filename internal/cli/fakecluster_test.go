package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// clustered is a fake with other controllers around it. It keeps the requests
// that change something.
type clustered struct {
	fake
	pb.UnimplementedClusterServiceServer

	// alone leaves it without others, and without an authority.
	alone bool
	// empty leaves it without tokens, identities, agents and records.
	empty bool
	// fails is what a call fails with, by the name of its method.
	fails map[string]error
	// state is what SaveState sends, and cut breaks it off.
	state []byte
	cut   bool

	asked    []any
	restored bytes.Buffer
}

// ask keeps a request, and says whether it fails.
func (f *clustered) ask(method string, req any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, req)
	return f.fails[method]
}

// last is the only request that was kept, or nil.
func (f *clustered) last() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) != 1 {
		return nil
	}
	return f.asked[0]
}

func (f *clustered) GetCluster(context.Context, *pb.GetClusterRequest) (*pb.GetClusterResponse, error) {
	if err := f.fails["GetCluster"]; err != nil {
		return nil, err
	}
	resp := &pb.GetClusterResponse{
		Cluster: "cl", Node: "c1", Index: 4711, Utilisation: &pb.Utilisation{Running: 3, Queued: 5, Capacity: 8},
		Members: []*pb.Member{{Id: "c1", Role: pb.MemberRole_MEMBER_ROLE_VOTER, Leader: true, Healthy: true, Version: "v1.2.3", Index: 4711, Stores: []string{"main"}}},
	}
	if f.alone {
		return resp, nil
	}
	resp.Tolerance, resp.Limits = 1, &pb.Limits{Total: 8, PerHost: 2}
	resp.Authority = authority(false)
	resp.Members[0].Address, resp.Members[0].Uploads = "c1.example.com:8468", 2
	resp.Members = append(resp.Members,
		&pb.Member{Id: "c2", Address: "c2.example.com:8468", Role: pb.MemberRole_MEMBER_ROLE_VOTER, Healthy: true, Version: "v1.2.3", Index: 4711, LastContactAt: ago(time.Second), Stores: []string{"main"}},
		&pb.Member{Id: "c3", Address: "c3.example.com:8468", Role: pb.MemberRole_MEMBER_ROLE_VOTER, Version: "v1.2.2", Index: 4000, LastContactAt: ago(time.Hour), Detail: "it does not answer"},
		&pb.Member{Id: "c4", Address: "c4.example.com:8468", Role: pb.MemberRole_MEMBER_ROLE_NONVOTER, Healthy: true, Version: "v1.2.3", Index: 4711, LastContactAt: ago(2 * time.Second)},
	)
	return resp, nil
}

// authority is the cluster's, and while it rotates.
func authority(rotating bool) *pb.Authority {
	au := &pb.Authority{Version: 3, Roots: []*pb.Root{{Subject: "CN=Baktainer cl", Fingerprint: "aa11", NotAfter: timestamppb.New(today.AddDate(9, 0, 0)), Signs: true}}}
	if rotating {
		au.Version = 4
		au.Roots = append(au.Roots, &pb.Root{Subject: "CN=Baktainer cl", Fingerprint: "bb22", NotAfter: timestamppb.New(today.AddDate(10, 0, 0))})
	}
	return au
}

func (f *clustered) RemoveMember(_ context.Context, req *pb.RemoveMemberRequest) (*pb.RemoveMemberResponse, error) {
	return &pb.RemoveMemberResponse{}, f.ask("RemoveMember", req)
}

func (f *clustered) TransferLeadership(_ context.Context, req *pb.TransferLeadershipRequest) (*pb.TransferLeadershipResponse, error) {
	leader := req.GetId()
	if leader == "" {
		leader = "c2"
	}
	return &pb.TransferLeadershipResponse{Leader: leader}, f.ask("TransferLeadership", req)
}

func (f *clustered) SetLimits(_ context.Context, req *pb.SetLimitsRequest) (*pb.SetLimitsResponse, error) {
	return &pb.SetLimitsResponse{Limits: req.GetLimits()}, f.ask("SetLimits", req)
}

func (f *clustered) SaveState(req *pb.SaveStateRequest, s grpc.ServerStreamingServer[pb.SaveStateResponse]) error {
	for part := range bytes.SplitAfterSeq(f.state, []byte("\n")) {
		if err := s.Send(&pb.SaveStateResponse{Data: part}); err != nil {
			return err
		}
	}
	if f.cut {
		return problem.New(problem.Unavailable, "the controller stops")
	}
	return nil
}

func (f *clustered) RestoreState(s grpc.ClientStreamingServer[pb.RestoreStateRequest, pb.RestoreStateResponse]) error {
	for first := true; ; first = false {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&pb.RestoreStateResponse{Index: 4712})
		}
		if err != nil {
			return err
		}
		if first {
			if err := f.ask("RestoreState", req); err != nil {
				return err
			}
		}
		f.restored.Write(req.GetData())
	}
}

func tokens() []*pb.Token {
	return []*pb.Token{
		{Id: "0a1b2c3d4e5f", Role: pb.Role_ROLE_AGENT, CreatedAt: ago(time.Hour), ExpiresAt: timestamppb.New(today.Add(23 * time.Hour)), Uses: 20, Used: 3, CreatedBy: "admin/alice"},
		{Id: "1a1b2c3d4e5f", Role: pb.Role_ROLE_ADMIN, Name: "bob", CreatedAt: ago(time.Minute), ExpiresAt: timestamppb.New(today.Add(time.Hour)), Uses: 1, CreatedBy: "admin/local:0@c1"},
		{Id: "2a1b2c3d4e5f", Role: pb.Role_ROLE_CONTROLLER, Name: "c4", CreatedAt: ago(2 * time.Hour), ExpiresAt: ago(time.Hour), Uses: 1, Used: 1, CreatedBy: "admin/alice"},
		{Id: "3a1b2c3d4e5f", Role: pb.Role_ROLE_VIEWER, CreatedAt: ago(2 * time.Hour), ExpiresAt: ago(time.Hour), Uses: 1, CreatedBy: "admin/alice"},
		{Id: "4a1b2c3d4e5f", Role: pb.Role_ROLE_VIEWER, CreatedAt: ago(time.Hour), ExpiresAt: timestamppb.New(today.Add(time.Hour)), Uses: 1, RevokedAt: ago(time.Minute), CreatedBy: "admin/alice"},
	}
}

const tokenText = "BKTN-1-mzxw6ytboi4dqlr2pu3k5aclw5kxe3tq-abcdefghijklmnopqrstuvwxyz"

func (f *clustered) CreateToken(_ context.Context, req *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	return &pb.CreateTokenResponse{Token: tokenText, Record: &pb.Token{
		Id: "9a1b2c3d4e5f", Role: req.GetRole(), Name: req.GetName(), CreatedAt: timestamppb.New(today), ExpiresAt: timestamppb.New(today.Add(req.GetTtl().AsDuration())),
		Uses: req.GetUses(), CreatedBy: "admin/local:0@c1",
	}}, f.ask("CreateToken", req)
}

func (f *clustered) ListTokens(_ context.Context, req *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	switch {
	case f.empty:
		return &pb.ListTokensResponse{}, nil
	case req.GetAll():
		return &pb.ListTokensResponse{Tokens: tokens()}, nil
	}
	return &pb.ListTokensResponse{Tokens: tokens()[:2]}, nil
}

func (f *clustered) RevokeToken(_ context.Context, req *pb.RevokeTokenRequest) (*pb.RevokeTokenResponse, error) {
	return &pb.RevokeTokenResponse{Token: &pb.Token{Id: req.GetId(), RevokedAt: timestamppb.New(today)}}, f.ask("RevokeToken", req)
}

func identities() []*pb.Identity {
	return []*pb.Identity{
		{Role: pb.Role_ROLE_ADMIN, Name: "alice", Serial: "01", IssuedAt: ago(time.Hour), NotAfter: timestamppb.New(today.AddDate(0, 0, 7)), Token: "5a1b2c3d4e5f", Root: "aa11"},
		{Role: pb.Role_ROLE_AGENT, Name: "db1", Serial: "02", IssuedAt: ago(48 * time.Hour), NotAfter: timestamppb.New(today.AddDate(0, 0, 5)), RevokedAt: ago(time.Hour), Token: "6a1b2c3d4e5f", Root: "aa11"},
		{Role: pb.Role_ROLE_AGENT, Name: "db2", Serial: "03", IssuedAt: ago(time.Hour), NotAfter: timestamppb.New(today.AddDate(0, 0, 7)), RevokedAt: ago(2 * time.Hour), Root: "aa11"},
		{Role: pb.Role_ROLE_VIEWER, Name: "bob", Serial: "04", IssuedAt: ago(200 * time.Hour), NotAfter: ago(32 * time.Hour), Root: "aa11"},
	}
}

func (f *clustered) ListIdentities(context.Context, *pb.ListIdentitiesRequest) (*pb.ListIdentitiesResponse, error) {
	if f.empty {
		return &pb.ListIdentitiesResponse{}, nil
	}
	return &pb.ListIdentitiesResponse{Identities: identities()}, nil
}

func (f *clustered) RevokeIdentity(_ context.Context, req *pb.RevokeIdentityRequest) (*pb.RevokeIdentityResponse, error) {
	return &pb.RevokeIdentityResponse{Identity: &pb.Identity{Role: req.GetRole(), Name: req.GetName(), RevokedAt: timestamppb.New(today)}}, f.ask("RevokeIdentity", req)
}

func (f *clustered) RotateAuthority(_ context.Context, req *pb.RotateAuthorityRequest) (*pb.RotateAuthorityResponse, error) {
	resp := &pb.RotateAuthorityResponse{Authority: authority(!req.GetFinish())}
	if !req.GetFinish() {
		resp.WaitingFor = identities()[:2]
	}
	return resp, f.ask("RotateAuthority", req)
}

func agents() []*pb.AgentInfo {
	return []*pb.AgentInfo{
		{
			Id: "db1", Host: "db1.example.com", Version: "v1.2.3", Connected: true, LastSeenAt: ago(5 * time.Second), Running: 1, Queued: 2, Concurrency: 2, ConcurrencySet: true,
			Drained: true, Sources: 4, TrustVersion: 3,
			Providers: []*pb.ProviderHealth{{Name: "docker", Healthy: true, Detail: "connected, API 1.41", Since: durationpb.New(time.Hour)}},
		},
		{Id: "db2", Host: "db2.example.com", Version: "v1.2.2", LastSeenAt: ago(time.Hour), Concurrency: 4, TrustVersion: 2, RevokedAt: ago(time.Hour)},
	}
}

func (f *clustered) ListAgents(context.Context, *pb.ListAgentsRequest) (*pb.ListAgentsResponse, error) {
	if f.empty {
		return &pb.ListAgentsResponse{}, nil
	}
	return &pb.ListAgentsResponse{Agents: agents()}, nil
}

func (f *clustered) SetAgent(_ context.Context, req *pb.SetAgentRequest) (*pb.SetAgentResponse, error) {
	g := agents()[0]
	if req.Concurrency != nil {
		g.Concurrency, g.ConcurrencySet = req.GetConcurrency(), true
		if req.GetConcurrency() == 0 {
			g.Concurrency, g.ConcurrencySet = 4, false
		}
	}
	if req.Drained != nil {
		g.Drained = req.GetDrained()
	}
	return &pb.SetAgentResponse{Agent: g}, f.ask("SetAgent", req)
}

func (f *clustered) GetAgentLogs(_ context.Context, req *pb.GetAgentLogsRequest) (*pb.GetAgentLogsResponse, error) {
	return &pb.GetAgentLogsResponse{Logs: runs()[0].GetLogs()}, f.ask("GetAgentLogs", req)
}

func (f *clustered) ListAudit(_ context.Context, req *pb.ListAuditRequest) (*pb.ListAuditResponse, error) {
	if f.empty || strings.Contains(req.GetMatch(), "nobody") {
		return &pb.ListAuditResponse{}, f.ask("ListAudit", req)
	}
	return &pb.ListAuditResponse{Records: []*pb.AuditRecord{
		{Id: "a3", Time: ago(time.Second), Actor: "admin/alice", Origin: "10.0.0.7:51234", Method: "/baktainer.v1.AdminService/DumpSnapshot", Request: `{"snapshot":"01JNG3"}`},
		{Id: "a2", Time: ago(time.Minute), Actor: "viewer/bob", Origin: "10.0.0.8:51234", Method: "/baktainer.v1.ClusterService/RemoveMember", Request: `{"id":"c1"}`, EndedAt: ago(time.Minute),
			Failure: &pb.Failure{Code: "conflict", Message: "c1 leads"}},
		{Id: "a1", Time: ago(time.Hour), Actor: "admin/local:0@c1", Method: "/baktainer.v1.ClusterService/CreateToken", Request: `{"role":"ROLE_AGENT"}`, EndedAt: ago(time.Hour)},
	}}, f.ask("ListAudit", req)
}
