package repo

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/store"
)

// The seeds are well-formed things; the fuzzer breaks them.

func samplePack(t testing.TB) (object []byte, p *packBuilder, ref PackRef) {
	t.Helper()
	p = &packBuilder{limit: 1 << 20}
	if err := p.start(testKey, CipherAESGCM, bytes.NewReader(make([]byte, packIDSize))); err != nil {
		t.Fatal(err)
	}
	p.add(packedFrame{codec: codecRaw, raw: 5, stored: []byte("hello"), ids: []chunkID{{1}, {2}}, lengths: []uint32{2, 3}})
	p.add(packedFrame{codec: codecRaw, raw: 1, stored: []byte("x"), ids: []chunkID{{3}}, lengths: []uint32{1}})
	object, ref = p.finish()
	return object, p, ref
}

func sampleManifest(t testing.TB) (object, body []byte) {
	t.Helper()
	_, _, ref := samplePack(t)
	m := &manifest{version: NewestManifest, ManifestHeader: ManifestHeader{Cipher: CipherAESGCM, Generation: 1, Source: testSource, Snapshot: snap1, Chunking: defaultChunking, Packs: []PackRef{ref}}}
	b := manifestBody{chunks: 3, streams: []bodyStream{{
		StreamInfo: StreamInfo{StreamMeta: StreamMeta{Name: "a", Kind: "database", Database: "d", Format: "f"}, Size: 6, Contents: Contents{Common: []engine.Section{{Offset: 0, Length: 1}, {Offset: 5, Length: 1}}, Objects: []engine.Object{{Kind: "table", Name: "t", Rows: -1, Sections: []engine.Section{{Offset: 1, Length: 2}}}}, Notes: []string{"n"}}},
		chunks:     3, runs: []packRun{{0, 0, 2}, {0, 2, 1}}, groups: []uint32{6},
	}}}
	body = b.append(nil, NewestManifest)
	object, _, err := m.seal(testKey, body)
	if err != nil {
		t.Fatal(err)
	}
	return object, body
}

func FuzzPackTail(f *testing.F) {
	object, p, ref := samplePack(f)
	f.Add(object[len(object)-int(ref.Tail):], p.index, ref.Size)
	f.Fuzz(func(t *testing.T, tail, index []byte, size int64) {
		r := PackRef{ID: ref.ID, Size: size, Tail: int64(len(tail))}
		_, _ = openTail(testKey, CipherAESGCM, r, tail)
		offset, frames, err := parseTrailer(r, tail)
		if err != nil {
			return
		}
		x, err := parseIndex(index, offset, frames)
		if err != nil {
			return
		}
		// An index that is accepted is whole: every chunk lies in a frame, every frame in the pack.
		for i := range x.ids {
			from, to := x.bounds(uint32(i))
			fr := x.frames[x.frameOf(uint32(i))]
			if from >= to || to > fr.raw || fr.offset < packHeaderSize || fr.offset+int64(fr.size) > offset {
				t.Fatalf("chunk %d is at %d–%d of frame %+v", i, from, to, fr)
			}
		}
	})
}

func FuzzPackIndex(f *testing.F) {
	_, p, ref := samplePack(f)
	f.Add(p.index, ref.Size-ref.Tail, 2)
	f.Fuzz(func(t *testing.T, index []byte, offset int64, frames int) {
		x, err := parseIndex(index, offset, max(0, frames))
		if err == nil && len(x.ids) != len(x.ends) {
			t.Error("chunks without ends")
		}
	})
}

func FuzzFrame(f *testing.F) {
	object, p, _ := samplePack(f)
	f.Add(object[packHeaderSize:packHeaderSize+frameHeaderSize+5+sealOverhead], []byte("plain"), byte(codecRaw), 5)
	_, zipped, _, _ := compressDefault.compress(nil, bytes.Repeat([]byte("again "), 100))
	f.Add([]byte("BF\x01\x00"), bytes.Clone(zipped), byte(codecZstd), 600)
	_, zipped, _, _ = compressFast.compress(nil, bytes.Repeat([]byte("again "), 100))
	f.Add([]byte{}, zipped, byte(codecSnappy), 600)
	f.Fuzz(func(t *testing.T, frame, stored []byte, codec byte, raw int) {
		if _, err := openFrame(bytes.Clone(frame), p.seal, p.id, 0, 5, nil, noDictionaries); err == nil && !bytes.HasPrefix(object[packHeaderSize:], frame) {
			t.Error("a frame that was never sealed opens")
		}
		raw = min(max(1, raw), maxFrameRaw)
		// What somebody with the key could have sealed.
		sealed := appendFrame(nil, p.seal, p.id, 7, codec, raw, stored)
		out, err := openFrame(sealed, p.seal, p.id, 7, raw, nil, noDictionaries)
		if err == nil && len(out) != raw {
			t.Errorf("%d bytes, not %d", len(out), raw)
		}
		if out, err := decompressLarge(codec, stored, int64(raw)); err == nil && codec == codecZstd && len(out) != raw {
			t.Errorf("%d bytes, not %d", len(out), raw)
		}
	})
}

