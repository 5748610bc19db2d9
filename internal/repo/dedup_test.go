package repo

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

func stored(t *testing.T, st store.Store, prefix string) (objects int, size int64) {
	t.Helper()
	if err := st.List(t.Context(), prefix, func(i store.Info) error { objects++; size += i.Size; return nil }); err != nil {
		t.Fatal(err)
	}
	return objects, size
}

func TestUnchangedDataCostsNothing(t *testing.T) {
	st := mem.New()
	streams := []stream{{"globals.sql", text(1, 5000)}, {"shop.sql", text(2, 10<<20)}, {"blog.sql", random(3, 5<<20)}}
	first := backup(t, storeSink{st}, options(snap1, nil), streams...)
	packs, _ := stored(t, st, packsPrefix(testSource))
	base := loadBase(t, st, ref(snap1, first))
	second := backup(t, storeSink{st}, options(snap2, base), streams...)
	if n, _ := stored(t, st, packsPrefix(testSource)); n != packs {
		t.Errorf("%d packs, %d before", n, packs)
	}
	if second.NewBytes != second.ManifestSize || second.ManifestSize > 2000 {
		t.Errorf("added %d bytes, manifest %d", second.NewBytes, second.ManifestSize)
	}
	if second.Root != first.Root || !slices.Equal(second.Streams, first.Streams) || second.RawBytes != first.RawBytes {
		t.Error("the same data is described differently")
	}
	s := check(t, st, ref(snap2, second), streams...)
	live := int64(0)
	for _, p := range s.Header().Packs {
		live += p.Live
	}
	if live == 0 || live > second.RawBytes {
		t.Errorf("%d bytes live of %d", live, second.RawBytes)
	}
	// A third on top of both, the order of streams turned round.
	base = loadBase(t, st, ref(snap2, second), ref(snap1, first))
	slices.Reverse(streams)
	third := backup(t, storeSink{st}, options(snap3, base), streams...)
	if third.NewBytes > third.RawBytes/1000 {
		t.Errorf("another order added %d bytes", third.NewBytes)
	}
	check(t, st, ref(snap3, third), streams...)
}

func TestOneByteChanged(t *testing.T) {
	st := mem.New()
	data := text(1, 12<<20)
	first := backup(t, storeSink{st}, options(snap1, nil), stream{"a", data})
	base := loadBase(t, st, ref(snap1, first))
	for i, at := range []int{0, 1, len(data) / 2, len(data) - 1} {
		changed := bytes.Clone(data)
		changed[at] ^= 0x20
		o := options(snap2[:25]+string(rune('A'+i)), base)
		sum := backup(t, storeSink{st}, o, stream{"a", changed})
		if i == 2 {
			check(t, st, ref(o.Snapshot, sum), stream{"a", changed})
		}
		if sum.NewBytes > 4*int64(defaultChunking.Max) {
			t.Errorf("one byte at %d changed: %d bytes new", at, sum.NewBytes)
		}
	}
	for name, changed := range map[string][]byte{
		"inserted at front": slices.Concat([]byte("x"), data),
		"cut in the middle": slices.Concat(data[:5<<20], data[5<<20+777:]),
	} {
		w := backup(t, storeSink{mem.New()}, options(snap2, base), stream{"a", changed})
		if w.NewBytes > 4*int64(defaultChunking.Max) {
			t.Errorf("%s: %d bytes new", name, w.NewBytes)
		}
	}
}

func TestLiveBytesOfPartlyUsedPacks(t *testing.T) {
	st := mem.New()
	a, b := text(1, 4<<20), text(2, 4<<20)
	o := options(snap1, nil)
	o.PackSize = 1 // each frame is a pack
	first := backup(t, storeSink{st}, o, stream{"a", a}, stream{"b", b})
	second := backup(t, storeSink{st}, options(snap2, loadBase(t, st, ref(snap1, first))), stream{"b", b}, stream{"again", b})
	s := check(t, st, ref(snap2, second), stream{"b", b}, stream{"again", b})
	full := check(t, st, ref(snap1, first), stream{"a", a}, stream{"b", b})
	if n, all := len(s.Header().Packs), len(full.Header().Packs); n >= all || n < all/2-1 {
		t.Errorf("half of the data refers to %d of %d packs", n, all)
	}
	live := int64(0)
	for _, p := range s.Header().Packs {
		live += p.Live
	}
	if live != int64(len(b)) {
		t.Errorf("%d bytes live, want %d", live, len(b))
	}
}

func TestDamagedBaseIsLeftOut(t *testing.T) {
	st := mem.New()
	data := stream{"a", text(1, 8<<20)}
	o := options(snap1, nil)
	o.PackSize = 1 << 20
	first := backup(t, storeSink{st}, o, data)
	packs := check(t, st, ref(snap1, first), data).Header().Packs
	st.Change(PackName(testSource, packs[0].ID), func(b []byte) []byte { b[len(b)-100] ^= 1; return b })
	st.Change(PackName(testSource, packs[1].ID), func([]byte) []byte { return nil })
	base, err := LoadBase(t.Context(), st, testKey, []Ref{{Source: testSource, Snapshot: snap3}, ref(snap1, first)})
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Join(base.Damaged(), "\n")
	if len(base.Damaged()) != 3 || !strings.Contains(damaged, packs[0].ID) || !strings.Contains(damaged, packs[1].ID) || !strings.Contains(damaged, snap3) {
		t.Errorf("left out %s", damaged)
	}
	second := backup(t, storeSink{st}, options(snap2, base), data)
	check(t, st, ref(snap2, second), data) // heals itself: what was damaged is stored anew
	if _, err := LoadBase(t.Context(), st, keyNumber(9), []Ref{ref(snap1, first)}); err != nil {
		t.Errorf("a base under another key: %v", err)
	}
}

func TestChunkSet(t *testing.T) {
	var s chunkSet
	id := func(i int) (id chunkID) { le.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15); return id }
	const n = 100_000
	if x := id(1); s.is(0, &x) {
		t.Error("an empty set has an entry")
	}
	for i := range n {
		x := id(i)
		if _, ok := s.find(&x); ok {
			t.Fatalf("%d found before it was added", i)
		}
		s.add(&x)
	}
	for i := range n {
		x := id(i)
		if e, ok := s.find(&x); !ok || e != uint32(i) || !s.is(e, &x) || s.is(e+1, &x) {
			t.Fatalf("%d found at %d, %v", i, e, ok)
		}
	}
	x := id(7)
	s.add(&x)
	if e, _ := s.find(&x); e != 7 || !s.is(n, &x) {
		t.Errorf("added twice, found at %d", e)
	}
	if per := float64(s.memory()) / n; per > 32 {
		t.Errorf("%.1f bytes for each chunk", per)
	}
}
