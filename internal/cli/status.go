package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/version"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// statusView is what `status -o json` prints.
type statusView struct {
	Version         string      `json:"version" doc:"version of the controller"`
	Cluster         string      `json:"cluster" doc:"identifies the cluster"`
	Node            string      `json:"node" doc:"identifies the controller"`
	Leader          bool        `json:"leader" doc:"it decides"`
	StartedAt       *time.Time  `json:"started_at,omitempty" doc:"when it started"`
	DefaultSchedule string      `json:"default_schedule" doc:"schedule of sources that have none of their own"`
	NextFireAt      *time.Time  `json:"next_fire_at,omitempty" doc:"when that fires next"`
	Sources         int64       `json:"sources" doc:"how many sources there are"`
	Snapshots       int64       `json:"snapshots" doc:"how many snapshots there are"`
	Agents          []agentView `json:"agents" doc:"id, host, version, connected, last_seen_at, running, concurrency, providers (name, healthy, detail, since_seconds)"`
	Stores          []storeView `json:"stores" doc:"name, location, healthy, detail, free_bytes, total_bytes"`
	Problems        []string    `json:"problems" doc:"what keeps the controller from being ready"`
}

type agentView struct {
	ID          string         `json:"id"`
	Host        string         `json:"host"`
	Version     string         `json:"version"`
	Connected   bool           `json:"connected"`
	LastSeenAt  *time.Time     `json:"last_seen_at,omitempty"`
	Running     int32          `json:"running"`
	Concurrency int32          `json:"concurrency"`
	Providers   []providerView `json:"providers"`
}

type providerView struct {
	Name         string  `json:"name"`
	Healthy      bool    `json:"healthy"`
	Detail       string  `json:"detail"`
	SinceSeconds float64 `json:"since_seconds"`
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
		Agents: []agentView{}, Stores: []storeView{}, Problems: list(s.GetProblems()),
	}
	for _, g := range s.GetAgents() {
		av := agentView{
			ID: g.GetId(), Host: g.GetHost(), Version: g.GetVersion(), Connected: g.GetConnected(), LastSeenAt: moment(g.GetLastSeenAt()),
			Running: g.GetRunning(), Concurrency: g.GetConcurrency(), Providers: []providerView{},
		}
		for _, p := range g.GetProviders() {
			av.Providers = append(av.Providers, providerView{p.GetName(), p.GetHealthy(), p.GetDetail(), p.GetSince().AsDuration().Seconds()})
		}
		v.Agents = append(v.Agents, av)
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
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.GetStatus(ctx, &pb.GetStatusRequest{})
				if err != nil {
					return err
				}
				v := viewStatus(resp)
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

func (a *app) showStatus(v statusView) {
	role := "follower"
	if v.Leader {
		role = "leader"
	}
	a.facts("controller", fmt.Sprintf("%s (%s), version %s", v.Node, role, v.Version), "cluster", v.Cluster, "started", a.at(v.StartedAt),
		"schedule", v.DefaultSchedule, "next", a.at(v.NextFireAt),
		"sources", strconv.FormatInt(v.Sources, 10), "snapshots", strconv.FormatInt(v.Snapshots, 10))
	rows := make([][]string, len(v.Agents))
	for i, g := range v.Agents {
		state := "away"
		if g.Connected {
			state = "connected"
		}
		var providers []string
		for _, p := range g.Providers {
			how := "away"
			if p.Healthy {
				how = "fine"
			}
			providers = append(providers, p.Name+": "+cmp.Or(p.Detail, how))
		}
		rows[i] = []string{g.ID, g.Host, g.Version, state, a.when(g.LastSeenAt), fmt.Sprintf("%d of %d", g.Running, g.Concurrency), strings.Join(providers, "; ")}
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.out)
		a.table([]string{"AGENT", "HOST", "VERSION", "STATE", "SEEN", "RUNNING", "PROVIDERS"}, rows)
	}
	rows = make([][]string, len(v.Stores))
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
