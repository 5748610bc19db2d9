package controller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// deleting is a store whose deletions a test can hold up or refuse.
type deleting struct {
	store.Store
	mu     sync.Mutex
	before func(name string) error // called before each deletion
	calls  atomic.Int64
	silent atomic.Bool // it lists no marks
}

func (d *deleting) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	if d.silent.Load() && strings.HasSuffix(prefix, "/damaged/") {
		return errors.New("the store does not answer")
	}
	return d.Store.List(ctx, prefix, fn)
}

func (d *deleting) Delete(ctx context.Context, name string) error {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before != nil && !strings.HasPrefix(name, repo.PlansPrefix) {
		d.calls.Add(1)
		if err := before(name); err != nil {
			return err
		}
	}
	return d.Store.Delete(ctx, name)
}

func (d *deleting) set(before func(string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

// pruneCluster has a source with four snapshots, of which the first two are forgotten.
func pruneCluster(t *testing.T) (*cluster, *deleting, *scripted, []*pb.Snapshot) {
	t.Helper()
	var d *deleting
	c := newCluster(t, func(o *controller.Options) {
		d = &deleting{Store: o.Store}
		o.Store = d
	})
	a := c.connect("a1", 4, nil, ready("shop"), ready("blog"))
	var made []*pb.Snapshot
	for i := range 4 {
		c.clock.Advance(time.Second)
		id := c.backup("shop")
		a.carryOut(a.assigned(), fmt.Sprintf("-- dump %d\n%s", i, strings.Repeat(fmt.Sprintf("row %d\n", i*7919), 4000)))
		r := c.awaitRun(id, pb.RunState_RUN_STATE_SUCCEEDED)
		s, _ := c.node.View().Snapshot(r.GetSnapshot())
		made = append(made, s)
	}
	if _, err := c.admin.ForgetSnapshots(t.Context(), &pb.ForgetSnapshotsRequest{Snapshots: []string{made[0].GetId(), made[1].GetId()}}); err != nil {
		t.Fatal(err)
	}
	return c, d, a, made
}

func (c *cluster) planPrune(source string) *pb.PrunePlan {
	c.t.Helper()
	resp, err := c.admin.PlanPrune(c.t.Context(), &pb.PlanPruneRequest{Sources: []string{source}})
	if err != nil || len(resp.GetPlans()) != 1 {
		c.t.Fatalf("%v, %v", resp, err)
	}
	return resp.GetPlans()[0]
}

// prune carries out the plan with a hash and returns the last message.
func (c *cluster) prune(source string, hash []byte) (*pb.PruneResponse, error) {
	stream, err := c.admin.Prune(c.t.Context(), &pb.PruneRequest{Source: source, PlanHash: hash})
	if err != nil {
		return nil, err
	}
	var last *pb.PruneResponse
	for {
		m, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // as gRPC says it
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = m
	}
}

// held are the names and sizes of all objects.
func (c *cluster) held(prefix string) map[string]int64 {
	c.t.Helper()
	names := map[string]int64{}
	err := c.store.List(c.t.Context(), prefix, func(i store.Info) error { names[i.Name] = i.Size; return nil })
	if err != nil {
		c.t.Fatal(err)
	}
	return names
}

func (c *cluster) verify(s *pb.Snapshot) *pb.VerifyReport {
	c.t.Helper()
	stream, err := c.admin.VerifySnapshot(c.t.Context(), &pb.VerifySnapshotRequest{Snapshot: s.GetId()})
	var report *pb.VerifyReport
	for err == nil {
		var m *pb.VerifySnapshotResponse
		if m, err = stream.Recv(); m.GetReport() != nil {
			report = m.GetReport()
		}
	}
	if report == nil {
		c.t.Fatalf("verify %s: %v", s.GetId(), err)
	}
	return report
}

func TestPrune(t *testing.T) {
	c, _, _, made := pruneCluster(t)
	for ref, want := range map[string]problem.Reason{made[3].GetId(): state.ReasonNewest, "shop@latest": "", "01JZZZZZZ": state.ReasonNoSnapshot} {
		if _, err := c.admin.ForgetSnapshots(t.Context(), &pb.ForgetSnapshotsRequest{Snapshots: []string{ref}}); err == nil || problem.ReasonOf(err) != want {
			t.Errorf("forget %s: %v", ref, err)
		}
	}
	list, err := c.admin.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{Source: "shop"})
	gone, err2 := c.admin.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{Source: "shop", Forgotten: true})
	if err != nil || err2 != nil || len(list.GetSnapshots()) != 2 || len(gone.GetSnapshots()) != 2 {
		t.Fatalf("listed %v, forgotten %v: %v, %v", list, gone, err, err2)
	}

	before := c.held("")
	leftOver := repo.PackName("shop", strings.Repeat("ab", 16))
	if _, err := c.store.Put(t.Context(), leftOver, strings.NewReader("never finished")); err != nil {
		t.Fatal(err)
	}
	old := c.planPrune("shop")
	if _, err := c.admin.UnforgetSnapshots(t.Context(), &pb.UnforgetSnapshotsRequest{Snapshots: []string{made[1].GetId()}}); err != nil {
		t.Fatal(err)
	}
	if m, err := c.prune("shop", old.GetHash()); problem.ReasonOf(err) != retain.ReasonPlanChanged {
		t.Fatalf("a plan that does not hold any more: %v, %v", m, err)
	}
	plan := c.planPrune("shop")
	if plan.GetFailure() != nil || plan.GetObjects() != 3 || !slices.Equal(plan.GetSnapshots(), []string{made[0].GetId()}) || len(c.held(repo.PlansPrefix)) != 0 {
		t.Fatalf("the plan: %v", plan)
	}
	last, err := c.prune("shop", plan.GetHash())
	if err != nil || last.GetPrune().GetFailure() != nil || last.GetPrune().GetDeletedBytes() != plan.GetBytes() {
		t.Fatalf("pruned: %v, %v", last, err)
	}
	after := c.held("")
	for _, o := range plan.GetDelete() {
		if _, ok := after[o.GetName()]; ok {
			t.Errorf("%s (%s) is still there", o.GetName(), o.GetReason())
		}
		delete(before, o.GetName())
	}
	c.await("the plan's removal", func() bool { return len(c.held(repo.PlansPrefix)) == 0 })
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("%s is gone, and was not in the plan", name)
		}
	}
	for _, s := range made[1:] {
		if r := c.verify(s); len(r.GetProblems()) > 0 {
			t.Errorf("snapshot %s: %v", s.GetId(), r.GetProblems())
		}
	}
	for what, err := range map[string]error{
		"show":      second(c.admin.GetSnapshot(t.Context(), &pb.GetSnapshotRequest{Snapshot: made[0].GetId()})),
		"take back": second(c.admin.UnforgetSnapshots(t.Context(), &pb.UnforgetSnapshotsRequest{Snapshots: []string{made[0].GetId()}})),
		"restore":   second(c.admin.StartRestore(t.Context(), &pb.StartRestoreRequest{Restore: &pb.RestoreRequest{Snapshot: made[0].GetId()}})),
	} {
		if problem.ReasonOf(err) != state.ReasonPruned {
			t.Errorf("%s what is pruned: %v", what, err)
		}
	}
	queued := &pb.Run{
		Id: "late", Kind: pb.RunKind_RUN_KIND_RESTORE, Source: "shop", FireTime: timestamppb.New(c.clock.Now()),
		Restore: &pb.RestoreRequest{Snapshot: made[0].GetId()},
	}
	if err := c.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{queued}}}}); err != nil {
		t.Fatal(err)
	}
	if r := c.awaitRun("late", pb.RunState_RUN_STATE_FAILED); r.GetFailure().GetReason() != string(state.ReasonPruned) {
		t.Errorf("a restore that was queued before: %v", r.GetFailure())
	}
	if m, err := c.prune("shop", nil); err != nil || m.GetPrune().GetPlan() != "" {
		t.Errorf("nothing is left to prune: %v, %v", m, err)
	}
	if st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{}); err != nil || st.GetSnapshots() != 3 {
		t.Errorf("%d snapshots, %v", st.GetSnapshots(), err)
	}
}

