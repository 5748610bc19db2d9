package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// What can be derived is rebuilt, and after that nothing is wrong.
func TestRepairRebuildsWhatCanBeDerived(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetSnapshots() != 3 || r.GetPacks() == 0 || r.GetUnreferencedObjects() != 0 {
		t.Fatalf("a store that is whole: %v", r)
	}
	var slot string
	s.must(s.mem.List(t.Context(), repo.KeysPrefix, func(i store.Info) error {
		if !strings.HasSuffix(i.Name, ".copy") {
			slot = i.Name
		}
		return nil
	}))
	pairs := []string{repo.FormatName, repo.FormatCopyName, slot, repo.CopyName(slot), repo.DescriptionName, repo.LedgerName(2)}
	for _, name := range pairs {
		whole := bytes.Clone(s.read(name))
		for what, spoil := range map[string]func(){
			"missing": func() { s.set(name, nil) }, "damaged": func() { s.flip(name) }, "empty": func() { s.set(name, []byte{}) },
			"cut": func() { s.set(name, whole[:len(whole)-20]) },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				spoil()
				dry := s.check(CheckOptions{Repair: true, DryRun: true})
				if got := findings(dry); !slices.Equal(got, []string{name}) || !dry.GetFindings()[0].GetRepairable() || dry.GetFindings()[0].GetRepair() == "" {
					t.Fatalf("found %v", dry.GetFindings())
				}
				if got := findings(s.check(CheckOptions{})); len(got) != 1 {
					t.Fatalf("a dry run changed something: %v", got)
				}
				s.check(CheckOptions{Repair: true})
				if r := s.check(CheckOptions{}); len(r.GetFindings()) > 0 {
					t.Fatalf("after the repair: %v", r.GetFindings())
				}
				if name != repo.LedgerName(2) && !bytes.Equal(s.read(name), whole) { // which is sealed anew
					t.Error("it came back otherwise than it was")
				}
			})
		}
	}
}

// Where object and copy are both sound and differ, the object is right.
func TestACopyThatDiffersIsReplaced(t *testing.T) {
	s := newScene(t)
	s.set(repo.FormatCopyName, append([]byte(" "), s.read(repo.FormatName)...))
	if got := findings(s.check(CheckOptions{Repair: true})); !slices.Equal(got, []string{repo.FormatCopyName}) || !bytes.Equal(s.read(repo.FormatName), s.read(repo.FormatCopyName)) {
		t.Errorf("found %v", got)
	}
}

// What is lost is named, marked, and never guessed; the next backup does not build on it.
func TestRepairMarksWhatIsLost(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	shared := s.packs(s.made[0])[0] // both streams of the first snapshot lie there
	s.flip(repo.PackName("shop", shared))
	s.set(repo.PackName("shop", strings.Repeat("ab", 16)), []byte("left over"))
	if r := s.check(CheckOptions{}); len(r.GetFindings()) != 0 || r.GetUnreferencedObjects() != 1 {
		t.Errorf("sizes do not tell, and yet: %v", r)
	}
	r := s.check(CheckOptions{ReadData: true})
	if got := findings(r); !slices.Equal(got, []string{repo.PackName("shop", shared)}) || r.GetFindings()[0].GetRepairable() {
		t.Fatalf("found %v", r.GetFindings())
	}
	var hit []string
	for _, d := range r.GetFindings()[0].GetDamage() {
		hit = append(hit, d.GetSnapshot())
		if !d.GetStreamsRead() || !slices.Equal(d.GetStreams(), []string{"same.sql"}) { // the other lies in another frame
			t.Errorf("hit in %s: %v", d.GetSnapshot(), d.GetStreams())
		}
	}
	if slices.Sort(hit); len(hit) != 3 {
		t.Errorf("hit are %v", hit)
	}
	if marks, err := s.Damaged(t.Context(), "shop"); err != nil || len(marks) != 0 {
		t.Errorf("a check has marked %v: %v", marks, err)
	}
	s.check(CheckOptions{ReadData: true, Repair: true})
	marks, err := s.Damaged(t.Context(), "shop")
	if err != nil || !slices.Equal(marks, []string{shared}) {
		t.Fatalf("marked: %v, %v", marks, err)
	}
	for _, m := range s.made {
		if now, _ := s.View().Snapshot(m.GetId()); now.GetDamagedAt() == nil {
			t.Errorf("snapshot %s does not say that it is damaged", m.GetId())
		}
	}
	for n := range maxAvoided { // more than a backup can be told of: it must not build on the rest
		_, err := s.mem.Put(t.Context(), repo.DamagedName("shop", fmt.Sprintf("%032x", n)), strings.NewReader("gone"))
		s.must(err)
	}
	if all, err := s.Avoid(t.Context(), "shop"); err == nil {
		t.Errorf("%d marks, and a backup is told of %d", maxAvoided+1, len(all))
	}
	for n := range maxAvoided {
		s.must(s.mem.Delete(t.Context(), repo.DamagedName("shop", fmt.Sprintf("%032x", n))))
	}
	next := s.backup(marks...)
	if slices.Contains(s.packs(next), shared) {
		t.Error("the next backup builds on what is damaged")
	}
	r = s.check(CheckOptions{ReadData: true, Repair: true})
	if len(r.GetFindings()) != 1 || len(r.GetFindings()[0].GetDamage()) != 3 || r.GetFindings()[0].GetRepair() != "marked already" {
		t.Errorf("the older ones stay damaged: %v", r.GetFindings())
	}

	s.flip(repo.PackName("shop", shared)) // it came back from somewhere
	if got := findings(s.check(CheckOptions{ReadData: true, Repair: true})); !slices.Equal(got, []string{repo.DamagedName("shop", shared)}) {
		t.Errorf("a mark on what is right: %v", got)
	}
	if got := findings(s.check(CheckOptions{ReadData: true})); len(got) != 0 {
		t.Errorf("after that: %v", got)
	}
}

