package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

func put(t testing.TB, st store.Store, name string, b []byte) {
	t.Helper()
	if _, err := st.Put(t.Context(), name, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func inventory(t testing.TB, st store.Store) *SourceInventory {
	t.Helper()
	v, err := InventorySource(t.Context(), st, testSource)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func manifestOf(v *SourceInventory, snapshot string) *HeldManifest {
	i := slices.IndexFunc(v.Manifests, func(m HeldManifest) bool { return m.Header.Snapshot == snapshot })
	if i < 0 {
		return nil
	}
	return &v.Manifests[i]
}

func TestInventoryOfASource(t *testing.T) {
	st := mem.New()
	a, b := stream{"a", text(1, 300_000)}, stream{"a", append(text(1, 300_000), text(2, 90_000)...)}
	r1 := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), a))
	r2 := ref(snap2, backup(t, storeSink{st}, options(snap2, loadBase(t, st, r1)), b))
	h1, h2 := check(t, st, r1, a).Header(), check(t, st, r2, b).Header()
	leftOver := strings.Repeat("ab", packIDSize)
	put(t, st, PackName(testSource, leftOver), []byte("never finished"))
	put(t, st, DamagedName(testSource, leftOver), nil)
	put(t, st, "sources/shop~db/notes", []byte("mine"))
	put(t, st, PackName("shop/db2", leftOver), []byte("of another source"))

	v := inventory(t, st)
	for _, h := range []ManifestHeader{h1, h2} {
		m := manifestOf(v, h.Snapshot)
		if m == nil || m.Damaged != "" || m.Header.Generation != 1 || m.Header.Chunking != h.Chunking {
			t.Fatalf("manifest of %s: %+v", h.Snapshot, m)
		}
		var needs, want []string
		for i := range v.Needs(m) {
			needs = append(needs, v.Packs[i].ID())
		}
		for _, p := range h.Packs {
			want = append(want, p.ID)
			i, ok := v.Pack(p.ID)
			if held := v.Packs[i]; !ok || held.Size != p.Size || held.Want != p.Size || held.SHA256 != p.SHA256 || held.Flaw() != "" {
				t.Errorf("pack %s: %+v", p.ID, held)
			}
			if size, sum, err := PackHash(t.Context(), st, testSource, p.ID); err != nil || size != p.Size || sum != p.SHA256 {
				t.Errorf("hash of pack %s: %d bytes, %s, %v", p.ID, size, sum, err)
			}
		}
		if slices.Sort(want); !slices.Equal(needs, want) {
			t.Errorf("%s needs %v, want %v", h.Snapshot, needs, want)
		}
	}
	if m := manifestOf(v, snap1); m.SHA256 != r1.Manifest || m.Size != r1.Size {
		t.Errorf("hash and size of the manifest: %+v", m)
	}
	i, ok := v.Pack(leftOver)
	if !ok || v.Packs[i].Needed != 0 || v.Packs[i].Flaw() != "" || len(v.Packs) != len(h2.Packs)+1 {
		t.Errorf("packs: %+v", v.Packs)
	}
	if j, _ := v.Pack(h1.Packs[0].ID); v.Packs[j].Needed != 2 {
		t.Errorf("the pack of both snapshots is needed %d times", v.Packs[j].Needed)
	}
	if !slices.Equal(v.Marks, []string{leftOver}) || v.Unknown.Objects != 1 || v.UnknownNames[0] != "sources/shop~db/notes" {
		t.Errorf("marks %v, unknown %v", v.Marks, v.UnknownNames)
	}
	if _, ok := v.Pack("nonsense"); ok {
		t.Error("a pack that cannot be is there")
	}

	whole, err := Inventory(t.Context(), st)
	if err != nil || whole.Kinds[KindManifest].Objects != 2 || whole.Kinds[KindPack].Objects != len(v.Packs)+1 ||
		!slices.Equal(whole.Sources, []string{testSource, "shop/db2"}) || whole.Unknown.Objects != 1 {
		t.Errorf("inventory of the store: %+v, %v", whole, err)
	}
}