func second[T any](_ T, err error) error { return err }

// While a source is pruned nothing of it is leased, and the other way round.
func TestAPruneAndARunExcludeEachOther(t *testing.T) {
	c, d, a, made := pruneCluster(t)
	c.clock.Advance(time.Second)
	id := c.backup("shop")
	as := a.assigned()
	if _, err := c.prune("shop", nil); problem.ReasonOf(err) != state.ReasonSourceBusy {
		t.Fatalf("beside a backup: %v", err)
	}
	if f := c.planPrune("shop").GetFailure(); f.GetReason() != string(state.ReasonSourceBusy) {
		t.Errorf("planned beside a backup: %v", f)
	}
	for _, base := range as.GetBackup().GetBase() {
		if s := base.GetSnapshot(); s != made[3].GetId() && s != made[2].GetId() {
			t.Errorf("it builds on %s, which is forgotten", s)
		}
	}
	a.carryOut(as, "-- dump")
	c.awaitRun(id, pb.RunState_RUN_STATE_SUCCEEDED)

	hold, reached := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	d.set(func(string) error { once(); <-hold; return nil })
	ended := make(chan error, 1)
	go func() { ended <- second(c.prune("shop", nil)) }()
	<-reached
	c.clock.Advance(time.Second)
	waits := c.backup("shop")
	back, err := c.admin.StartRestore(t.Context(), &pb.StartRestoreRequest{Restore: &pb.RestoreRequest{Snapshot: made[3].GetId()}})
	if err != nil {
		t.Fatal(err)
	}
	c.backup("blog")
	blog := a.assigned() // the last in the queue: those before it were looked at
	for _, run := range []string{waits, back.GetRun().GetId()} {
		if r, _ := c.node.View().Run(run); blog.GetSource() != "blog" || r.GetState() != pb.RunState_RUN_STATE_QUEUED {
			t.Errorf("%s was leased; the run of shop is %s", blog.GetSource(), r.GetState())
		}
	}
	if _, err := c.prune("shop", nil); problem.ReasonOf(err) != state.ReasonSourceBusy {
		t.Errorf("a second prune: %v", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if as := a.assigned(); as.GetSource() != "shop" {
		t.Errorf("after the prune: %v", as)
	}
}

// What a stop of the controller interrupts goes on when it is back.
func TestAnInterruptedPruneIsTakenUp(t *testing.T) {
	c, d, _, made := pruneCluster(t)
	plan := c.planPrune("shop")
	broken := make(chan struct{})
	d.set(func(string) error {
		if d.calls.Load() <= 2 {
			return nil
		}
		if d.calls.Load() == 3 {
			close(broken)
		}
		return errors.New("the store does not answer")
	})
	stream, err := c.admin.Prune(t.Context(), &pb.PruneRequest{Source: "shop", PlanHash: plan.GetHash()})
	if err != nil {
		t.Fatal(err)
	}
	<-broken
	c.stop()
	for err == nil {
		_, err = stream.Recv()
	}
	saved := c.held(repo.PlansPrefix)
	if len(saved) != 1 {
		t.Fatalf("saved plans: %v", saved)
	}
	orphan := repo.PlanName("01J00000000000000000000000") // of a prune that was never recorded
	if _, err := c.store.Put(t.Context(), orphan, bytes.NewReader(nil)); err != nil {
		t.Fatal(err)
	}
	d.set(nil)
	c.start()
	c.await("the end of the prune", func() bool { return len(c.node.View().ActivePrunes()) == 0 })
	p, _ := c.node.View().Prune("shop")
	if p.GetFailure() != nil || p.GetDeletedBytes() != plan.GetBytes() || p.GetDeletedObjects() != plan.GetObjects() {
		t.Errorf("it ended: %v, and was to delete %d objects, %d bytes", p, plan.GetObjects(), plan.GetBytes())
	}
	c.await("the plans' removal", func() bool { return len(c.held(repo.PlansPrefix)) == 0 })
	held := c.held(repo.SourcesPrefix)
	for _, o := range plan.GetDelete() {
		if _, ok := held[o.GetName()]; ok {
			t.Errorf("%s is still there", o.GetName())
		}
	}
	for _, s := range made[2:] {
		if r := c.verify(s); len(r.GetProblems()) > 0 {
			t.Errorf("snapshot %s: %v", s.GetId(), r.GetProblems())
		}
	}
}

// A backup hears of packs that are damaged; when the store does not tell, it builds on nothing.
func TestABackupAvoidsDamagedPacks(t *testing.T) {
	c, d, a, made := pruneCluster(t)
	marked := strings.Repeat("ab", 16)
	for _, name := range []string{repo.DamagedName("shop", marked), repo.DamagedName("blog", strings.Repeat("cd", 16))} {
		if _, err := c.store.Put(t.Context(), name, bytes.NewReader(nil)); err != nil {
			t.Fatal(err)
		}
	}
	c.clock.Advance(time.Second)
	id := c.backup("shop")
	as := a.assigned()
	if w := as.GetBackup(); !slices.Equal(w.GetAvoidPacks(), []string{marked}) || len(w.GetBase()) != 2 || w.GetBase()[0].GetSnapshot() != made[3].GetId() {
		t.Errorf("told: %v", w)
	}
	a.carryOut(as, "-- dump")
	c.awaitRun(id, pb.RunState_RUN_STATE_SUCCEEDED)
	d.silent.Store(true)
	c.clock.Advance(time.Second)
	c.backup("shop")
	if w := a.assigned().GetBackup(); len(w.GetAvoidPacks()) != 0 || len(w.GetBase()) != 0 {
		t.Errorf("told without knowing the marks: %v", w)
	}
}

// The last snapshot that is known to be good stays, whatever is asked for.
func TestTheLastVerifiedSnapshotStays(t *testing.T) {
	c, _, _, made := pruneCluster(t)
	if r := c.verify(made[2]); len(r.GetProblems()) > 0 {
		t.Fatal(r)
	}
	_, err := c.admin.ForgetSnapshots(t.Context(), &pb.ForgetSnapshotsRequest{Snapshots: []string{made[2].GetId(), made[3].GetId()}})
	if text := problem.Text(err); err == nil || !strings.Contains(text, made[2].GetId()) || !strings.Contains(text, made[3].GetId()) {
		t.Errorf("refused with: %v", err)
	}
	if err := c.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordVerification{
		RecordVerification: &pb.RecordVerification{Snapshot: made[3].GetId(), VerifiedAt: timestamppb.New(c.clock.Now())},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.admin.ForgetSnapshots(t.Context(), &pb.ForgetSnapshotsRequest{Snapshots: []string{made[2].GetId()}}); err != nil {
		t.Error(err)
	}
}