// As many snapshots as one prune deletes can be named in one command.
func TestTheLargestPruneFitsIntoACommand(t *testing.T) {
	c := &pb.BeginPrune{Source: strings.Repeat("s", 128), Plan: strings.Repeat("0", 26), PlanSha256: make([]byte, 32), Basis: 1 << 60, Objects: 1 << 60, Bytes: 1 << 60}
	for range maxSnapshots {
		c.Snapshots = append(c.Snapshots, strings.Repeat("0", 26))
	}
	if n := proto.Size(&pb.Command{Actor: "admin", RequestId: strings.Repeat("0", 64), Command: &pb.Command_BeginPrune{BeginPrune: c}}); n > state.MaxCommandSize-1000 {
		t.Errorf("%d bytes", n)
	}
}

func TestCheckNamesWhatIsGone(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	pack := s.packs(s.made[2])
	manifest := repo.ManifestName("shop", s.made[1].GetId())
	own := pack[slices.IndexFunc(pack, func(id string) bool {
		return !slices.Contains(s.packs(s.made[0]), id) && !slices.Contains(s.packs(s.made[1]), id)
	})]
	s.set(repo.PackName("shop", own), nil)
	s.set(manifest, nil)
	s.set(repo.LedgerName(9), []byte("of another controller"))
	s.set("notes.txt", []byte("mine"))
	r := s.check(CheckOptions{})
	if want := []string{repo.LedgerName(9), manifest, repo.PackName("shop", own)}; !slices.Equal(findings(r), want) || !slices.Equal(r.GetUnknown(), []string{"notes.txt"}) {
		t.Fatalf("found %v, want %v; unknown %v", findings(r), want, r.GetUnknown())
	}
	for _, f := range r.GetFindings() {
		if f.GetObject() != repo.LedgerName(9) && f.GetProblem() != "it is missing" {
			t.Errorf("%s: %s", f.GetObject(), f.GetProblem())
		}
		want := map[string]*pb.Snapshot{manifest: s.made[1], repo.PackName("shop", own): s.made[2]}[f.GetObject()]
		if want != nil && (len(f.GetDamage()) != 1 || f.GetDamage()[0].GetSnapshot() != want.GetId()) || f.GetRepairable() {
			t.Errorf("%v", f)
		}
	}
	if _, _, err := s.Plan(t.Context(), "shop"); err == nil || !strings.Contains(fmt.Sprintf("%+v", err), "nothing is pruned") {
		t.Errorf("a prune beside a manifest that is gone: %v", err)
	}
}

// A store that refuses to delete does not keep a source from being backed up for ever.
func TestAPruneThatCannotGoOnIsGivenUp(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{s.made[0].GetId(), s.made[1].GetId()}}}}))
	p, err := s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	refusal := &refusing{Store: s.mem, name: repo.ManifestName("shop", s.made[1].GetId())}
	s.Store = refusal
	if err := s.carryOut(t.Context(), p, false); err == nil || len(s.View().ActivePrunes()) != 1 {
		t.Fatalf("it is to be tried again: %v", err)
	}
	s.must(s.carryOut(t.Context(), p, true))
	ended, _ := s.View().Prune("shop")
	if ended.GetFailure().GetReason() != string(ReasonNotDeleted) || ended.GetDeletedObjects() != 1 {
		t.Fatalf("it ended: %v", ended)
	}
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 {
		t.Errorf("what is kept: %v", r.GetFindings())
	}
	refusal.name = ""
	p, err = s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	s.must(s.carryOut(t.Context(), p, false))
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetUnreferencedObjects() != 0 || r.GetSnapshots() != 1 {
		t.Errorf("after the next: %v", r)
	}

	s.backup()
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{s.made[2].GetId()}}}}))
	p, err = s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	s.flip(repo.PlanName(p.GetPlan()))
	before, _ := s.Check(t.Context(), CheckOptions{})
	s.must(s.carryOut(t.Context(), p, false))
	after, _ := s.Check(t.Context(), CheckOptions{})
	if ended, _ := s.View().Prune("shop"); ended.GetFailure().GetReason() != string(ReasonPlanLost) || after.GetObjects() != before.GetObjects()-1 {
		t.Errorf("a plan that was changed: %v; %d objects, then %d", ended, before.GetObjects(), after.GetObjects())
	}
}

