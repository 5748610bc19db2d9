package repo

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/store"
)

// describe states what is in the store, snapshot by snapshot. Of those made
// only snapshot, source, generation and size need be known.
func describe(t *testing.T, st store.Store, made []vectorSnapshot) vectors {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(t.Context(), st, vectorKey)
	must(err)
	v := vectors{KeyFile: string(vectorKey.Encode()), Passphrase: vectorPassphrase, Repository: r.ID}
	for g := uint32(1); g <= r.Generation; g++ {
		master := r.keys.masters[g]
		vm := vectorMaster{Generation: g, Key: hex.EncodeToString(master[:])}
		for _, name := range []string{"mail", "shop/db"} {
			key := master.source(name, g)
			c, err := newChunker(key, defaultChunking)
			must(err)
			chunk, gear := key.chunkKey(), key.gearKey()
			vm.Sources = append(vm.Sources, vectorSource{
				name, hex.EncodeToString(key.secret[:]), hex.EncodeToString(chunk[:]), hex.EncodeToString(gear[:]),
				[]string{fmt.Sprintf("%016x", c.gear[0]), fmt.Sprintf("%016x", c.gear[255])},
			})
		}
		v.Masters = append(v.Masters, vm)
	}
	packs := map[string]bool{}
	for i, m := range made {
		index := uint64(i + 1)
		object, err := readObject(t.Context(), st, "", LedgerName(index), 0, -1, MaxLedgerCopy)
		must(err)
		text, err := r.OpenLedger(index, object)
		must(err)
		var e struct{ Hash string }
		must(json.Unmarshal(text, &e))
		v.Ledger = append(v.Ledger, vectorEntry{index, string(text), e.Hash})

		key, err := r.SourceKey(m.Source, m.Generation)
		must(err)
		s, err := OpenSnapshot(t.Context(), st, key, Ref{Source: m.Source, Snapshot: m.Snapshot, Size: m.Size})
		must(err)
		object, err = readObject(t.Context(), st, "", ManifestName(m.Source, m.Snapshot), 0, -1, 1<<20)
		must(err)
		c := s.header.Chunking
		got := vectorSnapshot{
			Snapshot: m.Snapshot, Source: m.Source, Version: object[8], Generation: s.header.Generation, Cipher: s.header.Cipher, Manifest: hashOf(object).String(),
			Size: int64(len(object)), Root: s.Root().String(), Chunking: [3]int{c.Min, c.Average, c.Max}, Packs: []vectorPackRef{},
		}
		for _, b := range s.body.streams {
			got.Streams = append(got.Streams, describeStream(b))
		}
		for _, p := range s.header.Packs {
			got.Packs = append(got.Packs, vectorPackRef{p.ID, p.SHA256.String(), p.Size, p.Tail, p.Live})
			if !packs[p.ID] {
				packs[p.ID] = true
				v.Packs = append(v.Packs, describePack(t, st, key, s, p))
			}
		}
		v.Snapshots = append(v.Snapshots, got)
	}
	return v
}

func describeStream(b bodyStream) vectorStream {
	vs := vectorStream{
		Name: b.Name, Kind: b.Kind, Database: b.Database, Format: b.Format, Size: b.Size, SHA256: b.SHA256.String(), Chunks: b.chunks,
		Runs: [][3]uint32{}, Groups: []uint32{}, Common: describeSections(b.Contents.Common), Objects: []vectorObject{}, Notes: b.Contents.Notes,
	}
	vs.Groups = append(vs.Groups, b.groups...)
	if b.Size <= vectorContent {
		vs.File = "streams/" + vs.SHA256[:16]
	}
	for _, r := range b.runs {
		vs.Runs = append(vs.Runs, [3]uint32{r.pack, r.first, r.count})
	}
	for _, o := range b.Contents.Objects {
		vs.Objects = append(vs.Objects, vectorObject{o.Kind, o.Name, o.Rows, describeSections(o.Sections)})
	}
	return vs
}

func describeSections(list []engine.Section) [][2]int64 {
	out := [][2]int64{}
	for _, s := range list {
		out = append(out, [2]int64{s.Offset, s.Length})
	}
	return out
}

func describePack(t *testing.T, st store.Store, key SourceKey, s *Snapshot, p PackRef) vectorPack {
	t.Helper()
	x, err := readTail(t.Context(), st, key, s.header.Cipher, s.header.Source, p)
	if err != nil {
		t.Fatal(err)
	}
	object, err := readObject(t.Context(), st, "", PackName(s.header.Source, p.ID), 0, -1, 1<<20)
	if err != nil || hashOf(object) != p.SHA256 || int64(len(object)) != p.Size {
		t.Fatalf("pack %s is not what the manifest says: %v", p.ID, err)
	}
	packKey := key.packKey(x.id)
	out := vectorPack{ID: p.ID, Key: hex.EncodeToString(packKey[:])}
	for i, f := range x.frames {
		b := object[f.offset : f.offset+int64(f.size)]
		vf := vectorFrame{Offset: f.offset, Size: f.size, Raw: f.raw, Codec: b[3], Depth: f.depth, Packs: []string{}, Runs: [][3]uint32{}}
		if vf.Codec == codecDictionary {
			stored, err := x.seal.open(nil, uint32(i), b[frameHeaderSize:], frameAAD(nil, x.id, b[:frameHeaderSize]))
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := parseDictionary(stored)
			if err != nil || !slices.Equal(d.packs, f.packs) {
				t.Fatalf("frame %d of pack %s has a dictionary in other packs than the index says: %v", i, p.ID, err)
			}
			for _, id := range d.packs {
				vf.Packs = append(vf.Packs, id.String())
			}
			for _, r := range d.runs {
				vf.Runs = append(vf.Runs, [3]uint32{r.pack, r.first, r.count})
			}
		}
		for n := f.first; n < f.next; n++ {
			from, to := x.bounds(n)
			vf.Chunks = append(vf.Chunks, fmt.Sprintf("%x %d", x.ids[n][:], to-from))
		}
		out.Frames = append(out.Frames, vf)
	}
	return out
}
