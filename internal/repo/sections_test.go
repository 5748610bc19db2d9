package repo

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// sectionsOf picks sections of so many bytes, some of them next to each other.
func sectionsOf(r *rand.Rand, size int) (list []engine.Section) {
	at := 0
	for range r.IntN(12) {
		if r.IntN(3) > 0 {
			at += r.IntN(1 + (size-at)/3)
		}
		if at >= size {
			break
		}
		n := 1 + r.IntN(1+(size-at)/4)
		list = append(list, engine.Section{Offset: int64(at), Length: int64(n)})
		at += n
	}
	return list
}

func readSections(t *testing.T, s *Snapshot, stream string, list []engine.Section) ([]byte, error) {
	t.Helper()
	rc, err := s.OpenSections(t.Context(), stream, list)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// Sections of streams that were stored at once, after another, and in many small
// packs: they are the bytes that stand there.
func TestSections(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	st := mem.New()
	small := func(snapshot string, base *Base) WriterOptions {
		o := options(snapshot, base)
		o.PackSize = 40 << 10
		return o
	}
	first := append(random(1, 700_000), bytes.Repeat([]byte("the same again\n"), 20_000)...)
	sum := backup(t, storeSink{st}, small(snap1, nil), stream{"a.sql", first}, stream{"empty.sql", nil})
	base := loadBase(t, st, ref(snap1, sum))
	second := slices.Concat(first[:300_000], []byte("something new"), random(2, 100_000), first[300_000:])
	later := backup(t, storeSink{st}, small(snap2, base), stream{"a.sql", second})
	for _, c := range []struct {
		ref  Ref
		data []byte
	}{{ref(snap1, sum), first}, {ref(snap2, later), second}} {
		s, err := OpenSnapshot(t.Context(), st, testKey, c.ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			list := sectionsOf(r, len(c.data))
			var want []byte
			for _, x := range list {
				want = append(want, c.data[x.Offset:x.Offset+x.Length]...)
			}
			if got, err := readSections(t, s, "a.sql", list); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("sections %v: %d bytes, %v; want %d", list, len(got), err, len(want))
			}
		}
		whole := []engine.Section{{Length: int64(len(c.data))}}
		if got, err := readSections(t, s, "a.sql", whole); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("all of it: %d bytes, %v", len(got), err)
		}
	}
}

// What is read of the store is what the sections lie in.
func TestSectionsReadWhatTheyNeed(t *testing.T) {
	t.Parallel()
	st := mem.New()
	data := random(7, 24<<20)
	o := options(snap1, nil)
	o.PackSize = 1 << 20
	sum := backup(t, storeSink{st}, o, stream{"a.sql", data})
	c := &counted{ObjectReader: st}
	s, err := OpenSnapshot(t.Context(), c, testKey, ref(snap1, sum))
	if err != nil {
		t.Fatal(err)
	}
	c.bytes.Store(0)
	got, err := readSections(t, s, "a.sql", []engine.Section{{Offset: 0, Length: 100}, {Offset: 13 << 20, Length: 100_000}})
	if err != nil || len(got) != 100_100 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// Two packs, one of them perhaps with its neighbour, and their chunk lists.
	if n := c.bytes.Load(); n == 0 || n > 5<<20 {
		t.Errorf("%d bytes of %d were read for %d", n, len(data), len(got))
	}
}

func TestSectionsThatCannotBe(t *testing.T) {
	t.Parallel()
	st := mem.New()
	sum := backup(t, storeSink{st}, options(snap1, nil), stream{"a.sql", random(1, 1000)})
	s, err := OpenSnapshot(t.Context(), st, testKey, ref(snap1, sum))
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]engine.Section{
		"backwards":     {{Offset: 500, Length: 10}, {Offset: 400, Length: 10}},
		"overlapping":   {{Offset: 500, Length: 10}, {Offset: 509, Length: 10}},
		"empty":         {{Offset: 500}},
		"past the end":  {{Offset: 999, Length: 2}},
		"far past it":   {{Offset: 5000, Length: 2}},
		"negative":      {{Offset: -1, Length: 2}},
		"less than nil": {{Offset: 10, Length: -2}},
	} {
		if got, err := readSections(t, s, "a.sql", list); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if got, err := readSections(t, s, "a.sql", nil); err != nil || len(got) != 0 {
		t.Errorf("no sections: %d bytes, %v", len(got), err)
	}

	plain := options(snap2, nil)
	plain.Manifest = PlainManifest
	sum = backup(t, storeSink{st}, plain, stream{"a.sql", random(1, 1000)})
	s = check(t, st, ref(snap2, sum), stream{"a.sql", random(1, 1000)})
	if _, err := readSections(t, s, "a.sql", []engine.Section{{Length: 10}}); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("a manifest of version 1: %v", err)
	}
}

// A chunk that is not what it was is noticed in a part too, and the manifest is
// not believed when it says where things are: a verification compares.
func TestSectionsOfDamage(t *testing.T) {
	t.Parallel()
	st := mem.New()
	data := random(7, 300_000)
	o := options(snap1, nil)
	sum := backup(t, storeSink{st}, o, stream{"a.sql", data})
	s, err := OpenSnapshot(t.Context(), st, testKey, ref(snap1, sum))
	if err != nil {
		t.Fatal(err)
	}
	groups := s.body.streams[0].groups
	groups[0], groups[1] = groups[0]+1, groups[1]-1
	if _, err := s.Verify(t.Context(), nil); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("wrong groups: %v", err)
	}
	name := PackName(testSource, s.header.Packs[0].ID)
	object, err := readObject(t.Context(), st, "", name, 0, -1, maxPack)
	if err != nil {
		t.Fatal(err)
	}
	object[len(object)/2] ^= 1
	damaged := objectMap{name: object}
	s.objects = damaged
	if got, err := readSections(t, s, "a.sql", []engine.Section{{Offset: 0, Length: 300_000}}); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("damage: %d bytes, %v", len(got), err)
	}
}

// Sections that an inspector gets wrong are not written down; the snapshot is as
// good as without.
func TestWrongSectionsAreLeftOut(t *testing.T) {
	t.Parallel()
	good := []engine.Section{{Offset: 0, Length: 5}, {Offset: 90, Length: 10}}
	for name, list := range map[string][]engine.Section{
		"past the end": {{Offset: 90, Length: 11}},
		"backwards":    {{Offset: 50, Length: 5}, {Offset: 40, Length: 5}},
		"empty":        {{Offset: 50}},
		"too many":     make([]engine.Section, engine.MaxSections+1),
	} {
		for i := range list {
			if name == "too many" {
				list[i] = engine.Section{Offset: int64(2 * i), Length: 1}
			}
		}
		size := int64(100)
		if name == "too many" {
			size = 1 << 20
		}
		c := clip(Contents{Common: good, Objects: []engine.Object{{Name: "t", Sections: list}, {Name: "u", Sections: good}}}, size)
		if c.Common != nil || c.Objects[0].Sections != nil || c.Objects[1].Sections != nil {
			t.Errorf("%s: kept", name)
		}
	}
	if c := clip(Contents{Common: good, Objects: []engine.Object{{Name: "t", Sections: good[1:]}}}, 100); len(c.Common) != 2 || len(c.Objects[0].Sections) != 1 {
		t.Errorf("good sections are left out: %+v", c)
	}
}
