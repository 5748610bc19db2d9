package repo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// handmade is a pack put together by a test: whatever whoever has the key may write.
type handmade struct {
	t   testing.TB
	st  objectMap
	p   packBuilder
	ref []PackRef
}

func byHand(t testing.TB) *handmade { return &handmade{t: t, st: objectMap{}} }

// start begins the pack whose id is n over and over.
func (h *handmade) start(n byte) packID {
	h.t.Helper()
	h.p = packBuilder{limit: 1 << 20}
	if err := h.p.start(testKey, CipherAESGCM, bytes.NewReader(bytes.Repeat([]byte{n}, packIDSize))); err != nil {
		h.t.Fatal(err)
	}
	return h.p.id
}

func (h *handmade) finish() {
	object, ref := h.p.finish()
	h.st[PackName(testSource, ref.ID)] = bytes.Clone(object)
	h.ref = append(h.ref, ref)
}

// plain adds a frame of one chunk.
func (h *handmade) plain(raw []byte) {
	h.p.add(packedFrame{codec: codecRaw, raw: len(raw), stored: raw, ids: []chunkID{newHasher(testKey).id(raw)}, lengths: []uint32{uint32(len(raw))}})
}

// delta adds a frame of one chunk, compressed against dict, of which it says d.
// The index tells of the depth and of packs.
func (h *handmade) delta(raw, dict []byte, d dictionary, depth int, packs ...packID) {
	h.t.Helper()
	stored, err := compressDefault.compressDelta(d.append(nil), raw, dict)
	if err != nil {
		h.t.Fatal(err)
	}
	h.p.add(packedFrame{codec: codecDictionary, raw: len(raw), stored: stored, ids: []chunkID{newHasher(testKey).id(raw)}, lengths: []uint32{uint32(len(raw))}, depth: depth, packs: packs})
}

func (h *handmade) reader() *frameReader {
	return newFrameReader(h.t.Context(), h.st, testKey, CipherAESGCM, testSource, h.ref, restoreMemory)
}

// in is a dictionary of one chunk of a pack.
func in(pack packID, chunk uint32) dictionary {
	return dictionary{packs: []packID{pack}, runs: []packRun{{0, chunk, 1}}}
}

// chain makes packs of one frame each, every one compressed against the one
// before, and gives what is in the last.
func chain(h *handmade, links int) (last packID, raw []byte) {
	raw = text(1, 20_000)
	last = h.start(1)
	h.plain(raw)
	h.finish()
	for i := range links {
		next := bytes.Clone(raw)
		copy(next[i*100:], fmt.Sprintf("link %d", i))
		id := h.start(byte(2 + i))
		h.delta(next, raw, in(last, 0), i+1, last)
		h.finish()
		last, raw = id, next
	}
	return last, raw
}

func TestChainsOfDictionaries(t *testing.T) {
	for links := range maxDepth + 1 {
		h := byHand(t)
		last, want := chain(h, links)
		got, err := h.reader().chunks(last, 0, 1, []byte("before "))
		if err != nil || string(got) != "before "+string(want) {
			t.Errorf("%d links: %d bytes, %v", links, len(got), err)
		}
	}
	h := byHand(t)
	last, _ := chain(h, maxDepth+1)
	if got, err := h.reader().chunks(last, 0, 1, nil); problem.CodeOf(err) != problem.Corrupt || len(got) > 0 {
		t.Errorf("one link too many: %d bytes, %v", len(got), err)
	}
}

