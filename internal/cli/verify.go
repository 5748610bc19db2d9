package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// verifyView is what `snapshot verify -o json` prints of each snapshot.
type verifyView struct {
	Snapshot    string         `json:"snapshot" doc:"the snapshot"`
	Source      string         `json:"source" doc:"the source that it is of"`
	Fine        bool           `json:"fine" doc:"every byte is what was stored"`
	Packs       int64          `json:"packs" doc:"packs that were read"`
	StoredBytes int64          `json:"stored_bytes" doc:"bytes that were read"`
	Chunks      int64          `json:"chunks" doc:"chunks that were checked"`
	RawBytes    int64          `json:"raw_bytes" doc:"bytes of dumps that they hold"`
	Problems    []*failureView `json:"problems" doc:"what is wrong: code, reason, message, hint, details, source"`
}

func (a *app) snapshotVerify() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "verify SNAPSHOT…", Short: "Re-read every byte of snapshots and check it",
		Long: "Re-read every byte of snapshots from the store and check hashes, decryption and contents.\n\nExit status: 0 all is fine, 1 nothing is, 2 bad input, 3 some snapshots are damaged.",
		Args: arguments(0, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return problem.New(problem.InvalidInput, "name snapshots, or ask for --all of them").
					WithHint("`baktainer snapshot ls` lists the snapshots.")
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				return a.verify(ctx, client, args)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all snapshots")
	return cmd
}

// verify checks the snapshots named, all when there are none.
func (a *app) verify(ctx context.Context, client pb.AdminServiceClient, refs []string) error {
	var snaps []*pb.Snapshot
	for _, ref := range refs {
		s, err := a.findSnapshot(ctx, client, ref)
		if err != nil {
			return err
		}
		snaps = append(snaps, s)
	}
	if len(refs) == 0 {
		resp, err := client.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Limit: math.MaxInt32})
		if err != nil {
			return err
		}
		snaps = resp.GetSnapshots()
		if err := a.sayIfMore(ctx, client, int64(len(snaps))); err != nil {
			return err
		}
	}
	reports := map[string]verifyView{}
	for _, batch := range verifyBatches(snaps) {
		if err := a.verifyBatch(ctx, client, batch, reports); err != nil {
			return err
		}
	}
	results := []verifyView{}
	for _, s := range snaps {
		results = append(results, reports[s.GetId()])
	}
	if err := a.showVerified(results); err != nil {
		return err
	}
	return verifyVerdict(results)
}

// sayIfMore tells when the controller listed fewer snapshots than there are.
func (a *app) sayIfMore(ctx context.Context, client pb.AdminServiceClient, listed int64) error {
	status, err := client.GetStatus(ctx, &pb.GetStatusRequest{})
	if err != nil {
		return err
	}
	if more := status.GetSnapshots() - listed; more > 0 {
		a.warn([]string{fmt.Sprintf("the controller lists only the newest %d snapshots: %d older ones are left out", listed, more)})
	}
	return nil
}

// maxVerifyBatch is how many snapshots are asked for at once.
const maxVerifyBatch = 8

// verifyBatches puts snapshots of one source together, for what they share is read
// once then.
func verifyBatches(snaps []*pb.Snapshot) (batches [][]*pb.Snapshot) {
	last := map[string]int{} // batch by source
	for _, s := range snaps {
		i, ok := last[s.GetSource()]
		if !ok || len(batches[i]) == maxVerifyBatch {
			i, batches = len(batches), append(batches, nil)
			last[s.GetSource()] = i
		}
		batches[i] = append(batches[i], s)
	}
	return batches
}

