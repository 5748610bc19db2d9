// Package api implements the admin service: what an operator sees and asks for,
// from the command line, grpcurl or the dashboard. Requests are checked whole,
// and every problem is told at once, before anything is begun.
package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Node is what the service needs of the consensus.
type Node interface {
	queue.Proposer
	View() *state.View
	IsLeader() bool
	Health() error
	ID() string
}

// Agents is what the service needs of the dispatcher.
type Agents interface {
	Agents() []*pb.AgentInfo
	// Unlabelled are the databases that agents have seen and nobody has labelled.
	Unlabelled() []*pb.Unlabelled
	// WithProgress adds what the agent last told to a run.
	WithProgress(*pb.Run) *pb.Run
	// News is closed when any run has newer progress.
	News() <-chan struct{}
}

// Verifier checks snapshots.
type Verifier interface {
	Snapshots(ctx context.Context, list []*pb.Snapshot, progress func(done, total int64), found func(*pb.Snapshot, *pb.VerifyReport) error) error
}

// Options are what a Server is made of.
type Options struct {
	Node     Node
	Agents   Agents
	Verifier Verifier
	Retain   *retain.Retain
	Repo     *repo.Repository
	Store    store.Store
	// Stores tells how the stores are.
	Stores   func() []*pb.StoreInfo
	Clock    clock.Clock
	Version  string
	Schedule string // id of the default schedule
	// Every is how long a source waits at most for its next backup, 0 when nothing
	// fires for it.
	Every func(*state.View, *pb.Source) time.Duration
	// DrillEvery is the same for drills.
	DrillEvery func(*state.View, *pb.Source) time.Duration
	// Copy writes the copies of ledger entries that the store lacks yet.
	Copy func(context.Context) error
	// Stopping is closed when the controller stops: whoever watches a run is told
	// then, rather than holding up the end of the process.
	Stopping <-chan struct{}
}

// Server implements pb.AdminServiceServer.
type Server struct {
	pb.UnimplementedAdminServiceServer
	Options
	began time.Time
}

// New returns the service.
func New(o Options) *Server { return &Server{Options: o, began: o.Clock.Now()} }

// Limits of listings.
const (
	defaultRuns      = 100
	maxRuns          = 1000
	defaultSnapshots = 1000
	maxSnapshots     = 10_000
)

// GetStatus implements the admin service.
func (s *Server) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	view := s.Node.View()
	counts := view.Counts()
	resp := &pb.GetStatusResponse{
		Version: s.Version, Cluster: view.Cluster(), Node: s.Node.ID(), Leader: s.Node.IsLeader(),
		StartedAt: timestamppb.New(s.began), Agents: s.Agents.Agents(), Stores: s.Stores(), Snapshots: int64(counts.Snapshots),
	}
	for state, n := range counts.Sources {
		if state != pb.SourceState_SOURCE_STATE_GONE {
			resp.Sources += int64(n)
		}
	}
	if kept, ok := view.Schedule(s.Schedule); ok {
		resp.NextFireAt, resp.DefaultSchedule = kept.GetNextFireAt(), kept.GetCron()
	}
	if head := view.LedgerHead(); head != nil {
		resp.LedgerIndex, resp.LedgerHash = head.GetLedgerIndex(), head.GetHash()
	}
	resp.Problems = s.problems(resp)
	return resp, nil
}

// problems lists what keeps backups from being made now.
func (s *Server) problems(st *pb.GetStatusResponse) []string {
	var list []string
	if err := s.Node.Health(); err != nil {
		list = append(list, err.Error())
	}
	for _, store := range st.GetStores() {
		if !store.GetHealthy() {
			list = append(list, "store "+store.GetName()+": "+store.GetDetail())
		}
	}
	if why := s.Retain.Paused(); why != "" {
		list = append(list, "backups pause: "+why)
	}
	connected := false
	for _, a := range st.GetAgents() {
		if !a.GetConnected() {
			continue
		}
		connected = true
		for _, p := range a.GetProviders() {
			if !p.GetHealthy() {
				list = append(list, "agent "+a.GetId()+", "+p.GetName()+": "+p.GetDetail())
			}
		}
	}
	if !connected {
		list = append(list, "no agent is connected")
	}
	return list
}