// Dictionaries that cannot be are refused, and the pack to blame is named.
func TestDictionariesThatCannotBe(t *testing.T) {
	base := text(1, 20_000)
	raw := append([]byte("new "), base...)
	one, two := packID(bytes.Repeat([]byte{1}, packIDSize)), packID(bytes.Repeat([]byte{2}, packIDSize))
	for name, tc := range map[string]struct {
		make  func(h *handmade)
		blame packID
	}{
		"of itself": {func(h *handmade) { h.delta(raw, base, in(two, 0), 1, two) }, two},
		"of a circle": {func(h *handmade) {
			h.delta(raw, base, in(two, 1), 2, two)
			h.delta(raw, base, in(two, 0), 1, two)
		}, two},
		"as deep as it is":         {func(h *handmade) { h.delta(raw, base, in(two, 1), 1, two); h.delta(raw, base, in(one, 0), 1, one) }, two},
		"in a pack not listed":     {func(h *handmade) { p := packID{9}; h.delta(raw, base, in(p, 0), 1, p) }, two},
		"in other packs":           {func(h *handmade) { h.delta(raw, base, in(one, 0), 1, two) }, two},
		"not in the index":         {func(h *handmade) { h.delta(raw, base, in(one, 0), 0) }, two},
		"of a chunk that is not":   {func(h *handmade) { h.delta(raw, base, in(one, 1), 1, one) }, two},
		"of chunks beyond numbers": {func(h *handmade) { h.delta(raw, base, dictionary{[]packID{one}, []packRun{{0, 1<<32 - 1, 1}}}, 1, one) }, two},
		"too large": {func(h *handmade) {
			d := dictionary{packs: []packID{one}}
			for range maxDictionary/len(base) + 1 {
				d.runs = append(d.runs, packRun{0, 0, 1})
			}
			h.delta(raw, base, d, 1, one)
		}, two},
		"another": {func(h *handmade) { h.delta(raw, text(3, 20_000), in(one, 0), 1, one) }, two},
		"only in the index": {func(h *handmade) {
			h.p.add(packedFrame{codec: codecRaw, raw: 1, stored: []byte("x"), ids: []chunkID{newHasher(testKey).id([]byte("x"))}, lengths: []uint32{1}, depth: 1, packs: []packID{one}})
		}, two},
		"nothing": {func(h *handmade) {
			h.p.add(packedFrame{codec: codecDictionary, raw: 1, ids: []chunkID{{}}, lengths: []uint32{1}, depth: 1, packs: []packID{one}})
		}, two},
	} {
		h := byHand(t)
		h.start(1)
		h.plain(base)
		h.finish()
		h.start(2)
		tc.make(h)
		h.finish()
		r := h.reader()
		for range 2 { // the second time from the cache
			got, err := r.chunks(two, 0, 1, nil)
			if err == nil && name == "another" && !bytes.Equal(got, raw) {
				continue // the id of the chunk tells
			}
			e, ok := errors.AsType[*packError](err)
			if problem.CodeOf(err) != problem.Corrupt || !ok || e.pack != tc.blame || len(got) > 0 {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// A dictionary in a pack that is damaged or gone is that pack's fault.
func TestDamageBelowIsBlamedOnWhatIsDamaged(t *testing.T) {
	for _, gone := range []bool{true, false} {
		h := byHand(t)
		last, _ := chain(h, 3)
		name := PackName(testSource, h.ref[1].ID)
		if gone {
			delete(h.st, name)
		} else {
			h.st[name][packHeaderSize+frameHeaderSize] ^= 1
		}
		_, err := h.reader().chunks(last, 0, 1, nil)
		e, ok := errors.AsType[*packError](err)
		if problem.CodeOf(err) != problem.Corrupt || !ok || e.pack.String() != h.ref[1].ID || !strings.Contains(err.Error(), name) {
			t.Errorf("gone %v: %v", gone, err)
		}
	}
}

// Who has the key can write dictionaries of dictionaries that would take for ever
// to read. There is an end to it.
func TestAnEndToTheWork(t *testing.T) {
	h := byHand(t)
	big := random(1, maxChunk)
	last := h.start(1)
	h.plain(big)
	h.finish()
	const fan = 200
	for depth := 1; depth <= 3; depth++ {
		id := h.start(byte(1 + depth))
		for i := range fan {
			d, dict := dictionary{packs: []packID{last}}, []byte(nil)
			for j := range fan {
				chunk, part := uint32(j), fmt.Appendf(nil, "%d %d", depth-1, j)
				if depth == 1 {
					chunk, part = 0, big
					if j > 0 {
						break
					}
				}
				d.runs, dict = append(d.runs, packRun{0, chunk, 1}), append(dict, part...)
			}
			h.delta(fmt.Appendf(nil, "%d %d", depth, i), dict, d, depth, last)
		}
		h.finish()
		last = id
	}
	c := &counted{ObjectReader: h.st}
	r := newFrameReader(t.Context(), c, testKey, CipherAESGCM, testSource, h.ref, readMemory{frames: 1, indexes: restoreMemory.indexes}) // keeps nothing
	work := int64(8 << 20)
	x, err := r.index(last)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(x, 0, 1, nil, &work, nil); !errors.Is(err, errTooMuchWork) {
		t.Errorf("%d requests, %v", c.gets.Load(), err)
	}
	r = h.reader() // keeps all
	if got, err := r.chunks(last, 0, 1, nil); err != nil || string(got) != "3 0" {
		t.Errorf("%q, %v", got, err)
	}
}

// Every byte of packs with dictionaries is guarded.
func TestEveryFlippedBitOfDictionariesIsSeen(t *testing.T) {
	h := byHand(t)
	last, want := chain(h, 3)
	sum := func(objects ObjectReader) error {
		r := newFrameReader(t.Context(), objects, testKey, CipherAESGCM, testSource, h.ref, restoreMemory)
		got, err := r.chunks(last, 0, 1, nil)
		if err == nil && !bytes.Equal(got, want) {
			return errors.New("other bytes")
		}
		return err
	}
	for _, ref := range h.ref {
		name := PackName(testSource, ref.ID)
		step := int64(1)
		if ref.Size > 4000 {
			step = 11
		}
		for at := int64(packHeaderSize); at < ref.Size; at += step {
			st := faulty.Wrap(memOf(t, h.st), faulty.Fault{Op: faulty.Get, Kind: faulty.Flip, Name: name, Offset: at})
			err := sum(st)
			hash := ref.Size - packTrailerSize + trailerClear // which no reader of chunks looks at
			if unseen := at >= hash && at < hash+32; unseen != (err == nil) || err != nil && (problem.CodeOf(err) != problem.Corrupt || !strings.Contains(err.Error(), name)) {
				t.Errorf("%s, byte %d of %d flipped: %v", name, at, ref.Size, err)
			}
		}
	}
}

func memOf(t testing.TB, m objectMap) *mem.Store {
	st := mem.New()
	for name, b := range m {
		put(t, st, name, b)
	}
	return st
}

// Whenever reading ends, no goroutine is left, and what was handed over is a
// beginning of the dump.
func TestReadersLeaveNothingBehind(t *testing.T) {
	st := mem.New()
	s, data := history(t, st, "uniform", 6<<20, 3)
	before := runtime.NumGoroutine()
	for name, end := range map[string]func(ctx context.Context, cancel func(), rc io.ReadCloser) ([]byte, error){
		"not read": func(context.Context, func(), io.ReadCloser) ([]byte, error) { return nil, nil },
		"a little": func(_ context.Context, _ func(), rc io.ReadCloser) ([]byte, error) {
			b := make([]byte, 10)
			n, err := rc.Read(b)
			return b[:n], err
		},
		"cancelled": func(_ context.Context, cancel func(), rc io.ReadCloser) ([]byte, error) {
			b := make([]byte, 1<<20)
			n, _ := io.ReadFull(rc, b)
			cancel()
			rest, err := io.ReadAll(rc)
			if !errors.Is(err, context.Canceled) {
				return nil, fmt.Errorf("read on: %w", err)
			}
			return append(b[:n], rest...), nil
		},
		"whole": func(_ context.Context, _ func(), rc io.ReadCloser) ([]byte, error) { return io.ReadAll(rc) },
		"written": func(_ context.Context, _ func(), rc io.ReadCloser) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, rc)
			return b.Bytes(), err
		},
		"to one who fails": func(_ context.Context, _ func(), rc io.ReadCloser) ([]byte, error) {
			if _, err := io.Copy(refusing{}, rc); !errors.Is(err, io.ErrClosedPipe) {
				return nil, err
			}
			return nil, nil
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		rc, err := s.Open(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		got, err := end(ctx, cancel, rc)
		if err != nil || !bytes.HasPrefix(data, got) || (name == "whole" || name == "written") && len(got) != len(data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		_ = rc.Close()
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for runtime.NumGoroutine() > before+1 && ctx.Err() == nil { // the one more may be of ctx
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// What cannot be read ends the stream; everything before it is handed over.
func TestReadingUpToDamage(t *testing.T) {
	st := mem.New()
	data := random(1, 9<<20)
	r := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), stream{"a", data}))
	s, err := OpenSnapshot(t.Context(), st, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.reader(t.Context()).index(s.packIDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, f := range x.frames {
		s.objects = faulty.Wrap(st, faulty.Fault{Op: faulty.Get, Kind: faulty.Flip, Name: PackName(testSource, x.id.String()), Offset: f.offset + 100})
		rc, err := s.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if problem.CodeOf(err) != problem.Corrupt || len(got) != at || !bytes.Equal(got, data[:at]) {
			t.Errorf("damage from byte %d on: %d bytes, %v", at, len(got), err)
		}
		_ = rc.Close()
		at += int(f.raw)
	}
}

// cutOff answers some requests as a connection does that ends.
type cutOff struct {
	ObjectReader
	from, to int64
}

func (c cutOff) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if offset >= c.from && offset < c.to {
		return nil, fmt.Errorf("connection to the store: %w", io.EOF)
	}
	return c.ObjectReader.Get(ctx, name, offset, length)
}

// An error that wraps io.EOF is not the end of a dump.
func TestAConnectionThatEndsIsNoEnd(t *testing.T) {
	st := mem.New()
	data := random(1, 9<<20)
	r := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), stream{"a", data}))
	s, err := OpenSnapshot(t.Context(), st, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	p := s.header.Packs[0]
	s.objects = cutOff{st, 5 << 20, p.Size - p.Tail}
	for name, read := range map[string]func(io.Reader) (int64, error){
		"copied": func(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) },
		"read":   func(r io.Reader) (int64, error) { b, err := io.ReadAll(r); return int64(len(b)), err },
	} {
		rc, err := s.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := read(rc); err == nil || n >= int64(len(data)) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		_ = rc.Close()
	}
}

func FuzzDictionary(f *testing.F) {
	f.Add(dictionary{[]packID{{1}, {2}}, []packRun{{0, 1, 2}, {1, 0, 1}}}.append(nil))
	f.Add(binary.AppendUvarint(nil, maxDictionaryPacks+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, rest, err := parseDictionary(b)
		if err != nil {
			return
		}
		if again := append(d.append(nil), rest...); !bytes.Equal(again, b) {
			t.Error("a dictionary that we would not have written")
		}
	})
}

// Whatever whoever has the key seals in a frame of codec 3, reading it ends, with
// the stated number of bytes or without any.
func FuzzFrameWithDictionary(f *testing.F) {
	base := text(1, 5000)
	one := packID(bytes.Repeat([]byte{1}, packIDSize))
	stored, _ := compressDefault.compressDelta(in(one, 0).append(nil), text(1, 4000), base)
	f.Add(bytes.Clone(stored), 4000, 1)
	f.Add(in(packID(bytes.Repeat([]byte{2}, packIDSize)), 0).append(nil), 7, 8)
	f.Fuzz(func(t *testing.T, stored []byte, raw, depth int) {
		h := byHand(t)
		h.start(1)
		h.plain(base)
		h.finish()
		two := h.start(2)
		raw, depth = min(max(1, raw), maxChunk), min(max(1, depth), maxDepth)
		packs := []packID{one}
		if d, _, err := parseDictionary(stored); err == nil {
			packs = d.packs
		}
		h.p.add(packedFrame{codec: codecDictionary, raw: raw, stored: stored, ids: []chunkID{{1}}, lengths: []uint32{uint32(raw)}, depth: depth, packs: packs})
		h.finish()
		got, err := h.reader().chunks(two, 0, 1, nil)
		if err == nil && len(got) != raw || err != nil && problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("%d bytes, want %d; %v", len(got), raw, err)
		}
	})
}
