package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// metered counts the bytes that are read of each object.
type metered struct {
	ObjectReader
	mu    sync.Mutex
	bytes map[string]int64
}

func meter(objects ObjectReader) *metered {
	return &metered{ObjectReader: objects, bytes: map[string]int64{}}
}

func (m *metered) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	rc, err := m.ObjectReader.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{meteredReader{rc, m, name}, rc}, nil
}

type meteredReader struct {
	io.Reader
	m    *metered
	name string
}

func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.bytes[r.name] += int64(n)
	return n, err
}

// weeks makes days of a source with two streams, the last of them without a
// change, and gives all of its snapshots, oldest first.
func weeks(t testing.TB, st *mem.Store, edit string, size, days int) []*Snapshot {
	t.Helper()
	var refs []Ref
	r := rand.New(rand.NewPCG(7, 9))
	a, b := table(r, size), table(r, size/4)
	for day := range days {
		o := options(fmt.Sprintf("01J%023d", day+1), loadBase(t, st, refs...))
		o.Near = st
		sum := backup(t, storeSink{st}, o, stream{"empty", nil}, stream{"a", slices.Concat(a...)}, stream{"b", slices.Concat(b...)})
		refs = append([]Ref{ref(o.Snapshot, sum)}, refs...)
		if day < days-2 {
			a, b = edits[edit](r, a), edits[edit](r, b)
		}
	}
	slices.Reverse(refs)
	return openAll(t, st, refs...)
}

