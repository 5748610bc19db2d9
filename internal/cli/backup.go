package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// backupView is what `backup -o json` prints of each source.
type backupView struct {
	Run      *runView      `json:"run" doc:"the run, as in run show"`
	Snapshot *snapshotView `json:"snapshot,omitempty" doc:"the snapshot that it made, as in snapshot show"`
}

func (a *app) backupCommand() *cobra.Command {
	var all, dry, detach bool
	cmd := &cobra.Command{
		Use: "backup [SOURCE…]", Short: "Back up sources now, and wait for it",
		Long:    "Back up sources now, and wait for it.\n\nExit status: 0 all succeeded, 1 none did, 2 bad input, 3 some failed.",
		Example: examples("baktainer backup --all", "baktainer backup shop/db wiki/db"),
		Args:    arguments(0, -1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return problem.New(problem.InvalidInput, "name sources, or ask for --all of them").
					WithHint("`baktainer source ls` lists the sources.")
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				return a.backup(ctx, client, &pb.StartBackupRequest{Sources: args, All: all, DryRun: dry, RequestId: rand.Text()}, detach)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all sources that are ready")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be backed up, and do nothing")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait")
	return cmd
}

func (a *app) backup(ctx context.Context, client pb.AdminServiceClient, req *pb.StartBackupRequest, detach bool) error {
	resp, err := client.StartBackup(ctx, req)
	if err != nil {
		return err
	}
	runs := resp.GetRuns()
	if len(runs) == 0 {
		return problem.New(problem.NotFound, "there is no source that is ready to be backed up").
			WithHint("`baktainer source ls` lists the sources and what is wrong with them. A database container needs the label baktainer.backup=true.")
	}
	if req.GetDryRun() || detach {
		return a.showStarted(runs, req.GetDryRun())
	}
	ended, err := a.watch(ctx, client, runs)
	if err != nil {
		return err
	}
	results := make([]backupView, len(ended))
	for i, r := range ended {
		results[i].Run = viewRun(r)
		if r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED && r.GetSnapshot() != "" {
			snap, err := client.GetSnapshot(ctx, &pb.GetSnapshotRequest{Snapshot: r.GetSnapshot()})
			if err != nil {
				return fmt.Errorf("look at the snapshot of %s: %w", r.GetSource(), err)
			}
			results[i].Snapshot = viewSnapshot(snap.GetSnapshot())
		}
	}
	if err := a.showBackups(results); err != nil {
		return err
	}
	return verdict("backups", ended)
}

// showStarted lists runs that nobody waits for.
func (a *app) showStarted(runs []*pb.Run, dry bool) error {
	all := views(runs, viewRun)
	var ids []string
	rows := make([][]string, len(all))
	for i, r := range all {
		ids = append(ids, cmp.Or(r.ID, r.Source))
		rows[i] = []string{r.Source, r.ID, r.Agent}
	}
	return a.print(all, ids, func() {
		if dry {
			a.say("A backup would be made of:")
		}
		a.table([]string{"SOURCE", "RUN", "AGENT"}, rows)
	})
}

func (a *app) showBackups(results []backupView) error {
	var ids []string
	rows := make([][]string, len(results))
	for i, b := range results {
		r := b.Run
		rows[i] = []string{r.Source, r.State, "", "", lasted(r.StartedAt, r.EndedAt), ""}
		if s := b.Snapshot; s != nil {
			ids = append(ids, s.ID)
			rows[i][2], rows[i][3], rows[i][5] = size(s.RawBytes), size(s.NewBytes), s.ID
		}
	}
	return a.print(results, ids, func() {
		a.table([]string{"SOURCE", "RESULT", "SIZE", "NEW", "TIME", "SNAPSHOT"}, rows)
	})
}

// verdict makes one error of how several runs ended: nil when all succeeded.
func verdict(things string, runs []*pb.Run) error {
	var failed []*pb.Run
	for _, r := range runs {
		if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			failed = append(failed, r)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if len(runs) == 1 {
		return outcome(runs[0])
	}
	p := problem.New(problem.PartlyFailed, "%d of %d %s failed", len(failed), len(runs), things)
	if len(failed) == len(runs) {
		p = problem.New(problem.Failed, "all %d %s failed", len(runs), things)
	}
	for _, r := range failed {
		err := outcome(r)
		line := err.Error()
		if reason := problem.ReasonOf(err); reason != "" {
			line += fmt.Sprintf(" (%s)", reason)
		}
		p.WithDetails(line)
	}
	return p.WithHint("`baktainer run show ID` has the whole story of a run, `baktainer run ls` their ids.")
}

// outcome is the error that a run ended with, nil when it succeeded.
func outcome(r *pb.Run) error {
	switch {
	case r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED:
		return nil
	case r.GetFailure() != nil:
		f := r.GetFailure()
		err := transport.FromFailure(f)
		if f.GetSource() == "" {
			err = problem.Wrap(problem.Code(f.GetCode()), err, "%s", r.GetSource())
		}
		return err
	case r.GetState() == pb.RunState_RUN_STATE_CANCELLED:
		return problem.New(problem.Cancelled, "the run was cancelled").WithSource(r.GetSource())
	}
	return problem.New(problem.Failed, "the run failed").WithSource(r.GetSource())
}
