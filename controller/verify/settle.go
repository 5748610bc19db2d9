package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Settle checks snapshots and records of each what was found: that it is right, or
// that it is damaged.
func (v *Verifier) Settle(ctx context.Context, list []*pb.Snapshot, log *slog.Logger) error {
	var damaged []string
	err := v.Snapshots(ctx, list, nil, func(s *pb.Snapshot, report *pb.VerifyReport) error {
		for _, p := range report.GetProblems() {
			damaged = append(damaged, s.GetId())
			log.Error("snapshot is damaged", "source", s.GetSource(), "snapshot", s.GetId(), "error", p.GetMessage())
			break
		}
		return nil
	})
	// What was found is recorded also when the rest could not be looked at.
	return errors.Join(err, v.recordDamage(ctx, damaged))
}

func (v *Verifier) recordDamage(ctx context.Context, damaged []string) error {
	if len(damaged) == 0 {
		return nil
	}
	// A store that is not there has lost everything; that says nothing of a snapshot.
	if _, err := v.Store.Stat(ctx, repo.FormatName); err != nil {
		return fmt.Errorf("the store has lost more than snapshots: %w", err)
	}
	err := v.Propose(ctx, &pb.Command{Actor: "verify", Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: damaged}}})
	if err != nil {
		return fmt.Errorf("record what is damaged: %w", err)
	}
	return nil
}
