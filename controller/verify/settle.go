package verify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Settle is Snapshots for when nobody waits: what is damaged goes to the log.
func (v *Verifier) Settle(ctx context.Context, list []*pb.Snapshot, log *slog.Logger) error {
	return v.Snapshots(ctx, list, nil, func(s *pb.Snapshot, report *pb.VerifyReport) error {
		if lost(report) {
			log.Error("snapshot is damaged", "source", s.GetSource(), "snapshot", s.GetId(), "error", report.GetProblems()[0].GetMessage())
		}
		return nil
	})
}

// recordLimit is how long it is tried to record what is damaged, perCommand how many
// snapshots are named at once.
const (
	recordLimit = 10 * time.Second
	perCommand  = 1000
)

func (v *Verifier) recordDamage(ctx context.Context, damaged []string) error {
	if len(damaged) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	// A store that is not there has lost everything; that says nothing of a snapshot.
	if _, err := v.Store.Stat(ctx, repo.FormatName); err != nil {
		return fmt.Errorf("the store has lost more than snapshots: %w", err)
	}
	for part := range slices.Chunk(damaged, perCommand) {
		err := v.Propose(ctx, &pb.Command{Actor: "verify", Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: part}}})
		if err != nil {
			return fmt.Errorf("record what is damaged: %w", err)
		}
	}
	return nil
}
