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

// check reads the newest snapshot from a store that has nothing but the packs
// which its manifest lists.
func (d *diary) check(streams ...stream) *Snapshot {
	d.t.Helper()
	s, err := OpenSnapshot(d.t.Context(), d.st, testKey, d.refs[0])
	if err != nil {
		d.t.Fatal(err)
	}
	listed := listedOnly{d.st, map[string]bool{ManifestName(testSource, s.header.Snapshot): true}}
	for _, p := range s.header.Packs {
		listed.names[PackName(testSource, p.ID)] = true
	}
	base := &Base{cipher: s.header.Cipher}
	for _, p := range s.header.Packs {
		id, _ := parsePackID(p.ID)
		base.packs = append(base.packs, basePack{PackRef: p, id: id})
	}
	r := newDictionaries(d.t.Context(), WriterOptions{Near: listed, Key: testKey, Source: testSource}, base).read
	for i, want := range streams {
		var got []byte
		for _, run := range s.body.streams[i].runs {
			id, _ := parsePackID(s.header.Packs[run.pack].ID)
			for n := run.first; n < run.first+run.count; n++ {
				chunk, err := r.chunks(id, n, 1, nil)
				if err != nil {
					d.t.Fatal(err)
				}
				got = append(got, chunk...)
			}
		}
		if !bytes.Equal(got, want.data) {
			d.t.Fatalf("stream %s: %d bytes, want %d", want.name, len(got), len(want.data))
		}
	}
	return s
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
			a, b := table(r, 3<<20), table(r, 1<<20)
			for range 12 {
				sum := d.day(stream{"globals", []byte("always the same")}, stream{"a", slices.Concat(a...)}, stream{"b", slices.Concat(b...)})
				t.Logf("%d bytes new", sum.NewBytes)
				a, b = edit(r, a), edit(r, b)
			}
		})
	}
}

// What a day of scattered changes adds is a small part of what it would be without deltas.
func TestDeltasAreSmall(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"default", "better"} {
		for _, name := range []string{"uniform", "local"} {
			sizes := map[bool]int64{}
			for _, with := range []bool{false, true} {
				st := mem.New()
				d := &diary{t: t, st: st, opt: WriterOptions{Compress: source.Compression(level)}}
				if with {
					d.near = st
				}
				r := rand.New(rand.NewPCG(7, 7))
				a := table(r, 8<<20)
				d.day(stream{"a", slices.Concat(a...)})
				for range 3 {
					a = edits[name](r, a)
					sizes[with] += d.day(stream{"a", slices.Concat(a...)}).NewBytes
				}
			}
			t.Logf("%s %s: %d bytes with deltas, %d without", level, name, sizes[true], sizes[false])
			if name == "uniform" && sizes[true]*3 > sizes[false] {
				t.Errorf("%s: three days added %d bytes with deltas, %d without", level, sizes[true], sizes[false])
			}
		}
	}
}
