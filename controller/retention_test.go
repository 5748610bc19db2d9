package controller_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// What is asked for over the wire, and what is refused, all at once.
func TestRetentionService(t *testing.T) {
	c, _, _, made := pruneCluster(t) // four, of which two are forgotten
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.verify(made[3])
	preview, err := c.retention.PreviewRetention(ctx, &pb.PreviewRetentionRequest{Sources: []string{"shop"}, Policy: "last=1", Space: true})
	must(err)
	p := preview.GetPreviews()[0]
	if len(p.GetDecisions()) != 2 || !p.GetDecisions()[0].GetKeep() || p.GetDecisions()[1].GetKeep() || len(p.GetForgotten()) != 2 || p.GetFreedBytes() == 0 || p.GetOrigin() != "as asked" {
		t.Errorf("preview: %v", p)
	}
	all, err := c.retention.PreviewRetention(ctx, &pb.PreviewRetentionRequest{})
	must(err)
	if n := len(all.GetPreviews()); n != 2 || all.GetPreviews()[1].GetPolicy() != "off" || all.GetPreviews()[1].GetOrigin() != "nothing is set" {
		t.Errorf("of all: %v", all)
	}

	held, err := c.retention.SetHold(ctx, &pb.SetHoldRequest{Snapshots: []string{made[2].GetId()[:24], "shop@latest"}, Until: timestamppb.New(c.clock.Now().Add(time.Hour)), Reason: "audit"})
	must(err)
	if s := held.GetSnapshots(); len(s) != 2 || s[0].GetHoldReason() != "audit" || s[0].GetHoldBy() == "" {
		t.Errorf("held: %v", s)
	}
	if _, err := c.admin.ForgetSnapshots(ctx, &pb.ForgetSnapshotsRequest{Snapshots: []string{made[2].GetId()}, DryRun: true}); problem.ReasonOf(err) != state.ReasonOnHold {
		t.Errorf("forget what is on hold: %v", err)
	}
	_, err = c.retention.RemoveHold(ctx, &pb.RemoveHoldRequest{Snapshots: []string{made[2].GetId()}})
	must(err)
	tagged, err := c.retention.TagSnapshots(ctx, &pb.TagSnapshotsRequest{Snapshots: []string{made[2].GetId()}, Add: []string{"golden", "b"}, Remove: []string{"c"}})
	must(err)
	if !slices.Equal(tagged.GetSnapshots()[0].GetTags(), []string{"b", "golden"}) {
		t.Errorf("tagged: %v", tagged)
	}
	forgot, err := c.admin.ForgetSnapshots(ctx, &pb.ForgetSnapshotsRequest{Snapshots: []string{made[2].GetId()}, Undo: durationpb.New(time.Hour)})
	must(err)
	if !forgot.GetSnapshots()[0].GetUndoUntil().AsTime().Equal(c.clock.Now().Add(time.Hour)) || len(c.planPrune("shop").GetSnapshots()) != 2 {
		t.Errorf("forgotten: %v; planned: %v", forgot, c.planPrune("shop").GetSnapshots())
	}
	sim, err := c.retention.SimulateRetention(ctx, &pb.SimulateRetentionRequest{Policy: "daily=3", Cron: "0 3 * * *", Timezone: "Europe/Vienna", Days: 10, Source: "shop"})
	must(err)
	if n := len(sim.GetDays()); n != 10 || sim.GetDays()[9].GetKept() != 3 || len(sim.GetDays()[9].GetSnapshots()) != 3 || len(sim.GetDays()[8].GetSnapshots()) != 0 {
		t.Errorf("simulated: %v", sim)
	}

	for name, tc := range map[string]struct {
		do   func() error
		want []string
	}{
		"preview": {func() error {
			_, err := c.retention.PreviewRetention(ctx, &pb.PreviewRetentionRequest{Sources: []string{"shop", "shoq"}, Policy: "dayly=1"})
			return err
		}, []string{`no source "shoq"`, `no rule "dayly"`}},
		"simulate": {func() error {
			_, err := c.retention.SimulateRetention(ctx, &pb.SimulateRetentionRequest{Policy: "gold", Timezone: "Mars/North", Days: 99999, Source: "shoq"})
			return err
		}, []string{`no policy named "gold"`, `no time zone "Mars/North"`, "99999 days", "either a cron expression or a number of hours", `no source "shoq"`}},
		"a bad calendar": {func() error {
			_, err := c.retention.SimulateRetention(ctx, &pb.SimulateRetentionRequest{Policy: "last=1", Cron: "x"})
			return err
		}, []string{"cron expression"}},
		"too much": {func() error {
			_, err := c.retention.SimulateRetention(ctx, &pb.SimulateRetentionRequest{Policy: "last=1", Cron: "* * * * *"})
			return err
		}, []string{"shorter time"}},
		"hold": {func() error {
			_, err := c.retention.SetHold(ctx, &pb.SetHoldRequest{Snapshots: []string{"01JZZZZ"}, Until: timestamppb.New(c.clock.Now()), Reason: strings.Repeat("x", 201)})
			return err
		}, []string{"01JZZZZ", "is over already", "201 bytes"}},
		"hold without an end": {func() error {
			_, err := c.retention.SetHold(ctx, &pb.SetHoldRequest{Snapshots: []string{made[3].GetId()}})
			return err
		}, []string{"until when"}},
		"hold what is forgotten": {func() error {
			_, err := c.retention.SetHold(ctx, &pb.SetHoldRequest{Snapshots: []string{made[0].GetId()}, Until: timestamppb.New(c.clock.Now().Add(time.Hour))})
			return err
		}, []string{"is forgotten", "snapshot undelete"}},
		"tag": {func() error {
			_, err := c.retention.TagSnapshots(ctx, &pb.TagSnapshotsRequest{Snapshots: []string{"01JZZZZ"}, Add: []string{"a b", "c"}, Remove: []string{"c"}})
			return err
		}, []string{"01JZZZZ", `"a b" is no tag`, "tag c is to be added and taken away"}},
		"tag nothing": {func() error {
			_, err := c.retention.TagSnapshots(ctx, &pb.TagSnapshotsRequest{Snapshots: []string{made[3].GetId()}})
			return err
		}, []string{"0 tags"}},
	} {
		err := tc.do()
		for _, want := range tc.want {
			if err == nil || !strings.Contains(problem.Text(err), want) {
				t.Errorf("%s: %q is not in %v", name, want, problem.Text(err))
			}
		}
	}
}