func FuzzManifestHeader(f *testing.F) {
	object, _ := sampleManifest(f)
	f.Add(object)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, header, _, err := readManifestHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := m.appendHeader(nil, int64(le.Uint64(b[24:]))); !bytes.Equal(again, header) || !bytes.HasPrefix(b, header) {
			t.Error("a header that we would not have written")
		}
		for _, p := range m.Packs {
			if _, err := ParseName(PackName(m.Source, p.ID)); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzManifestBody(f *testing.F) {
	_, body := sampleManifest(f)
	f.Add(body, byte(NewestManifest), 1)
	m, err := parseManifestBody(body, NewestManifest, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.append(nil, PlainManifest), byte(PlainManifest), 1)
	f.Fuzz(func(t *testing.T, b []byte, version byte, packs int) {
		m, err := parseManifestBody(b, version, packs)
		if err != nil {
			return
		}
		if again := m.append(nil, version); !bytes.Equal(again, b) {
			t.Error("a body that we would not have written")
		}
		for _, s := range m.streams {
			if strings.ContainsAny(s.Name, "/\\\x00") || s.Name == ".." {
				t.Errorf("stream %q", s.Name)
			}
		}
	})
}

// With the key in his hands an agent can seal what he likes. It may be refused,
// it must not break anything.
func FuzzHostileManifest(f *testing.F) {
	_, body := sampleManifest(f)
	f.Add(body)
	pack, _, ref := samplePack(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		m := &manifest{version: NewestManifest, ManifestHeader: ManifestHeader{Cipher: CipherAESGCM, Generation: 1, Source: testSource, Snapshot: snap1, Packs: []PackRef{ref}}}
		object, _, err := m.seal(testKey, body)
		if err != nil {
			t.Fatal(err)
		}
		objects := objectMap{ManifestName(testSource, snap1): object, PackName(testSource, ref.ID): pack}
		_, _ = readAll(t.Context(), objects, testKey, Ref{Source: testSource, Snapshot: snap1})
	})
}

func FuzzParseName(f *testing.F) {
	for _, n := range []string{PackName(testSource, strings.Repeat("0", 32)), ManifestName("a", snap1), LedgerName(1), FormatName, DescriptionName, "ledger/x", "sources/../packs/00/" + strings.Repeat("0", 32)} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		o, err := ParseName(name)
		if err != nil {
			return
		}
		if store.CheckName(name) != nil {
			t.Errorf("%q is no name for a store", name)
		}
		if o.name() != name {
			t.Errorf("%q is understood as %q", name, o.name())
		}
	})
}

// plainCut is FastCDC as FORMAT.md describes it, one byte at a time.
func plainCut(k *chunker, t *tier, p []byte) int {
	n := min(len(p), t.max)
	fp := uint64(0)
	for i := t.min; i < n; i++ {
		fp = fp<<1 + k.gear[p[i]]
		m := t.early
		if i >= t.avg {
			m = t.late
		}
		if fp&m == 0 {
			return i + 1
		}
	}
	return n
}

// Where chunks end depends on the bytes alone, not on how they come; and all are within the limits.
func FuzzChunker(f *testing.F) {
	f.Add([]byte("seed"), uint16(1), uint32(100_000))
	f.Add([]byte{0}, uint16(4095), uint32(70_000))
	f.Add(text(1, 300), uint16(33), uint32(200_001))
	c, err := newChunker(testKey, defaultChunking)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, seed []byte, write uint16, size uint32) {
		if len(seed) == 0 {
			return
		}
		// Stretch the seed, never quite repeating it.
		data := make([]byte, size%(1<<18))
		for i := range data {
			data[i] = seed[i%len(seed)] ^ byte(i/len(seed)*(1+i%3))
		}
		var want []int
		for p := data; len(p) > 0; {
			n := plainCut(c, &c.tiers[0], p)
			if got := c.cut(&c.tiers[0], p); got != n {
				t.Fatalf("cut at %d, plainly at %d", got, n)
			}
			if n > c.tiers[0].max || n <= c.tiers[0].min && n < len(p) {
				t.Fatalf("a chunk of %d bytes", n)
			}
			want, p = append(want, n), p[n:]
		}
		w, err := NewWriter(t.Context(), options(snap1, nil), nowhere{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		sw, _ := w.Stream(StreamMeta{Name: "a"})
		var lengths []uint32
		for p := range slices.Chunk(data, int(write)%9000+1) {
			if _, err := sw.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sw.Close(Contents{}); err != nil {
			t.Fatal(err)
		}
		if w.frame != nil {
			lengths = w.frame.lengths
		}
		if w.merkle.count != int64(len(want)) {
			t.Errorf("%d chunks, want %d", w.merkle.count, len(want))
		}
		if len(lengths) == len(want) { // no chunk came twice
			for i := range want {
				if int(lengths[i]) != want[i] {
					t.Fatalf("chunk %d has %d bytes, want %d", i, lengths[i], want[i])
				}
			}
		}
	})
}
