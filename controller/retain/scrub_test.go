package retain

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/faulty"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A scrub reads again what nobody has for long, and records what it finds.
func TestScrub(t *testing.T) {
	s := newScene(t)
	scrub := &verify.Scrub{
		Verifier: &verify.Verifier{View: s.View, Propose: s.Propose, Repo: s.Repo, Store: s.mem, Clock: s.clock},
		Logger:   slog.New(slog.DiscardHandler), Clock: s.clock, Age: 30 * 24 * time.Hour,
	}
	s.backup()
	s.backup()
	scrub.Step(t.Context())
	if s.snapshot(1).GetVerifiedAt() != nil || s.snapshot(2).GetVerifiedAt() == nil {
		t.Fatal("of a source that nothing is known of, the newest snapshot is verified")
	}
	first := s.snapshot(2).GetVerifiedAt().AsTime()
	s.clock.Advance(31 * 24 * time.Hour)
	scrub.Step(t.Context())
	if s.snapshot(1).GetVerifiedAt() == nil || !s.snapshot(2).GetVerifiedAt().AsTime().After(first) {
		t.Error("what is known of them is too old, and they are not verified again")
	}
	s.clock.Advance(31 * 24 * time.Hour)
	s.flip(repo.PackName("shop", s.packs(s.snapshot(1))[0]))
	scrub.Step(t.Context())
	if s.snapshot(1).GetDamagedAt() == nil {
		t.Error("damage was not found")
	}
	// What is damaged is recorded also when another one cannot be read now.
	s.backup()
	s.backup()
	s.clock.Advance(31 * 24 * time.Hour)
	shared := s.packs(s.snapshot(1))
	own := slices.DeleteFunc(s.packs(s.snapshot(4)), func(id string) bool { return slices.Contains(shared, id) })
	s.flip(repo.PackName("shop", own[0]))
	scrub.Verifier.Store = faulty.Wrap(s.mem, faulty.Fault{Op: faulty.Get, Name: repo.ManifestName("shop", s.snapshot(3).GetId()), Kind: faulty.Fail})
	scrub.Step(t.Context())
	scrub.Verifier.Store = s.mem
	if s.snapshot(4).GetDamagedAt() == nil || s.snapshot(3).GetDamagedAt() != nil || s.snapshot(3).GetVerifiedAt() != nil {
		t.Errorf("one damaged, one out of reach: %v, %v", s.snapshot(4), s.snapshot(3))
	}
	// A store that is not there says nothing of what was in it.
	s.backup()
	s.clock.Advance(31 * 24 * time.Hour)
	s.must(s.mem.Delete(t.Context(), repo.FormatName))
	s.must(s.mem.Delete(t.Context(), repo.PackName("shop", s.packs(s.snapshot(5))[0])))
	scrub.Step(t.Context())
	if s.snapshot(5).GetDamagedAt() != nil {
		t.Error("a store that is not there counts as damage")
	}
}

// What is found while a snapshot is read holds, whatever was read of it before.
func TestWhatHappensWhileASnapshotIsVerified(t *testing.T) {
	for what, tc := range map[string]struct {
		during func(s *scene) error
		damage bool
	}{
		"others find damage": {func(s *scene) error {
			return s.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: []string{s.made[1].GetId()}}}})
		}, true},
		"it is forgotten, and deleted": {func(s *scene) error {
			id := s.made[1].GetId()
			s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{id}}}}))
			s.must(s.mem.Delete(t.Context(), repo.ManifestName("shop", id)))
			return s.Propose(t.Context(), &pb.Command{Command: &pb.Command_BeginPrune{BeginPrune: &pb.BeginPrune{
				Source: "shop", Plan: "01J00000000000000000000PLA", PlanSha256: make([]byte, 32), Basis: 3, Snapshots: []string{id},
			}}})
		}, false},
	} {
		s := newScene(t)
		s.backup()
		s.backup()
		s.backup()
		var views int
		v := &verify.Verifier{View: func() *state.View {
			if views++; views == 1 { // of the one look at the ledger before it is read
				s.must(tc.during(s))
			}
			return s.View()
		}, Propose: s.Propose, Repo: s.Repo, Store: s.mem, Clock: s.clock}
		fine := 0
		err := v.Snapshots(t.Context(), []*pb.Snapshot{s.snapshot(2), s.snapshot(3)}, nil, func(_ *pb.Snapshot, r *pb.VerifyReport) error {
			if len(r.GetProblems()) == 0 {
				fine++
			}
			return nil
		})
		if got := s.snapshot(2); err != nil || fine != 1 || got.GetVerifiedAt() != nil || (got.GetDamagedAt() != nil) != tc.damage {
			t.Errorf("%s: %v, and the state has %v", what, err, got)
		}
	}
}
