package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// row is a line of a table, made of a few random numbers.
func row(r *rand.Rand, id int) []byte {
	return fmt.Appendf(nil, "%d\t%d\t%d\tcustomer %d\t2026-%02d-%02d 10:%02d:%02d\t{\"state\": \"%s\", \"amount\": %d, \"ref\": \"%08x\"}\n",
		id, 1+id/1000, r.IntN(20_000)-10_000, r.IntN(5000), 1+r.IntN(12), 1+r.IntN(28), r.IntN(60), r.IntN(60), []string{"open", "paid", "sent"}[r.IntN(3)], r.IntN(1000), r.Uint32())
}

func table(r *rand.Rand, size int) (rows [][]byte) {
	for n := 0; n < size; {
		rows = append(rows, row(r, len(rows)))
		n += len(rows[len(rows)-1])
	}
	return rows
}

// edits are what a day does to a table.
var edits = map[string]func(*rand.Rand, [][]byte) [][]byte{
	"uniform": func(r *rand.Rand, t [][]byte) [][]byte {
		for range len(t) / 200 {
			i := r.IntN(len(t))
			t[i] = row(r, i)
		}
		return t
	},
	"local": func(r *rand.Rand, t [][]byte) [][]byte {
		at := r.IntN(len(t))
		for i := at; i < min(len(t), at+len(t)/100); i++ {
			t[i] = row(r, i)
		}
		return t
	},
	"append":   func(r *rand.Rand, t [][]byte) [][]byte { return append(t, table(r, 100<<10)...) },
	"truncate": func(r *rand.Rand, t [][]byte) [][]byte { return t[:len(t)-len(t)/10] },
	"front":    func(r *rand.Rand, t [][]byte) [][]byte { return t[len(t)/10:] },
	"insert": func(r *rand.Rand, t [][]byte) [][]byte {
		return slices.Insert(t, r.IntN(len(t)), table(r, 60<<10)...)
	},
	"reorder": func(r *rand.Rand, t [][]byte) [][]byte {
		at := r.IntN(len(t))
		return slices.Concat(t[at:], t[:at])
	},
	"rewrite": func(r *rand.Rand, t [][]byte) [][]byte {
		for i := range t {
			t[i] = bytes.Replace(t[i], []byte("2026-"), []byte("2027-"), 1)
			if i%3 == 0 {
				t[i] = bytes.Replace(t[i], []byte("customer"), []byte("client"), 1)
			}
		}
		return t
	},
	"nothing": func(_ *rand.Rand, t [][]byte) [][]byte { return t },
}

// diary is a source that is backed up day after day.
type diary struct {
	t    testing.TB
	st   *mem.Store
	near ObjectReader
	refs []Ref // newest first
	opt  WriterOptions
}

// day writes the next snapshot, and reads it back.
func (d *diary) day(streams ...stream) Summary {
	d.t.Helper()
	o := d.opt
	o.Source, o.Key, o.Snapshot, o.Near = testSource, testKey, fmt.Sprintf("01J%023d", len(d.refs)+1), d.near
	base, err := LoadBase(d.t.Context(), d.st, testKey, d.refs[:min(len(d.refs), 2)])
	if err != nil {
		d.t.Fatal(err)
	}
	o.Base = base
	sum := backup(d.t, storeSink{d.st}, o, streams...)
	d.refs = append([]Ref{ref(o.Snapshot, sum)}, d.refs...)
	d.check(streams...)
	return sum
}

func (d *diary) newest() *Snapshot {
	d.t.Helper()
	s, err := OpenSnapshot(d.t.Context(), d.st, testKey, d.refs[0])
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// check reads the newest snapshot from a store that has nothing but the packs
// which its manifest lists.
func (d *diary) check(streams ...stream) *Snapshot {
	d.t.Helper()
	s := d.newest()
	listed := listedOnly{d.st, map[string]bool{ManifestName(testSource, s.header.Snapshot): true}}
	for _, p := range s.header.Packs {
		listed.names[PackName(testSource, p.ID)] = true
	}
	return check(d.t, listed, d.refs[0], streams...)
}

// listedOnly has some of the objects of a store.
type listedOnly struct {
	store.Store
	names map[string]bool
}

func (o listedOnly) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if !o.names[name] {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotExist)
	}
	return o.Store.Get(ctx, name, offset, length)
}

