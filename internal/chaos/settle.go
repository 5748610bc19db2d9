package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// settleLimit bounds how long a cluster has to recover from a fault.
	settleLimit = 2 * time.Minute
	notSettled  = "not settled: "
)

// settle waits until everything is as before a fault, and says what is not when
// it takes too long.
func (r *Rig) settle(ctx context.Context, out *figures.Fault) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		why := r.unsettled(ctx)
		if why == "" {
			return
		}
		if clock.Sleep(ctx, 2*askPause) != nil {
			out.Blame("%s%s", notSettled, why)
			return
		}
	}
}

// unsettled says what is not as it should be; empty: nothing.
func (r *Rig) unsettled(ctx context.Context) string {
	for _, c := range r.controllers {
		if !c.proc.Running() {
			return "controller " + c.name + " does not run"
		}
	}
	for _, a := range r.agents {
		if !a.proc.Running() {
			return "agent " + a.name + " does not run"
		}
	}
	var leaders []string
	for _, c := range r.controllers {
		why := "it was not asked"
		err := r.askOne(ctx, c, func(ctx context.Context, a apis) error {
			resp, err := a.cluster.GetCluster(ctx, &pb.GetClusterRequest{})
			if err != nil {
				return err
			}
			leaders = append(leaders, resp.GetNode())
			why = ailing(resp)
			return nil
		})
		if err != nil {
			return err.Error()
		}
		if why != "" {
			return why
		}
	}
	if slices.Sort(leaders); len(slices.Compact(leaders)) > 1 {
		return fmt.Sprintf("several lead: %v", leaders)
	}
	why := "nothing is known of agents and runs"
	err := r.ask(ctx, func(ctx context.Context, a apis) error {
		status, err := a.admin.GetStatus(ctx, &pb.GetStatusRequest{})
		if err != nil {
			return err
		}
		sources, err := a.admin.ListSources(ctx, &pb.ListSourcesRequest{})
		if err != nil {
			return err
		}
		runs, err := a.admin.ListRuns(ctx, &pb.ListRunsRequest{Limit: 1000})
		if err != nil {
			return err
		}
		r.figures.Version = status.GetVersion()
		why = r.idle(status.GetAgents(), sources.GetSources(), runs.GetRuns())
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return why
}

// ailing says which member is not well.
func ailing(resp *pb.GetClusterResponse) string {
	if len(resp.GetMembers()) != len(controllerNames) {
		return fmt.Sprintf("the cluster has %d members", len(resp.GetMembers()))
	}
	for _, m := range resp.GetMembers() {
		if !m.GetHealthy() || m.GetRole() != pb.MemberRole_MEMBER_ROLE_VOTER {
			return fmt.Sprintf("member %s: healthy %v, %s, %s", m.GetId(), m.GetHealthy(), m.GetRole(), m.GetDetail())
		}
	}
	return ""
}

// idle says which agent, source or run is not as it should be at rest.
func (r *Rig) idle(agents []*pb.AgentInfo, sources []*pb.SourceStatus, runs []*pb.Run) string {
	for _, name := range agentNames {
		if !slices.ContainsFunc(agents, func(a *pb.AgentInfo) bool { return a.GetId() == name && a.GetConnected() }) {
			return "agent " + name + " is not connected"
		}
	}
	for i, d := range databaseKinds {
		name := r.name + "-" + d.name
		if i < len(r.databases) {
			name = r.databases[i].Name
		}
		ready := slices.ContainsFunc(sources, func(s *pb.SourceStatus) bool {
			src := s.GetSource()
			return src.GetName() == name && src.GetState() == pb.SourceState_SOURCE_STATE_READY && src.GetAgent() == d.host
		})
		if !ready {
			return "source " + name + " is not ready at " + d.host
		}
	}
	for _, run := range runs {
		if strings.HasPrefix(run.GetSource(), r.name) && !ended(run) {
			return fmt.Sprintf("run %s of %s is %s", run.GetId(), run.GetSource(), stateOf(run))
		}
	}
	return ""
}

func ended(r *pb.Run) bool {
	return r.GetState() != pb.RunState_RUN_STATE_QUEUED && r.GetState() != pb.RunState_RUN_STATE_RUNNING
}

func stateOf(r *pb.Run) string {
	return strings.ToLower(strings.TrimPrefix(r.GetState().String(), "RUN_STATE_"))
}
