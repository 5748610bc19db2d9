package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) clusterRemove() *cobra.Command {
	var assent bool
	cmd := &cobra.Command{
		Use: "remove CONTROLLER", Aliases: []string{"rm"}, Short: "Take a controller out of the cluster for good",
		Long: `Take a controller out of the cluster for good; its certificates are refused from then on. What is in its store stays there. To
come back it joins anew, with a new token and an empty folder of state.

A controller that is only restarted, updated or away for a while stays a member: leave it in.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				m, err := findMember(c, args[0])
				if err != nil {
					return err
				}
				if err := a.sure(assent, "This takes "+m.ID+" at "+m.Address+" out of the cluster for good: "+without(c, m)+"."); err != nil {
					return err
				}
				if _, err := client.RemoveMember(ctx, &pb.RemoveMemberRequest{Id: m.ID}); err != nil {
					return err
				}
				return a.print(m, []string{m.ID}, func() { fmt.Fprintf(a.out, "%s: removed\n", printable(m.ID)) })
			})
		},
	}
	cmd.Flags().BoolVarP(&assent, "yes", "y", false, "do not ask")
	return cmd
}

func findMember(c *clusterView, id string) (*memberView, error) {
	for _, m := range c.Members {
		if m.ID == id {
			return m, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no controller %.80q in the cluster", id).
		WithHint("`baktainer cluster members` lists them.")
}

// without says what is left of a cluster.
func without(c *clusterView, gone *memberView) string {
	voters := 0
	for _, m := range c.Members {
		if m != gone && m.Role == "voter" {
			voters++
		}
	}
	left := len(c.Members) - 1
	if left == 1 {
		return "1 controller is left, and it may not fail"
	}
	may := "none"
	if voters > 2 {
		may = fmt.Sprint((voters - 1) / 2)
	}
	return fmt.Sprintf("%s are left, of which %s may fail", several(int64(left), "controller"), may)
}

// leaderView is what `cluster transfer-leadership -o json` prints.
type leaderView struct {
	Leader string `json:"leader" doc:"the controller that leads now"`
}

func (a *app) clusterTransfer() *cobra.Command {
	return &cobra.Command{
		Use: "transfer-leadership [CONTROLLER]", Short: "Make another controller lead, for example before maintenance",
		Long: `Make another controller lead: the one named, else the one that is furthest. Backups go on meanwhile. A controller that is
stopped in an orderly way does this by itself.`,
		Args: arguments(0, 1), ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &pb.TransferLeadershipRequest{}
			if len(args) > 0 {
				req.Id = args[0]
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.TransferLeadership(ctx, req)
				if err != nil {
					return err
				}
				v := leaderView{resp.GetLeader()}
				return a.print(v, []string{v.Leader}, func() { fmt.Fprintf(a.out, "%s leads now\n", printable(v.Leader)) })
			})
		},
	}
}

// limitsView is what `cluster limits -o json` prints.
type limitsView struct {
	Total   int32 `json:"total" doc:"how many runs there are at once, 0: no limit but that of each agent"`
	PerHost int32 `json:"per_host" doc:"how many of them on one host, 0: no limit but that of each agent"`
}

func viewLimits(l *pb.Limits) limitsView { return limitsView{l.GetTotal(), l.GetPerHost()} }

func (l limitsView) String() string {
	switch {
	case l.Total == 0 && l.PerHost == 0:
		return "none but those of the agents"
	case l.PerHost == 0:
		return fmt.Sprintf("%d runs in all", l.Total)
	case l.Total == 0:
		return fmt.Sprintf("%d runs on a host", l.PerHost)
	}
	return fmt.Sprintf("%d runs in all, %d on a host", l.Total, l.PerHost)
}

func (a *app) clusterLimits() *cobra.Command {
	var total, perHost int32
	cmd := &cobra.Command{
		Use: "limits", Short: "Show or set how many backups and restores run at once",
		Long: `Show how many backups and restores run at once in the whole cluster and on one host, or set it. A limit that is not
named stays as it is. What runs already goes on; what is too much waits its turn.

Beside these each agent has a limit of its own: its setting concurrency, or what ` + "`baktainer agent set`" + ` says.`,
		Example: examples("baktainer cluster limits", "baktainer cluster limits --total 20 --per-host 2", "baktainer cluster limits --total 0"),
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, n := range map[string]int32{"total": total, "per-host": perHost} {
				if n < 0 {
					return problem.New(problem.InvalidInput, "--%s %d: want 0, for no limit, or more", name, n)
				}
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				v := c.Limits
				if flags := cmd.Flags(); flags.Changed("total") || flags.Changed("per-host") {
					if flags.Changed("total") {
						v.Total = total
					}
					if flags.Changed("per-host") {
						v.PerHost = perHost
					}
					resp, err := client.SetLimits(ctx, &pb.SetLimitsRequest{Limits: &pb.Limits{Total: v.Total, PerHost: v.PerHost}})
					if err != nil {
						return err
					}
					v = viewLimits(resp.GetLimits())
				}
				return a.print(v, nil, func() { a.facts("limits", v.String(), "runs", c.Utilisation.String()) })
			})
		},
	}
	cmd.Flags().Int32Var(&total, "total", 0, "how many in the whole cluster; 0: no limit")
	cmd.Flags().Int32Var(&perHost, "per-host", 0, "how many on one host, whatever its agents would take; 0: no limit")
	return cmd
}
