package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) runCommand() *cobra.Command {
	return group("run", "What was done, and what is being done", "", a.runList(), a.runShow(), a.runLogs(), a.runCancel())
}

func (a *app) runList() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use: "ls [SOURCE]", Aliases: []string{"list"}, Short: "List runs, newest first", Args: arguments(0, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNumber("limit", limit, 1000); err != nil {
				return err
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				req := &pb.ListRunsRequest{Limit: limit}
				if len(args) > 0 {
					req.Source = args[0]
				}
				resp, err := client.ListRuns(ctx, req)
				if err != nil {
					return err
				}
				all := views(resp.GetRuns(), viewRun)
				ids := make([]string, len(all))
				rows := make([][]string, len(all))
				for i, r := range all {
					ids[i] = r.ID
					why := ""
					made := ""
					if r.State == "succeeded" { // before, it is the id of a snapshot to be
						made = r.Snapshot
					}
					if r.Failure != nil {
						why = cmp.Or(r.Failure.Reason, r.Failure.Code)
					}
					rows[i] = []string{r.ID, r.Source, r.Kind, r.State, r.Trigger, a.when(r.QueuedAt), lasted(r.StartedAt, r.EndedAt), cmp.Or(why, made)}
				}
				return a.print(all, ids, func() {
					if len(all) == 0 {
						a.say("No run yet.")
						return
					}
					a.table([]string{"RUN", "SOURCE", "KIND", "STATE", "TRIGGER", "QUEUED", "TIME", "SNAPSHOT OR REASON"}, rows)
				})
			})
		},
	}
	cmd.Flags().Int32VarP(&limit, "limit", "n", 50, "at most this many, up to 1000")
	return cmd
}

// checkNumber checks a flag that says how many are wanted.
func checkNumber(flag string, n, most int32) error {
	if n < 1 || n > most {
		return problem.New(problem.InvalidInput, "--%s %d: want a number from 1 to %d", flag, n, most)
	}
	return nil
}

func (a *app) runShow() *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show one run", Args: arguments(1, 1), ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.GetRun(ctx, &pb.GetRunRequest{Id: args[0]})
				if err != nil {
					return err
				}
				v := viewRun(resp.GetRun())
				return a.print(v, []string{v.ID}, func() { a.showRun(v) })
			})
		},
	}
}

func (a *app) showRun(r *runView) {
	bytes := ""
	if r.BytesDone > 0 {
		bytes = size(r.BytesDone)
	}
	facts := []string{
		"run", r.ID, "kind", r.Kind, "state", r.State, "source", r.Source, "trigger", r.Trigger, "agent", r.Agent, "snapshot", r.Snapshot,
		"queued", a.at(r.QueuedAt), "started", a.at(r.StartedAt), "ended", a.at(r.EndedAt), "time", lasted(r.StartedAt, r.EndedAt),
		"phase", r.Phase, "so far", bytes,
	}
	if q := r.Restore; q != nil {
		target := cmp.Or(q.TargetSource, r.Source)
		if q.TargetContainer != "" {
			target = "container " + q.TargetContainer
		}
		if q.NewContainer != "" {
			target = "new container " + q.NewContainer
		}
		facts = append(facts, "target", target)
	}
	a.facts(facts...)
	a.showReport(r.Report, r.Warnings, "  ")
	a.showFailure(r.Failure)
}

// showFailure writes why something failed, as the command that did it would have.
func (a *app) showFailure(f *failureView) {
	if f == nil {
		return
	}
	err := transport.FromFailure(&pb.Failure{
		Code: f.Code, Reason: f.Reason, Message: f.Message, Hint: f.Hint, Details: f.Details, Source: f.Source,
	})
	reason := ""
	if f.Reason != "" {
		reason = " (" + f.Reason + ")"
	}
	fmt.Fprintf(a.out, "%s%s %s\n", a.paint(a.out, "failure", red), printable(reason)+":", printable(problem.Text(err)))
}

func (a *app) runLogs() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs RUN", Short: "Print the log of a run", Args: arguments(1, 1), ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			write := func(format string, args ...any) { fmt.Fprintf(a.out, "%s\n", printable(fmt.Sprintf(format, args...))) }
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				var run *pb.Run
				var since time.Time
				show := func(r *pb.Run) {
					if run = r; a.output != "json" { // JSON is one list, of the end
						since = a.showLog(write, r, since)
					}
				}
				if follow {
					if err := a.follow(ctx, client, args[0], show); !errors.Is(err, errEnded) {
						return err
					}
				} else {
					resp, err := client.GetRun(ctx, &pb.GetRunRequest{Id: args[0]})
					if err != nil {
						return err
					}
					show(resp.GetRun())
				}
				if a.output == "json" {
					return a.json(viewLog(run.GetLogs()))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended")
	return cmd
}

type logView struct {
	Time    *time.Time `json:"time,omitempty" doc:"when it was written"`
	Level   string     `json:"level" doc:"debug, info, warn or error"`
	Message string     `json:"message" doc:"the line"`
}

func viewLog(logs []*pb.LogLine) []logView {
	lines := []logView{}
	for _, l := range logs {
		lines = append(lines, logView{moment(l.GetTime()), l.GetLevel(), l.GetMessage()})
	}
	return lines
}

func (a *app) runCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel RUN", Short: "Ask a run to end", Args: arguments(1, 1), ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.CancelRun(ctx, &pb.CancelRunRequest{Id: args[0]})
				if err != nil {
					return err
				}
				v := viewRun(resp.GetRun())
				return a.print(v, []string{v.ID}, func() {
					if over(resp.GetRun()) {
						fmt.Fprintf(a.out, "run %s: %s\n", v.ID, v.State)
						return
					}
					fmt.Fprintf(a.out, "run %s: asked to end\n", v.ID)
				})
			})
		},
	}
}
