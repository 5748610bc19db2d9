package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// setAgent changes what an agent is allowed, and prints it.
func (a *app) setAgent(cmd *cobra.Command, req *pb.SetAgentRequest, said func(*agentView) string) error {
	return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
		resp, err := client.SetAgent(ctx, req)
		if err != nil {
			return err
		}
		v := viewAgent(resp.GetAgent())
		return a.print(v, []string{v.ID}, func() { fmt.Fprintf(a.out, "agent %s: %s\n", printable(v.ID), said(v)) })
	})
}

func (a *app) agentDrain(drained bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain AGENT", Short: "Give an agent nothing new, for example before its host is shut down",
		Long: `Give an agent nothing new. What it carries out goes on to its end; what would start waits until
` + "`baktainer agent undrain`" + `. When RUNNING of ` + "`baktainer agent ls`" + ` is 0, its host can be shut down.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeAgents,
	}
	if !drained {
		cmd.Use, cmd.Short, cmd.Long = "undrain AGENT", "Give a drained agent work again", ""
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.setAgent(cmd, &pb.SetAgentRequest{Agent: args[0], Drained: &drained}, func(v *agentView) string {
			if v.Drained {
				return fmt.Sprintf("drained, %d running", v.Running)
			}
			return "gets work again"
		})
	}
	return cmd
}

func (a *app) agentSet() *cobra.Command {
	var concurrency int32
	cmd := &cobra.Command{
		Use: "set AGENT", Short: "Set how many backups and restores an agent carries out at once",
		Long: `Set how many backups and restores an agent carries out at once, in place of its own setting. It holds at once, and
when the agent starts anew; runs that are too much end in their own time. 0 lets its own setting hold again.`,
		Example: examples("baktainer agent set db1 --concurrency 2", "baktainer agent set db1 --concurrency 0"),
		Args:    arguments(1, 1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !cmd.Flags().Changed("concurrency"):
				return problem.New(problem.InvalidInput, "say what to set").WithHint("Want --concurrency N.")
			case concurrency < 0 || concurrency > 50:
				return problem.New(problem.InvalidInput, "--concurrency %d: want a number from 1 to 50, or 0 for the agent's own setting", concurrency)
			}
			return a.setAgent(cmd, &pb.SetAgentRequest{Agent: args[0], Concurrency: &concurrency}, func(v *agentView) string {
				text := fmt.Sprintf("takes %d at once", v.Concurrency)
				if !v.ConcurrencySet {
					text += ", as its own setting says"
				}
				return text
			})
		},
	}
	cmd.Flags().Int32Var(&concurrency, "concurrency", 0, "how many at once, from 1 to 50; 0: as its own setting says")
	return cmd
}

func (a *app) agentRevoke() *cobra.Command {
	var assent bool
	cmd := &cobra.Command{
		Use: "revoke AGENT", Short: "Shut an agent out at once",
		Long: `Shut an agent out: its certificates are refused from now on, also on connections that are open, and what it carries out
fails. To let it in again, remove the folder agent/identity of its data folder and give it a new token.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.revoke(cmd, pb.Role_ROLE_AGENT, args[0], assent)
		},
	}
	cmd.Flags().BoolVarP(&assent, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) agentLogs() *cobra.Command {
	var lines int32
	cmd := &cobra.Command{
		Use: "logs AGENT", Short: "Print the last lines of an agent's log", Args: arguments(1, 1), ValidArgsFunction: a.completeAgents,
		Long: `Print the last lines of an agent's log, as far as the agent keeps them in memory. It has to be connected. The log of one
run is kept longer: ` + "`baktainer run logs`" + `.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNumber("lines", lines, 2000); err != nil {
				return err
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.GetAgentLogs(ctx, &pb.GetAgentLogsRequest{Agent: args[0], Lines: lines})
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.json(viewLog(resp.GetLogs()))
				}
				for _, l := range resp.GetLogs() {
					fmt.Fprintln(a.out, printable(a.logLine(args[0], l)))
				}
				return nil
			})
		},
	}
	cmd.Flags().Int32VarP(&lines, "lines", "n", 200, "at most this many, up to 2000")
	return cmd
}
