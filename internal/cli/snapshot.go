package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/engine"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "What can be restored", "", a.snapshotList(), a.snapshotShow(), a.snapshotDiff(), a.snapshotVerify(), a.snapshotForget(), a.snapshotUndelete(),
		a.snapshotHold(), a.snapshotUnhold(), a.snapshotTag())
}

func (a *app) snapshotList() *cobra.Command {
	var limit int32
	var forgotten bool
	cmd := &cobra.Command{
		Use: "ls [SOURCE]", Aliases: []string{"list"}, Short: "List snapshots, newest first", Args: arguments(0, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNumber("limit", limit, 1000); err != nil {
				return err
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				req := &pb.ListSnapshotsRequest{Limit: limit, Forgotten: forgotten}
				if len(args) > 0 {
					req.Source = args[0]
				}
				resp, err := client.ListSnapshots(ctx, req)
				if err != nil {
					return err
				}
				all := views(resp.GetSnapshots(), viewSnapshot)
				ids := make([]string, len(all))
				rows := make([][]string, len(all))
				for i, s := range all {
					ids[i] = s.ID
					rows[i] = []string{
						s.ID, s.Source, a.when(s.CommittedAt), size(s.RawBytes), size(s.NewBytes), strconv.Itoa(len(s.Streams)),
						cmp.Or(s.Server, s.Engine), a.proof(s), a.drillProof(s), a.when(s.HoldUntil), strings.Join(s.Tags, ","), a.when(s.ForgottenAt), a.undo(s),
					}
				}
				return a.print(all, ids, func() {
					if len(all) == 0 {
						a.say("%s", map[bool]string{true: "No snapshot is forgotten.", false: "No snapshot yet."}[forgotten])
						return
					}
					a.table([]string{"SNAPSHOT", "SOURCE", "MADE", "SIZE", "NEW", "STREAMS", "SERVER", "VERIFIED", "DRILLED", "HELD UNTIL", "TAGS", "FORGOTTEN", "UNDO UNTIL"}, rows)
				})
			})
		},
	}
	cmd.Flags().Int32VarP(&limit, "limit", "n", 1000, "at most this many")
	cmd.Flags().BoolVar(&forgotten, "forgotten", false, "those that are forgotten, and not pruned yet")
	return cmd
}

// proof says in a word whether a snapshot is known to be good.
func (a *app) proof(s *snapshotView) string {
	if s.DamagedAt != nil {
		return "damaged"
	}
	return cmp.Or(a.when(s.VerifiedAt), "never")
}

func (a *app) snapshotShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SNAPSHOT", Short: "Show one snapshot, its streams and what is in them", Args: arguments(1, 1), ValidArgsFunction: a.completeSnapshots,
		Example: examples("baktainer snapshot show shop/db@latest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				snap, err := a.findSnapshot(ctx, client, args[0])
				if err != nil {
					return err
				}
				v := viewSnapshot(snap)
				h, ok, err := a.readContents(ctx, client, v.ID)
				if err != nil {
					return err
				}
				if ok {
					v.Contents, v.Notes = h.views(), list(h.notes)
				}
				return a.print(v, []string{v.ID}, func() { a.showSnapshot(v) })
			})
		},
	}
}

func (a *app) showSnapshot(s *snapshotView) {
	a.facts(
		"snapshot", s.ID, "source", s.Source, "engine", s.Engine, "server", s.Server, "image", s.Image, "run", s.Run,
		"made", a.at(s.CommittedAt), "took", lasted(s.StartedAt, s.CommittedAt), "verified", cmp.Or(a.at(s.VerifiedAt), "never"), "damaged", a.at(s.DamagedAt), "drilled", cmp.Or(a.at(s.DrilledAt), "never"), "drill failed", a.at(s.DrillFailedAt), "recovery", seconds(s.Recovery), "forgotten", a.at(s.ForgottenAt), "because", s.ForgetReason, "undo until", a.at(s.UndoUntil),
		"on hold until", a.at(s.HoldUntil), "held for", s.HoldReason, "held by", s.HoldBy, "tags", strings.Join(s.Tags, ", "),
		"size", size(s.RawBytes), "new", size(s.NewBytes), "stores", strings.Join(s.Stores, ", "), "ledger", strconv.FormatUint(s.LedgerIndex, 10),
	)
	for _, what := range s.Strange {
		fmt.Fprintf(a.out, "%s %s\n", a.paint(a.out, "strange:", red), printable(what))
	}
	objects := a.showLeftOut(s.Contents)
	rows := make([][]string, len(s.Streams))
	for i, st := range s.Streams {
		rows[i] = []string{st.Name, st.Kind, st.Database, size(st.Size), st.SHA256}
	}
	a.table([]string{"STREAM", "KIND", "DATABASE", "SIZE", "SHA-256"}, rows)
	if len(objects) > 0 {
		fmt.Fprintln(a.out)
		rows = make([][]string, len(objects))
		for i, o := range objects {
			rows[i] = []string{o.Kind, o.Name, rowsText(o.Rows), "", o.Stream}
			if o.Bytes > 0 {
				rows[i][3] = size(o.Bytes)
			}
		}
		a.table([]string{"KIND", "NAME", "ROWS", "SIZE", "STREAM"}, rows)
	}
	for i, n := range s.Notes {
		if i == 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintln(a.out, printable(n))
	}
}

// showLeftOut tells, before anything else, what the labels left out of a snapshot,
// and gives what it does hold.
func (a *app) showLeftOut(contents []objectView) (holds []objectView) {
	const most = 50
	n := 0
	for _, o := range contents {
		what := engine.LeftOut([]engine.Object{{Kind: o.Kind, Name: o.Name}})
		switch {
		case len(what) == 0:
			holds = append(holds, o)
		case n < most:
			fmt.Fprintf(a.out, "%s %s (%s)\n", a.paint(a.out, "left out:", yellow), printable(what[0]), printable(o.Stream))
			n++
		default:
			n++
		}
	}
	if n > most {
		fmt.Fprintf(a.out, "%s %d more, see -o json\n", a.paint(a.out, "left out:", yellow), n-most)
	}
	return holds
}