func TestDaysOfDeltas(t *testing.T) {
	t.Parallel()
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := mem.New()
			d := &diary{t: t, st: st, near: st}
			r := rand.New(rand.NewPCG(7, uint64(len(name))))
			a, b := table(r, 2<<20), table(r, 512<<10)
			for range 10 {
				d.day(stream{"globals", []byte("always the same")}, stream{"a", slices.Concat(a...)}, stream{"b", slices.Concat(b...)})
				a, b = edit(r, a), edit(r, b)
			}
		})
	}
}

// What a day of scattered changes adds is a small part of what it would be without deltas.
func TestDeltasAreSmall(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"default", "better"} {
		sizes := map[bool]int64{}
		for _, with := range []bool{false, true} {
			st := mem.New()
			d := &diary{t: t, st: st, opt: WriterOptions{Compress: source.Compression(level)}}
			if with {
				d.near = st
			}
			r := rand.New(rand.NewPCG(7, 7))
			a := table(r, 2<<20)
			d.day(stream{"a", slices.Concat(a...)})
			for range 3 {
				a = edits["uniform"](r, a)
				sizes[with] += d.day(stream{"a", slices.Concat(a...)}).NewBytes
			}
		}
		if sizes[true]*3 > sizes[false] {
			t.Errorf("%s: three days added %d bytes with deltas, %d without", level, sizes[true], sizes[false])
		}
	}
}