func openAll(t testing.TB, objects ObjectReader, refs ...Ref) (all []*Snapshot) {
	t.Helper()
	for _, r := range refs {
		s, err := OpenSnapshot(t.Context(), objects, testKey, r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// from makes snapshots read from elsewhere.
func from(objects ObjectReader, all []*Snapshot) (others []*Snapshot) {
	for _, s := range all {
		o := *s
		o.objects = objects
		others = append(others, &o)
	}
	return others
}

// Snapshots that are verified together are found to be what each of them is by
// itself, and what they share is read once.
func TestVerifyAll(t *testing.T) {
	t.Parallel()
	for _, edit := range []string{"uniform", "local", "reorder", "truncate"} {
		t.Run(edit, func(t *testing.T) {
			t.Parallel()
			st := mem.New()
			all := weeks(t, st, edit, 4<<20, 5)
			packs := map[string]int64{}
			for _, s := range all {
				report, err := s.Verify(t.Context(), nil)
				if want := s.report(); err != nil || report != want || report.RawBytes < 3<<20 {
					t.Fatalf("%+v, want %+v; %v", report, want, err)
				}
				for _, p := range s.header.Packs {
					packs[PackName(testSource, p.ID)] = p.Size + p.Tail
				}
			}
			m := meter(st)
			var last, total int64
			for i, v := range VerifyAll(t.Context(), from(m, all), func(d, n int64) {
				if d < last || d > n {
					t.Errorf("%d of %d bytes after %d", d, n, last)
				}
				last, total = d, n
			}) {
				if v.Err != nil || v.Report != all[i].report() {
					t.Errorf("snapshot %d: %+v", i, v)
				}
			}
			if last != total || total == 0 {
				t.Errorf("%d of %d bytes at the end", last, total)
			}
			if edit == "reorder" { // then some lies where it is not expected
				return
			}
			read, want := int64(0), int64(0)
			for name, n := range packs {
				want += n
				read += m.bytes[name]
			}
			if read > want+want/10 {
				t.Errorf("%d bytes of %d packs of %d were read: %v", read, len(packs), want, m.bytes)
			}
		})
	}
}

// What is damaged is found in the snapshots that need it, and in no other.
func TestVerifyAllTellsWhoIsDamaged(t *testing.T) {
	t.Parallel()
	st := mem.New()
	all := weeks(t, st, "uniform", 2<<20, 4)
	users := map[string][]int{}
	for i, s := range all {
		for _, p := range s.header.Packs {
			users[p.ID] = append(users[p.ID], i)
		}
	}
	if len(users) < 3 {
		t.Fatalf("%d packs", len(users))
	}
	for id, who := range users {
		name := PackName(testSource, id)
		for what, change := range map[string]func([]byte) []byte{
			"gone":    func([]byte) []byte { return nil },
			"cut":     func(b []byte) []byte { return b[:len(b)-1] },
			"longer":  func(b []byte) []byte { return append(b, 0) },
			"flipped": func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
			"header":  func(b []byte) []byte { b[20] ^= 1; return b }, // no frame, no index
		} {
			damaged := memOf(t, objectsOf(t, st))
			damaged.Change(name, change)
			for i, v := range VerifyAll(t.Context(), from(damaged, all), nil) {
				if got, want := problem.CodeOf(v.Err) == problem.Corrupt, slices.Contains(who, i); got != want || v.Err != nil && !got {
					t.Errorf("pack %s (%s, of %v): snapshot %d: %v", id, what, who, i, v.Err)
				}
				if missing := problem.ReasonOf(v.Err) == ReasonMissingObject; v.Err != nil && missing != (what == "gone") {
					t.Errorf("pack %s (%s): %v", id, what, v.Err)
				}
			}
		}
	}
}

func objectsOf(t testing.TB, st *mem.Store) objectMap {
	t.Helper()
	m := objectMap{}
	err := st.List(t.Context(), "", func(i store.Info) error {
		b, err := readObject(t.Context(), st, testSource, i.Name, 0, -1, 1<<30)
		m[i.Name] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The manifests are held against what is there: each by itself, even where
// another says the same.
func TestVerifyAllDoesNotTrustTwins(t *testing.T) {
	t.Parallel()
	st := mem.New()
	all := weeks(t, st, "uniform", 1<<20, 3) // the last two are alike
	if !all[2].twin(all[1]) || all[1].twin(all[0]) {
		t.Fatal("wrong twins")
	}
	lie := func(change func(s *Snapshot)) *Snapshot {
		s, body := *all[2], *all[2].body
		body.streams = slices.Clone(body.streams)
		s.body, s.header.Packs = &body, slices.Clone(s.header.Packs)
		change(&s)
		return &s
	}
	for what, change := range map[string]func(s *Snapshot){
		"root":        func(s *Snapshot) { s.body.root[3] ^= 1 },
		"stream hash": func(s *Snapshot) { s.body.streams[2].SHA256[3] ^= 1 },
		"stream size": func(s *Snapshot) { s.body.streams[1].Size++ },
		"chunks":      func(s *Snapshot) { s.body.streams[1].runs = s.body.streams[1].runs[1:] },
		"pack hash":   func(s *Snapshot) { s.header.Packs[0].SHA256[3] ^= 1 },
		"pack size":   func(s *Snapshot) { s.header.Packs[0].Size++ },
	} {
		liar := lie(change)
		found := VerifyAll(t.Context(), []*Snapshot{all[0], all[1], liar, all[2], liar}, nil)
		for i, v := range found {
			if wrong := i == 2 || i == 4; wrong != (problem.CodeOf(v.Err) == problem.Corrupt) || !wrong && v.Err != nil {
				t.Errorf("%s: snapshot %d: %v", what, i, v.Err)
			}
		}
	}
	if v := VerifyAll(t.Context(), []*Snapshot{all[1], all[2]}, nil); v[0].Err != nil || v[1].Err != nil || v[0].Report != v[1].Report {
		t.Errorf("twins: %+v", v)
	}
	both := faulty.Wrap(st, faulty.Fault{Op: faulty.Get, Kind: faulty.Flip, Name: "packs", Offset: 50})
	for _, v := range VerifyAll(t.Context(), from(both, all[1:]), nil) {
		if problem.CodeOf(v.Err) != problem.Corrupt {
			t.Errorf("damaged twins: %v", v.Err)
		}
	}
}

// described makes a snapshot of one stream by hand.
func (h *handmade) described(id string, packs []PackRef, runs ...packRun) *Snapshot {
	h.t.Helper()
	s := &Snapshot{objects: h.st, key: testKey, body: &manifestBody{}, header: ManifestHeader{Source: testSource, Snapshot: id, Cipher: CipherAESGCM, Packs: packs}}
	all := &Snapshot{objects: h.st, key: testKey, header: ManifestHeader{Source: testSource, Cipher: CipherAESGCM, Packs: h.ref}}
	r, ids := all.reader(h.t.Context()), s.packIDs()
	var tree merkle
	var raw []byte
	b := bodyStream{StreamInfo: StreamInfo{StreamMeta: StreamMeta{Name: "a"}}, runs: runs}
	for _, run := range runs {
		b.chunks += int64(run.count)
		for n := run.first; n < run.first+run.count; n++ {
			chunk, err := r.chunks(ids[run.pack], n, 1, nil)
			if err != nil {
				h.t.Fatal(err)
			}
			raw = append(raw, chunk...)
			tree.add(newHasher(testKey).id(chunk), len(chunk))
		}
	}
	b.Size, b.SHA256 = int64(len(raw)), ledger.Hash(hashOf(raw))
	s.body.streams, s.body.chunks, s.body.root = []bodyStream{b}, b.chunks, tree.root()
	return s
}

// A snapshot whose list lacks a pack that its dictionaries lie in cannot be
// restored, whatever the lists of others have.
func TestVerifyAllKeepsListsApart(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	chain(h, 3)
	whole := h.described(snap1, h.ref, packRun{3, 0, 1}, packRun{1, 0, 1}, packRun{0, 0, 1})
	for lacks := range 3 {
		refs := slices.Delete(slices.Clone(h.ref), lacks, lacks+1)
		poor := h.described(snap2, refs, packRun{2, 0, 1})
		for i := range 2 {
			order := []*Snapshot{whole, poor}
			if i == 1 {
				slices.Reverse(order)
			}
			v := VerifyAll(t.Context(), order, nil)
			if v[i].Err != nil || problem.CodeOf(v[1-i].Err) != problem.Corrupt {
				t.Errorf("without pack %d: %v; %v", lacks, v[i].Err, v[1-i].Err)
			}
		}
		if _, err := poor.Verify(t.Context(), nil); problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("without pack %d, by itself: %v", lacks, err)
		}
	}
}

// Chunks are found wherever the streams want them: against the order of the packs,
// in more packs than are read at a time, many times over.
func TestVerifyInAnyOrder(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	const packs, frames = maxPasses + 4, 5
	for p := range packs {
		h.start(byte(p + 1))
		for f := range frames {
			h.plain(fmt.Appendf(nil, "pack %d, frame %d", p, f))
		}
		h.finish()
	}
	var back, across, again []packRun
	for i := range packs * frames {
		back = append(back, packRun{uint32(packs - 1 - i/frames), uint32(frames - 1 - i%frames), 1})
		across = append(across, packRun{uint32(i % packs), uint32(i / packs), 1})
		again = append(again, packRun{uint32(i % 3), uint32(i % 2), uint32(1 + i%4)})
	}
	last := []packRun{{packs - 1, frames - 1, 1}} // all but one pack is not needed at all
	all := []*Snapshot{}
	for i, runs := range [][]packRun{back, across, again, last} {
		s := h.described(fmt.Sprintf("01J%023d", i), h.ref, runs...)
		if _, err := s.Verify(t.Context(), nil); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
		all = append(all, s)
	}
	for i, v := range VerifyAll(t.Context(), all, nil) {
		if v.Err != nil {
			t.Errorf("together, order %d: %v", i, v.Err)
		}
	}
	for _, ref := range h.ref {
		name := PackName(testSource, ref.ID)
		good := h.st[name]
		h.st[name] = flipped(good, len(good)/2)
		for i, v := range VerifyAll(t.Context(), all, nil) {
			if problem.CodeOf(v.Err) != problem.Corrupt {
				t.Errorf("pack %s damaged, order %d: %v", ref.ID, i, v.Err)
			}
		}
		h.st[name] = good
	}
}

func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

// A store that fails once in a while is not taken for a damaged one.
func TestVerifyAsksAgain(t *testing.T) {
	t.Parallel()
	st := mem.New()
	all := weeks(t, st, "uniform", 2<<20, 3)
	calls := faulty.Wrap(st)
	VerifyAll(t.Context(), from(calls, all), nil)
	for nth := 1; nth <= len(calls.Calls()); nth++ {
		for _, kind := range []faulty.Kind{faulty.Fail, faulty.Broken} {
			for i, v := range VerifyAll(t.Context(), from(faulty.Wrap(st, faulty.Fault{Op: faulty.Get, Kind: kind, Nth: nth}), all), nil) {
				if v.Err != nil && !errors.Is(v.Err, faulty.ErrFault) {
					t.Errorf("request %d, %s, snapshot %d: %v", nth, kind, i, v.Err)
				}
			}
		}
	}
	for i, v := range VerifyAll(t.Context(), from(faulty.Wrap(st, faulty.Fault{Op: faulty.Get, Kind: faulty.Fail, Name: "packs"}), all), nil) {
		if !errors.Is(v.Err, faulty.ErrFault) || problem.CodeOf(v.Err) == problem.Corrupt {
			t.Errorf("no answer, snapshot %d: %v", i, v.Err)
		}
	}
}

// Whenever the caller loses patience, the answer is that, and no goroutine is left.
func TestVerifyEndsWithItsContext(t *testing.T) {
	st := mem.New()
	all := weeks(t, st, "uniform", 2<<20, 3)
	calls := faulty.Wrap(st)
	VerifyAll(t.Context(), from(calls, all), nil)
	before := runtime.NumGoroutine()
	for nth := 1; nth <= len(calls.Calls()); nth++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		hang := faulty.Fault{Op: faulty.Get, Kind: faulty.Hang, Nth: nth, Gate: func(context.Context, faulty.Op, string) error { cancel(enough); return nil }}
		for i, v := range VerifyAll(ctx, from(faulty.Wrap(st, hang), all), nil) {
			if ctx.Err() != nil && !errors.Is(v.Err, enough) {
				t.Errorf("request %d, snapshot %d: %v", nth, i, v.Err)
			}
		}
		cancel(nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	VerifyAll(ctx, all, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for runtime.NumGoroutine() > before+1 && ctx.Err() == nil { // the one more may be of ctx
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}
