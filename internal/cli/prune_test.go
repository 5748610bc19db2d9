package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const forgottenID = "01JNG0ZZZZZZZZZZZZZZZZZZZ0"

// retaining is a fake that lets go of things as well.
type retaining struct {
	fake
	findings []*pb.StoreFinding
	pruned   []*pb.PruneRequest
}

func forgotten() *pb.Snapshot {
	return &pb.Snapshot{
		Id: forgottenID, Source: "wiki", Engine: "sqlite", CommittedAt: ago(72 * time.Hour), RawBytes: 700, NewBytes: 700, LedgerIndex: 1,
		Streams: []*pb.Stream{stream("wiki.db", "file", "", shopSQL)}, ForgottenAt: ago(time.Hour), DamagedAt: ago(2 * time.Hour),
	}
}

func (f *retaining) ListSnapshots(ctx context.Context, req *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	if req.GetForgotten() {
		return &pb.ListSnapshotsResponse{Snapshots: []*pb.Snapshot{forgotten()}}, nil
	}
	return f.fake.ListSnapshots(ctx, req)
}

func (f *retaining) GetSnapshot(ctx context.Context, req *pb.GetSnapshotRequest) (*pb.GetSnapshotResponse, error) {
	if req.GetSnapshot() == forgottenID {
		return &pb.GetSnapshotResponse{Snapshot: forgotten()}, nil
	}
	return f.fake.GetSnapshot(ctx, req)
}

func (f *retaining) ForgetSnapshots(_ context.Context, req *pb.ForgetSnapshotsRequest) (*pb.ForgetSnapshotsResponse, error) {
	if req.GetSnapshots()[0] != forgottenID {
		return nil, problem.New(problem.Conflict, "snapshot %s is the newest of its source", req.GetSnapshots()[0]).WithSource("wiki").WithHint("Back the source up first.")
	}
	s := forgotten()
	if s.ForgottenAt = timestamppb.New(today); req.GetDryRun() {
		s.ForgottenAt = nil
	}
	return &pb.ForgetSnapshotsResponse{Snapshots: []*pb.Snapshot{s}}, nil
}

func (f *retaining) UnforgetSnapshots(context.Context, *pb.UnforgetSnapshotsRequest) (*pb.UnforgetSnapshotsResponse, error) {
	s := forgotten()
	s.ForgottenAt = nil
	return &pb.UnforgetSnapshotsResponse{Snapshots: []*pb.Snapshot{s}}, nil
}

func (f *retaining) PlanPrune(_ context.Context, req *pb.PlanPruneRequest) (*pb.PlanPruneResponse, error) {
	busy := &pb.PrunePlan{Source: "shop/db", Failure: &pb.Failure{Code: "conflict", Reason: "source-busy", Message: "run r3 is at work on the source", Source: "shop/db", Hint: "Wait for its end."}}
	clean := &pb.PrunePlan{Source: "mail", Hash: []byte{2}, KeptObjects: 4, KeptBytes: 5000}
	wiki := &pb.PrunePlan{Source: "wiki", Hash: []byte{1}, Snapshots: []string{forgottenID}, Objects: 5, Bytes: 5 << 20, KeptObjects: 7, KeptBytes: 9 << 20}
	for _, o := range []struct {
		name, reason string
		size         int64
	}{
		{"sources/wiki/manifests/" + forgottenID, "manifest of forgotten snapshot " + forgottenID, 4096},
		{"sources/wiki/packs/aa/" + hex32("a"), "only forgotten snapshot " + forgottenID + " needs it", 3 << 20},
		{"sources/wiki/packs/bb/" + hex32("b"), "only forgotten snapshot " + forgottenID + " needs it", 1 << 20},
		{"sources/wiki/packs/cc/" + hex32("c"), "no snapshot needs it: left over from a run that failed", 1000},
	} {
		wiki.Delete = append(wiki.Delete, &pb.PruneObject{Name: o.name, Size: o.size, Reason: o.reason})
	}
	switch {
	case req.GetAll():
		return &pb.PlanPruneResponse{Plans: []*pb.PrunePlan{clean, busy, wiki}}, nil
	case req.GetSources()[0] == "shop/db":
		return &pb.PlanPruneResponse{Plans: []*pb.PrunePlan{busy}}, nil
	case req.GetSources()[0] == "mail":
		return &pb.PlanPruneResponse{Plans: []*pb.PrunePlan{clean}}, nil
	}
	return &pb.PlanPruneResponse{Plans: []*pb.PrunePlan{wiki}}, nil
}

func hex32(digit string) string { return strings.Repeat(digit, 32) }