// refusing deletes all objects but one.
type refusing struct {
	store.Store
	name string
}

func (r *refusing) Delete(ctx context.Context, name string) error {
	if name == r.name {
		return errors.New("access denied")
	}
	return r.Store.Delete(ctx, name)
}

// The copy of the newest entry may be on its way while the store is checked.
func TestACheckWaitsForCopiesOnTheirWay(t *testing.T) {
	s := newScene(t)
	s.backup()
	late := s.read(repo.LedgerName(1))
	s.set(repo.LedgerName(1), nil)
	if got := findings(s.check(CheckOptions{})); !slices.Equal(got, []string{repo.LedgerName(1)}) {
		t.Errorf("a copy that is lost: %v", got)
	}
	s.Copy = func(context.Context) error {
		s.set(repo.LedgerName(1), late)
		return nil
	}
	if got := findings(s.check(CheckOptions{})); len(got) != 0 {
		t.Errorf("a copy that was on its way: %v", got)
	}
}

// What is deleted while the store is checked is not missing.
func TestACheckWhileSnapshotsArePruned(t *testing.T) {
	s := newScene(t)
	s.backup()
	second := s.backup()
	s.backup()
	shared := s.packs(s.made[0])
	own := slices.DeleteFunc(s.packs(second), func(id string) bool { return slices.Contains(shared, id) })
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{second.GetId()}}}}))
	prune := func() {
		if p, _ := s.View().Prune("shop"); p == nil {
			s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_BeginPrune{BeginPrune: &pb.BeginPrune{
				Source: "shop", Plan: "01J00000000000000000000PLA", PlanSha256: make([]byte, 32), Basis: 3, Snapshots: []string{second.GetId()},
			}}}))
		}
	}
	for what, object := range map[string]string{"its manifest": repo.ManifestName("shop", second.GetId()), "a pack of its own": repo.PackName("shop", own[0])} {
		whole := s.read(object)
		s.Copy = func(context.Context) error { // the check has looked at the state by then
			prune()
			s.set(object, nil)
			return nil
		}
		if r := s.check(CheckOptions{ReadData: true, Repair: true}); len(r.GetFindings()) > 0 || s.snapshot(2).GetDamagedAt() != nil {
			t.Errorf("%s is gone: %v", what, r.GetFindings())
		}
		s.set(object, whole)
	}
}

// hasty is a store whose user goes as soon as something was deleted.
type hasty struct {
	store.Store
	leave func()
}

func (h hasty) Delete(ctx context.Context, name string) error {
	defer h.leave()
	return h.Store.Delete(ctx, name)
}

// A repair that has begun to replace an object has it replaced, whoever is gone.
func TestARepairWhoseCallerGoes(t *testing.T) {
	s := newScene(t)
	s.backup()
	whole := s.read(repo.FormatName)
	s.flip(repo.FormatName)
	ctx, leave := context.WithCancel(t.Context())
	s.Store = hasty{s.mem, leave}
	if _, err := s.Check(ctx, CheckOptions{Repair: true}); err == nil {
		t.Error("the check went on to its end")
	}
	s.Store = s.mem
	if !bytes.Equal(s.read(repo.FormatName), whole) {
		t.Error("the format file is not what it was")
	}
}

// A state that is older than the store, as after the restore of one that was saved
// before, does not know of what was acknowledged since. That is not left over from
// runs that failed, and stays, also when the ledger has passed its place.
func TestWhatOnlyTheCopiesOfTheLedgerKnowIsNotPruned(t *testing.T) {
	s := newScene(t)
	s.backup()
	var saved bytes.Buffer
	_, err := s.tables.WriteTo(&saved)
	s.must(err)
	lost := []*pb.Snapshot{s.backup(), s.backup()}
	_, err = s.tables.ReadFrom(&saved)
	s.must(err)
	stray := repo.PackName("shop", strings.Repeat("ab", 16))
	never := repo.ManifestName("shop", "01J0000000000000000000NEVE")
	s.set(stray, []byte("of a run that failed"))
	s.set(never, s.read(repo.ManifestName("shop", lost[0].GetId())))
	for range 3 {
		plan, _, err := s.Plan(t.Context(), "shop")
		s.must(err)
		var names []string
		for _, o := range plan.Delete {
			names = append(names, o.Name)
		}
		if want := []string{never, stray}; !slices.Equal(names, want) {
			t.Errorf("at entry %d these would go:\n%s\nwant\n%s", plan.Basis, strings.Join(names, "\n"), strings.Join(want, "\n"))
		}
		v, err := s.Judge(s.View(), "shop", "")
		s.must(err)
		if again, err := s.Foresee(t.Context(), v); err != nil || len(again.Delete) != len(plan.Delete) {
			t.Errorf("foreseen: %v, %v", again, err)
		}
		s.backup()
	}
}
