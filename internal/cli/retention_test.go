package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// keeping is a fake that keeps things.
type keeping struct {
	pb.UnimplementedRetentionServiceServer
	retaining
	hold     *pb.SetHoldRequest
	tags     *pb.TagSnapshotsRequest
	simulate *pb.SimulateRetentionRequest
	forget   *pb.ForgetSnapshotsRequest
}

func madeAt(id string, d time.Duration) *pb.Snapshot {
	return &pb.Snapshot{Id: id, Source: "wiki", FireTime: ago(d), CommittedAt: ago(d), RawBytes: 700}
}

func (k *keeping) ForgetSnapshots(ctx context.Context, req *pb.ForgetSnapshotsRequest) (*pb.ForgetSnapshotsResponse, error) {
	k.forget = req
	return k.retaining.ForgetSnapshots(ctx, req)
}

func (k *keeping) PreviewRetention(_ context.Context, req *pb.PreviewRetentionRequest) (*pb.PreviewRetentionResponse, error) {
	if req.GetPolicy() == "lead" {
		return nil, problem.New(problem.InvalidInput, "the policy cannot be used: there is no policy named %q", "lead")
	}
	gone := forgotten()
	gone.FireTime, gone.ForgetReason, gone.UndoUntil = ago(72*time.Hour), "no rule keeps it", timestamppb.New(today.Add(70*time.Hour))
	wiki := &pb.RetentionPreview{
		Source: "wiki", Policy: "last=1 daily=2", Origin: "label of the source", Forgotten: []*pb.Snapshot{gone},
		Decisions: []*pb.RetentionDecision{
			{Snapshot: madeAt("01JNG3ZZZZZZZZZZZZZZZZZZZ3", time.Hour), Keep: true, Verify: true, Reasons: []string{"not verified yet, and does not count: kept as last 1 of 1 until it is", "the newest of its source"}},
			{Snapshot: madeAt("01JNG2ZZZZZZZZZZZZZZZZZZZ2", 25*time.Hour), Keep: true, Reasons: []string{"last 1 of 1", "daily 1 of 2, 2026-03-03"}},
			{Snapshot: madeAt("01JNG1ZZZZZZZZZZZZZZZZZZZ1", 26*time.Hour), Reasons: []string{"no rule keeps it"}},
		},
	}
	if req.GetSpace() {
		wiki.FreedObjects, wiki.FreedBytes, wiki.KeptBytes = 5, 5<<20, 9<<20
	}
	frozen := &pb.RetentionPreview{Source: "shop/db", Policy: "off", Origin: "nothing is set", Frozen: "the newest 2 backups of shop/db failed"}
	if len(req.GetSources()) > 0 {
		return &pb.PreviewRetentionResponse{Previews: []*pb.RetentionPreview{wiki}}, nil
	}
	return &pb.PreviewRetentionResponse{Previews: []*pb.RetentionPreview{frozen, wiki}}, nil
}

func (k *keeping) SimulateRetention(_ context.Context, req *pb.SimulateRetentionRequest) (*pb.SimulateRetentionResponse, error) {
	k.simulate = req
	day := func(date string, made, gone, kept int32) *pb.SimulatedDay {
		return &pb.SimulatedDay{Date: date, Made: made, Forgotten: gone, Kept: kept, Oldest: ago(time.Hour)}
	}
	last := day("2026-04-01", 1, 1, 2)
	last.Snapshots = []*timestamppb.Timestamp{timestamppb.New(today.Add(24 * time.Hour)), timestamppb.New(today)}
	return &pb.SimulateRetentionResponse{Policy: "daily=2", Days: []*pb.SimulatedDay{day("2026-03-30", 1, 0, 1), day("2026-03-31", 1, 0, 2), last}}, nil
}

func (k *keeping) SetHold(_ context.Context, req *pb.SetHoldRequest) (*pb.SetHoldResponse, error) {
	k.hold = req
	s := madeAt("01JNG3ZZZZZZZZZZZZZZZZZZZ3", time.Hour)
	s.HoldUntil, s.HoldReason = req.GetUntil(), req.GetReason()
	return &pb.SetHoldResponse{Snapshots: []*pb.Snapshot{s}}, nil
}

func (k *keeping) RemoveHold(context.Context, *pb.RemoveHoldRequest) (*pb.RemoveHoldResponse, error) {
	return &pb.RemoveHoldResponse{Snapshots: []*pb.Snapshot{madeAt("01JNG3ZZZZZZZZZZZZZZZZZZZ3", time.Hour)}}, nil
}

