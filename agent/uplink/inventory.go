package uplink

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/inventory"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// told is what the controller knows of the agent's sources.
type told struct {
	session string // empty: nothing is certain
	sources []*pb.Source
	// unlabelled are the databases without a label.
	unlabelled []*pb.Unlabelled
}

// ReportInventory tells the controller what there is on this host now: all sources
// once in a session, and from then on what has changed. Databases without a label
// are told each time.
func (c *Client) ReportInventory(ctx context.Context, session string, now inventory.Inventory) error {
	at := timestamppb.New(c.clock.Now())
	req := &pb.ReportInventoryRequest{Agent: c.agent, Session: session}
	for _, s := range now.Sources {
		req.Sources = append(req.Sources, sourceToWire(s, c.agent, at))
	}
	for _, u := range now.Unlabelled {
		req.Unlabelled = append(req.Unlabelled, &pb.Unlabelled{Container: containerToWire(u.Container), Engine: u.Engine})
	}
	all := req.GetSources()
	c.mu.Lock()
	before := c.told
	// A controller that knows of no others knows of no changes either: it would take
	// them for all there is.
	whole := before.session == "" || before.session != session || c.at == nil || c.at.old
	c.told = told{}
	c.mu.Unlock()
	if !whole {
		req.Partial = true
		req.Sources, req.Removed = changes(before.sources, all)
	}
	news := !slices.EqualFunc(before.unlabelled, req.GetUnlabelled(), func(a, b *pb.Unlabelled) bool { return proto.Equal(a, b) })
	if whole || news || len(req.GetSources())+len(req.GetRemoved()) > 0 {
		err := c.inSession(ctx, func(ctx context.Context, rpc pb.AgentServiceClient) error {
			_, err := rpc.ReportInventory(ctx, req)
			return err
		})
		if err != nil {
			return fmt.Errorf("report inventory: %w", err) // the next report is a whole one
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = told{session, all, req.GetUnlabelled()}
	return nil
}

// changes gives the sources that are new or have changed, and the names of those
// that are gone. Sources that share a name, which the controller refuses, go together.
func changes(before, now []*pb.Source) (changed []*pb.Source, removed []string) {
	was, is := byName(before), byName(now)
	for _, s := range now {
		if !slices.EqualFunc(was[s.GetName()], is[s.GetName()], sameSource) {
			changed = append(changed, s)
		}
	}
	for _, s := range before {
		if is[s.GetName()] == nil && !slices.Contains(removed, s.GetName()) {
			removed = append(removed, s.GetName())
		}
	}
	return changed, removed
}

func byName(all []*pb.Source) map[string][]*pb.Source {
	out := map[string][]*pb.Source{}
	for _, s := range all {
		out[s.GetName()] = append(out[s.GetName()], s)
	}
	return out
}

// sameSource says whether two reports of a source differ in nothing but their time.
func sameSource(a, b *pb.Source) bool {
	same := proto.CloneOf(a)
	same.ReportedAt = b.GetReportedAt()
	return proto.Equal(same, b)
}
