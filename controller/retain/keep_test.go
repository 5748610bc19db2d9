package retain

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// keeps gives the scene a policy, and a verifier that really reads.
func (s *scene) keeps(policy string) *scene {
	s.t.Helper()
	p, err := retention.Parse(policy)
	s.must(err)
	s.Policy = p
	s.Verifier = &verify.Verifier{View: s.View, Propose: s.Propose, Repo: s.Repo, Store: s.mem, Clock: s.clock}
	return s
}

// apply applies the policies and carries out what they begin.
func (s *scene) apply() {
	s.t.Helper()
	s.must(s.Apply(s.t.Context()))
	s.carryOutAll()
}

func (s *scene) carryOutAll() {
	s.t.Helper()
	for _, p := range s.View().ActivePrunes() {
		s.must(s.carryOut(s.t.Context(), p, false))
	}
}

// kept are the numbers of the snapshots that are listed, oldest first.
func (s *scene) kept() (numbers []int) {
	for i, m := range s.made {
		if now, _ := s.View().Snapshot(m.GetId()); now.GetForgottenAt() == nil {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

func (s *scene) snapshot(n int) *pb.Snapshot {
	now, _ := s.View().Snapshot(s.made[n-1].GetId())
	return now
}

// fail has a backup of the source fail.
func (s *scene) fail() {
	s.t.Helper()
	s.clock.Advance(time.Second)
	run := "f" + s.clock.Now().Format("20060102150405")
	for _, c := range []*pb.Command{
		{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", FireTime: timestamppb.New(s.clock.Now())}}}}},
		{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: run, State: pb.RunState_RUN_STATE_FAILED, Failure: &pb.Failure{Code: "failed", Message: "no"}}}},
	} {
		s.must(s.Propose(s.t.Context(), c))
	}
}

// size is how many bytes the source has in the store.
func (s *scene) size() (sum int64) {
	s.t.Helper()
	s.must(s.mem.List(s.t.Context(), repo.SourcesPrefix, func(i store.Info) error {
		sum += i.Size
		return nil
	}))
	return sum
}

// From the making of a snapshot to the end of its bytes: verified so that it
// counts, forgotten with a reason, kept while it can be taken back, deleted, and
// all of it in the audit.
func TestApplyFromBeginningToEnd(t *testing.T) {
	s := newScene(t).keeps("last=2 daily=3")
	s.Undo, s.VerifyEvery = 72*time.Hour, 20*time.Hour
	for range 6 {
		s.backup()
		s.clock.Advance(24*time.Hour - time.Second)
	}
	foreseen, err := s.Judge(s.View(), "shop", "")
	s.must(err)
	if n := len(foreseen.Forget()); n != 0 {
		t.Fatalf("%d would be forgotten before anything is verified", n)
	}
	s.apply() // verifies the newest three, which are those that would count
	for n := 1; n <= 6; n++ {
		if got := s.snapshot(n).GetVerifiedAt() != nil; got != (n >= 4) {
			t.Errorf("snapshot %d is verified: %v", n, got)
		}
	}
	if got := s.kept(); !slices.Equal(got, []int{4, 5, 6}) {
		t.Fatalf("kept: %v", got)
	}
	one := s.snapshot(1)
	if one.GetForgetReason() != "no rule would keep it, even if it were verified" || !one.GetUndoUntil().AsTime().Equal(s.clock.Now().Add(72*time.Hour)) {
		t.Errorf("forgotten: %v", one)
	}
	audit := s.View().Audit(0)
	if len(audit) != 1 || audit[0].GetActor() != "retention" || audit[0].GetMethod() != "retention/Forget" || audit[0].GetEndedAt() == nil ||
		!strings.Contains(audit[0].GetRequest(), one.GetId()+`":"no rule would keep it`) {
		t.Errorf("audit: %v", audit)
	}

	// By hand nothing can be pruned before its time either.
	if p, err := s.Begin(t.Context(), "test", "shop", ledger.Hash{}); p != nil || err != nil {
		t.Errorf("a prune of what can be taken back: %v, %v", p, err)
	}
	s.clock.Advance(71 * time.Hour)
	s.apply()
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) != 0 || r.GetUnreferencedObjects() != 0 || r.GetSnapshots() != 6 {
		t.Fatalf("within the window: %v", r)
	}
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: []string{one.GetId()}}}}))
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetHold{SetHold: &pb.SetHold{Snapshots: []string{one.GetId()}, Until: timestamppb.New(s.clock.Now().AddDate(1, 0, 0)), Reason: "audit"}}}))
	s.apply()
	if got := s.kept(); !slices.Equal(got, []int{1, 4, 5, 6}) {
		t.Fatalf("on hold: %v", got)
	}

	v, err := s.Judge(s.View(), "shop", "")
	s.must(err)
	plan, err := s.Foresee(t.Context(), v)
	s.must(err)
	before := s.size()
	s.clock.Advance(2 * time.Hour)
	s.apply()
	if freed := before - s.size(); freed != plan.Freed() || freed == 0 {
		t.Errorf("%d bytes were freed, %d were foreseen", freed, plan.Freed())
	}
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) != 0 || r.GetUnreferencedObjects() != 0 || r.GetSnapshots() != 4 {
		t.Errorf("after the window: %v", r)
	}
	if audit := s.View().Audit(1); audit[0].GetMethod() != "retention/Prune" || audit[0].GetFailure() != nil {
		t.Errorf("audit: %v", audit)
	}
}

