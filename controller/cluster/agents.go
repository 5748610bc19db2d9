package cluster

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonNoAgent says that nobody has heard of an agent of that name.
const ReasonNoAgent problem.Reason = "no-such-agent"

const (
	usualLines = 200
	maxLines   = 2_000
	// maxLimit bounds limits: more than any cluster carries out.
	maxLimit = 100_000
)

// ListAgents implements the cluster service.
func (s *Service) ListAgents(context.Context, *pb.ListAgentsRequest) (*pb.ListAgentsResponse, error) {
	return &pb.ListAgentsResponse{Agents: s.Agents.Agents()}, nil
}

// agent finds an agent that has been heard of.
func (s *Service) agent(id string) (*pb.AgentInfo, error) {
	var names []string
	for _, a := range s.Agents.Agents() {
		if a.GetId() == id {
			return a, nil
		}
		names = append(names, a.GetId())
	}
	return nil, unknown(ReasonNoAgent, "agent", id, names, "baktainer agent ls")
}

// SetAgent implements the cluster service. What is not said stays as it is.
func (s *Service) SetAgent(ctx context.Context, req *pb.SetAgentRequest) (*pb.SetAgentResponse, error) {
	var wrong []string
	if err := pki.CheckName(req.GetAgent()); err != nil {
		wrong = append(wrong, fmt.Sprintf("agent %.70q: %v", req.GetAgent(), err))
	}
	if n := req.GetConcurrency(); n < 0 || n > state.MaxConcurrency {
		wrong = append(wrong, fmt.Sprintf("%d runs at once; from 1 to %d are allowed, and 0 for the agent's own setting", n, state.MaxConcurrency))
	}
	if req.Concurrency == nil && req.Drained == nil {
		wrong = append(wrong, "nothing is to be changed: say concurrency or drained")
	}
	if err := invalid("an agent cannot be set like this", wrong); err != nil {
		return nil, err
	}
	if _, err := s.agent(req.GetAgent()); err != nil {
		return nil, err
	}
	if err := s.setAgent(ctx, req); err != nil {
		return nil, err
	}
	a, err := s.agent(req.GetAgent())
	if err != nil {
		return nil, err
	}
	return &pb.SetAgentResponse{Agent: a}, nil
}

// setAgent changes what was set for an agent, one request after the other.
func (s *Service) setAgent(ctx context.Context, req *pb.SetAgentRequest) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	next := &pb.AgentRecord{Id: req.GetAgent()}
	if known, ok := s.Node.View().Agent(req.GetAgent()); ok {
		next = proto.CloneOf(known)
	}
	if req.Concurrency != nil {
		next.Concurrency = req.GetConcurrency()
	}
	if req.Drained != nil {
		next.Drained = req.GetDrained()
	}
	return s.propose(ctx, &pb.Command{Command: &pb.Command_SetAgent{SetAgent: &pb.SetAgentRecord{Agent: next}}})
}

// SetLimits implements the cluster service.
func (s *Service) SetLimits(ctx context.Context, req *pb.SetLimitsRequest) (*pb.SetLimitsResponse, error) {
	var wrong []string
	if req.GetLimits() == nil {
		wrong = append(wrong, "no limits are given")
	}
	for what, n := range map[string]int32{"in all": req.GetLimits().GetTotal(), "on one host": req.GetLimits().GetPerHost()} {
		if n < 0 || n > maxLimit {
			wrong = append(wrong, fmt.Sprintf("%d runs %s; from 1 to %d are allowed, and 0 for no limit", n, what, maxLimit))
		}
	}
	slices.Sort(wrong)
	if err := invalid("limits cannot be set like this", wrong); err != nil {
		return nil, err
	}
	if err := s.propose(ctx, &pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: req.GetLimits()}}}); err != nil {
		return nil, err
	}
	return &pb.SetLimitsResponse{Limits: s.Node.View().Limits()}, nil
}

// GetAgentLogs implements the cluster service.
func (s *Service) GetAgentLogs(ctx context.Context, req *pb.GetAgentLogsRequest) (*pb.GetAgentLogsResponse, error) {
	lines := int(req.GetLines())
	switch {
	case lines == 0:
		lines = usualLines
	case lines < 0 || lines > maxLines:
		return nil, problem.New(problem.InvalidInput, "%d lines of a log are asked for; from 1 to %d are allowed", lines, maxLines)
	}
	if _, err := s.agent(req.GetAgent()); err != nil {
		return nil, err
	}
	logs, err := s.Agents.RequestLogs(ctx, req.GetAgent(), lines)
	if err != nil {
		return nil, err
	}
	return &pb.GetAgentLogsResponse{Logs: logs}, nil
}
