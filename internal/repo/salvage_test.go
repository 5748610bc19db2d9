package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// history makes snapshots of days, each upon the one before, and gives the last
// and what is in it.
func history(t testing.TB, st *mem.Store, edit string, size, days int) (*Snapshot, []byte) {
	t.Helper()
	var refs []Ref
	var data []byte
	r := rand.New(rand.NewPCG(7, 7))
	a := table(r, size)
	for day := range days {
		data = slices.Concat(a...)
		o := options(fmt.Sprintf("01J%023d", day+1), loadBase(t, st, refs...))
		o.Near = st
		refs = append([]Ref{ref(o.Snapshot, backup(t, storeSink{st}, o, stream{"a", data}))}, refs...)
		a = edits[edit](r, a)
	}
	s, err := OpenSnapshot(t.Context(), st, testKey, refs[0])
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

// anatomy is what a snapshot is made of, found out from an intact store.
type anatomy struct {
	indexes map[packID]*packIndex
	needs   map[frameKey][]frameKey // frames that the dictionary of one lies in
}

func dissect(t testing.TB, s *Snapshot) anatomy {
	t.Helper()
	a := anatomy{map[packID]*packIndex{}, map[frameKey][]frameKey{}}
	r := s.reader(t.Context())
	for _, id := range s.packIDs() {
		x, err := r.index(id)
		if err != nil {
			t.Fatal(err)
		}
		a.indexes[id] = x
	}
	for id, x := range a.indexes {
		for n, f := range x.frames {
			b, err := readObject(t.Context(), s.objects, testSource, PackName(testSource, id.String()), f.offset, int64(f.size), 0)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = openFrame(b, x.seal, id, uint32(n), int(f.raw), nil, func(d dictionary) ([]byte, error) {
				for _, run := range d.runs {
					y := a.indexes[d.packs[run.pack]]
					for k := y.frameOf(run.first); k <= y.frameOf(run.first+run.count-1); k++ {
						a.needs[frameKey{id, n}] = append(a.needs[frameKey{id, n}], frameKey{y.id, k})
					}
				}
				return nil, errors.New("not wanted")
			})
		}
	}
	return a
}

// spoiled says whether a frame, or one that it needs, cannot be had.
func (a anatomy) spoiled(k frameKey, frames map[frameKey]bool, packs map[packID]bool) bool {
	if frames[k] || packs[k.pack] {
		return true
	}
	return slices.ContainsFunc(a.needs[k], func(n frameKey) bool { return a.spoiled(n, frames, packs) })
}

// What is salvaged of a damaged store is what can be, and the report tells the rest.
func TestSalvageAgainstAModel(t *testing.T) {
	t.Parallel()
	st := mem.New()
	s, data := history(t, st, "uniform", 3<<20, 5)
	a := dissect(t, s)
	ids := s.packIDs()
	type chunk struct {
		frame    frameKey
		from, to int
	}
	var chunks []chunk
	at := 0
	for _, run := range s.body.streams[0].runs {
		x := a.indexes[ids[run.pack]]
		for n := run.first; n < run.first+run.count; n++ {
			from, to := x.bounds(n)
			chunks = append(chunks, chunk{frameKey{x.id, x.frameOf(n)}, at, at + int(to-from)})
			at += int(to - from)
		}
	}
	var all []frameKey
	for id, x := range a.indexes {
		for n := range x.frames {
			all = append(all, frameKey{id, n})
		}
	}
	slices.SortFunc(all, func(a, b frameKey) int {
		return strings.Compare(fmt.Sprint(a.pack, a.frame), fmt.Sprint(b.pack, b.frame))
	})
	r := rand.New(rand.NewPCG(3, 3))
	deep, blind := 0, 0
	for round := range 30 {
		frames, packs := map[frameKey]bool{}, map[packID]bool{}
		broken := &overlay{ObjectReader: st, changed: map[string][]byte{}}
		for range r.IntN(4) {
			k := all[r.IntN(len(all))]
			f := a.indexes[k.pack].frames[k.frame]
			broken.flip(t, PackName(testSource, k.pack.String()), f.offset+r.Int64N(int64(f.size)))
			frames[k] = true
		}
		if round%3 == 2 {
			p := s.header.Packs[r.IntN(len(ids))]
			id, _ := parsePackID(p.ID)
			packs[id] = true
			if r.IntN(2) == 0 {
				broken.changed[PackName(testSource, p.ID)] = nil
			} else {
				broken.flip(t, PackName(testSource, p.ID), p.Size-p.Tail+r.Int64N(p.Tail-packTrailerSize))
			}
		}
		hurt, err := OpenSnapshot(t.Context(), broken, testKey, Ref{Source: testSource, Snapshot: s.header.Snapshot})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		report, err := hurt.Salvage(t.Context(), "a", &out)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		var lost []LostRange
		for _, c := range chunks {
			if !a.spoiled(c.frame, frames, packs) {
				want = append(want, data[c.from:c.to]...)
				continue
			}
			if n := len(lost); n == 0 || lost[n-1].Offset+lost[n-1].Length != int64(c.from) {
				lost = append(lost, LostRange{Offset: int64(c.from), At: int64(len(want))})
			}
			lost[len(lost)-1].Length += int64(c.to - c.from)
			lost[len(lost)-1].Chunks++
			if !frames[c.frame] && !packs[c.frame.pack] {
				deep++
			}
		}
		if !bytes.Equal(out.Bytes(), want) || report.Written != int64(len(want)) || report.Whole != (len(lost) == 0) || report.Size != int64(len(data)) {
			t.Fatalf("round %d: salvaged %d bytes, want %d; %+v", round, out.Len(), len(want), report)
		}
		sum := int64(0)
		for _, d := range report.Damage {
			sum += d.Chunks
		}
		for i, l := range report.Lost {
			if i >= len(lost) || l.Chunks != lost[i].Chunks || l.At != lost[i].At ||
				l.Offset >= 0 && l.Offset != lost[i].Offset || l.Length >= 0 && l.Length != lost[i].Length || len(packs) == 0 && (l.Offset < 0 || l.Length < 0) {
				t.Fatalf("round %d: lost %+v, want %+v", round, report.Lost, lost)
			}
			sum -= l.Chunks
			if l.Length < 0 {
				blind++
			}
		}
		if len(report.Lost) != len(lost) || sum != 0 {
			t.Fatalf("round %d: lost %+v, want %+v; %+v", round, report.Lost, lost, report.Damage)
		}
		for _, d := range report.Damage {
			o, err := ParseName(d.Object)
			if err != nil || d.Reason == "" {
				t.Errorf("%+v", d)
			}
			id, _ := parsePackID(o.ID)
			if !packs[id] && !slices.ContainsFunc(all, func(k frameKey) bool { return frames[k] && k.pack == id }) {
				t.Errorf("round %d: %+v is to blame, and is intact", round, d)
			}
		}
	}
	if deep == 0 || blind == 0 {
		t.Errorf("%d chunks were lost for their dictionaries, %d ranges of unknown length: not tested", deep, blind)
	}
}

// overlay is a store with some objects changed.
type overlay struct {
	ObjectReader
	changed map[string][]byte // nil: gone
}

func (o *overlay) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	b, ok := o.changed[name]
	if !ok {
		return o.ObjectReader.Get(ctx, name, offset, length)
	}
	objects := objectMap{}
	if b != nil {
		objects[name] = b
	}
	return objects.Get(ctx, name, offset, length)
}

