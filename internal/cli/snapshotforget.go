package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) snapshotForget() *cobra.Command {
	var dry bool
	var undo string
	cmd := &cobra.Command{
		Use: "forget SNAPSHOT…", Short: "Let snapshots go: the next prune deletes what only they need",
		Long: `Mark snapshots as forgotten: they are not listed, restored by SOURCE@latest, or built upon any more, and the next
prune deletes what only they need, once they could be taken back for as long as --undo says: until then
` + "`snapshot undelete`" + ` does so.

The newest snapshot of a source is refused, the last one that was verified, and what is on hold. Either all are
forgotten, or none.`,
		Args: arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &pb.ForgetSnapshotsRequest{Snapshots: args, DryRun: dry}
			if undo != "" {
				d, err := lasting(undo)
				if err != nil {
					return problem.Wrap(problem.InvalidInput, err, "--undo")
				}
				req.Undo = durationpb.New(d)
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.ForgetSnapshots(ctx, req)
				if err != nil {
					return err
				}
				end := "Forgotten. A prune deletes what only they need; until then `baktainer snapshot undelete` takes them back."
				if dry {
					end = "These would be forgotten."
				}
				return a.showMarked(resp.GetSnapshots(), end)
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be forgotten, and change nothing")
	cmd.Flags().StringVar(&undo, "undo", "", "for how long nothing of them is deleted: 12h, 3d, or 0; else as the setting undo-window says")
	return cmd
}

// undo is until when a forgotten snapshot is sure to be there; a hold or a window
// that is over says nothing.
func (a *app) undo(s *snapshotView) string {
	if s.ForgottenAt == nil || s.UndoUntil == nil || !s.UndoUntil.After(a.clock.Now()) {
		return ""
	}
	return a.when(s.UndoUntil)
}

func (a *app) snapshotUndelete() *cobra.Command {
	return &cobra.Command{
		Use: "undelete SNAPSHOT…", Aliases: []string{"unforget"}, Short: "Take forgotten snapshots back, by their whole ids",
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
		rows[i] = []string{s.ID, s.Source, a.when(s.CommittedAt), size(s.RawBytes), a.when(s.ForgottenAt), a.undo(s), a.when(s.HoldUntil), strings.Join(s.Tags, ",")}
	}
	return a.print(all, ids, func() {
		a.table([]string{"SNAPSHOT", "SOURCE", "MADE", "SIZE", "FORGOTTEN", "UNDO UNTIL", "HELD UNTIL", "TAGS"}, rows)
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
		a.warn([]string{"snapshot " + s.GetId() + " is forgotten: it can be read until it is pruned; `baktainer snapshot undelete` takes it back"})
	}
	if s.GetDamagedAt() != nil {
		a.warn([]string{"some of snapshot " + s.GetId() + " was found damaged or missing: `baktainer store check` tells what"})
	}
}