func TestInventoryOfADamagedSource(t *testing.T) {
	st := mem.New()
	data := stream{"a", text(1, 300_000)}
	r1 := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), data))
	r2 := ref(snap2, backup(t, storeSink{st}, options(snap2, nil), data))
	p1, p2 := check(t, st, r1, data).Header().Packs[0], check(t, st, r2, data).Header().Packs[0]
	name := ManifestName(testSource, snap1)
	var manifest []byte
	st.Change(name, func(b []byte) []byte { manifest = b; return b })
	for what, damage := range map[string]func([]byte) []byte{
		"empty":           func([]byte) []byte { return []byte{} },
		"cut in header":   func(b []byte) []byte { return b[:100] },
		"cut in body":     func(b []byte) []byte { return b[:len(b)-1] },
		"longer":          func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"not a manifest":  func(b []byte) []byte { return append([]byte("x"), b[1:]...) },
		"of another":      func(b []byte) []byte { return bytes.Replace(b, []byte(snap1), []byte(snap2), 1) },
		"immense lengths": func(b []byte) []byte { return append(append(bytes.Clone(b[:12]), 0xff, 0xff, 0xff, 0x7f), b[16:]...) },
	} {
		st.Change(name, func([]byte) []byte { return damage(manifest) })
		v := inventory(t, st)
		if m := manifestOf(v, snap1); m == nil || m.Damaged == "" || len(m.needs) > 0 {
			t.Errorf("%s: %+v", what, m)
		}
		if i, ok := v.Pack(p1.ID); !ok || v.Packs[i].Needed != 0 {
			t.Errorf("%s: the pack is gone from the inventory, or needed", what)
		}
	}
	st.Change(name, func([]byte) []byte { return manifest })
	st.Change(PackName(testSource, p1.ID), func([]byte) []byte { return nil })
	st.Change(PackName(testSource, p2.ID), func(b []byte) []byte { return b[:len(b)-1] })
	v := inventory(t, st)
	for _, p := range []PackRef{p1, p2} {
		if i, ok := v.Pack(p.ID); !ok || v.Packs[i].Flaw() == "" || v.Packs[i].Needed != 1 {
			t.Errorf("pack %s: %+v", p.ID, v.Packs)
		}
	}
	for _, m := range v.Manifests {
		for i := range v.Needs(&m) {
			if want := map[string]string{snap1: p1.ID, snap2: p2.ID}[m.Header.Snapshot]; v.Packs[i].ID() != want {
				t.Errorf("%s needs %s, not %s", m.Header.Snapshot, v.Packs[i].ID(), want)
			}
		}
	}
	if !slices.IsSortedFunc(v.Packs, func(a, b HeldPack) int { return strings.Compare(a.ID(), b.ID()) }) {
		t.Error("the packs are not sorted")
	}
}

// A store that does not answer is no store that lost something.
func TestInventoryOfAStoreThatFails(t *testing.T) {
	good := mem.New()
	backup(t, storeSink{good}, options(snap1, nil), stream{"a", text(1, 30_000)})
	for _, fault := range []faulty.Fault{{Op: faulty.Get, Kind: faulty.Fail}, {Op: faulty.Get, Kind: faulty.Broken}, {Op: faulty.List, Kind: faulty.Fail}} {
		if _, err := InventorySource(t.Context(), faulty.Wrap(good, fault), testSource); !errors.Is(err, faulty.ErrFault) {
			t.Errorf("%+v: %v", fault, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := InventorySource(ctx, good, testSource); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Inventory(ctx, good); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func BenchmarkInventory(b *testing.B) {
	const packs = 200_000
	st := mem.New()
	m := &manifest{ManifestHeader: ManifestHeader{Cipher: CipherAESGCM, Generation: 1, Source: testSource, Snapshot: snap1, Chunking: defaultChunking}}
	for i := range packs {
		ref := PackRef{ID: fmt.Sprintf("%032x", i*0x9e3779b97f4a), Size: 200, Tail: 100, Live: 1}
		m.Packs = append(m.Packs, ref)
		put(b, st, PackName(testSource, ref.ID), nil)
	}
	object, _, err := m.seal(testKey, nil)
	if err != nil {
		b.Fatal(err)
	}
	put(b, st, ManifestName(testSource, snap1), object)
	b.ReportAllocs()
	for b.Loop() {
		inventory(b, st)
	}
}