// filling is a store whose free space a test sets.
type filling struct {
	store.Store
	free atomic.Int64
}

func (f *filling) Space(context.Context) (free, total int64, ok bool, err error) {
	return f.free.Load(), 100 << 30, true, nil
}

// With too little space backups wait, restores do not, and all go on by themselves.
func TestBackupsPauseForWantOfSpace(t *testing.T) {
	var disk *filling
	c := newCluster(t, func(o *controller.Options) {
		disk = &filling{Store: o.Store}
		disk.free.Store(50 << 30)
		o.Store = disk
		o.Retention.Space = retain.SpaceLimits{Pause: retention.Threshold{Percent: 10}}
	})
	a := c.connect("a1", 4, nil, ready("shop"), ready("blog"))
	first := c.backup("blog")
	a.carryOut(a.assigned(), dump)
	blog := c.awaitRun(first, pb.RunState_RUN_STATE_SUCCEEDED).GetSnapshot()
	problems := func() string {
		st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(st.GetProblems(), "\n")
	}
	disk.free.Store(5 << 30)
	c.await("a pause", func() bool { return strings.Contains(problems(), "backups pause: the store has 5.0 GiB free") })
	c.clock.Advance(time.Second)
	waiting := c.backup("shop")
	restore, err := c.admin.StartRestore(t.Context(), &pb.StartRestoreRequest{Restore: &pb.RestoreRequest{Snapshot: blog}})
	if err != nil {
		t.Fatal(err)
	}
	// The restore is younger, and is given out: the backup was passed over.
	if as := a.assigned(); as.GetLease().GetRun() != restore.GetRun().GetId() {
		t.Fatalf("given out: %v", as)
	}
	if r, _ := c.node.View().Run(waiting); r.GetState() != pb.RunState_RUN_STATE_QUEUED {
		t.Fatalf("the backup: %v", r)
	}
	disk.free.Store(50 << 30)
	if as := a.assigned(); as.GetLease().GetRun() != waiting {
		t.Errorf("given out when there is space again: %v", as)
	}
}

// The policy that is set is applied by whoever leads, with nobody asking.
func TestThePolicyIsAppliedByItself(t *testing.T) {
	policy, err := retention.Parse("last=1")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, func(o *controller.Options) {
		o.Retention = controller.Retention{Policy: policy, Undo: time.Hour, VerifyEvery: time.Nanosecond, Every: 20 * time.Millisecond}
	})
	a := c.connect("a1", 4, nil, ready("shop"))
	for range 3 {
		c.clock.Advance(time.Second)
		id := c.backup("shop")
		a.carryOut(a.assigned(), dump)
		c.awaitRun(id, pb.RunState_RUN_STATE_SUCCEEDED)
	}
	c.await("two to be forgotten", func() bool {
		// Time goes on: what is left has its turn to be verified only later than what
		// was verified last, whenever that was.
		c.clock.Advance(time.Millisecond)
		return len(c.node.View().Forgotten("shop", 0)) == 2
	})
	if left := c.node.View().Snapshots("shop", 0); len(left) != 1 || left[0].GetVerifiedAt() == nil {
		t.Errorf("left: %v", left)
	}
	c.clock.Advance(2 * time.Hour)
	c.await("a prune", func() bool {
		p, ok := c.node.View().Prune("shop")
		return ok && p.GetEndedAt() != nil && len(c.node.View().Forgotten("shop", 0)) == 0
	})
	if p, _ := c.node.View().Prune("shop"); p.GetFailure() != nil || p.GetDeletedObjects() == 0 {
		t.Errorf("%v", p)
	}
}
