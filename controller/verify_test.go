package controller_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// verifyAll verifies snapshots together, and gives the reports by snapshot.
func (c *cluster) verifyAll(refs ...string) (map[string]*pb.VerifyReport, error) {
	c.t.Helper()
	stream, err := c.admin.VerifySnapshot(c.t.Context(), &pb.VerifySnapshotRequest{Snapshot: refs[0], More: refs[1:]})
	reports := map[string]*pb.VerifyReport{}
	for err == nil {
		var m *pb.VerifySnapshotResponse
		if m, err = stream.Recv(); err == nil && m.GetReport() != nil {
			reports[m.GetSnapshot()] = m.GetReport()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return reports, err
}

func TestSnapshotsAreVerifiedTogether(t *testing.T) {
	c, _, a, made := pruneCluster(t)
	c.clock.Advance(time.Second)
	id := c.backup("blog")
	a.carryOut(a.assigned(), dump)
	blog, _ := c.node.View().Snapshot(c.awaitRun(id, pb.RunState_RUN_STATE_SUCCEEDED).GetSnapshot())
	// The second one's only pack is gone; the third one's manifest is.
	packs := c.held("sources/shop/packs/")
	for _, s := range []*pb.Snapshot{made[0], made[2], made[3]} {
		snapshot, err := c.repo.OpenSnapshot(t.Context(), c.store, repo.Ref{Source: "shop", Snapshot: s.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range snapshot.Header().Packs {
			delete(packs, repo.PackName("shop", p.ID))
		}
	}
	if len(packs) == 0 {
		t.Fatal("the second snapshot has no pack of its own")
	}
	for name := range packs {
		if err := c.store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.store.Delete(t.Context(), repo.ManifestName("shop", made[2].GetId())); err != nil {
		t.Fatal(err)
	}
	all := []*pb.Snapshot{made[0], made[1], made[2], made[3], blog}
	refs := []string{"blog@latest"}
	for _, s := range all[:4] {
		refs = append(refs, s.GetId())
	}
	reports, err := c.verifyAll(refs...)
	if err != nil || len(reports) != len(all) {
		t.Fatalf("%v, %v", reports, err)
	}
	for i, s := range all {
		r, damaged := reports[s.GetId()], i == 1 || i == 2
		now, _ := c.node.View().Snapshot(s.GetId())
		if fine := len(r.GetProblems()) == 0; fine == damaged || fine && r.GetRawBytes() != s.GetRawBytes() || fine != state.Proven(now) || damaged != (now.GetDamagedAt() != nil) {
			t.Errorf("snapshot %d: %v, verified at %v, damaged at %v", i, r, now.GetVerifiedAt(), now.GetDamagedAt())
		}
	}
	if _, err := c.verifyAll(made[0].GetId(), "01JZZZZZZ"); problem.ReasonOf(err) != state.ReasonNoSnapshot {
		t.Errorf("one that is not there: %v", err)
	}
}

// A dump of many messages is the one that was stored.
func TestALargeDump(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	var b strings.Builder
	for r := rand.New(rand.NewPCG(1, 2)); b.Len() < 5<<20; {
		b.WriteString(strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(90)) + "\n")
	}
	b.WriteString(dump)
	c.backup("shop")
	a.carryOut(a.assigned(), b.String())
	if got := c.dump("shop@latest", ""); got != b.String() {
		t.Errorf("%d bytes, want %d", len(got), b.Len())
	}
}