// Nothing is forgotten while backups fail, nor by a policy that nobody understands.
func TestApplyIsFrozen(t *testing.T) {
	s := newScene(t).keeps("last=1")
	s.Freeze = 2
	for range 3 {
		s.backup()
	}
	s.fail()
	s.fail()
	s.apply()
	s.apply()
	stopped := func() string {
		if why := s.Stopped("shop"); why != nil {
			return *why
		}
		return "not looked at yet"
	}
	if got := s.kept(); !slices.Equal(got, []int{1, 2, 3}) || stopped() != "" { // that they fail is told anyway
		t.Errorf("kept %v, stopped: %q", got, stopped())
	}
	label := func(text string) {
		s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{
			Agent: "a1", Sources: []*pb.Source{{Name: "shop", State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres", Retention: text}},
		}}}))
	}
	label("gold")
	s.backup()
	s.apply()
	v, err := s.Judge(s.View(), "shop", "")
	s.must(err)
	if got := s.kept(); len(got) != 4 || !strings.Contains(v.Frozen, `no policy named "gold"`) || stopped() != v.Frozen {
		t.Errorf("kept %v: %s; stopped: %q", got, v.Frozen, stopped())
	}
	label("last=2")
	s.apply()
	if got := s.kept(); !slices.Equal(got, []int{3, 4}) || stopped() != "" {
		t.Errorf("by its label: %v; stopped: %q", got, stopped())
	}
	label("off")
	s.backup()
	s.apply()
	if got := s.kept(); !slices.Equal(got, []int{3, 4, 5}) {
		t.Errorf("off by its label: %v", got)
	}
}

// What turns out to be damaged is recorded, and does not count.
func TestApplyFindsDamage(t *testing.T) {
	s := newScene(t).keeps("last=1")
	for range 3 {
		s.backup()
	}
	own := s.packs(s.made[2])
	s.flip(repo.PackName("shop", own[slices.IndexFunc(own, func(id string) bool { return !slices.Contains(s.packs(s.made[1]), id) })]))
	s.apply() // verifies 3, which is damaged
	s.apply() // verifies 2, which counts in its place
	if s.snapshot(3).GetDamagedAt() == nil || s.snapshot(2).GetVerifiedAt() == nil {
		t.Errorf("%v", s.snapshot(3))
	}
	if got := s.kept(); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("kept %v", got)
	}
}

