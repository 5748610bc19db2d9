package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// pruneView is what `prune -o json` prints of each source.
type pruneView struct {
	Source         string            `json:"source" doc:"the source"`
	Plan           string            `json:"plan" doc:"hash of the plan; empty when nothing can be deleted"`
	Snapshots      []string          `json:"snapshots" doc:"the forgotten snapshots that are deleted"`
	Delete         []pruneObjectView `json:"delete" doc:"what is deleted, in this order: name, size, reason; at most 10,000 in all"`
	Objects        int64             `json:"objects" doc:"how many objects are deleted, listed or not"`
	Bytes          int64             `json:"bytes" doc:"their size: what is freed"`
	KeptObjects    int64             `json:"kept_objects" doc:"how many objects of the source stay"`
	KeptBytes      int64             `json:"kept_bytes" doc:"size of those"`
	State          string            `json:"state" doc:"planned, pruned, or failed"`
	DeletedObjects int64             `json:"deleted_objects" doc:"how many objects were deleted"`
	DeletedBytes   int64             `json:"deleted_bytes" doc:"size of those"`
	Failure        *failureView      `json:"failure,omitempty" doc:"why it failed, or nothing can be deleted: code, reason, message, hint, details, source"`

	hash []byte
}

type pruneObjectView struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