// ListSources implements the admin service.
func (s *Server) ListSources(context.Context, *pb.ListSourcesRequest) (*pb.ListSourcesResponse, error) {
	view := s.Node.View()
	resp, hold := &pb.ListSourcesResponse{}, scheduler.Hold(view, false)
	for _, src := range view.Sources() {
		resp.Sources = append(resp.Sources, s.status(view, hold, src))
	}
	return resp, nil
}

// GetSource implements the admin service.
func (s *Server) GetSource(_ context.Context, req *pb.GetSourceRequest) (*pb.GetSourceResponse, error) {
	view := s.Node.View()
	src, err := findSource(view, req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.GetSourceResponse{Source: s.status(view, scheduler.Hold(view, false), src)}, nil
}

const labelDependsOn = label.Prefix + "depends_on"

// cycleOf names the cycle of dependencies that a source is on; "" when it is on none.
func cycleOf(view *state.View, src *pb.Source) string {
	if len(src.GetDependsOn()) == 0 {
		return ""
	}
	return schedule.Cycle(src.GetName(), view.DependsOn)
}

func (s *Server) status(view *state.View, hold *scheduler.Holding, src *pb.Source) *pb.SourceStatus {
	st := &pb.SourceStatus{Source: src, Snapshots: int64(view.CountSnapshots(src.GetName()))}
	for _, snapshot := range view.Snapshots(src.GetName(), 1) {
		st.LastSnapshot = snapshot
	}
	for _, r := range view.RunsOf(pb.RunKind_RUN_KIND_BACKUP, src.GetName(), 1) { // a drill that went well says nothing of them
		st.LastRun = brief(s.Agents.WithProgress(r))
	}
	if src.GetState() == pb.SourceState_SOURCE_STATE_READY {
		for _, kept := range append(slices.Clip(hold.For(src.GetName())), oneShots(view, src.GetName())...) {
			if next := kept.GetNextFireAt(); next != nil && (st.NextFireAt == nil || next.AsTime().Before(st.GetNextFireAt().AsTime())) {
				st.NextFireAt = next
			}
		}
	}
	if cycle := cycleOf(view, src); cycle != "" {
		warned := proto.CloneOf(src)
		warned.Problems = append(warned.Problems, &pb.LabelProblem{
			Label: labelDependsOn, Value: strings.Join(src.GetDependsOn(), ","), Warning: true,
			Reason: "the dependencies form a cycle, and are refused: " + cycle, Suggestion: "take one of them away; until then these backups do not wait for each other",
		})
		st.Source = warned
	}
	return st
}

// brief leaves out of a run what a listing has no room for.
func brief(r *pb.Run) *pb.Run {
	if len(r.GetLogs()) == 0 && len(r.GetReport()) == 0 && len(r.GetWarnings()) == 0 {
		return r
	}
	short := proto.CloneOf(r)
	short.Logs, short.Report, short.Warnings = nil, nil, nil
	return short
}

// findSource returns a source by its name, or says which names are like it.
func findSource(view *state.View, name string) (*pb.Source, error) {
	if src, ok := view.Source(name); ok {
		return src, nil
	}
	var names []string
	for _, src := range view.Sources() {
		names = append(names, src.GetName())
	}
	p := problem.New(problem.NotFound, "there is no source %q", name).WithReason(state.ReasonNoSource)
	if near := nearest(name, names); near != "" {
		return nil, p.WithHint("Did you mean %s?", near)
	}
	return nil, p.WithHint("`baktainer source ls` lists them.")
}

// combine makes one problem of several; one alone stays as it is.
func combine(problems []error) error {
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return problems[0]
	}
	all := problem.New(problem.CodeOf(problems[0]), "%d things are wrong with the request", len(problems))
	for _, err := range problems {
		all = all.WithDetails(strings.Split(problem.Text(err), "\n")...)
	}
	return all
}
