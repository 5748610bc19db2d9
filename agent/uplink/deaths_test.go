package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// deaths kills controllers at events that chance names, and brings back those
// that are dead: always one is alive, seldom all.
type deaths struct {
	*sending
	mu     sync.Mutex
	chance *rand.Rand
	dead   []string
	count  int
}

func (d *deaths) meet(e uplinktest.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	seldom := 30
	if e.Call == uplinktest.Reading {
		seldom = 1500 // its parts are small
	}
	if d.chance.IntN(seldom) > 0 {
		return nil
	}
	d.count++
	if len(d.dead) == 2 {
		d.Revive(d.dead[0])
		d.dead = d.dead[1:]
	}
	d.dead = append(d.dead, e.Node)
	d.Kill(e.Node)
	return errSlow
}

// Whenever and wherever controllers die, what is committed is whole, has a
// receipt for each of its objects, and can be read back through deaths too.
func TestASnapshotComesWholeThroughDeaths(t *testing.T) {
	t.Parallel()
	const id = "01JZ0000000000000000000001"
	key := repo.MasterKey{7}.Source("shop")
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newSending(t, "c2", "c3")
			d := &deaths{sending: s, chance: rand.New(rand.NewPCG(seed, 1))}
			s.meet = d.meet
			w, err := repo.NewWriter(t.Context(), repo.WriterOptions{
				Source: "shop", Snapshot: id, Key: key, Compress: source.CompressOff, PackSize: 256 << 10, InFlight: 2,
			}, s.objects)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Abort()
			out, err := w.Stream(repo.StreamMeta{Name: "shop.sql"})
			if err == nil {
				_, err = out.Write(noise(6 << 20))
			}
			if err == nil {
				_, err = out.Close(repo.Contents{})
			}
			if err != nil {
				t.Fatal(err)
			}
			summary, err := w.Finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.commit(t)

			commits := s.Heard().Commits
			shown := map[string]bool{}
			for _, r := range commits[len(commits)-1].GetReceipts() {
				if shown[r.GetName()] {
					t.Errorf("two receipts for %s", r.GetName())
				}
				shown[r.GetName()] = true
			}
			ref := repo.Ref{Source: "shop", Snapshot: id, Manifest: summary.Manifest, Size: summary.ManifestSize}
			snapshot, err := repo.OpenSnapshot(t.Context(), s.objects, key, ref)
			if err != nil {
				t.Fatal(err)
			}
			sent := map[string]bool{repo.ManifestName("shop", id): true}
			for _, p := range snapshot.Header().Packs {
				sent[repo.PackName("shop", p.ID)] = true
			}
			for name := range sent {
				if !shown[name] {
					t.Errorf("no receipt for %s", name)
				}
			}
			if len(shown) != len(sent) {
				t.Errorf("%d receipts for %d objects", len(shown), len(sent))
			}
			if _, err := snapshot.Verify(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if d.count < 3 {
				t.Errorf("only %d deaths", d.count)
			}
			t.Logf("%d objects, %d deaths, %d hand-overs", len(sent), d.count, s.objects.HandOvers())
		})
	}
}
