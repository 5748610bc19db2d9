package retain

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A pack of which little is used any more is stored anew by the next backup, and
// goes with the snapshots that need it, and not before.
func TestPacksAreCompacted(t *testing.T) {
	grow := func(below int) (s *scene, first []string) {
		s = newScene(t)
		s.keeps("last=1").Logger = slog.New(slog.DiscardHandler)
		s.CompactBelow, s.Verifier = below, nil
		rnd := rand.New(rand.NewPCG(1, 2))
		noise := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}
		blocks := make([][]byte, 40)
		for i := range blocks {
			blocks[i] = noise(50_000)
		}
		for round := range 12 {
			if round > 0 && round < 8 { // seven tenths of the first pack are replaced, too few for the agent to care
				for i := range 4 {
					blocks[4*(round-1)+i] = noise(50_000)
				}
			}
			s.dump = bytes.Join(blocks, nil)
			avoid, err := s.Avoid(t.Context(), "shop")
			s.must(err)
			made := s.backup(avoid...)
			if round == 0 {
				first = s.packs(made)
			}
			s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordVerification{RecordVerification: &pb.RecordVerification{
				Snapshot: made.GetId(), VerifiedAt: timestamppb.New(s.clock.Now()),
			}}}))
			s.clock.Advance(time.Hour)
			s.apply()
			s.whole()
			if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetUnreferencedObjects() > 0 || r.GetSnapshots() != 1 {
				t.Fatalf("round %d: %v", round, r)
			}
		}
		return s, first
	}
	without, first := grow(0)
	needs := without.packs(without.made[11])
	if !slices.ContainsFunc(first, func(id string) bool { return slices.Contains(needs, id) }) {
		t.Fatal("without compacting the first pack is gone too: this shows nothing")
	}
	with, first := grow(60)
	needs = with.packs(with.made[11])
	if slices.ContainsFunc(first, func(id string) bool { return slices.Contains(needs, id) }) {
		t.Error("the first pack is still needed")
	}
	if a, b := with.size(), without.size(); a >= b {
		t.Errorf("%d bytes with compacting, %d without", a, b)
	} else {
		t.Logf("%d bytes with compacting, %d without", a, b)
	}
}