// depths counts the frames of each depth in the packs that a snapshot lists.
func depths(t testing.TB, objects ObjectReader, s *Snapshot) (n [maxDepth + 1]int) {
	t.Helper()
	for _, p := range s.header.Packs {
		x, err := readTail(t.Context(), objects, testKey, s.header.Cipher, testSource, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range x.frames {
			n[f.depth]++
			if (f.depth > 0) != (len(f.packs) > 0) {
				t.Errorf("a frame of depth %d has dictionaries in %d packs", f.depth, len(f.packs))
			}
		}
	}
	return n
}

func TestChainsOfDeltasEnd(t *testing.T) {
	t.Parallel()
	st := mem.New()
	d := &diary{t: t, st: st, near: st}
	r := rand.New(rand.NewPCG(1, 1))
	a := table(r, 1<<20)
	for range 20 {
		d.day(stream{"a", slices.Concat(a...)})
		for i := 0; i < len(a); i += 37 { // the same rows each day
			a[i] = slices.Clone(a[i])
			a[i][len(a[i])-4] = byte('a' + r.IntN(20))
		}
	}
	s := d.newest()
	n := depths(t, st, s)
	if n[deltaDepth] == 0 || n[deltaDepth+1] > 0 {
		t.Errorf("frames by depth: %v", n)
	}
}

// flaky is a cache that loses, cuts and spoils what it is asked for, now and then.
type flaky struct {
	store.Store
	r *rand.Rand
}

func (f flaky) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	rc, err := f.Store.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	switch f.r.IntN(6) {
	case 0:
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotExist)
	case 1:
		b = b[:f.r.IntN(len(b))]
	case 2:
		b[f.r.IntN(len(b))] ^= 1
	case 3:
		clear(b)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func TestDeltasWithoutWhatTheyNeed(t *testing.T) {
	t.Parallel()
	st := mem.New()
	for name, near := range map[string]ObjectReader{"flaky": flaky{st, rand.New(rand.NewPCG(1, 2))}, "empty": mem.New()} {
		t.Run(name, func(t *testing.T) {
			d := &diary{t: t, st: st, near: near}
			r := rand.New(rand.NewPCG(1, 1))
			a := table(r, 2<<20)
			for range 6 {
				d.day(stream{"a", slices.Concat(a...)})
				a = edits["uniform"](r, a)
			}
		})
		st = mem.New()
	}
}

// A writer under a cancelled context, or one that is given up, leaves nothing running.
func TestDeltasAreGivenUp(t *testing.T) {
	t.Parallel()
	st := mem.New()
	d := &diary{t: t, st: st, near: st}
	r := rand.New(rand.NewPCG(1, 1))
	a := table(r, 4<<20)
	d.day(stream{"a", slices.Concat(a...)})
	a = edits["uniform"](r, a)
	for n := range 8 {
		o := options(snap2, loadBase(t, st, d.refs...))
		o.Near = st
		ctx, cancel := context.WithCancel(t.Context())
		w, err := NewWriter(ctx, o, storeSink{mem.New()})
		if err != nil {
			t.Fatal(err)
		}
		sw, err := w.Stream(StreamMeta{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sw.Write(slices.Concat(a...)[:n<<19]); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			cancel()
		}
		w.Abort()
		cancel()
	}
}

func TestFastAndOffMakeNoDeltas(t *testing.T) {
	t.Parallel()
	for _, level := range []source.Compression{source.CompressFast, source.CompressOff} {
		st := mem.New()
		d := &diary{t: t, st: st, near: st, opt: WriterOptions{Compress: level}}
		r := rand.New(rand.NewPCG(1, 1))
		a := table(r, 1<<20)
		d.day(stream{"a", slices.Concat(a...)})
		a = edits["uniform"](r, a)
		d.day(stream{"a", slices.Concat(a...)})
		if n := depths(t, st, d.newest()); n[1] > 0 {
			t.Errorf("%s: frames by depth: %v", level, n)
		}
	}
}

func TestCiphersOfDays(t *testing.T) {
	t.Parallel()
	st := mem.New()
	d := &diary{t: t, st: st, near: st}
	r := rand.New(rand.NewPCG(1, 1))
	a := table(r, 1<<20)
	for i, c := range []struct {
		set, want Cipher
		small     bool
	}{
		{CipherXChaCha20, CipherXChaCha20, false}, {0, CipherXChaCha20, true}, {CipherXChaCha20, CipherXChaCha20, true},
		{CipherAESGCM, CipherAESGCM, false}, {0, CipherAESGCM, true},
	} {
		d.opt.Cipher = c.set
		sum := d.day(stream{"a", slices.Concat(a...)})
		if got := d.newest().header.Cipher; got != c.want || (sum.NewBytes < 100<<10) != c.small {
			t.Errorf("day %d: cipher %d, %d bytes new", i, got, sum.NewBytes)
		}
		a = edits["uniform"](r, a)
	}
}

// What cannot be built upon is left out, and that is no error.
func TestBaseThatDoesNotFit(t *testing.T) {
	st := mem.New()
	r1 := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), stream{"a", text(1, 1<<20)}))
	s := check(t, st, r1, stream{"a", text(1, 1<<20)})
	newer := testKey
	newer.generation = 2
	for name, load := range map[string]func() (*Base, error){
		"generation": func() (*Base, error) { return LoadBase(t.Context(), st, newer, []Ref{r1}) },
		"avoid":      func() (*Base, error) { return LoadBase(t.Context(), st, testKey, []Ref{r1}, s.header.Packs[0].ID) },
	} {
		b, err := load()
		if err != nil || b.Chunks() > 0 || len(b.Omitted()) != 1 || len(b.Damaged()) > 0 {
			t.Errorf("%s: %d chunks, omitted %q, damaged %q, %v", name, b.Chunks(), b.Omitted(), b.Damaged(), err)
		}
	}
}

// Many days of small changes do not end up in as many packs.
func TestSmallPacksAreGathered(t *testing.T) {
	t.Parallel()
	st := mem.New()
	d := &diary{t: t, st: st, near: st}
	r := rand.New(rand.NewPCG(1, 1))
	a, most := table(r, 256<<10), 0
	for range 2 * omitCrowd {
		a[r.IntN(len(a))] = row(r, 1)
		d.day(stream{"a", slices.Concat(a...)})
		most = max(most, len(d.newest().header.Packs))
	}
	if most > omitCrowd+2 || most < omitCrowd/2 {
		t.Errorf("%d packs in a snapshot", most)
	}
}