func (k *keeping) TagSnapshots(_ context.Context, req *pb.TagSnapshotsRequest) (*pb.TagSnapshotsResponse, error) {
	k.tags = req
	s := madeAt("01JNG3ZZZZZZZZZZZZZZZZZZZ3", time.Hour)
	s.Tags = req.GetAdd()
	return &pb.TagSnapshotsResponse{Snapshots: []*pb.Snapshot{s}}, nil
}

func TestGoldenKeeping(t *testing.T) {
	for _, tc := range []struct{ name, args string }{
		{"retention-preview", "retention preview"},
		{"retention-preview-changes", "retention preview wiki --changes --space"},
		{"retention-preview-json", "retention preview wiki -o json --space"},
		{"retention-preview-quiet", "retention preview -q"},
		{"retention-preview-no-policy", "retention preview --policy lead"},
		{"retention-simulate", "retention simulate daily=2"},
		{"retention-simulate-verbose", "retention simulate daily=2 -v --every-hours 6"},
		{"retention-simulate-json", "retention simulate daily=2 -o json"},
		{"snapshot-hold", "snapshot hold 01JNG3 --until 30d --reason audit"},
		{"snapshot-hold-when", "snapshot hold 01JNG3 --until soon"},
		{"snapshot-unhold", "snapshot unhold 01JNG3"},
		{"snapshot-tag", "snapshot tag 01JNG3 --add golden,b"},
		{"snapshot-tag-none", "snapshot tag 01JNG3"},
		{"snapshot-undelete", "snapshot undelete " + forgottenID},
		{"snapshot-forget-undo", "snapshot forget --undo soon " + forgottenID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := cli(t, Roof{}, serve(t, &keeping{}), strings.Fields(tc.args)...)
			golden(t, tc.name, fmt.Sprintf("$ baktainer %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", tc.args, r.status, r.out, r.err))
		})
	}
}

// What is typed arrives as it was meant.
func TestKeepingAsks(t *testing.T) {
	for until, want := range map[string]string{
		"2026-12-31": "2027-01-01T00:00:00Z", "2026-12-31T10:00:00Z": "2026-12-31T10:00:00Z", "30d": "2026-04-03T12:00:00Z", "1y": "2027-03-04T12:00:00Z", "forever": "9999-12-31T00:00:00Z",
	} {
		k := &keeping{}
		r := cli(t, Roof{}, serve(t, k), "snapshot", "hold", "01JNG3", "--until", until, "--reason", "a b")
		if got := k.hold.GetUntil().AsTime().Format(time.RFC3339); r.status != 0 || got != want || k.hold.GetReason() != "a b" || k.hold.GetSnapshots()[0] != "01JNG3" {
			t.Errorf("until %s: %s, want %s: %+v", until, got, want, r)
		}
	}
	k := &keeping{}
	if r := cli(t, Roof{}, serve(t, k), "snapshot", "hold", "01JNG3"); r.status != 2 || k.hold != nil || !strings.Contains(r.err, "--until") {
		t.Errorf("no end is said: %+v", r)
	}
	cli(t, Roof{}, serve(t, k), "snapshot", "tag", "01JNG3", "--add", "a,b", "--remove", "c")
	if k.tags == nil || strings.Join(k.tags.GetAdd(), " ") != "a b" || strings.Join(k.tags.GetRemove(), " ") != "c" {
		t.Errorf("tags: %v", k.tags)
	}
	for undo, want := range map[string]time.Duration{"0": 0, "12h": 12 * time.Hour, "3d": 72 * time.Hour} {
		k := &keeping{}
		cli(t, Roof{}, serve(t, k), "snapshot", "forget", "--undo", undo, forgottenID)
		if k.forget.GetUndo() == nil || k.forget.GetUndo().AsDuration() != want {
			t.Errorf("undo %s: %v", undo, k.forget)
		}
	}
	k = &keeping{}
	if cli(t, Roof{}, serve(t, k), "snapshot", "forget", forgottenID); k.forget == nil || k.forget.GetUndo() != nil {
		t.Errorf("no undo is said: %v", k.forget)
	}
	k = &keeping{}
	cli(t, Roof{}, serve(t, k), "retention", "simulate", "gold", "--from", "2026-05-01", "--days", "9", "--source", "wiki")
	if k.simulate.GetPolicy() != "gold" || k.simulate.GetCron() != "0 0 * * *" || k.simulate.GetDays() != 9 || k.simulate.GetSource() != "wiki" || k.simulate.GetFrom().AsTime().Month() != 5 {
		t.Errorf("%v", k.simulate)
	}
}