func (a *app) pruneCommand() *cobra.Command {
	var all, dry, assent bool
	cmd := &cobra.Command{
		Use: "prune [SOURCE…]", Short: "Delete what no snapshot needs any more",
		Long: `Delete from the store what forgotten snapshots alone need, and what failed runs have left.

It shows first what goes, and why, and asks. What is deleted is what was shown: when things have changed
meanwhile it refuses. A snapshot that is not forgotten, or can be taken back, never loses anything. A source is not backed up
while it is pruned, nor pruned while it is backed up or restored. A prune that is interrupted goes on when the
controller is back.

Exit status: 0 fine, 1 failed, 2 bad input, 3 some sources could not be pruned.`,
		Example: examples("baktainer prune --all --dry-run", "baktainer prune shop/db"),
		Args:    arguments(0, -1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return problem.New(problem.InvalidInput, "name sources, or ask for --all of them").
					WithHint("`baktainer source ls` lists the sources.")
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.PlanPrune(ctx, &pb.PlanPruneRequest{Sources: args, All: all})
				if err != nil {
					return err
				}
				return a.prune(ctx, client, views(resp.GetPlans(), viewPrune), dry, assent)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all sources, also those that are gone")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be deleted, and change nothing")
	cmd.Flags().BoolVarP(&assent, "yes", "y", false, "do not ask; delete what is found, even if it has changed since it was shown")
	return cmd
}

func viewPrune(p *pb.PrunePlan) *pruneView {
	v := &pruneView{
		Source: p.GetSource(), Plan: hex.EncodeToString(p.GetHash()), hash: p.GetHash(), Snapshots: list(p.GetSnapshots()), Delete: []pruneObjectView{},
		Objects: p.GetObjects(), Bytes: p.GetBytes(), KeptObjects: p.GetKeptObjects(), KeptBytes: p.GetKeptBytes(),
		State: "planned", Failure: viewFailure(p.GetFailure()),
	}
	if v.Failure != nil {
		v.State = "failed"
	}
	for _, o := range p.GetDelete() {
		v.Delete = append(v.Delete, pruneObjectView{o.GetName(), o.GetSize(), o.GetReason()})
	}
	return v
}

// prune shows the plans, and carries them out unless it is dry.
func (a *app) prune(ctx context.Context, client pb.AdminServiceClient, plans []*pruneView, dry, assent bool) error {
	var objects, bytes int64
	for _, p := range plans {
		objects, bytes = objects+p.Objects, bytes+p.Bytes
	}
	if a.output != "json" && !a.quiet {
		a.showPlans(plans, objects, bytes)
	}
	if !dry && objects > 0 {
		if err := a.confirmPrune(objects, bytes, assent); err != nil {
			return err
		}
		if err := a.carryOut(ctx, client, plans, assent); err != nil {
			return err
		}
	}
	var sources []string
	var done int64
	for _, p := range plans {
		if p.State != "failed" {
			sources = append(sources, p.Source)
		}
		done += p.DeletedBytes
	}
	err := a.print(plans, sources, func() {
		if !dry && objects > 0 {
			a.say("Deleted %s.", size(done))
		}
	})
	return cmp.Or(err, pruneVerdict(plans))
}

// showPlans shows what goes: for each source and reason together, or with
// --verbose object by object.
func (a *app) showPlans(plans []*pruneView, objects, bytes int64) {
	var rows [][]string
	for _, p := range plans {
		if a.verbose {
			for _, o := range p.Delete {
				rows = append(rows, []string{p.Source, o.Name, size(o.Size), o.Reason})
			}
			continue
		}
		rows = append(rows, byReason(p)...)
	}
	switch {
	case objects == 0:
		if pruneVerdict(plans) == nil {
			a.say("There is nothing to prune.")
		}
	case a.verbose:
		a.table([]string{"SOURCE", "OBJECT", "SIZE", "REASON"}, rows)
	default:
		a.table([]string{"SOURCE", "DELETED", "SIZE", "REASON"}, rows)
	}
	if objects > 0 {
		a.say("%s, %s.", several(objects, "object"), size(bytes))
	}
}

// byReason sums a plan up.
func byReason(p *pruneView) [][]string {
	type key struct {
		kind   repo.Kind
		reason string
	}
	type sum struct{ objects, bytes int64 }
	sums, order, listed := map[key]*sum{}, []key{}, sum{}
	for _, o := range p.Delete {
		name, _ := repo.ParseName(o.Name)
		k := key{name.Kind, o.Reason}
		if sums[k] == nil {
			sums[k] = &sum{}
			order = append(order, k)
		}
		sums[k].objects++
		sums[k].bytes += o.Size
		listed.objects, listed.bytes = listed.objects+1, listed.bytes+o.Size
	}
	var rows [][]string
	for _, k := range order {
		what := map[repo.Kind]string{repo.KindPack: "pack", repo.KindManifest: "manifest", repo.KindDamaged: "mark"}[k.kind]
		rows = append(rows, []string{p.Source, several(sums[k].objects, what), size(sums[k].bytes), k.reason})
	}
	if more := p.Objects - listed.objects; more > 0 {
		rows = append(rows, []string{p.Source, fmt.Sprintf("%d more", more), size(p.Bytes - listed.bytes), ""})
	}
	return rows
}

// confirmPrune asks before anything is deleted. Who cannot be asked has to say
// so beforehand.
func (a *app) confirmPrune(objects, bytes int64, assent bool) error {
	switch {
	case assent:
		return nil
	case !terminal(a.in):
		return problem.New(problem.InvalidInput, "nobody is there to ask, and --yes was not given").WithHint("Look with --dry-run, then prune with --yes.")
	}
	if a.asked(fmt.Sprintf("This deletes %s, %s, for good.", several(objects, "object"), size(bytes))) {
		return nil
	}
	return problem.New(problem.Cancelled, "nothing was deleted")
}

// carryOut prunes source by source. One that fails does not keep the others.
func (a *app) carryOut(ctx context.Context, client pb.AdminServiceClient, plans []*pruneView, assent bool) error {
	for _, p := range plans {
		if p.Failure != nil || p.Objects == 0 {
			continue
		}
		req := &pb.PruneRequest{Source: p.Source, PlanHash: p.hash}
		if assent {
			req.PlanHash = nil
		}
		err := a.pruneOne(ctx, client, req, p)
		if ctx.Err() != nil {
			return problem.Wrap(problem.Cancelled, context.Cause(ctx), "stopped waiting; the prune that was begun goes on").WithSource(p.Source).
				WithHint("`baktainer prune %s --dry-run` tells what is left.", p.Source)
		}
		if err != nil {
			p.Failure = viewFailure(transport.ToFailure(err))
		}
		p.State = "pruned"
		if p.Failure != nil {
			p.State = "failed"
		}
	}
	return nil
}

func (a *app) pruneOne(ctx context.Context, client pb.AdminServiceClient, req *pb.PruneRequest, p *pruneView) error {
	stream, err := client.Prune(ctx, req)
	if err != nil {
		return err
	}
	show := a.board(p.Source)
	defer show.clear()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return problem.New(problem.Internal, "the controller ended without a result")
		}
		if err != nil {
			return err
		}
		if end := m.GetPrune(); end != nil {
			p.DeletedObjects, p.DeletedBytes, p.Failure = end.GetDeletedObjects(), end.GetDeletedBytes(), viewFailure(end.GetFailure())
			return nil
		}
		show.update(0, boardRow{phase: "pruning", done: m.GetBytesDone(), total: m.GetBytesTotal()})
	}
}

// pruneVerdict is the error of those that failed.
func pruneVerdict(plans []*pruneView) error {
	var failed []*pruneView
	for _, p := range plans {
		if p.Failure != nil {
			failed = append(failed, p)
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(plans) == 1:
		f := failed[0].Failure
		return problem.New(problem.Code(f.Code), "%s", f.Message).WithReason(problem.Reason(f.Reason)).WithSource(f.Source).WithDetails(f.Details...).WithHint("%s", f.Hint)
	}
	p := problem.New(problem.PartlyFailed, "not pruned: %d of %d sources", len(failed), len(plans))
	if len(failed) == len(plans) {
		p = problem.New(problem.Failed, "none of %d sources was pruned", len(plans))
	}
	for _, f := range failed {
		p = p.WithDetails(f.Source + ": " + strings.TrimPrefix(f.Failure.Message, f.Source+": "))
		p = p.WithDetails(f.Failure.Details...)
	}
	return p.WithHint("`baktainer prune SOURCE --dry-run` tells more.")
}
