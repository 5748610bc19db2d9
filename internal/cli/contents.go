package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type objectView struct {
	Stream string `json:"stream"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Rows   *int64 `json:"rows,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
}

// held is what a snapshot holds.
type held struct {
	objects []contents.Object
	notes   []string
}

// readContents asks what a snapshot holds. That nobody can tell is a warning:
// what the ledger knows of the snapshot can be shown all the same.
func (a *app) readContents(ctx context.Context, client pb.AdminServiceClient, id string) (held, bool, error) {
	h, err := getContents(ctx, client, id)
	switch {
	case err == nil:
		return h, true, nil
	case ctx.Err() != nil, problem.ReasonOf(err) == transport.ReasonNoAnswer:
		return held{}, false, err
	case problem.ReasonOf(err) == transport.ReasonUnsupported:
		return held{}, false, nil
	}
	a.warn([]string{"what is in the snapshot cannot be read: " + problem.Text(err)})
	return held{}, false, nil
}

func getContents(ctx context.Context, client pb.AdminServiceClient, id string) (held, error) {
	parts, err := client.GetContents(ctx, &pb.GetContentsRequest{Snapshot: id})
	if err != nil {
		return held{}, err
	}
	var h held
	for {
		part, err := parts.Recv()
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return held{}, err
		}
		for _, o := range part.GetObjects() {
			h.objects = append(h.objects, contents.Object{Stream: part.GetStream(), Kind: o.GetKind(), Name: o.GetName(), Rows: o.GetRows(), Bytes: o.GetBytes()})
		}
		for _, n := range part.GetNotes() {
			h.notes = append(h.notes, part.GetStream()+": "+n)
		}
	}
}

func (h held) views() []objectView {
	all := make([]objectView, len(h.objects))
	for i, o := range h.objects {
		all[i] = objectView{Stream: o.Stream, Kind: o.Kind, Name: o.Name, Rows: known(o.Rows), Bytes: o.Bytes}
	}
	return all
}

// known is nil for rows that nobody counted.
func known(rows int64) *int64 {
	if rows < 0 {
		return nil
	}
	return &rows
}

func rowsText(rows *int64) string {
	if rows == nil {
		return ""
	}
	return strconv.FormatInt(*rows, 10)
}

// diffView is what `snapshot diff -o json` prints.
type diffView struct {
	Before    *snapshotView `json:"before" doc:"the first snapshot, as from snapshot ls"`
	After     *snapshotView `json:"after" doc:"the second"`
	Changes   []changeView  `json:"changes" doc:"what differs: stream, kind, name, change (gone, new, fewer, more), rows_before, rows_after (absent where nobody counted)"`
	Unchanged int           `json:"unchanged" doc:"how many objects have as many rows as before, or cannot be compared"`
}

type changeView struct {
	Stream     string `json:"stream"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Change     string `json:"change"`
	RowsBefore *int64 `json:"rows_before,omitempty"`
	RowsAfter  *int64 `json:"rows_after,omitempty"`
	percent    string
}

func (a *app) snapshotDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff BEFORE AFTER", Short: "Compare what two snapshots hold: tables gone, rows fewer", Args: arguments(2, 2), ValidArgsFunction: a.completeSnapshots,
		Long: "Compare what two snapshots hold: tables gone, rows fewer.\n\nIt tells what was seen while they were dumped, and reads no dump: " +
			"as many rows as before may be other rows.",
		Example: examples("baktainer snapshot diff 01JNG1 shop/db@latest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				var snaps [2]*snapshotView
				var holds [2]held
				for i, ref := range args {
					snap, err := a.findSnapshot(ctx, client, ref)
					if err != nil {
						return err
					}
					snaps[i] = viewSnapshot(snap)
					if holds[i], err = getContents(ctx, client, snap.GetId()); err != nil {
						return fmt.Errorf("read what is in snapshot %s: %w", snap.GetId(), err)
					}
				}
				v := diffView{Before: snaps[0], After: snaps[1], Changes: []changeView{}}
				var changes []contents.Change
				changes, v.Unchanged = contents.Compare(holds[0].objects, holds[1].objects, engine.MaxObjects)
				for _, c := range changes {
					v.Changes = append(v.Changes, viewChange(c))
				}
				return a.print(v, nil, func() { a.showDiff(v) })
			})
		},
	}
}

func viewChange(c contents.Change) changeView {
	v := changeView{Stream: c.Stream, Kind: c.Object, Name: c.Name, Change: string(c.Kind)}
	if c.Kind != contents.New {
		v.RowsBefore = known(c.Before)
	}
	if c.Kind != contents.Gone {
		v.RowsAfter = known(c.After)
	}
	if p, ok := c.Percent(); ok {
		v.percent = fmt.Sprintf("%+.1f %%", p)
	}
	return v
}

func (a *app) showDiff(v diffView) {
	for _, s := range []*snapshotView{v.Before, v.After} {
		a.facts("snapshot", s.ID, "source", s.Source, "made", a.at(s.CommittedAt), "size", size(s.RawBytes))
		fmt.Fprintln(a.out)
	}
	if len(v.Changes) > 0 {
		rows := make([][]string, len(v.Changes))
		for i, c := range v.Changes {
			rows[i] = []string{c.Change, c.Kind, c.Name, rowsText(c.RowsBefore), rowsText(c.RowsAfter), c.percent, c.Stream}
		}
		a.table([]string{"CHANGE", "KIND", "NAME", "ROWS BEFORE", "ROWS AFTER", "", "STREAM"}, rows)
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "%d differ, %d unchanged\n", len(v.Changes), v.Unchanged)
}
