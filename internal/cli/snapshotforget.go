package cli

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) snapshotForget() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "forget SNAPSHOT…", Short: "Let snapshots go: the next prune deletes what only they need",
		Long: `Mark snapshots as forgotten: they are not listed, restored by SOURCE@latest, or built upon any more, and the next
prune deletes what only they need. Until then ` + "`snapshot unforget`" + ` takes them back.

The newest snapshot of a source is refused, and the last one that was verified. Either all are forgotten, or none.`,
		Args: arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.ForgetSnapshots(ctx, &pb.ForgetSnapshotsRequest{Snapshots: args, DryRun: dry})
				if err != nil {
					return err
				}
				end := "Forgotten. `baktainer prune` deletes what only they need; until then `baktainer snapshot unforget` takes them back."
				if dry {
					end = "These would be forgotten."
				}
				return a.showMarked(resp.GetSnapshots(), end)
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be forgotten, and change nothing")
	return cmd
}

func (a *app) snapshotUnforget() *cobra.Command {
	return &cobra.Command{
		Use: "unforget SNAPSHOT…", Short: "Take forgotten snapshots back, by their whole ids",
		Args: arguments(1, -1), ValidArgsFunction: a.completeForgotten,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.UnforgetSnapshots(ctx, &pb.UnforgetSnapshotsRequest{Snapshots: args})
				if err != nil {
					return err
				}
				return a.showMarked(resp.GetSnapshots(), "Taken back.")
			})
		},
	}
}

func (a *app) showMarked(snapshots []*pb.Snapshot, end string) error {
	all := views(snapshots, viewSnapshot)
	ids, rows := make([]string, len(all)), make([][]string, len(all))
	for i, s := range all {
		ids[i] = s.ID
		rows[i] = []string{s.ID, s.Source, a.when(s.CommittedAt), size(s.RawBytes), a.when(s.ForgottenAt)}
	}
	return a.print(all, ids, func() {
		a.table([]string{"SNAPSHOT", "SOURCE", "MADE", "SIZE", "FORGOTTEN"}, rows)
		a.say("%s", end)
	})
}

func (a *app) completeForgotten(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, func(ctx context.Context, client pb.AdminServiceClient) (found []string, err error) {
		resp, err := client.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Limit: completed, Forgotten: true})
		for _, s := range resp.GetSnapshots() {
			found = append(found, cobra.CompletionWithDesc(s.GetId(), s.GetSource()))
		}
		return found, err
	})
}

// noteMarks tells who wants to read a snapshot what speaks against it.
func (a *app) noteMarks(s *pb.Snapshot) {
	if s.GetForgottenAt() != nil {
		a.warn([]string{"snapshot " + s.GetId() + " is forgotten: it can be read until it is pruned; `baktainer snapshot unforget` takes it back"})
	}
	if s.GetDamagedAt() != nil {
		a.warn([]string{"some of snapshot " + s.GetId() + " was found damaged or missing: `baktainer store check` tells what"})
	}
}