func (o *overlay) flip(t testing.TB, name string, at int64) {
	t.Helper()
	b, ok := o.changed[name]
	if !ok {
		var err error
		if b, err = readObject(t.Context(), o.ObjectReader, "", name, 0, -1, maxPack); err != nil {
			t.Fatal(err)
		}
	}
	if b != nil {
		b[at] ^= 0x40
		o.changed[name] = b
	}
}

func TestSalvageOfWhatIsWhole(t *testing.T) {
	st := mem.New()
	data := stream{"a", text(1, 3<<20)}
	r := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), data, stream{"none", nil}))
	s, err := OpenSnapshot(t.Context(), st, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	report, err := s.Salvage(t.Context(), "a", &out)
	if err != nil || !bytes.Equal(out.Bytes(), data.data) || !report.Whole || len(report.Lost)+len(report.Damage) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if report, err := s.Salvage(t.Context(), "none", &out); err != nil || !report.Whole {
		t.Errorf("an empty stream: %+v, %v", report, err)
	}
	if _, err := s.Salvage(t.Context(), "b", &out); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("a stream that is not there: %v", err)
	}
	s.body.streams[0].SHA256[0] ^= 1
	if report, err := s.Salvage(t.Context(), "a", io.Discard); err != nil || report.Whole || len(report.Lost) > 0 {
		t.Errorf("chunks of another stream: %+v, %v", report, err)
	}
	// A store that does not answer has lost nothing.
	s.objects = faulty.Wrap(st, faulty.Fault{Op: faulty.Get, Kind: faulty.Fail})
	if report, err := s.Salvage(t.Context(), "a", io.Discard); !errors.Is(err, faulty.ErrFault) || len(report.Lost) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
	s.objects = st
	if _, err := s.Salvage(t.Context(), "a", refusing{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A frame may open and hold other chunks than the index says: whoever has the key
// can write that.
func TestChunksWithoutTheirIDs(t *testing.T) {
	pack, _, ref := samplePack(t)
	m, _ := sampleManifest(t)
	objects := objectMap{ManifestName(testSource, snap1): m, PackName(testSource, ref.ID): pack}
	n, err := readAll(t.Context(), objects, testKey, Ref{Source: testSource, Snapshot: snap1})
	if problem.CodeOf(err) != problem.Corrupt || n > 0 || !strings.Contains(err.Error(), "does not have its id") {
		t.Errorf("read %d bytes, %v", n, err)
	}
	s, err := OpenSnapshot(t.Context(), objects, testKey, Ref{Source: testSource, Snapshot: snap1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(t.Context(), nil); problem.CodeOf(err) != problem.Corrupt || !strings.Contains(err.Error(), "does not have its id") {
		t.Errorf("verify: %v", err)
	}
	report, err := s.Salvage(t.Context(), "a", io.Discard)
	if err != nil || report.Written > 0 || len(report.Lost) != 1 || report.Lost[0] != (LostRange{Length: 6, Chunks: 3}) {
		t.Errorf("%+v, %v", report, err)
	}
}
