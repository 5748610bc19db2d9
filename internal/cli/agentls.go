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
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type agentView struct {
	ID             string         `json:"id" doc:"name of the agent"`
	Host           string         `json:"host" doc:"the host that it runs on"`
	Version        string         `json:"version" doc:"its version"`
	Connected      bool           `json:"connected" doc:"it is connected to the leader"`
	LastSeenAt     *time.Time     `json:"last_seen_at,omitempty" doc:"when it was last heard of"`
	Running        int32          `json:"running" doc:"runs that it carries out"`
	Queued         int32          `json:"queued" doc:"runs that wait for it"`
	Concurrency    int32          `json:"concurrency" doc:"how many runs it takes at once"`
	ConcurrencySet bool           `json:"concurrency_set" doc:"that was set with agent set, and is not its own setting"`
	Drained        bool           `json:"drained" doc:"it gets nothing new"`
	RevokedAt      *time.Time     `json:"revoked_at,omitempty" doc:"when its certificate was revoked"`
	Sources        int32          `json:"sources" doc:"how many sources it reports"`
	TrustVersion   uint64         `json:"trust_version" doc:"version of the trust that it has, see ca show"`
	Providers      []providerView `json:"providers" doc:"what it reaches into: name, healthy, detail, since_seconds"`
}

type providerView struct {
	Name         string  `json:"name"`
	Healthy      bool    `json:"healthy"`
	Detail       string  `json:"detail"`
	SinceSeconds float64 `json:"since_seconds"`
}

func viewAgent(g *pb.AgentInfo) *agentView {
	v := &agentView{
		ID: g.GetId(), Host: g.GetHost(), Version: g.GetVersion(), Connected: g.GetConnected(), LastSeenAt: moment(g.GetLastSeenAt()),
		Running: g.GetRunning(), Queued: g.GetQueued(), Concurrency: g.GetConcurrency(), ConcurrencySet: g.GetConcurrencySet(), Drained: g.GetDrained(),
		RevokedAt: moment(g.GetRevokedAt()), Sources: g.GetSources(), TrustVersion: g.GetTrustVersion(), Providers: []providerView{},
	}
	for _, p := range g.GetProviders() {
		v.Providers = append(v.Providers, providerView{p.GetName(), p.GetHealthy(), p.GetDetail(), p.GetSince().AsDuration().Seconds()})
	}
	return v
}

func (g *agentView) state() string {
	switch {
	case g.Connected:
		return "connected"
	case g.RevokedAt != nil:
		return "revoked"
	}
	return "away"
}

// note is what is out of the ordinary with it.
func (g *agentView) note() string {
	if g.Drained {
		return "drained"
	}
	return ""
}

func (g *agentView) provided() string {
	var all []string
	for _, p := range g.Providers {
		how := "away"
		if p.Healthy {
			how = "fine"
		}
		all = append(all, p.Name+": "+cmp.Or(p.Detail, how))
	}
	return strings.Join(all, "; ")
}

// tableAgents writes agents; numbers of things that there are none of are left out.
func (a *app) tableAgents(agents []*agentView) {
	some := func(n int32) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(int(n))
	}
	rows := make([][]string, len(agents))
	for i, g := range agents {
		rows[i] = []string{
			g.ID, g.Host, g.Version, g.state(), g.note(), a.when(g.LastSeenAt), fmt.Sprintf("%d of %d", g.Running, g.Concurrency),
			some(g.Queued), some(g.Sources), g.provided(),
		}
	}
	a.table([]string{"AGENT", "HOST", "VERSION", "STATE", "NOTE", "SEEN", "RUNNING", "WAITING", "SOURCES", "PROVIDERS"}, rows)
}

func (a *app) agentList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the agents, also those that are away", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
				if err != nil {
					return err
				}
				all := views(resp.GetAgents(), viewAgent)
				ids := make([]string, len(all))
				for i, g := range all {
					ids[i] = g.ID
				}
				return a.print(all, ids, func() {
					if len(all) == 0 {
						a.say("There is no agent yet. `baktainer token create --role agent` lets one in.")
						return
					}
					a.tableAgents(all)
				})
			})
		},
	}
}

func (a *app) agentShow() *cobra.Command {
	return &cobra.Command{
		Use: "show AGENT", Short: "Show one agent", Args: arguments(1, 1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
				if err != nil {
					return err
				}
				for _, g := range resp.GetAgents() {
					if g.GetId() == args[0] {
						v := viewAgent(g)
						return a.print(v, []string{v.ID}, func() { a.showAgent(v) })
					}
				}
				return problem.New(problem.NotFound, "there is no agent %.80q", args[0]).WithHint("`baktainer agent ls` lists them.")
			})
		},
	}
}

func (a *app) showAgent(g *agentView) {
	concurrency := fmt.Sprintf("%d, as its own setting says", g.Concurrency)
	if g.ConcurrencySet {
		concurrency = fmt.Sprintf("%d, set with `baktainer agent set`", g.Concurrency)
	}
	drained := ""
	if g.Drained {
		drained = "it gets nothing new"
	}
	a.facts("agent", g.ID, "host", g.Host, "version", g.Version, "state", g.state(), "drained", drained, "seen", a.at(g.LastSeenAt), "revoked", a.at(g.RevokedAt),
		"running", fmt.Sprint(g.Running), "waiting", fmt.Sprint(g.Queued), "concurrency", concurrency, "sources", fmt.Sprint(g.Sources),
		"trust", fmt.Sprintf("version %d", g.TrustVersion), "providers", g.provided())
}