// A store that is gone, as one that is not mounted, says nothing of snapshots.
func TestApplyDoesNotTakeALostStoreForDamage(t *testing.T) {
	s := newScene(t).keeps("last=1")
	for range 2 {
		s.backup()
	}
	var names []string
	s.must(s.mem.List(t.Context(), "", func(i store.Info) error {
		names = append(names, i.Name)
		return nil
	}))
	for _, name := range names {
		s.must(s.mem.Delete(t.Context(), name))
	}
	if err := s.Apply(t.Context()); err == nil || s.snapshot(2).GetDamagedAt() != nil || len(s.kept()) != 2 {
		t.Errorf("%v: %v", err, s.snapshot(2))
	}
}

// roomy is a store with so much free space.
type roomy struct {
	store.Store
	free, total int64
	err         error
}

func (r *roomy) Space(context.Context) (free, total int64, ok bool, err error) {
	return r.free, r.total, true, r.err
}

// Little space has backups paused, and what is due anyway deleted at
// once: never more.
func TestSpaceIsWatched(t *testing.T) {
	s := newScene(t)
	s.keeps("last=1")
	disk := &roomy{Store: s.mem, total: 1000 << 30}
	s.Store = disk
	s.Space = SpaceLimits{Prune: retention.Threshold{Percent: 5}, Pause: retention.Threshold{Bytes: 1 << 30}}
	for range 4 {
		s.backup()
	}
	forget := func(undo time.Duration, n int) {
		s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{
			Snapshots: []string{s.made[n-1].GetId()}, Undo: durationpb.New(undo),
		}}}))
	}
	forget(time.Hour, 1)
	look := func(gib int64, paused bool) {
		t.Helper()
		disk.free = gib << 30
		s.must(s.LookAtSpace(t.Context()))
		s.carryOutAll()
		if (s.Paused() != "") != paused {
			t.Errorf("%d GiB: paused %q, want %v", gib, s.Paused(), paused)
		}
	}
	look(500, false)
	if look(40, false); s.snapshot(1).GetPrunedAt() != nil {
		t.Error("what can be taken back was deleted for want of space")
	}
	forget(0, 2)
	s.Freeze = 1
	s.fail()
	look(60, false) // above the limit, and not yet by enough to let go
	if look(49, false); s.snapshot(2).GetPrunedAt() == nil || s.snapshot(1).GetPrunedAt() != nil || len(s.kept()) != 2 {
		t.Errorf("pressed: kept %v, 1: %v, 2: %v", s.kept(), s.snapshot(1).GetPrunedAt(), s.snapshot(2).GetPrunedAt())
	}
	look(0, true)
	if !strings.Contains(s.Paused(), "less than the 1GiB") {
		t.Error(s.Paused())
	}
	look(1, true)
	look(2, false)
	look(500, false)
	// What stands against a prune is not told and put on record at every look.
	forget(0, 3)
	s.set(repo.ManifestName("shop", s.made[3].GetId()), nil)
	tried := func() (n int) {
		for _, r := range s.View().Audit(0) {
			if r.GetMethod() == "retention/Prune" && r.GetFailure() != nil {
				n++
			}
		}
		return n
	}
	for _, want := range []int{1, 1, 2} {
		if look(40, false); tried() != want {
			t.Errorf("a prune that is not possible was tried %d times, want %d", tried(), want)
		}
		s.clock.Advance(31 * time.Minute)
	}
	disk.err = errors.New("stale handle")
	if err := s.LookAtSpace(t.Context()); err == nil || s.Paused() != "" {
		t.Error("an unknown space was taken for some")
	}
}

