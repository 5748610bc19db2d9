package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/version"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// statusView is what `status -o json` prints.
type statusView struct {
	Version         string          `json:"version" doc:"version of the controller"`
	Cluster         string          `json:"cluster" doc:"identifies the cluster"`
	Node            string          `json:"node" doc:"identifies the controller"`
	Leader          bool            `json:"leader" doc:"it decides"`
	StartedAt       *time.Time      `json:"started_at,omitempty" doc:"when it started"`
	DefaultSchedule string          `json:"default_schedule" doc:"schedule of sources that have none of their own"`
	NextFireAt      *time.Time      `json:"next_fire_at,omitempty" doc:"when that fires next"`
	Sources         int64           `json:"sources" doc:"how many sources there are"`
	Snapshots       int64           `json:"snapshots" doc:"how many snapshots there are"`
	Ledger          string          `json:"ledger" doc:"the newest entry of the ledger, as from ledger head; empty when there is none"`
	Agents          []*agentView    `json:"agents" doc:"as from agent ls"`
	Stores          []storeView     `json:"stores" doc:"name, location, healthy, detail, free_bytes, total_bytes"`
	Controllers     []*memberView   `json:"controllers" doc:"as from cluster members"`
	Tolerance       int32           `json:"tolerance" doc:"how many of them may fail and the others still go on"`
	Utilisation     utilisationView `json:"utilisation" doc:"running, queued, capacity: runs at work, runs that wait, and how many connected agents could take"`
	Problems        []string        `json:"problems" doc:"what keeps the controller from being ready"`
}

type storeView struct {
	Name       string `json:"name"`
	Location   string `json:"location"`
	Healthy    bool   `json:"healthy"`
	Detail     string `json:"detail"`
	FreeBytes  int64  `json:"free_bytes"`
	TotalBytes int64  `json:"total_bytes"`
}

func viewStatus(s *pb.GetStatusResponse) statusView {
	v := statusView{
		Version: s.GetVersion(), Cluster: s.GetCluster(), Node: s.GetNode(), Leader: s.GetLeader(), StartedAt: moment(s.GetStartedAt()),
		DefaultSchedule: s.GetDefaultSchedule(), NextFireAt: moment(s.GetNextFireAt()), Sources: s.GetSources(), Snapshots: s.GetSnapshots(),
		Agents: views(s.GetAgents(), viewAgent), Stores: []storeView{}, Controllers: []*memberView{}, Problems: list(s.GetProblems()),
	}
	if s.GetLedgerIndex() > 0 {
		v.Ledger = ledgerHead(s.GetLedgerIndex(), ledger.Hash(s.GetLedgerHash()))
	}
	for _, st := range s.GetStores() {
		v.Stores = append(v.Stores, storeView{st.GetName(), st.GetLocation(), st.GetHealthy(), st.GetDetail(), st.GetFreeBytes(), st.GetTotalBytes()})
	}
	return v
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell how controller, agents and stores are",
		Long: "Tell how controller, agents and stores are.\n\nExit status: 0 ready, 1 not ready or no controller answers.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.connected(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				v, err := status(ctx, conn)
				if err != nil {
					return err
				}
				if err := a.print(v, nil, func() { a.showStatus(v) }); err != nil {
					return err
				}
				if len(v.Problems) > 0 {
					return problem.New(problem.Unavailable, "the controller is not ready").WithDetails(v.Problems...)
				}
				return nil
			})
		},
	}
}

// status asks for the status. A controller of before there were several has no
// more to tell than what is about itself.
func status(ctx context.Context, conn grpc.ClientConnInterface) (statusView, error) {
	resp, err := pb.NewAdminServiceClient(conn).GetStatus(ctx, &pb.GetStatusRequest{})
	if err != nil {
		return statusView{}, err
	}
	v := viewStatus(resp)
	c, err := cluster(ctx, pb.NewClusterServiceClient(conn))
	if problem.ReasonOf(err) == transport.ReasonUnsupported {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Controllers, v.Tolerance, v.Utilisation = c.Members, c.Tolerance, c.Utilisation
	return v, nil
}

func (a *app) showStatus(v statusView) {
	role := "follower"
	if v.Leader {
		role = "leader"
	}
	controllers, runs := "", ""
	if len(v.Controllers) > 0 {
		controllers, runs = manned(len(v.Controllers), v.Tolerance), v.Utilisation.String()
	}
	a.facts("controller", fmt.Sprintf("%s (%s), version %s", v.Node, role, v.Version), "cluster", v.Cluster, "controllers", controllers, "started", a.at(v.StartedAt),
		"schedule", v.DefaultSchedule, "next", a.at(v.NextFireAt), "runs", runs,
		"sources", strconv.FormatInt(v.Sources, 10), "snapshots", strconv.FormatInt(v.Snapshots, 10), "ledger", v.Ledger)
	if len(v.Controllers) > 1 {
		fmt.Fprintln(a.out)
		a.showMembers(v.Controllers)
	}
	if len(v.Agents) > 0 {
		fmt.Fprintln(a.out)
		a.tableAgents(v.Agents)
	}
	rows := make([][]string, len(v.Stores))
	for i, s := range v.Stores {
		state, space := "problem", ""
		if s.Healthy {
			state = "fine"
		}
		if s.TotalBytes > 0 {
			space = fmt.Sprintf("%s of %s", size(s.FreeBytes), size(s.TotalBytes))
		}
		rows[i] = []string{s.Name, s.Location, state, space, s.Detail}
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.out)
		a.table([]string{"STORE", "LOCATION", "STATE", "FREE", "DETAIL"}, rows)
	}
}

// versionView is what `version -o json` prints.
type versionView struct {
	Version string `json:"version" doc:"version of this program; status has the controller's"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := version.String()
			return a.print(versionView{v}, []string{v}, func() { fmt.Fprintln(a.out, "baktainer "+v) })
		},
	}
}