// verifyBatch checks snapshots together. Those that no report comes of, from an
// older controller or because one cannot be read at all, are checked by themselves.
func (a *app) verifyBatch(ctx context.Context, client pb.AdminServiceClient, batch []*pb.Snapshot, reports map[string]verifyView) error {
	err := a.verifyTogether(ctx, client, batch, reports)
	rest := slices.DeleteFunc(slices.Clone(batch), func(s *pb.Snapshot) bool { _, ok := reports[s.GetId()]; return ok })
	first := batch[0]
	switch {
	case ctx.Err() != nil || err != nil && problem.CodeOf(err) != problem.Corrupt:
		return fmt.Errorf("verify snapshot %s of %s: %w", first.GetId(), first.GetSource(), err)
	case len(batch) > 1:
		for _, s := range rest {
			if err := a.verifyBatch(ctx, client, []*pb.Snapshot{s}, reports); err != nil {
				return err
			}
		}
	case err != nil: // what cannot be read at all is a finding, not a reason to leave the others
		reports[first.GetId()] = verifyView{Snapshot: first.GetId(), Source: first.GetSource(), Problems: []*failureView{viewFailure(transport.ToFailure(err))}}
	case len(rest) > 0:
		return problem.New(problem.Internal, "verify snapshot %s of %s: the controller ended without a report", first.GetId(), first.GetSource())
	}
	return nil
}

// verifyTogether asks for snapshots, and notes the reports that come.
func (a *app) verifyTogether(ctx context.Context, client pb.AdminServiceClient, batch []*pb.Snapshot, reports map[string]verifyView) error {
	req := &pb.VerifySnapshotRequest{Snapshot: batch[0].GetId()}
	name := batch[0].GetSource() + " " + req.GetSnapshot()
	for _, s := range batch[1:] {
		req.More = append(req.More, s.GetId())
		name = fmt.Sprintf("%s %d snapshots", s.GetSource(), len(batch))
	}
	stream, err := client.VerifySnapshot(ctx, req)
	if err != nil {
		return err
	}
	show := a.board(name)
	defer show.clear()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		show.update(0, boardRow{phase: "verifying", done: resp.GetBytesDone(), total: resp.GetBytesTotal()})
		if r := resp.GetReport(); r != nil {
			id := cmp.Or(resp.GetSnapshot(), req.GetSnapshot()) // an older controller knows of one
			v := verifyView{Snapshot: id, Source: batch[0].GetSource(), Problems: views(r.GetProblems(), viewFailure)}
			v.Packs, v.StoredBytes, v.Chunks, v.RawBytes = r.GetPacks(), r.GetStoredBytes(), r.GetChunks(), r.GetRawBytes()
			v.Fine = len(v.Problems) == 0
			reports[id] = v
		}
	}
}

func (a *app) showVerified(results []verifyView) error {
	var fine []string
	rows := make([][]string, len(results))
	for i, v := range results {
		state := "problem"
		if v.Fine {
			state = "fine"
			fine = append(fine, v.Snapshot)
		}
		rows[i] = []string{v.Snapshot, v.Source, state, strconv.FormatInt(v.Packs, 10), size(v.StoredBytes), strconv.FormatInt(v.Chunks, 10), size(v.RawBytes)}
	}
	return a.print(results, fine, func() {
		if len(results) == 0 {
			a.say("No snapshot yet.")
			return
		}
		a.table([]string{"SNAPSHOT", "SOURCE", "RESULT", "PACKS", "READ", "CHUNKS", "DUMPS"}, rows)
	})
}

func verifyVerdict(results []verifyView) error {
	damaged := 0
	var lines []string
	for _, v := range results {
		if v.Fine {
			continue
		}
		damaged++
		for _, f := range v.Problems {
			lines = append(lines, fmt.Sprintf("%s of %s: %s", v.Snapshot, v.Source, f.Message))
		}
	}
	if damaged == 0 {
		return nil
	}
	code := problem.PartlyFailed
	if damaged == len(results) {
		code = problem.Corrupt
	}
	return problem.New(code, "%d of %d snapshots cannot be read as they were written", damaged, len(results)).WithDetails(lines...).
		WithHint("Back the source up anew. Look at the disk of the store before you trust it again.")
}
