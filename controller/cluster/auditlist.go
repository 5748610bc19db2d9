package cluster

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const usualAudit = 100

// ListAudit implements the cluster service. The listing ends where one message is
// full, with the newest in it.
func (s *Service) ListAudit(_ context.Context, req *pb.ListAuditRequest) (*pb.ListAuditResponse, error) {
	limit := int(req.GetLimit())
	switch {
	case limit == 0:
		limit = usualAudit
	case limit < 0 || limit > state.KeptAudit:
		return nil, problem.New(problem.InvalidInput, "%d audit records are asked for; from 1 to %d are allowed", limit, state.KeptAudit)
	}
	resp := &pb.ListAuditResponse{}
	match, size := strings.ToLower(req.GetMatch()), 0
	for _, r := range s.Node.View().Audit(0) {
		if !has(match, r.GetActor(), r.GetMethod(), r.GetRequest()) {
			continue
		}
		if size += proto.Size(r) + 16; size > transport.MaxMessage/2 || len(resp.GetRecords()) == limit {
			break
		}
		resp.Records = append(resp.Records, r)
	}
	return resp, nil
}

// has says whether any of the texts has the match, which is in lower case, in it.
func has(match string, texts ...string) bool {
	for _, t := range texts {
		if strings.Contains(strings.ToLower(t), match) {
			return true
		}
	}
	return false
}