func (f *retaining) Prune(req *pb.PruneRequest, s grpc.ServerStreamingServer[pb.PruneResponse]) error {
	f.mu.Lock()
	f.pruned = append(f.pruned, req)
	f.mu.Unlock()
	if err := s.Send(&pb.PruneResponse{ObjectsDone: 1, ObjectsTotal: 5, BytesDone: 4096, BytesTotal: 5 << 20}); err != nil {
		return err
	}
	return s.Send(&pb.PruneResponse{Prune: &pb.Prune{Source: req.GetSource(), DeletedObjects: 5, DeletedBytes: 5 << 20}})
}

func (f *retaining) report() *pb.StoreReport {
	return &pb.StoreReport{
		Store: "fs:/var/lib/baktainer/store", Objects: 40, Bytes: 30 << 20, Packs: 12, Snapshots: 3, UnreferencedObjects: 1, UnreferencedBytes: 1000,
		Findings: f.findings, Unknown: []string{"notes.txt"}, UnknownObjects: 1,
	}
}

func (f *retaining) CheckStore(_ *pb.CheckStoreRequest, s grpc.ServerStreamingServer[pb.CheckStoreResponse]) error {
	if err := s.Send(&pb.CheckStoreResponse{Phase: "wiki", ObjectsDone: 3}); err != nil {
		return err
	}
	return s.Send(&pb.CheckStoreResponse{Report: f.report()})
}

func (f *retaining) RepairStore(_ *pb.RepairStoreRequest, s grpc.ServerStreamingServer[pb.RepairStoreResponse]) error {
	r := f.report()
	for _, found := range r.GetFindings() {
		found.Repair = map[bool]string{true: "written anew", false: "marked, so that no backup builds on it"}[found.GetRepairable()]
	}
	return s.Send(&pb.RepairStoreResponse{Report: r})
}

func TestGoldenRetention(t *testing.T) {
	derived := &pb.StoreFinding{Object: "format.copy.json", Problem: "it is missing", Repairable: true}
	lost := &pb.StoreFinding{Object: "sources/wiki/packs/aa/" + hex32("a"), Problem: "it has 5 bytes, not 7", Damage: []*pb.SnapshotDamage{
		{Source: "wiki", Snapshot: forgottenID, Streams: []string{"wiki.db"}, StreamsRead: true}, {Source: "wiki", Snapshot: "01JNG1ZZZZZZZZZZZZZZZZZZZ1", StreamsRead: true},
	}}
	quick := &pb.StoreFinding{Object: lost.GetObject(), Problem: lost.GetProblem(), Damage: []*pb.SnapshotDamage{{Source: "wiki", Snapshot: forgottenID}}}
	for _, tc := range []struct {
		name, args string
		findings   []*pb.StoreFinding
		prunes     bool
	}{
		{"snapshot-ls-forgotten", "snapshot ls --forgotten", nil, false},
		{"snapshot-show-forgotten", "snapshot show " + forgottenID, nil, false},
		{"snapshot-forget", "snapshot forget " + forgottenID, nil, false},
		{"snapshot-forget-dry-run", "snapshot forget --dry-run " + forgottenID, nil, false},
		{"snapshot-forget-refused", "snapshot forget 01JNG1ZZZZZZZZZZZZZZZZZZZ1", nil, false},
		{"snapshot-unforget", "snapshot unforget " + forgottenID, nil, false},
		{"restore-forgotten", "restore --dry-run " + forgottenID, nil, false},
		{"prune-dry-run", "prune wiki --dry-run", nil, false},
		{"prune-dry-run-all", "prune --all --dry-run", nil, false},
		{"prune-verbose", "prune wiki --dry-run -v", nil, false},
		{"prune-json", "prune wiki --dry-run -o json", nil, false},
		{"prune-unasked", "prune wiki", nil, false},
		{"prune-yes", "prune wiki --yes", nil, true},
		{"prune-yes-quiet", "prune wiki --yes -q", nil, true},
		{"prune-yes-all", "prune --all --yes -q", nil, true},
		{"prune-busy", "prune shop/db --yes", nil, false},
		{"prune-nothing", "prune mail --yes", nil, false},
		{"prune-what", "prune", nil, false},
		{"store-check", "store check", nil, false},
		{"store-check-quick", "store check", []*pb.StoreFinding{quick}, false},
		{"store-check-lost", "store check --read-data", []*pb.StoreFinding{derived, lost}, false},
		{"store-check-json", "store check -o json", []*pb.StoreFinding{lost}, false},
		{"store-repair", "store repair", []*pb.StoreFinding{derived, lost}, false},
		{"store-repair-all", "store repair", []*pb.StoreFinding{derived}, false},
		{"store-repair-dry-run", "store repair --dry-run", []*pb.StoreFinding{derived}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &retaining{findings: tc.findings}
			r := cli(t, Roof{}, serve(t, f), strings.Fields(tc.args)...)
			golden(t, tc.name, fmt.Sprintf("$ baktainer %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", tc.args, r.status, r.out, r.err))
			if tc.prunes != (len(f.pruned) == 1) {
				t.Errorf("pruned: %v", f.pruned)
			}
		})
	}
}