// What failed backups left behind goes when it is old.
func TestApplyRemovesLeftOvers(t *testing.T) {
	s := newScene(t)
	s.backup()
	s.set(repo.PackName("shop", strings.Repeat("ab", 16)), []byte("left over"))
	s.fail()
	s.apply()
	if r := s.check(CheckOptions{}); r.GetUnreferencedObjects() != 1 {
		t.Errorf("at once: %v", r)
	}
	s.clock.Advance(8 * 24 * time.Hour)
	s.apply()
	if r := s.check(CheckOptions{ReadData: true}); r.GetUnreferencedObjects() != 0 || len(r.GetFindings()) != 0 || r.GetSnapshots() != 1 {
		t.Errorf("after a week: %v", r)
	}
	before := len(s.View().Audit(0))
	if s.apply(); len(s.View().Audit(0)) != before {
		t.Error("it is pruned again and again")
	}
}

// A policy that keeps more than it did cannot be got round by what was forgotten
// before: what is known to be good stays, as much as there is to be.
func TestPruneKeepsToTheFloor(t *testing.T) {
	s := newScene(t).keeps("last=3")
	for range 3 {
		s.backup()
	}
	s.apply()
	forget := &pb.ForgetSnapshots{Snapshots: []string{s.made[0].GetId(), s.made[1].GetId()}}
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: forget}}))
	s.keeps("last=1 at-least=2")
	if _, err := s.Begin(t.Context(), "test", "shop", ledger.Hash{}); problem.ReasonOf(err) != state.ReasonLastVerified {
		t.Errorf("one of the last two that are known to be good could go: %v", err)
	}
	s.keeps("last=1")
	if p, err := s.Begin(t.Context(), "test", "shop", ledger.Hash{}); err != nil || p == nil {
		t.Errorf("%v, %v", p, err)
	}
}

// What an earlier version forgot has no time until which it can be taken back: it
// is not deleted by itself before that would be over, were it forgotten today.
func TestApplyWaitsForWhatHasNoWindow(t *testing.T) {
	s := newScene(t)
	s.Undo = 72 * time.Hour
	for range 3 {
		s.backup()
	}
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{s.made[0].GetId()}}}}))
	s.clock.Advance(71 * time.Hour)
	if s.apply(); s.snapshot(1).GetPrunedAt() != nil {
		t.Error("it is deleted already")
	}
	s.clock.Advance(2 * time.Hour)
	if s.apply(); s.snapshot(1).GetPrunedAt() == nil {
		t.Error("it is never deleted")
	}
}

// The loops do their work again and again, and end with leadership.
func TestKeepGoesOn(t *testing.T) {
	// The snapshots are made before: what their making shares with other tests must
	// not be of a bubble.
	s := newScene(t).keeps("last=1")
	s.Verifier = nil
	for n := range 4 {
		made := s.backup()
		s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordVerification{RecordVerification: &pb.RecordVerification{
			Snapshot: made.GetId(), VerifiedAt: timestamppb.New(s.clock.Now()),
		}}}))
		if n == 1 {
			s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetHold{SetHold: &pb.SetHold{
				Snapshots: []string{made.GetId()}, Until: timestamppb.New(s.clock.Now().Add(time.Hour)),
			}}}))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		loops.Go(func() { s.Keep(ctx) })
		loops.Go(func() { s.WatchSpace(ctx) })
		s.must(clock.Sleep(ctx, firstLook-time.Second))
		synctest.Wait()
		if got := len(s.kept()); got != 4 {
			t.Errorf("%d are kept before the first look", got)
		}
		s.must(clock.Sleep(ctx, 2*time.Second))
		synctest.Wait()
		if got := s.kept(); !slices.Equal(got, []int{2, 4}) {
			t.Errorf("kept after the first look: %v", got)
		}
		s.clock.Advance(2 * time.Hour) // the hold is over
		s.must(clock.Sleep(ctx, s.Every))
		synctest.Wait()
		if got := s.kept(); !slices.Equal(got, []int{4}) {
			t.Errorf("kept after the second: %v", got)
		}
		stop()
		loops.Wait()
	})
}
